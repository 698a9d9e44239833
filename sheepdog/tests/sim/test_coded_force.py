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

"""Coded VDIs when more is lost for good than may be, and in clusters that
are strict."""

import unittest

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.sim import test_coded


class ForceTest(test_coded.CodedCase):
    """Eight sheep, of which three are lost in a full stop."""

    nodes = 8

    def setUp(self):
        super().setUp()
        self.create()
        self.volume = self.open()
        self.write(self.volume, 0, self.chance.randbytes(test_coded.SIZE))
        self.node.run(self.volume.close())
        self.vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        self.oids = [ids.data_oid(self.vdi_id, index) for index in range(3)]
        self.holders = [{node.name for node, _, _
                         in self.strips(oid).values()} for oid in self.oids]

    def lose_holders(self, count):
        self.lost = [node.name for node, _, _ in self.strips(
            self.oids[0]).values() if node is not self.node][:count]
        self.left = [name for name in self.cluster.nodes
                     if name not in self.lost]
        self.kill(*self.left, power=True)
        self.lose(*self.lost)

    def force(self):
        self.start(*self.left)
        self.assertTrue(self.simulation.run_until(
            lambda: all(node.is_running and node.sheep is not None
                        and node.sheep.cluster is not None
                        and node.sheep.cluster.explain()['missing']
                        for node in self.cluster.nodes.values()), 60))
        self.node.run(self.node.sheep.cluster.execute('recover-force', {}))

    def lives(self, index):
        return len(self.holders[index] - set(self.lost)) >= 4

    def check_left(self):
        volume = self.open()
        for index in range(3):
            start = index * test_coded.OBJECT_BYTES
            if self.lives(index):
                self.assertEqual(
                    self.content[start:start + test_coded.OBJECT_BYTES],
                    self.node.run(volume.read(start,
                                              test_coded.OBJECT_BYTES)))
            else:
                with self.assertRaises(errors.NoObject):
                    self.node.run(volume.read(start, 4096))
        return volume

    def quarantined(self):
        return [kept for node in self.cluster.serving()
                for kept in node.run(node.sheep.store.quarantine.list())]

    def test_what_has_too_few_strips_is_given_up(self):
        self.lose_holders(3)
        self.force()
        self.wait_well()
        volume = self.check_left()
        self.assertFalse(self.lives(0))
        kept = self.quarantined()
        self.assertEqual(3, len([one for one in kept if ids.object_of(
            int(one['object'], 16)) == self.oids[0]]))
        self.assertIn('recovery was forced', kept[0]['why'])
        # What is new is kept as ever.
        self.node.run(volume.close())
        self.node.run(self.node.sheep.catalogue.delete('v'))
        self.create('2:1')
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(test_coded.SIZE))
        self.check(volume)

    def test_one_of_those_who_are_left_does_not_know_its_strips(self):
        """Its journal is damaged, and it cannot forget that before all is
        recovered."""
        volume = self.open()
        for number in range(40):
            self.write(volume, number % 3 * test_coded.OBJECT_BYTES,
                       self.chance.randbytes(8192))
        self.node.run(volume.close())
        self.lose_holders(2)
        spoilt = next(name for name in sorted(self.holders[0])
                      if name in self.left and name != 'n0')
        test_coded.damage_journals(self, spoilt)
        self.force()
        self.wait_well()
        self.lost.append(spoilt)
        self.check_left()
        self.assertFalse(self.lives(0))
        self.assertFalse(
            self.cluster.nodes[spoilt].sheep.store.journal_damaged)

    def test_nothing_is_given_up_while_one_of_them_is_away(self):
        """Whoever is left may be down for a moment."""
        self.lose_holders(2)
        away = next(name for name in sorted(self.holders[0])
                    if name in self.left and name != 'n0')
        self.force()
        self.kill(away)
        self.simulation.run_for(60)
        self.assertFalse(self.cluster.is_well())
        reasons = [reason for node in self.cluster.serving()
                   for _, reason in node.sheep.recovery.waiting.values()]
        address = '%s:7000' % self.cluster.nodes[away].address
        self.assertTrue(any(
            'may be known only to' in reason and address in reason
            for reason in reasons), reasons)
        self.start(away)
        self.wait_well()
        self.assertEqual([], self.quarantined())
        self.check(self.open())


class StrictTest(test_coded.CodedCase):

    is_strict = True

    def test_writes_are_refused_while_a_strip_lacks(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(test_coded.SIZE))
        self.kill('n3')
        self.wait_for_view(5)
        self.check(volume)
        with self.assertRaises(errors.Halted) as caught:
            self.node.run(volume.write(0, b'?' * 4096))
        self.assertIn('5 of 6 strips', str(caught.exception))
        with self.assertRaises(errors.Halted):
            self.node.run(volume.zero(0, 8192))
        self.check(volume)
        self.start('n3')
        self.wait_well()
        self.write(volume, 0, b'!' * 4096)
        self.check(volume)
        self.check_strips(0)

    def test_what_was_under_way_is_not_called_done(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(8192))
        answers = []

        async def write():
            try:
                await volume.write(0, b'?' * 4096)
                answers.append('done')
            except errors.Halted:
                answers.append('halted')

        strips = self.cluster.nodes['n3'].sheep.gateway.coded.strips
        strips.update = lambda *_: None
        self.node.sheep.world.spawn(write(), 'write')
        self.simulation.run_for(0.5)
        self.kill('n3')
        self.assertTrue(self.simulation.run_until(lambda: answers, 60))
        self.assertEqual(['halted'], answers)


if __name__ == '__main__':
    unittest.main()
