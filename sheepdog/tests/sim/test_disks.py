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

"""Disks that come, go and fail, far more often than in other seeds."""

import itertools
import unittest

from sheepdog.cmd import wiring
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import standing
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import scenario
from sheepdog.tests.sim import test_pains

SEEDS = range(1, 5)
FAULTS = {'pull_disk': 8, 'fail_reads': 3, 'fail_writes': 3,
          'fail_syncs': 3, 'kill': 3, 'kill_in_the_middle': 3,
          'kill_in_recovery': 3, 'power_cut': 1, 'cut_link': 1,
          'isolate': 1, 'fill_disk': 1}
CHORES = {'plug': 6, 'unplug': 6, 'create': 1, 'delete': 1, 'restart': 1,
          'shutdown': 0.3, 'join': 0.5, 'leave': 0.5, 'rejoin': 0.5,
          'format': 0.1}


def run(seed):
    trouble = scenario.Scenario(seed, wiring.build_sheep)
    trouble.cluster.disks = (1, 2, 3)
    trouble.nemesis.weights = FAULTS
    trouble.nemesis.pause_seconds = 1.5
    trouble.chores.weights = CHORES
    trouble.chores.pause_seconds = 1.0
    return trouble.run()


class DisksTest(unittest.TestCase):

    def test_seeds(self):
        for seed in SEEDS:
            with self.subTest(seed):
                result = run(seed)
                self.assertFalse(result.failures, str(result))

    def test_a_loss_that_is_not_noticed_is_found(self):
        def lose(self, oids):
            self.losses += 1

        known = standing.Standing.lose
        self.addCleanup(setattr, standing.Standing, 'lose', known)
        standing.Standing.lose = lose
        self.assertTrue(any(run(seed).failures for seed in SEEDS))


class AtOnceTest(test_pains.PainCase):
    """One disk each of two sheep fails at the same moment, and some objects
    have both of their copies there."""

    UNITS = tuple(256 * number for number in range(16))
    """Two in each data object, and in one more."""
    copies = 2

    def make_cluster(self):
        return cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                wiring.build_sheep, nodes=self.count, copies=self.copies,
                disks=(2,)))

    async def write_all(self):
        volume = await self.nodes[2].sheep.volumes.open('v')
        for unit in self.UNITS:
            await self.write(volume, unit)
        await volume.close()

    def two_shelves(self):
        """One of each of two sheep, and what only they have."""
        found = []
        for one, other in itertools.combinations(self.nodes, 2):
            for pair in itertools.product(*(
                    node.sheep.store._rack.shelves for node in (one, other))):
                both = set.intersection(*(
                    set(shelf.store.oids()) for shelf in pair))
                found.append((len(both), (one, other), pair))
        return max(found, key=lambda item: item[0])

    def fill(self):
        """``two_shelves``, when all is written."""
        self.nodes[2].run(self.write_all())
        self.wait_for(self.cluster.is_well, 30, 'not well')
        found = self.two_shelves()
        self.assertTrue(found[0])
        return found

    def check_given_up(self, nodes):
        def are_given_up():
            return (all(len(node.plugged()) == 1 for node in nodes)
                    and self.cluster.is_well())

        self.wait_for(are_given_up, 60, 'not given up one after the other')
        for node in self.nodes:
            for unit in self.UNITS:
                node.run(self.read(node, unit))
        self.assert_in_order()

    def test_nothing_is_lost(self):
        count, nodes, shelves = self.fill()
        self.assertGreater(count, 2)
        for shelf in shelves:
            shelf.store._device_failed(errors.StorageError('EIO'))
        self.check_given_up(nodes)


class DeadAtOnceTest(AtOnceTest):
    """They cannot be read any more: what only they had is lost, but nothing
    else; and the wait for it has an end."""

    def test_nothing_is_lost(self):
        _, nodes, shelves = self.fill()
        only_there = set.intersection(*(set(shelf.store.oids())
                                        for shelf in shelves))
        self.assertEqual({0}, {oid >> 63 for oid in only_there})
        for node, shelf in zip(nodes, shelves):
            node.pull(shelf.entry.path)
        self.simulation.run_for(60)
        kept, = [node for node in nodes if node.sheep.store.device_error]
        gone, = [node for node in nodes if node is not kept]
        # Its sheep goes on, and is what the other one waits for.
        self.assertTrue(kept.is_serving)
        self.assertTrue(gone.sheep.recovery.waiting)
        # What the runbook says.
        kept.host.kill()
        kept.start()
        self.wait_for(lambda: all(
            node.is_serving and 'may be known only to a lost disk of' in (
                node.sheep.recovery.obstacle or ('', ''))[1]
            for node in self.nodes), 60, 'nobody is waited for')
        for node in self.nodes:
            node.host.kill()
        kept.start()
        self.nodes[2].start()
        self.wait_for(lambda: all(
            node.sheep and node.sheep.cluster and len(
                node.sheep.cluster.explain()['missing']) == 1
            for node in (kept, self.nodes[2])), 60, 'waits for others')
        kept.run(kept.sheep.cluster.execute('recover-force', {}))
        gone.start()
        self.wait_for(self.cluster.is_well, 60, 'not well')
        self.check_left(only_there)

    def check_left(self, lost):
        vdi_id = self.nodes[0].sheep.catalogue.find('v').vdi_id
        for node in self.nodes:
            for unit in self.UNITS:
                oid = ids.data_oid(vdi_id, unit // test_pains.OBJECT_UNITS)
                if oid in lost:
                    with self.assertRaises(errors.NoObject):
                        node.run(self.read(node, unit))
                else:
                    node.run(self.read(node, unit))
        self.assert_in_order()


class DeadOfThreeTest(AtOnceTest):
    """A third copy is left of all, so nobody needs to be asked."""

    count = 5
    copies = 3

    def test_nothing_is_lost(self):
        _, nodes, shelves = self.fill()
        for node, shelf in zip(nodes, shelves):
            node.pull(shelf.entry.path)
        self.check_given_up(nodes)


if __name__ == '__main__':
    unittest.main()
