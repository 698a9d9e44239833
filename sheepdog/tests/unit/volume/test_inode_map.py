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

import array
import asyncio
import unittest

from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.volume import inode_map

VDI = 7
COUNT = 1 << 20
BLOCK = 4096


class Gateway:
    """One inode; counts what is read of it."""

    def __init__(self, owners):
        self.content = bytearray(inode.MAP_OFFSET + 4 * COUNT)
        for index, owner in owners.items():
            start = inode.map_offset(index)
            self.content[start:start + 4] = owner.to_bytes(4, 'little')
        self.content[:4] = b'name'
        self.read = 0

    async def read_wait(self, oid, offset, size):
        assert oid == ids.vdi_oid(VDI)
        self.read += size
        return memoryview(self.content)[offset:offset + size]

    async def extents(self, oid):
        assert oid == ids.vdi_oid(VDI)
        return [(start, BLOCK) for start in range(
            0, len(self.content), BLOCK)
            if any(self.content[start:start + BLOCK])]


class InodeMapTest(unittest.TestCase):

    def owners(self, gateway, count):
        return asyncio.run(inode_map.owners(gateway, VDI, count)).tolist()

    def test_a_large_map_is_read_where_it_is_not_zero(self):
        named = {0: 1, 3: VDI, 5000: 2, COUNT // 2: 3, COUNT - 1: 4}
        gateway = Gateway(named)
        expected = array.array('I', bytes(4 * COUNT))
        for index, owner in named.items():
            expected[index] = owner
        self.assertEqual(expected.tolist(), self.owners(gateway, COUNT))
        self.assertLess(gateway.read, 6 * BLOCK)

    def test_no_more_of_it_than_was_asked_for(self):
        gateway = Gateway({10: 1, 2999: 2, 3000: 3, 3001: 4})
        self.assertEqual([2, 3], self.owners(gateway, 3001)[-2:])
        self.assertEqual([2], self.owners(gateway, 3000)[-1:])

    def test_a_small_map_is_one_read(self):
        gateway = Gateway({10: 1})
        self.assertEqual([0] * 10 + [1], self.owners(gateway, 11))
        self.assertEqual(44, gateway.read)

    def test_nothing_is_said_of_zeroes(self):
        async def pieces(count):
            return [piece async for piece in inode_map.pieces(
                Gateway({}), VDI, count)]
        for count in (0, 1, 100, COUNT):
            self.assertEqual([], asyncio.run(pieces(count)))
