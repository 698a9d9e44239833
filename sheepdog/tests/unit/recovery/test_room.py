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

"""Recovery that would not fit (format's option -F)."""

import asyncio

from sheepdog.model import errors
from sheepdog.model import sizes
from sheepdog.recovery import room
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.recovery import test_recovery

BLOCK = flock.BLOCK
VDI = test_recovery.VDI
OBJECTS = 20
CAPACITY = 1 << flock.SHIFT
SIZE = CAPACITY // 2


class RoomCase(test_recovery.FlockCase):
    options = {'avoid_full': True}

    async def asyncSetUp(self):
        await super().asyncSetUp()
        for index in range(OBJECTS):
            await self.write(VDI << 32 | index, b'x' * SIZE)
        # Nothing is in doubt when somebody goes.
        for sheep in self.flock.alive():
            await sheep.gateway.declare_now()
        # And what its file needs beside.
        self.needed = OBJECTS * (SIZE + room.FILE_BYTES)

    async def lose_a_disk(self, left):
        """The third sheep comes back with an empty one."""
        lost = self.flock.kill(3)
        self.flock.change_view()
        await self.flock.settled()
        lost.store.objects.clear()
        lost.store.left = left
        self.c = self.flock.restart(lost)
        self.flock.change_view()
        await flock.until(lambda: not self.c.recovery.active
                          or self.c.recovery.room.short)


class TestRoom(RoomCase):

    async def test_it_is_not_started(self):
        await self.lose_a_disk(self.needed - 1)
        # Over some rounds of trying.
        await asyncio.sleep(0.1)
        self.assertEqual({}, self.c.store.objects)
        since, text = self.c.recovery.room.short
        self.assertEqual(
            '20 objects (about %s) are to come here, and there is room for '
            '%s' % ((sizes.show_size(self.needed),) * 2), text)
        self.assertFalse(self.c.cluster.state.has_recovered())
        # What clients read is served, by others.
        for index in range(OBJECTS):
            self.assertEqual(b'x' * BLOCK,
                             await self.read(VDI << 32 | index, self.c))
        self.assertEqual([(0, SIZE)], [
            tuple(one) for one in await self.c.gateway.extents(VDI << 32)])
        self.assertEqual({}, self.c.store.objects)

    async def test_a_read_brings_what_no_other_can_read(self):
        """…else it would be sent round for ever."""
        oid = VDI << 32
        await self.lose_a_disk(SIZE)
        for sheep in self.flock.alive()[:2]:
            sheep.store.objects[oid].rotten.add(0)
        with self.assertRaises(errors.StorageError):
            await self.read(oid, self.c)
        self.assertEqual({oid}, set(self.c.store.objects))
        self.assertEqual(b'x' * BLOCK, await self.read(oid, self.c, BLOCK))

    async def test_who_talks_nonsense_is_not_believed(self):
        await self.lose_a_disk(0)
        said = [b'', b'xyz']

        async def table(oid):
            return said.pop()

        for sheep in self.flock.alive()[:2]:
            sheep.store.table = table
        view = self.c.cluster.view
        self.assertEqual(0, await self.c.recovery.room._bytes(
            view, VDI << 32))
        self.assertEqual([], said)

    async def test_it_starts_by_itself_when_there_is_room(self):
        await self.lose_a_disk(self.needed - 1)
        self.c.store.left = self.needed
        await self.flock.settled()
        self.assertIsNone(self.c.recovery.room.short)
        self.assertEqual(OBJECTS, len(self.c.store.objects))

    async def test_it_fits(self):
        await self.lose_a_disk(self.needed)
        await self.flock.settled()
        self.assertEqual(OBJECTS, len(self.c.store.objects))

    async def test_what_is_deleted_needs_no_room(self):
        await self.lose_a_disk(self.needed - 1)
        self.flock.event({'kind': 'vdi-delete', 'vdi_id': VDI})
        await self.flock.settled()
        self.assertIsNone(self.c.recovery.room.short)
        self.assertEqual({}, self.c.store.objects)

    async def test_what_is_here_is_made_whole_all_the_same(self):
        lost = self.flock.kill(3)
        self.flock.change_view()
        await self.flock.settled()
        await self.write(VDI << 32, b'new!')
        await self.write(VDI << 32 | OBJECTS)
        await self.write(VDI << 32 | OBJECTS + 1)
        lost.store.left = 1
        c = self.flock.restart(lost)
        self.flock.change_view()
        await flock.until(lambda: c.recovery.room.short)
        await flock.until(lambda: not c.recovery.needs(VDI << 32))
        self.assertEqual(b'new!', c.store.objects[VDI << 32].data[:4])
        self.assertNotIn(VDI << 32 | OBJECTS, c.store.objects)
        self.assertIn('2 objects', c.recovery.room.short[1])

    async def test_single_ones_that_clients_write_to_come(self):
        await self.lose_a_disk(SIZE)
        await self.write(VDI << 32, b'new!')
        self.assertEqual({VDI << 32}, set(self.c.store.objects))
        self.c.store.left = SIZE - 1
        with self.assertRaises(errors.NoSpace):
            await self.write(VDI << 32 | 1, b'new!')
        self.assertEqual({VDI << 32}, set(self.c.store.objects))

    async def test_a_new_view_forgets_it(self):
        await self.lose_a_disk(0)
        self.flock.kill(3)
        self.flock.change_view()
        await self.flock.settled()
        for sheep in self.flock.alive():
            self.assertIsNone(sheep.recovery.room.short)


class TestNotAvoided(RoomCase):
    options = {}

    async def test_it_starts(self):
        await self.lose_a_disk(0)
        await self.flock.settled()
        self.assertEqual(OBJECTS, len(self.c.store.objects))
