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

"""Writes on their way to the disk: order, journal, object file, answer.

The rule that crash consistency rests on: *an object's file is changed only
while a live, durable record of the journal names the object.* So after a
power cut, whatever unsynced pages and names did or did not reach the disk
belong to objects that the journal names, and replay puts them right.

An operation on an object that the current segment names already (the object
is *armed*) is applied in the turn of the loop that brought it, right behind
its record, and acknowledged at once or, a durable one, with the next sync.
The first operation on an object in a segment is *late*: it waits for the
sync, then is applied; so are creation, removal and adoption always. Until
then the object is occupied (see ``turns``).
"""

import collections
import logging
import struct
from typing import Callable, Optional

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.store import applier as store_applier
from sheepdog.store import checksums
from sheepdog.store import journal as store_journal
from sheepdog.store import objects as store_objects
from sheepdog.store import operations
from sheepdog.store import records
from sheepdog.store import space
from sheepdog.store import state as store_state
from sheepdog.store import syncing
from sheepdog.store import turns as store_turns

LOG = logging.getLogger(__name__)

Done = Callable[[Optional[Exception]], None]

WRITE_CHUNK_BYTES = 256 << 10
"""The longest WRITE record: longer data go in several."""

_BLOCK = checksums.BLOCK_BYTES
_LARGE = limits.SMALL_WRITE_MAX_BYTES
_ZERO_CRC = checksums.ZERO_CRC
_ONE_BLOCK_BYTES = records.ONE_BLOCK_BYTES
_MAGIC = records.MAGIC
_pack_body = records.BODY_OF_ONE.pack
_pack_prefix = records.PREFIX.pack
_CRC = struct.Struct('<I')
_Operation = operations.Operation
_WRITE = records.WRITE
_INTENT = records.INTENT


class Writer:
    """``journal`` None: every change goes straight to the object's file.

    ``on_full(segment)`` is called when a segment is full and the other one
    has taken over.
    """

    def __init__(self, world, journal: Optional[store_journal.Journal],
                 turns: store_turns.Turns, syncs: syncing.Syncs,
                 applier: store_applier.Applier, reserve: space.Reserve,
                 counters: store_state.Counters):
        self.batch_number = 1
        self.failed = None
        """Why nothing can be written any more, as an error to raise."""
        self.on_full = None
        self.on_failed = None
        """Called once, when nothing can be written any more."""
        self.on_device_error = None
        """Called with each error of a change (it may be that the device is
        full) before whoever waits hears of it."""
        self.take_number = None
        """As ``Started.take_number``."""
        self.settler = None
        """A ``settling.Settler``: for operations that fail half-way."""
        self._world = world
        self._journal = journal
        self._turns = turns
        self._syncs = syncs
        self._applier = applier
        self._reserve = reserve
        self._counters = counters
        self._batch = []
        self._waiting = []
        self._syncing = []
        self._is_syncing = False
        self._stalled = []
        self._full_error = None
        self._answers = []
        self._to_release = collections.deque()

    # The straight way.

    def write_block(self, obj: store_objects.Object, version: int,
                    offset: int, data: bytes, done: Done,
                    is_durable: bool) -> bool:
        """Take a write of one whole block to an object that is ready;
        False: it must go the long way. (``start`` with everything unneeded
        left out.)"""
        journal = self._journal
        tail = journal.tail + _ONE_BLOCK_BYTES
        capacity = obj.capacity
        if tail > journal.limit or offset + _BLOCK > capacity \
                or self.failed is not None or self._stalled \
                or self._reserve.is_near and not obj.table[
                    offset // _BLOCK]:
            return False
        entry = crc32c(data) ^ _ZERO_CRC or checksums.entry(data)
        journal.sequence = journal.appended_sequence = sequence = \
            journal.sequence + 1
        body = _pack_body(sequence, journal.synced_sequence, obj.oid,
                          obj.birth, version, offset, _BLOCK, capacity,
                          _WRITE, 0, 0, sequence - journal.applied_sequence,
                          entry)
        journal.buffers += (_pack_prefix(_MAGIC, crc32c(body)), body, data)
        journal.tail = tail
        op = _Operation(_WRITE, obj, version, offset, _BLOCK, data, done,
                        is_durable, capacity)
        op.entries = entry
        obj.batch = self.batch_number
        batch = self._batch
        if not batch:
            self._world.call_batched(self.flush)
        batch.append(op)
        return True

    # The long way.

    def submit(self, obj: store_objects.Object,
               op: operations.Operation) -> None:
        """Take an operation whose turn it is: checked and aligned.

        A long write goes into the object's file without passing through the
        journal, unless the journal holds newer content of one of its blocks
        than the disk may.
        """
        if op.kind == _WRITE and op.size >= _LARGE \
                and self._journal is not None:
            if obj.batch == self.batch_number:
                # What the batch writes is not marked as fresh yet.
                self.apply_taken()
                self._turns.park_first(obj, self.submit, [op])
                self._turns.go_on(obj)
                return
            first = op.offset // _BLOCK
            if not obj.exists or not obj.is_fresh(
                    first, first + op.size // _BLOCK):
                op.kind = _INTENT
            elif op.size > WRITE_CHUNK_BYTES:
                self.submit_parts(obj, operations.split(op, WRITE_CHUNK_BYTES))
                return
        self.start(obj, op)

    def submit_parts(self, obj: store_objects.Object, parts: list) -> None:
        """Take several operations, with nothing in between."""
        self._turns.park_first(obj, self.start, parts)
        self._turns.go_on(obj)

    def sync(self, done: Done) -> None:
        """``done`` when everything taken so far is durable."""
        self._counters.flushes += 1
        self.flush()
        if self.failed is not None:
            # A device that refused a sync once may claim success with the
            # next one, though what the first was to write is lost.
            done(self.failed)
            return
        # Who took a whole object (adoption) has no unacknowledged write.
        busy = [obj for obj in self._turns.busy.values()
                if obj.parked or obj.oid not in self._turns.held]
        flush = operations.Flush(len(busy) + 1, self._sync_for, done)
        for obj in busy:
            self._turns.park(obj, flush.passed, None, obj.low, obj.high)
        flush.passed(None, None)

    def is_idle(self) -> bool:
        """Nothing that was taken is under way."""
        return not (self._batch or self._waiting or self._is_syncing
                    or self.settler.pending or self._answers
                    or self._stalled)

    def flush(self) -> None:
        """Write out what was taken, apply what may be, answer."""
        self._write_batch()
        self._conclude()

    def apply_taken(self) -> None:
        """As ``flush``, but the answers come later: nothing new is taken
        meanwhile."""
        self._write_batch()
        self._world.call_batched(self._conclude)

    def _write_batch(self) -> None:
        batch = self._batch
        if not batch:
            return
        self._batch = []
        self.batch_number += 1
        journal = self._journal
        self._reserve.used(journal.unwritten_bytes)
        try:
            journal.write_out()
        except OSError as error:
            self._give_up(batch, store_state.typed(error, 'the journal'))
            return
        waiting = self._waiting
        answers = self._answers
        apply = self._applier.apply
        for op in batch:
            if op.segment is not None:
                waiting.append(op)
                continue
            obj = op.obj
            if op.kind == _WRITE and op.size == _BLOCK \
                    and not op.is_applied:
                # As Applier.apply does it.
                offset = op.offset
                block = offset // _BLOCK
                try:
                    obj.file.pwrite(op.data, offset)
                except OSError as error:
                    self.settler.failed(op, error)
                    continue
                entry = op.entries
                obj.table[block] = entry if entry.__class__ is int \
                    else entry[0]
                obj.fresh[block] = 1
                obj.is_dirty = True
                obj.is_touched = True
                if op.version > obj.version:
                    obj.version = op.version
                if obj.oid in self._applier.bad:
                    self._applier.bad.mend(obj.oid, block, block + 1)
            else:
                error = apply(op)
                if error is not None:
                    self.settler.failed(op, error)
                    continue
                if op.kind == _INTENT and op.is_durable:
                    op.waits = 2
                    self._syncs.object(obj, op.part_done)
            if op.is_durable:
                waiting.append(op)
            else:
                answers.append(op)
        if not journal.has_pending:
            journal.applied_sequence = journal.written_sequence

    def _conclude(self) -> None:
        """Start the sync that is waited for; let go of what failed; answer.
        Anything may happen in the answers."""
        if self._waiting and not self._is_syncing:
            self._sync()
        while self._to_release:
            self._turns.release(self._to_release.popleft())
        answers = self._answers
        if answers:
            self._answers = []
            for op in answers:
                op.done(op.error)

    def change_segments(self) -> None:
        """Go on in the other segment before this one is full, if it can be
        done now: a replay has less to do then."""
        self.flush()
        journal = self._journal
        if self.failed is None and journal.can_switch \
                and journal.has_records and not self._batch:
            self.on_full(journal.switch())

    def resume(self) -> None:
        """A segment of the journal became free."""
        self._full_error = None
        stalled = self._stalled
        self._stalled = []
        for op in stalled:
            obj = op.obj
            obj.is_busy = False
            self.start(obj, op)
            if not obj.is_busy:
                self._turns.go_on(obj)

    def refuse_stalled(self, error: errors.SheepdogError) -> None:
        """No segment becomes free for now: what waits for one fails, and
        what would, until ``resume``."""
        self._full_error = error
        stalled = self._stalled
        self._stalled = []
        for op in stalled:
            self._turns.release(op.obj)
            op.done(error)

    def fail(self, error: errors.SheepdogError) -> None:
        """Nothing can be relied on to be written any more; reads go on."""
        if self.failed is None:
            LOG.critical('the store takes no more writes: %s', error)
            self.failed = error
            self._counters.errors += 1
            self.on_device_error(error)
            self.refuse_stalled(error)
            self.on_failed()

    def start(self, obj, op: operations.Operation) -> None:
        """Journal an operation; it is applied when the batch is flushed."""
        if self.failed is not None:
            op.done(self.failed)
            return
        if op.kind == records.HISTORY:
            self._start_change(obj, op)
            return
        if op.entries is None and op.data is not None \
                and op.kind != records.ADOPT:
            op.entries = checksums.entries(op.data)
        journal = self._journal
        if journal is None:
            self._do_directly(obj, op)
            return
        size = records.size_of(op.kind, op.size)
        if op.kept:
            self._give_room_back(op)
        elif not self._make_room(obj, op, size):
            return
        sequence = journal.take_number()
        if obj.exists:
            if op.kind != records.ADOPT:
                op.capacity = obj.capacity
                op.birth = obj.birth
        elif op.kind in (_WRITE, _INTENT):
            op.flags = records.CREATE
            op.birth = sequence
        head = records.pack(
            op.kind, op.flags, sequence, journal.synced_sequence, obj.oid,
            op.birth, op.version, op.offset, op.size, op.capacity,
            b'' if op.entries is None else op.entries.tobytes(),
            sequence - journal.applied_sequence)
        journal.append(sequence,
                       (head, op.data) if op.kind == _WRITE else (head,),
                       size)
        if obj.armed != journal.generation or op.flags \
                or op.kind >= records.REMOVE:
            segment = op.segment = journal.current
            segment.pending += 1
            segment.named.setdefault(obj.oid, False)
            self._turns.occupy(obj, *operations.span(op))
        obj.batch = self.batch_number
        if not self._batch:
            self._world.call_batched(self.flush)
        self._batch.append(op)

    def _start_change(self, obj, op: operations.Operation) -> None:
        """``op.data`` is a ``strips.Change``: its parts, then what makes
        them count."""
        change = op.data
        journal = self._journal
        if journal is not None:
            if op.kept:
                # It undoes something: its room is there, and nothing makes
                # it wait, nor refuses it.
                self._give_room_back(op)
                assert journal.has_room(change.size(), True)
            else:
                kept = change.undo_size()
                if not self._make_room(obj, op, change.size() + kept):
                    return
                op.kept = kept
                journal.keep(kept)
        if not obj.exists:
            op.flags = records.CREATE
        if journal is None:
            # (Its history knows by it that it is new.)
            change.sequence = self.take_number()
            self._do_directly(obj, op)
            return
        flags = records.PART | op.flags
        for part in change.parts:
            self._append(obj, op, part.kind, flags, part.offset, part.size,
                         b'' if part.entries is None
                         else part.entries.tobytes(),
                         (part.data,) if part.kind == _WRITE else ())
            flags = records.PART
        change.sequence = self._append_event(obj, op, change)
        segment = op.segment = journal.current
        segment.pending += 1
        segment.named.setdefault(obj.oid, False)
        if obj.is_busy:
            self._turns.join(obj)
        else:
            self._turns.occupy(obj)
        obj.batch = self.batch_number
        if not self._batch:
            self._world.call_batched(self.flush)
        self._batch.append(op)

    def has_room(self, change) -> bool:
        """``start`` would journal that change of a strip at once."""
        return (self._journal is not None and self.failed is None
                and not self._stalled
                and self._journal.has_room(change.size()
                                           + change.undo_size()))

    def _give_room_back(self, op: operations.Operation) -> None:
        """It need not be undone any more."""
        if op.kept:
            self._journal.keep(-op.kept)
            op.kept = 0

    def has_room_to_repeat(self, size: int) -> bool:
        """For so many bytes of records, without filling most of a segment
        with what is old."""
        journal = self._journal
        return journal is None or (journal.has_room(size)
                                   and size <= journal.segment_bytes // 2)

    def repeat(self, obj: store_objects.Object, change,
               done: Done) -> None:
        """Journal an event once more, whoever has the object's turn; there
        is room (``has_room_to_repeat``)."""
        journal = self._journal
        if journal is None or self.failed is not None:
            done(self.failed)
            return
        op = _Operation(records.HISTORY, obj, obj.version, 0, 0, change,
                        done, True, obj.capacity)
        op.is_applied = True
        self._append_event(obj, op, change)
        journal.current.named.setdefault(obj.oid, False)
        if not self._batch:
            self._world.call_batched(self.flush)
        self._batch.append(op)

    def _append_event(self, obj, op, change):
        """The record that makes those of the change's parts count; its
        number."""
        crc = 0
        for piece in change.packed:
            crc = crc32c(piece, crc)
        return self._append(obj, op, records.HISTORY, 0, 0,
                            change.packed_bytes, _CRC.pack(crc),
                            change.packed)

    def _append(self, obj, op, kind, flags, offset, size, entries, data):
        """One record of a change, with these buffers; its number."""
        journal = self._journal
        sequence = journal.take_number()
        if obj.exists:
            op.capacity, op.birth = obj.capacity, obj.birth
        elif flags & records.CREATE:
            op.birth = sequence
        head = records.pack(
            kind, flags, sequence, journal.synced_sequence, obj.oid,
            op.birth, op.version, offset, size, op.capacity, entries,
            sequence - journal.applied_sequence)
        journal.append(sequence, (head, *data), records.size_of(kind, size))
        return sequence

    def _make_room(self, obj, op, size: int) -> bool:
        """Room for the operation's record in the current segment; False:
        the operation is taken care of otherwise."""
        journal = self._journal
        is_removal = op.kind == records.REMOVE
        if journal.has_room(size, is_removal) and (
                is_removal or not self._stalled):
            return True
        if self._stalled and not is_removal or not journal.can_switch:
            if self._full_error is not None:
                op.done(self._full_error)
                return False
            self._counters.stalls += 1
            self._turns.occupy(obj, *operations.span(op))
            self._stalled.append(op)
            return False
        self.apply_taken()
        self.on_full(journal.switch())
        self._turns.park_first(obj, self.start, [op])
        self._turns.go_on(obj)
        return False

    def _do_directly(self, obj, op: operations.Operation) -> None:
        """Without a journal: the object's file, at once."""
        if not obj.exists and op.kind in (_WRITE, _INTENT):
            op.flags = records.CREATE
        is_named = records.REMOVE <= op.kind <= records.ADOPT
        error = self._applier.apply(op)
        if error is None and not is_named:
            try:
                obj.save_table()
            except OSError as caught:
                error = caught
        if error is not None:
            self.settler.failed(op, error)
            return
        if obj.exists:
            self._syncs.mark(obj)
        if not op.is_durable:
            op.done(None)
        elif is_named:
            self._syncs.directory(op.part_done)
        else:
            self._syncs.object(obj, op.part_done)

    def _sync_for(self, flush: operations.Flush) -> None:
        self.flush()
        if self.failed is not None:
            flush.done(self.failed)
            return
        unsynced = list(self._syncs.unsynced.values())
        flush.waits = 1 + len(unsynced)
        if self._journal is None:
            # Names have no other place then.
            self._syncs.directory(flush.part_done)
        else:
            self._waiting.append(flush)
        for obj in unsynced:
            self._syncs.object(obj, flush.part_done)
        if self._waiting and not self._is_syncing:
            self._sync()

    def _sync(self) -> None:
        if self.failed is not None:
            # As in ``sync``. What waits was written beside what the refused
            # sync was for.
            ops, self._waiting = self._waiting, []
            self._give_up(ops, self.failed)
            self._world.call_batched(self._conclude)
            return
        self._is_syncing = True
        self._syncing = self._waiting
        self._waiting = []
        self._journal.sync(self._synced)

    def _synced(self, error: Optional[OSError]) -> None:
        """The journal is durable up to where the sync began: apply what
        waited for that, start the next sync, answer."""
        ops = self._syncing
        self._syncing = []
        self._is_syncing = False
        if error is not None:
            typed = store_state.typed(error, 'sync of the journal')
            self.fail(typed)
            self._give_up(ops, typed)
            self._conclude()
            return
        answers = []
        landed = []
        for op in ops:
            if op.segment is None:
                answers.append(op)
                continue
            error = self._applier.apply(op)
            if error is not None:
                self.settler.failed(op, error)
                continue
            self._landed(op)
            landed.append(op.obj)
            if op.kind == _INTENT and op.is_durable:
                self._syncs.object(op.obj, op.part_done)
            else:
                answers.append(op)
        journal = self._journal
        if not self.settler.pending \
                and journal.synced_sequence > journal.applied_sequence:
            journal.applied_sequence = journal.synced_sequence
        for obj in landed:
            self._turns.release(obj)
        self.flush()
        if self._waiting and not self._is_syncing:
            self._sync()
        for op in answers:
            op.part_done(None)

    def landed_late(self, op: operations.Operation) -> None:
        """One that has failed before."""
        self._landed(op)
        self._turns.release(op.obj)
        self.flush()
        op.part_done(None)

    def _landed(self, op: operations.Operation) -> None:
        """A late operation was applied: its object is armed."""
        obj = op.obj
        segment = op.segment
        self._give_room_back(op)
        obj.armed = segment.generation
        segment.named[obj.oid] = True
        segment.applied()

    def _give_up(self, ops: list, error: errors.SheepdogError) -> None:
        """What was not applied will not be."""
        self._counters.errors += 1
        LOG.error('%d operations failed: %s', len(ops), error)
        self.on_device_error(error)
        for op in ops:
            op.error = error
            self._answers.append(op)
            if op.segment is not None:
                self._give_room_back(op)
                op.segment.applied()
                self._to_release.append(op.obj)
