# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""A sheep in the real world: uvloop, the operating system, tooz."""

import asyncio
import logging

from sheepdog.cluster import api
from sheepdog.cluster import tooz_membership
from sheepdog.cmd import exits
from sheepdog.cmd import exposure
from sheepdog.cmd import logs
from sheepdog.cmd import neighbours
from sheepdog.cmd import version
from sheepdog.cmd import wiring
from sheepdog.world import garbage
from sheepdog.world import linux
from sheepdog.world import real

LOG = logging.getLogger(__name__)

WATCH_SECONDS = 1.0


class _LogControl:
    """The level of this process's log; see ``cmd.logs``."""

    def levels(self):
        return list(logs.LEVELS)

    def level(self, logger=''):
        return logs.level(logger)

    def set_level(self, level, logger=''):
        logs.set_level(level, logger)

    def loggers(self):
        return logs.loggers()


class RealSheep(wiring.Sheep):
    """In the real world; the world ends with it."""

    async def start(self):
        """Also raises CoordinationRefused and exits.Stop, with nothing
        touched."""
        self._tell_exposed()
        # Both block, perhaps for seconds.
        loop = asyncio.get_running_loop()
        members = await loop.run_in_executor(None, self.membership.check)
        await loop.run_in_executor(None, neighbours.check,
                                   self.settings.meta, members,
                                   self.settings.access)
        await super().start()
        garbage.settle()
        self.world.spawn(self._watch_refusal(), 'watch for a refusal')

    def reload(self, settings):
        super().reload(settings)
        self._tell_exposed()

    def _tell_exposed(self):
        self.exposed = exposure.warnings(
            self.settings, exposure.loose_files(self.settings))
        for text in self.exposed:
            LOG.warning('%s', text)

    async def _watch_refusal(self):
        """A sheep that may not join is of no use."""
        while self.cluster.status is not api.Status.REFUSED:
            await asyncio.sleep(WATCH_SECONDS)
        self.exit_code = exits.SYSTEM
        self.stop_soon()

    async def stop(self):
        await super().stop()
        await self.world.close()


def build_sheep(settings) -> RealSheep:
    """A sheep in the real world, within the running loop.

    :param settings: ``conf.settings.SheepSettings``, complete
    :raises InvalidParameters: the cluster's URL is not understood
    """
    linux.raise_file_limit()
    world = real.RealWorld()
    membership = tooz_membership.from_url(
        settings.cluster_url, settings.ttl_seconds)
    return RealSheep(world, membership, settings, version.release(),
                     _LogControl())
