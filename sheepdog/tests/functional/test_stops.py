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


"""Full stops, in order and not, and the starts after them."""

from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import writers

VDI_BYTES = 32 << 20


class StopTests:

    def setUp(self):
        super().setUp()
        self.epoch = self.cluster.epoch()

    def write(self, count=200, fua=True):
        """Write some to a new VDI; what to check later."""
        self.create('kept', VDI_BYTES)
        client = self.cluster.client()
        self.addCleanup(client.close)
        writer = self.start_writer(writers.LibraryWriter(
            1, client, 'kept', fua=fua))
        writer.wait_for(count)
        writer.stop()
        self.ledger = writer.ledger

    def check(self):
        writers.check_everywhere(self.cluster, {'kept': self.ledger})

    def recovered_objects(self):
        """How many objects each sheep has had to look at since its start.
        """
        counts = []
        for sheep in self.cluster.sheep:
            with sheep.client() as client:
                counts.append(client.nodes.status()['recovery']['total'])
        return counts

    def test_a_stop_in_order(self):
        self.write()
        self.be_patient()
        self.cluster.shutdown()
        self.cluster.make_whole()
        self.epoch = self.cluster.epoch()
        self.cluster.shutdown_at_rest()
        self.cluster.start()
        self.cluster.wait_whole()
        self.assertEqual(self.cluster.epoch(), self.epoch)
        self.assertEqual(self.recovered_objects(), [0, 0, 0])
        self.check()

    def test_all_are_terminated(self):
        """By a signal, as an init system does: an orderly leave of each.
        """
        self.write()
        for sheep in self.cluster.sheep:
            self.assertEqual(sheep.terminate(), 0)
        self.cluster.make_whole()
        self.check()

    def test_one_is_missing_and_comes(self):
        self.write()
        self.epoch = self.cluster.epoch()
        self.cluster.kill_all()
        self.be_patient()
        first, second, third = self.cluster.sheep
        first.start()
        second.start()
        self.wait_waiting(first, second, missing=third)
        with first.client(timeout=2) as client:
            self.assertRaises(errors.SheepdogError, client.open, 'kept')
        third.start()
        self.cluster.wait_whole()
        self.assertEqual(self.cluster.epoch(), self.epoch)
        self.check()

    def test_one_is_missing_and_is_given_up(self):
        self.write()
        self.cluster.kill_all()
        first, second, third = self.cluster.sheep
        first.start()
        second.start()
        self.wait_waiting(first, second, missing=third)
        refused = self.cluster.dog('cluster', 'recover', 'force',
                                   sheep=first, expect=None)
        self.assertEqual(refused.returncode, 1)
        self.assertIn('-f', refused.stderr)
        self.cluster.dog('cluster', 'recover', 'force', '-f', sheep=first)
        self.cluster.wait_whole()
        self.assertGreater(self.cluster.epoch(), self.epoch)
        self.check()
        third.start()
        self.cluster.wait_whole()
        self.check()

    @staticmethod
    def is_waiting(one, missing):
        info = one.info()
        return info and (info['status'], info['missing']) == (
            'wait-join', [missing.address])

    def wait_waiting(self, *sheep, missing):
        for one in sheep:
            one.wait_answering()
            harness.wait_until(
                lambda: self.is_waiting(one, missing), 60,
                lambda: 'wait-join: %s' % self.cluster.describe())
            told = self.cluster.dog('cluster', 'info', '-v', sheep=one)
            self.assertIn('Waiting for other nodes to join cluster',
                          told.stdout)
            self.assertIn(missing.address, told.stdout)


class TestFile(StopTests, case.ClusterCase):
    driver = 'file'

    def test_a_stop_in_order_while_somebody_writes(self):
        self.create('busy', VDI_BYTES)
        writer = self.start_writer(writers.NbdWriter(
            1, [sheep.nbd_address for sheep in self.cluster.sheep], 'busy'))
        writer.wait_for(200)
        self.cluster.shutdown()
        self.cluster.start()
        writer.wait_for(200)
        writer.stop()
        self.cluster.wait_whole()
        writers.check_everywhere(self.cluster, {'busy': writer.ledger})


class TestZookeeper(StopTests, case.ClusterCase):
    driver = 'zookeeper'


class TestEtcd(StopTests, case.ClusterCase):
    driver = 'etcd'


class TestRedis(StopTests, case.ClusterCase):
    driver = 'redis'
