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


"""dog against a real cluster: columns, JSON, exit codes, and what VDIs do
under it while clients have them open."""

import re
import subprocess

from sheepdog.client import nbd_client
from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

FAILED, SYSTEM, EXISTS, FULL, MISSING, USAGE = 1, 2, 3, 4, 5, 64
OBJECT = 4 << 20
SOON_SECONDS = 60.0
"""However busy the machine is."""

SIZE = r'\d+(\.\d)? [KMGTP]?B'
TIME = r'\d{4}-\d\d-\d\d \d\d:\d\d'


class DogCase(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS

    def dog(self, *words, expect=0, **options):
        return self.cluster.dog(*words, expect=expect, **options)

    def lines(self, *words, **options):
        return self.dog(*words, **options).stdout.splitlines()

    def refused(self, code, *words, **options):
        """What dog says on standard error, in one line."""
        done = self.dog(*words, expect=code, **options)
        self.assertEqual(done.stdout, '')
        self.assertTrue(done.stderr.startswith('dog: '), done.stderr)
        self.assertNotIn('Traceback', done.stderr)
        return done.stderr

    def addresses(self):
        return [sheep.address for sheep in self.cluster.sheep]


class TestCluster(DogCase):

    def test_info(self):
        lines = self.lines('cluster', 'info')
        self.assertEqual(lines[0],
                         'Cluster status: running, auto-recovery enabled')
        self.assertEqual(lines[1], '')
        self.assertRegex(
            lines[2], r'^Cluster created at \w{3} \w{3} +\d+ \d\d:\d\d:\d\d '
            r'\d{4}$')
        self.assertEqual(lines[3], '')
        self.assertEqual(
            lines[4],
            'Epoch Time           Version [Host:Port:V-Nodes,,,]')
        match = re.match(TIME + r':\d\d +(\d+) \[(.*)\]$', lines[5])
        self.assertEqual(int(match.group(1)), self.cluster.epoch())
        members = match.group(2).split(', ')
        self.assertEqual(sorted(word.rpartition(':')[0] for word in members),
                         sorted(self.addresses()))
        for word in members:
            self.assertGreater(int(word.rpartition(':')[2]), 0)

    def test_info_verbose_raw_and_json(self):
        self.assertEqual(
            [line.partition(': ')[0] for line in
             self.lines('cluster', 'info', '-v')[:4]],
            ['Cluster status', 'Cluster store', 'Cluster vnodes strategy',
             'Cluster vnode mode'])
        self.assertIn('plain with 3 redundancy policy',
                      self.lines('cluster', 'info', '-v')[1])
        raw = self.lines('cluster', 'info', '-r')
        self.assertEqual(raw[0], 'running, auto-recovery enabled')
        self.assertRegex(raw[1], r'^\d+$')
        self.assertRegex(raw[2], r'^\d+ \d+ \[.*\]$')
        found = self.cluster.dog_json('cluster', 'info')
        self.assertEqual(found['status'], 'ok')
        self.assertEqual(found['settings']['copies'], 3)
        self.assertEqual(found['missing'], [])

    def test_format_asks_before_it_takes_everything(self):
        self.create('kept', OBJECT)
        self.assertIn('-f', self.refused(EXISTS, 'cluster', 'format'))
        self.assertEqual(len(self.lines('vdi', 'list', '-r')), 1)

    def test_format_by_force(self):
        self.cluster.create('gone', OBJECT)
        self.assertEqual(self.lines('cluster', 'format', '-f', '-c', '2'),
                         ['using backend plain store'])
        self.cluster.wait_whole()
        self.assertEqual(self.lines('vdi', 'list', '-r'), [])
        self.assertEqual(
            self.cluster.dog_json('cluster', 'info')['settings']['copies'],
            2)
        self.cluster.create('new', OBJECT)
        with self.cluster.client() as client, client.open('new') as volume:
            volume.write(0, b'new', fua=True)
        self.dog('cluster', 'format', '-f')
        self.cluster.wait_whole()

    def test_what_is_not_there_or_not_yet(self):
        self.assertIn('frobnicate', self.refused(USAGE, 'frobnicate'))
        self.assertIn('not built yet', self.refused(
            USAGE, 'node', 'format'))
        self.refused(USAGE, 'cluster', 'info', '--wrong')
        self.refused(USAGE, 'vdi', 'create', 'one')
        self.refused(USAGE, 'vdi', 'create', 'coded', '1M', '-c', '3:2')

    def test_nobody_listens(self):
        port = harness.free_port()
        done = harness.run(harness.BIN / 'dog', 'node', 'list', '-p', port,
                           expect=SYSTEM)
        self.assertIn('%d' % port, done.stderr)

    def test_one_of_several_addresses_is_enough(self):
        words = ['node', 'list', '-r', '--key-file', self.cluster.key_file,
                 '-a', '127.0.0.1:%d,%s' % (
                     harness.free_port(), self.cluster.sheep[1].address)]
        done = harness.run(harness.BIN / 'dog', *words)
        self.assertEqual(len(done.stdout.splitlines()), 3)

    def test_the_unix_socket_is_an_address_too(self):
        done = harness.run(harness.BIN / 'dog', 'node', 'list', '-r', '-a',
                           self.cluster.sheep[1].meta / 'sock')
        self.assertEqual(len(done.stdout.splitlines()), 3)


class TestNodes(DogCase):

    def test_list(self):
        lines = self.lines('node', 'list')
        self.assertEqual(lines[0],
                         '  Id   Host:Port         V-Nodes       Zone')
        rows = [re.match(r'^ {3}(\d)   (\S+) *\t *(\d+) +(\d+)$', line)
                for line in lines[1:]]
        self.assertEqual([row.group(1) for row in rows], ['0', '1', '2'])
        self.assertEqual(
            {row.group(2): row.group(4) for row in rows},
            {sheep.address: str(sheep.number + 1)
             for sheep in self.cluster.sheep})
        self.assertEqual(
            [line.split()[0] for line in self.lines('node', 'list', '-r')],
            ['0', '1', '2'])

    def test_info(self):
        lines = self.lines('node', 'info')
        self.assertEqual(lines[0], 'Id\tSize\tUsed\tAvail\tUse%')
        for number, line in enumerate(lines[1:4]):
            self.assertRegex(line, r'^ %d\t%s\t%s\t%s\t +\d+%%$' % (
                number, SIZE, SIZE, SIZE))
        self.assertRegex(lines[4], r'^Total\t')
        self.assertRegex(lines[6],
                         r'^Total virtual image size\t' + SIZE + '$')

    def test_stat(self):
        self.create('counted', OBJECT)
        sheep = self.cluster.sheep[0]
        before = self.cluster.dog_json('node', 'stat', sheep=sheep)
        with sheep.client() as client, client.open('counted') as volume:
            volume.write(0, b'x' * 8192, fua=True)
            volume.read(0, 8192)
        after = self.cluster.dog_json('node', 'stat', sheep=sheep)
        self.assertGreaterEqual(after['client']['bytes_written'],
                                before['client']['bytes_written'] + 8192)
        self.assertGreater(after['client']['read'],
                           before['client']['read'])
        lines = self.lines('node', 'stat')
        self.assertEqual(lines[0], 'Request\tActive\tTotal\tWrite\tRead\t'
                         'Remove\tFlush\tAll WR\tAll RD')
        self.assertEqual([line.split('\t')[0] for line in lines[1:]],
                         ['Client', 'Peer'])

    def test_recovery(self):
        self.assertEqual(
            self.lines('node', 'recovery'),
            ['Nodes In Recovery:',
             '  Id   Host:Port         V-Nodes       Zone       Progress'])

    def test_log_level(self):
        sheep = self.cluster.sheep[2]
        self.assertEqual(self.lines('node', 'log', 'level', 'get',
                                    sheep=sheep), ['info'])
        self.assertIn('debug', self.lines('node', 'log', 'level', 'list'))
        self.dog('node', 'log', 'level', 'set', 'debug', sheep=sheep)
        self.addCleanup(self.dog, 'node', 'log', 'level', 'set', 'info',
                        sheep=sheep)
        self.assertEqual(self.lines('node', 'log', 'level', 'get',
                                    sheep=sheep), ['debug'])
        self.refused(USAGE, 'node', 'log', 'level', 'set', 'loud')

    def test_kill(self):
        victim = self.cluster.sheep[2]
        number = [node['id'] for node in
                  self.cluster.dog_json('node', 'list')
                  if node['port'] == victim.port][0]
        self.assertEqual(self.dog('node', 'kill', str(number)).stdout, '')
        self.assertEqual(victim.wait(), 0)
        self.cluster.wait_whole()
        self.assertEqual(len(self.lines('node', 'list', '-r')), 2)
        self.refused(USAGE, 'node', 'kill', '7')

    def test_kill_the_one_that_is_asked(self):
        victim = self.cluster.sheep[1]
        self.dog('node', 'kill', '-l', sheep=victim)
        self.assertEqual(victim.wait(), 0)


class TestVdis(DogCase):

    def test_create_list_delete(self):
        self.assertEqual(self.lines('vdi', 'create', 'one', '20M'), [])
        self.dog('vdi', 'create', 'another', '1G', '-c', '2', '-z', '20')
        self.assertIn('one', self.refused(EXISTS, 'vdi', 'create', 'one',
                                          '20M'))
        lines = self.lines('vdi', 'list')
        self.assertEqual(lines[0], '  Name        Id    Size    Used  '
                         'Shared    Creation time   VDI id  Copies  Tag   '
                         'Block Size Shift')
        rows = {line.split()[0]: line for line in lines[1:]}
        self.assertRegex(
            rows['one'], r'^  one          0   20 MB  0\.0 MB  0\.0 MB %s   '
            r'[0-9a-f]{6}      3 {16}22$' % TIME)
        self.assertRegex(
            rows['another'], r'^  another      0  1\.0 GB  0\.0 MB  0\.0 MB '
            r'%s   [0-9a-f]{6}      2 {16}20$' % TIME)
        raw = self.lines('vdi', 'list', '-r', 'one')
        self.assertRegex(raw[0], r'^= one 0 20971520 0 0 \d{10} [0-9a-f]+ 3 '
                         r' 22$')
        self.dog('vdi', 'delete', 'one')
        self.dog('vdi', 'delete', 'another')
        self.assertIn('one', self.refused(MISSING, 'vdi', 'delete', 'one'))
        self.refused(MISSING, 'vdi', 'list', 'one')
        self.assertEqual(len(self.lines('vdi', 'list')), 1)

    def test_names_and_sizes_that_cannot_be(self):
        self.refused(USAGE, 'vdi', 'create', 'none', '0')
        self.refused(USAGE, 'vdi', 'create', 'odd', '12X')
        self.refused(USAGE, 'vdi', 'create', 'n' * 256, '1M')
        self.refused(USAGE, 'vdi', 'create', '', '1M')
        self.refused(USAGE, 'vdi', 'create', 'many', '1M', '-c', '99')

    def test_read_and_write_pieces(self):
        self.create('pieces', 20 << 20)
        data = bytes(range(256)) * 4096
        self.dog('vdi', 'write', 'pieces', '3M', '1M', input=data,
                 text=False)
        self.dog('vdi', 'write', 'pieces', '-w', '12345', input=b'odd',
                 text=False)
        done = self.dog('vdi', 'read', 'pieces', '3M', '1M', text=False,
                        sheep=self.cluster.sheep[1])
        self.assertEqual(done.stdout, data)
        done = self.dog('vdi', 'read', 'pieces', '12340', '10', text=False)
        self.assertEqual(done.stdout, b'\0' * 5 + b'odd' + b'\0' * 2)
        done = self.dog('vdi', 'read', 'pieces', text=False)
        self.assertEqual(len(done.stdout), 20 << 20)

    def test_reads_and_writes_that_do_not_fit(self):
        self.create('small', 1 << 20)
        self.refused(FAILED, 'vdi', 'read', 'small', '2M')
        self.refused(FAILED, 'vdi', 'read', 'small', '0', '2M')
        self.refused(MISSING, 'vdi', 'read', 'nothing')
        self.refused(FULL, 'vdi', 'write', 'small', input='x' * (2 << 20))
        self.refused(FAILED, 'vdi', 'write', 'small', '0', '4096',
                     input='short')

    def test_it_grows_while_a_client_has_it_open(self):
        self.create('growing', OBJECT)
        first, second, _third = self.cluster.sheep
        with nbd_client.NbdClient(first.nbd_address, 'growing') as client:
            client.write(0, b'before' * 512, fua=True)
            self.dog('vdi', 'resize', 'growing', '40M', sheep=second)
            client.write(4096, b'behind' * 512, fua=True)
            self.assertEqual(client.read(0, 6), b'before')
            with nbd_client.NbdClient(first.nbd_address,
                                      'growing') as another:
                self.assertEqual(another.size, 40 << 20)
                another.write(39 << 20, b'larger' * 512, fua=True)
        self.assertIn('shrink', self.refused(USAGE, 'vdi', 'resize',
                                             'growing', '4M'))
        self.refused(MISSING, 'vdi', 'resize', 'nothing', '4M')
        with second.client() as client, client.open('growing') as volume:
            self.assertEqual(volume.size, 40 << 20)
            self.assertEqual(volume.read(39 << 20, 6), b'larger')
            self.assertEqual(volume.read(4096, 6), b'behind')

    def used(self):
        """Bytes on disk below the stores' objects."""
        return sum(path.stat().st_blocks * 512
                   for sheep in self.cluster.sheep
                   for path in (sheep.meta / 'obj').rglob('*')
                   if path.is_file())

    def test_delete_gives_the_space_back(self):
        before = self.used()
        self.cluster.create('large', 64 << 20)
        with self.cluster.client() as client:
            with client.open('large') as volume:
                volume.write(0, b'\x5a' * (64 << 20), fua=True)
        self.assertGreater(self.used(), before + 3 * (63 << 20))
        [vdi] = self.cluster.dog_json('vdi', 'list', 'large')
        self.assertEqual(vdi['used'], 64 << 20)
        told = sum(node['used'] for node in self.cluster.dog_json(
            'node', 'info')['nodes'])
        self.assertGreater(told, 3 * (63 << 20))
        self.dog('vdi', 'delete', 'large')
        harness.wait_until(lambda: self.used() < before + (4 << 20),
                           SOON_SECONDS,
                           lambda: 'the space: %d bytes before, %d after' % (
                               before, self.used()))
        told = sum(node['used'] for node in self.cluster.dog_json(
            'node', 'info')['nodes'])
        self.assertLess(told, 64 << 20)

    def test_deleted_while_a_sheep_was_away(self):
        before = self.used()
        self.cluster.create('large', 32 << 20)
        with self.cluster.client() as client:
            with client.open('large') as volume:
                volume.write(0, b'\x5a' * (32 << 20), fua=True)
        away = self.cluster.sheep[2]
        away.kill()
        self.cluster.wait_whole()
        self.dog('vdi', 'delete', 'large')
        self.cluster.make_whole()
        harness.wait_until(lambda: self.used() < before + (4 << 20),
                           SOON_SECONDS,
                           lambda: 'the space: %d bytes before, %d after' % (
                               before, self.used()))

    def test_discard_gives_space_back(self):
        self.create('trimmed', 32 << 20)
        before = self.used()
        with nbd_client.NbdClient(self.cluster.sheep[0].nbd_address,
                                  'trimmed') as client:
            for start in range(0, 32 << 20, 4 << 20):
                client.write(start, b'\x5a' * (4 << 20))
            client.flush()
            self.assertGreater(self.used(), before + 3 * (31 << 20))
            client.trim(0, 31 << 20)
            client.flush()
            self.assertEqual(client.read(10 << 20, 4096), bytes(4096))
            self.assertEqual(client.read(31 << 20, 4096), b'\x5a' * 4096)
            harness.wait_until(
                lambda: self.used() < before + (8 << 20), SOON_SECONDS,
                lambda: 'the space: %d bytes before, %d after' % (
                    before, self.used()))


class TestLocks(DogCase):

    ttl = harness.TTL_SECONDS

    def setUp(self):
        super().setUp()
        self.create('locked', OBJECT)
        self.owner, self.second, self.third = self.cluster.sheep

    def open(self, sheep):
        client = nbd_client.NbdClient(sheep.nbd_address, 'locked')
        self.addCleanup(client.close)
        return client

    def owners(self):
        return [row.split()[-1] for row in self.lines(
            'vdi', 'lock', 'list', '-r', sheep=self.second)]

    def test_list(self):
        header = '  Name         Id  VDI id  Tag            Owner node(s)'
        self.assertEqual(self.lines('vdi', 'lock', 'list'), [header])
        client = self.open(self.owner)
        lines = self.lines('vdi', 'lock', 'list', sheep=self.third)
        self.assertEqual(lines[0], header)
        self.assertRegex(lines[1], r'^  locked +0  +[0-9a-f]{6} +%s$'
                         % re.escape(self.owner.address))
        client.close()
        harness.wait_until(lambda: not self.owners(), SOON_SECONDS,
                           'the lock to go')

    def test_nobody_else_may_open_or_delete_it(self):
        self.open(self.owner)
        self.assertIn('locked', self.refused(
            FAILED, 'vdi', 'delete', 'locked', sheep=self.second))
        with self.assertRaises(nbd_client.NbdRefused):
            self.open(self.second)
        with self.second.client(timeout=3) as client:
            self.assertRaises(errors.VdiLocked, client.open, 'locked')

    def test_it_is_free_when_its_owner_dies(self):
        client = self.open(self.owner)
        client.write(0, b'mine' * 1024, fua=True)
        self.owner.kill()

        def is_ours():
            try:
                return self.open(self.second)
            except nbd_client.NbdRefused:
                return None
        client = harness.wait_until(is_ours, SOON_SECONDS, 'the lock')
        self.assertEqual(client.read(0, 4), b'mine')
        self.assertEqual(self.owners(), [self.second.address])

    def test_by_force(self):
        elder = self.open(self.owner)
        elder.write(0, b'elder ' * 682 + b'elde', fua=True)
        done = self.dog('vdi', 'lock', 'unlock', 'locked',
                        sheep=self.second)
        self.assertIn('locked', done.stderr)
        with self.assertRaises((OSError, nbd_client.NbdRefused)):
            elder.write(0, b'x' * 4096, fua=True)
        younger = self.open(self.second)
        self.assertEqual(younger.read(0, 5), b'elder')
        younger.write(0, b'younger ' * 512, fua=True)
        with self.assertRaises((OSError, nbd_client.NbdRefused)):
            elder.write(0, b'x' * 4096, fua=True)
        self.assertEqual(younger.read(0, 7), b'younger')
        self.assertEqual(self.owners(), [self.second.address])

    def test_unlock_what_is_not_locked(self):
        self.refused_last(MISSING, 'vdi', 'lock', 'unlock', 'locked')
        self.refused_last(MISSING, 'vdi', 'lock', 'unlock', 'nothing')

    def refused_last(self, code, *words):
        """As ``refused``, where a warning goes before."""
        done = self.dog(*words, expect=code)
        self.assertTrue(done.stderr.splitlines()[-1].startswith('dog: '))


class TestBeforeFormat(case.DirectoryCase):

    def test_what_it_waits_for(self):
        cluster = harness.Cluster(
            self.directory, 'local:%s' % (self.directory / 'coordination'),
            count=1, copies=1)
        self.addCleanup(cluster.end)
        self.addOnException(lambda _info: self.attach(cluster.logs()))
        cluster.start()
        sheep = cluster.sheep[0]
        harness.wait_until(lambda: sheep.status == 'wait-format', SOON_SECONDS,
                           cluster.describe)
        done = cluster.dog('cluster', 'info')
        self.assertEqual(
            done.stdout, 'Cluster status: Waiting for cluster to be '
            'formatted\n')
        done = cluster.dog('vdi', 'create', 'early', '1M', expect=SYSTEM)
        self.assertIn('format', done.stderr)
        done = subprocess.run(
            ['nbdinfo', '--list', 'nbd://%s:%d' % sheep.nbd_address],
            capture_output=True, timeout=SOON_SECONDS)
        self.assertNotIn(b'early', done.stdout)
        cluster.form()
        cluster.dog('vdi', 'create', 'early', '1M')
