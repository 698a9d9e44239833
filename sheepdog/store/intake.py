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

"""What callers ask for, made into operations that the journal can take.

Checks existence and bounds, and makes everything whole blocks: a write that
begins or ends within a block is completed from the block's present content,
which is verified before.
"""

import logging

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.store import checksums
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
CAPACITY_MAX_BYTES = 1 << limits.OBJECT_SHIFT_MAX
VERSION_MAX = (1 << 32) - 1


class Intake:
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

    def write(self, oid: int, version: int, offset: int, data, done,
              is_durable: bool, capacity: int) -> None:
        if capacity:
            obj = self._opener.get_or_new(oid)
        else:
            obj = self._opener.get(oid)
            if obj is None:
                done(_no_object(oid))
                return
        self._queue(obj, operations.Operation(
            records.WRITE, obj, version, offset, len(data), data, done,
            is_durable, capacity))

    def zero(self, oid: int, version: int, offset: int, size: int, done,
             is_durable: bool) -> None:
        obj = self._opener.get(oid)
        if obj is None:
            done(_no_object(oid))
            return
        self._queue(obj, operations.Operation(
            records.ZERO, obj, version, offset, size, None, done,
            is_durable, 0))

    def remove(self, oid: int, done, is_durable: bool) -> None:
        obj = self._opener.get(oid)
        if obj is None:
            done(_no_object(oid))
            return
        self._queue(obj, operations.Operation(
            records.REMOVE, obj, 0, 0, 0, None, done, is_durable, 0))

    def _queue(self, obj, op: operations.Operation) -> None:
        if obj.is_busy or obj.parked:
            if op.kind == records.REMOVE or op.capacity:
                self._turns.park(obj, self._begin, op)
            else:
                self._turns.park(obj, self._begin, op, op.offset,
                                 op.offset + op.size)
            return
        self._begin(obj, op)
        if not obj.is_busy:
            self._turns.go_on(obj)

    def _begin(self, obj, op: operations.Operation) -> None:
        """It is the operation's turn."""
        error = self._fault(obj, op)
        if error is not None:
            op.done(error)
            return
        if op.kind == records.REMOVE:
            self._writer.start(obj, op)
        elif not op.size:
            op.done(None)
        elif op.offset % _BLOCK or (op.offset + op.size) % _BLOCK:
            self._begin_ragged(obj, op)
        elif op.kind == records.ZERO:
            self._writer.start(obj, op)
        else:
            self._writer.submit(obj, op)

    def _fault(self, obj, op):
        """The error that the operation ends with, or None."""
        capacity = obj.capacity
        if not obj.exists:
            capacity = op.capacity
            if op.kind != records.WRITE or not capacity:
                return _no_object(obj.oid)
            if capacity % _BLOCK or not 0 < capacity <= CAPACITY_MAX_BYTES:
                return errors.InvalidParameters(
                    'no object has a capacity of %d bytes' % capacity)
            if not op.size:
                return errors.InvalidParameters(
                    'an object is not created by writing nothing')
        elif op.kind == records.REMOVE:
            return None
        elif obj.damage:
            return self._opener.unusable(obj)
        if op.offset < 0 or op.size < 0 or op.offset + op.size > capacity \
                or not 0 <= op.version <= VERSION_MAX:
            return errors.InvalidParameters(
                '%d bytes from %d, version %d, object %016x of %d bytes'
                % (op.size, op.offset, op.version, obj.oid, capacity))
        if self._reserve.is_near and op.kind == records.WRITE \
                and takes_room(obj, op):
            return self._reserve.check(op)
        return None

    def _begin_ragged(self, obj, op: operations.Operation) -> None:
        """The first or the last block is not covered as a whole."""
        edges = _edges(op)
        if not obj.exists:
            self._complete(obj, op, dict.fromkeys(edges,
                                                  checksums.ZERO_BLOCK))
            return
        if obj.batch == self._writer.batch_number:
            # The content that counts is not in the file yet.
            self._writer.apply_taken()
            self._turns.park_first(obj, self._begin, [op])
            self._turns.go_on(obj)
            return
        blocks = {}
        for block in edges:
            if not obj.table[block]:
                blocks[block] = checksums.ZERO_BLOCK
                continue
            try:
                data = obj.file.pread_warm(_BLOCK, block * _BLOCK)
            except OSError as error:
                op.done(self._reader.failed(obj, error, 'block %d' % block))
                return
            if data is None:
                self._turns.occupy(obj, op.offset, op.offset + op.size)
                self._world.spawn(self._begin_cold(obj, op, edges),
                                  'store: cold edges')
                return
            blocks[block] = data
        self._complete(obj, op, blocks)

    async def _begin_cold(self, obj, op, edges: list) -> None:
        """The same, off the loop; the object is ours meanwhile."""
        blocks = {}
        failure = None
        for block in edges:
            try:
                blocks[block] = await obj.file.pread_cold(_BLOCK,
                                                          block * _BLOCK)
            except OSError as error:
                failure = self._reader.failed(obj, error,
                                              'block %d' % block)
        if failure is not None:
            self._turns.release(obj)
            op.done(failure)
            return
        self._turns.park_first(
            obj, lambda obj, op: self._complete(obj, op, blocks), [op])
        self._turns.release(obj)

    def _complete(self, obj, op: operations.Operation, blocks: dict) -> None:
        """Go on with whole blocks, given the present content of those that
        are covered in part."""
        for block, data in blocks.items():
            if obj.exists and (len(data) != _BLOCK
                               or checksums.entry(data) != obj.table[block]):
                self._reader.note_bad(obj, [block])
                op.done(store_reader.checksum_error(obj, [block]))
                return
        low = op.offset // _BLOCK * _BLOCK
        end = op.offset + op.size
        high = -(-end // _BLOCK) * _BLOCK
        if op.kind == records.WRITE:
            head = b'' if low == op.offset else \
                blocks[low // _BLOCK][:op.offset - low]
            tail = b'' if high == end else \
                blocks[end // _BLOCK][end - high:]
            op.data = b''.join((head, op.data, tail))
            op.offset = low
            op.size = high - low
            self._writer.submit(obj, op)
        else:
            self._writer.submit_parts(obj, _zero_parts(obj, op, blocks))


def takes_room(obj, op: operations.Operation) -> bool:
    """True where a block that it writes is perhaps a hole now."""
    if not obj.exists:
        return True
    first = op.offset // _BLOCK
    return 0 in obj.table[first:-(-(op.offset + op.size) // _BLOCK)]


def _edges(op: operations.Operation) -> list:
    """Numbers of the blocks that an operation covers in part."""
    end = op.offset + op.size
    edges = []
    if op.offset % _BLOCK:
        edges.append(op.offset // _BLOCK)
    if end % _BLOCK and end // _BLOCK not in edges:
        edges.append(end // _BLOCK)
    return edges


def _zero_parts(obj, op: operations.Operation, blocks: dict) -> list:
    """Writes of the ragged ends, and one of zeroes for what is between."""
    end = op.offset + op.size
    ranges = []
    for block in sorted(blocks):
        start = block * _BLOCK
        data = bytearray(blocks[block])
        first = max(op.offset - start, 0)
        last = min(end - start, _BLOCK)
        data[first:last] = bytes(last - first)
        ranges.append((records.WRITE, start, _BLOCK, bytes(data)))
    low = -(-op.offset // _BLOCK) * _BLOCK
    high = end // _BLOCK * _BLOCK
    if low < high:
        ranges.append((records.ZERO, low, high - low, None))
    parts = operations.Parts(len(ranges), op.done)
    return [operations.Operation(kind, obj, op.version, start, size, data,
                                 parts.part_done, op.is_durable, 0)
            for kind, start, size, data in ranges]


def _no_object(oid: int) -> errors.NoObject:
    return errors.NoObject('object %016x' % oid)
