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

"""dog upgrade on stores of the original: what it says, and each refusal."""

import fcntl
import json
import os
import pathlib
import shutil
import tempfile
import unittest

from sheepdog.cmd.dog import dispatch
from sheepdog.model import ids
from sheepdog.tests.unit.cmd import streams
from sheepdog.tests.unit.legacy import original


class UpgradeCase(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='sheepdog-'))
        self.addCleanup(shutil.rmtree, self.directory)
        self.cluster = original.Original([
            original.Node('10.0.0.%d' % number, 7000, number)
            for number in (1, 2, 3)])
        disk = self.cluster.create('disk', 3 << 20)
        for index in range(3):
            self.cluster.write(disk, index, 0, b'disk' * 128)
        self.cluster.snapshot('disk', 'before')
        other = self.cluster.create('other', 2 << 20)
        for index in range(2):
            self.cluster.write(other, index, 0, b'more' * 128)
        self.lay()

    def lay(self):
        self.cluster.store()
        for number, node in enumerate(self.cluster.nodes, 1):
            shutil.rmtree(self.directory / str(number), ignore_errors=True)
            for name, (size, pieces) in node.files.items():
                path = self.directory / str(number) / name.replace(
                    'META/', '')
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, 'wb') as file:
                    file.truncate(size)
                    for offset, data in pieces.items():
                        file.seek(offset)
                        file.write(data)

    def dog(self, command, *words, code=0):
        """Names are of files in ``self.directory``. What it says."""
        found = streams.Streams(b'', False)
        got = dispatch.main(['upgrade', command, *(
            word if word.startswith('-') else str(self.directory / word)
            for word in words)], found)
        self.assertEqual(code, got, found.complaint)
        self.assertNotIn('Traceback', found.complaint)
        return found.complaint if code else found.text

    def scan_all(self):
        for number in 1, 2, 3:
            self.dog('scan', str(number), 'scan%d' % number)

    def planned(self):
        self.scan_all()
        self.dog('plan', 'plan', 'scan1', 'scan2', 'scan3')


class UpgradeTest(UpgradeCase):
    def test_from_the_first_to_the_last(self):
        self.assertIn('epoch 1 -> ', self.dog('scan', '1', 'scan1'))
        self.dog('scan', '2', 'scan2')
        self.dog('scan', '3', 'scan3')
        said = self.dog('plan', 'plan', 'scan1', 'scan2', 'scan3')
        self.assertIn('3 nodes, epoch 1, 3 VDIs and snapshots', said)
        self.assertIn('10.0.0.2:7000', said)
        self.assertIn('start it with -p 7000 -z 2', said)
        self.assertIn('disk, snapshot 1 before, 2 copies', said)
        said = self.dog('adopt', '--dry-run', 'plan', '1', 'new')
        self.assertIn('10.0.0.1:7000: ', said)
        self.assertIn(' would be in ', said)
        self.assertFalse((self.directory / 'new').exists())
        said = self.dog('adopt', 'plan', '1', 'new')
        self.assertRegex(said, r'(\d+) objects are in .*\(\1 of them written')
        said = self.dog('adopt', 'plan', '1', 'new')
        self.assertIn('(0 of them written now)', said)

    def test_json(self):
        said = json.loads(self.dog('scan', '--json', '1', 'scan1'))
        self.assertEqual((self.cluster.created, 1, 'plain'), (
            said['created'], said['epoch'], said['store']))
        self.dog('scan', '2', 'scan2')
        self.dog('scan', '3', 'scan3')
        said = json.loads(self.dog('plan', '--json', 'plan', 'scan1',
                                   'scan2', 'scan3'))
        self.assertEqual([1, 2, 3], [one['zone'] for one in said['nodes']])
        said = json.loads(self.dog('adopt', '--json', 'plan', '1', 'new'))
        self.assertEqual((True, said['count'], False), (
            said['is_done'], said['moved'], said['dry_run']))

    def test_a_vdi_is_left_behind(self):
        self.scan_all()
        said = self.dog('plan', '--leave=other', 'plan', 'scan1', 'scan2',
                        'scan3')
        self.assertIn('2 VDIs and snapshots', said)
        self.assertNotIn('other', said)


class RefusalTest(UpgradeCase):
    def test_words(self):
        for words, code, said in (
                (['scan', '1'], 64, 'usage: dog upgrade scan'),
                (['scan'], 64, 'usage: dog upgrade scan'),
                (['scan', '1,', 'out'], 64, 'is not META[,DISK...]'),
                (['plan', 'plan'], 64, 'usage: dog upgrade plan'),
                (['adopt', 'plan', '1'], 64, 'usage: dog upgrade adopt'),
                (['nonesuch'], 64, "no command 'dog upgrade nonesuch'"),
                (['scan', 'none', 'out'], 5, 'no file "config" in it'),
                (['scan', '1,none', 'out'], 5, 'none of its objects is '
                                               'missing'),
                (['scan', '1', 'none/out'], 2, 'cannot be written'),
                (['plan', 'plan', 'none'], 5, 'No such file'),
                (['plan', 'plan', '1/config'], 2, 'not what "dog upgrade '
                                                  'scan" of this version'),
                (['adopt', 'none', '1', 'new'], 5, 'No such file'),
                (['adopt', '1/config', '1', 'new'], 2,
                 'not what "dog upgrade plan" of this version')):
            with self.subTest(words):
                self.assertIn(said, self.dog(*words, code=code))

    def test_stores(self):
        self.planned()
        (self.directory / 'full').mkdir()
        (self.directory / 'full' / 'file').write_text('x')
        for words, code, said in (
                (['plan', 'plan', 'scan1', 'scan2'], 2,
                 'the stores of 10.0.0.3:7000 are missing'),
                (['plan', 'plan', 'scan1', 'scan1', 'scan2'], 2,
                 'are the same store'),
                (['plan', '--leave=none', 'plan', 'scan1', 'scan2', 'scan3'],
                 2, 'no VDI none to leave behind'),
                (['adopt', 'plan', '1', '1'], 64, 'are not apart'),
                (['adopt', 'plan', '1', '1/new'], 64, 'are not apart'),
                (['adopt', 'plan', '1', 'full'], 2, 'full is not empty'),
                (['adopt', 'plan', '1', 'scan1'], 2, 'is no directory')):
            with self.subTest(words):
                self.assertIn(said, self.dog(*words, code=code))
        self.cluster.create('new', 1 << 20)
        self.lay()
        self.assertIn('none of the stores of this plan',
                      self.dog('adopt', 'plan', '1', 'new', code=2))
        self.assertFalse((self.directory / 'new').exists())

    def test_a_coded_vdi(self):
        self.cluster.working('other').policy = 0x22
        self.lay()
        self.scan_all()
        self.assertIn('VDI other is erasure coded (4:2)', self.dog(
            'plan', 'plan', 'scan1', 'scan2', 'scan3', code=2))
        self.assertFalse((self.directory / 'plan').exists())

    def test_a_sheep_that_runs(self):
        path = self.directory / '1' / 'lock'
        with open(path, 'wb') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertIn('a sheep runs on', self.dog('scan', '1', 'scan1',
                                                      code=2))
        self.dog('scan', '1', 'scan1')

    def test_a_torn_object(self):
        oid = ids.data_oid(self.cluster.working('other').vdi_id, 1)
        for number, node in enumerate(self.cluster.nodes, 1):
            path = self.directory / str(number) / self.cluster.path(
                node, oid).replace('META/', '')
            if path.exists():
                os.truncate(path, 12345)
        self.scan_all()
        self.assertIn('%016x of VDI other has another length' % oid,
                      self.dog('plan', 'plan', 'scan1', 'scan2', 'scan3',
                               code=2))
