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

"""Two real stores of the C original become ours, and then a cluster like any
other. (``legacy_stores`` says what is in them.)

Where an object lies follows from the addresses, ports too. So each test has
a network of its own, in which the ports of then are free.
"""

import ctypes
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import unittest

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

STORES = pathlib.Path(__file__).resolve().parent / 'legacy_stores'
CLONE_NEWNET = 0x40000000
SYSTEM, MISSING = 2, 5
SIZE = 16 << 20
BEFORE = '61100e5648c74b38b29bccd89a0d78864c65dd8de97c075f06c3c6e5ba96fb9b'
NOW = '7bf3b7f4c551fc4508caf9385a1ccd1e7035faa44325f7d5596452fa705273f0'
ATTEMPTS = 50


def own_network(test):
    """This process, and all that it starts, for the length of a test."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open('/proc/self/ns/net', os.O_RDONLY)
    test.addCleanup(os.close, before)
    if libc.unshare(CLONE_NEWNET):
        raise unittest.SkipTest('this user may have no network of his own: '
                                '%s' % os.strerror(ctypes.get_errno()))
    test.addCleanup(libc.setns, before, 0)
    harness.run('ip', 'link', 'set', 'lo', 'up')


def picture(directory) -> dict:
    """Path → what is there."""
    return {str(path.relative_to(directory)): (
        hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file() else 'directory')
        for path in sorted(pathlib.Path(directory).rglob('*'))}


class UpgradeCase(case.DirectoryCase):
    kind = 'plain'

    def setUp(self):
        super().setUp()
        own_network(self)
        self.old = self.directory / 'old'
        self.old.mkdir()
        with tarfile.open(STORES / ('%s.tar.xz' % self.kind)) as archive:
            archive.extractall(self.old)
        self.before = picture(self.old)
        coordination = self.directory / 'coordination'
        coordination.mkdir()
        self.cluster = harness.Cluster(
            self.directory, 'local:%s' % coordination, 3, 2,
            ttl=harness.PATIENT_TTL_SECONDS)
        self.addCleanup(self.cluster.end)
        self.addOnException(lambda _exc: self.attach(self.cluster.logs()))
        for number, sheep in enumerate(self.cluster.sheep):
            self.give_place(sheep, number)

    def give_place(self, sheep, number):
        sheep.port = 7000 + number
        sheep.options = ('-z', str(number))

    def dog(self, *words, **options):
        return harness.run(harness.BIN / 'dog', 'upgrade', *words, **options)

    def plan(self):
        scans = []
        for number in range(3):
            scans.append(self.directory / ('scan%d' % number))
            self.dog('scan', self.old / str(number), scans[-1])
        plan = self.directory / 'plan'
        self.dog('plan', plan, *scans)
        return plan

    def adopt(self, plan, number, **options):
        return self.dog('adopt', plan, self.old / str(number),
                        self.cluster.sheep[number].meta, **options)

    def check(self, now=NOW):
        """Every byte, each VDI through another sheep."""
        running = self.cluster.running
        for number, (words, digest) in enumerate((
                (('disk',), now), (('copy',), BEFORE),
                (('disk', '-s', 'before'), BEFORE))):
            done = self.cluster.dog(
                'vdi', 'read', *words, text=False,
                sheep=running[number % len(running)])
            self.assertEqual(SIZE, len(done.stdout))
            self.assertEqual(
                digest, hashlib.sha256(done.stdout).hexdigest(), words)

    def start(self):
        plan = self.plan()
        for number in range(3):
            self.adopt(plan, number)
        self.assertEqual(self.before, picture(self.old))
        self.cluster.start()
        self.cluster.wait_whole()
        self.check()
        self.check_list()

    def check_list(self):
        rows = [line.split() for line in self.cluster.dog(
            'vdi', 'list', '-r').stdout.splitlines()]
        self.assertEqual(
            [('copy', '84eee4'), ('disk', '8f8a84'), ('disk', '8f8a85')],
            [(row[1], row[7]) for row in rows])
        self.assertEqual(['0', '8388608', '4194304'],
                         [row[4] for row in rows])
        self.assertEqual(['8388608', '0', '4194304'],
                         [row[5] for row in rows])
        self.assertEqual(1, self.cluster.epoch())
        self.assertEqual('alice', self.cluster.dog(
            'vdi', 'getattr', 'disk', 'owner').stdout.strip())


class TestPlain(UpgradeCase):
    def test_a_cluster_like_any_other(self):
        self.start()
        self.check_it_grows()
        now = self.check_it_is_written()
        self.check_it_recovers(now)
        # (Locks, settings and the rest are there as well.)
        self.cluster.shutdown_at_rest()
        self.cluster.start()
        self.cluster.wait_whole()
        self.check(now)
        self.assertEqual(self.before, picture(self.old))

    def check_it_grows(self):
        sheep = harness.Sheep(
            self.directory, 3, self.cluster.sheep[0].url, (),
            harness.PATIENT_TTL_SECONDS, self.cluster.key_file)
        self.give_place(sheep, 3)
        self.cluster.sheep.append(sheep)
        self.cluster.start()
        self.cluster.wait_whole()
        self.assertEqual(2, self.cluster.epoch())
        self.check()

    def check_it_is_written(self):
        """Where the snapshot's object is shared, too."""
        content = bytearray(self.cluster.dog('vdi', 'read', 'disk',
                                             text=False).stdout)
        for offset in 4096, (4 << 20) + 512, 9 << 20:
            data = os.urandom(8192)
            self.cluster.dog('vdi', 'write', 'disk', offset, len(data),
                             input=data, text=False)
            content[offset:offset + len(data)] = data
        now = hashlib.sha256(content).hexdigest()
        self.check(now)
        return now

    def check_it_recovers(self, now):
        lost = self.cluster.sheep[1]
        lost.kill()
        self.cluster.wait_whole()
        self.check(now)
        lost.start()
        self.cluster.wait_whole()
        self.check(now)
        self.cluster.dog('cluster', 'check')


class TestTree(UpgradeCase):
    kind = 'tree'

    def test_every_byte(self):
        self.start()
        self.cluster.dog('cluster', 'check')

    def test_deleted_all_space_comes_back(self):
        """The snapshot first: a clone and another snapshot share its
        objects."""
        self.start()
        self.cluster.dog('vdi', 'snapshot', 'disk', '-s', 'after')
        self.cluster.dog('vdi', 'delete', 'disk', '-s', 'before')
        for words, digest in ((('disk',), NOW), (('copy',), BEFORE),
                              (('disk', '-s', 'after'), NOW)):
            done = self.cluster.dog('vdi', 'read', *words, text=False)
            self.assertEqual(
                digest, hashlib.sha256(done.stdout).hexdigest(), words)
        for words in ('copy',), ('disk',), ('disk', '-s', 'after'):
            self.cluster.dog('vdi', 'delete', *words)
        harness.wait_until(
            lambda: not [path for sheep in self.cluster.sheep
                         for path in (sheep.meta / 'obj').iterdir()],
            harness.WHOLE_SECONDS, 'all objects to go')


class TestTrouble(UpgradeCase):
    def test_killed_in_the_middle(self):
        """Gone on with by dog, or by the sheep itself."""
        plan = self.plan()
        self.adopt(plan, 0)
        for number in 1, 2:
            self.kill_in_the_middle(plan, number)
        sheep = self.cluster.sheep[2]
        done = harness.run(*sheep.command(), expect=SYSTEM)
        self.assertIn('was not taken over to its end', done.stderr)
        self.adopt(plan, 1)
        sheep.start('-u')
        sheep.wait_answering()
        self.cluster.start()
        self.cluster.wait_whole()
        self.check()
        self.assertEqual(self.before, picture(self.old))
        # Said always, it does no harm.
        sheep.kill()
        sheep.start('-u')
        self.cluster.wait_whole()
        self.check()

    def kill_in_the_middle(self, plan, number):
        meta = self.cluster.sheep[number].meta
        record = meta / 'upgrade'
        for _ in range(ATTEMPTS):
            process = subprocess.Popen([
                str(harness.BIN / 'dog'), 'upgrade', 'adopt', str(plan),
                str(self.old / str(number)), str(meta)],
                stdout=subprocess.DEVNULL)
            while not record.exists() and process.poll() is None:
                pass
            process.kill()
            process.wait()
            if not json.loads(record.read_bytes())['is_done']:
                return
            shutil.rmtree(meta)
        self.fail('it always came to its end')

    def test_a_sheep_leaves_an_old_store_alone(self):
        sheep = self.cluster.sheep[0]
        sheep.meta = self.old / '0'
        for more in (), ('-u',):
            done = harness.run(*sheep.command(*more), expect=SYSTEM)
            self.assertIn('is a store of the original Sheepdog', done.stderr)
            self.assertEqual(self.before, picture(self.old))

    def test_copies_that_differ(self):
        """As a crash of the original may have left them: they are made
        equal, and one is what all read from then on."""
        with open(self.old / '1' / 'obj' / '008f8a8400000001',
                  'r+b') as file:
            file.seek(8192)
            file.write(b'another!' * 512)
        plan = self.plan()
        for number in range(3):
            self.adopt(plan, number)
        self.cluster.start()
        self.cluster.wait_whole()
        found = {hashlib.sha256(self.cluster.dog(
            'vdi', 'read', 'copy', sheep=sheep, text=False).stdout
        ).hexdigest() for sheep in self.cluster.sheep}
        self.assertEqual(1, len(found), found)
        self.cluster.dog('cluster', 'check')

    def test_without_one_of_them(self):
        """As after any full stop, all of the last epoch are waited for."""
        plan = self.plan()
        for number in range(3):
            self.adopt(plan, number)
        for sheep in self.cluster.sheep[:2]:
            sheep.start()
            sheep.wait_answering()
        harness.wait_until(
            lambda: self.cluster.sheep[0].status == 'wait-join',
            harness.START_SECONDS, 'it to wait')
        self.assertIn('127.0.0.1:7002', self.cluster.sheep[0].info()[
            'reason'])
        self.cluster.start()
        self.cluster.wait_whole()
        self.check()


if __name__ == '__main__':
    unittest.main()
