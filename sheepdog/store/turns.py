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

"""The order of operations on one object.

Most writes are applied within the turn of the loop that brought them, and
need no queue. An operation that cannot be (its object must first be named
by the durable journal, or its file opened; it must read from the device; it
replaces the whole object) occupies the object: what comes later and could
tell is parked behind it, in order.

Each occupation has one owner, who ends it with exactly one ``release``; who
joins one is an owner more.
"""

import asyncio
import collections
from typing import Any, Callable

from sheepdog.store import objects as store_objects
from sheepdog.store import operations

EVERYTHING = operations.EVERYTHING


class Turns:
    def __init__(self, objects: store_objects.Objects):
        self._objects = objects
        self.busy = {}
        """Objects with an operation under way or parked, by id."""
        self.held = {}
        """Those of them that ``take`` gave to somebody."""

    def occupy(self, obj: store_objects.Object, low: int = 0,
               high: int = EVERYTHING) -> None:
        """Park what comes later, for the sake of bytes [low, high)."""
        assert not obj.is_busy
        self._widen(obj, low, high)
        obj.is_busy = True
        obj.ready = 0
        self.busy[obj.oid] = obj

    def join(self, obj: store_objects.Object, low: int = 0,
             high: int = EVERYTHING) -> None:
        """Be one more owner, before what is parked."""
        assert obj.is_busy
        self._widen(obj, low, high)
        obj.joined += 1

    def park(self, obj: store_objects.Object, start: Callable, argument: Any,
             low: int = 0, high: int = EVERYTHING) -> None:
        """Call ``start(obj, argument)`` when it is its turn."""
        self._widen(obj, low, high)
        if obj.parked is None:
            obj.parked = collections.deque()
        obj.parked.append((start, argument))

    def park_first(self, obj: store_objects.Object, start: Callable,
                   arguments: list, low: int = 0,
                   high: int = EVERYTHING) -> None:
        """As ``park``, before all others; several, in their order."""
        self._widen(obj, low, high)
        if obj.parked is None:
            obj.parked = collections.deque()
        obj.parked.extendleft((start, argument)
                              for argument in reversed(arguments))

    def release(self, obj: store_objects.Object) -> None:
        """The occupation is over: start what is parked, until one occupies
        the object again."""
        assert obj.is_busy
        if obj.joined:
            obj.joined -= 1
            return
        obj.is_busy = False
        obj.updating = None
        self.go_on(obj)

    def go_on(self, obj: store_objects.Object) -> None:
        """Start what is parked, where nothing occupies the object."""
        while obj.parked and not obj.is_busy:
            start, argument = obj.parked.popleft()
            start(obj, argument)
        if not obj.is_busy:
            self.busy.pop(obj.oid, None)
            obj.parked = None
            obj.ready = obj.armed
            if not obj.exists:
                self._objects.forget(obj)

    async def take(self, obj: store_objects.Object) -> None:
        """Wait for the object's turn and occupy it; the caller releases it
        by ``give_back``."""
        if not obj.is_busy and not obj.parked:
            self._hold(obj)
            return
        future = asyncio.get_running_loop().create_future()
        self.park(obj, self._taken, future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():
                self.give_back(obj)
            raise

    def give_back(self, obj: store_objects.Object) -> None:
        del self.held[obj.oid]
        self.release(obj)

    def _hold(self, obj) -> None:
        self.occupy(obj)
        self.held[obj.oid] = obj

    def _taken(self, obj, future: asyncio.Future) -> None:
        # Given up meanwhile: the next one's turn.
        if not future.done():
            self._hold(obj)
            future.set_result(None)

    @staticmethod
    def _widen(obj, low: int, high: int) -> None:
        if not obj.is_busy and not obj.parked:
            obj.low, obj.high = low, high
            return
        if low < obj.low:
            obj.low = low
        if high > obj.high:
            obj.high = high
