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

"""Tests of sheepdog.testing.remote and of the users that come over NBD and
the native protocol: on the faces of real sheep, in virtual time."""

import asyncio
import logging
import random
import unittest

from sheepdog.cmd import wiring
from sheepdog.model import errors
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import membership
from sheepdog.testing import native_user
from sheepdog.testing import nbd_user
from sheepdog.testing import scenario
from sheepdog.testing import world

VOLUME_BYTES = 3 << 20
OBJECT = 1 << 20


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class _Cases:
    """``self.node`` serves a volume to a client on a host of its own."""

    kind = None
    port = 0

    def setUp(self):
        self.simulation = world.Simulation(
            self.id(), coordination_settings=membership.CoordinationSettings(
                notices_kills=True))
        self.addCleanup(self.simulation.close)
        self.cluster = cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                wiring.build_sheep, nodes=1, copies=1, serves_nbd=True))
        self.cluster.format()
        self.node, = self.cluster.nodes.values()
        self.node.run(self.node.sheep.catalogue.create('v', VOLUME_BYTES))
        self.host = self.simulation.add_host(
            cluster_module.CLIENT_ADDRESS % 1, 0)
        self.host.start()

    def open(self, lines=2):
        return self.host.run(self.kind.open(
            self.host.world, self.node.address, self.port, 'v', lines,
            random.Random(self.id())))

    def assert_fails(self, coroutine):
        with self.assertRaises(errors.SheepdogError) as caught:
            self.host.run(coroutine)
        return caught.exception

    def test_what_is_written_is_read(self):
        volume = self.open(3)
        self.assertEqual(VOLUME_BYTES, volume.size)
        run = self.host.run
        data = bytes([7]) * 4096
        # Over the end of an object; nothing was there yet.
        for fua in True, False:
            run(volume.write(OBJECT - 1024, data, fua))
        self.assertEqual(bytes(8) + data + bytes(8), run(volume.read(
            OBJECT - 1032, 4096 + 16)))
        run(volume.zero(OBJECT - 512, 1024, False))
        self.assertEqual(data[:512] + bytes(1024), run(
            volume.read(OBJECT - 1024, 1536)))
        run(volume.flush())
        run(volume.close())
        self.assertFalse(volume.valid)
        self.simulation.run_for(1)
        again = self.open()
        self.assertEqual(data[:512] + bytes(1024), run(
            again.read(OBJECT - 1024, 1536)))

    def test_several_at_once(self):
        volume = self.open(2)

        async def work():
            await asyncio.gather(*(
                volume.write(i * 512, bytes([i]) * 512, False)
                for i in range(1, 20)))
            return await asyncio.gather(*(
                volume.read(i * 512, 512) for i in range(1, 20)))

        self.assertEqual([bytes([i]) * 512 for i in range(1, 20)],
                         self.host.run(work()))

    def test_the_sheep_dies(self):
        volume = self.open()
        reading = self.host.world.spawn(self.read(volume))
        self.node.host.kill()
        self.simulation.run_for(1)
        self.assertIsInstance(reading.result(), errors.Unreachable)
        self.assertFalse(volume.valid)
        self.assert_fails(volume.read(0, 512))
        self.node.start()
        self.cluster.wait_well(30)
        again = self.open()
        self.assertEqual(bytes(512), self.host.run(again.read(0, 512)))

    async def read(self, volume):
        try:
            return await volume.read(0, 512)
        except errors.SheepdogError as error:
            return error

    def test_half_open(self):
        volume = self.open()
        self.node.host.power_cut()
        self.simulation.run_for(100)
        # Nobody has said so.
        self.assertTrue(volume.valid)
        self.assertTrue(volume.has_lost_one())
        reading = self.host.world.spawn(self.read(volume))
        self.simulation.run_for(100)
        self.assertFalse(reading.done())
        loop = self.simulation.loop
        self.assertAlmostEqual(100, loop.time() - volume.waits_since())
        self.host.process.run(volume.hang_up)
        self.simulation.run_for(1)
        self.assertIsInstance(reading.result(), errors.Unreachable)

    def test_nobody_listens(self):
        self.node.host.kill()
        self.simulation.run_for(1)
        with self.assertRaises(ConnectionRefusedError):
            self.open()

    def test_refused(self):
        self.node.run(self.node.sheep.catalogue.delete('v'))
        self.assert_fails(self.kind.open(
            self.host.world, self.node.address, self.port, 'v', 1,
            random.Random(1)))
        self.simulation.run_for(1)
        self.assertEqual([], self.simulation.fabric.open_connections(
            self.host.name))


class NbdTest(_Cases, unittest.TestCase):

    kind = nbd_user.NbdVolume
    port = cluster_module.NBD_PORT

    def test_an_error_in_an_answer(self):
        volume = self.open()
        self.assertNotIsInstance(
            self.assert_fails(volume.read(VOLUME_BYTES, 1 << 20)),
            errors.Unreachable)
        self.assertTrue(volume.valid)


class NativeTest(_Cases, unittest.TestCase):

    kind = native_user.NativeVolume
    port = cluster_module.PORT

    def test_who_cannot_release_hangs_up_all_the_same(self):
        volume = self.open()
        node = self.node
        node.run(node.sheep.cluster.execute(
            'unlock', {'vdi_id': volume.vdi_id, 'force': True}))
        volume._random = random.Random(1)
        self.assert_fails(volume.close())
        self.assertFalse(volume.valid)

    def test_somebody_else_makes_an_object(self):
        volume = self.open()
        run = self.host.run
        node = self.node
        node.run(node.sheep.cluster.execute(
            'unlock', {'vdi_id': volume.vdi_id, 'force': True}))
        local = node.run(node.sheep.volumes.open('v'))
        node.run(local.write(0, b'x' * 512))
        self.assertEqual(b'x' * 512, run(volume.read(0, 512)))
        # Others may have what it wrote with no lock.
        self.assert_fails(volume.write(0, b'y' * 512, True))


class RemoteClientTest(unittest.TestCase):

    def run_with(self, **shares):
        def change(changed):
            changed.trouble_seconds = 3.0
            changed.nemesis.pause_seconds = 1.0
            changed.nemesis.weights = {'reset_client': 1, 'cut_client': 1}
            changed.chores.pause_seconds = 1e9
            changed.cluster.nodes = 3
            changed.workload.volumes = (('alone', False),)
            changed.workload.nbd_share = shares.get('nbd', 0.0)
            changed.workload.native_share = shares.get('native', 0.0)

        result = scenario.run_seed(1, wiring.build_sheep, change)
        self.assertEqual([], result.failures, str(result))
        return result

    def test_all_over_nbd(self):
        result = self.run_with(nbd=1.0)
        self.assertEqual(2, result.counts['remote'])
        self.assertGreater(result.counts['writes'], 100)
        self.assertEqual(result.digest, self.run_with(nbd=1.0).digest)

    def test_all_native(self):
        result = self.run_with(native=1.0)
        self.assertEqual(2, result.counts['remote'])
        self.assertGreater(result.counts['writes'], 100)

    def test_none(self):
        self.assertEqual(0, self.run_with().counts['remote'])
