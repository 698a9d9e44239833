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

"""Another number of copies, while clients write and sheep are killed."""

import collections
import os

from sheepdog.model import errors
from sheepdog.placement import redundancy
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import writers

MIB = 1 << 20
OBJECTS = 24
SECONDS = 60


class AlterCopyTest(case.ClusterCase):
    """Four sheep, two copies."""

    count = 4
    copies = 2

    def counts(self, vdi_id):
        """How many sheep hold it, for each object of a VDI."""
        found = collections.Counter()
        for sheep in self.cluster.sheep:
            found.update(name for name in os.listdir(sheep.meta / 'obj')
                         if len(name) == 16 and name[2:8] == vdi_id)
        return set(found.values()), len(found)

    def wait_for_copies(self, vdi, copies):
        """Just so many files of each object, and nothing to recover."""
        vdi_id = '%06x' % vdi['vdi_id']
        harness.wait_until(
            lambda: self.counts(vdi_id)[0] == {copies}, SECONDS,
            lambda: '%d copies: %r' % (copies, self.counts(vdi_id)))
        self.cluster.wait_whole()
        self.assertEqual(self.altered(copies), self.listed(vdi))

    def altered(self, copies, copy_policy=0):
        """What is listed of a VDI when nothing is left to be done."""
        return {'copies': copies, 'copy_policy': copy_policy,
                'copies_before': 0, 'objects_left': 0}

    def listed(self, vdi):
        with self.cluster.client() as client:
            found, = client.vdis.list(vdi['name'])
        return {key: found[key] for key in self.altered(0)}

    def alter(self, name, copies, *more, sheep=None, expect=0):
        return self.cluster.dog('vdi', 'alter-copy', name, '-c', str(copies),
                                *more, sheep=sheep, expect=expect)

    def check(self, name):
        self.cluster.wait_idle()
        self.cluster.dog('vdi', 'check', name)

    def test_under_load(self):
        vdi = self.create('load', OBJECTS * MIB, block_size_shift=20)
        writer = writers.NbdWriter(
            1, [sheep.nbd_address for sheep in self.cluster.sheep[:2]],
            'load', blocks=OBJECTS * MIB // writers.BLOCK_BYTES, fua=True)
        self.addCleanup(writer.abandon)
        writer.start().wait_for(500)
        used = self.counts('%06x' % vdi['vdi_id'])[1]
        self.assertGreater(used, OBJECTS // 2)
        # More, and one of those who are to have them dies in the middle;
        # asked for again meanwhile it is the same.
        victim = self.cluster.sheep[2]
        self.alter('load', 3)
        victim.kill()
        self.alter('load', 3)
        writer.wait_for(200)
        victim.start()
        victim.wait_answering()
        self.wait_for_copies(vdi, 3)
        # Fewer, and who leads dies in the middle.
        leader = self.cluster.leader()
        self.alter('load', 2, '-f')
        leader.kill()
        writer.wait_for(200)
        leader.start()
        leader.wait_answering()
        writer.wait_for(100)
        self.wait_for_copies(vdi, 2)
        writer.stop()
        for sheep in self.cluster.sheep:
            with (sheep.client() as client,
                  client.open('load', read_only=True) as volume):
                writer.record.check(volume.read)
        self.check('load')
        self.wait_for_copies(vdi, 2)

    def forms(self, vdi):
        """The forms of its data objects, on all sheep."""
        return {name[1] for sheep in self.cluster.sheep
                for name in os.listdir(sheep.meta / 'obj')
                if name[2:8] == '%06x' % vdi['vdi_id'] and name[0] == '0'}

    def wait_turned(self, vdi, policy, form):
        harness.wait_until(
            lambda: self.listed(vdi) == self.altered(*policy), SECONDS,
            lambda: self.listed(vdi))
        # What is left of the former form goes without a word.
        harness.wait_until(lambda: self.forms(vdi) == {str(form)}, SECONDS,
                           lambda: self.forms(vdi))

    def check_everywhere(self, writer, name):
        for sheep in self.cluster.sheep:
            with (sheep.client() as client,
                  client.open(name, read_only=True) as volume):
                writer.record.check(volume.read)

    def test_to_strips_and_back_under_load(self):
        vdi = self.create('turned', OBJECTS * MIB, block_size_shift=20)
        writer = writers.NbdWriter(
            1, [sheep.nbd_address for sheep in self.cluster.sheep[:2]],
            'turned', blocks=OBJECTS * MIB // writers.BLOCK_BYTES, fua=True)
        self.addCleanup(writer.abandon)
        writer.start().wait_for(500)
        self.assertEqual(
            'VDI turned: 2:1 strips instead of 2; its objects are '
            'copied in the background (dog vdi list)\n',
            self.alter('turned', '2:1').stdout)
        # Asked for again it is the same; whoever copies dies in the middle
        # (the writer goes on through the other one).
        self.alter('turned', '2:1')
        victim = self.cluster.sheep[0]
        victim.kill()
        writer.wait_for(200)
        victim.start()
        victim.wait_answering()
        writer.wait_for(100)
        self.wait_turned(vdi, redundancy.Policy(3, 0x11), 1)
        self.check_everywhere(writer, 'turned')
        # Back, and nobody has it open.
        writer.stop()
        self.alter('turned', 2, '-f')
        self.wait_turned(vdi, redundancy.Policy(2), 2)
        self.check_everywhere(writer, 'turned')
        self.cluster.wait_whole()
        self.check('turned')

    def test_what_dog_says(self):
        vdi = self.create('vdi', 4 * MIB)
        with (self.cluster.client() as client,
              client.open('vdi') as volume):
            volume.write(0, b'x' * MIB, fua=True)
        self.assertEqual(
            'VDI vdi: 4 copies instead of 2; they are made and dropped in '
            'the background (dog node recovery)\n',
            self.alter('vdi', 4).stdout)
        self.wait_for_copies(vdi, 4)
        self.check('vdi')
        refused = self.alter('vdi', 5, expect=64).stderr
        self.assertIn('5 copies need as many zones, and there are 4', refused)
        # What costs redundancy is asked for.
        refused = self.alter('vdi', 1, expect=1).stderr
        self.assertIn('VDI vdi will survive the loss of no zone, instead of '
                      '3 zones. Nothing was done', refused)
        self.alter('vdi', 2, '-f')
        self.wait_for_copies(vdi, 2)
        self.alter('none', 2, expect=5)
        self.assertIn('4:2 is 6 strips, which need as many zones',
                      self.alter('vdi', '4:2', expect=64).stderr)
        self.cluster.dog('vdi', 'alter-copy', 'vdi', expect=64)
        # More than there are zones: as many as there are, until more come.
        self.alter('vdi', 5, '-f')
        self.cluster.wait_whole()
        self.alter('vdi', 2, '-f')
        self.wait_for_copies(vdi, 2)

    def test_default(self):
        def alter(*arguments, **options):
            return self.cluster.dog('cluster', 'alter-copy', *arguments,
                                    **options)

        self.addCleanup(alter, '-c', '2', '-f')
        before = self.create('before', 4 * MIB)
        epoch = self.cluster.epoch()
        self.assertIn('VDIs made from now on have 3 copies',
                      alter('-c', '3').stdout)
        self.assertIn('with 3 redundancy policy', self.cluster.dog(
            'cluster', 'info', '-v').stdout)
        after = self.create('after', 4 * MIB)
        self.wait_for_copies(after, 3)
        self.wait_for_copies(before, 2)
        self.assertEqual(epoch, self.cluster.epoch())
        self.assertIn('and there are 4',
                      alter('-c', '5', expect=64).stderr)
        alter('-c', '2', expect=1)
        default = self.cluster.dog_json('cluster', 'alter-copy', '-c', '2',
                                        '-f')
        self.assertEqual((3, 2, 0), (default['before'], default['copies'],
                                     default['copy_policy']))
        self.assertIn('4:2 is 6 strips', alter('-c', '4:2',
                                               expect=64).stderr)
        alter('-c', '2:2')
        strips = self.create('strips', 4 * MIB)
        self.assertEqual((4, 0x12), (strips['copies'],
                                     strips['copy_policy']))
        with (self.cluster.client() as client,
              client.open('strips') as volume):
            volume.write(0, b'x' * MIB, fua=True)
            self.assertEqual(b'x' * MIB, volume.read(0, MIB))
        self.check('strips')

    def test_deleted_meanwhile(self):
        vdi = self.cluster.create('short', 8 * MIB, block_size_shift=20)
        with self.cluster.client() as client:
            with client.open('short') as volume:
                volume.write(0, b'x' * 8 * MIB, fua=True)
            client.vdis.alter_copies('short', 4)
            client.vdis.delete('short')
            self.assertRaises(errors.NoVdi, client.vdis.alter_copies,
                              'short', 2)
        harness.wait_until(
            lambda: not self.counts('%06x' % vdi['vdi_id'])[1], SECONDS,
            lambda: 'no objects: %r' % (
                self.counts('%06x' % vdi['vdi_id']),))
        self.cluster.wait_whole()
