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

"""Each page of the runbook, done on a cluster that is in its state.

Each test brings a cluster there, runs the page's commands (see ``runbook``)
and looks whether all is as it was.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

from sheepdog.cmd import remedies
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.testing import servers
from sheepdog.tests.functional import case
from sheepdog.tests.functional import damage
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import mounts
from sheepdog.tests.functional import runbook

OBJECT = 4 << 20
LONG_TTL_SECONDS = 60.0
TRIES = 5
SILENCE_SECONDS = 2.0
DATA = b'precious' * 512


class Pages(unittest.TestCase):

    def test_each_finding_has_one_and_each_is_tried(self):
        written = {path.stem for path in runbook.PAGES.glob('*.rst')}
        self.assertEqual({one.page for one in remedies.REMEDIES.values()}
                         | {'lost-node'}, written - {'index'})
        tried = {name[len('test_'):].replace('_', '-')
                 for kind in (TestShared, TestDamaged, TestPatient, TestNew,
                              TestCoordination, TestFull, TestFailing,
                              TestLostDisk, TestExposed, TestStrict,
                              TestNoRoom)
                 for name in vars(kind) if name.startswith('test_')}
        self.assertEqual(written - {'index'}, tried)

    def test_each_begins_and_ends_with_a_look(self):
        for path in runbook.PAGES.glob('*.rst'):
            if path.stem == 'index':
                continue
            with self.subTest(path.stem):
                steps = runbook.steps(path.stem)
                self.assertEqual('sheepdog-manage status --why',
                                 steps[0].words)
                self.assertTrue(steps[0].expected)
                self.assertTrue(any(
                    step.expected.startswith('well: ') for step in steps))

    def test_dots(self):
        for expected, text, same in (
                ('a ... d', 'a  b\nc d', True), ('a ... d', 'a b', False),
                ('a...', 'a', True), ('...\nb', 'b', True), ('a', 'ab', False),
                ('a (b)', 'a (b)', True), ('a\n...\nb', 'a\nb', True)):
            self.assertEqual(same, runbook.is_as(expected, text), expected)


class RunbookCase(case.DirectoryCase):
    """With a cluster of its own for each test."""

    ttl = harness.TTL_SECONDS
    is_formed = True
    options = {}

    def setUp(self):
        super().setUp()
        self.url = self.coordination()
        self.cluster = harness.Cluster(self.directory, self.url, ttl=self.ttl)
        self.cluster.sheep = [self.changed(one)
                              for one in self.cluster.sheep]
        self.addCleanup(self.cluster.end)
        self.addOnException(
            lambda _info: self.attach(self.cluster.logs()))
        self.prepare()
        self.cluster.start()
        if self.is_formed:
            self.cluster.form(**self.options)

    def coordination(self):
        return 'local:%s' % (self.directory / 'coordination')

    def changed(self, sheep):
        return sheep

    def prepare(self):
        pass

    def run_page(self, name, nodes=None, **options):
        runbook.Runner(nodes or self.cluster.sheep, **options).run(name)

    def write(self, name='vm', data=DATA):
        self.cluster.create(name, 4 * OBJECT)
        with self.cluster.client() as client, client.open(name) as volume:
            volume.write(0, data, fua=True)

    def check(self, name='vm', data=DATA):
        self.cluster.wait_whole()
        for sheep in self.cluster.sheep:
            with sheep.client() as client:
                with client.open(name, read_only=True) as volume:
                    self.assertEqual(volume.read(0, len(data)), data)


class TestNew(RunbookCase):
    is_formed = False

    def test_wait_format(self):
        harness.wait_until(
            lambda: all(sheep.status == 'wait-format'
                        for sheep in self.cluster.sheep),
            60, self.cluster.describe)
        self.run_page('wait-format')
        self.write()
        self.check()


class TestShared(RunbookCase):

    def setUp(self):
        super().setUp()
        self.write()
        self.first, self.second, self.third = self.cluster.sheep

    def stop_third(self):
        self.third.kill()
        self.cluster.wait_whole()

    def restart_two(self):
        self.cluster.kill_all()
        for sheep in self.first, self.second:
            sheep.start()
        for sheep in self.first, self.second:
            sheep.wait_answering()

    def test_wait_members(self):
        self.restart_two()
        self.run_page('wait-members')
        self.check()

    def test_lost_node(self):
        self.restart_two()
        shutil.rmtree(self.third.meta)
        self.third.meta.mkdir()
        self.run_page('lost-node')
        self.assertGreater(self.cluster.epoch(), 100)
        self.check()

    def test_degraded(self):
        self.stop_third()
        self.run_page('degraded')
        self.check()

    def test_node_lapsed(self):
        self.third.suspend()
        self.cluster.wait_whole()
        self.run_page('node-lapsed')
        self.check()

    def test_no_answer(self):
        self.cluster.shutdown()
        self.run_page('no-answer')
        self.check()

    def test_node_refused(self):
        fourth = harness.Sheep(self.directory, 3, self.url,
                               key_file=self.cluster.key_file)
        configuration = self.directory / 'sheepdog.conf'
        configuration.write_text('[DEFAULT]\nvnodes = 64\n')
        fourth.options = ('--config-file', configuration)
        self.cluster.sheep.append(fourth)
        fourth.start()
        self.assertEqual(fourth.wait(), 2)
        self.run_page('node-refused', configuration=configuration)
        self.check()

    @case.needs('nbdinfo')
    def test_locked_vdi(self):
        # A client that has gone to sleep with its connection.
        client = subprocess.Popen(
            [sys.executable, '-c', 'import sys, time\n'
             'from sheepdog.client import client\n'
             'volume = client.Client([sys.argv[1]]).open("vm")\n'
             'print("open", flush=True)\ntime.sleep(600)\n',
             self.second.address], stdout=subprocess.PIPE,
            env=dict(os.environ,
                     SHEEPDOG_KEY_FILE=str(self.cluster.key_file)))
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        self.addCleanup(client.stdout.close)
        self.assertEqual(client.stdout.readline(), b'open\n')
        client.send_signal(signal.SIGSTOP)
        with self.first.client() as other:
            self.assertRaises(errors.VdiLocked, other.open, 'vm')
        self.run_page('locked-vdi')
        self.check(data=b'hello\n')


class TestDamaged(RunbookCase):
    """Nobody leaves, and comes back to look at the copies before the page
    does."""

    ttl = harness.PATIENT_TTL_SECONDS

    def test_quarantine(self):
        self.write()
        oid = ids.data_oid(ids.first_vdi_id('vm'), 0)
        # Else the next start compares the copies, and mends this one.
        self.cluster.shutdown_at_rest()
        damage.rewrite(self.cluster.sheep[2], oid, 0, b'?' * damage.BLOCK)
        self.cluster.make_whole()
        self.cluster.dog('vdi', 'check', 'vm', expect=2)
        self.run_page('quarantine')
        self.check()


class TestPatient(RunbookCase):
    """With a TTL so long that a node that hangs stays a member."""

    ttl = LONG_TTL_SECONDS

    def setUp(self):
        super().setUp()
        self.write()
        self.cluster.wait_whole()
        leader = self.cluster.leader()
        self.nodes = [leader] + self.cluster.others(leader)
        self.wait_for_silence()

    def wait_for_silence(self):
        """Until nothing is announced any more: a leader that waits for one
        who hangs to hear of something begins nothing else."""
        def is_silent():
            first = self.sequence()
            time.sleep(SILENCE_SECONDS)
            return self.sequence() == first

        harness.wait_until(is_silent, harness.WHOLE_SECONDS,
                           lambda: 'nothing to be announced')

    def sequence(self):
        with self.nodes[0].client() as client:
            return client.call('node.facts')['sequence']

    def test_node_unreachable(self):
        self.nodes[2].suspend()
        self.run_page('node-unreachable', self.nodes)
        self.check()

    def test_no_agreement(self):
        self.harm()
        self.run_page('no-agreement', self.nodes)
        self.check()

    def harm(self):
        """Until the leader waits for one that hangs, and has not given it
        up before it noticed that the other one is gone."""
        for _ in range(TRIES):
            epoch = self.cluster.epoch()
            self.nodes[1].suspend()
            self.nodes[2].kill()
            harness.wait_until(
                lambda: self.nodes[0].status not in ('', 'ok')
                or self.cluster.epoch() > epoch, harness.WHOLE_SECONDS,
                self.cluster.describe)
            if self.nodes[0].status not in ('', 'ok'):
                return
            self.cluster.make_whole()
            self.wait_for_silence()
        self.fail('it never waits for long')

    def test_slow_requests(self):
        with self.nodes[0].client(120) as client:
            with client.open('vm') as volume:
                self.nodes[2].suspend()
                writing = threading.Thread(
                    target=volume.write, args=(0, DATA[::-1], True))
                writing.start()
                try:
                    self.run_page('slow-requests', self.nodes)
                finally:
                    self.nodes[2].end()
                    self.cluster.start()
                    writing.join()
        self.check(data=DATA[::-1])


@case.needs('redis-server')
class TestCoordination(RunbookCase):

    def coordination(self):
        self.server = servers.Redis()
        self.addCleanup(self.server.close)
        self.server.start()
        return self.server.option

    def test_coordination_away(self):
        self.write()
        self.server.kill()
        self.run_page('coordination-away', services={
            'redis-server': lambda verb: self.server.start()})
        self.check()


class TestExposed(RunbookCase):

    def changed(self, sheep):
        self.configuration = self.directory / 'sheepdog.conf'
        self.configuration.write_text(
            '[security]\npublic_networks = 0.0.0.0/0\n')
        sheep.options = ('--config-file', self.configuration)
        return sheep

    def test_exposed(self):
        self.write()
        self.run_page('exposed', configuration=self.configuration)
        self.check()


class TestStrict(RunbookCase):
    options = {'strict': True}

    def test_strict(self):
        self.write()
        self.cluster.sheep[2].kill()
        self.cluster.wait_whole()
        with self.cluster.client() as client, client.open('vm') as volume:
            self.assertRaises(errors.Halted, volume.write, 0, b'x' * 4096)
            self.assertEqual(volume.read(0, len(DATA)), DATA)
        self.run_page('strict')
        self.check(data=b'hello\n')


class TestFull(RunbookCase):

    def prepare(self):
        for sheep in self.cluster.sheep:
            mounts.mount(self, sheep.meta, 'tmpfs', 'size=160m')

    def test_disk_full(self):
        self.write()
        self.cluster.create('old', 256 << 20)
        with self.cluster.client() as client, client.open('old') as volume:
            self.assertRaises(errors.NoSpace, self.fill, volume)
        self.run_page('disk-full')
        self.check(data=b'hello\n')

    def fill(self, volume):
        for index in range(64):
            volume.write(index * OBJECT, b'x' * OBJECT, fua=True)


class TestNoRoom(RunbookCase):
    options = {'avoid_full': True}

    def test_recovery_no_room(self):
        self.write()
        self.cluster.create('old', 16 * OBJECT)
        with self.cluster.client() as client, client.open('old') as volume:
            for index in range(16):
                volume.write(index * OBJECT, b'x' * OBJECT, fua=True)
        third = self.cluster.sheep[2]
        third.kill()
        self.cluster.wait_whole()
        # A new disk, and a smaller one: less than the journal, the reserve
        # and all that should be there.
        shutil.rmtree(third.meta)
        mounts.mount(self, third.meta, 'tmpfs', 'size=128m')
        third.start()
        third.wait_answering()
        self.run_page('recovery-no-room')
        self.check()


class TestFailing(RunbookCase):
    """The third node's disk refuses to sync as soon as a file says so."""

    def changed(self, sheep):
        if sheep.number == 2:
            command = sheep.command
            sheep.command = lambda *more: [
                sys.executable, '-m',
                'sheepdog.tests.functional.failing_sheep',
                str(sheep.meta / 'fail')] + command(*more)[1:]
        return sheep

    def test_disk_failing(self):
        self.write()
        (self.cluster.sheep[2].meta / 'fail').touch()
        first, second, _third = self.cluster.sheep
        # Opening is noted by all in the cluster's log.
        with self.cluster.client(first, second) as client:
            with client.open('vm') as volume:
                volume.write(0, DATA[::-1], fua=True)
        self.run_page('disk-failing')
        self.check(data=DATA[::-1])


class TestLostDisk(RunbookCase):
    """The third node has two disks, and the first of them goes away."""

    def changed(self, sheep):
        if sheep.number == 2:
            sheep.disks = ['%s-disk%d' % (sheep.meta, number)
                           for number in (1, 2)]
        return sheep

    def test_lost_disk(self):
        self.write()
        disk = self.cluster.sheep[2].disks[0]
        os.rename(disk, disk + '.away')
        self.run_page('lost-disk')
        self.check()


if __name__ == '__main__':
    unittest.main()
