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

"""Coded VDIs on whole clusters in one process."""

import asyncio
import gc
import random
import types
import unittest
from unittest import mock

from sheepdog.cmd import wiring
from sheepdog.erasure import codec
from sheepdog.gateway import coded
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.placement import redundancy
from sheepdog.recovery import told
from sheepdog.store import store as store_module
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import world as world_module
from sheepdog.wire import peer as wire
from sheepdog.wire import strips as strips_wire

SIZE = 3 << 20
OBJECT_BYTES = 1 << 20


class CodedCase(unittest.TestCase):
    """``nodes`` sheep, and a volume ``v`` of ``policy``."""

    nodes = 6
    policy = '4:2'
    journal_bytes = 4 << 20
    has_journal = True
    avoids_full = False
    is_strict = False
    disks = (0,)
    seconds = 0
    """So long who is away is waited for."""

    def setUp(self):
        self.simulation = world_module.Simulation(self.id())
        self.addCleanup(self.simulation.close)
        self.cluster = cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                wiring.build_sheep, nodes=self.nodes, copies=3,
                journal_bytes=self.journal_bytes,
                has_journal=self.has_journal,
                avoids_full=self.avoids_full,
                is_strict=self.is_strict, disks=self.disks,
                grace_seconds=self.seconds))
        self.cluster.format()
        self.node = self.cluster.nodes['n0']
        self.content = bytearray(SIZE)
        self.chance = random.Random(self.id())

    def create(self, policy=None, node=None):
        policy = redundancy.parse(policy or self.policy)
        node = node or self.node
        node.run(node.sheep.catalogue.create('v', SIZE, *policy))

    def open(self, node=None, **how):
        node = node or self.node
        return node.run(node.sheep.volumes.open('v', **how))

    def make_full(self):
        """…and open it."""
        self.create()
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(SIZE))
        return volume

    def write(self, volume, offset, data, fua=False, node=None):
        (node or self.node).run(volume.write(offset, data, fua))
        self.content[offset:offset + len(data)] = data

    def zero(self, volume, offset, size):
        self.node.run(volume.zero(offset, size))
        self.content[offset:offset + size] = bytes(size)

    def check(self, volume, node=None):
        data = (node or self.node).run(volume.read(0, SIZE))
        self.assertEqual(self.content, data)

    def strips(self, oid):
        """Index → (node, bytes, history) of all strips that there are."""
        found = {}
        for node in self.cluster.serving():
            for key in node.sheep.store.oids():
                if ids.object_of(key) == oid and ids.strip_of(key) >= 0:
                    self.assertNotIn(ids.strip_of(key), found)
                    size = node.run(node.sheep.store.describe(key)).capacity
                    found[ids.strip_of(key)] = (
                        node, node.run(read_of(node.sheep.store, key, size)),
                        node.run(node.sheep.store.history(key)))
        return found

    def check_strips(self, index, policy=None):
        """They are what the content encodes to, at one generation."""
        data, parity = redundancy.strips_of(redundancy.parse(
            policy or self.policy).copy_policy)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        found = self.strips(ids.data_oid(vdi_id, index))
        content = bytes(self.content[index * OBJECT_BYTES:
                                     (index + 1) * OBJECT_BYTES])
        wanted = codec.codec_of(data, parity).encode(content)
        self.assertEqual(data + parity, len(found))
        for number, (node, strip, _) in found.items():
            self.assertEqual(wanted[number], strip, (number, node.name))
        self.assertEqual(1, len({h.generation for _, _, h in
                                 found.values()}))
        return found

    def kill(self, *names, power=False):
        for name in names:
            host = self.cluster.nodes[name].host
            if power:
                host.power_cut()
            else:
                host.kill()

    def lose(self, *names):
        """For good."""
        self.kill(*names)
        for name in names:
            self.cluster.take_out(self.cluster.nodes[name])

    def start(self, *names):
        for name in names:
            node = self.cluster.nodes[name]
            if not node.host.is_on:
                node.host.power_on()
            node.start()

    def wait_well(self):
        self.assertTrue(self.cluster.wait_well(120), self.cluster.explain())

    def wait_for_view(self, members):
        self.assertTrue(self.simulation.run_until(
            lambda: len(self.node.sheep.cluster.view.members) == members,
            60))


async def read_of(store, key, size):
    import asyncio
    future = asyncio.get_running_loop().create_future()
    store.read(key, 0, size, lambda *answer: future.set_result(answer))
    error, data = await future
    if error is not None:
        raise error
    return data


class HealthyTest(CodedCase):

    def test_any_alignment(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, b'a' * 4096)
        self.check(volume)
        for _ in range(60):
            size = self.chance.choice((1, 511, 512, 4096, 5000, 20000,
                                       300000))
            offset = self.chance.randrange(SIZE - size)
            if self.chance.random() < 0.2:
                self.zero(volume, offset, size)
            else:
                self.write(volume, offset, self.chance.randbytes(size),
                           self.chance.random() < 0.5)
        self.check(volume)
        self.node.run(volume.flush())
        for index in range(3):
            self.check_strips(index)
        self.node.run(volume.close())

    def test_what_is_complete_is_forgotten(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, b'a' * 8192)
        self.simulation.run_for(1.0)
        for node, _, history in self.check_strips(0).values():
            self.assertEqual({}, history.open)

    def test_what_was_written_does_not_wait_for_the_collector(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, b'a' * 8192)
        gc.collect()
        self.addCleanup(gc.enable)
        gc.disable()
        for _ in range(3):
            self.write(volume, 0, b'b' * 300000)
        self.assertEqual([], [one for one in gc.get_objects()
                              if isinstance(one, coded.Update)])
        gc.enable()

    def test_another_sheep_goes_on(self):
        self.create()
        volume = self.open()
        self.write(volume, 5000, b'a' * 9000)
        self.node.run(volume.close())
        other = self.cluster.nodes['n3']
        volume = self.open(other)
        self.check(volume, other)
        self.write(volume, 7000, b'b' * 9000, node=other)
        self.check(volume, other)
        self.check_strips(0)

    def test_readers_elsewhere(self):
        self.create()
        volume = self.open()
        self.write(volume, 5000, b'a' * 9000)
        other = self.cluster.nodes['n5']
        self.check(self.open(other, read_only=True), other)

    def test_many_at_once(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, bytes(OBJECT_BYTES))

        async def run():
            import asyncio
            pieces = [(n * 4096, bytes([n % 255 + 1]) * 4096)
                      for n in range(128)]
            await asyncio.gather(*(volume.write(offset, data)
                                   for offset, data in pieces))
            return pieces

        for offset, data in self.node.run(run()):
            self.content[offset:offset + 4096] = data
        self.check(volume)
        self.check_strips(0)

    def test_what_is_not_zero(self):
        self.create()
        volume = self.open()
        self.write(volume, 70000, b'a' * 5000)
        covering = self.node.run(volume.extents(0, SIZE))
        self.assertEqual(SIZE, sum(length for length, _ in covering))
        self.assertLessEqual(sum(length for length, data in covering
                                 if data), 32768)

    def test_too_few_zones(self):
        with self.assertRaises(errors.InvalidParameters) as caught:
            self.create('8:2')
        self.assertEqual(
            '8:2 needs storage in at least 8 zones, there are 6',
            str(caught.exception))

    def test_all_policies_that_fit(self):
        for policy in ('2:1', '2:4', '4:1'):
            self.create(policy)
            volume = self.open()
            self.content = bytearray(SIZE)
            self.write(volume, 1000, self.chance.randbytes(50000))
            self.check(volume)
            self.check_strips(0, policy)
            self.node.run(volume.close())
            self.node.run(self.node.sheep.catalogue.delete('v'))


class RaggedWritesTest(CodedCase):
    policy = '2:1'
    nodes = 3

    def test_as_much_as_goes_at_once_wherever_it_begins(self):
        """…though it is whole stripes in the end."""
        self.create()
        volume = self.open()
        longest = 512 << 10
        for number, (offset, size) in enumerate((
                (4096, longest), (512, longest), (9, longest - 4096),
                (1, longest - 1), (4095, longest - 4094))):
            self.write(volume, offset, bytes([number + 1]) * size)
        self.check(volume)


class LongWritesTest(CodedCase):
    """Each update of a strip costs all that is on its way."""

    def test_a_mebibyte_is_one_update_of_each_strip(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(SIZE))
        self.node.run(volume.flush())
        before = self.updates()
        self.write(volume, OBJECT_BYTES, self.chance.randbytes(OBJECT_BYTES))
        self.assertEqual(6, self.updates() - before)
        self.write(volume, OBJECT_BYTES // 2,
                   self.chance.randbytes(OBJECT_BYTES))
        self.check(volume)
        for index in range(SIZE // OBJECT_BYTES):
            self.check_strips(index)

    def updates(self):
        return sum(node.sheep.replica.counters['write']
                   for node in self.cluster.serving())


class SmallJournalTest(CodedCase):
    """Nothing waits for room that there cannot be."""

    policy = '2:1'
    nodes = 3
    journal_bytes = 2 << 20

    def test_whole_objects_at_once(self):
        self.create()
        volume = self.open()
        for size in (SIZE, 2 * OBJECT_BYTES + 5000):
            for _ in range(2):
                self.write(volume, 1000 if size < SIZE else 0,
                           self.chance.randbytes(size))
        self.check(volume)
        self.zero(volume, 3000, 2 * OBJECT_BYTES)
        self.check(volume)
        covering = self.node.run(volume.extents(0, SIZE))
        self.assertLessEqual(sum(length for length, data in covering
                                 if data), OBJECT_BYTES + 8192)
        self.node.run(volume.flush())
        for index in range(3):
            self.check_strips(index)


class DamagedJournalTest(CodedCase):
    """What it has lost was acknowledged, and is not rolled back elsewhere.
    """

    policy = '2:2'
    nodes = 4

    def test_all_lose_power(self):
        self.create()
        volume = self.open()
        for number in range(40):
            self.write(volume, number % 3 * OBJECT_BYTES,
                       self.chance.randbytes(8192), fua=True)
        self.damage_journals('n2')
        self.kill(*self.cluster.nodes, power=True)
        self.start(*self.cluster.nodes)
        self.wait_well()
        self.check(self.open())
        for index in range(3):
            self.check_strips(index)
        sheep = self.cluster.nodes['n2'].sheep
        self.assertFalse(sheep.store.journal_damaged)
        # Nor is any of it kept in mind.
        self.assertFalse(sheep.recovery.settlement._sound)

    def test_what_was_synced_last_rots(self):
        """No record behind it tells that it ever was durable."""
        for name in sorted(self.cluster.nodes):
            with self.subTest(rotten=name):
                self.setUp()
                self.create()
                volume = self.open()
                for number in range(3):
                    self.write(volume, number % 2 * 8192,
                               self.chance.randbytes(12288), fua=True)
                self.damage_end(name)
                self.kill(*self.cluster.nodes, power=True)
                self.start(*self.cluster.nodes)
                self.wait_well()
                self.check(self.open())
                self.check_alike()
                sheep = self.cluster.nodes[name].sheep
                self.assertFalse(sheep.store.journal_torn)
                self.assertFalse(sheep.recovery.settlement._sound)

    def check_alike(self):
        self.check_strips(0)

    def damage_end(self, name):
        """Of its journal."""
        image = self.cluster.nodes[name].host.image
        (last, inode), = [
            (max(used), inode) for used, inode in (
                ([number for number in inode.pages if number and any(
                    bytes(inode.pages[number]))], inode)
                for path, inode in image.files() if '/journal/' in path)
            if used]
        inode.rot(last, 77)

    def test_what_was_made_anew_is_lost_again(self):
        """It is not told as one that never was."""
        oid = ids.data_oid(1, 0)
        settled = self.node.sheep.recovery.settlement
        settled._sound.add(oid)
        with mock.patch.object(type(settled.store), 'journal_damaged',
                               True):
            self.assertFalse(settled.is_damaged(oid))
            self.node.host.process.run(
                lambda: self.node.sheep.recovery.lose([
                    ids.strip_key(oid, 2)]))
            self.assertTrue(settled.is_damaged(oid))

    def damage_journals(self, name):
        damage_journals(self, name)


def damage_journals(case, name):
    """Each at the first page of a record."""
    image = case.cluster.nodes[name].host.image
    damaged = 0
    for path, inode in image.files():
        if '/journal/' in path:
            used = [number for number in sorted(inode.pages) if any(
                bytes(inode.pages[number]))]
            if len(used) > 8:
                inode.rot(used[len(used) // 2], 77)
                damaged += 1
    case.assertTrue(damaged)


class NoJournalTest(CodedCase):
    nodes = 6
    has_journal = False

    def test_one_is_started_anew(self):
        self.create()
        volume = self.open()
        for start in range(0, SIZE, 1 << 19):
            self.write(volume, start, self.chance.randbytes(65536))
        self.kill('n3')
        self.wait_for_view(5)
        self.start('n3')
        self.wait_for_view(6)
        self.wait_well()
        self.check(volume)
        for index in range(3):
            self.check_strips(index)


class FewZonesTest(CodedCase):
    """Fewer zones than strips: as many strips as there are."""

    nodes = 5

    def test_written_and_read_without_one_strip(self):
        self.create()
        volume = self.open()
        for _ in range(20):
            size = self.chance.choice((512, 4096, 9000, 100000))
            self.write(volume, self.chance.randrange(SIZE - size),
                       self.chance.randbytes(size))
        self.check(volume)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        self.assertEqual(5, len(self.strips(ids.data_oid(vdi_id, 0))))


class RecoveryTest(CodedCase):
    """Sheep go and come; the volume is open on one that stays."""

    nodes = 8

    def fill(self, volume, count=30):
        for _ in range(count):
            size = self.chance.choice((512, 4096, 9000, 100000))
            self.write(volume, self.chance.randrange(SIZE - size),
                       self.chance.randbytes(size))

    def test_any_two_are_lost_for_good(self):
        self.create()
        volume = self.open()
        self.fill(volume)
        self.lose('n3', 'n6')
        self.fill(volume)
        self.check(volume)
        self.wait_well()
        self.lose('n1', 'n2')
        self.check(volume)
        self.fill(volume)
        self.wait_well()
        self.check(volume)

    def test_strips_are_recovered(self):
        self.create()
        volume = self.open()
        self.fill(volume)
        self.lose('n3', 'n6')
        self.wait_well()
        for index in range(3):
            self.check_strips(index)

    def test_a_vdi_is_deleted_while_a_strip_is_built(self):
        self.build_late(lambda: self.node.run(
            self.node.sheep.catalogue.delete('v')))

    def test_a_format_while_a_strip_is_built(self):
        self.build_late(lambda: self.node.run(
            self.node.sheep.cluster.execute('format', dict(
                self.cluster.format_settings, force=True))))

    def build_late(self, meanwhile):
        self.create()
        volume = self.open()
        self.fill(volume)
        self.node.run(volume.close())
        adopt = store_module.Store.adopt

        async def adopt_late(store, key, *more, **named):
            if ids.strip_of(key) >= 0:
                built.append(key)
                await asyncio.sleep(10)
            await adopt(store, key, *more, **named)

        built = []
        with mock.patch.object(store_module.Store, 'adopt', adopt_late):
            self.kill('n3')
            self.assertTrue(self.simulation.run_until(lambda: built, 60))
            meanwhile()
            self.simulation.run_until(lambda: False, 30)
        self.assertEqual([], [
            hex(key) for node in self.cluster.serving()
            for key in node.sheep.store.oids() if ids.strip_of(key) >= 0])

    def test_away_for_a_while(self):
        self.create()
        volume = self.open()
        self.fill(volume)
        self.kill('n3', 'n6')
        self.fill(volume)
        self.wait_for_view(6)
        self.start('n3', 'n6')
        self.wait_well()
        self.check(volume)
        self.fill(volume)
        self.check(volume)
        for index in range(3):
            self.check_strips(index)

    def test_power_cut_of_all(self):
        self.create()
        volume = self.open()
        self.fill(volume)
        self.kill(*self.cluster.nodes, power=True)
        self.start(*self.cluster.nodes)
        self.wait_well()
        volume = self.open()
        self.check(volume)
        self.fill(volume)
        self.check(volume)
        for index in range(3):
            self.check_strips(index)

    def generation(self, index):
        found = self.check_strips(index)
        return found[0][2].generation

    def test_who_settles_goes_on_counting_after_a_restart(self):
        """A cold start has the epoch of before."""
        self.create()
        self.fill(self.open())
        generations = []
        for _ in range(4):
            self.kill(*self.cluster.nodes, power=True)
            self.start(*self.cluster.nodes)
            self.wait_well()
            generations.append(self.generation(0))
        self.assertEqual(sorted(set(generations)), generations)
        self.assertLess(len({epoch for epoch, _, _ in generations}), 4)

    def test_a_gateway_settles_at_once(self):
        """…what it is the first target of, though a walk is under way that
        will not come to it for long. Else each attempt would be made before
        its own strip is settled, which then is ahead of the others."""
        self.create()
        oid = ids.data_oid(self.node.sheep.catalogue.find('v').vdi_id, 0)
        order = self.node.sheep.order
        first = self.node.sheep.cluster.view.members[order.targets(oid)[0]]
        node = next(node for node in self.cluster.serving()
                    if node.sheep.cluster.incarnation == first.incarnation)
        volume = self.open(node)
        self.write(volume, 0, b'a' * 8192, True, node)
        recovery = node.sheep.recovery
        recovery._pass = mock.Mock(done=lambda: False)
        # The first answers are of two generations.
        strips = node.sheep.gateway.coded
        is_complete = strips.is_complete
        found = [False]
        strips.is_complete = lambda change: (
            found.pop() if found else is_complete(change))
        clock = self.simulation.loop.time
        began = clock()
        self.write(volume, 0, b'b' * 8192, True, node)
        self.assertLess(clock() - began, 0.5)
        self.assertFalse(recovery.needs(oid))
        recovery._pass = None
        self.check(volume, node)
        self.check_strips(0)

    def test_orders_that_come_late_are_refused(self):
        self.create()
        volume = self.open()
        self.fill(volume)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        oid = ids.data_oid(vdi_id, 0)
        index, (node, _, _) = sorted(self.strips(oid).items())[0]
        settlement = node.sheep.recovery.settlement
        first = node.run(settlement._tell(oid))
        node.run(settlement._tell(oid))
        for opcode in (wire.STRIP_ALIGN, wire.STRIP_BUILD,
                       wire.STRIP_SETTLE):
            with self.assertRaises(errors.NotRecovered) as caught:
                node.run(settlement._obey(opcode, oid, told.Order(
                    index, (99, 1, False), first.halt, [])))
            self.assertIn('another settlement', str(caught.exception))
        self.check(volume)
        self.wait_well()
        self.check_strips(0)

    def test_settled_while_its_first_write_is_under_way(self):
        """Who is about to make its strip says so: else it would be made
        behind the word that there is no object, and be acknowledged."""
        self.create()
        volume = self.open()
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        oid = ids.data_oid(vdi_id, 0)
        sheep = self.node.sheep
        nodes = {node.sheep.cluster.incarnation: node
                 for node in self.cluster.serving()}
        targets = [nodes[sheep.cluster.view.members[place].incarnation]
                   for place in sheep.order.targets(oid)]
        for node in targets[3:]:
            node.host.faults.slowness = 200.0
        done = []

        async def write():
            await volume.write(0, b'a' * 8192)
            done.append(True)

        self.node.sheep.world.spawn(write(), 'write')
        self.assertTrue(self.simulation.run_until(
            lambda: sum(ids.object_of(key) == oid for node in targets
                        for key in node.sheep.store.oids()) == 3, 10))
        targets[0].sheep.recovery.doubt(oid)
        self.assertTrue(self.simulation.run_until(lambda: done, 60))
        self.content[:8192] = b'a' * 8192
        self.check_strips(0)
        self.check(volume)

    def test_tokens_of_a_view_that_is_over(self):
        """…would name the writes of others."""
        self.create()
        self.write(self.open(), 0, b'a' * 8192)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        oid = ids.data_oid(vdi_id, 0)
        node, _, _ = self.check_strips(0)[0]
        settlement = node.sheep.recovery.settlement
        marks = node.sheep.replica.marks
        for changes in (False, True):
            state = node.run(settlement._tell(oid))
            align = settlement.store.align

            async def align_and_change(*arguments):
                await align(*arguments)
                if changes:
                    cluster = node.sheep.cluster
                    settlement.cluster = types.SimpleNamespace(
                        view=object(), incarnation=cluster.incarnation)

            with mock.patch.object(settlement.store, 'align',
                                   align_and_change):
                node.run(settlement._obey(
                    wire.STRIP_ALIGN, oid, told.Order(
                        0, (99, 1, False), state.halt, [1 << 48 | 5])))
            settlement.cluster = node.sheep.cluster
            self.assertEqual(not changes, marks.has(oid, 1 << 48 | 5))

    def test_nothing_is_closed_that_is_to_be_settled(self):
        """An update that was given up is under way no more, and whoever
        orders next says of its own that all are complete."""
        self.create()
        volume = self.open()
        for node in self.cluster.nodes.values():
            node.sheep.gateway.coded.declare = lambda *_: None
        self.write(volume, 0, b'a' * 8192)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        node, _, history = self.check_strips(0)[0]
        strips = node.sheep.gateway.coded.strips
        number, = history.open
        ours = self.node.sheep.cluster.incarnation
        oid = ids.data_oid(vdi_id, 0)
        other = number + (1 << strips_wire.COUNT_BITS)
        strips.close_below(vdi_id, other, ours, {})
        strips.close_below(vdi_id, number + 1, 'somebody else', {})
        strips.close_below(vdi_id, number + 1, ours, {oid: number})
        standing = node.sheep.recovery.standing
        standing.doubt(oid)
        strips.close_below(vdi_id, number + 1, ours, {})
        self.assertEqual([number], list(history.open))
        standing.trust(oid, standing.doubt_number(oid))
        strips.close_below(vdi_id, number + 1, ours, {})
        self.assertEqual([], list(history.open))

    def test_what_some_strips_refuse_is_taken_back(self):
        self.create()
        volume = self.open()
        self.fill(volume)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        for number, (node, _, _) in self.strips(
                ids.data_oid(vdi_id, 0)).items():
            shelf, = node.sheep.store._rack.shelves
            strips = shelf.store._strips
            fault = strips._fault
            strips._fault = lambda obj, op: errors.NoSpace('none')
            with self.assertRaises(errors.NoSpace):
                self.node.run(volume.write(4096 * number, b'x' * 12288))
            strips._fault = fault
            # Whatever is said to be complete meanwhile.
            self.simulation.run_for(0.3 * (number % 3))
            self.check(volume)
            self.fill(volume, 3)
        self.wait_well()
        self.check(volume)
        for index in range(3):
            self.check_strips(index)

    def test_what_is_open_when_the_lock_is_taken_by_force(self):
        """…is settled before anybody goes on."""
        self.create()
        volume = self.open()
        self.fill(volume)
        for node in self.cluster.nodes.values():
            # Nothing is closed, and nobody remembers what it took.
            node.sheep.gateway.coded.declare = lambda *_: None
        self.write(volume, 4096, self.chance.randbytes(8192))
        before = self.generation(0)
        for node in self.cluster.nodes.values():
            node.sheep.replica.marks.clear()
        other = self.cluster.nodes['n4']
        other.run(other.sheep.cluster.execute('unlock', {
            'vdi_id': other.sheep.catalogue.find('v').vdi_id,
            'force': True}))
        volume = self.open(other)
        self.check(volume, other)
        self.wait_well()
        self.assertLess(before, self.generation(0))

    def test_a_lock_changes_while_some_strips_have_a_write(self):
        """Who orders stays who orders: it is the same update when it is sent
        again, not another one that some strips lack."""
        self.create()
        volume = self.open(shared=True)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        oid = ids.data_oid(vdi_id, 0)
        for node in self.cluster.serving():
            # (An older update that is still under way would see to that.)
            node.sheep.store.close_updates = lambda *_: None
        self.write(volume, 0, b'a' * 8192)
        some = self.strips(oid)[3][0].sheep.gateway.coded.strips
        update = some.update
        some.update = lambda *request: request[-1](
            errors.NotServing('not now'))
        done = []

        async def write():
            await volume.write(0, b'b' * 8192)
            done.append(True)

        self.node.sheep.world.spawn(write(), 'write')
        self.simulation.run_for(0.5)
        self.assertFalse(done)
        other = self.cluster.nodes['n4']
        another = self.open(other, shared=True)
        some.update = update
        self.assertTrue(self.simulation.run_until(lambda: done, 30))
        self.content[:8192] = b'b' * 8192
        self.write(volume, 0, b'c' * 8192)
        for node in self.cluster.serving():
            node.sheep.recovery.doubt(oid)
        self.wait_well()
        self.check(volume)
        self.check(another, other)
        self.check_strips(0)

    def test_a_gateway_dies_while_it_writes(self):
        self.create()
        volume = self.open()
        self.fill(volume)
        for round in range(4):
            offset = 4096 * self.chance.randrange(SIZE // 4096 - 8)
            size = 8192
            data = self.chance.randbytes(size)
            answers = []

            async def write(volume=volume, offset=offset, data=data):
                await volume.write(offset, data)
                answers.append(True)

            self.node.host.process.run(
                lambda: self.node.host.world.spawn(write()))
            self.simulation.run_for(self.chance.uniform(0, 0.006))
            was_done = bool(answers)
            self.kill('n0')
            self.wait_for_other()
            self.start('n0')
            self.wait_well()
            volume = self.open()
            found = self.node.run(volume.read(offset, size))
            old = bytes(self.content[offset:offset + size])
            for start in range(0, size, 4096):
                block = found[start:start + 4096]
                self.assertIn(block, (data[start:start + 4096],) if was_done
                              else (data[start:start + 4096],
                                    old[start:start + 4096]))
            self.content[offset:offset + size] = found
            self.check(volume)
            for index in range(3):
                self.check_strips(index)

    def wait_for_other(self):
        other = self.cluster.nodes['n1']
        self.assertTrue(self.simulation.run_until(
            lambda: other.sheep.cluster.view is not None and
            len(other.sheep.cluster.view.members) == 7, 60))


class FailingDiskTest(CodedCase):
    """Each sheep has two disks; one is in no object's list of targets."""

    nodes = 7
    disks = (2,)

    def test_a_strip_is_to_come_to_a_disk_that_fails(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(SIZE))
        self.node.run(volume.close())
        oid, spare = self.spare()
        self.lose(next(name for name in self.cluster.nodes
                       if name not in ('n0', spare.name)))
        self.wait_for_view(6)
        store = spare.sheep.store
        shelf = store._rack.wanted(oid)
        path = shelf.entry.path
        spare.pull(path)
        shelf.store._device_failed(errors.StorageError('EIO'))
        # The others have to settle the object without that.
        self.assertTrue(self.simulation.run_until(
            lambda: path not in store.paths(), 60), self.cluster.explain())
        self.wait_well()
        self.check(self.open())
        for index in range(3):
            self.check_strips(index)

    def spare(self):
        """(Object, node): that node has no strip of it, and is not n0."""
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        for index in range(3):
            oid = ids.data_oid(vdi_id, index)
            holders = {node for node, *_ in self.strips(oid).values()}
            node, = set(self.cluster.nodes.values()) - holders
            if node is not self.node:
                return oid, node
        self.fail('n0 is the spare one of all objects')


class TooFewZonesTest(CodedCase):

    nodes = 2

    def test_nothing_new_is_written_to_too_few(self):
        self.create('2:1')
        oid = ids.data_oid(self.node.sheep.catalogue.find('v').vdi_id, 7)
        self.kill('n1')
        self.wait_for_view(1)
        done = []

        async def write():
            await self.node.sheep.gateway.write_wait(
                oid, 0, b'a' * 4096, create=True)
            done.append(True)

        self.node.sheep.world.spawn(write(), 'write')
        self.simulation.run_for(10)
        self.assertFalse(done)
        self.start('n1')
        self.assertTrue(self.simulation.run_until(lambda: done, 60))
        self.assertEqual(2, len(self.strips(oid)))
