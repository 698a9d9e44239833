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

"""Sheep with strips that are away for a short time: they get what changed.
"""

from sheepdog.testing import planted
from sheepdog.tests.sim import test_coded

KIB = 1 << 10
OBJECTS = 3


class AbsenceCase(test_coded.CodedCase):
    absent = 'n5'
    data = 4

    def setUp(self):
        super().setUp()
        self.create()
        self.volume = self.open()
        self.write(self.volume, 0, self.chance.randbytes(test_coded.SIZE))
        self.wait_well()
        self.be_told()

    def be_told(self):
        """All strips are told what is complete."""
        self.simulation.run_for(1.0)

    def leave(self, power=False):
        members = len(self.node.sheep.cluster.view.members)
        self.kill(self.absent, power=power)
        self.wait_for_view(members - 1)

    def wait_recovered(self):
        """Those that are there."""
        def have_recovered():
            return all(not node.sheep.recovery.is_running
                       and node.sheep.cluster.state.has_recovered()
                       for node in self.cluster.serving())

        self.assertTrue(self.simulation.run_until(have_recovered, 120),
                        self.cluster.explain())

    def come_back(self):
        self.start(self.absent)
        self.wait_well()
        # (What was out of place is dropped then.)
        self.simulation.run_for(5.0)

    def bytes_moved(self):
        """By the one that was away, since it came back."""
        return self.cluster.nodes[self.absent].sheep.recovery.moved_bytes

    def write_some(self, count=6):
        """A little, here and there, in all objects: whole bytes of it."""
        total = 0
        for number in range(count):
            size = self.chance.choice((512, 4096, 5000, 16384))
            start = number % OBJECTS * test_coded.OBJECT_BYTES
            offset = start + self.chance.randrange(
                test_coded.OBJECT_BYTES - size)
            if self.chance.random() < 0.2:
                self.zero(self.volume, offset, size)
            else:
                self.write(self.volume, offset, self.chance.randbytes(size))
            # Of each strip, in whole blocks: at its ends two more.
            total += size // self.data + 2 * 4 * KIB
        return total

    def check_all(self):
        self.check(self.volume)
        for index in range(OBJECTS):
            self.check_strips(index)


class ShortAbsenceTest(AbsenceCase):

    def test_what_was_written_meanwhile_is_moved(self):
        self.leave()
        changed = self.write_some()
        self.wait_recovered()
        self.come_back()
        self.check_all()
        moved = self.bytes_moved()
        self.assertGreater(moved, 0)
        self.assertLess(moved, self.data * changed)

    def test_after_a_power_cut(self):
        self.leave(power=True)
        changed = self.write_some()
        self.come_back()
        self.check_all()
        self.assertLess(self.bytes_moved(), self.data * changed)

    def test_nothing_was_written(self):
        self.leave()
        self.wait_recovered()
        self.come_back()
        self.check_all()
        self.assertEqual(0, self.bytes_moved())

    def test_again_and_again(self):
        for _ in range(3):
            self.leave()
            changed = self.write_some(3)
            self.wait_recovered()
            self.come_back()
            self.check_all()
            self.assertLess(self.bytes_moved(), self.data * changed)
            self.be_told()

    def test_one_after_the_other(self):
        """Who was built of what had changed says so of it, too."""
        for name in ('n5', 'n4', 'n3', 'n2', 'n1'):
            self.absent = name
            self.leave()
            self.write_some(3)
            self.wait_recovered()
            self.come_back()
            self.check_all()
            self.be_told()

    def test_it_dies_in_the_middle_of_a_write(self):
        for round_ in range(6):
            writing = self.node.host.world.spawn(self.write_on(round_),
                                                 'test: write on')
            self.simulation.run_for(self.chance.uniform(0, 0.02))
            self.leave(power=round_ % 2 == 1)
            self.assertTrue(self.simulation.run_until(writing.done, 60))
            self.come_back()
            self.check_all()

    async def write_on(self, round_):
        for number in range(20):
            size = self.chance.choice((512, 4096, 5000, 16384))
            offset = self.chance.randrange(test_coded.SIZE - size)
            data = self.chance.randbytes(size)
            self.content[offset:offset + size] = data
            await self.volume.write(offset, data, False)

    def test_it_dies_again_while_it_is_built(self):
        for round_ in range(8):
            self.leave(power=round_ % 2 == 1)
            self.write_some()
            self.start(self.absent)
            self.simulation.run_for(self.chance.uniform(0, 1.5))
            self.kill(self.absent, power=round_ % 3 == 1)
            self.write_some(2)
            self.come_back()
            self.check_all()

    def test_without_a_note_of_it(self):
        """(This test would notice.)"""
        with planted.note_no_changes():
            self.leave()
            self.write_some()
            self.come_back()
            with self.assertRaises(AssertionError):
                self.check_all()


class ManySheepTest(ShortAbsenceTest):
    """Another one has its strip meanwhile."""

    nodes = 8

    def test_without_a_note_of_it(self):
        pass


class TwoOneTest(ShortAbsenceTest):
    nodes = 3
    policy = '2:1'
    absent = 'n2'
    data = 2

    def test_one_after_the_other(self):
        pass
