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

"""After a write that failed half-way: what is the object's content now?

A full disk may take one part of a write and refuse the rest. The record of
the write is in the journal already; so the blocks concerned are read back,
and journalled as they are. Replay then ends with what readers saw.
"""

import logging

from sheepdog.model import errors
from sheepdog.store import applier as store_applier
from sheepdog.store import checksums
from sheepdog.store import operations
from sheepdog.store import records
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer

LOG = logging.getLogger(__name__)


class Settler:
    def __init__(self, world, writer: store_writer.Writer,
                 turns: store_turns.Turns, bad: store_applier.BadBlocks,
                 has_journal: bool):
        self._world = world
        self._writer = writer
        self._turns = turns
        self._bad = bad
        self._has_journal = has_journal

    def begin(self, op: operations.Operation, error: errors.SheepdogError,
              segment, is_occupied: bool) -> None:
        """``segment`` is pending for us; ``is_occupied``: the object is
        the operation's, else we queue for it. ``op.done(error)`` follows.
        """
        if is_occupied:
            self._run_later(op.obj, (op, error, segment))
        elif op.obj.is_busy or op.obj.parked:
            self._turns.park(op.obj, self._begin, (op, error, segment),
                             op.offset, op.offset + op.size)
        else:
            self._begin(op.obj, (op, error, segment))

    def _begin(self, obj, argument) -> None:
        op = argument[0]
        self._turns.occupy(obj, op.offset, op.offset + op.size)
        self._run_later(obj, argument)

    def _run_later(self, obj, argument) -> None:
        self._world.spawn(self._run(obj, *argument),
                          'store: settle a failed write')

    async def _run(self, obj, op, error, segment) -> None:
        # Whatever was taken before is applied first.
        self._writer.flush()
        chunks = []
        if obj.exists:
            for offset in range(op.offset, op.offset + op.size,
                                store_writer.WRITE_CHUNK_BYTES):
                size = min(store_writer.WRITE_CHUNK_BYTES,
                           op.offset + op.size - offset)
                try:
                    data = await obj.file.pread_cold(size, offset)
                except OSError as caught:
                    LOG.error('object %016x, %d bytes from %d: %s',
                              obj.oid, size, offset, caught)
                    first = offset // checksums.BLOCK_BYTES
                    self._bad.add(obj.oid, range(
                        first, first + size // checksums.BLOCK_BYTES))
                    self._bad.report(obj.oid)
                    continue
                chunks.append((offset, data.ljust(size, b'\0')))

        def finish(_=None):
            self._writer.settled(segment)
            op.done(error)

        if not chunks or not self._has_journal:
            for offset, data in chunks:
                first = offset // checksums.BLOCK_BYTES
                found = checksums.entries(data)
                obj.table[first:first + len(found)] = memoryview(found)
                obj.is_dirty = True
            self._turns.release(obj)
            finish()
            return
        parts = operations.Parts(len(chunks), finish)
        found = []
        for offset, data in chunks:
            part = operations.Operation(
                records.WRITE, obj, op.version, offset, len(data), data,
                parts.part_done, False, obj.capacity)
            part.is_applied = True
            found.append(part)
        self._turns.park_first(obj, self._writer.start, found)
        self._turns.release(obj)
