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

"""Sheep that do not know any more what they had of an object: its file is
gone though the journal names it, or the journal has lost records."""

import unittest

from sheepdog.model import ids
from sheepdog.tests.sim import test_coded

CHECKPOINT_SECONDS = 400
"""Twice what it takes until a file is on disk by its name."""


class VanishedTest(test_coded.CodedCase):
    policy = '3'
    nodes = 3

    def test_it_is_not_told_as_one_that_never_was(self):
        self.create()
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(8192), fua=True)
        self.simulation.run_for(CHECKPOINT_SECONDS)
        self.write(volume, 4096, self.chance.randbytes(8192), fua=True)
        oid = ids.data_oid(self.node.sheep.catalogue.find('v').vdi_id, 0)
        # (Or the others would mend it at once.)
        self.node.run(self.node.sheep.cluster.execute(
            'settings', {'changes': {'recovery_enabled': False}}))
        self.kill(*self.cluster.nodes)
        self.directory_of(oid).change((ids.hex_oid(oid), None))
        self.start(*self.cluster.nodes)
        # All who have it go before anybody has asked them.
        self.assertTrue(self.simulation.run_until(
            lambda: len(self.cluster.serving()) == 3, 60))
        self.kill('n1', 'n2')
        self.wait_for_view(1)
        answers = []

        async def read():
            volume = await self.node.sheep.volumes.open('v')
            await volume.write(65536, b'z' * 4096, True)
            answers.append(await volume.read(0, test_coded.SIZE))

        self.node.host.world.spawn(read(), 'a read')
        self.simulation.run_for(30)
        self.assertEqual([], answers)
        self.node.run(self.node.sheep.cluster.execute(
            'settings', {'changes': {'recovery_enabled': True}}))
        self.start('n1', 'n2')
        self.wait_for_view(3)
        self.wait_well()
        self.content[65536:65536 + 4096] = b'z' * 4096
        self.simulation.run_for(30)
        self.assertEqual([self.content], answers)

    def directory_of(self, oid):
        for path, _ in self.node.host.image.files():
            if path.endswith('/' + ids.hex_oid(oid)):
                return self.node.host.image.directory(
                    path.rpartition('/')[0])
        raise AssertionError('no such file')


class DamagedJournalTest(test_coded.DamagedJournalTest):
    """Of copies: what one has lost the others have."""

    policy = '3'
    nodes = 3

    def test_all_lose_power(self):
        for name in sorted(self.cluster.nodes):
            with self.subTest(damaged=name):
                self.setUp()
                self.lose_power(name)

    def lose_power(self, name):
        self.create()
        volume = self.open()
        for number in range(40):
            self.write(volume, number % 3 * test_coded.OBJECT_BYTES
                       + number // 3 * 8192, self.chance.randbytes(8192),
                       fua=True)
        self.damage_journals(name)
        self.kill(*self.cluster.nodes, power=True)
        self.start(*self.cluster.nodes)
        self.wait_well()
        self.check(self.open())
        self.assertEqual([], self.cluster.copies_differ())

    def check_alike(self):
        self.assertEqual([], self.cluster.copies_differ())

    def test_nobody_else_was_there(self):
        """What it still has of that counts."""
        self.create()
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(8192), fua=True)
        self.kill('n1', 'n2')
        self.wait_for_view(1)
        for number in range(40):
            self.write(volume, number * 8192, self.chance.randbytes(8192),
                       fua=True)
        self.damage_journals('n0')
        self.kill('n0', power=True)
        self.start(*self.cluster.nodes)
        self.wait_well()
        found = self.node.run(self.open().read(0, test_coded.SIZE))
        last = slice(39 * 8192, 40 * 8192)
        self.assertEqual(self.content[last], found[last])
        self.assertEqual([], self.cluster.copies_differ())


if __name__ == '__main__':
    unittest.main()
