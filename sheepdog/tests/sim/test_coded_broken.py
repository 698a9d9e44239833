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

"""Settlements that are broken off when as many have reached them as it takes,
and these go."""

import unittest
from unittest import mock

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import settlement
from sheepdog.tests.sim import test_coded
from sheepdog.wire import peer as wire


class BrokenOffTest(test_coded.CodedCase):
    policy = '2:2'

    def test_all_who_reached_it_go(self):
        self.create()
        volume = self.open()
        for index in range(3):
            self.write(volume, index * test_coded.OBJECT_BYTES, b'a' * 8192,
                       fua=True)
        self.node.run(volume.close())
        oid, gone, left = self.choose()
        # Two of the others hear that it is to be settled.
        reached, missed = left[:2], left[2]
        holders = [gone] + left
        others = [node for node in self.cluster.serving()
                  if node not in holders]
        self.node = others[0]
        volume = self.open()
        is_deaf = [True]
        done = []
        obey = settlement.Settlement._obey

        async def obey_some(settled, opcode, oid_, order):
            if oid_ == oid:
                node = next(node for node in self.cluster.serving()
                            if node.sheep.recovery.settlement is settled)
                # Nobody begins it, nor is it built at a place that is new;
                # whoever has missed it at first hears what comes then.
                if opcode == wire.STRIP_SETTLE or node in others or (
                        node is missed and is_deaf[0]):
                    raise errors.NotRecovered('deaf')
                done.append((node, opcode))
            await obey(settled, opcode, oid_, order)

        with mock.patch.object(settlement.Settlement, '_obey', obey_some):
            self.kill(gone.name)
            self.wait_for_view(5)
            self.assertTrue(self.simulation.run_until(
                lambda: all((node, wire.STRIP_ALIGN) in done
                            for node in reached), 60))
            self.simulation.run_for(1)
            is_deaf[0] = False
            self.assertTrue(self.simulation.run_until(
                lambda: any(node is missed for node, _ in done), 60))
            self.simulation.run_for(2)
            for members, node in enumerate(reached):
                self.kill(node.name)
                self.wait_for_view(4 - members)
        # Nobody who is here says that it was never written.
        answers = []

        async def read():
            answers.append(await volume.read(0, test_coded.SIZE))

        self.node.host.world.spawn(read(), 'a read')
        self.simulation.run_for(20)
        self.assertEqual([], answers)
        self.assertIn(oid, self.node.sheep.recovery.waiting)
        self.start(gone.name, *(node.name for node in reached))
        self.wait_for_view(6)
        self.wait_well()
        self.assertEqual([self.content], answers)
        for index in range(3):
            self.check_strips(index)

    def choose(self):
        """An object, and one who has a strip of it and may go without
        moving those of the others: these."""
        sheep = self.node.sheep
        view = sheep.cluster.view
        nodes = {node.sheep.cluster.incarnation: node
                 for node in self.cluster.serving()}
        vdi_id = sheep.catalogue.find('v').vdi_id
        for index in range(3):
            oid = ids.data_oid(vdi_id, index)
            ring = sheep.recovery._ring(view).targets(oid, 5)
            slots = dict(zip(ring, sheep.order.strips(oid, ring[:4])))
            for gone in ring[:4]:
                left = [place for place in ring if place != gone]
                if all(slots.get(place, slots[gone]) == slot for place, slot
                       in zip(left, sheep.order.strips(oid, left))):
                    return oid, nodes[view.members[gone].incarnation], [
                        nodes[view.members[place].incarnation]
                        for place in left[:3]]
        raise AssertionError('all move')


if __name__ == '__main__':
    unittest.main()
