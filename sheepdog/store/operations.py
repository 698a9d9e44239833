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

"""Operations on objects while they are under way."""

from typing import Callable, Optional

from sheepdog.store import records
from sheepdog.store import state as store_state

EVERYTHING = 1 << 62
"""Beyond the end of any object."""


class Operation:
    """A change of one object.

    ``kind``, ``flags`` and ``birth`` as in the journal's records; ``offset``
    and ``size`` are whole blocks once it is journalled. ``capacity`` is that
    of the object, once it is journalled; before, what the caller gave.
    ``entries``: table entries of ``data``. ``segment``: where a late
    operation's record is; late ones are applied when their record is
    durable. ``waits``: what an acknowledgement still waits for.
    ``is_applied``: the file is like this already, only its journal is not.
    ``kept``: bytes of the journal that are kept for undoing it, or, where it
    undoes something, for itself.
    """

    __slots__ = ('kind', 'obj', 'version', 'offset', 'size', 'data', 'done',
                 'is_durable', 'capacity', 'flags', 'birth', 'entries',
                 'segment', 'waits', 'error', 'is_applied', 'kept')

    def __init__(self, kind: int, obj, version: int, offset: int, size: int,
                 data, done: Callable, is_durable: bool, capacity: int):
        self.kind = kind
        self.obj = obj
        self.version = version
        self.offset = offset
        self.size = size
        self.data = data
        self.done = done
        self.is_durable = is_durable
        self.capacity = capacity
        self.flags = 0
        self.birth = 0
        self.entries = None
        self.segment = None
        self.waits = 1
        self.error = None
        self.is_applied = False
        self.kept = 0

    def part_done(self, error: Optional[Exception]) -> None:
        """One of the things waited for has come."""
        if error is not None and self.error is None:
            if isinstance(error, OSError):
                error = store_state.typed(error, 'sync')
            self.error = error
        self.waits -= 1
        if not self.waits:
            self.done(self.error)


class Parts:
    """Several operations that count as one."""

    __slots__ = ('_left', '_done', '_error')

    def __init__(self, parts: int, done: Callable):
        self._left = parts
        self._done = done
        self._error = None

    def part_done(self, error: Optional[Exception]) -> None:
        if error is not None and self._error is None:
            self._error = error
        self._left -= 1
        if not self._left:
            self._done(self._error)


class Flush:
    """A wish for everything taken so far to be durable: passes the queues
    of all busy objects, then ``ready(self)`` syncs for it."""

    __slots__ = ('_left', '_ready', 'segment', 'waits', 'done', 'error')

    def __init__(self, queues: int, ready: Callable, done: Callable):
        self._left = queues
        self._ready = ready
        self.done = done
        self.segment = None
        self.waits = 0
        self.error = None

    def passed(self, obj, argument) -> None:
        """It is our turn on one more object."""
        self._left -= 1
        if not self._left:
            self._ready(self)

    part_done = Operation.part_done


def span(op: Operation) -> tuple:
    """The bytes, from and to, whose reads must wait for an operation."""
    if op.kind >= records.REMOVE or op.flags:
        return 0, EVERYTHING
    return op.offset, op.offset + op.size


def split(op: Operation, piece_bytes: int) -> list:
    """The same as several writes, each with a record of its own."""
    starts = range(0, op.size, piece_bytes)
    parts = Parts(len(starts), op.done)
    data = memoryview(op.data)
    return [Operation(
        records.WRITE, op.obj, op.version, op.offset + start,
        min(piece_bytes, op.size - start), data[start:start + piece_bytes],
        parts.part_done, op.is_durable, op.capacity) for start in starts]
