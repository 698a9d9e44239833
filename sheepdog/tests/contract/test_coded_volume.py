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

"""Coded volumes keep the contract of volumes."""

import logging
import unittest

from sheepdog.cmd import wiring
from sheepdog.placement import redundancy
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import world
from sheepdog.tests.contract import volume_contract


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class Runner:
    """In the place of ``asyncio.Runner``: all of a test runs in the process
    of one simulated sheep, on the loop of the simulation."""

    def __init__(self, simulation):
        self.simulation = simulation
        self.host = None

    def get_loop(self):
        return self.simulation.loop

    def run(self, coroutine, *, context=None):
        return self.host.run(coroutine)

    def close(self):
        self.simulation.close()


class TestCodedVolume(volume_contract.VolumeContract,
                      unittest.IsolatedAsyncioTestCase):
    """Over whole sheep, on simulated disks."""

    policy = '2:1'
    nodes = 3
    EXTENT_BYTES = 2 * volume_contract.BLOCK
    shared = False

    def _setupAsyncioRunner(self):
        self._asyncioRunner = Runner(world.Simulation(self.id()))

    def setUp(self):
        runner = self._asyncioRunner
        self.cluster = cluster_module.SimCluster(
            runner.simulation, cluster_module.ClusterSettings(
                wiring.build_sheep, nodes=self.nodes))
        self.cluster.format()
        self.node = self.cluster.nodes['n1']
        runner.host = self.node.host

    async def make_volume(self, size, object_bytes):
        sheep = self.node.sheep
        await sheep.catalogue.create(
            'vdi', size, *redundancy.parse(self.policy),
            block_size_shift=object_bytes.bit_length() - 1)
        return await sheep.volumes.open('vdi', shared=self.shared)

    async def make_read_only(self, volume):
        return await self.node.sheep.volumes.open('vdi', read_only=True)

    async def resize(self, volume, size):
        await self.node.sheep.catalogue.resize('vdi', size)

    async def asyncTearDown(self):
        await self.volume.close()

    def tearDown(self):
        simulation = self._asyncioRunner.simulation
        self.assertTrue(self.cluster.wait_well(60), self.cluster.explain())
        self.assertEqual([], self.cluster.copies_differ())
        self.assertEqual([], simulation.errors())


class TestSharedCodedVolume(TestCodedVolume):
    """The same, shared with others: the first target orders."""

    shared = True


class TestWideVolume(TestCodedVolume):
    """Over more sheep, in smaller units."""

    policy = '4:2'
    nodes = 6
    EXTENT_BYTES = 4 * volume_contract.BLOCK


if __name__ == '__main__':
    unittest.main()
