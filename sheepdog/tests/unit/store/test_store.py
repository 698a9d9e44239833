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

import random
import unittest
from unittest import mock

from sheepdog.model import errors
from sheepdog.store import adopting
from sheepdog.store import checksums
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


if __name__ == '__main__':
    unittest.main()
