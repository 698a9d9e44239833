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

"""Bits that rot, files that are gone, and what is said of them."""

import asyncio
import random
import unittest

from sheepdog.model import errors
from sheepdog.store import objects as store_objects
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
CAPACITY = case.CAPACITY


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


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

    def bad_read(self, block):
        with self.assertRaises(errors.ChecksumError):
            self.read(1, block * BLOCK, BLOCK)

    def test_the_log_is_not_filled(self):
        """Each bad block is news once; what is asked for again and again
        is said once a minute."""
        self.reopen()
        for block in (1, 2):
            self.inode(1).rot(block, 5)
        with self.assertLogs('sheepdog.store', 'ERROR') as caught:
            for _ in range(50):
                self.bad_read(1)
                self.bad_read(2)
        self.assertEqual(3, len(caught.output), caught.output)
        self.let_pass(61)
        with self.assertLogs('sheepdog.store', 'ERROR') as caught:
            for _ in range(50):
                self.bad_read(1)
        self.assertEqual(1, len(caught.output), caught.output)

    def test_nor_by_a_file_that_cannot_be_used(self):
        self.close()
        self.inode(1).set_attribute(store_objects.ATTRIBUTE, b'nothing')
        with self.assertLogs('sheepdog.store', 'ERROR') as caught:
            self.open()
            for _ in range(50):
                self.bad_read(1)
        self.assertEqual(1, len(caught.output), caught.output)

    def test_nor_by_a_device_that_fails(self):
        self.reopen()
        self.read(1, 0, BLOCK)
        self.host.faults.fails_reads = True
        with self.assertLogs('sheepdog.store', 'ERROR') as caught:
            for _ in range(50):
                with self.assertRaises(errors.StorageError):
                    self.read(1, BLOCK, BLOCK)
        self.assertEqual(1, len(caught.output), caught.output)

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

    def test_a_directory_that_is_gone_is_the_device(self):
        self.reopen()
        reported = []
        self.store.when_damaged(reported.append)
        meta, name = self.host.image.parent(case.META + '/obj')
        del meta.entries[name]
        with self.assertRaises(errors.StorageError):
            self.read(1, 0, BLOCK)
        self.assertEqual([], reported)
        self.assertIsNotNone(self.store.device_error)

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
