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

"""What a simulated client's connections have in common: requests under way.

``nbd_user`` and ``native_user`` speak the protocols; both look like a
``volume.Volume`` to whoever works with them.
"""

import asyncio
from typing import Optional

from sheepdog.model import errors


class Line:
    """One connection of a client; see ``world.api.Session``."""

    def __init__(self):
        self.connection = None
        self.is_over = False
        self.room_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._pending = {}
        """Number → (future, when it was asked), oldest first."""
        self._numbers = 0

    def connected(self, connection) -> None:
        self.connection = connection

    def received(self, buffer, start: int, end: int) -> int:
        raise NotImplementedError

    def disconnected(self, error: Optional[BaseException]) -> None:
        self.is_over = True
        pending, self._pending = self._pending, {}
        for future, _ in pending.values():
            if not future.done():
                future.set_exception(_lost())

    def expect(self) -> tuple:
        """(number, future) of what is asked now.

        :raises Unreachable: the connection is gone
        """
        if self.is_over:
            raise _lost()
        self._numbers += 1
        future = self._loop.create_future()
        self._pending[self._numbers] = future, self._loop.time()
        return self._numbers, future

    def answered(self, number: int, error: Optional[BaseException],
                 data=b'') -> None:
        future, _ = self._pending.pop(number)
        if future.done():
            return  # nobody waits for it any more
        if error is None:
            future.set_result(data)
        else:
            future.set_exception(error)

    def waits_since(self) -> float:
        """When the oldest request under way was asked; now, if there is
        none."""
        for _, when in self._pending.values():
            return when
        return self._loop.time()

    def leave(self, is_abrupt: bool) -> None:
        """Hang up, whatever is under way: with a reset, or with an end."""
        if self.is_over:
            return
        self.is_over = True
        if is_abrupt:
            self.connection.abort()
        else:
            self.connection.close()


class Lines:
    """All connections of one use of a volume."""

    def __init__(self, lines: list, random):
        self.lines = lines
        self._random = random

    @property
    def valid(self) -> bool:
        return not any(line.is_over for line in self.lines)

    def pick(self) -> Line:
        return self.lines[self._random.randrange(len(self.lines))]

    def waits_since(self) -> float:
        return min(line.waits_since() for line in self.lines)

    def has_lost_one(self) -> bool:
        return any(line.connection.is_half_open for line in self.lines)

    def hang_up(self) -> None:
        """As a client that dies does, or one that has lost its patience."""
        for line in self.lines:
            line.leave(self._random.random() < 0.5)


def _lost() -> errors.Unreachable:
    return errors.Unreachable('the connection is gone')
