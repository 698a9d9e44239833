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

"""Tests of sheepdog.backup: documents, depot, images, saving, loading."""

import io
import pathlib
import shutil
import tempfile
import threading
import unittest
from unittest import mock
import uuid

import fsspec
import zstandard

from sheepdog.backup import depot
from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.backup import landing
from sheepdog.backup import loading
from sheepdog.backup import saving
from sheepdog.backup import stream
from sheepdog.model import errors
from sheepdog.tests.unit.backup import memory
from sheepdog.tests.unit.backup import test_landing

MIB = 1 << 20


class Dying:
    """A depot whose user dies after so many calls."""

    def __init__(self, real):
        self._real = real
        self.left = None

    def __getattr__(self, name):
        def call(*arguments):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise memory.Died
            return getattr(self._real, name)(*arguments)

        return call


class Case(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.place = tempfile.mkdtemp(prefix='sheepdog-unit-')
        self.addCleanup(shutil.rmtree, self.place)
        self.old = memory.Cluster()
        self.old.create('disk', 5 * MIB + 4096, copies=2)
        self.write('disk', (100, b'first'), (3 * MIB - 2, b'over'),
                   (5 * MIB + 4000, b'end'))
        self.old.snapshot('disk', 'one')
        self.old.resize('disk', 7 * MIB)
        self.write('disk', (102, b'RST'), (6 * MIB, b'far'))
        self.old.snapshot('disk', 'two')
        self.write('disk', (2 * MIB, b'lost'))
        self.old.snapshot('disk')
        self.old.rollback('disk', 'one')
        self.write('disk', (4 * MIB, b'aside'))
        self.old.clone('disk', 'two', 'clone')
        self.write('clone', (5 * MIB, b'its own'))
        self.old.clone('disk', 'one', 'same')
        self.old.create('empty', MIB)

    def write(self, name, *places):
        with self.old.open(name) as volume:
            for offset, data in places:
                volume.write(offset, data)

    def depot(self):
        return depot.open_depot(self.place, create=True)

    def save(self, tag, *names):
        return saving.save(self.old, self.depot(), tag, names)

    def load(self, new, tag, *names):
        return loading.load(new, self.depot(), saving.manifest(
            self.depot(), tag), names)

    def files(self):
        return {str(path): path.stat().st_mtime_ns
                for path in pathlib.Path(self.place).rglob('*')
                if path.is_file()}


class WholeTest(Case):
    def test_all_is_there_again(self):
        self.old.delete('clone')
        self.old.clone('disk', 'two', 'clone')
        done = self.save('monday')
        self.assertEqual(0, done['saved_before'])
        new = memory.Cluster(9 << 32)
        self.load(new, 'monday')
        self.assertEqual(self.old.state(), new.state())
        self.assertEqual({2, 3}, {vdi['copies'] for vdi in new.list()})
        for name in 'disk', 'clone', 'same', 'empty':
            self.assertIsNone(loading._attribute(new, name))

    def test_what_is_saved_again_is_not_read_again(self):
        self.save('monday')
        before = self.files()
        self.old.reads = []
        done = self.save('tuesday')
        self.assertEqual((0, done['snapshots']),
                         (done['new_chunks'], done['saved_before']))
        self.assertEqual([], self.old.reads)
        after = self.files()
        self.assertEqual(1, len(after) - len(before))
        self.assertEqual(before, {path: after[path] for path in before})
        # The cluster as it was restored is known, too.
        new = memory.Cluster(9 << 32)
        self.load(new, 'monday')
        self.old, state = new, new.state()
        self.assertEqual(0, self.save('wednesday')['new_chunks'])
        self.assertEqual([], new.reads)
        self.assertEqual(state, new.state())

    def test_only_what_has_changed_is_read_and_written(self):
        self.save('monday')
        self.old.reads = []
        self.write('disk', (3 * MIB, b'new'))
        self.write('clone', (3 * MIB, b'new'))
        before = self.files()
        # The same chunk of both, and an index of each.
        self.assertEqual(3, self.save('tuesday')['new_chunks'])
        self.assertEqual({3}, {at // MIB for _, at, _ in self.old.reads})
        after = self.files()
        self.assertEqual(before, {path: after[path] for path in before})

    def test_all_are_of_one_moment(self):
        """One was written after it was looked at, and before the others'
        snapshots: what it was before would be too old."""
        group = self.old.snapshot_group
        groups = []

        def late(names, *more):
            if not groups:
                self.write('same', (0, b'late'))
            groups.append(names)
            return group(names, *more)

        with mock.patch.object(self.old, 'snapshot_group', late):
            self.save('monday')
        self.assertEqual([['clone', 'disk', 'empty', 'same']], groups[1:])
        new = memory.Cluster(9 << 32)
        self.load(new, 'monday')
        self.assertEqual(self.old.state(), new.state())

    def test_some_by_name(self):
        self.save('monday', 'disk', 'empty')
        with self.assertRaises(errors.NoVdi):
            self.save('tuesday', 'disk', 'none')
        new = memory.Cluster(9 << 32)
        with self.assertRaises(errors.NoVdi):
            self.load(new, 'monday', 'clone')
        self.load(new, 'monday', 'empty')
        self.assertEqual({'empty'}, {vdi['name'] for vdi in new.list()})
        self.load(new, 'monday', 'disk')
        self.assertEqual([one for one in self.old.state()
                          if one[0] in ('disk', 'empty')], new.state())

    def test_a_clone_alone(self):
        self.save('monday')
        new = memory.Cluster(9 << 32)
        self.load(new, 'monday', 'clone')
        self.assertEqual([one for one in self.old.state()
                          if one[0] == 'clone'], new.state())
        # What is another VDI's and nothing of its own cannot do without.
        with self.assertRaisesRegex(faults.BackupError, 'clone of a VDI'):
            self.load(new, 'monday', 'same')

    def test_snapshots_of_a_deleted_vdi_and_without_what_they_followed(self):
        self.old.delete('same')
        self.old.delete('disk', 'one')
        self.old.snapshot('disk', 'three')
        self.old.delete('disk')
        self.save('monday')
        new = memory.Cluster(9 << 32)
        self.load(new, 'monday')
        self.assertEqual(self.old.state(), new.state())

    def test_list_and_wrong_names(self):
        self.save('monday')
        self.save('a/b.c ü')
        self.assertEqual(
            {'monday', 'a/b.c ü'},
            {one.tag for one in saving.listed(self.depot())})
        with self.assertRaises(faults.Exists):
            self.save('monday')
        for wrong in '', 'x' * 300:
            with self.assertRaises(faults.BackupError):
                self.save(wrong)
        with self.assertRaises(faults.NotThere):
            saving.manifest(self.depot(), 'sunday')
        with self.assertRaises(faults.NotThere):
            depot.open_depot(self.place + '/none')

    def test_a_vdi_that_is_there(self):
        self.save('monday')
        new = memory.Cluster(9 << 32)
        new.create('empty', MIB)
        before = new.state()
        with self.assertRaisesRegex(errors.VdiExists, 'empty'):
            self.load(new, 'monday')
        self.assertEqual(before, new.state())

    def test_a_damaged_chunk(self):
        self.save('monday')
        path = [path for path in self.files() if '/chunks/' in path][0]
        path = pathlib.Path(path)
        path.write_bytes(path.read_bytes()[:-1])
        with self.assertRaises(faults.Damaged):
            self.load(memory.Cluster(9 << 32), 'monday')
        # It is not even read.
        with path.open('r+b') as file:
            file.truncate(1 << 40)
        with self.assertRaisesRegex(faults.Damaged, 'too long'):
            self.load(memory.Cluster(9 << 32), 'monday')


class Remote(Case):
    """Over fsspec, in memory."""

    def setUp(self):
        super().setUp()
        self.place = 'memory://unit-%s/cluster' % uuid.uuid4().hex
        self.addCleanup(fsspec.filesystem('memory').rm,
                        self.place.rpartition('/')[0], recursive=True)


class DeathTest(Remote):
    def setUp(self):
        super().setUp()
        # Fewer, so that there are fewer steps.
        for name in 'clone', 'empty':
            self.old.delete(name)

    def test_of_who_saves(self):
        step = 0
        while True:
            place = self.place + '/%d' % step
            dying = Dying(depot.open_depot(place, create=True))
            dying.left = step
            try:
                saving.save(self.old, dying, 'monday')
                break
            except memory.Died:
                pass
            files = fsspec.filesystem('memory')
            good = {path: files.cat_file(path) for path in files.find(place)}
            real = depot.open_depot(place)
            self.assertEqual([], saving.listed(real))
            saving.save(self.old, real, 'monday')
            for path, data in good.items():
                self.assertEqual(data, files.cat_file(path))
            new = memory.Cluster(9 << 32)
            loading.load(new, real, saving.manifest(real, 'monday'))
            self.assertEqual(self.old.state(), new.state())
            step += 1 + step // 9
        self.assertGreater(step, 15)

    def test_of_who_loads(self):
        self.save('monday')
        # In these windows nobody knows yet whose the VDI is.
        unknown = 0
        step = 0
        while True:
            new = memory.Cluster(9 << 32)
            new.left = step
            try:
                self.load(new, 'monday')
                break
            except memory.Died:
                new.revive()
            try:
                self.load(new, 'monday')
            except errors.VdiExists:
                unknown += 1
            else:
                self.assertEqual(self.old.state(), new.state(), step)
            step += 1 + step // 9
        self.assertGreater(step, 60)
        self.assertLessEqual(unknown, 1)


class ConcurrentTest(Case):
    def test_two_at_once(self):
        found = []

        def run(tag):
            try:
                found.append(self.save(tag)['tag'])
            except faults.Exists:
                found.append('')

        self.old.snapshot('disk', 'all')
        for name in 'clone', 'empty', 'same':
            self.old.snapshot(name, 'all')
        threads = [threading.Thread(target=run, args=(tag,))
                   for tag in ('a', 'b', 'c', 'c')]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(['', 'a', 'b', 'c'], sorted(found))
        for tag in 'abc':
            new = memory.Cluster(9 << 32)
            self.load(new, tag)
            self.assertEqual(self.old.state(), new.state())


class RemoteTest(Remote, WholeTest):
    """The same."""

    def files(self):
        files = fsspec.filesystem('memory')
        return {path: files.modified(path)
                for path in files.find(self.place)}

    def test_a_damaged_chunk(self):
        """And all else."""
        self.save('monday')
        files = fsspec.filesystem('memory')
        for number, path in enumerate(files.find(self.place)):
            if path.endswith(documents.MARKER_PATH):
                continue
            data = files.cat_file(path)
            wrong = (data[:-1], b'', data[:20] + b'?' + data[21:],
                     None)[number % 4]
            if wrong is None:
                files.rm_file(path)
            else:
                files.pipe_file(path, wrong)
            new = memory.Cluster(9 << 32)
            with self.assertRaises((faults.Damaged, faults.NotThere)):
                self.load(new, 'monday')
            # It goes on where it was, when that is mended.
            files.pipe_file(path, data)
            self.load(new, 'monday')
            self.assertEqual(self.old.state(), new.state())

    def test_list_and_wrong_names(self):
        super().test_list_and_wrong_names()
        for wrong in 'none://x', 'swift://x/y':
            with self.assertRaises(faults.BackupError):
                depot.open_depot(wrong)

    def test_a_store_that_is_not_atomic(self):
        self.depot()
        one = self.depot()
        one._is_atomic = False
        one.write('a/b', b'1')
        one.create('a/c', b'2')
        with self.assertRaises(faults.Exists):
            one.create('a/c', b'3')
        self.assertEqual(['b', 'c'], one.names('a'))
        self.assertEqual((b'1', b'2'), (one.read('a/b'), one.read('a/c')))


class StreamOfAStoreTest(Case):
    def test_restored_by_either_way(self):
        """A stream goes onto what was loaded."""
        self.save('monday')
        new = memory.Cluster(9 << 32)
        self.load(new, 'monday')
        self.write('disk', (0, b'x'))
        self.old.snapshot('disk', 'later')
        data = test_landing.backup(self.old, 'disk', 'later',
                                   'backup-monday')
        reader = stream.Reader(io.BytesIO(data))
        head = reader.head
        landing.restore(new, landing.Goal(
            'disk', head.tag, head.identity, head.size,
            head.block_size_shift), head.base, reader.pieces())
        self.assertEqual(self.old.content('disk'), new.content('disk'))


class DocumentsTest(unittest.TestCase):
    def test_a_chunk_that_says_that_it_is_huge(self):
        digest = documents.digest_of(b'x')
        data = zstandard.ZstdCompressor().compress(bytes(1 << 28))
        for wrong in data, b'', b'x', documents.pack_chunk(b'y'):
            with self.assertRaises(faults.Damaged):
                documents.unpack_chunk(digest, wrong)
        self.assertEqual(b'x', documents.unpack_chunk(
            digest, documents.pack_chunk(b'x')))

    def test_names_of_manifests(self):
        for tag in 'a', 'a.b', '../x', 'ü/.json', '%':
            folder, _, name = documents.manifest_path(tag).rpartition('/')
            self.assertEqual('snapshots', folder)
            self.assertEqual(tag, documents.tag_of(name))
        for other in '.part-x', 'a', 'a.json.0.part':
            self.assertEqual('', documents.tag_of(other))
