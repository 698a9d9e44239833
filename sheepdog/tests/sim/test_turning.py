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


"""VDIs are turned into another form while something is missing."""

import itertools
import logging
from unittest import mock

from sheepdog.cmd import wiring
from sheepdog.model import ids
from sheepdog.placement import ring as ring_module
from sheepdog.testing import cluster as cluster_module
from sheepdog.tests.sim import test_pains
from sheepdog.volume import turner

OBJECT = 1 << 20
LOG = 'sheepdog.volume.turner'


class TurningCase(test_pains.PainCase):
    """Five sheep, and volumes ``v`` and ``w`` of two copies each, of
    ``OBJECTS`` objects."""

    count = 6
    OBJECTS = 24
    wanted = (3, 0x11)

    def make_cluster(self):
        return cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                wiring.build_sheep, nodes=self.count, copies=2))

    def setUp(self):
        super().setUp()
        self.node = self.nodes[0]
        self.node.run(self.node.sheep.catalogue.delete('v'))
        self.vdi_ids = {name: self.make(name) for name in ('v', 'w')}

    def make(self, name):
        made = self.node.run(self.node.sheep.catalogue.create(
            name, self.OBJECTS * OBJECT))
        self.node.run(self.write_all(name))
        return made['vdi_id']

    async def write_all(self, name):
        volume = await self.node.sheep.volumes.open(name)
        for index in range(self.OBJECTS):
            await volume.write(index * OBJECT, self.content(name, index),
                               fua=True)
        await volume.close()

    def content(self, name, index):
        return b'%s %d' % (name.encode(), index) * 1000

    def check(self, name, but=()):
        async def look(node):
            volume = await node.sheep.volumes.open(name, read_only=True)
            for index in range(self.OBJECTS):
                if index not in but:
                    content = self.content(name, index)
                    self.assertEqual(content, await volume.read(
                        index * OBJECT, len(content)))
            await volume.close()

        for node in self.cluster.serving():
            node.run(look(node))

    def alter(self, name):
        self.node.run(self.node.sheep.catalogue.alter_copies(
            name, self.wanted[0], copy_policy=self.wanted[1]))

    def listed(self, name):
        found, = self.node.run(self.node.sheep.catalogue.list(name))
        return found

    def holders(self, oid):
        view = self.node.sheep.cluster.view
        return {view.members[place].host for place
                in ring_module.Ring(view).targets(oid, 2)}

    def indexes(self, nodes, form):
        """Of ``v``: those of which some of them have objects."""
        owner = ids.owner_of(self.vdi_ids['v'], form)
        return {ids.index_of(key) for node in nodes
                for key in (node.sheep.store.oids() if node.is_serving else [
                    int(name.rsplit('/')[-1][:16], 16)
                    for name, _ in node.host.image.files()
                    if '/obj/' in name])
                if ids.is_data(ids.object_of(key))
                and ids.owner_in(ids.object_of(key)) == owner}

    def former(self, nodes):
        return self.indexes(nodes, 0)

    def is_turned(self, name):
        return not self.node.sheep.cluster.state.vdis[
            self.vdi_ids[name]].former


class OutOfReachTest(TurningCase):
    """Both sheep with copies of some objects are away."""

    def setUp(self):
        super().setUp()
        self.lost, self.bad = max((
            (pair, self.only_on(pair)) for pair
            in itertools.combinations(self.nodes[1:], 2)),
            key=lambda found: len(found[1]))
        self.assertTrue(0 < len(self.bad) < self.OBJECTS)
        for node in self.lost:
            node.host.kill()
        self.wait_for(lambda: len(
            self.node.sheep.cluster.view.members) == self.count - 2, 30,
            'not missed')

    def only_on(self, pair):
        """Indexes of ``v``, where nothing else is there alone."""
        hosts = {node.address for node in pair}
        v, w = (self.vdi_ids[name] for name in ('v', 'w'))
        if any(self.holders(oid) == hosts for oid in (
                ids.vdi_oid(v), ids.vdi_oid(w),
                *(ids.data_oid(w, index) for index in range(self.OBJECTS)))):
            return []
        return [index for index in range(self.OBJECTS)
                if self.holders(ids.data_oid(v, index)) == hosts]

    def come_back(self):
        for node in self.lost:
            node.start()

    def test_the_others_are_turned(self):
        with self.assertLogs(LOG, logging.WARNING) as logs:
            for name in ('v', 'w'):
                self.alter(name)
            self.wait_for(lambda: self.is_turned('w') and self.listed('v')[
                'objects_left'] == len(self.bad), 120, 'the others wait')
            self.simulation.run_for(200)
        self.assertEqual(len(self.bad), self.listed('v')['objects_left'])
        self.assertFalse(self.is_turned('v'))
        self.check('v', self.bad)
        self.check('w')
        # Each is told of once.
        oids = [ids.hex_oid(ids.data_oid(self.vdi_ids['v'], index))
                for index in self.bad]
        for oid in oids[:3]:
            line, = [line for line in logs.output if oid in line]
            self.assertIn('VDI v is not wholly turned', line)
            self.assertIn('out of reach', line)
            self.assertIn('status --why', line)
        self.come_back()
        self.wait_for(lambda: self.is_turned('v'), 120, 'not turned')
        self.check('v')
        self.assert_in_order()

    def test_what_is_turned_goes(self):
        """…though some are not; also from who comes back."""
        self.alter('v')
        self.wait_for(lambda: self.listed('v')['objects_left'] == len(
            self.bad), 120, 'the others wait')
        self.wait_for(lambda: self.former(self.cluster.serving()) <= set(
            self.bad), 30, 'the former ones are there')
        self.check('v', self.bad)
        self.assertTrue(self.former(self.lost) - set(self.bad))
        # What can be read is copied from them.
        self.come_back()
        self.wait_for(lambda: self.is_turned('v'), 120, 'not turned')
        self.wait_for(lambda: not self.former(self.nodes), 60,
                      'the former ones are there')
        self.check('v')
        self.assert_in_order()


class RoomTest(TurningCase):
    """Only some objects take room in both forms at a time."""

    def most_twice(self):
        """…while ``v`` is turned."""
        most = 0

        def is_over():
            nonlocal most
            most = max(most, len(self.former(self.nodes)
                                 & self.indexes(self.nodes, 1)))
            return self.is_turned('v')

        self.alter('v')
        self.wait_for(is_over, 200, 'not turned')
        return most

    def test_it_goes_step_by_step(self):
        with mock.patch.object(turner, 'STEPS_MIN', 16):
            step = turner.step_of(self.OBJECTS, 20)
            self.assertLess(3 * step, self.OBJECTS)
            self.assertLessEqual(self.most_twice(), 3 * step)
        self.check('v')
        self.assert_in_order()
