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

from sheepdog.model import errors
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
CAPACITY = case.CAPACITY


class SegmentsTest(case.StoreCase):
    """The journal has two segments of 512 KiB here: 118 blocks each."""

    def setUp(self):
        super().setUp()
        self.open()

    def write_blocks(self, count: int, oid: int = 1) -> None:
        for number in range(count):
            self.write(oid, number % 64 * BLOCK, b'%06d' % number * 600,
                       durable=False)

    def test_they_take_turns(self):
        self.write_blocks(1000)
        self.sync()
        self.assertGreater(self.store.counters.checkpoints, 5)
        self.assertEqual(b'%06d' % 999 * 600, self.read(1, 39 * BLOCK, 3600))
        self.crash(power=True)
        self.open()
        self.assertEqual(b'%06d' % 999 * 600, self.read(1, 39 * BLOCK, 3600))

    def test_writes_wait_for_a_free_segment_and_reads_do_not(self):
        self.write(1, 0, b'x' * BLOCK)
        self.write(2, 0, b'y' * BLOCK)
        self.host.faults.slowness = 1e6
        answers = [self.start(self.store.write, 1, 1, number % 64 * BLOCK,
                              b'z' * BLOCK, durable=False)
                   for number in range(400)]
        self.let_pass(0.001)
        self.assertTrue(any(not answer for answer in answers))
        self.assertEqual(
            [(None, b'y' * BLOCK)],
            self.start(self.store.read, 2, 0, BLOCK))
        self.host.faults.slowness = 1.0
        self.simulation.run_until(lambda: all(answers), 1e5)
        self.assertEqual([[(None,)]] * 400, answers)
        self.assertGreater(self.store.counters.stalls, 0)

    def test_also_where_little_is_written_the_journal_is_emptied(self):
        self.reopen(checkpoint_seconds=10.0)
        self.write(1, 0, b'x' * BLOCK)
        self.let_pass(25)
        self.assertEqual(1, self.store.counters.checkpoints)
        self.let_pass(100)
        self.assertEqual(1, self.store.counters.checkpoints)
        self.crash()
        self.open()
        self.assertEqual(0, self.store.counters.replayed_records)
        self.assertEqual(b'x' * BLOCK, self.read(1, 0, BLOCK))

    def test_gauges(self):
        before = self.store.gauges()
        self.assertEqual((0, False, False), (
            before.objects, before.has_failed, before.is_full))
        self.assertEqual(1 << 20, before.journal_bytes)
        self.write(1, 0, b'x' * BLOCK)
        after = self.store.gauges()
        self.assertEqual((1, 1, 0), (after.objects, after.open_objects,
                                     after.bad_objects))
        self.assertGreaterEqual(
            after.journal_used_bytes - before.journal_used_bytes, BLOCK)
        self.assertLess(0, after.free_bytes)
        # The used part returns to nothing when a segment becomes free.
        self.host.faults.slowness = 1e6
        answers = [self.start(self.store.write, 1, 1, number % 64 * BLOCK,
                              b'z' * BLOCK, durable=False)
                   for number in range(200)]
        self.let_pass(0.001)
        self.assertTrue(self.store.gauges().is_checkpointing)
        self.assertGreater(self.store.gauges().journal_used_bytes, 1 << 19)
        self.host.faults.slowness = 1.0
        self.simulation.run_until(
            lambda: all(answers)
            and not self.store.gauges().is_checkpointing, 1e5)
        self.assertLess(self.store.gauges().journal_used_bytes, 1 << 19)

    def test_syncs_are_watched(self):
        seen = []
        self.store.watch_syncs(lambda *sync: seen.append(sync))
        self.write(1, 0, b'x' * BLOCK)
        for number in range(5):
            self.start(self.store.write, 1, 1, number * BLOCK, b'y' * BLOCK)
        self.let_pass(1)
        self.assertEqual(6, sum(records for _, records in seen))
        self.assertEqual(5, seen[-1][1])
        self.assertTrue(all(seconds > 0 for seconds, _ in seen))
        # Of one that failed nothing is told but its error.
        self.host.faults.fails_syncs = True
        count = len(seen)
        with self.assertRaises(errors.StorageError):
            self.write(1, 0, b'y' * BLOCK)
        self.assertEqual(count, len(seen))
        self.assertTrue(self.store.gauges().has_failed)

    def test_a_failed_batch_leaves_no_trace(self):
        self.write(1, 0, b'x' * BLOCK)
        self.host.faults.fails_writes = True
        answers = [self.start(self.store.write, 1, 1, number * BLOCK,
                              b'y' * BLOCK) for number in range(3)]
        self.let_pass(0.1)
        for answer in answers:
            self.assertIsInstance(answer[0][0], errors.StorageError)
        self.host.faults.fails_writes = False
        self.assertEqual(b'x' * BLOCK, self.read(1, 0, BLOCK))
        self.write(1, BLOCK, b'z' * BLOCK)
        self.crash()
        self.open()
        self.assertEqual(b'x' * BLOCK + b'z' * BLOCK + bytes(BLOCK),
                         self.read(1, 0, 3 * BLOCK))

    def test_after_a_refused_sync_nothing_is_believed(self):
        self.write(1, 0, b'x' * BLOCK)
        self.host.faults.fails_syncs = True
        with self.assertRaises(errors.StorageError):
            self.write(1, 0, b'y' * BLOCK)
        self.host.faults.fails_syncs = False
        for call in (self.sync, lambda: self.write(1, 0, b'z'),
                     lambda: self.remove(1), lambda: self.zero(1, 0, BLOCK)):
            with self.assertRaises(errors.StorageError):
                call()
        self.assertEqual(BLOCK, len(self.read(1, 0, BLOCK)))
        self.let_pass(5)
        self.crash()
        self.open()
        self.assertTrue(self.store.power_lost)
        self.write(1, 0, b'again')
