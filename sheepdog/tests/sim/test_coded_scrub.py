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

"""What checks find in strips, and what is told of them."""

import base64
import itertools

from sheepdog.faces.native import facts as facts_module
from sheepdog.model import ids
from sheepdog.recovery import tally
from sheepdog.tests.sim import test_coded

BLOCK = 4096


class ScrubTest(test_coded.CodedCase):

    def setUp(self):
        super().setUp()
        self.names = itertools.count()
        self.create()
        self.volume = self.open()
        self.write(self.volume, 0, self.chance.randbytes(test_coded.SIZE))
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        self.oid = ids.data_oid(vdi_id, 1)

    def look(self):
        """All sheep look through all; their tallies."""
        checks = []
        for node in self.cluster.serving():
            name = 'check %d' % next(self.names)
            node.sheep.scrub.start_check(name)
            checks.append(node.sheep.scrub.check(name))
        self.assertTrue(self.simulation.run_until(
            lambda: all(check.state == 'done' for check in checks), 300))
        return [check.tally for check in checks]

    def test_all_is_well(self):
        tallies = self.look()
        for found in tallies:
            self.assertFalse(any(found.counts.values()), found.problems)
            self.assertEqual(0, found.bad_blocks)
        # Six strips of three objects, and three copies of the inode.
        self.assertEqual(6 * test_coded.SIZE // 4,
                         sum(found.bytes for found in tallies)
                         - 3 * (1 << 24))

    def test_while_it_is_written(self):
        async def write():
            while not is_over:
                await self.volume.write(
                    self.chance.randrange(64) * 8192,
                    self.chance.randbytes(8192), False)
                done.append(1)

        is_over, done = [], []
        self.node.sheep.world.spawn(write(), 'write')
        for found in self.look():
            self.assertFalse(any(found.counts.values()), found.problems)
        is_over.append(True)
        self.assertGreater(len(done), 100)

    def test_bad_blocks_are_mended(self):
        node, strip, _ = self.strips(self.oid)[4]
        self.damage(node, ids.strip_key(self.oid, 4))
        tallies = self.look()
        self.assertEqual(1, sum(found.bad_blocks for found in tallies))
        self.assertEqual(1, sum(found.mended for found in tallies))
        self.check_strips(1)

    def test_bad_blocks_at_different_places(self):
        """In more strips than may be lost: d good ones of each block."""
        for number, (index, (node, _, _)) in enumerate(
                sorted(self.strips(self.oid).items())):
            self.damage(node, ids.strip_key(self.oid, index), number)
        self.check(self.volume)
        self.look()
        self.wait_well()
        self.check(self.volume)
        self.check_strips(1)

    def test_who_has_a_bad_block_of_a_birth_has_its_first_write(self):
        for node in self.cluster.nodes.values():
            # Nothing is known to be complete.
            node.sheep.gateway.coded.declare = lambda *_: None
        self.node.run(self.node.sheep.gateway.remove_wait(self.oid))
        self.node.run(self.node.sheep.gateway.write_wait(
            self.oid, 0, bytes(self.content[
                test_coded.OBJECT_BYTES:2 * test_coded.OBJECT_BYTES]),
            create=True))
        node, _, history = self.strips(self.oid)[4]
        self.assertEqual((True, 0), (history.generation[2], history.floor))
        self.damage(node, ids.strip_key(self.oid, 4))
        self.look()
        self.wait_well()
        self.check(self.volume)
        self.check_strips(1)

    def damage(self, node, key, number=0):
        """A bit of the strip's file flips, in one of its blocks."""
        name = '%s_%d' % (ids.hex_oid(ids.object_of(key)),
                          ids.strip_of(key))
        inode, = [inode for path, inode in node.host.image.files()
                  if path.rpartition('/')[2].partition('.')[0] == name]
        inode.rot(sorted(inode.pages)[number], 77)

    def test_a_strip_that_does_not_belong(self):
        for index in 5, 0:
            with self.subTest(index):
                node, strip, history = self.strips(self.oid)[index]
                key = ids.strip_key(self.oid, index)
                version = node.sheep.store.version(key)
                node.run(node.sheep.store.adopt(
                    key, version, len(strip), [(0, b'?' * BLOCK)], True,
                    history=history))
                problems = [one for found in self.look()
                            for one in found.problems]
                self.assertEqual(
                    [(tally.DIFFERS, ids.hex_oid(self.oid))],
                    [(one['kind'], one['object']) for one in problems])
                self.write(self.volume, test_coded.OBJECT_BYTES,
                           self.chance.randbytes(4 * BLOCK))
                self.assertFalse(any(one.problems for one in self.look()))

    def test_what_each_has_is_told(self):
        told = [node.run(facts_module.Facts(
            None, node.sheep, (), 0).copies())
            for node in self.cluster.serving()]
        whole = [oid for one in told for oid, in
                 facts_module.WHOLE.iter_unpack(base64.b64decode(
                     one['whole']))]
        self.assertEqual(6, whole.count(self.oid))
