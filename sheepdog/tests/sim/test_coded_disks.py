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

"""Disks are pulled under coded VDIs, of sheep that have several."""

import unittest

from sheepdog.model import ids
from sheepdog.store import history as store_history
from sheepdog.tests.sim import test_coded


class PulledTest(test_coded.CodedCase):

    disks = (2,)

    def setUp(self):
        super().setUp()
        self.volume = self.make_full()
        self.vdi_id = self.node.sheep.catalogue.find('v').vdi_id

    def shelf_of(self, node, index):
        """The path of the disk with the strip of an object there."""
        oid = ids.data_oid(self.vdi_id, index)
        shelves = node.sheep.store._rack.shelves
        return next(shelf.entry.path for shelf in shelves
                    for key in shelf.store.oids()
                    if ids.object_of(key) == oid)

    def pull(self, index, count):
        """Of so many sheep at once, the disks with an object's strips."""
        nodes = [node for node in self.cluster.serving()
                 if node is not self.node][:count]
        for node, path in [(node, self.shelf_of(node, index))
                           for node in nodes]:
            node.pull(path)
        return nodes

    def settles(self):
        self.assertTrue(self.simulation.run_until(
            lambda: all(len(node.plugged()) == (1 if node in self.pulled
                                                else 2)
                        for node in self.cluster.nodes.values())
            and self.cluster.is_well(), 120), self.cluster.explain())

    def test_as_many_as_may_be_lost(self):
        self.pulled = self.pull(0, 2)
        for number in range(8):
            self.write(self.volume, 70000 * number,
                       self.chance.randbytes(9000))
        self.check(self.volume)
        self.settles()
        self.check(self.volume)
        for index in range(3):
            self.check_strips(index)

    def test_one_after_the_other_while_it_is_written(self):
        self.pulled = []
        for round in range(3):
            node = self.cluster.nodes['n%d' % (round + 1)]
            node.pull(self.shelf_of(node, round))
            self.pulled.append(node)
            for _ in range(5):
                self.write(self.volume, self.chance.randrange(
                    test_coded.SIZE - 20000), self.chance.randbytes(20000))
            self.settles()
            self.check(self.volume)
        for index in range(3):
            self.check_strips(index)

    def test_idle(self):
        """Nobody writes; who is asked for a strip finds the disk gone."""
        self.pulled = self.pull(1, 2)
        self.check(self.volume)
        self.settles()
        for index in range(3):
            self.check_strips(index)


class SpoiltTest(test_coded.CodedCase):

    def spoil(self, node, oid, index):
        """A strip there does not say any more what it knows."""
        path = '/%s_%d' % (ids.hex_oid(oid), index)
        inode, = [inode for name, inode in node.host.image.files()
                  if name.endswith(path)]
        value = inode.attributes[store_history.ATTRIBUTE]
        inode.set_attribute(store_history.ATTRIBUTE, value[:-1])

    def test_what_a_strip_knew_is_lost(self):
        """It is made anew, and does not say that it was not there before:
        else a birth would be none."""
        volume = self.make_full()
        self.node.run(volume.close())
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        oid = ids.data_oid(vdi_id, 0)
        node, _, history = self.strips(oid)[4]
        self.assertTrue(history.generation[2])
        # (Until the journal needs to say nothing of it.)
        self.simulation.run_for(60)
        names = sorted(self.cluster.nodes)
        self.kill(*names)
        self.spoil(node, oid, 4)
        self.start(*names)
        self.wait_well()
        volume = self.open()
        self.check(volume)
        _, _, history = self.check_strips(0)[4]
        self.assertEqual(history.generation, history.forgotten)

    def test_a_sheep_with_such_a_strip_stays(self):
        """It is the file that is damaged, not the disk."""
        volume = self.make_full()
        self.simulation.run_for(60)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        oid = ids.data_oid(vdi_id, 0)
        node, index = next((node, index) for index, (node, _, _)
                           in self.strips(oid).items()
                           if node is not self.node)
        self.kill(node.name)
        self.wait_for_view(5)
        self.spoil(node, oid, index)
        self.start(node.name)
        self.wait_for_view(6)
        self.write(volume, 70000, self.chance.randbytes(20000))
        self.wait_well()
        self.simulation.run_for(30)
        self.assertEqual(6, len(self.node.sheep.cluster.view.members))
        self.assertIsNone(node.sheep.store.device_error)
        self.assertEqual({}, node.sheep.store.bad_blocks())
        self.assertEqual(1, node.sheep.store.quarantine.kept)
        self.check(volume)
        self.check_strips(0)

    def test_it_is_found_where_clients_use_it(self):
        """Its sheep keeps on; nobody hears of it but as a delay."""
        volume = self.make_full()
        self.simulation.run_for(60)
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        oid = ids.data_oid(vdi_id, 0)
        node = self.strips(oid)[0][0]
        store = node.sheep.store
        key = ids.strip_key(oid, 0)
        opened = store._stores[0]._objects.open
        opened.pop(key).file.close()
        self.spoil(node, oid, 0)
        self.write(volume, 0, self.chance.randbytes(20000))
        self.check(volume)
        self.wait_well()
        self.assertIsNone(store.device_error)
        self.assertEqual({}, store.bad_blocks())
        self.assertEqual(1, store.quarantine.kept)
        self.check(volume)
        self.check_strips(0)


if __name__ == '__main__':
    unittest.main()
