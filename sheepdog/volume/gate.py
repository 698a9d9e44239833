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


"""What lets the changes of a volume in, or makes them wait for a moment."""

import asyncio

PAUSE_SECONDS = 0.001


class Gate:
    """``is_shut``: who comes now waits."""

    def __init__(self):
        self.is_shut = False
        self._inside = 0
        self._opened = asyncio.Event()

    async def through(self, begin):
        """Awaits ``begin()`` as soon as the gate is open."""
        while self.is_shut:
            await self._opened.wait()
        self._inside += 1
        try:
            return await begin()
        finally:
            self._inside -= 1

    async def shut(self):
        """Returns when nobody is inside any more."""
        self.is_shut = True
        self._opened.clear()
        while self._inside:
            await asyncio.sleep(PAUSE_SECONDS)

    def open(self):
        self.is_shut = False
        self._opened.set()
