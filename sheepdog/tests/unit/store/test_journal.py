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

import testtools

from sheepdog.model import errors
from sheepdog.store import journal
from sheepdog.store import state
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
CAPACITY = case.CAPACITY


class _File:
    """Remembers what was written, and how much at a time."""

    def __init__(self, size: int):
        self.content = bytearray(b'old ' * (size // 4))
        self.sizes = []

    def pwritev(self, buffers, offset):
        data = b''.join(buffers)
        assert offset + len(data) <= len(self.content)
        self.content[offset:offset + len(data)] = data
        self.sizes.append(len(data))


class AheadTest(testtools.TestCase):

    SEGMENT = 1 << 20
    PAGE = journal.PAGE_BYTES
    AHEAD = SEGMENT // journal.AHEAD_FRACTION

    def setUp(self):
        super().setUp()
        self.files = [_File(self.SEGMENT) for _ in range(2)]
        self.journal = journal.Journal(self.files, self.SEGMENT, 1, 0, False,
                                       state.Counters())

    def write(self, size: int) -> int:
        """Write one record out; the bytes that were written for it."""
        number = self.journal.take_number()
        data = bytes([number % 255 + 1]) * size
        self.journal.append(number, [data], size)
        file = self.journal.current.file
        before = self.journal.tail - size
        self.journal.write_out()
        self.assertEqual(data, file.content[before:before + size])
        return file.sizes[-1]

    def test_the_first_use_is_prepared_a_piece_at_a_time(self):
        sizes = [self.write(self.PAGE) for _ in range(21)]
        # The first one brings the header along.
        wanted = [2 * self.PAGE + self.AHEAD] + [self.PAGE] * 4
        wanted += ([self.PAGE + self.AHEAD] + [self.PAGE] * 4) * 4
        self.assertEqual(wanted[:21], sizes)

    def test_nothing_is_prepared_behind_a_long_write(self):
        # (The header goes with the first one.)
        self.assertEqual(journal.LONG_BYTES,
                         self.write(journal.LONG_BYTES - self.PAGE))
        self.assertEqual(journal.LONG_BYTES,
                         self.write(journal.LONG_BYTES))
        self.assertEqual(self.PAGE + self.AHEAD, self.write(self.PAGE))

    def test_nothing_goes_beyond_the_end(self):
        count = self.SEGMENT // self.PAGE - 1
        for _ in range(count):
            self.write(self.PAGE)
        self.assertFalse(self.journal.has_room(1, True))
        self.assertNotIn(b'old ', self.files[0].content)

    def test_zeroes_follow_also_where_the_last_page_is_torn(self):
        self.write(self.PAGE // 2)
        start, end = 3 * self.PAGE // 2, 2 * self.PAGE + self.AHEAD
        content = self.files[0].content
        self.assertEqual(bytes(end - start), content[start:end])
        self.assertEqual(b'old ', content[end:end + 4])

    def test_a_segment_is_prepared_once(self):
        for _ in range(3):
            for _ in range(self.SEGMENT // self.PAGE - 1):
                self.write(self.PAGE)
            self.journal.switch().is_free = True
        again = self.files[0].sizes[self.SEGMENT // self.PAGE - 1:]
        self.assertEqual({self.PAGE, 2 * self.PAGE}, set(again))


class SegmentsTest(case.StoreCase):
    """The journal has two segments of 1 MiB here: 236 blocks each."""

    def setUp(self):
        super().setUp()
        self.open()

    def write_blocks(self, count: int, oid: int = 1) -> None:
        for number in range(count):
            self.write(oid, number % 64 * BLOCK, b'%06d' % number * 600,
                       durable=False)

    def test_they_take_turns(self):
        self.write_blocks(2000)
        self.sync()
        self.assertGreater(self.store.counters.checkpoints, 5)
        for _ in range(2):
            self.assertEqual(b'%06d' % 1999 * 600,
                             self.read(1, 1999 % 64 * BLOCK, 3600))
            self.crash(power=True)
            self.open()

    def test_writes_wait_for_a_free_segment_and_reads_do_not(self):
        self.write(1, 0, b'x' * BLOCK)
        self.write(2, 0, b'y' * BLOCK)
        self.host.faults.slowness = 1e6
        answers = [self.start(self.store.write, 1, 1, number % 64 * BLOCK,
                              b'z' * BLOCK, durable=False)
                   for number in range(800)]
        self.let_pass(0.001)
        self.assertTrue(any(not answer for answer in answers))
        self.assertEqual(
            [(None, b'y' * BLOCK)],
            self.start(self.store.read, 2, 0, BLOCK))
        self.host.faults.slowness = 1.0
        self.simulation.run_until(lambda: all(answers), 1e5)
        self.assertEqual([[(None,)]] * 800, answers)
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
        self.assertEqual(2 << 20, before.journal_bytes)
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
                   for number in range(400)]
        self.let_pass(0.001)
        self.assertTrue(self.store.gauges().is_checkpointing)
        self.assertGreater(self.store.gauges().journal_used_bytes, 1 << 20)
        self.host.faults.slowness = 1.0
        self.simulation.run_until(
            lambda: all(answers)
            and not self.store.gauges().is_checkpointing, 1e5)
        self.assertLess(self.store.gauges().journal_used_bytes, 1 << 20)

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

    def test_what_waits_behind_a_refused_sync_is_refused(self):
        """The device may claim success with the next one."""
        self.write(1, 0, b'x' * BLOCK)
        for error in self.refused(
                *(lambda done, block=block: self.store.write(
                    1, 1, block * BLOCK, b'y' * BLOCK, done, durable=True)
                  for block in range(3))):
            self.assertIsInstance(error, errors.StorageError)

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
