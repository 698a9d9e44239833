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

"""Tests of sheepdog.volume.volume; see also the volume contract."""

import asyncio

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case

BLOCK = case.BLOCK
OBJECT = case.OBJECT


class VolumeTest(case.VolumeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.inode = ids.vdi_oid(self.vdi_id)
        self.first = ids.data_oid(self.vdi_id, 0)
        self.gateway = self.sheep[0].recorder
        self.volume = await self.sheep[0].volumes.open('vm')
        self.gateway.log = []

    async def test_two_writers_of_a_new_object(self):
        await asyncio.gather(*(
            self.volume.write(n * BLOCK, bytes([n + 1]) * BLOCK)
            for n in range(4)))
        self.assertEqual(
            await self.volume.read(0, 4 * BLOCK),
            b''.join(bytes([n + 1]) * BLOCK for n in range(4)))
        # One of them made its entry.
        self.assertEqual(len(self.gateway.writes(self.inode)), 1)

    async def test_the_object_comes_before_its_entry(self):
        gate = self.gateway.gates['write', self.first] = asyncio.Event()
        writing = asyncio.ensure_future(self.volume.write(0, b'x'))
        await flock.turns()
        self.assertEqual(self.gateway.writes(self.inode), [])
        self.assertFalse(writing.done())
        gate.set()
        await case.within(writing)
        self.assertEqual([e[1] for e in self.gateway.log
                          if e[0] == 'write'], [self.first, self.inode])
        self.assertEqual(await self.entry_on_disk(self.vdi_id, 0),
                         self.vdi_id)

    async def test_an_object_that_cannot_be_made(self):
        self.gateway.refuse = lambda verb, oid: (
            errors.NoSpace('full') if oid == self.first else None)
        for result in await asyncio.gather(
                self.volume.write(0, b'x'), self.volume.write(9, b'y'),
                return_exceptions=True):
            self.assertIsInstance(result, errors.NoSpace)
        self.assertEqual(await self.entry_on_disk(self.vdi_id, 0), 0)
        self.gateway.refuse = lambda verb, oid: None
        await self.volume.write(9, b'z')
        self.assertEqual(await self.volume.read(8, 3), b'\0z\0')

    async def test_no_zeroes_are_begun_once_the_lock_is_lost(self):
        await self.volume.write(0, b'x')
        self.gateway.log = []
        zeroing = asyncio.ensure_future(self.volume.zero(0, 2 * OBJECT))
        # It was let in, and its pieces are to begin at once.
        await asyncio.sleep(0)
        self.volume.invalidate(can_reopen=True)
        with self.assertRaises(errors.NotServing):
            await zeroing
        self.assertEqual(self.gateway.log, [])

    async def test_no_entry_is_written_once_the_lock_is_lost(self):
        gate = self.gateway.gates['write', self.first] = asyncio.Event()
        writing = asyncio.ensure_future(self.volume.write(0, b'x'))
        await flock.turns()
        self.volume.invalidate()
        gate.set()
        with self.assertRaises(errors.VdiNotLocked):
            await case.within(writing)
        self.assertEqual(self.gateway.writes(self.inode), [])

    async def test_who_waits_for_a_new_object_begins_nothing(self):
        gate = self.gateway.gates['write', self.first] = asyncio.Event()
        writes = [asyncio.ensure_future(self.volume.write(n, b'x'))
                  for n in range(2)]
        zeroing = asyncio.ensure_future(self.volume.zero(0, 10))
        await flock.turns()
        self.volume.invalidate()
        self.gateway.log = []
        gate.set()
        for waiting in *writes, zeroing:
            with self.assertRaises(errors.VdiNotLocked):
                await case.within(waiting)
        self.assertEqual(self.gateway.log, [])

    async def test_a_piece_that_fails_fails_the_write(self):
        self.gateway.refuse = lambda verb, oid: (
            errors.NoSpace('full') if oid == self.first + 1 else None)
        with self.assertRaises(errors.NoSpace):
            await self.volume.write(OBJECT - 5, b'0123456789')
        self.assertEqual(await self.volume.read(OBJECT - 5, 10),
                         b'01234' + bytes(5))

    async def test_entries_are_durable_whatever_the_write(self):
        for index, fua in enumerate((False, True)):
            self.gateway.log = []
            await self.volume.write(index * OBJECT, b'x', fua=fua)
            self.assertEqual(
                [w[2] for w in self.gateway.writes(self.first + index)],
                [fua])
            self.assertEqual(
                [w[2] for w in self.gateway.writes(self.inode)], [True])

    async def test_the_next_write_goes_straight(self):
        await self.volume.write(0, b'x')
        self.gateway.log = []
        await self.volume.write(1, b'y', fua=True)
        await self.volume.write(2, b'z')
        self.assertEqual(self.gateway.log, [
            ('write', self.first, 1, 1, True),
            ('write', self.first, 2, 1, False)])

    async def test_a_flush_that_fails(self):
        await self.volume.write(0, b'x')
        self.gateway.refuse = lambda verb, oid: errors.StorageError('no')
        with self.assertRaises(errors.StorageError):
            await self.volume.flush()

    async def test_zeroes_make_no_objects(self):
        await self.volume.zero(0, 4 * OBJECT)
        await self.volume.discard(5, OBJECT)
        self.assertEqual(self.gateway.log, [])
        self.assertEqual(await self.volume.extents(0, 4 * OBJECT),
                         [(4 * OBJECT, False)])

    async def test_an_object_that_is_lost_is_never_zero(self):
        # The inode names it: then it is damage, and nothing hides that.
        await self.volume.write(0, b'x' * BLOCK)
        await self.gateway.remove_wait(self.first)
        for call in (self.volume.read(0, 1), self.volume.extents(0, BLOCK),
                     self.volume.zero(0, BLOCK)):
            with self.assertRaises(errors.NoObject):
                await call

    async def test_zeroes_wait_for_an_object_that_is_made(self):
        gate = self.gateway.gates['write', self.first] = asyncio.Event()
        writing = asyncio.ensure_future(
            self.volume.write(0, b'x' * 2 * BLOCK))
        await flock.turns()
        zeroing = asyncio.ensure_future(self.volume.zero(0, BLOCK))
        await flock.turns()
        self.assertFalse(zeroing.done())
        gate.set()
        await case.within(asyncio.gather(writing, zeroing))
        self.assertEqual(await self.volume.read(0, 2 * BLOCK),
                         bytes(BLOCK) + b'x' * BLOCK)

    async def test_what_never_got_an_entry_does_not_come_back(self):
        await self.gateway.gateway.write_wait(self.first, 0, b'old' * BLOCK,
                                              create=True)
        self.assertEqual(await self.volume.read(0, 3), bytes(3))
        await self.volume.write(BLOCK + 1, b'new')
        self.assertEqual(await self.volume.read(0, 3 * BLOCK), bytes(
            BLOCK + 1) + b'new' + bytes(2 * BLOCK - 4))

    async def test_an_ancestor_s_object_is_copied(self):
        old = 7
        self.flock.event({'kind': 'vdi-create', 'entry': {
            'vdi_id': old, 'name': 'old', 'block_size_shift': case.SHIFT}})
        await self.gateway.gateway.write_wait(
            ids.data_oid(old, 0), 0, b'a' * 3 * BLOCK, create=True)
        self.volume.map.owners[0] = old
        self.assertEqual(await self.volume.read(0, BLOCK), b'a' * BLOCK)
        await self.volume.zero(BLOCK, BLOCK)
        await self.volume.write(5, b'new')
        content = bytearray(b'a' * 3 * BLOCK)
        content[BLOCK:2 * BLOCK] = bytes(BLOCK)
        content[5:8] = b'new'
        self.assertEqual(await self.volume.read(0, 3 * BLOCK), content)
        self.assertEqual(await self.gateway.read_wait(
            ids.data_oid(old, 0), 0, 3 * BLOCK), b'a' * 3 * BLOCK)
        self.assertEqual(await self.entry_on_disk(self.vdi_id, 0),
                         self.vdi_id)

    async def test_what_was_written_is_there_when_opened_again(self):
        await self.volume.write(OBJECT - 2, b'over')
        await self.volume.close()
        volume = await self.sheep[1].volumes.open('vm')
        self.assertEqual(await volume.read(OBJECT - 3, 6), b'\0over\0')
        self.assertEqual(list(volume.map.owners),
                         [self.vdi_id, self.vdi_id, 0, 0])

    async def test_it_grows(self):
        await self.volume.write(0, b'x')
        await self.sheep[1].catalogue.resize('vm', 6 * OBJECT + 5)
        await self.volume.write(6 * OBJECT, b'12345')
        self.assertEqual(await self.volume.read(6 * OBJECT, 5), b'12345')
        with self.assertRaises(errors.InvalidParameters):
            await self.volume.write(6 * OBJECT, b'123456')


class SharedVolumeTest(case.VolumeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.one, self.two = [await s.volumes.open('vm', shared=True)
                              for s in self.sheep[:2]]

    async def test_objects_that_others_made_are_seen(self):
        await self.one.write(OBJECT - 1, b'12')
        self.assertEqual(await self.two.read(OBJECT - 1, 2), b'12')
        await self.two.write(OBJECT + 1, b'3')
        self.assertEqual(await self.one.read(OBJECT - 1, 3), b'123')
        self.assertEqual(await self.two.extents(0, BLOCK), [(BLOCK, False)])

    async def test_both_make_the_same_object(self):
        await asyncio.gather(self.one.write(0, b'a' * BLOCK),
                             self.two.write(BLOCK, b'b' * BLOCK))
        for volume in (self.one, self.two):
            self.assertEqual(await volume.read(0, 2 * BLOCK),
                             b'a' * BLOCK + b'b' * BLOCK)

    async def test_entries_of_others_stay(self):
        await asyncio.gather(self.one.write(0, b'a'),
                             self.one.write(2 * OBJECT, b'a'),
                             self.two.write(OBJECT, b'b'),
                             self.two.write(3 * OBJECT, b'b'))
        for index in range(4):
            self.assertEqual(await self.entry_on_disk(self.vdi_id, index),
                             self.vdi_id)

    async def test_zeroes_where_another_wrote(self):
        await self.one.write(0, b'a' * BLOCK)
        await self.two.zero(0, BLOCK)
        self.assertEqual(await self.one.read(0, BLOCK), bytes(BLOCK))
