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


"""What users of such storage have suffered from, and must not here.

Those pains that are one short chain of events have a play instead: a stale
gateway that writes after failover (``stale_gateway``), sessions that expire
and partitions of one side or direction (``cut_*``, ``suspended_*``,
``half_partition``), stale locks (``lock_*``, ``two_writers_race``).
"""

import asyncio
import itertools
import logging
import random
import unittest
from unittest import mock

from sheepdog.cluster import api
from sheepdog.cmd import wiring
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.placement import redundancy
from sheepdog.store import settings as store_settings
from sheepdog.testing import checkers
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import history as history_module
from sheepdog.testing import image as image_module
from sheepdog.testing import membership
from sheepdog.testing import workload
from sheepdog.testing import world

VOLUME_BYTES = 4 << 20
POWER_CUTS = 100
OBJECT_UNITS = (1 << 20) // workload.UNIT_BYTES


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class PainCase(unittest.TestCase):
    """``self.cluster`` of ``count`` sheep, with a volume."""

    count = 3

    def setUp(self):
        self.simulation = world.Simulation(
            self.id(), coordination_settings=membership.CoordinationSettings(
                notices_kills=True))
        self.addCleanup(self.simulation.close)
        self.random = random.Random(self.id())
        self.cluster = self.make_cluster()
        self.cluster.format()
        self.nodes = list(self.cluster.nodes.values())
        self.history = history_module.History()
        node = self.nodes[0]
        node.run(node.sheep.catalogue.create('v', VOLUME_BYTES))

    def make_cluster(self):
        return cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                wiring.build_sheep, nodes=self.count))

    def wait_for(self, condition, seconds, what):
        self.assertTrue(self.simulation.run_until(condition, seconds),
                        '%s\n%s' % (what, self.cluster.explain()))

    async def write(self, volume, *units):
        """One more value, durable."""
        value = self.history.new_value()
        begun = self.history.begin_write('writer', list(units), value)
        await volume.write(units[0] * workload.UNIT_BYTES, b''.join(
            workload.fill(value, unit) for unit in units), fua=True)
        self.history.end_write(begun, volume, True)

    async def read(self, node, unit):
        volume = await node.sheep.volumes.open('v', read_only=True)
        begun = self.history.begin_read(node.name, [unit])
        data = await volume.read(unit * workload.UNIT_BYTES,
                                 workload.UNIT_BYTES)
        self.history.end_read(begun, [
            workload.value_of(data, unit) if any(data) else checkers.ZERO])
        await volume.close()

    def assert_in_order(self):
        self.assertEqual([], self.history.check())
        self.assertEqual([], self.cluster.epochs.violations)
        self.assertEqual([], self.simulation.errors())
        self.assertEqual([], self.cluster.copies_differ())


class PowerCutsTest(PainCase):
    """The cluster does not come back after a power cut."""

    def test_a_hundred_power_cuts(self):
        """…in random order of the starts, with one missing for a while; it
        is said who is, and all that was acknowledged is there."""
        for cut in range(POWER_CUTS):
            epoch = self.nodes[0].sheep.cluster.view.epoch
            self.write_until_the_cut()
            missing = self.come_back_but_one()
            self.assert_waiting_for(missing)
            missing.host.power_on()
            missing.start()
            self.wait_for(self.cluster.is_well, 60,
                          'not well after cut %d' % cut)
            self.assertEqual(epoch, missing.sheep.cluster.view.epoch)
            node = self.random.choice(self.nodes)
            for unit in self.units():
                node.run(self.read(node, unit))
        self.assert_in_order()

    def units(self):
        return (0, 7, 2048, 4096)

    def write_until_the_cut(self):
        node = self.random.choice(self.nodes)
        node.host.world.spawn(self.write_on(node.sheep), 'writer')
        self.simulation.run_for(0.3 * self.random.random())
        self.history.power_cut()
        for other in self.nodes:
            other.host.power_cut()

    async def write_on(self, sheep):
        volume = await sheep.volumes.open('v')
        while True:
            await self.write(volume, self.random.choice(self.units()))

    def come_back_but_one(self):
        """In any order, at any time; returns the one."""
        *present, missing = self.random.sample(self.nodes, len(self.nodes))
        for node in present:
            node.host.power_on()
            node.start()
            self.simulation.run_for(2 * self.random.random())
        return missing

    def assert_waiting_for(self, missing):
        address = '%s:%d' % (missing.address, cluster_module.PORT)

        def is_said():
            return all(
                node is missing or
                node.sheep.cluster is not None and
                node.sheep.cluster.explain()['missing'] == [address]
                for node in self.nodes)

        self.wait_for(is_said, 30, 'nobody says that %s is missing' % address)
        for node in self.nodes:
            if node is not missing:
                self.assertIs(api.Status.WAIT_FOR_JOIN,
                              node.sheep.cluster.status)
                self.assertIn(address, node.sheep.cluster.reason)
                self.assertFalse(node.sheep.cluster.serving())


class FailingDisksTest(PainCase):
    """One disk that answers with errors takes others down with it."""

    WRITES = 60

    def setUp(self):
        super().setUp()
        self.gateway, self.other, self.sick = self.nodes

    async def write_some(self, fault=''):
        volume = await self.gateway.sheep.volumes.open('v')
        if fault:
            setattr(self.sick.host.faults, fault, True)
        for number in range(self.WRITES):
            await self.write(volume, number % 4)
        await volume.close()

    def test_who_is_spare_leaves(self):
        """…and no write fails, though one copy cannot be written, or no
        sync is done."""
        for fault in ('fails_writes', 'fails_syncs'):
            self.gateway.run(self.write_some(fault))
            self.assert_leaves_and_may_return()

    def assert_leaves_and_may_return(self):
        self.wait_for(lambda: not self.sick.is_running, 60, 'it stays')
        self.wait_for(lambda: self.cluster.is_well(without=self.sick), 60,
                      'not well without the failing disk')
        self.sick.host.faults.fails_writes = False
        self.sick.host.faults.fails_syncs = False
        self.sick.start()
        self.wait_for(self.cluster.is_well, 60, 'not well')
        for node in self.nodes:
            for unit in range(4):
                node.run(self.read(node, unit))
        self.assert_in_order()

    def fail_device(self, node):
        disk, = node.sheep.store._rack.shelves
        disk.store._device_failed(errors.StorageError('EIO'))

    def test_who_is_not_spare_stays_until_it_is(self):
        """What the others have no copies of yet is served as far as it
        goes."""
        self.gateway.run(self.write_some())
        self.other.renew()
        self.wait_for(lambda: self.other.is_recovering, 30, 'no recovery')
        self.fail_device(self.sick)
        self.assertFalse(self.sick.sheep.replica.is_leaving)
        self.assert_leaves_and_may_return()

    def test_the_only_one_stays(self):
        self.gateway.host.kill()
        self.other.host.kill()
        self.wait_for(lambda: self.sick.is_serving and len(
            self.sick.sheep.cluster.view.members) == 1, 60, 'not alone')
        self.fail_device(self.sick)
        self.simulation.run_for(30)
        self.assertTrue(self.sick.is_running)


class LastCopiesTest(PainCase):
    """One bad sector, and the whole object is gone."""

    UNITS = 24
    LOST = 16

    def test_a_block_that_is_bad_in_all_copies(self):
        """…while a sheep is replaced: the rest is there, by a restart of all
        too, and writing it anew mends it."""
        first, second, third = self.nodes
        first.run(self.write_all())
        # Until no journal could mend what rots.
        self.simulation.run_for(
            2 * store_settings.StoreSettings.checkpoint_seconds)
        for node in (first, second):
            self.rot(node)
        third.renew()
        self.wait_for(lambda: not self.open_ends(), 60, 'it waits')
        self.assert_only_one_is_lost()
        for node in self.nodes:
            node.host.kill()
            node.start()
        self.wait_for(lambda: not self.open_ends(), 60, 'it waits')
        self.assertEqual({self.oid: [2]}, third.sheep.store.bad_blocks())
        self.assert_only_one_is_lost()
        first.run(self.write_all())
        self.wait_for(self.cluster.is_well, 60, 'not well')
        self.wait_for(lambda: not any(
            node.sheep.store.bad_blocks() for node in self.nodes), 60,
            'not mended')
        for unit in range(self.UNITS):
            for node in self.nodes:
                node.run(self.read(node, unit))
        self.assert_in_order()

    async def write_all(self):
        volume = await self.nodes[0].sheep.volumes.open('v')
        for first in range(0, self.UNITS, 8):
            await self.write(volume, *range(first, first + 8))
        await volume.close()

    def rot(self, node):
        self.oid, = [oid for oid in node.sheep.store.oids()
                     if ids.is_data(oid)]
        for path, inode in node.host.image.files():
            if path.endswith('/obj/%s' % ids.hex_oid(self.oid)):
                inode.rot(self.LOST * workload.UNIT_BYTES // 4096, 77)

    def open_ends(self):
        return [node for node in self.nodes
                if not node.is_serving or node.sheep.recovery.active]

    def assert_only_one_is_lost(self):
        for node in self.nodes:
            for unit in range(self.UNITS):
                if unit // 8 == self.LOST // 8:
                    with self.assertRaises(errors.StorageError):
                        node.run(self.read(node, unit))
                else:
                    node.run(self.read(node, unit))


class FullDisksTest(PainCase):
    """A full disk is a trap: nothing can be written, deleted, started."""

    OBJECT = 1 << 20
    PIECE = 128 << 10
    VOLUME_OBJECTS = 80
    DISK_BYTES = 100 << 20

    def setUp(self):
        disk_bytes = mock.patch.object(cluster_module, 'HOST_DISK_BYTES',
                                       self.DISK_BYTES)
        disk_bytes.start()
        self.addCleanup(disk_bytes.stop)
        super().setUp()
        for name in ('big', 'other'):
            self.nodes[0].run(self.nodes[0].sheep.catalogue.create(
                name, self.VOLUME_OBJECTS * self.OBJECT))

    async def fill(self, sheep, name):
        """Write until it is refused; the places that were written."""
        volume = await sheep.volumes.open(name)
        try:
            for number in range(self.VOLUME_OBJECTS * self.OBJECT
                                // self.PIECE):
                try:
                    await self.put(volume, number * self.PIECE)
                except errors.NoSpace:
                    return number
        finally:
            await volume.close()
        self.fail('there is more room than there can be')

    async def put(self, volume, offset):
        first = offset // workload.UNIT_BYTES
        value = self.history.new_value()
        begun = self.history.begin_write(
            'writer', [(volume.vdi_id, first)], value)
        await volume.write(offset, workload.fill(
            value, first, self.PIECE // workload.UNIT_BYTES), fua=True)
        self.history.end_write(begun, volume, True)

    async def look(self, node, name, count):
        volume = await node.sheep.volumes.open(name, read_only=True)
        for number in range(count):
            first = number * self.PIECE // workload.UNIT_BYTES
            begun = self.history.begin_read(
                node.name, [(volume.vdi_id, first)])
            data = await volume.read(number * self.PIECE,
                                     workload.UNIT_BYTES)
            self.history.end_read(begun, [workload.value_of(data, first)])
        await volume.close()

    def assert_readable(self, name, count):
        for node in self.nodes:
            node.run(self.look(node, name, count))
        self.assert_in_order()

    def test_full_deleted_and_written_again(self):
        gateway, other, _ = self.nodes
        half = gateway.run(self.fill_half(gateway.sheep))
        count = other.run(self.fill(other.sheep, 'big'))
        self.assertGreater(count, 20)
        self.wait_for(self.cluster.is_well, 60, 'not well when full')
        self.assert_readable('big', count)
        # Once more, and with others: nothing changes by being refused.
        for node in self.nodes:
            with self.assertRaises(errors.NoSpace):
                node.run(self.write_behind(node.sheep, count + 16))
        self.wait_for(self.cluster.is_well, 60, 'not well when refused')
        self.assert_readable('big', count)
        # However full: it can be started anew.
        self.history.power_cut()
        for node in self.nodes:
            node.host.power_cut()
        for node in self.nodes:
            node.host.power_on()
            node.start()
        self.wait_for(self.cluster.is_well, 60, 'not well after a power cut')
        self.assert_readable('big', count)
        self.assert_readable('other', half)
        # Somebody takes the last byte, too; deleting works.
        for node in self.nodes:
            node.host.image.fill(0)
        free = [node.sheep.store.space().free for node in self.nodes]
        other.run(other.sheep.catalogue.delete('other'))
        self.wait_for(lambda: all(
            node.sheep.store.space().free - before >= half * self.PIECE
            for node, before in zip(self.nodes, free)), 30,
            'no room is given back')
        for node in self.nodes:
            node.host.image.unfill()
        gateway.run(self.write_behind(gateway.sheep, count))
        self.assert_readable('big', count + 1)

    async def fill_half(self, sheep):
        volume = await sheep.volumes.open('other')
        count = 5 * self.OBJECT // self.PIECE
        for number in range(count):
            await self.put(volume, number * self.PIECE)
        await volume.close()
        return count

    async def write_behind(self, sheep, number):
        volume = await sheep.volumes.open('big')
        try:
            await self.put(volume, number * self.PIECE)
        finally:
            await volume.close()

    def test_a_node_is_lost_while_the_disks_are_full(self):
        """What does not fit waits, all is read, and it comes in the end.
        """
        gateway, lost, empty = self.nodes
        count = gateway.run(self.fill(gateway.sheep, 'big'))
        empty.replace_disk()
        self.wait_for(lambda: len(gateway.sheep.cluster.view.members) == 2,
                      30, 'it is not missed')
        empty.host.image.fill((20 << 20) // 4096)
        empty.start()
        self.wait_for(lambda: empty.is_serving and bool(
            empty.sheep.recovery.waiting), 60, 'recovery does not fail')
        for node in self.nodes:
            node.run(self.look(node, 'big', count))
        # A gateway dies in the middle of writes: they are settled, though
        # one copy has no room.
        lost.host.world.spawn(self.overwrite(lost.sheep, count), 'writer')
        self.simulation.run_for(0.05)
        lost.host.kill()
        lost.start()
        self.wait_for(lambda: lost.is_serving and len(
            gateway.sheep.cluster.view.members) == 3, 30, 'not back')
        for node in self.nodes:
            node.run(self.look(node, 'big', count))
        empty.host.image.unfill()
        self.wait_for(self.cluster.is_well, 120, 'not well')
        self.assert_readable('big', count)

    async def overwrite(self, sheep, count):
        volume = await sheep.volumes.open('big')
        while True:
            try:
                await self.put(volume, self.random.randrange(count)
                               * self.PIECE)
            except errors.NoSpace:
                await asyncio.sleep(0.001)


class QueuesTest(PainCase):
    """Queues without bound."""

    SECONDS = 40
    FLAP_SECONDS = 5.0
    WRITERS = 8
    PIECE_BYTES = 16 << 10
    THINK_SECONDS = 0.005

    def test_a_replica_that_flaps(self):
        """It is killed or suspended every five seconds, while clients write.
        What the others keep for it stays bounded, and is nothing in the
        end."""
        gateway, _, flapping = self.nodes
        self.is_over = False
        self.written = 0
        writers = [gateway.host.world.spawn(
            self.write_on(gateway.sheep, number), 'writer')
            for number in range(self.WRITERS)]
        most = self.flap(flapping, gateway)
        self.is_over = True
        self.wait_for(lambda: all(task.done() for task in writers), 60,
                      'writes without an answer')
        self.wait_for(self.cluster.is_well, 60, 'not well')
        self.assertGreater(most['writes'], 100)
        # Each writer has one write under way, whatever happens.
        piece = self.PIECE_BYTES + 100
        self.assertLessEqual(most['inflight'], self.WRITERS)
        self.assertLessEqual(most['queued_bytes'], self.WRITERS * piece)
        self.assertLess(most['marks'], 2000)
        self.assertLess(most['tasks'], 200)
        self.simulation.run_for(10)
        for name, count in self.measure(gateway).items():
            if name not in ('tasks', 'writes'):
                self.assertEqual(0, count, name)
        self.assert_in_order()

    def flap(self, flapping, gateway) -> dict:
        most = {}
        for _ in range(int(self.SECONDS / self.FLAP_SECONDS)):
            how = self.random.choice(('kill', 'suspend', 'cut'))
            if how == 'kill':
                flapping.host.kill()
            elif how == 'suspend':
                flapping.host.stop()
            else:
                self.simulation.fabric.cut(flapping.host.name,
                                           gateway.host.name)
            self.watch(gateway, most)
            self.simulation.heal()
            if not flapping.is_running:
                flapping.start()
            self.watch(gateway, most)
        return most

    def watch(self, gateway, most: dict) -> None:
        for _ in range(int(self.FLAP_SECONDS * 5)):
            self.simulation.run_for(0.1)
            for name, count in self.measure(gateway).items():
                most[name] = max(most.get(name, 0), count)

    def measure(self, node) -> dict:
        sheep = node.sheep
        links = [link for kind in (sheep.links._data, sheep.links._control)
                 for link in kind.values()]
        return {
            'inflight': sheep.gateway.inflight,
            'queued_bytes': sum(link.queued_bytes for link in links),
            'requests': sum(len(link._pending) for link in links),
            'turns': sum(map(len, sheep.gateway.turns.table.values())),
            'marks': sum(map(len, sheep.replica.marks._tokens.values())),
            'tasks': len(self.simulation.loop.pending_tasks(
                node.host.process)),
            'writes': self.written}

    async def write_on(self, sheep, number) -> None:
        volume = await sheep.volumes.open('v')
        units = self.PIECE_BYTES // workload.UNIT_BYTES
        first = number * units
        while not self.is_over:
            value = self.history.new_value()
            begun = self.history.begin_write('writer', [first], value)
            await volume.write(first * workload.UNIT_BYTES,
                               workload.fill(value, first, units))
            self.history.end_write(begun, volume, False)
            self.written += 1
            await asyncio.sleep(self.THINK_SECONDS)
        await volume.close()


class SlowCase(PainCase):
    """Clients of a VDI ``big`` (of ``policy``) that time their requests."""

    count = 5
    policy = ''
    VOLUME_BYTES = 24 << 20
    WRITERS = 4
    DISK_SECONDS = 2.0
    BACK_SECONDS = 30.0
    P99_MAX_SECONDS = 0.2

    def setUp(self):
        super().setUp()
        self.gateway = self.nodes[0]
        self.gateway.run(self.gateway.sheep.catalogue.create(
            'big', self.VOLUME_BYTES,
            *(redundancy.parse(self.policy) if self.policy else ())))
        self.latencies = []
        self.is_over = False
        self.clients = []

    def begin(self, *nodes):
        """Clients of each read and write, one request at a time."""
        for place, node in enumerate(nodes):
            self.clients += [node.host.world.spawn(
                self.read_and_write(node, place * self.WRITERS + number),
                'client') for number in range(self.WRITERS)]

    def end(self):
        self.is_over = True
        self.wait_for(lambda: all(task.done() for task in self.clients), 60,
                      'requests without an answer')
        for task in self.clients:
            task.result()

    async def read_and_write(self, node, number):
        volume = await node.sheep.volumes.open('big' if node is self.gateway
                                               else 'v')
        # Of all objects, so that everybody has some of them.
        units = itertools.cycle(range(
            number % self.WRITERS * OBJECT_UNITS,
            volume.size // workload.UNIT_BYTES,
            self.WRITERS * OBJECT_UNITS))
        clock = self.simulation.loop.time
        while not self.is_over:
            unit = next(units)
            began = clock()
            key = volume.vdi_id, unit
            value = self.history.new_value()
            begun = self.history.begin_write('writer', [key], value)
            await volume.write(unit * workload.UNIT_BYTES,
                               workload.fill(value, unit), fua=True)
            self.history.end_write(begun, volume, True)
            written = clock()
            begun = self.history.begin_read(node.name, [key])
            data = await volume.read(unit * workload.UNIT_BYTES,
                                     workload.UNIT_BYTES)
            self.history.end_read(begun, [workload.value_of(data, unit)])
            self.latencies += [(written, written - began),
                               (clock(), clock() - written)]
            await asyncio.sleep(0.02)
        await volume.close()

    def p99(self, seconds, least=100):
        """Of those that end in the next so many seconds."""
        self.latencies.clear()
        self.simulation.run_for(seconds)
        found = sorted(latency for _, latency in self.latencies)
        self.assertGreater(len(found), least, self.cluster.explain())
        return found[len(found) * 99 // 100]

    def slow_disk(self, node, seconds):
        faults = node.host.faults
        faults.slowness = seconds / faults.sync_seconds

    def slow_links(self, sick, seconds):
        for node in self.nodes:
            if node is not sick:
                self.simulation.fabric.slow(sick.host.name, node.host.name,
                                            seconds)

    def weights(self):
        return [member.vnodes for member
                in self.gateway.sheep.cluster.view.members]

    def is_evicted(self, node):
        state = self.gateway.sheep.cluster.state
        return node.sheep.store.node_id in state.evicted_nodes()

    def assert_back(self, sick):
        """It is let in again, with all that it must have."""
        self.wait_for(lambda: not self.is_evicted(sick), 200, 'it stays away')
        self.wait_for(lambda: 0 not in self.weights()
                      and self.cluster.is_well(), 60, 'not well')
        self.end()
        self.assert_in_order()


class SlowTest(SlowCase):
    """One slow disk or daemon blocks everything."""

    def test_one_slow_disk(self):
        sick = self.nodes[2]
        self.begin(self.gateway)
        quiet = self.p99(10)
        self.slow_disk(sick, self.DISK_SECONDS)
        self.assertGreater(self.p99(5, 1), self.DISK_SECONDS / 2, quiet)
        self.simulation.run_for(self.BACK_SECONDS - 5)
        self.assertTrue(self.is_evicted(sick), self.cluster.explain())
        self.assertLess(self.p99(20), self.P99_MAX_SECONDS, quiet)
        # It is still a member, but keeps nothing that counts; as long as
        # it is slow it does not come back.
        self.assertEqual(1, self.weights().count(0))
        self.simulation.run_for(40)
        self.assertTrue(self.is_evicted(sick))
        sick.host.faults.slowness = 1.0
        self.assert_back(sick)

    def test_one_slow_network(self):
        sick = self.nodes[3]
        self.begin(self.gateway, self.nodes[1])
        quiet = self.p99(10)
        self.slow_links(sick, 1.0)
        self.simulation.run_for(self.BACK_SECONDS)
        self.assertTrue(self.is_evicted(sick), self.cluster.explain())
        self.assertLess(self.p99(20), self.P99_MAX_SECONDS, quiet)
        self.slow_links(sick, 0.0)
        self.assert_back(sick)

    def test_all_are_slow(self):
        """…then none is evicted for it."""
        epoch = self.gateway.sheep.cluster.view.epoch
        self.begin(self.gateway)
        self.p99(10)
        for node in self.nodes:
            self.slow_disk(node, 0.7)
        self.simulation.run_for(30)
        for node in self.nodes:
            node.host.faults.slowness = 1.0
        for node in self.nodes:
            self.slow_links(node, 0.15)
        self.simulation.run_for(30)
        self.assertEqual({}, self.gateway.sheep.cluster.state.evicted)
        for node in self.nodes:
            self.slow_links(node, 0.0)
        self.end()
        self.wait_for(self.cluster.is_well, 60, 'not well')
        self.assertEqual(epoch, self.gateway.sheep.cluster.view.epoch)
        self.assert_in_order()

    def test_no_room_on_the_others(self):
        """What the slow one has would not fit there: it stays."""
        sick = self.nodes[2]
        self.begin(self.gateway)
        self.simulation.run_for(10)
        for node in self.nodes:
            image, store = node.host.image, node.sheep.store
            image.total_pages -= image.free_pages() - (
                store.reserve_bytes // image_module.PAGE)
        self.slow_disk(sick, self.DISK_SECONDS)
        self.simulation.run_for(self.BACK_SECONDS)
        self.assertIn(sick.sheep.cluster.incarnation,
                      self.gateway.sheep.health.slow)
        self.assertFalse(self.is_evicted(sick), self.cluster.explain())
        for node in self.nodes:
            node.host.image.total_pages += sick.host.image.total_pages
        self.wait_for(lambda: self.is_evicted(sick), 120, 'it is kept')
        sick.host.faults.slowness = 1.0
        self.assert_back(sick)

    def test_no_zone_to_spare(self):
        """With two of five gone, who is slow stays."""
        for lost in self.nodes[3:]:
            lost.host.kill()
            self.wait_for(lambda: lost.sheep is None or not lost.is_running,
                          10, 'it runs')
        self.wait_for(lambda: len(
            self.gateway.sheep.cluster.view.members) == 3 and
            self.gateway.sheep.cluster.state.has_recovered(), 60, 'not whole')
        self.begin(self.gateway)
        self.slow_disk(self.nodes[2], self.DISK_SECONDS)
        self.simulation.run_for(30)
        self.assertFalse(self.is_evicted(self.nodes[2]))
        self.assertIn(self.nodes[2].sheep.cluster.incarnation,
                      self.gateway.sheep.health.slow)
        self.nodes[2].host.faults.slowness = 1.0
        self.wait_for(lambda: not self.gateway.sheep.health.slow, 60,
                      'still called slow')
        for lost in self.nodes[3:]:
            lost.start()
        self.wait_for(self.cluster.is_well, 60, 'not well')
        self.end()
        self.assert_in_order()
