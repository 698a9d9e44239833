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

"""Coded VDIs that nobody locks, over a full stop in order: what was complete
is trusted then, but numbers of updates begin anew."""

import unittest
from unittest import mock

from sheepdog.model import ids
from sheepdog.peer import strips as peer_strips
from sheepdog.recovery import recovery
from sheepdog.tests.sim import test_coded

WRITTEN = 1 << 16


class RestartTest(test_coded.CodedCase):

    def setUp(self):
        super().setUp()
        self.create()
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        self.oid = ids.data_oid(vdi_id, 0)

    def put(self, data, node=None):
        node = node or self.node
        node.run(node.sheep.gateway.write_wait(self.oid, 0, data,
                                               create=True))

    def get(self):
        return self.node.run(self.node.sheep.gateway.read_wait(
            self.oid, 0, WRITTEN))

    def put_many(self):
        for _ in range(20):
            data = self.chance.randbytes(WRITTEN)
            self.put(data)
        self.simulation.run_for(5)
        return data

    def restart(self):
        """All of them; nothing is settled by that."""
        before = self.generations()
        for node in self.cluster.serving():
            node.run(node.sheep.gateway.declare_now())
        self.node.run(self.node.sheep.cluster.execute('shutdown', {}))
        self.assertTrue(self.simulation.run_until(
            lambda: not any(node.is_running for node
                            in self.cluster.nodes.values()), 60))
        self.start(*self.cluster.nodes)
        self.wait_well()
        self.assertTrue(self.node.sheep.cluster.clean_start)
        self.assertEqual(before, self.generations())

    def generations(self):
        return {history.generation for _, _, history
                in self.strips(self.oid).values()}

    def test_what_is_on_some_strips_only_is_undone(self):
        data = self.put_many()
        self.restart()
        order = self.node.sheep.order
        view = self.node.sheep.cluster.view
        first = view.members[order.targets(self.oid)[0]].incarnation
        orderer = next(node for node in self.cluster.serving()
                       if node.sheep.cluster.incarnation == first)
        deaf = [node.sheep.store for index, (node, _, _)
                in self.strips(self.oid).items() if index > 2]
        update = peer_strips.Strips.update

        def update_some(strips, *arguments):
            if strips._store not in deaf:
                update(strips, *arguments)

        with mock.patch.object(peer_strips.Strips, 'update', update_some):
            orderer.host.world.spawn(orderer.sheep.gateway.write_wait(
                self.oid, 0, b'x' * WRITTEN), 'a write')
            self.simulation.run_for(1)
            self.kill(orderer.name)
        self.node = next(node for node in self.cluster.nodes.values()
                         if node is not orderer)
        self.wait_for_view(5)
        self.start(orderer.name)
        self.wait_well()
        self.assertEqual(data, self.get())

    def test_the_strips_notice_themselves(self):
        """Should numbers start again for whatever other reason."""
        with mock.patch.object(recovery.Recovery, 'renew'):
            self.test_what_is_on_some_strips_only_is_undone()

    def test_what_was_open_is_taken_for_nothing_else(self):
        """Nobody has heard that the last one is complete; soon another one
        has its number."""
        with mock.patch.object(peer_strips.Strips, 'close_below'):
            self.put_many()
        self.restart()
        for _ in range(30):
            data = self.chance.randbytes(WRITTEN)
            self.put(data)
            self.assertEqual(data, self.get())

    def test_each_object_is_settled_once(self):
        self.put_many()
        self.restart()
        for _ in range(3):
            data = self.chance.randbytes(WRITTEN)
            self.put(data)
        self.assertEqual(data, self.get())
        self.assertEqual({(1, 1, False)}, self.generations())
        # Who is new needs nothing of that.
        self.oid += 1
        self.put(data)
        self.assertEqual(data, self.get())
        self.assertEqual({(1, 0, True)}, self.generations())


if __name__ == '__main__':
    unittest.main()
