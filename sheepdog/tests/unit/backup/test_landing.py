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

"""Tests of sheepdog.backup: source, records, landing."""

import io
import random
import unittest
from unittest import mock

from sheepdog.backup import changes
from sheepdog.backup import faults
from sheepdog.backup import landing
from sheepdog.backup import records
from sheepdog.backup import source
from sheepdog.backup import stream
from sheepdog.model import errors
from sheepdog.tests.unit.backup import memory

MIB = 1 << 20


def backup(cluster, name, tag, base=''):
    new = source.find(cluster, name, tag)
    old = source.find(cluster, name, base) if base else None
    return b''.join(stream.pack(source.head(new, old), changes.joined(
        source.differing(cluster, new, old))))


def restore(cluster, name, data, chosen=None, may_undo=False):
    reader = stream.Reader(io.BytesIO(data))
    head = reader.head
    return landing.restore(
        cluster, landing.Goal(name, head.tag, head.identity, head.size,
                              head.block_size_shift),
        head.base, reader.pieces(), chosen=chosen, may_undo=may_undo)


def write(cluster, name, *places):
    with cluster.open(name) as volume:
        for offset, data in places:
            volume.write(offset, data)


class Case(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.old = memory.Cluster()
        self.old.create('disk', 5 * MIB + 4096)
        write(self.old, 'disk', (100, b'first'), (3 * MIB - 2, b'over'),
              (4 * MIB, b'goes'), (5 * MIB + 4000, b'end'))
        self.old.snapshot('disk', 'one')
        self.old.resize('disk', 7 * MIB)
        write(self.old, 'disk', (102, b'RST'), (6 * MIB, b'far'))
        with self.old.open('disk') as volume:
            volume.zero(4 * MIB, MIB)
        self.old.snapshot('disk', 'two')
        self.whole = backup(self.old, 'disk', 'one')
        self.old.reads = []
        self.more = backup(self.old, 'disk', 'two', 'one')
        self.new = memory.Cluster(9 << 32)


class ChainTest(Case):
    def assert_same(self, tag):
        self.assertEqual(self.old.content('disk', tag),
                         self.new.content('copy', tag))
        self.assertEqual(self.old.content('disk', tag),
                         self.new.content('copy'))

    def test_is_the_same_again(self):
        restore(self.new, 'copy', self.whole)
        self.assert_same('one')
        restore(self.new, 'copy', self.more)
        self.assert_same('two')

    def test_only_objects_that_differ_are_read(self):
        self.assertEqual({0, 4, 5, 6}, {
            offset // MIB for _, offset, _ in self.old.reads} | {4})
        self.assertNotIn(2, {offset // MIB
                             for _, offset, _ in self.old.reads})

    def test_the_difference_is_small(self):
        self.assertLess(len(self.more), 4 * 4096)

    def test_any_two_snapshots(self):
        chance = random.Random(4)
        tags = ['one', 'two']
        for number in range(6):
            if number == 3:
                self.old.rollback('disk', 'two')
            for _ in range(3):
                at = chance.randrange(7 * MIB - 9000)
                if chance.random() < 0.3:
                    with self.old.open('disk') as volume:
                        volume.zero(at // MIB * MIB, MIB)
                else:
                    write(self.old, 'disk', (
                        at, chance.randbytes(chance.randrange(1, 9000))))
            tags.append('t%d' % number)
            self.old.snapshot('disk', tags[-1])
        for tag in tags:
            restore(self.new, 'copy' + tag, backup(self.old, 'disk', tag))
            for other in tags[tags.index(tag) + 1:]:
                new = memory.Cluster()
                restore(new, 'copy', backup(self.old, 'disk', tag))
                restore(new, 'copy', backup(self.old, 'disk', other, tag))
                self.assertEqual(self.old.content('disk', other),
                                 new.content('copy'))

    def test_back_to_where_it_came_from(self):
        restore(self.new, 'copy', self.whole)
        write(self.new, 'copy', (5, b'new'))
        self.new.snapshot('copy', 'three')
        back = backup(self.new, 'copy', 'three', 'one')
        self.old.rollback('disk', 'one')
        restore(self.old, 'disk', back)
        self.assertEqual(self.new.content('copy'), self.old.content('disk'))

    def test_what_is_noted_goes_with_its_snapshot(self):
        restore(self.new, 'copy', self.whole)
        restore(self.new, 'copy', self.more)
        self.assertEqual(2, len(self.new.attributes('copy')))
        write(self.old, 'disk', (0, b'x'))
        self.old.snapshot('disk', 'three')
        self.new.delete('copy', 'one')
        restore(self.new, 'copy', backup(self.old, 'disk', 'three', 'two'))
        self.assertEqual(2, len(self.new.attributes('copy')))
        self.assertEqual(source.find(self.old, 'disk', 'two').identity,
                         source.find(self.new, 'copy', 'two').identity)


class RefusalTest(Case):
    def refuses(self, error, name, data):
        before = self.new.state()
        with self.assertRaises(error):
            restore(self.new, name, data)
        self.assertEqual(before, self.new.state())
        self.assertFalse(self.new.locks)

    def test_a_wrong_base(self):
        self.refuses(faults.WrongBase, 'copy', self.more)
        self.new.create('copy', 7 * MIB)
        self.refuses(faults.WrongBase, 'copy', self.more)
        # A snapshot of the same name is not the same.
        self.new.snapshot('copy', 'one')
        self.refuses(faults.WrongBase, 'copy', self.more)

    def test_what_was_written_since(self):
        restore(self.new, 'copy', self.whole)
        write(self.new, 'copy', (2 * MIB, b'mine'))
        self.refuses(faults.WrongBase, 'copy', self.more)
        said = []
        restore(self.new, 'copy', self.more,
                lambda under, differs: said.append(differs))
        self.assertEqual([True], said)
        self.assertEqual(self.old.content('disk', 'two'),
                         self.new.content('copy'))

    def test_what_is_there_already(self):
        restore(self.new, 'copy', self.whole)
        self.refuses(errors.VdiExists, 'copy', self.whole)
        restore(self.new, 'copy', self.more)
        self.refuses(errors.VdiExists, 'copy', self.more)

    def test_a_vdi_that_holds_something(self):
        self.new.create('copy', 6 * MIB)
        write(self.new, 'copy', (0, b'mine'))
        self.refuses(errors.VdiExists, 'copy', self.whole)

    def test_one_that_is_too_large(self):
        self.new.create('copy', 8 * MIB)
        self.refuses(faults.WrongBase, 'copy', self.whole)

    def test_one_that_is_open(self):
        self.new.create('copy', MIB)
        volume = self.new.open('copy')
        before = self.new.state()
        with self.assertRaises(errors.VdiLocked):
            restore(self.new, 'copy', self.whole)
        self.assertEqual(before, self.new.state())
        self.assertIsNone(records.marked(self.new, 'copy'))
        # What its user writes then is not undone by whoever comes next.
        volume.write(0, b'precious')
        volume.close()
        before = self.new.state()
        for data in self.whole, self.more:
            with self.assertRaises((errors.VdiExists, faults.WrongBase)):
                restore(self.new, 'copy', data, may_undo=True)
        self.assertEqual(before, self.new.state())

    def test_one_that_is_open_at_the_same_sheep(self):
        self.new.is_one_sheep = True
        self.new.create('copy', MIB)
        self.new.open('copy')
        with self.assertRaises(errors.VdiLocked):
            restore(self.new, 'copy', self.whole)
        self.assertIsNone(records.marked(self.new, 'copy'))

    def test_one_that_is_opened_while_it_grows(self):
        self.new.create('copy', MIB)
        resize = self.new.resize

        def late(name, size):
            resize(name, size)
            self.new.locks.clear()
            self.others = self.new.open(name)
            self.others.write(0, b'precious')

        with mock.patch.object(self.new, 'resize', late), (
                self.assertRaises(errors.VdiLocked)):
            restore(self.new, 'copy', self.whole)
        self.assertIsNone(records.marked(self.new, 'copy'))
        self.assertEqual(b'precious', self.new.content('copy')[:8])

    def test_two_at_once(self):
        """The second one has looked before the first one began."""
        self.new.create('copy', MIB)
        real, first = landing._locked, []

        def late(client, goal, *rest):
            if not first:
                first.append(client.open(goal.name))
            return real(client, goal, *rest)

        with mock.patch.object(landing, '_locked', late), (
                self.assertRaises(errors.VdiLocked)):
            restore(self.new, 'copy', self.whole)
        self.assertIsNone(records.marked(self.new, 'copy'))

    def test_a_damaged_one(self):
        for cut in (1, 40, 5000):
            self.refuses(faults.Damaged, 'copy', self.whole[:-cut])
        restore(self.new, 'copy', self.whole)
        for cut in (1, 40, 5000):
            self.refuses(faults.Damaged, 'copy', self.more[:-cut])


class DeathTest(Case):
    """Whoever restores dies at each step; the next one begins anew."""

    def die_everywhere(self, prepare, data):
        step = 0
        while True:
            new = memory.Cluster(9 << 32)
            prepare(new)
            new.left = step
            try:
                restore(new, 'copy', data)
                break
            except memory.Died:
                new.revive()
            try:
                restore(new, 'copy', data, may_undo=True)
            except errors.VdiExists:
                pass  # It was all but done.
            new.revive()
            wanted = memory.Cluster(9 << 32)
            prepare(wanted)
            restore(wanted, 'copy', data)
            self.assertEqual(wanted.state(), new.state(), step)
            self.assertIsNone(landing.records.marked(new, 'copy'), step)
            step += 1
        self.assertGreater(step, 15)

    def test_of_a_whole_one(self):
        self.die_everywhere(lambda new: None, self.whole)

    def test_onto_an_empty_vdi(self):
        self.die_everywhere(lambda new: new.create('copy', MIB), self.whole)

    def test_of_a_difference(self):
        self.die_everywhere(
            lambda new: restore(new, 'copy', self.whole), self.more)

    def killed(self, state, prepare=None):
        """While the VDI has that mark, or just behind."""
        if prepare:
            prepare(self.new)
        real = records.mark

        def mark(client, name, fields):
            real(client, name, fields)
            if fields['state'] == state:
                client.left = 0

        with mock.patch.object(records, 'mark', mark), (
                self.assertRaises(memory.Died)):
            restore(self.new, 'copy', self.whole)
        self.new.revive()

    def test_nothing_is_undone_unasked_where_a_vdi_was_before(self):
        self.killed('writing', lambda new: new.create('copy', MIB))
        write(self.new, 'copy', (0, b'precious'))
        before = self.new.state()
        for data in self.whole, self.more:
            with self.assertRaises((faults.Unfinished, faults.WrongBase)):
                restore(self.new, 'copy', data)
        # Not even then, where it would be refused in any case.
        with self.assertRaises(faults.WrongBase):
            restore(self.new, 'copy', self.more, may_undo=True)
        self.assertEqual(before, self.new.state())
        self.assertTrue(restore(self.new, 'copy', self.whole,
                                may_undo=True)['undone'])
        self.assertEqual(self.old.content('disk', 'one'),
                         self.new.content('copy'))

    def test_nothing_is_undone_when_the_snapshot_was_made(self):
        """…and was deleted since, and the VDI in use."""
        with mock.patch.object(records, 'record', side_effect=memory.Died), (
                self.assertRaises(memory.Died)), mock.patch.object(
                landing, '_give_up'):
            restore(self.new, 'copy', self.whole)
        self.new.revive()
        self.new.delete('copy', 'one')
        write(self.new, 'copy', (0, b'precious'))
        before = self.new.state()
        with self.assertRaises(errors.VdiExists):
            restore(self.new, 'copy', self.whole, may_undo=True)
        self.assertEqual(before, self.new.state())

    def test_a_snapshot_by_others_meanwhile(self):
        """What is half written is not taken for the whole."""
        self.new.create('copy', 5 * MIB + 4096)
        real = memory.Volume.write_pieces

        def write_pieces(volume, pieces):
            for number, done in enumerate(real(volume, pieces)):
                if number == 0:
                    self.new.snapshot('copy', 'hourly')
                yield done

        with mock.patch.object(memory.Volume, 'write_pieces', write_pieces):
            self.killed('written')
        wanted = source.find(self.old, 'disk', 'one').identity
        landing.tidy(self.new, 'copy', True)
        for tag in 'hourly', 'one':
            try:
                found = source.find(self.new, 'copy', tag)
            except errors.NoTag:
                continue
            self.assertEqual(
                self.old.content('disk', 'one') == self.new.content(
                    'copy', tag), found.identity == wanted, tag)
