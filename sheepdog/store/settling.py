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

"""After an operation that failed half-way: what is the object's content now?

A full disk may take one part of a write and refuse the rest. The record of
the write is in the journal already; so the blocks concerned are read back,
and journalled as they are. Replay then ends with what readers saw. A
creation is made void by a removal, and a removal is never taken back.

An update of a strip says itself what it replaced: it is rolled back, by a
change of its own, for which the journal has kept room. (Refused, a replay
would bring the update back, though the strip has told that it lacks it.)
"""

import asyncio
import logging
from typing import Optional

from sheepdog.model import errors
from sheepdog.store import applier as store_applier
from sheepdog.store import checksums
from sheepdog.store import history as store_history
from sheepdog.store import journal as store_journal
from sheepdog.store import objects as store_objects
from sheepdog.store import operations
from sheepdog.store import records
from sheepdog.store import state as store_state
from sheepdog.store import strips as store_strips
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer

LOG = logging.getLogger(__name__)

FULL_SECONDS = 1.0
FULL_ATTEMPTS = 30
"""Of what must be done, on a full disk; then nothing is written any more."""


class Settler:
    """``pending``: how many operations are being settled."""

    def __init__(self, world, objects: store_objects.Objects,
                 journal: Optional[store_journal.Journal],
                 turns: store_turns.Turns, applier: store_applier.Applier,
                 writer: store_writer.Writer, counters: store_state.Counters):
        self.pending = 0
        self._world = world
        self._objects = objects
        self._journal = journal
        self._turns = turns
        self._applier = applier
        self._bad = applier.bad
        self._writer = writer
        self._counters = counters

    def failed(self, op: operations.Operation, error: OSError) -> None:
        """Its record is in the journal, but it could not be applied."""
        obj = op.obj
        typed = store_state.typed(error, self._objects.path(obj.oid))
        self._counters.errors += 1
        LOG.error('%s failed: %s', records.KIND_NAMES[op.kind], typed)
        self._writer.on_device_error(typed)
        if op.kind == records.HISTORY and op.segment is not None \
                and self._strip_failed(op, typed, error):
            return
        if op.kind >= records.REMOVE:
            if self._journal is not None:
                # The journal says that it is gone: too late to say no.
                self._writer.fail(typed)
            if op.segment is not None:
                op.segment.applied()
                self._turns.release(obj)
            op.done(typed)
        elif op.flags & records.CREATE:
            self._undo_create(op, typed)
        else:
            self.pending += 1
            if op.segment is None and self._journal is not None:
                # No checkpoint of its segment until it is settled.
                segment = self._journal.current
                segment.pending += 1
                self._settle(op, typed, segment, False)
            else:
                self._settle(op, typed, op.segment, op.segment is not None)

    def _strip_failed(self, op: operations.Operation,
                      typed: errors.SheepdogError, error: OSError) -> bool:
        """False: it cannot be taken care of."""
        if op.flags & records.CREATE:
            self._undo_create(op, typed)
        elif isinstance(op.data.event, store_history.Update):
            def finish(failure):
                # (Until then its own record is needed: its blocks are
                # neither the old nor the new ones.)
                op.segment.applied()
                op.done(failure or typed)

            undo = operations.Operation(
                records.HISTORY, op.obj, op.version, 0, 0,
                store_strips.undoing(op.data), finish, True, op.capacity)
            undo.kept, op.kept = op.kept, 0
            self._turns.park_first(op.obj, self._writer.start, [undo])
            self._turns.release(op.obj)
        elif store_state.is_full(error):
            # (Its segment stays pending meanwhile.)
            self.pending += 1
            self._world.spawn(self._try_again(op, error),
                              'store: undo an update')
        else:
            return False
        return True

    async def _try_again(self, op: operations.Operation,
                         error: Optional[OSError]) -> None:
        for _ in range(FULL_ATTEMPTS):
            await asyncio.sleep(FULL_SECONDS)
            if self._writer.failed is not None:
                break
            error = self._applier.apply(op)
            if error is None or not store_state.is_full(error):
                break
        self.pending -= 1
        if error is None:
            self._writer.landed_late(op)
            return
        typed = store_state.typed(error, self._objects.path(op.obj.oid))
        self._writer.fail(typed)
        op.segment.applied()
        self._turns.release(op.obj)
        op.done(typed)

    def _undo_create(self, op: operations.Operation,
                     error: errors.SheepdogError) -> None:
        """The record of a failed creation is made void by one of removal.
        """
        obj = op.obj
        try:
            self._applier.undo_create(obj)
        except OSError as caught:
            self._writer.fail(store_state.typed(caught,
                                                'undoing a creation'))
        if op.segment is None:
            op.done(error)
            return
        removal = operations.Operation(
            records.REMOVE, obj, 0, 0, 0, None, lambda _: op.done(error),
            False, 0)
        removal.kept, op.kept = op.kept, 0
        self._turns.park_first(obj, self._writer.start, [removal])
        op.segment.applied()
        self._turns.release(obj)

    def _settle(self, op: operations.Operation, error: errors.SheepdogError,
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
            # It is in the journal as it is.
            self.pending -= 1
            if segment is not None:
                segment.applied()
            op.done(error)

        if not chunks or self._journal is None:
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
