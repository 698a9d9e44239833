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

"""Generated stores of the original are taken over, whatever dies meanwhile.

``LEGACY_SEEDS`` sets how many are tried, ``LEGACY_SEED`` the first.
"""

import base64
import logging
import os
import random
import unittest

from sheepdog.legacy import adoption
from sheepdog.legacy import formats
from sheepdog.model import ids
from sheepdog.tests.unit.legacy import hosts as hosts_module
from sheepdog.tests.unit.legacy import original

SEEDS = int(os.environ.get('LEGACY_SEEDS', '5'))
FIRST_SEED = int(os.environ.get('LEGACY_SEED', '1'))


class AdoptionCase(unittest.TestCase):
    def setUp(self):
        super().setUp()
        # (Those who are killed complain that they cannot tidy up.)
        for name in 'adopting', 'starting':
            logger = logging.getLogger('sheepdog.store.' + name)
            self.addCleanup(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)

    def hosts(self, cluster, *arguments, **options):
        found = hosts_module.Hosts(cluster, *arguments, **options)
        self.addCleanup(found.close)
        return found

    def check(self, hosts, plan):
        """Every byte is there, on each node that had it; all know all."""
        cluster = hosts.cluster
        everything = {}
        holders = {}
        for node in cluster.nodes:
            for oid, content in hosts.objects(node).items():
                holders.setdefault(oid, []).append(node)
                self.assertEqual(content, everything.setdefault(oid, content))
        for vdi in cluster.vdis.values():
            content, head = hosts_module.volume(everything, vdi.vdi_id)
            self.assertEqual(cluster.content(vdi), content)
            self.assertEqual((vdi.name, vdi.tag, vdi.snap_id, vdi.parent),
                             (head.name, head.tag, head.snap_id,
                              head.parent_vdi_id))
        self.check_places(cluster, holders)
        states = [hosts.ledger(node) for node in cluster.nodes]
        self.assertEqual(plan.state().to_dict(), states[0][0].to_dict())
        for state, views in states:
            self.assertEqual(states[0][0].to_dict(), state.to_dict())
            self.assertEqual(cluster.epoch, views[-1].epoch)
        self.check_attributes(cluster, states[0][0])
        for vdi in cluster.vdis.values():
            entry = states[0][0].lookup(vdi.name, vdi.tag)
            self.assertEqual(
                (vdi.vdi_id, vdi.copies, vdi.shift, bool(vdi.snapped)),
                (entry.vdi_id, entry.copies, entry.block_size_shift,
                 entry.snapshot))

    def check_places(self, cluster, holders):
        named = {ids.data_oid(owner, index) for vdi in cluster.vdis.values()
                 for index, owner in vdi.owners.items()}
        named |= {ids.vdi_oid(vdi_id) for vdi_id in cluster.vdis}
        self.assertEqual(named, set(holders))
        for oid, nodes in holders.items():
            copies = cluster.vdis[ids.vdi_of(oid)].copies
            self.assertEqual(sorted(node.port for node in nodes),
                             sorted(node.port for node in
                                    cluster.targets(oid, copies)))

    def check_attributes(self, cluster, state):
        self.assertEqual(
            {(one[0], one[3].encode().hex()): base64.b64encode(
                one[4]).decode() for one in cluster.attributes},
            {(name, key): value for name, ours
             in state.attributes.to_dict().items()
             for key, value in ours.items()})


class GeneratedTest(AdoptionCase):
    def test_each(self):
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            with self.subTest(seed=seed):
                cluster = original.generated(seed)
                hosts = self.hosts(cluster, seed, (
                    '/new1', '/new2') if seed % 3 == 0 else ())
                plan = hosts.plan()
                for node in cluster.nodes:
                    before = hosts.old_files(node)
                    done = hosts.adopt(node, plan)
                    self.assertEqual(node.address, done.address)
                    self.assertEqual(done.count, done.moved)
                    self.assertEqual(before, hosts.old_files(node))
                self.check(hosts, plan)

    def test_whatever_dies(self):
        """At any moment, again and again; the old store stays the same."""
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            with self.subTest(seed=seed):
                cluster = original.generated(seed)
                hosts = self.hosts(cluster, seed, (
                    '/new1', '/new2') if seed % 3 == 0 else ())
                chance = random.Random('kills/%d' % seed)
                plan = hosts.plan()
                for node in cluster.nodes:
                    before = hosts.old_files(node)
                    self.adopt_with_kills(hosts, node, plan, chance)
                    self.assertEqual(before, hosts.old_files(node))
                self.check(hosts, plan)

    def adopt_with_kills(self, hosts, node, plan, chance):
        host = hosts.hosts[node]
        span = 0.02
        while True:
            if not host.is_running:
                host.start()
            work = hosts.adoption(host.world, node, plan)
            done = []

            async def run(work=work, done=done):
                done.append(await work.run())

            host.world.spawn(run(), 'adoption')
            hosts.simulation.run_for(chance.random() * span)
            self.assertEqual([], host.errors)
            if done:
                host.kill()
                return
            span *= 1.3
            if chance.random() < 0.5:
                host.kill()
            else:
                host.power_cut()
                host.power_on()


class RefusalTest(AdoptionCase):
    def setUp(self):
        super().setUp()
        self.cluster = original.generated(4)
        self.hosts_ = self.hosts(self.cluster)
        self.plan = self.hosts_.plan()
        self.node = self.cluster.nodes[0]

    def refused(self, *words, code=2, **changes):
        def start(world):
            work = self.hosts_.adoption(world, self.node,
                                        changes.get('plan', self.plan))
            work._settings = changes.get('settings', work._settings)
            return work.run()

        with self.assertRaises(formats.Refused) as caught:
            self.hosts_.run(self.node, start)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertEqual(code, caught.exception.exit_code)

    def change(self, path, data):
        async def write(world):
            world.disk.make_directory(path.rpartition('/')[0])
            await world.disk.replace_file(path, data)
        self.hosts_.run(self.node, write)

    def exists(self, path):
        try:
            self.hosts_.hosts[self.node].image.lookup(path)
            return True
        except FileNotFoundError:
            return False

    def test_a_directory_that_is_not_empty(self):
        self.change('/new/something', b'x')
        self.refused('/new is not empty')

    def test_a_store_that_has_changed_since(self):
        self.change('/old/obj/%016x' % (5 << 32), b'x')
        self.refused('none of the stores of this plan')
        self.assertFalse(self.exists('/new'))

    def test_within_the_old_store(self):
        for meta in '/old', '/old/new', '/':
            settings = self.hosts_.settings()
            self.refused('not apart', code=64, settings=type(settings)(
                **{**vars(settings), 'meta': meta.rstrip('/')}))

    def test_no_room(self):
        self.hosts_.hosts[self.node].image.fill(100)
        self.refused('there is room for', '/new', code=4)
        self.assertFalse(self.exists('/new'))

    def test_the_upgrade_of_another_plan(self):
        self.hosts_.adopt(self.node, self.plan)
        self.refused('by another plan', plan=self.plan._replace(
            notes=('another',)))

    def test_a_damaged_record(self):
        self.change('/new/upgrade', b'{')
        self.refused('record of an upgrade is damaged')

    def test_once_more_does_nothing(self):
        first = self.hosts_.adopt(self.node, self.plan)
        again = self.hosts_.adopt(self.node, self.plan)
        self.assertEqual((first.count, 0, True),
                         (again.count, again.moved, again.is_done))

    def test_what_would_be_done(self):
        outcome = self.hosts_.run(
            self.node, lambda world: self.hosts_.adoption(
                world, self.node, self.plan).look())
        self.assertFalse(outcome.is_done)
        self.assertFalse(self.exists('/new'))

    def test_a_sheep_goes_on(self):
        """What was begun says all that it takes to end it."""
        host = self.hosts_.hosts[self.node]
        host.start()
        host.world.spawn(self.hosts_.adoption(
            host.world, self.node, self.plan).run(), 'adoption')
        while not self.exists('/new/upgrade'):
            self.hosts_.simulation.run_for(0.001)
        host.kill()

        async def go_on(world):
            work = await adoption.Adoption.unfinished(
                world, self.hosts_.settings())
            return work and await work.run()

        self.assertTrue(self.hosts_.run(self.node, go_on).is_done)
        self.assertIsNone(self.hosts_.run(self.node, go_on))


class PiecesTest(unittest.TestCase):
    def test_blocks_that_are_zero_are_left_out(self):
        self.assertEqual([], adoption.pieces_of(bytes(8192)))
        self.assertEqual([], adoption.pieces_of(b''))
        data = bytes(4096) + b'a' + bytes(4095) + bytes(5000) + b'b'
        self.assertEqual(
            [(4096, b'a' + bytes(4095)),
             (12288, bytes(904) + b'b' + bytes(3191))],
            adoption.pieces_of(data))

    def test_long_ones_come_in_chunks(self):
        data = b'x' * (5 << 19)
        found = adoption.pieces_of(data)
        self.assertEqual([1 << 20, 1 << 20, 1 << 19],
                         [len(part) for _, part in found])
        self.assertEqual(data, b''.join(part for _, part in found))
