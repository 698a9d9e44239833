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

"""Bringing the object files up to the journal, after a crash.

Object by object: what the journal's records amount to (``plan``, pure) is
written to the object's file, its table with it. Doing it twice is the same
as doing it once, so a crash in the middle is just another crash.

After a power cut, blocks whose content does not fit their checksum are
accepted as found in objects that the journal names: they hold writes that
were never declared durable. When the page cache was kept, that is so only
for the long writes that were under way at the end. Any other such block is
damaged.
"""

import asyncio
import logging
import typing

from crc32c import crc32c

from sheepdog.model import ids
from sheepdog.store import adopting
from sheepdog.store import checksums
from sheepdog.store import history as store_history
from sheepdog.store import mending
from sheepdog.store import objects as store_objects
from sheepdog.store import records
from sheepdog.store import scan
from sheepdog.store import state as store_state

LOG = logging.getLogger(__name__)

_BLOCK = checksums.BLOCK_BYTES
SYNCS_AT_ONCE = 4
CHECK_CHUNK_BYTES = 256 << 10
LOOSE_BYTES = 16 << 10
"""What a file may take of the disk beside its blocks and its table."""

PROGRESS_SECONDS = 5.0


class Source(typing.NamedTuple):
    """What a block is: ``entry``, and where the journal has its data
    (``position`` -1: it has not, the file should; ``is_certain``: it was
    written when the process died, though perhaps not to the device)."""

    entry: int
    segment: int
    position: int
    is_certain: bool = True


_ZERO = Source(0, -1, -2)


class Plan(typing.NamedTuple):
    """What the records of one object amount to.

    ``reset``: the record that made all before it void, or None. ``blocks``:
    the last word on each block that has one. ``events``: of a strip, as
    entries.
    """

    reset: typing.Optional[records.Record]
    is_removed: bool
    version: int
    blocks: dict
    events: tuple = ()


def closed(entries: list) -> list:
    """Without the parts of changes whose end is missing."""
    kept = []
    parts = []
    for entry in entries:
        record = entry.record
        if record.flags & records.PART:
            parts.append(entry)
            continue
        if record.kind == records.HISTORY:
            kept += parts
        parts = []
        kept.append(entry)
    return kept


def plan(entries: list, applied: int = 0) -> Plan:
    """From one object's entries of the journal, in order. Pure.

    ``applied``: up to this record the object files were changed for sure
    before the process died.
    """
    entries = closed(entries)
    start = 0
    for index, entry in enumerate(entries):
        if entry.record.is_reset:
            start = index
    last = entries[start:]
    if not last:
        return Plan(None, False, 0, {})
    reset = last[0].record if last[0].record.is_reset else None
    if reset is not None and reset.kind == records.REMOVE:
        return Plan(reset, True, 0, {})
    blocks = {}
    events = []
    for record, segment, position in last:
        if record.kind == records.HISTORY:
            events.append(scan.Entry(record, segment, position))
            continue
        first = record.offset // _BLOCK
        count = record.length // _BLOCK
        if record.kind == records.ZERO:
            for block in range(first, first + count):
                blocks[block] = _ZERO
            continue
        table = memoryview(record.entries).cast('I')
        for index, value in enumerate(table):
            if record.kind == records.INTENT:
                source = Source(value, segment, -1,
                                record.sequence <= applied)
            elif value:
                source = Source(value, segment, position + index * _BLOCK)
            else:
                # Zeroes take no room, also where there is none.
                source = _ZERO
            blocks[first + index] = source
    return Plan(reset, False, max((entry.record.version for entry in last),
                                  default=0), blocks, tuple(events))


class Outcome:
    """``uncertain``: object → blocks accepted as found. ``bad``: object →
    damaged blocks found. ``lost``: objects whose files are missing.
    ``histories``: strip → History, of those with open updates."""

    def __init__(self):
        self.uncertain = {}
        self.bad = {}
        self.lost = []
        self.histories = {}


class Replay:
    """``names``: what is in the objects' directory. ``is_rewritten``: what
    the page cache shows may be on no disk, so write it once more. ``open``:
    strip → open updates that were kept apart from the journal."""

    def __init__(self, world, directory: str, names: list, files: list,
                 found: scan.Found, is_power_lost: bool,
                 is_rewritten: bool, counters: store_state.Counters,
                 quarantine,
                 kept_open: typing.Optional[dict] = None):
        self.outcome = Outcome()
        self._world = world
        self._disk = world.disk
        self._directory = directory
        self._names = set(names)
        self._files = files
        self._found = found
        self._is_power_lost = is_power_lost
        self._is_rewritten = is_rewritten
        self._counters = counters
        self._quarantine = quarantine
        self._kept_open = kept_open or {}
        self._syncs = []

    async def run(self) -> Outcome:
        """Everything the journal says is in the objects' files, on disk.

        :raises OSError: not all of it
        """
        by_object = {}
        for entry in self._found.entries:
            by_object.setdefault(entry.record.oid, []).append(entry)
        self._counters.replayed_records += len(self._found.entries)
        LOG.info('journal: %d records of %d objects to replay%s',
                 len(self._found.entries), len(by_object),
                 ', after a power cut' if self._is_power_lost else '')
        applied = max((entry.record.applied for entry in
                       self._found.entries), default=0)
        plans = {oid: plan(by_object.get(oid, []), applied)
                 for oid in sorted({*by_object, *self._kept_open})}
        # (Of an object's first change perhaps only a part was durable.)
        plans = {oid: plan for oid, plan in plans.items()
                 if plan.reset or plan.blocks or plan.events
                 or oid in self._kept_open}
        self._make_room(plans)
        reported = self._world.clock.monotonic()
        for count, oid in enumerate(plans):
            await self._replay(oid, plans[oid])
            self._counters.replayed_objects += 1
            now = self._world.clock.monotonic()
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                LOG.info('journal: %d of %d objects replayed', count + 1,
                         len(plans))
        await self._drain(0)
        await self._disk.sync_directory(self._directory)
        return self.outcome

    def _make_room(self, plans: dict) -> None:
        """What is to go goes first: on a full disk the rest needs it."""
        built = {adopting.path_of_new(store_objects.name_of(oid),
                                      plan.reset.birth)
                 for oid, plan in plans.items() if plan.reset is not None
                 and plan.reset.kind == records.ADOPT}
        for name in sorted(self._names):
            oid = store_objects.oid_of(name)
            plan = plans.get(oid)
            if plan is not None and plan.is_removed or oid is None \
                    and adopting.oid_of_new(name) and name not in built:
                self._disk.unlink('%s/%s' % (self._directory, name))
                self._names.discard(name)

    async def _replay(self, oid: int, plan: Plan) -> None:
        name = store_objects.name_of(oid)
        path = '%s/%s' % (self._directory, name)
        if plan.is_removed:
            return
        file = await self._file(path, name, plan.reset)
        if file is None:
            LOG.error('object %016x: the journal has changes of it, but its '
                      'file is missing or unusable', oid)
            self.outcome.lost.append(oid)
            self._counters.lost_objects += 1
            await self._leave_a_sign(path, name, plan.reset)
            return
        try:
            await self._bring_up(oid, file, plan)
            if oid > ids.MASK64:
                await self._remember(oid, file, plan)
            await self._sync(file)
        finally:
            # (The sync goes on.)
            file.close()

    async def _file(self, path: str, name: str, reset):
        """The object's file as of its first record that counts, or None.
        """
        if reset is not None and reset.kind == records.ADOPT:
            built = adopting.path_of_new(path, reset.birth)
            if built.rpartition('/')[2] in self._names:
                self._disk.rename(built, path)
                self._names.add(name)
        file = None
        if name in self._names:
            file = self._disk.open(path)
            head = store_objects.unpack_attribute(
                file.get_attribute(store_objects.ATTRIBUTE))
            is_ours = head is not None and (
                reset is None or head[1] == reset.birth)
            capacity = store_objects.capacity_of(file.size())
            if is_ours and (capacity or reset is not None):
                if reset is not None and capacity != reset.capacity:
                    file.truncate(store_objects.file_bytes(reset.capacity))
                return file
            file_bytes = file.allocated()
            file.close()
        if reset is None or reset.kind == records.ADOPT:
            return None
        # Made by a write of which nothing reached the disk, or in the place
        # of an older object of which that is still there.
        if file is not None:
            if head is None and not self._is_power_lost and (
                    file_bytes > LOOSE_BYTES + store_objects.file_bytes(
                        capacity) - capacity):
                # It has a content, but does not tell whose.
                await self._quarantine.keep(path, 'its version is missing '
                                            'or damaged')
            self._disk.unlink(path)
        file = self._disk.open(path, create=True)
        store_objects.prepare(
            file, reset.capacity,
            checksums.new_table(reset.capacity // _BLOCK), reset.version,
            reset.birth)
        if ids.strip_of(reset.oid) >= 0:
            store_objects.save_history(file, store_history.History())
        return file

    async def _leave_a_sign(self, path: str, name: str, reset) -> None:
        """An empty file is a damaged object. Of one that is not here we
        would say that it never was, or is gone; and of one from before the
        last adoption, that it is what we had."""
        if name in self._names:
            file = self._disk.open(path, read_only=True)
            is_spoilt = store_objects.unpack_attribute(
                file.get_attribute(store_objects.ATTRIBUTE)) is None
            file.close()
            if reset is None or is_spoilt:
                return
            await self._quarantine.keep(path, 'it is older than what the '
                                        'journal says of it')
            self._disk.unlink(path)
        self._disk.open(path, create=True).close()
        self._names.add(name)

    async def _remember(self, key: int, file, plan: Plan) -> None:
        """What the strip knows besides its bytes."""
        history = store_history.unpack_attribute(
            file.get_attribute(store_history.ATTRIBUTE))
        if history is None and plan.reset is not None \
                and plan.reset.kind != records.ADOPT:
            # It was made by what the journal has, and nothing synced it.
            history = store_history.History()
        if history is None:
            LOG.error('strip %s: its history is damaged',
                      store_objects.name_of(key))
            self.outcome.lost.append(key)
            self._counters.lost_objects += 1
            return
        if plan.reset is None:
            for update in self._kept_open.get(key, ()):
                history.note(update, 0)
                history.apply(update, 0)
        for record, segment, position in plan.events:
            event = store_history.unpack_event(
                await self._files[segment].pread_cold(record.length,
                                                      position))
            if event is None:
                LOG.error('strip %s: record %d is no event',
                          store_objects.name_of(key), record.sequence)
                continue
            history.note(event, record.sequence)
            history.apply(event, record.sequence)
        history.trim()
        store_objects.save_history(file, history)
        if history.open:
            self.outcome.histories[key] = history

    async def _bring_up(self, oid: int, file, plan: Plan) -> None:
        capacity = store_objects.capacity_of(file.size())
        version, birth, crc = store_objects.unpack_attribute(
            file.get_attribute(store_objects.ATTRIBUTE))
        size = capacity // _BLOCK * checksums.ENTRY_BYTES
        data = await file.pread_cold(size, capacity)
        is_suspect = crc32c(data) != crc
        table = checksums.table_of(data)
        if is_suspect and not self._is_power_lost:
            mended, _ = await mending.mend(
                file, table, crc, [block for block in range(len(table))
                                   if block not in plan.blocks])
            if mended is not None:
                table, is_suspect = mended, False
        to_punch = []
        to_check = []
        for block in sorted(plan.blocks):
            source = plan.blocks[block]
            if source is _ZERO:
                to_punch.append(block)
            elif source.position >= 0:
                journal = self._files[source.segment]
                # Warm: it was just scanned.
                content = journal.pread_warm(_BLOCK, source.position)
                if content is None:
                    content = await journal.pread_cold(_BLOCK,
                                                       source.position)
                file.pwrite(content, block * _BLOCK)
            else:
                to_check.append(block)
            table[block] = source.entry
        for first, count in checksums.runs(to_punch):
            if self._is_rewritten:
                store_objects.write_content(file, bytes(count * _BLOCK),
                                            first * _BLOCK)
            file.punch(first * _BLOCK, count * _BLOCK)
        acceptable = {block for block in to_check
                      if not plan.blocks[block].is_certain}
        if self._is_power_lost or is_suspect:
            to_check = [block for block in range(capacity // _BLOCK)
                        if block not in plan.blocks
                        or plan.blocks[block].position == -1]
            if self._is_power_lost and oid <= ids.MASK64:
                # (A strip has nothing that is not in the durable journal.)
                acceptable = set(to_check)
        await self._check(oid, file, table, to_check, acceptable)
        file.pwrite(table.cast('B'), capacity)
        file.set_attribute(
            store_objects.ATTRIBUTE, store_objects.pack_attribute(
                max(version, plan.version), birth, table))

    async def _check(self, oid, file, table, blocks: list,
                     acceptable: set) -> None:
        """Compare blocks with the table; set it right for those of
        ``acceptable``."""
        most = CHECK_CHUNK_BYTES // _BLOCK
        for first, count in checksums.runs(blocks):
            for start in range(first, first + count, most):
                end = min(start + most, first + count)
                data = await file.pread_cold((end - start) * _BLOCK,
                                             start * _BLOCK)
                if self._is_rewritten:
                    store_objects.write_content(file, data, start * _BLOCK)
                wrong = checksums.mismatches(data, table, start)
                if not wrong:
                    continue
                found = checksums.entries(data)
                for block in wrong:
                    if block not in acceptable:
                        self.outcome.bad.setdefault(oid, []).append(block)
                        continue
                    table[block] = found[block - start]
                    self.outcome.uncertain[oid] = \
                        self.outcome.uncertain.get(oid, 0) + 1
                    self._counters.uncertain_blocks += 1

    async def _sync(self, file) -> None:
        future = asyncio.get_running_loop().create_future()

        def done(error):
            if not future.done():
                future.set_result(error)

        file.sync_later(done)
        self._syncs.append(future)
        await self._drain(SYNCS_AT_ONCE)

    async def _drain(self, left: int) -> None:
        while len(self._syncs) > left:
            error = await self._syncs.pop(0)
            if error is not None:
                raise error
