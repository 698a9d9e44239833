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

"""Who may change an object of an open volume by the long way, and who waits.

What creates an object, or turns it into another form, *holds* its index:
one at a time, and others wait. Who changes an object in its place *uses* it:
it is not held before they are done.
"""

import asyncio
import collections
import contextlib

from sheepdog.world import futures

PAUSE_SECONDS = 0.01


class Holds:
    def __init__(self):
        self._held = {}
        self._uses = collections.Counter()

    async def free(self, index):
        """Returns when nobody holds the index. (Whoever goes on without
        waiting for anything else is alone.)"""
        while True:
            held = self._held.get(index)
            if held is None:
                return
            await asyncio.shield(held)

    def now(self):
        """A future for each who holds anything: done when they are."""
        return list(self._held.values())

    @contextlib.contextmanager
    def hold(self, index):
        held = asyncio.get_running_loop().create_future()
        self._held[index] = held
        try:
            yield
        finally:
            del self._held[index]
            futures.settle(held, None)

    @contextlib.contextmanager
    def use(self, index):
        self._uses[index] += 1
        try:
            yield
        finally:
            self._uses[index] -= 1
            if not self._uses[index]:
                del self._uses[index]

    async def unused(self, index):
        """…for who holds it."""
        while self._uses[index]:
            await asyncio.sleep(PAUSE_SECONDS)
