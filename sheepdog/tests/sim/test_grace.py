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

"""Who is away is waited for, and what it held left as it is, while that is no
danger."""

from sheepdog.model import ids
from sheepdog.tests.sim import test_coded

SECONDS = 60
KIB = 1 << 10


class GraceCase(test_coded.CodedCase):
    nodes = 7
    absent = 'n6'
    seconds = SECONDS

    def setUp(self):
        super().setUp()
        self.create()
        self.volume = self.open()
        self.write(self.volume, 0, self.chance.randbytes(test_coded.SIZE))
        self.wait_well()
        self.simulation.run_for(1.0)

    def leave(self, *names):
        before = self.moved()
        members = len(self.node.sheep.cluster.view.members)
        self.kill(*(names or [self.absent]))
        self.wait_for_view(members - len(names or [self.absent]))
        self.before = before

    def moved(self):
        return {node.name: node.sheep.recovery.moved_bytes
                for node in self.cluster.serving()}

    def moved_since(self):
        """By those who were never away."""
        return sum(bytes_ - self.before[name]
                   for name, bytes_ in self.moved().items()
                   if name in self.before)

    def is_postponed(self):
        return any(node.sheep.recovery.grace.describe()
                   and node.sheep.recovery.grace.postponed
                   for node in self.cluster.serving())

    def is_whole(self):
        return all(not node.sheep.recovery.active
                   and node.sheep.cluster.state.has_recovered()
                   for node in self.cluster.serving())

    def wait_whole(self, seconds):
        self.assertTrue(self.simulation.run_until(self.is_whole, seconds),
                        self.cluster.explain())

    def have_postponed(self):
        self.simulation.run_for(5.0)
        self.assertTrue(self.is_postponed())
        self.assertFalse(self.is_whole())
        self.assertEqual(0, self.moved_since())

    def come_back(self):
        self.start(self.absent)
        self.wait_well()
        self.simulation.run_for(5.0)

    def hurry(self, **arguments):
        self.node.run(self.node.sheep.cluster.execute('hurry', arguments))


class CopiesTest(GraceCase):
    policy = '3'
    parts = 3

    def check_all(self):
        self.check(self.volume)
        self.assertEqual([], self.cluster.copies_differ())

    def test_who_comes_back_gets_what_has_changed(self):
        self.leave()
        self.have_postponed()
        self.write(self.volume, 70000, self.chance.randbytes(20000))
        self.come_back()
        self.check_all()
        absent = self.cluster.nodes[self.absent]
        self.assertLess(absent.sheep.recovery.moved_bytes, 64 * KIB)
        # One object was written to, so it was made whole for that.
        self.assertLess(self.moved_since(), 2.5 * test_coded.OBJECT_BYTES)
        self.assertIsNone(self.node.sheep.recovery.grace.describe())

    def test_nothing_was_written(self):
        self.leave()
        self.have_postponed()
        self.come_back()
        self.check_all()
        self.assertEqual(0, self.moved_since())
        self.assertEqual(0, self.cluster.nodes[
            self.absent].sheep.recovery.moved_bytes)

    def test_nobody_waits_for_ever(self):
        self.leave()
        self.have_postponed()
        self.simulation.run_for(SECONDS - 10)
        self.assertFalse(self.is_whole())
        self.wait_whole(15)
        self.assertGreater(self.moved_since(), 0)
        self.come_back()
        self.check_all()

    def test_clients_wait_for_nothing(self):
        self.leave()
        self.have_postponed()
        began = self.simulation.loop.time()
        self.check(self.volume)
        for index in range(3):
            self.write(self.volume, index * test_coded.OBJECT_BYTES + 5000,
                       self.chance.randbytes(9000))
        self.check(self.volume)
        self.assertLess(self.simulation.loop.time() - began, 2.0)
        self.come_back()
        self.check_all()

    def test_another_zone_loses_something(self):
        self.leave()
        self.have_postponed()
        self.leave('n5')
        self.wait_whole(15)
        self.check(self.volume)

    def test_another_is_started_anew(self):
        self.leave()
        self.have_postponed()
        self.kill('n5')
        self.start('n5')
        self.simulation.run_for(5)
        self.wait_whole(15)
        self.assertGreater(self.moved_since(), 0)

    def test_an_operator_knows_better(self):
        self.leave()
        self.have_postponed()
        self.hurry()
        self.wait_whole(15)
        # That was for once.
        self.come_back()
        self.leave()
        self.have_postponed()

    def test_nobody_is_away(self):
        self.hurry()
        self.leave()
        self.have_postponed()

    def test_who_is_taken_out_is_not_waited_for(self):
        absent = self.cluster.nodes[self.absent]
        self.hurry(incarnation=absent.sheep.cluster.incarnation)
        self.leave()
        self.wait_whole(15)
        self.assertGreater(self.moved_since(), 0)

    def test_the_time_is_not_begun_anew(self):
        self.leave()
        for _ in range(3):
            self.simulation.run_for(SECONDS / 4)
            # (Killed again before all is whole.)
            self.start(self.absent)
            self.wait_for_view(7)
            self.leave()
        self.wait_whole(SECONDS / 4 + 15)

    def test_it_can_be_changed_while_it_lasts(self):
        self.leave()
        self.have_postponed()
        for node in self.cluster.serving():
            node.sheep.recovery.grace.seconds = 0
        self.wait_whole(15)

    def test_recovery_is_disabled_meanwhile(self):
        for is_enabled in (False, True):
            self.leave() if not is_enabled else None
            self.node.run(self.node.sheep.cluster.execute(
                'settings', {'changes': {'recovery_enabled': is_enabled}}))
            self.simulation.run_for(5)
            self.assertFalse(self.is_whole())
        self.assertTrue(self.is_postponed())
        self.wait_whole(SECONDS + 15)

    def test_more_copies_are_made_at_once(self):
        self.leave()
        self.have_postponed()
        self.node.run(self.node.sheep.cluster.execute(
            'alter-vdi', {'name': 'v', 'copies': 4}))
        self.simulation.run_for(15)
        self.assertGreater(self.moved_since(), 0)
        self.come_back()
        self.check_all()

    def test_a_full_stop(self):
        self.leave()
        self.have_postponed()
        self.kill(*[node.name for node in self.cluster.serving()])
        self.start(*self.cluster.nodes)
        self.wait_well()
        self.volume = self.open()
        self.check_all()

    def test_what_is_deleted_goes(self):
        self.leave()
        self.have_postponed()
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        self.node.run(self.volume.close())
        self.node.run(self.node.sheep.catalogue.delete('v'))
        self.simulation.run_for(10)
        self.assertEqual([], [oid for node in self.cluster.serving()
                              for oid in node.sheep.store.oids()
                              if ids.vdi_of(oid) == vdi_id])
        self.come_back()


class CodedTest(CopiesTest):
    policy = '4:2'

    def check_all(self):
        self.check(self.volume)
        for index in range(3):
            self.check_strips(index)

    def test_more_copies_are_made_at_once(self):
        pass

    def test_who_comes_back_gets_what_has_changed(self):
        self.leave()
        self.have_postponed()
        self.write(self.volume, 70000, self.chance.randbytes(20000))
        self.come_back()
        self.check_all()
        # Nobody has touched two of the three.
        self.assertLess(self.moved_since(), 2 * test_coded.OBJECT_BYTES)


class DiskCase(GraceCase):
    """Another loss: it is not granted before all is whole."""
    policy = '3'

    def test_it_is_another_loss(self):
        self.leave()
        self.have_postponed()
        oid = ids.data_oid(self.node.sheep.catalogue.find('v').vdi_id, 0)
        node = next(node for node in self.cluster.serving()
                    if node is not self.node
                    and node.sheep.store.version(oid) is not None)
        self.fail(node, oid)
        for number in range(40):
            self.write(self.volume, 70000 * number,
                       self.chance.randbytes(5000))
        self.assertTrue(self.simulation.run_until(
            lambda: self.is_gone(node), SECONDS / 2))
        self.wait_whole(SECONDS / 2)
        self.check(self.volume)


class OneOfTwoDisksTest(DiskCase):
    disks = (2,)

    def fail(self, node, oid):
        node.pull(next(shelf.entry.path for shelf
                       in node.sheep.store._rack.shelves
                       if oid in shelf.store.oids()))

    def is_gone(self, node):
        return len(node.plugged()) == 1


class OnlyDiskTest(DiskCase):

    def fail(self, node, oid):
        node.host.faults.fails_writes = True

    def is_gone(self, node):
        return not node.is_serving


del DiskCase


class TooFewCase(GraceCase):
    """One more loss, and nobody could read it."""

    def test_what_is_in_danger_is_not_left_alone(self):
        self.leave()
        self.wait_whole(15)
        self.assertGreater(self.moved_since(), 0)
        self.check(self.volume)


class TwoCopiesTest(TooFewCase):
    policy = '2'


class OneParityTest(TooFewCase):
    policy = '4:1'


del TooFewCase
