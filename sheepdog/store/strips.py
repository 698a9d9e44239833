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

"""Changes of strips: their bytes and their history in one step.

A change is journalled as several records, of which the last (HISTORY) makes
the others count, and is applied when all of them are durable; then it is
acknowledged. An update keeps the bytes that it replaces until it is closed.

Updates of one strip that have no block in common need not wait for each
other: while one is on its way to the disk, others join it, and share a sync.
"""

import asyncio
import logging
from typing import Callable, Optional

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.store import checksums
from sheepdog.store import history as store_history
from sheepdog.store import intake as store_intake
from sheepdog.store import objects as store_objects
from sheepdog.store import opening
from sheepdog.store import operations
from sheepdog.store import reader as store_reader
from sheepdog.store import records
from sheepdog.store import space
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer

LOG = logging.getLogger(__name__)

_BLOCK = checksums.BLOCK_BYTES

JOINED_MAX = 32
"""Updates that one occupation of a strip is shared by, those that landed
among them."""


UNDONE_MAX_BYTES = 2 * limits.STRIP_UPDATE_MAX_BYTES
"""What one change rolls back, unless one update is more."""


class Part:
    """Whole blocks of the new content; ``data`` None: zeroes."""

    __slots__ = ('kind', 'offset', 'size', 'data', 'entries')

    def __init__(self, offset: int, size: int, data):
        self.kind = records.ZERO if data is None else records.WRITE
        self.offset = offset
        self.size = size
        self.data = data
        self.entries = None if data is None else checksums.entries(data)


class Change:
    """What the ``data`` of a HISTORY operation is, once it is its turn.
    ``packed``: the event as buffers, one behind the other."""

    __slots__ = ('parts', 'event', 'packed', 'packed_bytes', 'sequence')

    def __init__(self, parts: list, event):
        self.parts = parts
        self.event = event
        self.packed = store_history.pack_pieces(event)
        self.packed_bytes = sum(map(len, self.packed))
        self.sequence = 0

    def size(self) -> int:
        """Of all its records."""
        return records.size_of(records.HISTORY, self.packed_bytes) + sum(
            records.size_of(part.kind, part.size) for part in self.parts)

    def undo_size(self) -> int:
        """Of the records that take it back, at most."""
        if not isinstance(self.event, store_history.Update):
            return 0
        blocks = sum(part.size for part in self.parts) // _BLOCK
        return _UNDO_EVENT_BYTES + blocks * records.ONE_BLOCK_BYTES


_UNDO_EVENT_BYTES = Change([], store_history.Align(
    store_history.NONE, frozenset((0,)))).size()


class Strips:
    def __init__(self, world, objects: store_objects.Objects,
                 opener: opening.Opener, turns: store_turns.Turns,
                 writer: store_writer.Writer, reader: store_reader.Reader,
                 reserve: space.Reserve):
        self._world = world
        self._objects = objects
        self._opener = opener
        self._turns = turns
        self._writer = writer
        self._reader = reader
        self._reserve = reserve
        self.is_closing = False
        """Nothing is begun any more."""

    # -- updates --------------------------------------------------------

    def update(self, key: int, version: int, number: int, birth: tuple,
               offset: int, size: int, data, done: Callable,
               capacity: int, token: int, is_known: bool) -> None:
        """See ``Store.update``."""
        if capacity:
            obj = self._opener.get_or_new(key)
        else:
            obj = self._opener.get(key)
            if obj is None:
                done(_no_strip(key))
                return
        op = operations.Operation(records.HISTORY, obj, version, offset,
                                  size, (number, birth, data, token,
                                         is_known), done, True, capacity)
        if obj.is_busy or obj.parked:
            if obj.parked or not self._join(obj, op):
                self._turns.park(obj, self._begin, op)
            return
        self._begin(obj, op)
        if not obj.is_busy:
            self._turns.go_on(obj)

    def _join(self, obj, op: operations.Operation) -> bool:
        """Journal it beside updates that wait for the sync. False: it must
        have its own turn, for whatever reason."""
        busy = obj.updating
        if busy is None or len(busy) >= JOINED_MAX or not obj.exists \
                or self._fault(obj, op) is not None:
            return False
        low, high = _blocks_of(op.offset, op.size)
        if any(low < end and start < high for start, end in busy):
            # (Also if it is one of them, sent again.)
            return False
        if op.data[4] or obj.history.has(op.data[0]):
            return False
        old = None
        if any(obj.table[low // _BLOCK:high // _BLOCK]):
            try:
                old = obj.file.pread_warm(high - low, low)
            except OSError:
                return False
            if old is None or self._wrong(obj, old, low, high):
                return False
        change = self._change(obj, op, old)
        if not self._writer.has_room(change):
            return False
        busy.append((low, high))
        op.data = change
        op.offset, op.size = low, high - low
        self._writer.start(obj, op)
        return True

    def _begin(self, obj, op: operations.Operation) -> None:
        """It is its turn."""
        number, _, _, _, is_known = op.data
        if obj.exists and not obj.damage and (
                is_known or obj.history.has(number)):
            # Sent again; what is open is durable. (So it is not refused
            # now, for want of room.)
            op.done(None)
            return
        error = self._fault(obj, op)
        if error is not None:
            op.done(error)
            return
        low, high = _blocks_of(op.offset, op.size)
        if not obj.exists or not any(
                obj.table[low // _BLOCK:high // _BLOCK]):
            self._go(obj, op, None)
            return
        try:
            old = obj.file.pread_warm(high - low, low)
        except OSError as error:
            op.done(self._reader.failed(obj, error, 'what it replaces'))
            return
        if old is None:
            self._turns.occupy(obj)
            self._world.spawn(self._begin_cold(obj, op, low, high),
                              'store: cold strip')
            return
        self._go(obj, op, old)

    async def _begin_cold(self, obj, op, low: int, high: int) -> None:
        try:
            old = await obj.file.pread_cold(high - low, low)
        except OSError as error:
            failure = self._reader.failed(obj, error, 'what it replaces')
            self._turns.release(obj)
            op.done(failure)
            return
        self._turns.park_first(
            obj, lambda obj, op: self._go(obj, op, old), [op])
        self._turns.release(obj)

    def _fault(self, obj, op):
        data = op.data[2]
        capacity = obj.capacity
        if not obj.exists:
            capacity = op.capacity
            if not capacity:
                return _no_strip(obj.oid)
        elif obj.damage:
            return self._opener.unusable(obj)
        elif obj.history.is_doomed:
            # (A removal that was given up. What is acknowledged now would
            # go when it is brought to its end.)
            self._opener.report(obj)
            return errors.NotRecovered(
                'strip %s: a removal has begun'
                % store_objects.name_of(obj.oid))
        elif op.data[0] < obj.history.floor:
            # It would not be kept as open, and could not be rolled back.
            # (Numbers that start again, for whatever reason.)
            self._opener.report(obj)
            return errors.NotRecovered(
                'strip %s: an update is numbered as one of before'
                % store_objects.name_of(obj.oid))
        if op.offset < 0 or not 0 < op.size <= limits.STRIP_UPDATE_MAX_BYTES \
                or op.offset + op.size > capacity or capacity % _BLOCK:
            return errors.InvalidParameters(
                '%d bytes from %d of a strip of %d bytes'
                % (op.size, op.offset, capacity))
        if data is not None and self._reserve.is_near \
                and store_intake.takes_room(obj, op):
            return self._reserve.check(op)
        return None

    def _go(self, obj, op: operations.Operation, old: Optional[bytes]):
        """Journal it, given what is there now (None: zeroes)."""
        low, high = _blocks_of(op.offset, op.size)
        if old is not None:
            wrong = self._wrong(obj, old, low, high)
            if wrong:
                self._reader.note_bad(obj, wrong)
                op.done(store_reader.checksum_error(obj, wrong))
                return
        op.data = self._change(obj, op, old)
        op.offset, op.size = low, high - low
        self._writer.start(obj, op)
        if op.segment is not None and obj.exists:
            obj.updating = [(low, high)]
            parked = obj.parked
            while parked and parked[0][0] == self._begin \
                    and self._join(obj, parked[0][1]):
                parked.popleft()

    @staticmethod
    def _wrong(obj, old: bytes, low: int, high: int):
        """Which blocks are not what they should be."""
        if len(old) != high - low:
            return range(low // _BLOCK, high // _BLOCK)
        return checksums.mismatches(old, obj.table, low // _BLOCK)

    @staticmethod
    def _change(obj, op: operations.Operation, old: Optional[bytes]):
        number, birth, data, token, _ = op.data
        start = op.offset % _BLOCK
        replaced = None
        if old is not None:
            replaced = old[start:start + op.size]
            if not any(replaced):
                replaced = None
        return Change(
            _parts(op.offset, op.size, data, old), store_history.Update(
                number, obj.history.generation if obj.exists else birth,
                op.offset, op.size, replaced, token))

    # -- settling -------------------------------------------------------

    async def change(self, key: int, make: Callable) -> None:
        """Do to a strip what ``make(obj)`` (a coroutine: its event, or
        None) says, with the object for us alone.

        :raises SheepdogError: NoObject, or it was not done
        """
        self._writer.flush()
        obj = self._opener.get(key)
        if obj is None:
            raise _no_strip(key)
        await self._turns.take(obj)
        try:
            if not obj.exists:
                raise _no_strip(key)
            if obj.damage:
                raise self._opener.unusable(obj)
            change = await make(obj)
            if self.is_closing:
                raise errors.ShuttingDown('the store is closing')
        except BaseException:
            self._turns.give_back(obj)
            raise
        if change is None:
            self._turns.give_back(obj)
            return
        done = asyncio.get_running_loop().create_future()

        def finish(error):
            if not done.done():
                done.set_result(error)

        op = operations.Operation(records.HISTORY, obj, obj.version, 0, 0,
                                  change, finish, True, 0)
        self._turns.park_first(obj, self._writer.start, [op])
        self._turns.give_back(obj)
        error = await done
        if error is not None:
            raise error

    async def align(self, key: int, generation: tuple, kept) -> None:
        """See ``Store.align``."""
        is_last = False

        async def make(obj):
            nonlocal is_last
            excess = obj.history.excess(kept)
            undone = excess[:_fitting(excess)]
            is_last = len(undone) == len(excess)
            return Change(await self._restored(obj, undone),
                          store_history.Align(
                              generation if is_last else store_history.NONE,
                              frozenset(update.number for update in undone)))

        while not is_last:
            await self.change(key, make)

    async def settle(self, key: int, generation: tuple) -> None:
        """See ``Store.settle``."""
        async def make(obj):
            return Change([], store_history.Settle(generation))

        await self.change(key, make)

    async def doom(self, key: int, epoch: int, check: Callable) -> None:
        """See ``Store.doom``."""
        async def make(obj):
            check()
            if obj.history.is_doomed:
                return None
            return Change([], store_history.Align(
                obj.history.doom(epoch), frozenset()))

        await self.change(key, make)

    async def _restored(self, obj, updates: list) -> list:
        """The parts that undo the updates, in that order."""
        blocks = {}
        for update in updates:
            low, high = _blocks_of(update.offset, update.size)
            for start in range(low, high, _BLOCK):
                if start not in blocks:
                    blocks[start] = bytearray(await self._block(obj, start))
                _put_back(blocks[start], start, update)
        return [Part(start, _BLOCK,
                     bytes(block) if any(block) else None)
                for start, block in sorted(blocks.items())]

    async def _block(self, obj, start: int) -> bytes:
        if not obj.table[start // _BLOCK]:
            return checksums.ZERO_BLOCK
        try:
            data = await obj.file.pread_cold(_BLOCK, start)
        except OSError as error:
            raise self._reader.failed(obj, error, 'what is to be undone')
        if len(data) != _BLOCK or checksums.entry(data) != \
                obj.table[start // _BLOCK]:
            self._reader.note_bad(obj, [start // _BLOCK])
            raise store_reader.checksum_error(obj, [start // _BLOCK])
        return data


def _blocks_of(offset: int, size: int) -> tuple:
    return (offset // _BLOCK * _BLOCK,
            -(-(offset + size) // _BLOCK) * _BLOCK)


def _parts(offset: int, size: int, data, old: Optional[bytes]) -> list:
    """The new content as whole blocks.

    :param data: None: zeroes
    :param old: the present content of the blocks, None: zeroes
    """
    low, high = _blocks_of(offset, size)
    if data is None:
        if old is None or not any(old[:offset - low]) \
                and not any(old[offset - low + size:]):
            return [Part(low, high - low, None)]
        data = bytes(size)
    head = offset - low
    tail = high - offset - size
    if head or tail:
        data = b''.join((old[:head] if old else bytes(head), data,
                         old[-tail:] if old and tail else bytes(tail)))
    view = memoryview(data)
    chunk = store_writer.WRITE_CHUNK_BYTES
    return [Part(low + start, min(chunk, high - low - start),
                 data if high - low <= chunk else view[start:start + chunk])
            for start in range(0, high - low, chunk)]


def _fitting(updates: list) -> int:
    """How many of the first ones are undone in one change: each journal has
    room for it."""
    total = 0
    for count, update in enumerate(updates):
        low, high = _blocks_of(update.offset, update.size)
        total += high - low
        if count and total > UNDONE_MAX_BYTES:
            return count
    return len(updates)


def _put_back(block: bytearray, start: int, update) -> None:
    """What the update has replaced of the block from ``start``."""
    first = max(update.offset, start)
    end = min(update.offset + update.size, start + _BLOCK)
    block[first - start:end - start] = \
        bytes(end - first) if update.old is None else \
        update.old[first - update.offset:end - update.offset]


def undoing(change: Change) -> Change:
    """What takes back an update of which perhaps a part was applied."""
    event = change.event
    parts = []
    for part in change.parts:
        for start in range(part.offset, part.offset + part.size, _BLOCK):
            low = start - part.offset
            block = bytearray(_BLOCK) if part.data is None else \
                bytearray(part.data[low:low + _BLOCK])
            _put_back(block, start, event)
            parts.append(Part(start, _BLOCK,
                              bytes(block) if any(block) else None))
    return Change(parts, store_history.Align(
        store_history.NONE, frozenset((event.number,))))


def _no_strip(key: int) -> errors.NoObject:
    return errors.NoObject('strip %s' % store_objects.name_of(key))
