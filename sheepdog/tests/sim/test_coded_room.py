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

"""Coded VDIs on clusters some of whose disks are full."""

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import sizes
from sheepdog.recovery import calls
from sheepdog.recovery import room
from sheepdog.tests.sim import test_coded

PAGE = 4096


class RoomCase(test_coded.CodedCase):
    """Seven sheep; ``full`` has no strip of the first object, until
    ``lost`` is lost."""

    nodes = 7

    def setUp(self):
        super().setUp()
        self.volume = self.make_full()
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        self.oid = ids.data_oid(vdi_id, 0)
        holders = [node for node, _, _ in self.strips(self.oid).values()]
        self.full, = [node for node in self.cluster.nodes.values()
                      if node not in holders]
        self.lost = next(node for node in holders
                         if node is not self.node)
        if self.full is self.node:
            self.node = self.lost_last(holders)
            self.node.run(self.volume.close())
            self.volume = self.open()

    def fill(self, node, left):
        """So many bytes may be adopted."""
        node.host.image.fill((node.sheep.store.reserve_bytes // 2 + left)
                             // PAGE)

    def indexes(self):
        found = {}
        for node in self.cluster.serving():
            for key in node.sheep.store.oids():
                if ids.object_of(key) == self.oid and ids.strip_of(key) >= 0:
                    history = node.run(node.sheep.store.history(key))
                    found[ids.strip_of(key)] = node, history
        return found

    def is_behind(self):
        return self.oid in self.full.sheep.recovery.mover.behind

    def wait_behind(self):
        self.assertTrue(self.simulation.run_until(self.is_behind, 60),
                        self.cluster.explain())

    def refuses(self, offset=0):
        with self.assertRaises(errors.NoSpace):
            self.node.run(self.volume.write(offset, b'?' * PAGE))
        # It may have been done: the others have it.
        self.content[offset:offset + PAGE] = self.node.run(
            self.volume.read(offset, PAGE))


class FullTest(RoomCase):

    def test_who_has_no_room_does_not_hold_the_others_up(self):
        self.fill(self.full, 0)
        self.lose(self.lost.name)
        self.wait_behind()
        self.check(self.volume)
        before = self.node.sheep.store.generation(self.some_key())
        self.refuses()
        self.check(self.volume)
        # (Nobody settles it for that.)
        self.assertEqual(before, self.node.sheep.store.generation(
            self.some_key()))
        other = next(node for node in self.cluster.serving()
                     if node not in (self.node, self.full))
        self.kill(other.name)
        self.wait_for_view(5)
        self.check(self.volume)
        self.start(other.name)
        self.full.host.image.unfill()
        self.wait_well()
        self.check(self.volume)
        self.write(self.volume, 100, b'!' * 10000)
        self.check(self.volume)
        self.check_strips(0)
        self.assertFalse(self.is_behind())

    def some_key(self):
        return next(key for key in self.node.sheep.store.oids()
                    if ids.object_of(key) == self.oid)

    def test_it_lasts_over_a_power_cut(self):
        """Who lacks what the others have proves nothing, started anew."""
        self.fill(self.full, 0)
        self.lose(self.lost.name)
        self.wait_behind()
        self.refuses()
        names = [node.name for node in self.cluster.serving()]
        self.kill(*names, power=True)
        self.start(*names)
        self.assertTrue(self.simulation.run_until(
            lambda: len(self.cluster.serving()) == 6, 60))
        self.volume = self.open()
        self.check(self.volume)
        self.wait_behind()
        self.refuses()
        # And without one more.
        gone = next(name for name in names if name not in (
            self.node.name, self.full.name))
        self.kill(gone)
        self.wait_for_view(5)
        self.check(self.volume)

    def test_deleting_works(self):
        self.fill(self.full, 0)
        self.lose(self.lost.name)
        self.wait_behind()
        self.node.run(self.volume.close())
        self.node.run(self.node.sheep.catalogue.delete('v'))
        self.wait_well()
        self.assertEqual([], [
            hex(key) for node in self.cluster.serving()
            for key in node.sheep.store.oids() if ids.strip_of(key) >= 0])

    def test_what_is_not_zero(self):
        before = self.node.run(self.volume.extents(0, test_coded.SIZE))
        self.fill(self.full, 0)
        self.lose(self.lost.name)
        self.wait_behind()
        self.assertEqual(before, self.node.run(
            self.volume.extents(0, test_coded.SIZE)))


class LostTest(test_coded.CodedCase):
    """Strips are gone from a sheep that has no room to have them again."""

    def setUp(self):
        super().setUp()
        self.create()
        self.volume = self.open()
        self.write(self.volume, 0, self.chance.randbytes(test_coded.SIZE))
        self.vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        self.oid = ids.data_oid(self.vdi_id, 0)

    def lose_strips(self, node, left, *oids):
        """``left``: free space then, in bytes."""
        keys = [key for key in node.sheep.store.oids()
                if ids.strip_of(key) >= 0 and ids.object_of(key) in oids]
        self.assertEqual(len(oids), len(keys))
        for key in keys:
            node.run(calls.wait_for(node.sheep.store.remove, key))
        # (Their files go when the journal needs them no more.)
        self.simulation.run_for(60)
        node.host.image.fill(left // PAGE)
        node.host.process.run(lambda: node.sheep.recovery.lose(keys))


class FirstTest(LostTest):

    def test_the_first_target_has_no_room(self):
        """Who settles is the one."""
        place = self.node.sheep.order.targets(self.oid)[0]
        first = self.cluster._node_of(
            self.node.sheep.cluster.view.members[place])
        self.lose_strips(first, first.sheep.store.reserve_bytes // 2,
                         self.oid)
        behind = first.sheep.recovery.mover.behind
        self.assertTrue(self.simulation.run_until(lambda: behind, 60),
                        self.cluster.explain())
        self.check(self.volume)
        with self.assertRaises(errors.NoSpace):
            self.node.run(self.volume.write(0, b'?' * PAGE))
        self.content[:PAGE] = self.node.run(self.volume.read(0, PAGE))
        # Others have it settle for them nevertheless.
        other = next(node for node in self.cluster.serving()
                     if node not in (first, self.node))
        self.kill(other.name)
        self.wait_for_view(5)
        self.check(self.volume)
        self.start(other.name)
        self.check(self.volume)
        self.assertTrue(self.simulation.run_until(
            lambda: other.is_serving and
            other.sheep.recovery.standing.is_clean(self.oid), 60))
        first.host.image.unfill()
        self.wait_well()
        self.check(self.volume)
        self.check_strips(0)


class HeldBackTest(LostTest):
    """In a cluster that avoids full disks, nothing is begun that will not
    fit as a whole."""

    avoids_full = True

    def test_all_or_nothing_and_a_notice(self):
        node = self.cluster.nodes['n2']
        sheep = node.sheep
        oids = [ids.data_oid(self.vdi_id, index) for index in range(3)]
        strip = test_coded.OBJECT_BYTES // 4 + room.FILE_BYTES
        self.lose_strips(node, sheep.store.reserve_bytes + 2 * strip
                         + 3 * PAGE, *oids)
        self.assertTrue(self.simulation.run_until(
            lambda: sheep.recovery.room.short, 60), self.cluster.explain())
        self.assertEqual(
            '3 objects (about %s) are to come here' % sizes.show_size(
                3 * strip), sheep.recovery.room.short[1].split(',')[0])
        # …whatever else goes on.
        for other in self.cluster.serving():
            other.host.process.run(
                lambda: other.sheep.recovery.doubt(self.oid))
        self.simulation.run_for(5)
        self.assertEqual([], [key for key in sheep.store.oids()
                              if ids.strip_of(key) >= 0 and not node.run(
                                  sheep.store.history(key)).is_left_out])
        self.check(self.volume)
        # What a client waits for comes.
        self.write(self.volume, 0, b'!' * PAGE)
        self.check(self.volume)
        self.check_strips(0)
        node.host.image.unfill()
        self.wait_well()
        self.check(self.volume)
        for index in range(3):
            self.check_strips(index)
