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

"""Removals of coded objects that are cut short."""

import unittest
from unittest import mock

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.peer import strips as peer_strips
from sheepdog.tests.sim import test_coded


class RemovalTest(test_coded.CodedCase):
    nodes = 7

    def setUp(self):
        super().setUp()
        volume = self.make_full()
        self.node.run(volume.flush())
        self.oid = ids.data_oid(
            self.node.sheep.catalogue.find('v').vdi_id, 1)

    def holders(self):
        """The sheep that have a strip, but the one that orders it."""
        return [node for node, _, _ in self.strips(self.oid).values()
                if node is not self.node]

    def cut(self, deaf, step='remove'):
        """The orderer dies when all but those ``deaf`` have done that step
        of a removal."""
        def lose(strips, *arguments):
            if strips._replica in [node.sheep.replica for node in deaf]:
                left.append(1)
            else:
                do(strips, *arguments)

        left = []
        do = getattr(peer_strips.Strips, step)
        with mock.patch.object(peer_strips.Strips, step, lose):
            self.node.host.world.spawn(
                self.node.sheep.gateway.remove_wait(self.oid), 'a removal')
            self.assertTrue(self.simulation.run_until(
                lambda: len(left) == len(deaf), 60))
            self.simulation.run_for(0.1)
            self.kill(self.node.name)
        self.node = self.cluster.serving()[0]
        self.wait_for_view(6)

    def wait_whole(self):
        """As far as those go who are here."""
        def is_whole():
            found = [node.sheep.recovery.standing
                     for node in self.cluster.serving()]
            return all(one.is_complete and not one.active for one in found)

        self.assertTrue(self.simulation.run_until(is_whole, 60),
                        self.cluster.explain())

    def read(self):
        return self.node.run(self.node.sheep.gateway.read_wait(
            self.oid, 0, test_coded.OBJECT_BYTES))

    def check_gone(self):
        self.wait_whole()
        with self.assertRaises(errors.NoObject):
            self.read()
        self.assertEqual({}, self.strips(self.oid))
        # It can be made anew.
        data = self.chance.randbytes(8192)
        self.node.run(self.node.sheep.gateway.write_wait(
            self.oid, 0, data, create=True))
        self.assertEqual(data, self.read()[:8192])
        self.start('n0')
        self.wait_whole()
        self.assertEqual(data, self.read()[:8192])

    def test_fewer_strips_are_left_than_it_takes(self):
        for left in 3, 1:
            with self.subTest(left):
                self.setUp()
                self.cut(self.holders()[:left])
                self.check_gone()

    def test_enough_strips_are_left(self):
        """It may be there or not, but for good."""
        for left, step in (5, 'remove'), (5, 'doom'), (2, 'doom'):
            with self.subTest(left, step=step):
                self.setUp()
                self.cut(self.holders()[:left], step)
                self.wait_whole()
                try:
                    data = self.read()
                except errors.NoObject:
                    self.check_gone()
                    continue
                start = test_coded.OBJECT_BYTES
                self.assertEqual(self.content[start:2 * start], data)
                self.node.run(self.node.sheep.gateway.write_wait(
                    self.oid, 0, b'!' * 4096))
                self.start('n0')
                self.wait_whole()
                self.assertEqual(b'!' * 4096 + data[4096:], self.read())

    def test_it_is_settled_before_it_goes(self):
        """…and kept: none of its strips goes before all are to go, again."""
        steps = []

        def remove(strips, *arguments):
            steps.append('remove')
            if len(steps) > 12:
                do_remove(strips, *arguments)
                return
            # All are to go, and it is settled for another reason.
            strips._replica.guard.doubt(self.oid)
            do_remove(strips, *arguments)

        def doom(strips, *arguments):
            steps.append('doom')
            do_doom(strips, *arguments)

        do_remove = peer_strips.Strips.remove
        do_doom = peer_strips.Strips.doom
        with mock.patch.object(peer_strips.Strips, 'remove', remove), \
                mock.patch.object(peer_strips.Strips, 'doom', doom):
            self.node.run(self.node.sheep.gateway.remove_wait(self.oid))
        self.assertEqual(['doom'] * 6 + ['remove'] * 6, steps[:12])
        self.assertIn('doom', steps[12:])
        self.assertEqual({}, self.strips(self.oid))
        self.assertEqual([set()] * 7, [node.sheep.replica.doomed
                                       for node in self.cluster.serving()])

    def test_it_is_tried_again(self):
        """By its gateway, as the epoch has changed meanwhile."""
        for step in 'doom', 'remove':
            with self.subTest(step):
                self.setUp()
                self.try_again(step)

    def try_again(self, step):
        deaf = self.holders()[0]

        def lose(strips, *arguments):
            if strips._replica is not deaf.sheep.replica:
                do(strips, *arguments)

        do = getattr(peer_strips.Strips, step)
        with mock.patch.object(peer_strips.Strips, step, lose):
            self.node.host.world.spawn(
                self.node.sheep.gateway.remove_wait(self.oid), 'a removal')
            self.simulation.run_for(0.5)
        self.kill(deaf.name)
        self.wait_for_view(6)
        self.wait_whole()
        with self.assertRaises(errors.NoObject):
            self.read()
        self.assertEqual({}, self.strips(self.oid))

    def test_it_stays_gone_without_those_who_removed_it(self):
        holders = self.holders()
        self.cut(holders[:3])
        self.check_gone()
        self.kill(*(node.name for node in holders[3:5]
                    if node is not self.node))
        self.wait_whole()
        self.assertEqual(8192, len(self.read().rstrip(b'\0')))


if __name__ == '__main__':
    unittest.main()
