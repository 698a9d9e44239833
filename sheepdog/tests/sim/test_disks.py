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
    """One in each of so many objects."""

    def make_cluster(self):
        return cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                wiring.build_sheep, copies=2, disks=(2,)))

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

    def test_nothing_is_lost(self):
        self.nodes[2].run(self.write_all())
        self.wait_for(self.cluster.is_well, 30, 'not well')
        count, nodes, shelves = self.two_shelves()
        self.assertGreater(count, 2)
        for shelf in shelves:
            shelf.store._device_failed(errors.StorageError('EIO'))

        def are_given_up():
            return (all(len(node.plugged()) == 1 for node in nodes)
                    and self.cluster.is_well())

        self.wait_for(are_given_up, 60, 'not given up one after the other')
        for node in self.nodes:
            for unit in self.UNITS:
                node.run(self.read(node, unit))
        self.assert_in_order()


if __name__ == '__main__':
    unittest.main()
