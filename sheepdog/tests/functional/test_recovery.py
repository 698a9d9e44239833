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

"""Recovery at work: throttled, postponed, killed in the middle of it."""

import json
import os
import signal

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

MIB = 1 << 20
OBJECTS = 48
"""Where they lie is by chance: some for each of three sheep."""

SECONDS = 60
HOUR_MS = 3600000


class RecoveryCase(case.ClusterCase):

    @staticmethod
    def progress(sheep):
        with sheep.client() as client:
            return client.call('node.progress')

    def wait_recovered(self):
        """Until every copy that a sheep must hold is whole."""
        def look():
            found[:] = map(self.progress, self.cluster.running)
            return all(one['is_whole'] for one in found)

        found = []
        self.cluster.wait_whole()
        harness.wait_until(look, SECONDS, lambda: 'recovery: %r' % found)


class RecoveryTest(RecoveryCase):
    """Three sheep, two copies; the first one is killed, and the others make
    its copies anew. An object has 1 MiB."""

    copies = 2

    def setUp(self):
        super().setUp()
        self.lost, self.helper, self.other = self.cluster.sheep
        self.create('vdi', OBJECTS * MIB, block_size_shift=20)
        self.data = [bytes([1 + number]) * MIB for number in range(OBJECTS)]
        with (self.helper.client() as client,
              client.open('vdi') as volume):
            for number, data in enumerate(self.data):
                volume.write(number * MIB, data)
            volume.flush()

    def tearDown(self):
        if self.cluster.running:
            self.throttle(0, 0)
            self.dog('cluster', 'recover', 'enable')
        super().tearDown()

    def dog(self, *words, **options):
        return self.cluster.dog(*words, **options).stdout

    def throttle(self, at_once, interval_ms):
        self.dog('node', 'recovery', 'set-throttle', '-A', str(at_once),
                 str(interval_ms))

    def wait_for_progress(self, sheep, condition):
        """Until the condition is true of it; its last one."""
        found = {}

        def look():
            found.update(self.progress(sheep))
            return condition(found)

        harness.wait_until(look, SECONDS, lambda: 'it is %r' % found)
        return found

    def wait_for_one(self):
        """The first one goes, and both others have one object."""
        self.lost.kill()
        for sheep in (self.helper, self.other):
            self.wait_for_progress(sheep, lambda found: (
                found['is_running'] and found['done'] == 1
                and found['total'] > 2))

    def assert_all_there(self, sheep=None):
        with ((sheep or self.helper).client() as client,
              client.open('vdi', read_only=True) as volume):
            for number, data in enumerate(self.data):
                self.assertEqual(data, volume.read(number * MIB, MIB))

    @staticmethod
    def objects(sheep):
        return {name for name in os.listdir(sheep.meta / 'obj')
                if len(name) == 16}

    def test_throttle(self):
        self.throttle(1, HOUR_MS)
        self.assertEqual('1 %d\n' % HOUR_MS, self.dog(
            'node', 'recovery', 'get-throttle', '-r', sheep=self.other))
        self.wait_for_one()
        rows = json.loads(self.dog('node', 'recovery', '--json'))
        self.assertEqual({self.helper.port, self.other.port},
                         {row['port'] for row in rows})
        lines = self.dog('node', 'recovery').splitlines()
        self.assertEqual(4, len(lines), lines)
        # Clients do not wait for it.
        self.data[3] = b'x' * MIB
        with (self.other.client() as client,
              client.open('vdi') as volume):
            volume.write(3 * MIB, self.data[3], fua=True)
        self.assert_all_there()
        self.assertEqual(1, self.progress(self.helper)['done'])
        # It is another throttle now; a new log is no reason to forget it.
        self.throttle(2, HOUR_MS)
        self.wait_for_progress(self.helper, lambda found: found['done'] == 3)
        os.kill(self.helper.process.pid, signal.SIGHUP)
        harness.wait_until(lambda: 'was read anew' in self.helper.logs()[
            'sheep-%d.log' % self.helper.number], SECONDS, 'a SIGHUP')
        self.assertEqual('2 %d\n' % HOUR_MS, self.dog(
            'node', 'recovery', 'get-throttle', '-r', sheep=self.helper))
        self.throttle(0, 0)
        self.wait_recovered()
        self.assert_all_there()

    def test_killed_in_the_middle(self):
        before = self.objects(self.helper)
        self.throttle(4, HOUR_MS)
        self.lost.kill()
        self.wait_for_progress(self.helper, lambda found: (
            found['done'] == 4 and found['total'] > 6))
        self.helper.kill()
        moved = self.objects(self.helper) - before
        self.helper.start()
        self.helper.wait_answering()
        self.throttle(0, 0)
        self.wait_recovered()
        left = self.objects(self.helper) - before - moved
        self.assertGreater(len(moved), 2)
        self.assertGreater(len(left), 0)
        # (An inode's object is mostly zeroes.)
        self.assertLess(self.progress(self.helper)['moved_bytes'],
                        (len(left) + 0.5) * MIB)
        self.assert_all_there()

    def test_disabled_for_a_maintenance(self):
        self.assertEqual('Cluster recovery: disable\n',
                         self.dog('cluster', 'recover', 'disable'))
        self.lost.kill()
        for sheep in (self.helper, self.other):
            self.wait_for_progress(sheep, lambda found: (
                found['is_postponed'] and not found['is_running']))
        self.assertIn('auto-recovery disabled', self.dog(
            'cluster', 'info', '-r', sheep=self.helper))
        before = self.progress(self.helper)['moved_bytes']
        self.assert_all_there()
        status = harness.run(
            harness.BIN / 'sheepdog-manage', '--address',
            self.helper.address, '--key-file', self.cluster.key_file,
            'status', '--why', expect=None).stdout
        self.assertIn('recovery-disabled', status)
        self.lost.start()
        self.lost.wait_answering()
        self.assertEqual(before, self.progress(self.helper)['moved_bytes'])
        self.assertEqual('Cluster recovery: enable\n',
                         self.dog('cluster', 'recover', 'enable',
                                  sheep=self.helper))
        self.wait_recovered()
        self.assert_all_there()
        # Nothing has changed while it was away.
        for sheep in self.cluster.sheep:
            self.assertLess(self.progress(sheep)['moved_bytes'],
                            before + MIB)


class ReweightTest(RecoveryCase):
    """Nodes that are weighted by space."""

    def test_weights(self):
        nodes = {node['vnodes'] for node in
                 self.cluster.dog_json('node', 'list')}
        epoch = self.cluster.epoch()
        # The disk is what it was.
        self.assertEqual('', self.cluster.dog('cluster', 'reweight').stdout)
        self.wait_recovered()
        self.assertEqual(nodes, {node['vnodes'] for node in
                                 self.cluster.dog_json('node', 'list')})
        self.assertEqual(epoch, self.cluster.epoch())
        refused = self.cluster.dog('node', 'vnodes', 'set', '7', expect=64)
        self.assertIn('dog cluster reweight', refused.stderr)


class FixedVnodesTest(RecoveryCase):
    """Numbers of vnodes are changed while clients read and write."""

    options = ('-V', '64')
    formatted = {'fixed_vnodes': True}
    copies = 2

    def vnodes(self):
        return {node['port']: node['vnodes'] for node in
                self.cluster.dog_json('node', 'list')}

    def wait_for_vnodes(self, expected):
        harness.wait_until(lambda: self.vnodes() == expected, SECONDS,
                           lambda: '%r, not %r' % (expected, self.vnodes()))
        self.wait_recovered()

    def test_numbers_of_vnodes(self):
        cluster = self.cluster
        changed, *others = cluster.sheep
        expected = dict.fromkeys((one.port for one in cluster.sheep), 64)
        self.assertEqual(expected, self.vnodes())
        self.create('vdi', OBJECTS * MIB, block_size_shift=20)
        data = [bytes([1 + number]) * MIB for number in range(OBJECTS)]
        with (others[0].client() as client, client.open('vdi') as volume):
            for number, one in enumerate(data):
                volume.write(number * MIB, one)
            volume.flush()
            held = len(RecoveryTest.objects(changed))
            cluster.dog('node', 'vnodes', 'set', '8', sheep=changed)
            for number in range(0, OBJECTS, 2):
                data[number] = b'y' * MIB
                volume.write(number * MIB, data[number], fua=True)
            expected[changed.port] = 8
            self.wait_for_vnodes(expected)
            # Most of what it had belongs elsewhere now.
            harness.wait_until(
                lambda: len(RecoveryTest.objects(changed)) < held / 2,
                SECONDS, 'copies to go')
            for number, one in enumerate(data):
                self.assertEqual(one, volume.read(number * MIB, MIB))
        # It stays so over a restart.
        changed.kill()
        changed.start()
        changed.wait_answering()
        self.wait_for_vnodes(expected)
        refused = cluster.dog('cluster', 'reweight', expect=64)
        self.assertIn('dog node vnodes set', refused.stderr)


class GraceTest(RecoveryCase):
    """Four sheep, three copies: the last sheep goes, and comes back."""

    count = 4
    options = ('-R', 'grace_seconds=3600')

    def status(self):
        return harness.run(
            harness.BIN / 'sheepdog-manage', '--address',
            self.cluster.running[0].address, '--key-file',
            self.cluster.key_file, 'status', '--why', expect=None).stdout

    def moved(self):
        return [self.progress(sheep)['moved_bytes']
                for sheep in self.cluster.sheep[:3]]

    def test_who_is_away_is_waited_for(self):
        *others, absent = self.cluster.sheep
        self.create('vdi', OBJECTS * MIB, block_size_shift=20)
        with (others[0].client() as client, client.open('vdi') as volume):
            for number in range(OBJECTS):
                volume.write(number * MIB, b'x' * MIB)
            volume.flush()
            self.wait_recovered()
            before = self.moved()
            absent.kill()
            harness.wait_until(
                lambda: 'recovery-postponed' in self.status(), SECONDS,
                self.status)
            self.assertIn('Postponed until', self.cluster.dog(
                'node', 'recovery', sheep=others[0]).stdout)
            row = self.cluster.dog_json('node', 'recovery',
                                        sheep=others[0])[0]
            self.assertEqual([absent.address], row['postponed']['nodes'])
            self.assertGreater(row['postponed']['objects'], 0)
            absent.start()
            absent.wait_answering()
            self.wait_recovered()
            self.assertEqual(before, self.moved())
            # An operator who knows that it does not come back.
            absent.kill()
            harness.wait_until(
                lambda: 'recovery-postponed' in self.status(), SECONDS,
                self.status)
            self.cluster.dog('cluster', 'recover', 'now', sheep=others[0])
            self.wait_recovered()
            self.assertGreater(sum(self.moved()), sum(before))
            self.assertNotIn('recovery-postponed', self.status())
            for number in range(OBJECTS):
                self.assertEqual(b'x' * MIB, volume.read(number * MIB, MIB))
