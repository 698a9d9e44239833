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

"""A disk that gets full: what goes on in the reserve, and what does not."""

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.store import store as store_module
from sheepdog.testing import image
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
CAPACITY = case.CAPACITY
RESERVE = 4 << 20


class TestSpace(case.StoreCase):
    settings = store_module.StoreSettings(
        meta=case.META, journal_bytes=2 << 20, reserve_bytes=RESERVE)

    def setUp(self):
        super().setUp()
        self.open()
        self.write(1, 0, b'1' * CAPACITY)

    def leave(self, size):
        """Somebody else takes all but so much."""
        self.host.image.fill(size // image.PAGE)
        self.assertEqual(size, self.store.space().free)

    def assert_no_room(self, function, *arguments, left, **keywords):
        with self.assertRaises(errors.NoSpace) as caught:
            function(*arguments, **keywords)
        self.assertEqual(
            '%s/obj is full: %s are left, and 4.0 MB are kept for deleting '
            'and recovery' % (case.META, left), str(caught.exception))

    def adopt(self, oid, keep=False, data=b'2' * CAPACITY):
        self.wait(self.store.adopt(oid, 2, CAPACITY, [(0, data)], keep))

    def test_what_needs_room_is_refused(self):
        self.leave(RESERVE - BLOCK)
        self.assertTrue(self.store.is_full)
        self.assertEqual(-BLOCK, self.store.room())
        self.assert_no_room(self.write, 2, 0, b'x' * BLOCK, left='4.0 MB')
        self.write(1, 0, b'2' * BLOCK)
        self.zero(1, BLOCK, BLOCK)
        self.leave(RESERVE - BLOCK)
        self.assert_no_room(self.write, 1, BLOCK, b'x' * BLOCK, left='4.0 MB')
        self.assertEqual(b'2' * BLOCK + bytes(BLOCK) + b'1' * BLOCK,
                         self.read(1, 0, 3 * BLOCK))

    def test_removing_goes_on_to_the_last_byte_and_gives_room(self):
        self.leave(0)
        self.remove(1)
        self.assertGreaterEqual(self.store.space().free, CAPACITY)
        self.host.image.unfill()
        self.write(2, 0, b'x' * BLOCK)
        self.assertFalse(self.store.is_full)

    def test_it_is_logged_once(self):
        with self.assertLogs('sheepdog.store.space', 'INFO') as logs:
            self.leave(RESERVE - BLOCK)
            for _ in range(3):
                self.store._reserve.look()
                with self.assertRaises(errors.NoSpace):
                    self.write(2, 0, b'x' * BLOCK)
            self.host.image.unfill()
            self.write(2, 0, b'x' * BLOCK)
        self.assertEqual(
            ['writes that need room are slowed down: %s/obj is nearly full'
             % case.META,
             'writes that need room are refused: %s/obj is full: 4.0 MB are '
             'left, and 4.0 MB are kept for deleting and recovery'
             % case.META, '%s/obj has room again' % case.META],
            [record.getMessage() for record in logs.records])

    def taken(self, function, *arguments):
        """How long it takes, in seconds."""
        began = self.simulation.loop.time()
        function(*arguments)
        return self.simulation.loop.time() - began

    def test_what_takes_room_is_slowed_down_before(self):
        """The less is left, the more; what takes none is not."""
        self.leave(2 * RESERVE)
        quick = self.taken(self.write, 2, 0, b'x' * BLOCK)
        self.assertLess(quick, 0.02)
        times = []
        for part in (3, 2, 1, 0):
            self.leave(RESERVE + RESERVE * part // 4 + 8 * BLOCK)
            self.store._reserve.look()
            times.append(self.taken(self.write, 3, 2 * part * BLOCK,
                                    b'x' * BLOCK) - quick)
            self.assertLess(self.taken(self.write, 1, 0, b'y' * BLOCK), 0.02)
            self.assertLess(self.taken(self.zero, 1, 0, BLOCK), 0.02)
            self.write(1, 0, b'y' * BLOCK)
        for least, seconds in zip((0.005, 0.015, 0.03, 0.04), times):
            self.assertLess(least, seconds, times)
            self.assertLess(seconds, least + 0.02, times)
        # What is refused is so at once.
        self.leave(RESERVE - BLOCK)
        began = self.simulation.loop.time()
        self.assert_no_room(self.write, 3, 20 * BLOCK, b'x' * BLOCK,
                            left='4.0 MB')
        self.assertLess(self.simulation.loop.time() - began, 0.02)

    def test_strips_are_slowed_down_likewise(self):
        self.update(1, 0)
        self.leave(RESERVE + 8 * BLOCK)
        self.store._reserve.look()
        self.assertLess(0.04, self.taken(self.update, 2, BLOCK))
        self.assertLess(self.taken(self.update, 3, BLOCK), 0.02)

    def test_new_copies_take_half_of_the_reserve(self):
        size = CAPACITY + (CAPACITY >> 6)
        self.leave(RESERVE // 2 + size)
        self.adopt(2)
        self.leave(RESERVE // 2 + size - BLOCK)
        self.assert_no_room(self.adopt, 3, left='2.2 MB')
        self.assert_no_room(self.store.check_room, 3, CAPACITY, CAPACITY,
                            left='2.2 MB')

    def test_holes_take_no_room(self):
        self.adopt(2, data=b'2' * BLOCK)
        self.leave(RESERVE // 2 + 2 * BLOCK)
        self.store.check_room(3, BLOCK, CAPACITY)
        self.adopt(3, data=b'3' * BLOCK)
        self.assertEqual(b'3' * BLOCK + bytes(BLOCK),
                         self.read(3, 0, 2 * BLOCK))
        # What is kept counts, and what goes does not.
        self.leave(RESERVE // 4 + 2 * BLOCK)
        self.wait(self.store.adopt(
            2, 2, CAPACITY, [(BLOCK, b'4' * BLOCK)], True,
            zeros=[(0, BLOCK)]))
        self.leave(RESERVE // 4 + 2 * BLOCK)
        with self.assertRaises(errors.NoSpace):
            self.wait(self.store.adopt(
                2, 2, CAPACITY, [(0, b'5' * BLOCK)], True))
        self.assertEqual(bytes(BLOCK) + b'4' * BLOCK,
                         self.read(2, 0, 2 * BLOCK))

    def test_or_nothing_of_it(self):
        self.leave(RESERVE)
        self.store.check_room(2, CAPACITY, CAPACITY)
        self.assert_no_room(self.store.check_room, 2, CAPACITY, CAPACITY,
                            True, left='4.0 MB')
        self.store.check_room(1, CAPACITY, CAPACITY, True)
        self.leave(RESERVE + CAPACITY * 2)
        self.store.check_room(2, CAPACITY, CAPACITY, True)

    def test_those_that_replace_one_take_more(self):
        """…else copies could not be made equal on a full disk."""
        size = CAPACITY + (CAPACITY >> 6)
        self.leave(RESERVE // 4 + size)
        self.adopt(1, True, b'3' * BLOCK)
        self.assertEqual(b'3' * BLOCK + b'1' * BLOCK,
                         self.read(1, 0, 2 * BLOCK))
        self.leave(RESERVE // 4 + size - BLOCK)
        self.assert_no_room(self.adopt, 1, left='1.2 MB')

    def update(self, number, offset):
        self.call(self.store.update, ids.strip_key(5, 0), 1, number,
                  (1, 0, True), offset, BLOCK, b'%d' % number * BLOCK,
                  capacity=CAPACITY, token=number, is_known=False)

    def test_strips_are_written_over_all_the_same(self):
        self.update(1, 0)
        self.leave(RESERVE - BLOCK)
        self.assertTrue(self.store.is_full)
        self.update(2, 0)
        self.assert_no_room(self.update, 3, BLOCK, left='4.0 MB')
        self.assertEqual(b'2' * BLOCK + bytes(BLOCK),
                         self.read(ids.strip_key(5, 0), 0, 2 * BLOCK))

    def test_a_strip_that_changes_its_index_replaces_one(self):
        """The other one goes when the new one counts."""
        self.update(1, 0)
        size = CAPACITY + (CAPACITY >> 6)
        self.leave(RESERVE // 4 + size)
        self.adopt(ids.strip_key(5, 1))
        self.assert_no_room(self.adopt, ids.strip_key(6, 1), left='1.0 MB')

    def test_without_a_reserve_the_disk_says_no(self):
        self.reopen(reserve_bytes=0)
        self.leave(0)
        self.assertFalse(self.store.is_full)
        self.store.check_room(2, CAPACITY, CAPACITY, True)
        with self.assertRaises(errors.NoSpace):
            self.write(2, 0, b'x' * BLOCK)
