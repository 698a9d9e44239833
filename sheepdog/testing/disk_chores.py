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

"""What operators do with the disks of a running sheep."""

from sheepdog.model import errors
from sheepdog.store import settings as store_settings

DISKS_MAX = 4
"""Of one node, over all its life but for those that were pulled."""


class DiskChores:
    """A part of ``chores.Chores``."""

    def _plug(self, source) -> None:
        """Another disk, also into a sheep that had META alone."""
        node = self._serving(source)
        if (node is not None and max(self.cluster.settings.disks)
                and len(node.host.mounts) < DISKS_MAX):
            self._ask(node, self._plug_one, node.mount())

    async def _plug_one(self, node, path: str) -> None:
        try:
            await node.sheep.plug(path)
        except (store_settings.StoreRefused, OSError) as error:
            raise errors.SystemFailure(str(error)) from error

    def _unplug(self, source) -> None:
        node = self._serving(source)
        paths = node.plugged() if node is not None else []
        if len(paths) > 1:
            self._ask(node, self._unplug_one,
                      paths[source.randrange(len(paths))])

    async def _unplug_one(self, node, path: str) -> None:
        try:
            await node.sheep.unplug(path)
        except (store_settings.StoreRefused, OSError) as error:
            raise errors.SystemFailure(str(error)) from error
