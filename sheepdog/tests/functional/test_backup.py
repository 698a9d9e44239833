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

"""Backups of real VDIs, restored to others."""

import json
import random
import signal
import subprocess

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

MIB = 1 << 20
SIZE = 5 << 30
"""Of the large one: offsets do not fit 32 bits."""


class BackupTest(case.ClusterCase):

    def setUp(self):
        super().setUp()
        self.chance = random.Random(3)

    def dog(self, *words, **options):
        options.setdefault('text', False)
        return self.cluster.dog(*words, **options)

    def scatter(self, name, places):
        """Write something to each of ``(offset, length)``."""
        with self.cluster.client() as client, client.open(name) as volume:
            for offset, length in places:
                volume.write(offset, self.chance.randbytes(length))
            volume.flush()

    def content(self, name, places, tag=''):
        with self.cluster.client() as client, client.open(
                name, tag, read_only=True) as volume:
            return [bytes(volume.read(offset, length))
                    for offset, length in places]

    def backup(self, name, *words):
        return self.dog('vdi', 'backup', name, *words).stdout

    def restore(self, name, data, *words, expect=0):
        return self.dog('vdi', 'restore', name, *words, input=data,
                        expect=expect)

    def names(self):
        with self.cluster.client() as client:
            return [(vdi['name'], vdi['tag']) for vdi in client.vdis.list()]

    def forget(self, name):
        with self.cluster.client() as client:
            for vdi in client.vdis.list(name):
                client.vdis.delete(name, snap_id=vdi['snap_id'] if vdi[
                    'snapshot'] else 0)

    def chain(self, name, source, **options):
        """A large VDI with snapshots "one" and "two"; what to look at."""
        self.cluster.create(name, source, **options)
        self.addCleanup(self.forget, name)
        # Beside each other, over two objects, and beyond 4 GiB.
        places = [(0, 70000), (9 * MIB - 100, 3 * MIB),
                  (source - 4096, 4096), (4 << 30, 12345), (77 * MIB, MIB)]
        self.scatter(name, places)
        self.dog('vdi', 'snapshot', name, '-s', 'one')
        self.scatter(name, [(50, 4000), (200 * MIB, 8192)])
        with self.cluster.client() as client, client.open(name) as volume:
            volume.zero(76 * MIB, 4 * MIB)
            volume.zero(10 * MIB, 8192)
        self.dog('vdi', 'snapshot', name, '-s', 'two')
        self.scatter(name, [(0, MIB)])
        return places + [(200 * MIB, 8192)]

    def test_a_chain_is_restored(self):
        places = self.chain('old', SIZE)
        whole = self.backup('old', '-s', 'one')
        more = self.backup('old', '-s', 'two', '-F', 'one')
        # A little over what differs: holes and zeroes cost nothing.
        self.assertLess(len(whole), 5 * MIB)
        self.assertLess(len(more), 40000)
        self.addCleanup(self.forget, 'new')
        self.assertIn(b'does not have', self.restore(
            'new', more, expect=1).stderr)
        self.restore('new', whole)
        self.assertEqual(self.content('old', places, 'one'),
                         self.content('new', places))
        for wrong in (more[:-1], more[:9000] + more[9001:]):
            refused = self.restore('new', wrong, expect=1)
            self.assertIn(b'nothing of it was restored', refused.stderr)
            self.assertEqual(self.content('old', places, 'one'),
                             self.content('new', places))
        self.restore('new', more)
        self.assertEqual(self.content('old', places, 'two'),
                         self.content('new', places))
        self.assertEqual(
            {('new', ''), ('new', 'one'), ('new', 'two')},
            {one for one in self.names() if one[0] == 'new'})
        # It has what differs already, and has not what this differs from.
        self.restore('new', more, expect=3)
        self.restore('new', whole, expect=3)
        # What is restored can be backed up, and goes on the first one.
        self.scatter('new', [(5 * MIB, 100)])
        self.dog('vdi', 'snapshot', 'new', '-s', 'three')
        back = self.backup('new', '-s', 'three', '-F', 'two')
        self.assertIn(b'-s two', self.restore(
            'old', back, expect=1).stderr)
        self.restore('old', back, '-s', 'one', '-f', expect=1)
        self.restore('old', back, '-s', 'two', expect=1)
        self.restore('old', back, '-s', 'two', '-f')
        places.append((5 * MIB, 100))
        self.assertEqual(self.content('new', places),
                         self.content('old', places))

    def test_strips_and_an_empty_vdi_of_other_redundancy(self):
        self.cluster.create('coded', 64 * MIB, copies=2, copy_policy=0x11)
        self.addCleanup(self.forget, 'coded')
        places = [(0, 50000), (30 * MIB, 5 * MIB)]
        self.scatter('coded', places)
        self.dog('vdi', 'snapshot', 'coded', '-s', 'a')
        data = self.backup('coded', '-s', 'a')
        self.cluster.create('copied', 32 * MIB, copies=1)
        self.addCleanup(self.forget, 'copied')
        done = json.loads(self.restore('copied', data, '--json').stdout)
        self.assertEqual('a', done['snapshot'])
        self.assertEqual(self.content('coded', places),
                         self.content('copied', places, 'a'))
        self.cluster.create('used', 32 * MIB, copies=1)
        self.addCleanup(self.forget, 'used')
        with self.cluster.client() as client, client.open('used'):
            self.assertIn(b'is open here', self.restore(
                'used', data, expect=1).stderr)
        self.restore('used', data)
        cut = self.restore('gone', data[:-200000], expect=1)
        self.assertIn(b'cut off', cut.stderr)
        self.assertNotIn('gone', dict(self.names()))

    def test_a_restore_that_is_ended_or_killed(self):
        self.cluster.create('whole', 32 * MIB)
        self.addCleanup(self.forget, 'whole')
        self.scatter('whole', [(0, 16 * MIB)])
        self.dog('vdi', 'snapshot', 'whole', '-s', 'a')
        data = self.backup('whole', '-s', 'a')
        self.end_restore(data[:9 * MIB], signal.SIGTERM)
        self.assertNotIn(('half', ''), self.names())
        self.end_restore(data[:9 * MIB], signal.SIGKILL)
        # It is there, and does not pass for whole.
        self.addCleanup(self.forget, 'half')
        self.assertNotIn(('half', 'a'), self.names())
        self.assertIn(b'undone', self.restore('half', data).stderr)
        where = [(0, 32 * MIB)]
        self.assertEqual(self.content('whole', where),
                         self.content('half', where, 'a'))

    def end_restore(self, data, number):
        """…when it has begun to write, and waits for more."""
        with subprocess.Popen(
                [harness.BIN / 'dog', 'vdi', 'restore', 'half', '-a',
                 harness.HOST, '-p', str(self.cluster.running[0].port),
                 '--key-file', self.cluster.key_file],
                stdin=subprocess.PIPE, stderr=subprocess.PIPE) as dog, \
                self.cluster.client() as client:
            dog.stdin.write(data)
            dog.stdin.flush()
            harness.wait_until(
                lambda: any(vdi['used'] for vdi in client.vdis.list('half')),
                60, lambda: 'nothing is written')
            dog.send_signal(number)
            self.assertEqual(-9 if number == signal.SIGKILL
                             else 128 + number, dog.wait(60))
            # (The sheep gives the lock back when it sees the end of the link.)
            harness.wait_until(
                lambda: not client.vdis.locks(), 60,
                lambda: 'there are locks: %s' % client.vdis.locks())

    def kept(self, *words, expect=0):
        return self.dog('cluster', 'snapshot', *words, text=True,
                        expect=expect)

    def test_a_cluster_snapshot(self):
        place = self.directory / 'kept'
        places = self.chain('tree', SIZE)
        self.dog('vdi', 'clone', 'tree', 'branch', '-s', 'one')
        self.addCleanup(self.forget, 'branch')
        self.scatter('branch', [(3 << 30, 7000)])
        self.cluster.create('strips', 64 * MIB, copies=2, copy_policy=0x11)
        self.addCleanup(self.forget, 'strips')
        self.scatter('strips', [(MIB, 3 * MIB)])
        self.kept('save', 'monday', place)
        looked_at = [
            (name, tag, places + [(3 << 30, 7000)])
            for name, tag in self.names() if name in ('tree', 'branch')] + [
                ('strips', '', [(0, 64 * MIB)])]
        before = [self.content(name, where, tag)
                  for name, tag, where in looked_at]
        size = sum(path.stat().st_size for path in place.rglob('*')
                   if path.is_file())
        self.assertLess(size, 20 * MIB)
        # What has changed since, and no more.
        self.scatter('branch', [(0, 100)])
        done = json.loads(self.kept('save', 'tuesday', place,
                                    '--json').stdout)
        self.assertEqual((2, 1), (done['new_chunks'],
                                  done['snapshots'] - done['saved_before']))
        self.kept('load', 'monday', place, expect=3)
        for name in 'branch', 'tree', 'strips':
            self.forget(name)
        # A lost chunk is noticed; loading goes on when it is there again.
        lost = max((place / 'chunks').rglob('*/*'),
                   key=lambda path: path.stat().st_size)
        lost.rename(self.directory / 'aside')
        self.assertIn('missing', self.kept(
            'load', 'monday', place, expect=1).stderr)
        (self.directory / 'aside').rename(lost)
        self.kept('load', 'monday', place)
        self.assertEqual(before, [self.content(name, where, tag)
                                  for name, tag, where in looked_at])
