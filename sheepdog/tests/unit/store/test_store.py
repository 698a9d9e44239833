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

import asyncio
import random
import unittest
from unittest import mock

from sheepdog.model import errors
from sheepdog.store import adopting
from sheepdog.store import checksums
from sheepdog.store import objects as store_objects
from sheepdog.testing import disk as sim_disk
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
CAPACITY = case.CAPACITY


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class WriteAndReadTest(case.StoreCase):
    def setUp(self):
        super().setUp()
        self.open()

    def test_an_object_comes_to_be_with_its_first_write(self):
        with self.assertRaises(errors.NoObject):
            self.write(1, 0, b'x', capacity=0)
        with self.assertRaises(errors.NoObject):
            self.read(1, 0, 1)
        self.assertEqual([], self.store.oids())
        self.write(1, 0, b'x')
        self.assertEqual([1], self.store.oids())
        self.assertEqual(b'x' + bytes(CAPACITY - 1), self.read(1))

    def test_any_alignment(self):
        twin = bytearray(CAPACITY)
        source = random.Random(7)
        for number in range(120):
            offset = source.randrange(CAPACITY)
            size = source.randrange(
                1, min(CAPACITY - offset, source.choice((9, 9000, 200000)))
                + 1)
            if source.random() < 0.25:
                self.zero(1, offset, size) if number else \
                    self.write(1, 0, b'')
                data = bytes(size) if number else b''
            else:
                data = noise(size, number)
                self.write(1, offset, data,
                           durable=source.random() < 0.5)
            twin[offset:offset + len(data)] = data
            start = source.randrange(CAPACITY)
            end = source.randrange(start, CAPACITY + 1)
            self.assertEqual(bytes(twin[start:end]),
                             self.read(1, start, end - start))
        self.reopen()
        self.assertEqual(bytes(twin), self.read(1))

    def test_bounds(self):
        self.write(1, 0, b'x')
        for offset, size in ((CAPACITY, 1), (0, CAPACITY + 1), (-1, 2)):
            with self.assertRaises(errors.InvalidParameters):
                self.read(1, offset, size)
            with self.assertRaises(errors.InvalidParameters):
                self.write(1, offset, bytes(size))
            with self.assertRaises(errors.InvalidParameters):
                self.zero(1, offset, size)
        for capacity in (BLOCK + 1, 1, 1 << 40, -BLOCK):
            with self.assertRaises(errors.InvalidParameters):
                self.write(2, 0, b'x', capacity=capacity)
        self.assertEqual([1], self.store.oids())
        self.assertEqual(b'', self.read(1, CAPACITY, 0))

    def test_the_version_never_falls(self):
        for version, expected in ((5, 5), (3, 5), (9, 9)):
            self.write(1, 0, b'x', version=version)
            self.assertEqual(expected, self.store.version(1))
        self.zero(1, 0, 1, version=12)
        self.assertIsNone(self.store.version(2))
        self.crash()
        self.open()
        self.assertEqual(12, self.store.version(1))

    def test_reads_see_what_was_accepted_before_them(self):
        self.write(1, 0, noise(BLOCK))
        self.host.faults.sync_seconds = 1000.0
        for number in range(5):
            data = noise(BLOCK, number)
            self.start(self.store.write, 1, 1, 0, data)
            answers = self.start(self.store.read, 1, 0, BLOCK)
            self.assertEqual([(None, data)], answers)

    def test_a_new_object_is_read_when_its_creation_is_durable(self):
        data = noise(BLOCK)
        written = self.start(self.store.write, 1, 1, 0, data,
                             durable=False, capacity=CAPACITY)
        answers = self.start(self.store.read, 1, 0, BLOCK)
        self.assertEqual(([], []), (written, answers))
        self.let_pass(0.1)
        self.assertEqual(([(None,)], [(None, data)]), (written, answers))

    def test_one_sync_for_all_that_wait(self):
        for oid in range(1, 33):
            self.write(oid, 0, noise(BLOCK))
        syncs = self.store.counters.journal_syncs
        answers = [self.start(self.store.write, oid, 1, 0, noise(BLOCK))
                   for oid in range(1, 33)]
        self.let_pass(0.1)
        self.assertEqual([[(None,)]] * 32, answers)
        self.assertLessEqual(self.store.counters.journal_syncs - syncs, 2)

    def test_write_back_does_not_wait_for_the_device(self):
        self.write(1, 0, noise(BLOCK))
        self.host.faults.sync_seconds = 1000.0
        answers = self.start(self.store.write, 1, 1, 0, noise(BLOCK),
                             durable=False)
        large = self.start(self.store.write, 1, 1, 2 * BLOCK,
                           noise(32 * BLOCK), durable=False)
        self.let_pass(0.001)
        self.assertEqual(([(None,)], [(None,)]), (answers, large))

    def test_a_long_write_passes_by_the_journal(self):
        self.write(1, 0, noise(BLOCK))
        self.sync()
        before = self.store.counters.journal_bytes
        self.write(1, BLOCK, noise(CAPACITY - BLOCK, 2))
        self.assertLess(self.store.counters.journal_bytes - before, 1000)
        # Over blocks whose only durable copy is in the journal it does not.
        self.write(1, 0, noise(BLOCK, 4))
        self.write(1, 0, noise(CAPACITY, 3))
        self.assertGreater(self.store.counters.journal_bytes - before,
                           CAPACITY)
        self.assertEqual(noise(CAPACITY, 3), self.read(1))

    def test_remove(self):
        self.write(1, 0, noise(BLOCK))
        self.remove(1)
        for call in (lambda: self.remove(1), lambda: self.read(1, 0, 1),
                     lambda: self.zero(1, 0, 1)):
            with self.assertRaises(errors.NoObject):
                call()
        self.assertIsNone(self.wait(self.store.describe(1)))
        self.write(1, BLOCK, b'again')
        self.crash()
        self.open()
        self.assertEqual(bytes(BLOCK) + b'again', self.read(1, 0, BLOCK + 5))

    def test_zeroing_gives_blocks_back(self):
        self.write(1, 0, noise(CAPACITY))
        full = self.store.space().free
        self.zero(1, 100, CAPACITY - 200)
        self.assertEqual(62 * BLOCK, self.store.space().free - full)
        self.assertEqual(
            [(0, BLOCK), (CAPACITY - BLOCK, BLOCK)],
            self.wait(self.store.extents(1)))

    def test_describe_and_table(self):
        self.write(1, 0, noise(BLOCK), version=7)
        self.write(2, 0, noise(BLOCK), version=8)
        one = self.wait(self.store.describe(1))
        two = self.wait(self.store.describe(2))
        self.assertEqual((7, CAPACITY, True, 0),
                         (one.version, one.capacity, one.whole,
                          one.uncertain))
        self.assertEqual(one.digest, two.digest)
        self.write(2, 0, noise(BLOCK, 2))
        two = self.wait(self.store.describe(2))
        self.assertNotEqual(one.digest, two.digest)
        table = self.wait(self.store.table(1))
        self.assertEqual(
            checksums.entry(noise(BLOCK)).to_bytes(4, 'little')
            + bytes(4 * 63), table)
        self.assertIsNone(self.wait(self.store.describe(3)))
        with self.assertRaises(errors.NoObject):
            self.wait(self.store.table(3))
        with self.assertRaises(errors.NoObject):
            self.wait(self.store.extents(3))

    def test_many_objects_with_few_open(self):
        self.reopen(open_objects_max=3)
        for oid in range(20):
            self.write(oid, 0, noise(BLOCK, oid), version=oid + 1)
        self.assertLessEqual(len(self.store._open), 3)
        for oid in range(20):
            self.assertEqual(noise(BLOCK, oid), self.read(oid, 0, BLOCK))
            self.assertEqual(oid + 1, self.store.version(oid))
        self.crash(power=True)
        self.open(open_objects_max=3)
        for oid in range(20):
            self.assertEqual(noise(BLOCK, oid), self.read(oid, 0, BLOCK))

    def test_nothing_is_taken_while_it_closes(self):
        closing = self.host.world.spawn(self.store.close())
        self.let_pass(0)
        for call in (lambda: self.write(1, 0, b'x'),
                     lambda: self.zero(1, 0, 1), lambda: self.remove(1)):
            with self.assertRaises(errors.ShuttingDown):
                call()
        self.simulation.run_until(closing.done, 10)
        self.assertIsNone(closing.exception())

    def test_node_id_stays(self):
        before = self.store.node_id
        self.assertEqual(before, self.reopen().node_id)
        self.crash()
        self.assertEqual(before, self.open().node_id)


class AdoptTest(case.StoreCase):
    def setUp(self):
        super().setUp()
        self.open()

    def adopt(self, *arguments, **keywords):
        self.wait(self.store.adopt(*arguments, **keywords))

    def test_from_nothing(self):
        self.adopt(1, 5, CAPACITY, [(10, b'abc'), (BLOCK, noise(BLOCK))],
                   False)
        self.assertEqual(bytes(10) + b'abc' + bytes(BLOCK - 13)
                         + noise(BLOCK), self.read(1, 0, 2 * BLOCK))
        self.assertEqual(5, self.store.version(1))
        self.assertEqual([(0, 2 * BLOCK)], self.wait(self.store.extents(1)))

    def test_long_pieces_go_past_the_cache(self):
        size = adopting.PAST_CACHE_BYTES
        passed = []
        write = sim_disk.SimFile.write_past_cache

        async def note(file, data, offset):
            passed.append((offset, len(data)))
            await write(file, data, offset)

        with mock.patch.object(sim_disk.SimFile, 'write_past_cache', note):
            self.adopt(1, 5, CAPACITY, [
                (0, noise(size)), (size + 1, noise(size, 2)),
                (2 * size + BLOCK, noise(size - 2 * BLOCK, 3))], False)
            self.adopt(1, 6, CAPACITY, [(BLOCK, noise(size, 4))], True)
        self.assertEqual([(0, size), (BLOCK, size)], passed)
        self.crash(power=True)
        self.open()
        content = bytearray(CAPACITY)
        content[:size] = noise(size)
        content[size + 1:2 * size + 1] = noise(size, 2)
        content[2 * size + BLOCK:3 * size - BLOCK] = noise(
            size - 2 * BLOCK, 3)
        content[BLOCK:size + BLOCK] = noise(size, 4)
        self.assertEqual(bytes(content), self.read(1))
        self.assertTrue(self.wait(self.store.describe(1)).whole)

    def test_killed_while_long_pieces_are_written_nothing_has_changed(self):
        old = noise(CAPACITY)
        self.write(1, 0, old)
        self.call(self.store.sync)
        for power in (False, True):
            adopted = self.host.world.spawn(self.store.adopt(
                1, 2, CAPACITY, [(0, noise(CAPACITY, 2))], False))
            self.let_pass(0)
            self.assertFalse(adopted.done())
            self.crash(power=power)
            self.open()
            self.assertEqual(old, self.read(1))
            self.assertEqual(['%016x' % 1],
                             self.host.world.disk.list(case.META + '/obj'))

    def test_without_keeping_the_rest_is_zero(self):
        self.write(1, 0, noise(CAPACITY), version=9)
        self.adopt(1, 5, CAPACITY, [(BLOCK, b'new')], False)
        self.assertEqual(bytes(BLOCK) + b'new' + bytes(CAPACITY - BLOCK - 3),
                         self.read(1))
        self.assertEqual(5, self.store.version(1))

    def test_keeping_patches(self):
        old = noise(CAPACITY)
        self.write(1, 0, old)
        self.adopt(1, 5, CAPACITY, [(5000, b'new')], True,
                   [(3 * BLOCK - 5, 2 * BLOCK)])
        expected = bytearray(old)
        expected[5000:5003] = b'new'
        expected[3 * BLOCK - 5:5 * BLOCK - 5] = bytes(2 * BLOCK)
        self.assertEqual(bytes(expected), self.read(1))

    def test_it_is_durable_and_replaces_what_the_journal_has(self):
        self.write(1, 0, noise(BLOCK))
        self.adopt(1, 2, CAPACITY, [(BLOCK, noise(BLOCK, 2))], False)
        self.crash(power=True)
        self.open()
        self.assertEqual(bytes(BLOCK) + noise(BLOCK, 2),
                         self.read(1, 0, 2 * BLOCK))

    def test_writes_wait_for_it(self):
        self.write(1, 0, noise(BLOCK))
        adopting = self.host.world.spawn(
            self.store.adopt(1, 2, CAPACITY, [(0, b'adopted')], False))
        self.let_pass(0)
        answers = self.start(self.store.write, 1, 3, 2, b'WRITTEN')
        self.simulation.run_until(lambda: answers, 10)
        self.assertTrue(adopting.done())
        self.assertEqual([(None,)], answers)
        self.assertEqual(b'adWRITTEN\0', self.read(1, 0, 10))

    def test_given_up_half_way_it_changes_nothing(self):
        self.write(1, 0, noise(BLOCK))
        adopting = self.host.world.spawn(
            self.store.adopt(1, 2, CAPACITY, [(0, b'adopted')], False))
        self.let_pass(0)
        adopting.cancel()
        self.let_pass(1)
        self.assertEqual(noise(BLOCK), self.read(1, 0, BLOCK))
        self.assertEqual(['%016x' % 1],
                         self.host.world.disk.list(case.META + '/obj'))

    def test_bounds(self):
        for capacity, pieces, zeros in (
                (100, [], []), (0, [], []),
                (CAPACITY, [(CAPACITY, b'x')], []),
                (CAPACITY, [], [(-1, 3)])):
            with self.assertRaises(errors.InvalidParameters):
                self.adopt(1, 1, capacity, pieces, False, zeros)
        self.assertEqual([], self.store.oids())


class DamageTest(case.StoreCase):
    """Bits that flip on the disk, below the store."""

    def setUp(self):
        super().setUp()
        self.open()
        self.data = noise(CAPACITY)
        self.write(1, 0, self.data, version=4)

    def test_every_flipped_bit_is_found(self):
        self.close()
        source = random.Random(3)
        for _ in range(40):
            bit = source.randrange(8 * BLOCK)
            block = source.randrange(64)
            self.inode(1).rot(block, bit)
            self.open()
            with self.assertRaises(errors.ChecksumError):
                self.read(1, block * BLOCK + 7, 3)
            other = (block + 1) % 64 * BLOCK
            self.assertEqual(self.data[other:other + BLOCK],
                             self.read(1, other, BLOCK))
            self.assertEqual({1: [block]}, self.store.bad_blocks())
            self.assertFalse(self.wait(self.store.describe(1)).whole)
            self.close()
            self.inode(1).rot(block, bit)

    def test_a_flipped_bit_in_the_checksum_table_is_mended(self):
        """The blocks fit the checksum of the table; it does not."""
        self.close()
        source = random.Random(4)
        for _ in range(20):
            self.inode(1).rot(64, source.randrange(8 * 4 * 64))
            self.open()
            self.assertEqual([(0, CAPACITY)],
                             self.wait(self.store.extents(1)))
            self.assertEqual(self.data, self.read(1, 0, CAPACITY))
            self.assertEqual({}, self.store.bad_blocks())
            self.assertTrue(self.wait(self.store.describe(1)).whole)
            if source.random() < 0.5:
                # This brings the table to disk.
                block = source.randrange(64) * BLOCK
                self.write(1, block, self.data[block:block + BLOCK])
            self.close()

    def test_a_flipped_bit_in_the_table_and_a_replay(self):
        """What is replayed must not make the wrong checksum the right one.
        """
        self.reopen()
        self.write(1, 3 * BLOCK, noise(BLOCK, 2))
        self.crash()
        self.inode(1).rot(64, 32 * 9)
        self.open()
        self.assertEqual({}, self.store.bad_blocks())
        self.assertEqual(
            self.data[:3 * BLOCK] + noise(BLOCK, 2) + self.data[4 * BLOCK:],
            self.read(1, 0, CAPACITY))

    def test_a_flipped_bit_in_the_table_and_one_in_a_block(self):
        """Nobody knows of either block whether it is right."""
        self.close()
        self.inode(1).rot(20, 7)
        source = random.Random(4)
        for _ in range(20):
            bit = source.randrange(8 * 4 * 64)
            self.inode(1).rot(64, bit)
            self.open()
            self.wait(self.store.describe(1))
            # (Not a hole, whatever the table says now.)
            self.assertEqual([(0, CAPACITY)],
                             self.wait(self.store.extents(1)))
            bad = {20, bit // 32}
            self.assertEqual({1: sorted(bad)}, self.store.bad_blocks())
            for block in bad:
                with self.assertRaises(errors.ChecksumError):
                    self.read(1, block * BLOCK, BLOCK)
            self.close()
            self.inode(1).rot(64, bit)

    def test_what_an_opening_finds_is_reported(self):
        """…and repaired, though nobody has read the block yet."""
        reported = []
        self.close()
        self.inode(1).rot(64, 32 * 9)
        self.inode(1).rot(9, 5)
        self.open()
        self.store.when_damaged(reported.append)
        self.read(1, 0, BLOCK)
        self.assertEqual([1], reported)
        self.assertEqual({1: [9]}, self.store.bad_blocks())

    def test_a_file_that_is_no_objects_is_reported(self):
        self.close()
        self.inode(1).set_attribute(store_objects.ATTRIBUTE, b'nothing')
        self.open()
        reported = []
        self.store.when_damaged(reported.append)
        for call in (lambda: self.read(1, 0, BLOCK),
                     lambda: self.write(1, 0, noise(BLOCK, 2))):
            with self.assertRaises(errors.ChecksumError):
                call()
        self.assertEqual([1, 1], reported)
        self.assertIsNone(self.store.device_error)
        self.assertEqual({1: [0]}, self.store.bad_blocks())

    def test_a_file_that_is_gone_is_reported(self):
        self.close()
        self.open()
        self.host.world.disk.unlink(case.META + '/obj/%016x' % 1)
        reported = []
        self.store.when_damaged(reported.append)
        with self.assertRaises(errors.ChecksumError):
            self.read(1, 0, BLOCK)
        self.assertEqual([1], reported)
        self.assertIsNone(self.store.device_error)
        self.wait(self.store.adopt(1, 5, CAPACITY, [(0, noise(BLOCK, 6))],
                                   False))
        self.assertEqual(noise(BLOCK, 6), self.read(1, 0, BLOCK))
        self.assertEqual({}, self.store.bad_blocks())

    def test_after_a_kill_too(self):
        self.sync()
        self.write(1, 0, noise(BLOCK, 2))
        self.crash()
        self.inode(1).rot(40, 9)
        self.open()
        with self.assertRaises(errors.ChecksumError):
            self.read(1, 40 * BLOCK, BLOCK)

    def test_overwriting_mends(self):
        self.reopen()
        for block in (1, 2, 3):
            self.inode(1).rot(block, 5)
        for block in (1, 2, 3):
            with self.assertRaises(errors.ChecksumError):
                self.read(1, block * BLOCK, BLOCK)
        with self.assertRaises(errors.ChecksumError):
            self.write(1, BLOCK + 1, b'a part only')
        self.write(1, BLOCK, noise(BLOCK, 5))
        self.assertEqual({1: [2, 3]}, self.store.bad_blocks())
        self.zero(1, 2 * BLOCK, BLOCK)
        self.wait(self.store.adopt(
            1, 5, CAPACITY, [(3 * BLOCK, noise(BLOCK, 6))], True))
        self.assertEqual({}, self.store.bad_blocks())
        self.assertTrue(self.wait(self.store.describe(1)).whole)
        self.assertEqual(noise(BLOCK, 5) + bytes(BLOCK) + noise(BLOCK, 6),
                         self.read(1, BLOCK, 3 * BLOCK))

    def test_the_same_content_again_mends(self):
        """As a good copy has it, the checksum is the one of before."""
        self.zero(1, 2 * BLOCK, BLOCK)
        self.reopen()
        good = self.read(1, BLOCK, BLOCK)
        for block in (1, 3):
            self.inode(1).rot(block, 5)
            with self.assertRaises(errors.ChecksumError):
                self.read(1, block * BLOCK, BLOCK)
        self.wait(self.store.adopt(1, 5, CAPACITY, [(BLOCK, good)], True,
                                   [(2 * BLOCK, BLOCK)]))
        self.assertEqual({1: [3]}, self.store.bad_blocks())
        self.assertEqual(good, self.read(1, BLOCK, BLOCK))

    def test_what_is_bad_stays_bad_when_it_is_kept(self):
        self.reopen()
        self.inode(1).rot(3, 5)
        self.wait(self.store.adopt(1, 5, CAPACITY, [(0, b'x')], True))
        with self.assertRaises(errors.ChecksumError):
            self.read(1, 3 * BLOCK, BLOCK)
        with self.assertRaises(errors.ChecksumError):
            self.wait(self.store.adopt(
                1, 6, CAPACITY, [(3 * BLOCK, b'a part')], True))
        self.assertEqual(5, self.store.version(1))

    def adopt_lost(self, oid=1, keep=True):
        self.wait(self.store.adopt(oid, 5, CAPACITY, [(0, b'x')], keep,
                                   lost=[(3, 77)]))

    def check_lost(self, oid=1):
        self.assertEqual({oid: [3]}, self.store.bad_blocks())
        self.assertFalse(self.wait(self.store.describe(oid)).whole)
        with self.assertRaises(errors.ChecksumError):
            self.read(oid, 3 * BLOCK, 1)
        table = self.wait(self.store.table(oid))
        self.assertEqual(77, int.from_bytes(table[12:16], 'little'))
        self.assertEqual(b'x', self.read(oid, 0, 1))

    def test_what_nobody_has_is_bad(self):
        for oid, keep in ((1, True), (2, False)):
            self.adopt_lost(oid, keep)
            self.check_lost(oid)
            self.write(oid, 3 * BLOCK, noise(BLOCK))
            self.assertEqual({}, self.store.bad_blocks())
            self.assertTrue(self.wait(self.store.describe(oid)).whole)

    def test_a_start_knows_what_is_bad(self):
        """Before anybody has read it: others may have to keep theirs."""
        for end in (self.close, self.crash):
            self.adopt_lost()
            end()
            self.open()
            self.check_lost()
        self.inode(1).rot(9, 5)
        with self.assertRaises(errors.ChecksumError):
            self.read(1, 9 * BLOCK, 1)
        self.wait(asyncio.sleep(1))
        self.crash()
        self.open()
        self.assertEqual({1: [3, 9]}, self.store.bad_blocks())
        self.zero(1, 3 * BLOCK, BLOCK)
        self.inode(1).rot(9, 5)
        self.reopen()
        self.assertEqual({}, self.store.bad_blocks())

    def test_an_adoption_that_fails_makes_nothing_bad(self):
        self.host.faults.fails_writes = True
        with self.assertRaises(errors.StorageError):
            self.adopt_lost()
        self.host.faults.fails_writes = False
        self.reopen()
        self.assertEqual({}, self.store.bad_blocks())
        self.assertEqual(4, self.store.version(1))

    def test_zeroes_are_never_lost(self):
        with self.assertRaises(errors.InvalidParameters):
            self.wait(self.store.adopt(1, 5, CAPACITY, [], True,
                                       lost=[(3, 0)]))

    def test_a_file_that_is_no_object(self):
        self.close()
        self.inode(1).truncate(5000)
        self.open()
        self.assertEqual(4, self.store.version(1))
        for call in (lambda: self.read(1, 0, 1),
                     lambda: self.write(1, 0, b'x'),
                     lambda: self.wait(self.store.table(1))):
            with self.assertRaises(errors.StorageError):
                call()
        state = self.wait(self.store.describe(1))
        self.assertEqual((0, False), (state.capacity, state.whole))
        with self.assertRaises(errors.StorageError):
            self.wait(self.store.adopt(1, 5, CAPACITY, [], True))
        self.wait(self.store.adopt(1, 5, CAPACITY, [(0, b'whole')], False))
        self.assertEqual(b'whole', self.read(1, 0, 5))

    def test_a_device_that_cannot_read(self):
        self.host.faults.fails_reads = True
        with self.assertRaises(errors.StorageError):
            self.read(1, 0, BLOCK)
        with self.assertRaises(errors.StorageError):
            self.write(1, 1, b'a part')
        self.host.faults.fails_reads = False
        self.assertEqual(self.data, self.read(1))
        self.assertEqual({}, self.store.bad_blocks())

    def test_the_first_error_of_the_device_is_told(self):
        """…once, whatever was asked for."""
        def read():
            self.read(1, BLOCK, BLOCK)

        def write():
            self.write(1, 0, b'x' * BLOCK)

        def write_a_part():
            self.write(1, 1, b'a part')

        def adopt():
            self.wait(self.store.adopt(1, 9, CAPACITY, [(0, b'x')], True))

        for fault, ask, is_open, skip in (
                ('fails_reads', read, False, False),
                ('fails_reads', read, True, False),
                ('fails_reads', write_a_part, True, False),
                ('fails_writes', write, True, False),
                ('fails_writes', write, True, True),
                ('fails_writes', adopt, True, False),
                ('fails_syncs', write, True, False)):
            with self.subTest(fault, ask=ask, is_open=is_open, skip=skip):
                self.close()
                self.open(journal_skip=skip)
                if is_open:
                    self.read(1)
                told = []
                self.store.when_failing(lambda: told.append(
                    self.store.device_error))
                setattr(self.host.faults, fault, True)
                for _ in range(2):
                    with self.assertRaises(errors.StorageError):
                        ask()
                setattr(self.host.faults, fault, False)
                self.assertEqual(1, len(told))
                self.assertIsInstance(told[0], errors.StorageError)

    def test_that_it_is_full_is_no_error_of_the_device(self):
        told = []
        self.store.when_failing(lambda: told.append(None))
        self.host.image.fill(0)
        with self.assertRaises(errors.NoSpace):
            self.write(2, 0, b'x' * BLOCK)
        self.assertEqual([], told)

    def test_an_object_that_cannot_be_opened_now_can_be_later(self):
        self.reopen()
        self.host.faults.fails_reads = True
        with self.assertRaises(errors.StorageError):
            self.read(1, 0, BLOCK)
        self.host.faults.fails_reads = False
        self.assertEqual(self.data, self.read(1))


if __name__ == '__main__':
    unittest.main()
