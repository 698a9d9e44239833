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

import unittest

import hypothesis
from hypothesis import strategies as st

from sheepdog.model import errors
from sheepdog.store import checksums
from sheepdog.store import records
from sheepdog.store import replay
from sheepdog.store import scan
from sheepdog.store import store as store_module
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
CAPACITY = case.CAPACITY
BLOCKS = 8


@st.composite
def histories(draw):
    """Entries of one object's records, as the journal would have them."""
    entries = []
    for sequence in range(1, draw(st.integers(1, 12)) + 1):
        kind = draw(st.sampled_from(
            (records.WRITE, records.INTENT, records.ZERO, records.WRITE,
             records.REMOVE, records.ADOPT)))
        first = count = 0
        flags = 0
        table = []
        if kind in (records.WRITE, records.INTENT, records.ZERO):
            first = draw(st.integers(0, BLOCKS - 1))
            count = draw(st.integers(1, BLOCKS - first))
        if kind in (records.WRITE, records.INTENT):
            flags = draw(st.sampled_from((0, 0, 0, records.CREATE)))
            table = [draw(st.sampled_from((0, 1000 * sequence + index)))
                     for index in range(count)]
        record = records.Record(
            kind, flags, sequence, 0, 1, sequence, draw(st.integers(1, 9)),
            first * BLOCK, count * BLOCK, BLOCKS * BLOCK,
            b''.join(value.to_bytes(4, 'little') for value in table),
            0, 0, 0)
        entries.append(scan.Entry(record, 0, 100000 * sequence))
    return entries


def naive(entries):
    """The same by doing one record after the other."""
    blocks, reset, is_removed, version = {}, None, False, 0
    for record, segment, position in entries:
        if record.is_reset:
            blocks, reset, version = {}, record, 0
            is_removed = record.kind == records.REMOVE
        version = max(version, record.version)
        first = record.offset // BLOCK
        for index in range(record.length // BLOCK):
            if record.kind == records.ZERO:
                blocks[first + index] = 'zero'
                continue
            entry = int.from_bytes(
                record.entries[4 * index:4 * index + 4], 'little')
            if record.kind == records.INTENT:
                blocks[first + index] = ('file', entry)
            elif not entry:
                blocks[first + index] = 'zero'
            else:
                blocks[first + index] = (position + index * BLOCK, entry)
    return blocks, reset, is_removed, version


class PlanTest(unittest.TestCase):
    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(histories())
    def test_as_one_record_after_the_other(self, entries):
        # (After a removal the writer writes nothing without CREATE.)
        valid = []
        is_there = True
        for entry in entries:
            if not is_there and not entry.record.is_reset:
                continue
            is_there = entry.record.kind != records.REMOVE
            valid.append(entry)
        plan = replay.plan(valid)
        blocks, reset, is_removed, version = naive(valid)
        self.assertEqual((reset, is_removed), (plan.reset, plan.is_removed))
        if is_removed:
            self.assertEqual({}, plan.blocks)
            return
        self.assertEqual(version, plan.version)
        found = {}
        for block, source in plan.blocks.items():
            if source.position == -2:
                found[block] = 'zero'
            elif source.position == -1:
                found[block] = ('file', source.entry)
            else:
                found[block] = (source.position, source.entry)
        self.assertEqual(blocks, found)

    def test_certain_is_what_was_applied_before_the_end(self):
        def intent(sequence, block):
            return scan.Entry(records.Record(
                records.INTENT, 0, sequence, 0, 1, 1, 1, block * BLOCK,
                BLOCK, CAPACITY, bytes(4), 0, 0, 0), 0, 0)

        plan = replay.plan([intent(5, 0), intent(6, 1)], 5)
        self.assertTrue(plan.blocks[0].is_certain)
        self.assertFalse(plan.blocks[1].is_certain)


class ReplayTest(case.StoreCase):
    def fill(self):
        self.open()
        self.write(1, 0, b'a' * BLOCK, version=3)
        self.write(1, BLOCK, b'b' * 30 * BLOCK, version=4)
        self.write(2, 0, b'c' * BLOCK)
        self.remove(2)
        self.write(3, 5, b'd' * 100)
        self.zero(3, 50, 10)

    def check(self):
        self.assertEqual([1, 3], self.store.oids())
        self.assertEqual(
            b'a' * BLOCK + b'b' * 30 * BLOCK + bytes(33 * BLOCK),
            self.read(1))
        self.assertEqual(bytes(5) + b'd' * 45 + bytes(10) + b'd' * 45,
                         self.read(3, 0, 105))
        self.assertEqual(4, self.store.version(1))

    def test_after_a_kill_and_after_a_power_cut(self):
        for power in (False, True):
            with self.subTest(power=power):
                self.setUp()
                self.fill()
                self.crash(power)
                self.open()
                self.assertEqual(power, self.store.power_lost)
                self.check()

    def test_after_a_clean_end_there_is_nothing_to_do(self):
        self.fill()
        self.close()
        self.host.power_cut()
        self.host.power_on()
        self.open()
        self.assertEqual(0, self.store.counters.replayed_records)
        self.assertFalse(self.store.power_lost)
        self.check()

    def test_a_power_loss_is_remembered_until_it_was_handled(self):
        self.fill()
        self.crash(power=True)
        self.open()
        self.crash()
        self.open()
        self.assertTrue(self.store.power_lost)
        self.reopen()
        self.assertTrue(self.store.power_lost)
        self.wait(self.store.power_loss_handled())
        self.assertFalse(self.store.power_lost)
        self.reopen()
        self.assertFalse(self.store.power_lost)

    def test_whose_objects_they_are(self):
        self.open()
        self.assertEqual(0, self.store.cluster)
        self.wait(self.store.set_cluster(7))
        self.crash(power=True)
        self.open()
        self.assertEqual(7, self.store.cluster)
        self.reopen()
        self.assertEqual(7, self.store.cluster)

    def test_torn_unsynced_writes_are_accepted_and_counted(self):
        self.open()
        self.write(1, 0, b'a' * CAPACITY)
        self.write(1, 0, b'b' * BLOCK)
        self.write(1, 10 * BLOCK, b'c' * 20 * BLOCK, durable=False)
        inode = self.inode(1)
        self.host.power_cut()
        # Half of one block of it reached the disk.
        torn = b'c' * 2048 + b'a' * 2048
        for pages in inode.pages, inode._durable_pages:
            pages[12] = torn
        self.host.power_on()
        self.open()
        self.assertEqual(torn, self.read(1, 12 * BLOCK, BLOCK))
        state = self.wait(self.store.describe(1))
        self.assertTrue(state.whole)
        self.assertGreaterEqual(state.uncertain, 1)

    def test_objects_the_journal_does_not_name_stay_suspect(self):
        self.open()
        self.write(1, 0, b'a' * CAPACITY)
        self.reopen()
        self.write(2, 0, b'x')
        inode = self.inode(1)
        self.crash(power=True)
        inode.rot(5, 5)
        self.open()
        with self.assertRaises(errors.ChecksumError):
            self.read(1, 5 * BLOCK, BLOCK)

    def test_a_journal_that_rots_loses_no_more_than_it_must(self):
        self.open()
        for block in range(20):
            self.write(1, block * BLOCK, bytes([block + 1]) * BLOCK)
        self.crash()
        # The tenth record: what is behind it vouches for it.
        page = 1 + 10 * records.ONE_BLOCK_BYTES // BLOCK
        self.segment(0).rot(page, 77)
        self.open()
        # Its copies must be asked: nothing here vouches for that block.
        self.assertTrue(self.store.power_lost)
        with self.assertRaises(errors.ChecksumError):
            self.read(1, 9 * BLOCK, BLOCK)
        for block in set(range(20)) - {9}:
            self.assertEqual(bytes([block + 1]) * BLOCK,
                             self.read(1, block * BLOCK, BLOCK))

    def test_a_missing_journal_is_refused(self):
        self.fill()
        self.crash()
        journal = self.host.image.directory('/meta/journal')
        name = sorted(journal.entries)[0]
        journal.change((name, None))
        with self.assertRaises(store_module.StoreRefused) as caught:
            self.open()
        self.assertEqual(2, caught.exception.exit_code)
        self.assertIn('/meta/journal', str(caught.exception))

    def test_a_file_that_vanished_is_missed_and_said_so(self):
        self.open()
        self.write(1, 0, b'x' * BLOCK)
        self.reopen()
        self.write(1, 0, b'y' * BLOCK)
        self.crash()
        self.host.image.directory('/meta/obj').change(('%016x' % 1, None))
        with self.assertLogs('sheepdog.store.replay', 'ERROR'):
            self.open()
        self.assertEqual(1, self.store.counters.lost_objects)
        self.check_spoilt(1)
        self.crash()
        self.open()
        self.check_spoilt(1)
        self.host.run(self.store.adopt(
            1, 1, CAPACITY, [(0, b'z' * BLOCK)], keep=False))
        self.assertEqual(b'z' * BLOCK, self.read(1, 0, BLOCK))

    def check_spoilt(self, oid):
        """It is not told as one that never was."""
        self.assertEqual([oid], self.store.oids())
        self.assertFalse(self.host.run(self.store.describe(oid)).whole)
        with self.assertRaises(errors.ChecksumError):
            self.read(oid, 0, BLOCK)

    def test_what_was_adopted_vanished_and_the_former_is_back(self):
        self.open()
        self.write(1, 0, b'x' * BLOCK)
        self.reopen()
        name = '%016x' % 1
        directory = self.host.image.directory('/meta/obj')
        former = directory.entries[name]
        self.host.run(self.store.adopt(
            1, 2, CAPACITY, [(0, b'y' * BLOCK)], keep=False))
        self.crash()
        directory.change((name, former))
        with self.assertLogs('sheepdog.store', 'ERROR'):
            self.open()
        self.check_spoilt(1)
        self.assertEqual(1, self.store.quarantine.kept)

    def test_another_journal_place_or_size_at_any_start(self):
        for changes in ({'journal_dir': '/other'},
                        {'journal_bytes': 2 << 20},
                        {'journal_skip': True}, {}):
            with self.subTest(changes=changes):
                self.setUp()
                self.fill()
                self.crash()
                self.open(**changes)
                self.check()
                self.write(4, 0, b'e')
                self.crash()
                self.open()
                self.check_and_more()

    def check_and_more(self):
        self.assertEqual(b'e', self.read(4, 0, 1))
        self.remove(4)
        self.check()


class ScanTest(case.StoreCase):
    def scan(self):
        self.host.start()
        disk = self.host.world.disk
        files = [disk.open('/meta/journal/%s.%d' % (self.store.node_id, n))
                 for n in (0, 1)]
        return self.wait(scan.scan(files, [512 << 10] * 2))

    def test_stops_where_the_journal_ends(self):
        self.open()
        for block in range(20):
            self.write(1, block * BLOCK, b'x' * BLOCK)
        self.crash()
        found = self.scan()
        self.assertEqual(20, len(found.entries))
        self.assertFalse(found.is_damaged)
        self.assertEqual([0], found.live)
        self.assertEqual(found.sequence, found.entries[-1].record.sequence)

    def test_nothing_of_an_earlier_use_counts(self):
        self.open()
        # Equal records in equal places, over and over.
        for _ in range(3):
            for block in range(12):
                self.write(1, block * BLOCK, b'x' * BLOCK)
            self.reopen()
        self.write(1, 0, b'y' * BLOCK)
        self.crash()
        found = self.scan()
        self.assertEqual(1, len(found.entries))
        self.assertFalse(found.is_damaged)
        self.assertFalse(found.is_torn)

    def test_a_tail_that_never_was_durable_is_not_damage(self):
        self.open()
        self.write(1, 0, b'x' * BLOCK)
        for block in range(20):
            self.write(1, block * BLOCK, b'x' * BLOCK, durable=False)
        self.crash()
        # A record in the middle of those is lost, those behind are there.
        self.segment(0).rot(10, 77)
        found = self.scan()
        self.assertFalse(found.is_damaged)
        self.assertTrue(found.is_torn)
        self.assertLess(len(found.entries), 12)

    def test_nothing_vouches_for_what_was_synced_last(self):
        self.open()
        for block in range(20):
            self.write(1, block * BLOCK, b'x' * BLOCK)
        self.crash()
        self.assertFalse(self.scan().is_torn)
        self.crash()
        used = [number for number, page in self.segment(0).pages.items()
                if any(bytes(page))]
        self.segment(0).rot(max(used), 77)
        found = self.scan()
        self.assertEqual(19, len(found.entries))
        self.assertEqual((False, True), (found.is_damaged, found.is_torn))

    def test_a_store_remembers_that_its_journal_was_torn(self):
        self.test_nothing_vouches_for_what_was_synced_last()
        self.crash()
        for _ in range(2):
            self.open()
            self.assertEqual((False, True), (self.store.journal_damaged,
                                             self.store.journal_torn))
            self.crash()
        self.open()
        self.host.run(self.store.power_loss_handled())
        self.assertFalse(self.store.journal_torn)
        self.reopen()
        self.assertFalse(self.store.journal_torn)

    def test_without_syncs_nothing_is_promised(self):
        self.open(nosync=True)
        self.write(1, 0, b'x' * BLOCK)
        self.crash()
        self.segment(0).rot(1, 77)
        self.open()
        self.assertFalse(self.store.journal_torn)

    def test_a_damaged_header_is_noticed(self):
        self.open()
        self.write(1, 0, b'x' * BLOCK)
        self.crash()
        self.segment(0).rot(0, 99)
        self.assertTrue(self.scan().is_damaged)


class DigestAfterReplayTest(case.StoreCase):
    def test_same_content_same_digest(self):
        self.open()
        self.write(1, 0, b'x' * BLOCK)
        self.write(1, 0, b'y' * CAPACITY)
        self.write(2, 0, b'y' * CAPACITY)
        self.crash()
        self.open()
        one, two = [self.wait(self.store.describe(oid)) for oid in (1, 2)]
        self.assertEqual(one.digest, two.digest)
        self.assertEqual(
            checksums.digest(checksums.table_of(
                self.wait(self.store.table(1)))), one.digest)
