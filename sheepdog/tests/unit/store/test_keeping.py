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

"""What is open of strips, kept in a file: damaged, nothing follows from any
strip. (How it is written and read is in ``test_strips``.)"""

from unittest import mock

from sheepdog.model import ids
from sheepdog.store import opening
from sheepdog.store import settings as store_settings
from sheepdog.store import store as store_module
from sheepdog.tests.unit.store import case

KEY = ids.strip_key(0x7C2B2500000001, 5)
OTHER = ids.strip_key(0x99, 1)
BIRTH = (3, 0, True)
BLOCK = case.BLOCK
CAPACITY = 64 * BLOCK


class KeepingCase(case.StoreCase):
    number = 10

    def setUp(self):
        super().setUp()
        self.open()
        for number, key in enumerate((KEY, KEY, OTHER), 1):
            self.call(self.store.update, key, 3, number, BIRTH,
                      number * BLOCK, 1024, b'a' * 1024, capacity=CAPACITY)

    def file(self):
        """What is open, below everything."""
        return self.host.image.lookup(case.META + '/open')

    def start_and_die(self, operations):
        """True: it was well started before so many."""
        process = self.host.start().disk.process
        process.kill_after(operations)
        task = self.host.world.spawn(
            store_module.Store.open(self.host.world, self.settings))
        self.simulation.run_until(
            lambda: not self.host.is_running or task.done(), 600)
        is_started = self.host.is_running
        self.host.kill()
        return is_started

    def assert_noted_whatever_happens(self, damage):
        """Also if starts die at any moment."""
        for operations in range(1, 200):
            damage()
            if self.start_and_die(operations):
                break
            self.assertTrue(self.open().journal_damaged,
                            'killed at operation %d' % operations)
            self.wait(self.store.power_loss_handled())
            self.prepare()
        else:
            self.fail('it never started')
        self.assertGreater(operations, 5)

    def update_more(self):
        for offset in range(0, 10 * BLOCK, BLOCK):
            self.number += 1
            self.call(self.store.update, KEY, 3, self.number, BIRTH, offset,
                      1024, b'a' * 1024, capacity=CAPACITY)

    def prepare(self):
        """Something is open, and the next start finds it."""
        raise NotImplementedError


class DamagedFileTest(KeepingCase):

    def prepare(self):
        self.update_more()
        self.close()

    def assert_damaged(self, expected):
        self.open()
        self.assertEqual(expected, self.store.journal_damaged)
        self.wait(self.store.power_loss_handled())

    def test_a_whole_one_is_none(self):
        self.close()
        self.assert_damaged(False)
        self.assertEqual({1, 2}, set(self.wait(
            self.store.history(KEY)).open))

    def test_whatever_is_damaged_of_it(self):
        self.close()
        for end in (0, 1, self.file().size // 2, self.file().size - 1):
            self.file().truncate(end)
            self.assert_damaged(True)
            self.prepare()
        for position in range(0, self.file().size, 7):
            self.file().rot(0, 8 * position + position % 8)
            self.assert_damaged(True)
            self.prepare()
        self.assert_damaged(False)

    def test_it_stays_noted_over_starts(self):
        self.close()
        self.file().truncate(0)
        for end in (lambda: self.crash(power=True), self.crash, self.close):
            self.open()
            self.assertTrue(self.store.journal_damaged)
            end()

    def test_killed_at_any_moment(self):
        self.close()

        def damage():
            self.file().truncate(self.file().size - 1)

        self.assert_noted_whatever_happens(damage)


class DamagedJournalTest(KeepingCase):

    def prepare(self):
        self.update_more()
        self.crash()

    def test_killed_at_any_moment(self):
        self.prepare()

        def damage():
            for number in (0, 1):
                inode = self.segment(number)
                used = [page for page in sorted(inode.pages)
                        if any(bytes(inode.pages[page]))]
                if len(used) > 8:
                    inode.rot(used[len(used) // 2], 77)

        self.assert_noted_whatever_happens(damage)


class StripThatCannotBeOpenedTest(KeepingCase):

    def test_what_is_open_of_it_is_not_forgotten(self):
        self.close()

        self.host.start()
        with mock.patch.object(opening.Opener, '_load',
                               lambda self, obj: self._damaged(
                                   obj, OSError(24, 'Too many open files'))):
            with self.assertRaisesRegex(store_settings.StoreRefused,
                                        'cannot be kept'):
                self.open()
        self.host.kill()
        self.open()
        self.assertFalse(self.store.journal_damaged)
        self.assertEqual({1, 2}, set(self.wait(
            self.store.history(KEY)).open))
