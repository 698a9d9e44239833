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
import struct
import unittest
from unittest import mock

import crc32c

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.store import changed
from sheepdog.store import history as store_history
from sheepdog.store import records
from sheepdog.store import replay
from sheepdog.store import scan
from sheepdog.tests.unit.store import case

KEY = ids.strip_key(0x7C2B2500000001, 5)
OTHER = ids.strip_key(0x99, 1)
BIRTH = (3, 0, True)
NEXT = (4, 1, False)
BLOCK = case.BLOCK
CAPACITY = 64 * BLOCK


class StripsTest(case.StoreCase):

    def setUp(self):
        super().setUp()
        self.open()

    def update(self, number, offset, data, size=0, capacity=CAPACITY):
        self.call(self.store.update, KEY, 3, number, BIRTH, offset,
                  size or len(data), data, capacity=capacity)

    def history(self):
        return self.wait(self.store.history(KEY))

    def content(self):
        return self.read(KEY, 0, CAPACITY)

    def expect(self, *pieces):
        content = bytearray(CAPACITY)
        for offset, data in pieces:
            content[offset:offset + len(data)] = data
        self.assertEqual(content, self.content())

    def test_the_first_update_makes_it(self):
        with self.assertRaises(errors.NoObject):
            self.update(1, 0, b'x' * 1024, capacity=0)
        self.update(1, 1024, b'a' * 1024)
        self.expect((1024, b'a' * 1024))
        history = self.history()
        self.assertEqual((BIRTH, (), 0, [1]), (
            history.generation, history.nexts, history.floor,
            list(history.open)))
        self.assertEqual((1024, 1024, None), history.open[1][2:5])
        self.assertIn('007c2b2500000001_5',
                      self.host.world.disk.list(case.META + '/obj'))
        self.assertEqual([KEY], self.store.oids())

    def test_who_wrote_it_is_known_after_a_crash(self):
        self.call(self.store.update, KEY, 3, 1, BIRTH, 0, 4, b'abcd',
                  capacity=CAPACITY, token=1 << 100 | 7)
        self.crash(power=True)
        self.open()
        self.assertEqual(1 << 100 | 7, self.history().open[1].token)

    def test_what_is_known_to_be_there_is_not_done_again(self):
        self.update(1, 0, b'abcd')
        self.update(2, 0, b'efgh')
        self.call(self.store.update, KEY, 3, 9, BIRTH, 0, 4, b'abcd',
                  is_known=True)
        self.expect((0, b'efgh'))
        self.assertEqual([1, 2], list(self.history().open))

    def test_it_keeps_just_what_it_replaces(self):
        self.update(1, 0, b'a' * 2048)
        self.update(2, 1024, b'b' * 1024)
        self.update(3, 2048, b'c' * 1024)
        self.assertEqual(b'a' * 1024, self.history().open[2].old)
        self.assertIsNone(self.history().open[3].old)
        self.wait(self.store.align(KEY, NEXT, {1, 3}))
        self.expect((0, b'a' * 2048), (2048, b'c' * 1024))
        self.assertEqual({1, 3}, set(self.history().open))

    def test_what_is_sent_again_is_done_once(self):
        self.update(1, 0, b'a' * 1024)
        self.update(1, 0, b'b' * 1024)
        self.expect((0, b'a' * 1024))

    def unsure(self, floor=0):
        """Blocks that perhaps not all targets of the generation have."""
        bits = self.history().since(self.history().generation, floor)
        return [offset // BLOCK for offset, _ in
                changed.ranges(bits, CAPACITY)]

    def test_what_changed_is_known_after_a_crash(self):
        for power in False, True:
            number = 3 if power else 0
            for i in 1, 2:
                self.update(number + i, 8 * i * BLOCK, b'a' * BLOCK)
            self.assertEqual([8, 16], self.unsure())
            self.crash(power=power)
            self.open()
            self.assertEqual([8, 16], self.unsure())
            self.assertEqual([16], self.unsure(number + 2))
        self.wait(self.store.align(KEY, NEXT, {number + 1}))
        self.wait(self.store.settle(KEY, NEXT))
        self.update(number + 3, 40 * BLOCK, b'b')
        self.assertEqual([40], self.unsure())
        self.crash(power=True)
        self.open()
        history = self.history()
        self.assertEqual([(8 * BLOCK, BLOCK), (16 * BLOCK, BLOCK),
                          (40 * BLOCK, BLOCK)], changed.ranges(
                              history.since(BIRTH), CAPACITY))

    def test_what_is_to_be_removed_takes_nothing(self):
        self.update(1, 0, b'abcd')

        def refuse():
            raise errors.NotRecovered('no')

        with self.assertRaises(errors.NotRecovered):
            self.wait(self.store.doom(KEY, 5, refuse))
        self.update(2, 4, b'efgh')
        for _ in range(2):
            self.wait(self.store.doom(KEY, 5, lambda: None))
        self.crash(power=True)
        self.open()
        found = []
        self.store.when_damaged(found.append)
        with self.assertRaises(errors.NotRecovered):
            self.update(3, 0, b'x')
        self.assertEqual([KEY], found)
        history = self.history()
        self.assertEqual((BIRTH, ((5, 1, True),), [1, 2]), (
            history.generation, history.nexts, list(history.open)))
        self.wait(self.store.settle(KEY, (5, 2, False)))
        self.wait(self.store.doom(KEY, 5, lambda: None))
        self.assertEqual(((5, 3, True),), self.history().nexts)
        self.wait(self.store.settle(KEY, (5, 4, False)))
        self.update(3, 0, b'x')
        self.expect((0, b'xbcdefgh'))

    def test_what_is_closed_counts_no_more(self):
        self.update(1, 0, b'a')
        self.update(2, 5 * BLOCK, b'a')
        self.store.close_updates(KEY, 2)
        self.assertEqual([5], self.unsure())
        self.reopen()
        self.assertEqual([5], self.unsure())
        self.store.close_updates(KEY, 3)
        self.assertEqual([], self.unsure())
        self.wait(self.store.settle(KEY, NEXT))
        self.assertEqual(0, self.history().since(BIRTH))

    def test_without_a_journal_a_crash_makes_all_unsure(self):
        for number, power in (1, False), (2, True):
            self.reopen(journal_skip=True)
            self.update(number, 0, b'a')
            self.store.close_updates(KEY, number + 1)
            self.reopen(journal_skip=True)
            if not power:
                self.assertEqual([], self.unsure())
            self.crash(power=power)
            self.open()
            self.assertEqual(changed.ALL, self.history().since(BIRTH))

    def test_with_nosync_a_power_cut_makes_all_unsure(self):
        self.update(1, 0, b'a')
        self.store.close_updates(KEY, 2)
        self.reopen(nosync=True)
        self.crash()
        self.open(nosync=True)
        self.assertEqual(0, self.history().since(BIRTH, 2))
        self.crash(power=True)
        self.open()
        self.assertEqual(changed.ALL, self.history().since(BIRTH, 2))

    def begin(self, *updates):
        """(number, offset, data) of several at once; their errors, as
        they come, and how often the journal was synced for them."""
        errors_ = []
        before = self.store.counters.journal_syncs

        async def run():
            for number, offset, data in updates:
                self.store.update(KEY, 3, number, BIRTH, offset, len(data),
                                  data, errors_.append, CAPACITY)
            while len(errors_) < len(updates):
                await asyncio.sleep(0.001)

        self.wait(run())
        return errors_, self.store.counters.journal_syncs - before

    def test_what_has_no_block_in_common_shares_a_sync(self):
        self.update(1, 0, b'a' * BLOCK)
        found = self.begin(*((number, number * BLOCK, b'b' * BLOCK)
                             for number in range(2, 8)))
        self.assertEqual(([None] * 6, 1), found)
        self.expect((0, b'a' * BLOCK), (2 * BLOCK, b'b' * 6 * BLOCK))
        self.crash(power=True)
        self.open()
        self.wait(self.store.align(KEY, NEXT, {1, 3, 4, 5, 6, 7}))
        self.expect((0, b'a' * BLOCK), (3 * BLOCK, b'b' * 5 * BLOCK))

    def test_what_is_open_is_not_refused_when_it_is_sent_again(self):
        self.update(1, 0, b'a' * 1024)
        with mock.patch.multiple(
                self.store._reserve, is_near=True,
                check=lambda op: errors.NoSpace('full')):
            with self.assertRaises(errors.NoSpace):
                self.update(2, BLOCK, b'b' * 1024)
            self.update(1, 0, b'a' * 1024)

    def test_what_joined_a_refused_sync_is_refused(self):
        self.update(1, 0, b'a' * BLOCK)
        for error in self.refused(
                *(lambda done, number=number: self.store.update(
                    KEY, 3, number, BIRTH, number * BLOCK, BLOCK,
                    b'b' * BLOCK, done, CAPACITY) for number in (2, 3))):
            self.assertIsInstance(error, errors.StorageError)

    def test_what_has_a_block_in_common_does_not(self):
        self.update(1, 0, b'a' * BLOCK)
        found = self.begin((2, 1024, b'b' * 1024), (3, 2048, b'c' * 1024),
                           (4, BLOCK, b'd' * 1024))
        # (The last one joins the one before it.)
        self.assertEqual(([None] * 3, 2), found)
        self.expect((0, b'a' * BLOCK), (1024, b'b' * 1024),
                    (2048, b'c' * 1024), (BLOCK, b'd' * 1024))
        self.assertEqual(b'a' * 1024, self.history().open[3].old)

    def test_what_shares_a_sync_on_a_full_disk(self):
        """Each is there or not; and no room stays kept for undoing it."""
        self.update(1, 0, b'a' * BLOCK)
        image = self.host.image
        limit = self.store._journal.limit
        for free in range(4):
            base = 10 * free + 10
            pages, image.total_pages = image.total_pages, (
                image.used_pages + free)
            found = self.begin(*(
                (base + number, (base + number) * BLOCK, b'b' * BLOCK)
                for number in range(4)))[0]
            image.total_pages = pages
            self.assertEqual(free, found.count(None))
            self.assertEqual(limit, self.store._journal.limit)
            there = set(self.history().open)
            self.assertEqual(free, len({n for n in there if n >= base}))
            self.crash(power=bool(free % 2))
            self.open()
            self.assertEqual(there, set(self.history().open))
            self.expect((0, b'a' * BLOCK), *(
                (number * BLOCK, b'b' * BLOCK) for number in there
                if number != 1))

    def test_those_that_join_the_first_wait_until_it_is_made(self):
        found = self.begin(*((number, number * BLOCK, b'b' * BLOCK)
                             for number in range(4)))
        self.assertEqual(([None] * 4, 2), found)
        self.expect((0, b'b' * 4 * BLOCK))

    def test_what_is_closed_stays(self):
        for number in (5, 7, 9):
            self.update(number, number * 1024, b'a' * 1024)
        self.store.close_updates(KEY, 9)
        self.assertEqual(([9], 8), (list(self.history().open),
                                    self.history().floor))
        self.wait(self.store.align(KEY, NEXT, set()))
        self.expect((5120, b'a' * 1024), (7168, b'a' * 1024))
        self.assertEqual((NEXT,), self.history().nexts)

    def test_settling(self):
        self.update(1, 0, b'a' * 1024)
        self.wait(self.store.align(KEY, NEXT, {1}))
        self.wait(self.store.settle(KEY, NEXT))
        history = self.history()
        self.assertEqual((NEXT, (), 0, {}), (
            history.generation, history.nexts, history.floor, history.open))
        self.expect((0, b'a' * 1024))

    def test_zeroes_give_room_back_and_can_be_undone(self):
        data = bytes(range(256)) * 64
        self.update(1, 0, data)
        self.update(2, 4096, None, 8192)
        self.assertEqual([(0, 4096), (12288, 4096)],
                         self.wait(self.store.extents(KEY)))
        self.update(3, 512, None, 1024)
        self.expect((0, data[:512] + bytes(1024) + data[1536:4096]),
                    (12288, data[12288:]))
        self.wait(self.store.align(KEY, NEXT, {1}))
        self.expect((0, data))

    def test_all_of_it_outlives_kill_power_cut_and_close(self):
        self.update(1, 0, b'a' * 4096)
        self.update(2, 1024, b'b' * 1024)
        self.wait(self.store.align(KEY, NEXT, {1, 2}))
        for end in (lambda: self.crash(), lambda: self.crash(power=True),
                    self.close, lambda: self.crash(), self.close):
            end()
            self.open()
            history = self.history()
            self.assertEqual((BIRTH, (NEXT,), {1, 2}, b'a' * 1024), (
                history.generation, history.nexts, set(history.open),
                history.open[2].old))
        self.wait(self.store.align(KEY, (5, 1, False), {1}))
        self.expect((0, b'a' * 4096))
        self.assertEqual((NEXT, ((5, 1, False),)), (
            self.history().forgotten, self.history().nexts))

    def test_what_is_open_outlives_its_segments_of_the_journal(self):
        self.update(1, 0, b'a' * 4096)
        self.update(2, 0, b'b' * 4096)
        for _ in range(120):
            self.write(9, 0, bytes(range(256)) * 128, capacity=1 << 20)
        self.assertGreater(self.store.counters.checkpoints, 1)
        self.crash(power=True)
        self.open()
        self.wait(self.store.align(KEY, NEXT, {1}))
        self.expect((0, b'a' * 4096))

    def test_many_at_once(self):
        async def run():
            done = [asyncio.get_running_loop().create_future()
                    for _ in range(32)]
            for number, future in enumerate(done):
                self.store.update(KEY, 3, number + 1, BIRTH, number * 1024,
                                  1024, bytes([number + 1]) * 1024,
                                  future.set_result, CAPACITY)
            return [await future for future in done]

        self.assertEqual([None] * 32, self.wait(run()))
        self.expect(*((number * 1024, bytes([number + 1]) * 1024)
                      for number in range(32)))

    def test_an_adopted_strip(self):
        self.update(1, 0, b'a' * 4096)
        history = store_history.History()
        history.nexts = (NEXT,)
        history.forgotten = BIRTH
        self.wait(self.store.adopt(KEY, 4, CAPACITY, [(4096, b'z' * 4096)],
                                   False, history=history))
        for _ in range(2):
            self.expect((4096, b'z' * 4096))
            found = self.history()
            self.assertEqual((store_history.NONE, (NEXT,), BIRTH, {}), (
                found.generation, found.nexts, found.forgotten, found.open))
            self.crash(power=True)
            self.open()

    def test_bounds(self):
        self.update(1, 0, b'a' * 4096)
        for offset, size in ((-1, 10), (CAPACITY - 10, 20), (0, 0),
                             (0, limits.STRIP_UPDATE_MAX_BYTES + 1)):
            with self.assertRaises(errors.InvalidParameters):
                self.update(2, offset, bytes(size))
        with self.assertRaises(errors.NoObject):
            self.wait(self.store.align(ids.strip_key(1, 1), NEXT, set()))

    def fill(self, count=100, size=4 * BLOCK):
        """Updates of the same place that nobody closes, more than the
        journal has room for."""
        self.reopen(journal_bytes=2 << 20)
        for number in range(1, count + 1):
            self.update(number, 0, bytes([number]) * size)

    def kept(self):
        """Does the file of what is open exist?"""
        return self.host.world.disk.exists(case.META + '/open')

    def test_what_the_journal_has_no_room_for(self):
        """It goes on nevertheless: perhaps an update elsewhere waits for
        one here, and that must be done before any of these are closed."""
        self.fill()
        self.assertTrue(self.kept())
        for end in (lambda: self.crash(power=True), self.crash,
                    self.close):
            end()
            self.open(journal_bytes=2 << 20)
            self.assertEqual(set(range(1, 101)), set(self.history().open))
            self.expect((0, bytes([100]) * 4 * BLOCK))
        self.wait(self.store.align(KEY, NEXT, {1, 2, 3}))
        self.expect((0, bytes([3]) * 4 * BLOCK))
        self.crash(power=True)
        self.open(journal_bytes=2 << 20)
        self.expect((0, bytes([3]) * 4 * BLOCK))
        self.assertEqual(({1, 2, 3}, (NEXT,)), (
            set(self.history().open), self.history().nexts))

    def test_what_was_closed_goes_from_the_file(self):
        self.fill()
        self.store.close_updates(KEY, 101)
        for number in range(101, 201):
            self.update(number, 8 * BLOCK, b'b' * BLOCK)
            self.store.close_updates(KEY, number)
        self.assertFalse(self.kept())
        self.crash(power=True)
        self.open(journal_bytes=2 << 20)
        self.assertEqual([200], [number for number in self.history().open
                                 if number <= 100 or number == 200])

    def test_a_strip_in_the_file_is_removed(self):
        """Nobody takes it for lost then."""
        self.fill()
        self.call(self.store.remove, KEY)
        self.assertTrue(self.kept())
        for _ in range(2):
            self.crash(power=True)
            self.open(journal_bytes=2 << 20)
            self.assertEqual([], self.store.oids())
            self.assertEqual(0, self.store.counters.lost_objects)

    def forgotten(self, numbers):
        """Is one of these updates neither open nor known to be closed?"""
        history = self.history()
        return [number for number in numbers if number < history.floor
                or number in history.open] != list(numbers)

    def write_elsewhere(self, count):
        """So much that the journal names no other strip any more."""
        for _ in range(count):
            self.elsewhere += 1
            self.call(self.store.update, OTHER, 3, self.elsewhere, BIRTH, 0,
                      8 * BLOCK, bytes([self.elsewhere % 255 + 1]) * 8 * BLOCK,
                      capacity=CAPACITY)
            self.store.close_updates(OTHER, self.elsewhere + 1)

    elsewhere = 1000

    def test_what_was_closed_of_the_file_is_known_to_be(self):
        """Else another strip that has it open would roll it back."""
        for end in (self.crash, lambda: self.crash(power=True), self.close):
            self.fill()
            self.write_elsewhere(60)
            self.assertTrue(self.kept())
            self.store.close_updates(KEY, 101)
            if end != self.close:
                self.write_elsewhere(60)
            end()
            self.open(journal_bytes=2 << 20)
            self.assertFalse(self.forgotten(range(1, 101)))
            self.call(self.store.remove, KEY)

    def test_closed_behind_a_start_that_found_the_file(self):
        self.fill()
        self.reopen(journal_bytes=2 << 20)
        self.store.close_updates(KEY, 101)
        self.reopen(journal_bytes=2 << 20)
        self.assertFalse(self.forgotten(range(1, 101)))

    def test_the_disk_is_full_when_the_file_is_due(self):
        """Later all goes on."""
        self.reopen(journal_bytes=2 << 20)
        size = 2 * BLOCK
        image = self.host.image
        self.update(1, 0, b'a' * size)
        pages, image.total_pages = image.total_pages, image.used_pages + 3
        number = 1
        answers = [(None,)]
        while answers == [(None,)]:
            number += 1
            self.assertLess(number, 200)
            answers = self.start(self.store.update, KEY, 3, number, BIRTH, 0,
                                 size, bytes([number]) * size,
                                 capacity=CAPACITY)
            self.let_pass(0.2)
        self.store.close_updates(KEY, number + 1)
        image.total_pages = pages
        self.let_pass(20)
        self.update(number + 1, 0, b'z' * size)
        self.expect((0, b'z' * size))

    def test_without_a_journal(self):
        self.reopen(journal_skip=True)
        for number in range(1, 4):
            self.update(number, 0, b'a' * BLOCK)
        self.store.close_updates(KEY, 3)
        self.reopen(journal_skip=True)
        self.assertFalse(self.forgotten(range(1, 4)))
        self.wait(self.store.align(KEY, NEXT, {1, 2, 3}))
        self.assertEqual((BIRTH, (NEXT,)), (self.history().generation,
                                            self.history().nexts))
        self.wait(self.store.settle(KEY, NEXT))
        self.reopen(journal_skip=True)
        self.assertEqual((NEXT, ()), (self.history().generation,
                                      self.history().nexts))

    def test_a_bad_block_over_a_start(self):
        self.update(1, 0, b'a' * 2 * BLOCK)
        self.reopen()
        self.host.world.disk.open(
            case.META + '/obj/007c2b2500000001_5').pwrite(b'rotten', 100)
        with self.assertRaises(errors.ChecksumError):
            self.read(KEY, 0, BLOCK)
        self.let_pass(1)
        self.reopen()
        self.assertEqual({KEY: [0]}, self.store.bad_blocks())

    def test_what_it_knew_is_damaged(self):
        """The file is, not the device: the others are served as before."""
        self.update(1, 0, b'a' * BLOCK)
        self.call(self.store.update, OTHER, 3, 1, BIRTH, 0, BLOCK,
                  b'b' * BLOCK, capacity=CAPACITY)
        self.wait(self.store.settle(KEY, NEXT))
        self.close()
        path = case.META + '/obj/007c2b2500000001_5'
        inode = self.host.image.lookup(path)
        inode.set_attribute(store_history.ATTRIBUTE, inode.attributes[
            store_history.ATTRIBUTE][:-1])
        self.open()
        reported = []
        self.store.when_damaged(reported.append)
        for _ in range(2):
            with self.assertRaises(errors.ChecksumError):
                self.content()
            with self.assertRaises(errors.ChecksumError):
                self.update(2, 0, b'c' * BLOCK)
            with self.assertRaises(errors.ChecksumError):
                self.wait(self.store.align(KEY, NEXT, set()))
            self.assertEqual([KEY] * 3, reported)
            self.assertIsNone(self.store.device_error)
            self.assertEqual('', self.store.failure)
            self.assertEqual({KEY: [0]}, self.store.bad_blocks())
            self.assertIsNone(self.history())
            state = self.wait(self.store.describe(KEY))
            self.assertEqual((0, False), (state.capacity, state.whole))
            # That is known to the next start.
            self.let_pass(1)
            self.reopen()
            self.store.when_damaged(reported.append)
            reported.clear()
        self.assertEqual(b'b' * BLOCK, self.read(OTHER, 0, BLOCK))
        history = store_history.History()
        history.nexts = (NEXT,)
        self.wait(self.store.adopt(KEY, 4, CAPACITY, [(0, b'd' * BLOCK)],
                                   keep=False, history=history))
        self.expect((0, b'd' * BLOCK))
        self.assertEqual({}, self.store.bad_blocks())
        self.assertEqual(1, self.store.quarantine.kept)

    def test_given_up_while_open_updates_are_repeated(self):
        """Whatever is under way is answered."""
        for number in range(1, 30):
            self.update(number, number % 16 * BLOCK, b'a' * BLOCK)
        answers = []
        repeat = self.store._writer.repeat
        repeated = []

        def observed(obj, change, done):
            repeat(obj, change, done)
            repeated.append(change)
            if len(repeated) == 29:
                self.store.update(OTHER, 3, 50, BIRTH, 0, BLOCK,
                                  b'b' * BLOCK, answers.append, CAPACITY)

        async def run():
            with mock.patch.object(self.store._writer, 'repeat', observed):
                self.store._writer.change_segments()
                while len(repeated) < 29:
                    await asyncio.sleep(0)
                for _ in range(2):
                    await asyncio.sleep(0)
                self.store.abandon()
                await asyncio.sleep(30)

        self.wait(run())
        self.assertEqual(1, len(answers))

    def test_much_is_undone_in_a_small_journal(self):
        """More than one record of it may take."""
        self.reopen(journal_bytes=2 << 20)
        capacity = 4 << 20
        size = limits.STRIP_UPDATE_MAX_BYTES
        for number, offset in enumerate(range(0, capacity, size), 1):
            self.update(number, offset, b'a' * size, capacity=capacity)
        self.wait(self.store.settle(KEY, NEXT))
        for number, offset in enumerate(range(0, capacity, size), 50):
            self.update(number, offset, b'b' * size)
        self.wait(self.store.align(KEY, (5, 1, False), {50}))
        self.assertEqual(b'b' * size + b'a' * (capacity - size),
                         self.read(KEY, 0, capacity))
        self.assertEqual(((5, 1, False),), self.history().nexts)

    def test_a_number_below_the_floor_is_settled_first(self):
        self.update(5, 0, b'a' * BLOCK)
        self.store.close_updates(KEY, 6)
        reported = []
        self.store.when_damaged(reported.append)
        for number in 1, 5:
            with self.assertRaises(errors.NotRecovered):
                self.update(number, 0, b'b' * BLOCK)
        self.assertEqual([KEY] * 2, reported)
        self.expect((0, b'a' * BLOCK))
        self.wait(self.store.settle(KEY, NEXT))
        self.update(1, 0, b'c' * BLOCK)
        self.expect((0, b'c' * BLOCK))
        self.assertEqual({1}, set(self.history().open))

    def test_the_floor_stays(self):
        self.update(1, 0, b'a' * 4096)
        self.store.close_updates(KEY, 2)
        self.reopen()
        self.assertEqual(({}, 2), (self.history().open,
                                   self.history().floor))


class PlanTest(unittest.TestCase):
    """What counts of the records of a change that was torn."""

    def entries(self, *kinds):
        found = []
        for sequence, (kind, flags) in enumerate(kinds, 1):
            size = 0 if kind == records.HISTORY else BLOCK
            found.append(scan.Entry(records.Record(
                kind, flags, sequence, 0, KEY, 1, 3, 0, size, CAPACITY,
                b'\1\0\0\0', 0, 0, 0), 0, 1000 * sequence))
        return found

    def test_parts_count_if_their_end_is_there(self):
        part = records.WRITE, records.PART
        first = records.WRITE, records.PART | records.CREATE
        end = records.HISTORY, 0
        self.assertEqual({}, replay.plan(self.entries(part)).blocks)
        self.assertIsNone(replay.plan(self.entries(first, part)).reset)
        plan = replay.plan(self.entries(first, part, end))
        self.assertEqual((1, 2000, [3]), (
            plan.reset.sequence, plan.blocks[0].position,
            [entry.record.sequence for entry in plan.events]))
        plan = replay.plan(self.entries(first, end, part))
        self.assertEqual(1000, plan.blocks[0].position)
        removed = replay.plan(self.entries(first, end, (records.REMOVE, 0)))
        self.assertTrue(removed.is_removed)


class HistoryTest(unittest.TestCase):

    def test_nexts_are_bounded(self):
        history = store_history.History()
        for count in range(1, 12):
            history.apply(store_history.Align((5, count, False),
                                              frozenset()), count)
        self.assertEqual(store_history.NEXTS_MAX, len(history.nexts))
        self.assertEqual((5, 3, False), history.forgotten)
        self.assertEqual(len(store_history.pack_attribute(history)),
                         len(store_history.pack_attribute(
                             store_history.History())))

    def test_a_repetition_does_not_undo_what_came_before_it(self):
        update = store_history.Update(7, BIRTH, 0, 4, b'abcd')
        history = store_history.History()
        for sequence, event in enumerate((
                update, store_history.Align(NEXT, frozenset({7})),
                store_history.Repeat(update)), 1):
            history.apply(event, sequence)
        self.assertEqual({}, history.open)

    def test_it_stays_small(self):
        history = store_history.History()
        history.apply(store_history.Settle(NEXT), 1)
        for number in range(2, 1000):
            history.apply(store_history.Update(number, NEXT, 0, 4, None),
                          number)
            history.close(number - 3)
        # (Also what is sent again when it was closed.)
        history.apply(store_history.Update(5, NEXT, 0, 4, None), 1000)
        for kept in history.open, history._since, history._undone:
            self.assertLessEqual(len(kept), 4)

    def test_what_moves_to_another_file_shares_nothing(self):
        history = store_history.History()
        history.apply(store_history.Update(7, BIRTH, 0, 4, b'abcd'), 1)
        history.apply(store_history.Settle(NEXT), 2)
        moved = history.moved()
        for number in 8, 9:
            history.apply(store_history.Update(number, NEXT, 0, 4, None),
                          number)
        history.close(9)
        self.assertEqual(
            (NEXT, {}, set(), set(), 0),
            (moved.generation, moved.open, moved._since, moved._undone,
             moved.floor))

    def test_attribute_round_trip_and_damage(self):
        history = store_history.History()
        history.sequence = 99
        history.generation, history.nexts = NEXT, (BIRTH, (9, 9, False))
        history.floor, history.forgotten = 1 << 80, BIRTH
        history.changed = {BIRTH: (7, 1 << 511), (3, 9, False): (1 << 99, 5)}
        history.now, history.left = 1 << 400, 3
        history.held, history.held_end = 1, 1 << 90
        value = store_history.pack_attribute(history)
        found = store_history.unpack_attribute(value)
        for name in ('sequence', 'generation', 'nexts', 'forgotten',
                     'floor', 'changed', 'now', 'left', 'held',
                     'held_end'):
            self.assertEqual(getattr(history, name), getattr(found, name))
        for bit in range(8 * len(value)):
            broken = bytearray(value)
            broken[bit // 8] ^= 1 << bit % 8
            self.assertIsNone(store_history.unpack_attribute(bytes(broken)))

    def test_of_an_earlier_version_nothing_is_known_to_be_alike(self):
        history = store_history.History()
        history.generation, history.floor = NEXT, 5
        value = store_history.pack_attribute(history)
        data = value[:store_history._NEXTS_END]
        found = store_history.unpack_attribute(
            data + struct.pack('<I', crc32c.crc32c(data)))
        self.assertEqual((NEXT, 5), (found.generation, found.floor))
        self.assertEqual(changed.ALL, found.since(NEXT))
        found.apply(store_history.Settle((7, 1, False)), 1)
        self.assertEqual({NEXT: (5, changed.ALL), (7, 1, False): (0, 0)},
                         found.all_changes())

    def test_what_a_settlement_ends_is_known_without_its_record(self):
        history = store_history.History()
        history.apply(store_history.Settle(BIRTH), 1)
        for number in 3, 4:
            update = store_history.Update(number, BIRTH, number * BLOCK, 4,
                                          None)
            history.note(update, number)
            history.apply(update, number)
        history.close(4)
        # A checkpoint saves it, and frees what tells of the update 4, while
        # the settlement is on its way.
        saved = store_history.unpack_attribute(
            store_history.pack_attribute(history))
        saved.apply(store_history.Settle(NEXT), 5)
        self.assertEqual(changed.bits_of(4 * BLOCK, 4), saved.since(BIRTH))
        # Closed, it is not counted.
        history.close(5)
        closed = store_history.unpack_attribute(
            store_history.pack_attribute(history))
        closed.apply(store_history.Settle(NEXT), 5)
        self.assertEqual(0, closed.since(BIRTH))
