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

"""Tests of sheepdog.volume.cow."""

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.unit.volume import case
from sheepdog.volume import cow

BLOCK = case.BLOCK
OBJECT = case.OBJECT
OLD = 7
NEW = 8


class CowTest(case.VolumeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        for vdi_id in (OLD, NEW):
            self.flock.event({'kind': 'vdi-create', 'entry': {
                'vdi_id': vdi_id, 'name': 'vdi%d' % vdi_id,
                'block_size_shift': case.SHIFT}})
        self.gateway = self.sheep[0].recorder
        self.old = ids.data_oid(OLD, 3)
        self.new = ids.data_oid(NEW, 3)
        self.twin = bytearray(OBJECT)

    async def fill(self, offset, data):
        await self.gateway.gateway.write_wait(self.old, offset, data, True,
                                              create=True)
        self.twin[offset:offset + len(data)] = data

    async def copy(self, offset, data, durable=True):
        await cow.create_from(self.gateway, self.old, self.new, offset, data,
                              durable)
        self.twin[offset:offset + len(data)] = data
        content = await self.gateway.gateway.read_wait(self.new, 0, OBJECT)
        self.assertEqual(content, bytes(self.twin))

    def copied(self):
        """(offset, length) of what was read of the ancestor's."""
        return [entry[2:4] for entry in self.gateway.log
                if entry[:2] == ('read', self.old)]

    async def test_what_is_not_covered_is_copied(self):
        await self.fill(0, b'a' * 8 * BLOCK)
        await self.copy(2 * BLOCK + 5, b'b' * BLOCK)
        self.assertEqual(self.copied(), [
            (0, 2 * BLOCK + 5), (3 * BLOCK + 5, 5 * BLOCK - 5)])

    async def test_holes_are_not_copied(self):
        await self.fill(2 * BLOCK, b'a' * BLOCK)
        await self.fill(100 * BLOCK, b'c' * BLOCK)
        await self.copy(50 * BLOCK, b'b' * BLOCK)
        self.assertEqual(self.copied(), [(2 * BLOCK, BLOCK),
                                         (100 * BLOCK, BLOCK)])
        self.assertEqual(
            await self.gateway.extents(self.new),
            [(2 * BLOCK, BLOCK), (50 * BLOCK, BLOCK), (100 * BLOCK, BLOCK)])

    async def test_all_is_covered(self):
        await self.fill(BLOCK, b'a' * BLOCK)
        await self.copy(0, b'b' * 3 * BLOCK)
        self.assertEqual(self.copied(), [])

    async def test_of_one_that_is_not_there_nothing_is_made_up(self):
        with self.assertRaises(errors.NoObject):
            await self.copy(5, b'b')

    async def test_large_ones_in_chunks(self):
        self.addCleanup(setattr, cow, 'CHUNK_BYTES', cow.CHUNK_BYTES)
        cow.CHUNK_BYTES = 3 * BLOCK
        await self.fill(0, bytes(range(256)) * (8 * BLOCK // 256))
        await self.copy(7 * BLOCK, b'')
        self.assertEqual(self.copied(), [
            (0, 3 * BLOCK), (3 * BLOCK, 3 * BLOCK), (6 * BLOCK, BLOCK),
            (7 * BLOCK, BLOCK)])

    async def test_again_after_a_failure_half_way(self):
        await self.fill(0, b'a' * 4 * BLOCK)
        self.gateway.refuse = lambda verb, oid: (
            errors.NoSpace('full') if self.gateway.writes(self.new)[1:]
            else None)
        with self.assertRaises(errors.NoSpace):
            await self.copy(BLOCK, b'b')
        self.gateway.refuse = lambda verb, oid: None
        await self.copy(2 * BLOCK, b'c')

    async def test_what_may_have_been_durable_stays_so(self):
        """…whatever is asked: also what is written over, or a power cut
        would leave neither."""
        await self.fill(0, b'a' * BLOCK)
        for durable in (True, False):
            self.gateway.log = []
            await self.copy(5, b'b', durable)
            self.assertEqual(
                [(0, 5, True), (6, BLOCK - 6, True), (5, 1, True)],
                self.gateway.writes(self.new))

    async def test_where_there_was_nothing_it_is_as_is_asked(self):
        await self.fill(0, b'a' * BLOCK)
        for durable in (True, False):
            self.gateway.log = []
            await self.copy(9 * BLOCK, b'b', durable)
            self.assertEqual([(0, BLOCK, True), (9 * BLOCK, 1, durable)],
                             self.gateway.writes(self.new))

    async def test_zeroes_are_not_written(self):
        await self.fill(BLOCK, b'a' * 9 * BLOCK)
        await cow.create_zeroed(self.gateway, self.old, self.new,
                                2 * BLOCK + 5, 6 * BLOCK)
        self.twin[2 * BLOCK + 5:8 * BLOCK + 5] = bytes(6 * BLOCK)
        self.assertEqual(
            bytes(self.twin),
            await self.gateway.gateway.read_wait(self.new, 0, OBJECT))
        # (The first is for an object of which nothing is left.)
        self.assertEqual([(0, BLOCK, True), (BLOCK, BLOCK + 5, True),
                          (8 * BLOCK + 5, 2 * BLOCK - 5, True)],
                         self.gateway.writes(self.new))

    async def test_nothing_is_left(self):
        await self.fill(BLOCK, b'a' * 9 * BLOCK)
        await cow.create_zeroed(self.gateway, self.old, self.new, 0, OBJECT)
        self.assertEqual(
            bytes(OBJECT),
            await self.gateway.gateway.read_wait(self.new, 0, OBJECT))
        self.assertEqual([], await self.gateway.gateway.extents(self.new))
