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

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.store import disks
from sheepdog.store import settings as store_settings
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
CAPACITY = case.CAPACITY
OIDS = [(7 << 32) + number for number in range(24)]


def content(oid, generation=0):
    return bytes([oid & 0xff, generation]) * (BLOCK // 2)


class DisksCase(case.StoreCase):
    """``self.store`` is a ``Disks``; there are /d1, /d2 and /d3."""

    disk_bytes = 128 << 20

    def setUp(self):
        super().setUp()
        for path in ('/d1', '/d2', '/d3', '/d4'):
            self.host.mount(path)

    def open(self, *paths, **changes):
        if not self.host.is_running:
            self.host.start()
        settings = store_settings.StoreSettings(
            case.META, disks=paths, journal_bytes=2 << 20, reserve_bytes=0,
            **changes)
        self.store = self.host.run(disks.Disks.open(self.host.world,
                                                    settings))
        self.failures = []
        self.store.when_failing(lambda: self.failures.append(
            self.store.device_error))
        return self.store

    def reopen(self, *paths, **changes):
        self.close()
        return self.open(*paths, **changes)

    def refused(self, *paths, **changes):
        with self.assertRaises(store_settings.StoreRefused) as caught:
            self.open(*paths, **changes)
        return str(caught.exception)

    def fill(self, generation=0):
        for oid in OIDS:
            self.call(self.store.write, oid, 1, 0, content(oid, generation),
                      capacity=CAPACITY)

    def check(self, generation=0, oids=OIDS):
        for oid in oids:
            self.assertEqual(content(oid, generation),
                             self.call(self.store.read, oid, 0, BLOCK))

    def paths(self):
        return self.store.paths()

    def objects(self):
        """Path → the objects there, by their files."""
        return {path: {int(name, 16) for name in
                       self.host.image.directory(path + '/obj').entries
                       if len(name) == 16} for path in self.paths()}

    def settle(self, seconds=30):
        self.assertTrue(self.simulation.run_until(
            lambda: self.store.shifting.left == 0
            and not any(map(self._is_out_of_place,
                            self.store._rack.shelves)), seconds))

    def _is_out_of_place(self, shelf):
        return shelf.entry.is_leaving or any(
            self.store._rack.wanted(oid) is not shelf
            for oid in shelf.store.oids())

    def lose(self, path):
        """→ the objects that are unknown now."""
        before = self.objects()[path]
        self.host.pull(path)
        with self.assertRaises(errors.SheepdogError):
            self.call(self.store.write, min(before), 2, 0, content(0))
        self.assertTrue(self.store.can_do_without())
        return before, self.store.give_up()


class OneDiskTest(DisksCase):

    def test_nothing_stands_in_the_way(self):
        self.open()
        only = self.store._rack.shelves[0].store
        self.assertEqual(only.write, self.store.write)
        self.assertEqual(only.read, self.store.read)
        self.assertFalse(self.host.image.directory('/meta').entries.keys()
                         & {'disks'})
        self.fill()
        self.close()
        # As a version reads it that knows of one disk only.
        case.StoreCase.open(self)
        self.check()

    def test_it_is_not_given_up(self):
        self.open()
        self.fill()
        self.host.faults.fails_syncs = True
        self.assertRaises(errors.StorageError, self.call, self.store.write,
                          OIDS[0], 1, 0, content(1))
        self.assertTrue(self.failures)
        self.assertFalse(self.store.can_do_without())


class SeveralTest(DisksCase):

    def test_each_object_is_on_one(self):
        self.open('/d1', '/d2')
        self.fill()
        found = self.objects()
        self.assertTrue(found['/d1'] and found['/d2'])
        self.assertFalse(found['/d1'] & found['/d2'])
        self.assertEqual(OIDS, self.store.oids())
        self.crash(power=True)
        self.open('/d1', '/d2')
        self.assertEqual(found, self.objects())
        self.check()

    def test_plug_moves_to_the_new_one_only(self):
        self.open('/d1', '/d2')
        self.fill()
        before = self.objects()
        self.host.run(self.store.plug('/d3'))
        self.settle()
        after = self.objects()
        self.assertTrue(after['/d3'])
        for path in ('/d1', '/d2'):
            self.assertEqual(after[path], before[path] - after['/d3'])
        self.check()
        self.reopen('/d1', '/d2')
        self.assertEqual(after, self.objects())

    def test_unplug_leaves_an_empty_directory(self):
        self.open('/d1', '/d2')
        self.fill()
        self.host.run(self.store.unplug('/d1'))
        self.settle()
        self.assertEqual(['/d2'], self.paths())
        self.check()
        self.assertNotIn('store',
                         self.host.image.directory('/d1').entries)
        self.reopen('/d1', '/d2')
        self.assertEqual(['/d2'], self.paths())
        self.host.run(self.store.plug('/d1'))
        self.settle()
        self.check()

    def test_what_is_bad_moves_too(self):
        """…and is known to be bad where it goes, after a restart too."""
        self.open('/d1', '/d2')
        self.fill()
        oid = min(self.objects()['/d1'])
        self.call(self.store.write, oid, 1, BLOCK, content(oid))
        self.reopen('/d1', '/d2')
        for path, inode in self.host.image.files():
            if path == '/d1/obj/%016x' % oid:
                inode.rot(1, 5)
        for end in (lambda: None, self.crash):
            end()
            if end == self.crash:
                self.open('/d2')
            with self.assertRaises(errors.ChecksumError):
                self.call(self.store.read, oid, BLOCK, BLOCK)
            if end != self.crash:
                self.host.run(self.store.unplug('/d1'))
                self.settle()
            self.assertEqual(['/d2'], self.paths())
            self.assertEqual({oid: [1]}, self.store.bad_blocks())
            self.check()
        self.call(self.store.write, oid, 1, BLOCK, content(oid))
        self.assertEqual({}, self.store.bad_blocks())

    def test_unplug_goes_on_after_a_crash_at_any_moment(self):
        source = random.Random('unplug')
        for number in range(12):
            with self.subTest(number):
                self.open('/d1', '/d2', '/d3')
                self.fill(number)
                path = source.choice(self.paths()[:-1])
                if self.host.process is not None:
                    self.host.process.kill_after(source.randrange(1, 400))
                try:
                    self.host.run(self.store.unplug(path))
                    self.settle()
                except BaseException as error:
                    if 'Killed' not in repr(error) and not isinstance(
                            error, (AssertionError, asyncio.CancelledError)):
                        raise
                self.crash(power=source.random() < 0.5)
                self.open('/d1', '/d2', '/d3')
                self.settle()
                self.check(number)
                found = self.objects()
                self.assertEqual(len(OIDS), sum(map(len, found.values())))
                for one in ('/d1', '/d2', '/d3'):
                    if one not in self.paths():
                        self.host.run(self.store.plug(one))
                self.settle()
                self.close()

    def test_writes_while_objects_move(self):
        self.open('/d1', '/d2')
        self.fill()
        answers = []
        self.host.run(self.store.plug('/d3'))
        self.host.run(self.store.unplug('/d1'))
        for generation in range(1, 20):
            self.simulation.run_for(0.02)
            for oid in OIDS:
                self.host.process.run(
                    self.store.write, oid, 1, 0, content(oid, generation),
                    lambda error: answers.append(error), generation % 2)
        self.simulation.run_until(
            lambda: len(answers) == 19 * len(OIDS), 30)
        self.settle()
        self.assertEqual([None] * 19 * len(OIDS), answers)
        self.check(19)
        self.assertEqual(['/d2', '/d3'], self.paths())

    def test_it_is_known_at_every_moment_of_a_move(self):
        self.open('/d1')
        self.fill()
        keys = [ids.strip_key(oid + 100, 1) for oid in OIDS]
        for key in keys:
            self.call(self.store.update, key, 3, 1, (3, 0, True), 0, 512,
                      b'x' * 512, capacity=CAPACITY)
            self.store.close_updates(key, 2)
        self.host.run(self.store.plug('/d2'))
        unknown = set()

        def is_over():
            unknown.update(oid for oid in OIDS + keys
                           if self.store.version(oid) is None)
            return not self.store.shifting.left and self.store.shifting.moved

        self.simulation.loop.run_while(lambda: not is_over())
        self.assertGreater(self.store.shifting.moved, 10)
        self.assertEqual(set(), unknown)
        self.call(self.store.remove, OIDS[0])
        self.assertIsNone(self.store.version(OIDS[0]))

    def test_what_a_lost_disk_had_is_unknown(self):
        self.open('/d1', '/d2', '/d3')
        self.fill()
        before, lost = self.lose('/d2')
        self.assertLessEqual(before, lost)
        self.assertFalse(lost & (set(OIDS) - before))
        self.host.run(self.store.noted())
        self.assertEqual(sorted(set(OIDS) - before), self.store.oids())
        self.check(oids=self.store.oids())
        self.assertTrue(self.store.has_untold_loss)
        # They may come back, elsewhere.
        for oid in before:
            self.host.run(self.store.adopt(
                oid, 3, CAPACITY, [(0, content(oid))], False))
        self.check()
        self.crash()
        self.open('/d1', '/d2', '/d3')
        self.assertEqual(['/d1', '/d3'], self.paths())
        self.assertTrue(self.store.has_untold_loss)
        news = self.store.news
        self.host.run(self.store.told(news))
        self.reopen('/d1', '/d2', '/d3')
        self.assertIsNone(self.store.news)
        self.check()

    def test_what_is_under_way_on_a_lost_disk_was_not_done(self):
        self.open('/d1', '/d2')
        self.fill()
        oid = min(self.objects()['/d1'])
        shelf = self.store._rack.find(oid)
        answers = []
        self.host.process.run(self.store.write, oid, 2, 0, content(9),
                              answers.append)
        shelf.store._device_failed(errors.StorageError('EIO'))
        self.store.give_up()
        self.simulation.run_for(5)
        self.assertEqual([errors.NotRecovered], list(map(type, answers)))

    def test_a_sync_does_not_wait_for_a_lost_disk(self):
        self.open('/d1', '/d2')
        self.fill()
        self.lose('/d1')
        self.call(self.store.sync)

    def test_all_calls_of_a_store_are_there(self):
        from sheepdog.store import store
        self.assertEqual(
            {'is_empty', 'abandon', 'become', 'forget', 'look', 'holds',
             'known', 'unlock'},
            {name for name in dir(store.Store) if not name.startswith('_')}
            - set(dir(disks.Disks)) - set(disks.Disks.__annotations__))


class RefusalTest(DisksCase):

    def setUp(self):
        super().setUp()
        self.open('/d1', '/d2')
        self.fill()
        self.close()

    def picture(self):
        return [(path, inode.size, dict(inode.pages)) for path, inode
                in self.host.image.files() if not path.endswith('/lock')]

    def rename(self, old, new):
        directory, name = self.host.image.parent(old)
        target, new_name = self.host.image.parent(new)
        moved = directory.entries[name]
        directory.change((name, None))
        target.change((new_name, moved))

    def assert_refused(self, *words, paths=('/d1', '/d2'), **changes):
        before = self.picture()
        text = self.refused(*paths, **changes)
        self.host.kill()
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(before, self.picture())

    def test_missing(self):
        self.rename('/d2', '/away')
        self.assert_refused('/d2', 'missing', '--lost-disk')
        self.assert_refused('/d2', 'missing', paths=('/d1',))
        # Mounted elsewhere it is known for what it is.
        self.open('/d1', '/away')
        self.check()
        self.assertEqual(['/away', '/d1'], sorted(self.paths()))

    def test_foreign(self):
        self.rename('/meta', '/other')
        self.rename('/d1', '/theirs')
        self.host.make_durable_directory('/meta')
        self.open('/d3')
        self.close()
        self.assert_refused('/theirs', 'another sheep',
                            paths=('/d3', '/theirs'))
        self.assert_refused('named twice', paths=('/d3', '/d3'))

    def test_given_up(self):
        self.open('/d1', '/d2', lost_disks=('/d2',))
        self.assertEqual(['/d1'], self.paths())
        self.assertTrue(self.store.has_untold_loss)
        with self.assertRaises(store_settings.StoreRefused) as caught:
            self.host.run(self.store.plug('/d2'))
        self.assertIn('given up', str(caught.exception))
        self.close()
        self.rename('/d2', '/again')
        self.assert_refused('/again', 'given up', paths=('/d1', '/again'))

    def test_meta_with_objects(self):
        self.rename('/meta', '/other')
        self.host.make_durable_directory('/meta')
        self.open()
        self.close()
        self.assert_refused('META alone', 'md plug /d3', paths=('/d3',))


class StripsTest(DisksCase):
    """Strips of coded objects are kept and moved as objects are, with what
    they know."""

    KEYS = [ids.strip_key(oid, 1) for oid in OIDS]
    BIRTH = (3, 0, True)

    def update(self, key, number, data=b'x' * 512):
        self.call(self.store.update, key, 3, number, self.BIRTH, 0,
                  len(data), data, capacity=CAPACITY)

    def test_moved(self):
        self.open('/d1')
        for key in self.KEYS:
            self.update(key, 1)
            self.store.close_updates(key, 2)
        open_one = self.KEYS[0]
        self.update(open_one, 2, b'y' * 512)
        self.host.run(self.store.plug('/d2'))
        self.host.run(self.store.plug('/d3'))
        self.simulation.run_until(lambda: False, 20)
        self.assertEqual([open_one], self.store.with_open())
        self.update(open_one, 3, b'z' * 512)
        self.store.close_updates(open_one, 4)
        self.settle()
        counts = [len(shelf.store.oids()) for shelf
                  in self.store._rack.shelves]
        self.assertEqual(len(OIDS), sum(counts))
        self.assertTrue(all(counts), counts)
        self.reopen('/d1', '/d2', '/d3')
        for key in self.KEYS:
            history = self.wait(self.store.history(key))
            self.assertEqual(
                (self.BIRTH, 4 if key == open_one else 2, {}),
                (history.generation, history.floor, history.open))
            self.assertEqual(
                b'z' * 512 if key == open_one else b'x' * 512,
                self.call(self.store.read, key, 0, 512))

    def test_each_question_goes_to_the_right_disk(self):
        self.open('/d1', '/d2', '/d3')
        for key in self.KEYS:
            self.update(key, 1)
        self.assertEqual(sorted(self.KEYS), sorted(self.store.with_open()))
        for key in self.KEYS:
            self.wait(self.store.align(key, (4, 1, False), set()))
            self.wait(self.store.settle(key, (4, 1, False)))
            self.assertEqual((4, 1, False), self.store.generation(key))
            self.assertEqual(bytes(512),
                             self.call(self.store.read, key, 0, 512))
