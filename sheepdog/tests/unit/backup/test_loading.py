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

"""Tests of sheepdog.backup.saving and .loading where others meddle: what is
saved can be loaded, and nothing that somebody wrote is lost.
"""

import shutil
import tempfile
import unittest
from unittest import mock

from sheepdog.backup import depot
from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.backup import images
from sheepdog.backup import loading
from sheepdog.backup import saving
from sheepdog.backup import source
from sheepdog.backup import stream
from sheepdog.cmd.dog import keeping
from sheepdog.model import errors
from sheepdog.tests.unit.backup import memory
from sheepdog.tests.unit.backup import test_landing

MIB = 1 << 20


class Case(unittest.TestCase):
    def setUp(self):
        super().setUp()
        place = tempfile.mkdtemp(prefix='sheepdog-unit-')
        self.addCleanup(shutil.rmtree, place)
        self.depot = depot.open_depot(place, create=True)
        self.old = memory.Cluster()
        self.new = memory.Cluster(9 << 32)

    def make(self, name, data, tag=''):
        self.old.create(name, 2 * MIB)
        test_landing.write(self.old, name, (0, data))
        if tag:
            self.old.snapshot(name, tag)

    def save(self, tag='daily', names=()):
        return saving.save(self.old, self.depot, tag, names)

    def load(self, tag='daily', names=()):
        return loading.load(self.new, self.depot,
                            saving.manifest(self.depot, tag), names)

    def assert_held(self, name, data, cluster=None):
        self.assertEqual(data, (cluster or self.new).content(
            name)[:len(data)])


class SavingTest(Case):
    def test_what_was_restored_beside_its_origin(self):
        self.make('vm', b'x', 'monday')
        test_landing.restore(self.old, 'copy', test_landing.backup(
            self.old, 'vm', 'monday'))
        self.save()
        self.assertEqual(1, len(saving.listed(self.depot)))
        self.load()
        self.assertEqual(self.old.state(), self.new.state())

    def test_a_stream_that_says_that_it_is_another(self):
        self.make('vm', b'GENUINE', 'monday')
        identity = source.find(self.old, 'vm', 'monday').identity
        test_landing.restore(self.old, 'upload', b''.join(stream.pack(
            stream.Head('x', 't', identity, 2 * MIB, memory.SHIFT),
            [stream.Piece(0, 6, b'FORGED')])))
        self.save('one', ['upload'])
        self.save('two', ['vm'])
        self.load('two')
        self.assert_held('vm', b'GENUINE')

    def test_a_snapshot_by_others_in_that_moment(self):
        self.make('data', b'1')
        self.make('log', b'1')
        real = self.old.snapshot_group

        def group(*arguments):
            done = real(*arguments)
            test_landing.write(self.old, 'log', (0, b'2'))
            self.old.snapshot('log', 'hourly')
            return done

        with mock.patch.object(self.old, 'snapshot_group', group):
            self.save()
        self.load()
        self.assert_held('data', b'1')
        self.assert_held('log', b'1')

    def test_vdis_that_are_not_named(self):
        self.make('mine', b'x', 's')
        self.make('other', b'x', 's')
        test_landing.write(self.old, 'mine', (0, b'y'))
        real = self.old.inode

        def inode(name, *arguments, **options):
            if name == 'other':
                raise errors.NoVdi(name)
            return real(name, *arguments, **options)

        with mock.patch.object(self.old, 'inode', inode):
            self.save(names=['mine'])

    def test_a_deleted_parent(self):
        """The snapshot before is compared with instead."""
        self.make('vm', b'x')
        test_landing.write(self.old, 'vm', (MIB, b'x'))
        self.save('monday')
        self.old.snapshot('vm', 'hourly')
        test_landing.write(self.old, 'vm', (0, b'z'))
        self.old.delete('vm', 'hourly')
        self.old.reads = []
        self.save('tuesday')
        self.assertEqual({0}, {at // MIB for _, at, _ in self.old.reads})
        self.load('tuesday')
        self.assertEqual(self.old.state(), self.new.state())

    def test_what_could_not_be_read_again_is_not_kept(self):
        self.make('vm', b'x')
        with mock.patch.object(saving.documents, 'pack_manifest',
                               return_value=b'?'), self.assertRaises(
                                   faults.Damaged):
            self.save()
        self.assertEqual([], saving.listed(self.depot))


class ListTest(Case):
    def test_one_that_is_damaged(self):
        self.make('vm', b'x')
        self.save('good')
        for tag, data in (
                ('bad', b'?'),
                ('late', documents.pack_manifest(saving.manifest(
                    self.depot, 'good')._replace(tag='late', time=1 << 80)))):
            self.depot.create(documents.manifest_path(tag), data)
        with self.assertRaises(faults.Damaged):
            saving.listed(self.depot)
        damaged = []
        self.assertEqual(['good'], [
            one.tag for one in saving.listed(self.depot, damaged)])
        self.assertEqual({'bad', 'late'}, {tag for tag, _ in damaged})

    def test_tags_that_a_terminal_would_obey(self):
        self.make('vm', b'x')
        self.save('a\x1b[2Jb')
        found = saving.listed(self.depot)
        for line in [*keeping._lines(found, False),
                     *keeping._lines(found, True),
                     *keeping._table(found[0], False),
                     *keeping._table(found[0], True)]:
            self.assertNotIn('\x1b', line)


class LoadingTest(Case):
    def test_tags_that_are_numbers_of_others(self):
        self.make('a', b'AAAA', 'two-weeks')
        test_landing.write(self.old, 'a', (0, b'BBBB'))
        self.old.snapshot('a', '1')
        self.old.rollback('a', 'two-weeks')
        self.save()
        self.load()
        self.assertEqual(self.old.state(), self.new.state())
        # An undone restore puts the same back.
        test_landing.write(self.old, 'a', (0, b'later'))
        self.old.snapshot('a', 'three')
        data = test_landing.backup(self.old, 'a', 'three', 'two-weeks')
        self.old.delete('a', 'three')
        self.old.rollback('a', 'two-weeks')
        before = self.old.state()
        with self.assertRaises(faults.Damaged):
            test_landing.restore(self.old, 'a', data[:-5])
        self.assertEqual(before, self.old.state())

    def test_a_number_that_is_the_tag_of_another(self):
        self.make('a', b'A')
        self.old.snapshot('a')
        self.old.snapshot('a', '1')
        with self.assertRaises(errors.NoTag):
            source.handle(self.old, source.find(self.old, 'a',
                                                snap_id=1).vdi)

    def interrupted(self, data):
        """A chunk that begins so is out of reach for once."""
        real = images.Store.chunk

        def chunk(store, digest):
            found = real(store, digest)
            if found.startswith(data):
                raise faults.Damaged('missing')
            return found

        with mock.patch.object(images.Store, 'chunk', chunk), (
                self.assertRaises(faults.Damaged)):
            self.load()

    def test_what_is_in_use_already(self):
        self.make('a', b'a')
        self.make('b', b'b')
        self.save()
        self.interrupted(b'b')
        test_landing.write(self.new, 'a', (0, b'three weeks of work'))
        self.load()
        self.assert_held('a', b'three weeks of work')
        self.assert_held('b', b'b')

    def test_what_was_written_to_one_that_is_not_done(self):
        self.make('a', b'first', 'one')
        test_landing.write(self.old, 'a', (0, b'later'))
        self.save()
        self.interrupted(b'later')
        test_landing.write(self.new, 'a', (0, b'precious'))
        for _ in range(2):
            with self.assertRaisesRegex(errors.VdiExists, 'would be lost'):
                self.load()
            self.assert_held('a', b'precious')
        self.new.rollback('a', 'one')
        self.load()
        self.assertEqual(self.old.state(), self.new.state())

    def test_a_name_that_was_used_again(self):
        """The VDI was deleted, and made anew as a clone of another."""
        self.make('disk', b'DISK', 'gold')
        self.make('a', b'OLD', 'x')
        self.old.delete('a')
        self.old.clone('disk', 'gold', 'a')
        self.save()
        self.load()
        self.assertEqual(self.old.state(), self.new.state())
        # Its snapshots are known as before.
        self.assertEqual(source.find(self.old, 'a', 'x').identity,
                         source.find(self.new, 'a', 'x').identity)
        self.assertIsNone(loading._attribute(self.new, 'a'))

    def test_a_name_that_was_used_again_for_objects_of_another_size(self):
        self.make('a', b'OLD', 'x')
        self.old.delete('a')
        self.old.create('a', 8 * MIB, block_size_shift=22)
        self.old.snapshot('a', 'y')
        old, new = (source.find(self.old, 'a', tag) for tag in 'xy')
        with self.assertRaisesRegex(faults.WrongBase, 'different sizes'):
            source.head(new, old)
        self.save()
        with self.assertRaisesRegex(faults.BackupError, 'different sizes'):
            self.load()
        self.assertEqual([], self.new.list())

    def test_clones_that_were_interrupted(self):
        self.make('gold', b'g', 'g')
        for number in range(3):
            self.old.clone('gold', 'g', 'vm%d' % number)
        self.save()
        step, unknown = 0, 0
        while True:
            self.new = memory.Cluster(9 << 32)
            self.new.left = step
            try:
                self.load()
                break
            except memory.Died:
                self.new.revive()
            try:
                self.load()
            except errors.VdiExists:
                unknown += 1
            else:
                self.assertEqual(self.old.state(), self.new.state(), step)
            step += 1
        # (Just made, and nobody knows yet whose it is.)
        self.assertLessEqual(unknown, 1)

    def test_one_that_was_all_but_ended(self):
        """…is, and touches nothing; but for the same VDIs only."""
        for name in 'a', 'b':
            self.make(name, b'x', 's')
        self.make('gone', b'x', 's')
        self.old.delete('gone')
        self.save()
        wanted, real = self.old.state(), loading._forget
        for number in range(2):
            self.new = memory.Cluster(9 << 32)
            left = [None] * number

            def forget(*arguments):
                if not left:
                    raise memory.Died
                left.pop()
                real(*arguments)

            with mock.patch.object(loading, '_forget', forget), (
                    self.assertRaises(memory.Died)):
                self.load()
            self.assertEqual(wanted, self.new.state())
            test_landing.write(self.new, 'a', (0, b'later'))
            with self.assertRaises(errors.VdiExists):
                self.load(names=['a', 'gone'])
            self.load()
            self.assert_held('a', b'later')
            self.assertEqual(wanted[1:], self.new.state()[1:])
            for name in 'a', 'b':
                self.assertIsNone(loading._attribute(self.new, name))
