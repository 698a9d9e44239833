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

"""A program like ``sheep``, with a sheep that does as the first word says.

    python -m sheepdog.tests.unit.cmd.daemon_program serve -p PORT META
"""

import asyncio
import logging
import os
import pathlib
import sys

from sheepdog.cmd import options
from sheepdog.cmd import sheep
from sheepdog.store import settings as store_settings

LOG = logging.getLogger(__name__)


class FakeSheep:
    def __init__(self, mode, settings):
        self.mode = mode
        self.settings = settings
        self.stopped = asyncio.Event()
        self.server = None

    async def start(self):
        if self.mode == 'refuse':
            raise store_settings.StoreRefused(
                'the store %s is locked by another sheep'
                % self.settings.meta)
        if self.mode == 'crash':
            raise RuntimeError('a bug')
        if self.mode == 'oserror':
            raise OSError(28, 'No space left on device', '/somewhere')
        if self.mode == 'die':
            os._exit(9)
        os.makedirs(self.settings.meta, exist_ok=True)
        if self.mode == 'hang':
            pathlib.Path(self.settings.meta, 'hangs').touch()
            await asyncio.sleep(3600)
        self.server = await asyncio.start_server(
            lambda reader, writer: writer.close(), '127.0.0.1',
            self.settings.port)
        LOG.info('the fake started, zone %d', self.settings.zone)

    async def stop(self):
        LOG.info('the fake stops')
        if self.mode == 'stuck':
            await asyncio.sleep(3600)
        if self.server is not None:
            self.server.close()
        self.stopped.set()

    async def wait_stopped(self):
        if self.mode == 'end':
            await asyncio.sleep(0.2)
            return 7
        await self.stopped.wait()
        return 0


def main():
    mode, *words = sys.argv[1:]
    values, arguments = options.parse(sheep.OPTIONS, words)
    return sheep.launch(
        sheep.read_settings(values, arguments),
        build=lambda settings: FakeSheep(mode, settings))


if __name__ == '__main__':
    sys.exit(main())
