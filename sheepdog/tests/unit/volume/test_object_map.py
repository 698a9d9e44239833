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

import asyncio
import unittest
from unittest import mock

import hypothesis
from hypothesis import strategies

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.tests.unit.volume import memory
from sheepdog.volume import object_map

VDI = 5
INODE = ids.vdi_oid(VDI)


class TestSpans(unittest.TestCase):

    @hypothesis.settings(max_examples=200, deadline=None)
    @hypothesis.given(strategies.sets(strategies.integers(0, 60)))
    def test_runs_of_neighbours(self, indexes):
        with mock.patch.object(object_map, 'SPAN_BYTES', 4 * 5):
            spans = list(object_map._spans(sorted(indexes)))
        self.assertEqual([i for span in spans for i in span],
                         sorted(indexes))
        for span in spans:
            self.assertEqual(span, list(range(span[0], span[-1] + 1)))
            self.assertLessEqual(len(span), 5)
        for span, behind in zip(spans, spans[1:]):
            self.assertTrue(len(span) == 5 or span[-1] + 1 < behind[0])


class TestObjectMap(jumping.Case):

    is_alone = True

    async def asyncSetUp(self):
        self.house = memory.House()
        self.gateway = self.house.gateway
        self.entries = [0, 3, VDI, 0, 0, 0, 0, 0]
        await self.gateway.write_wait(
            INODE, inode.MAP_OFFSET, b''.join(
                e.to_bytes(4, 'little') for e in self.entries), create=True)
        self.gateway.log.clear()
        self.map = object_map.ObjectMap(self.gateway, VDI, VDI, self.is_alone)
        await self.map.load(8)

    async def asyncTearDown(self):
        self.assertEqual(await self.house.close(), [])

    def on_disk(self, durable=False):
        obj = (self.gateway.durable if durable
               else self.gateway.objects)[INODE]
        return [int.from_bytes(obj[o:o + 4], 'little')
                for o in range(inode.MAP_OFFSET, inode.MAP_OFFSET + 32, 4)]

    async def test_load_and_extend(self):
        self.assertEqual(self.map.owners.tolist(), self.entries)
        self.map.extend(10)
        self.map.extend(4)
        self.assertEqual(self.map.owners.tolist(), self.entries + [0, 0])
        empty = object_map.ObjectMap(self.gateway, VDI, VDI, True)
        await empty.load(0)
        self.assertEqual(empty.owners.tolist(), [])

    async def test_own(self):
        await self.map.own(3, VDI)
        self.assertEqual(self.map.owners[3], VDI)
        self.assertEqual(self.on_disk(True)[3], VDI)

    async def test_it_is_ours_only_when_it_is_written(self):
        gate = asyncio.Event()
        self.gateway.gate = lambda verb, oid: gate.wait()
        own = asyncio.ensure_future(self.map.own(3, VDI))
        await flock.turns()
        self.assertEqual(self.map.owners[3], 0)
        gate.set()
        await own
        self.assertEqual(self.map.owners[3], VDI)

    async def test_many_at_once_share_their_writes(self):
        gate = asyncio.Event()
        self.gateway.gate = lambda verb, oid: gate.wait()
        tasks = [asyncio.ensure_future(self.map.own(index, VDI))
                 for index in (0, 3, 4, 5, 7)]
        await flock.turns()
        gate.set()
        await asyncio.gather(*tasks)
        self.assertEqual(self.map.owners.tolist(),
                         [VDI, 3, VDI, VDI, VDI, VDI, 0, VDI])
        self.assertEqual(self.on_disk(), self.map.owners.tolist())
        # The first alone, the others together: 3 to 5, and 7.
        self.assertEqual([(o - inode.MAP_OFFSET, size) for _, _, o, size, _
                          in self.gateway.log], [(0, 4), (12, 12), (28, 4)])

    async def test_what_is_of_the_vdi_before_is_not_in_the_next(self):
        """Whether its write is under way, or waits for that one, or has not
        begun."""
        next_oid = ids.vdi_oid(VDI + 1)
        await self.gateway.write_wait(
            next_oid, 0, bytes(self.gateway.objects[INODE]), create=True)
        before = bytes(self.gateway.objects[next_oid])
        for turns in 0, 1, 9:
            gate = asyncio.Event()
            self.gateway.gate = lambda verb, oid: gate.wait()
            self.map.follow(VDI, VDI)
            first = asyncio.ensure_future(self.map.own(3, VDI))
            for _ in range(turns):
                await asyncio.sleep(0)
            second = asyncio.ensure_future(self.map.own(4, VDI))
            await asyncio.sleep(0)
            self.map.follow(VDI + 1, VDI + 1)
            gate.set()
            for error in await asyncio.gather(first, second,
                                              return_exceptions=True):
                self.assertIsInstance(error, errors.NotServing)
            self.assertEqual(self.entries, self.map.owners.tolist())
            self.assertEqual(before, self.gateway.objects[next_oid])
        await self.map.own(3, VDI + 1)
        self.assertEqual(VDI + 1, self.map.owners[3])

    async def test_entries_of_others_are_not_written_over(self):
        """What lies between may have been set by another sheep."""
        await asyncio.gather(self.map.own(0, VDI), self.map.own(4, VDI))
        obj = self.gateway.objects[INODE]
        obj[inode.map_offset(5):inode.map_offset(6)] = (9).to_bytes(
            4, 'little')
        gate = asyncio.Event()
        self.gateway.gate = lambda verb, oid: gate.wait()
        tasks = [asyncio.ensure_future(self.map.own(index, VDI))
                 for index in (3, 4, 6)]
        await flock.turns()
        gate.set()
        await asyncio.gather(*tasks)
        self.assertEqual(self.on_disk()[5], 9)

    async def test_a_failure_is_told_to_all_and_changes_nothing(self):
        self.gateway.refuse = lambda verb, oid: errors.NoSpace('full')
        results = await asyncio.gather(
            self.map.own(3, VDI), self.map.own(4, VDI), return_exceptions=True)
        self.assertEqual([type(r) for r in results], [errors.NoSpace] * 2)
        self.assertEqual(self.map.owners.tolist(), self.entries)
        self.gateway.refuse = lambda verb, oid: None
        await self.map.own(3, VDI)
        self.assertEqual(self.on_disk()[3], VDI)

    async def test_refresh(self):
        obj = self.gateway.objects[INODE]
        obj[inode.map_offset(3):inode.map_offset(4)] = VDI.to_bytes(
            4, 'little')
        self.assertEqual(await self.map.refresh(3),
                         0 if self.is_alone else VDI)
        self.assertEqual(self.map.owners[3], 0 if self.is_alone else VDI)
        self.assertEqual(await self.map.refresh(0), 0)
        self.assertEqual(await self.map.refresh(1), 3)


class TestSharedMap(TestObjectMap):

    is_alone = False
