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

"""A face on real sockets, in a thread of its own, for real clients."""

import asyncio
import threading

from sheepdog.faces import nbd as face_module
from sheepdog.testing import volume as memory
from sheepdog.world import real

START_SECONDS = 60


class ServedFace:
    """VDIs in memory, served over TCP and a unix socket."""

    def __init__(self, unix_path: str, volumes=None, **settings):
        self.unix_path = unix_path
        self.volumes = volumes or memory.MemoryVolumes()
        self.catalogue = memory.MemoryCatalogue(self.volumes)
        self.face = None
        self._settings = face_module.NbdSettings(
            port=0, unix_path=unix_path, **settings)
        self._loop = None
        self._stop = None
        self._error = None
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name='nbd face')

    def start(self) -> None:
        self._thread.start()
        assert self._is_ready.wait(START_SECONDS), 'the face does not start'
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self, deadline_seconds: float = 2.0) -> None:
        if self._thread.is_alive():
            self.call(self._stop.set_result, deadline_seconds)
        self._thread.join(deadline_seconds + START_SECONDS)
        assert not self._thread.is_alive(), 'the face does not stop'

    def call(self, function, *arguments):
        """Call in the face's loop; wait for the result."""
        async def call():
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(
            call(), self._loop).result(START_SECONDS)

    def run(self, coroutine):
        """Run a coroutine in the face's loop to its end."""
        return asyncio.run_coroutine_threadsafe(
            coroutine, self._loop).result(START_SECONDS)

    def tcp(self, name: str = '') -> str:
        return 'nbd://%s:%d/%s' % (*self.face.address, name)

    def unix(self, name: str = '') -> str:
        return 'nbd+unix:///%s?socket=%s' % (name, self.unix_path)

    def _run(self) -> None:
        try:
            real.run(self._main)
        except Exception as error:
            self._error = error
        finally:
            self._is_ready.set()

    async def _main(self, world) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        self.face = face_module.NbdFace(world, self.volumes, self.catalogue,
                                        self._settings)
        await self.face.start()
        self._is_ready.set()
        await self.face.stop(await self._stop)
