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

"""Tests of sheepdog.volume.volumes."""

import asyncio
from unittest import mock

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case

OBJECT = case.OBJECT


class VolumesTest(case.VolumeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.inode = ids.vdi_oid(self.vdi_id)
        self.a, self.b, self.c = self.sheep

    def force_unlock(self):
        self.flock.event({'kind': 'unlock', 'vdi_id': self.vdi_id,
                          'owner': '', 'force': True})

    async def held_at(self, sheep, verb, coroutine):
        """Begin something that stops at its next ``verb`` of the inode."""
        gate = sheep.recorder.gates[verb, self.inode] = asyncio.Event()
        sheep.recorder.log = []
        task = asyncio.ensure_future(coroutine)
        await flock.until(lambda: any(
            entry[:2] == (verb, self.inode) for entry in sheep.recorder.log))
        del sheep.recorder.gates[verb, self.inode]
        return gate, task

    # Users of one sheep.

    async def test_the_lock_goes_with_the_last_user(self):
        one = await self.a.volumes.open('vm')
        two = await self.a.volumes.open('vm')
        self.assertIs(one, two)
        self.assertEqual(one.users, 2)
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])
        await one.close()
        self.assertTrue(two.valid)
        await two.write(0, b'still here')
        await two.close()
        self.assertFalse(two.valid)
        self.assertEqual(self.owners(self.vdi_id), [])
        again = await self.b.volumes.open('vm')
        self.assertEqual(await again.read(0, 10), b'still here')

    async def test_two_open_at_once(self):
        one, two = await asyncio.gather(self.a.volumes.open('vm'),
                                        self.a.volumes.open('vm'))
        self.assertIs(one, two)

    async def test_open_while_it_closes(self):
        first = await self.a.volumes.open('vm')
        await first.write(0, b'x')
        gate, closing = await self.held_at(self.a, 'flush', first.close())
        opening = asyncio.ensure_future(self.a.volumes.open('vm'))
        await flock.turns()
        self.assertFalse(opening.done())
        gate.set()
        await closing
        second = await opening
        self.assertTrue(second.valid)
        self.assertIsNot(first, second)
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])

    async def test_the_last_close_makes_it_durable(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(5, b'kept')
        await volume.close()
        for one in self.flock.targets(ids.data_oid(self.vdi_id, 0)):
            _, data, _ = one.store.durable[ids.data_oid(self.vdi_id, 0)]
            self.assertEqual(data[5:9], b'kept')
        self.assertEqual(await self.entry_on_disk(self.vdi_id, 0),
                         self.vdi_id)

    async def hold_writes(self, sheep):
        """Of one replica: returns what lets them go on."""
        held = []
        write, sheep.replica.write = sheep.replica.write, (
            lambda *request: held.append(request))

        def go_on():
            sheep.replica.write = write
            for request in held:
                write(*request)

        return go_on

    async def test_no_write_outlives_the_lock(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'x')
        go_on = await self.hold_writes(self.b)
        writing = asyncio.ensure_future(volume.write(0, b'y'))
        closing = asyncio.ensure_future(volume.close())
        await asyncio.sleep(0.1)
        owners = self.owners(self.vdi_id)
        go_on()
        self.assertEqual(owners, [self.a.cluster.incarnation])
        with self.assertRaises(errors.VdiNotLocked):
            await volume.write(0, b'z')
        await case.within(writing)
        await case.within(closing)
        self.assertEqual(self.owners(self.vdi_id), [])

    async def test_no_native_write_outlives_the_claim(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'x')
        await volume.close()
        await self.a.volumes.claim(self.vdi_id, False)
        go_on = await self.hold_writes(self.b)
        writing = asyncio.ensure_future(self.a.gateway.write_wait(
            ids.data_oid(self.vdi_id, 0), 0, b'y'))
        releasing = asyncio.ensure_future(
            self.a.volumes.release(self.vdi_id))
        await asyncio.sleep(0.1)
        owners = self.owners(self.vdi_id)
        go_on()
        self.assertEqual(owners, [self.a.cluster.incarnation])
        await case.within(writing)
        await case.within(releasing)
        self.assertEqual(self.owners(self.vdi_id), [])

    async def test_a_close_that_cannot_flush(self):
        volume = await self.a.volumes.open('vm')
        self.a.recorder.refuse = lambda verb, oid: (
            errors.StorageError('broken') if verb == 'flush' else None)
        with self.assertRaises(errors.StorageError):
            await volume.close()
        self.assertFalse(volume.valid)
        self.assertEqual(self.owners(self.vdi_id), [])

    async def test_an_inode_that_cannot_be_read(self):
        self.a.recorder.refuse = lambda verb, oid: errors.StorageError('no')
        with self.assertRaises(errors.StorageError):
            await self.a.volumes.open('vm')
        self.assertEqual(self.owners(self.vdi_id), [])
        await self.b.volumes.open('vm')

    # Modes.

    async def test_exclusive_elsewhere(self):
        await self.a.volumes.open('vm')
        for shared in (False, True):
            with self.assertRaises(errors.VdiLocked):
                await self.b.volumes.open('vm', shared=shared)

    async def test_shared_by_two_sheep(self):
        one = await self.a.volumes.open('vm', shared=True)
        two = await self.b.volumes.open('vm', shared=True)
        self.assertEqual(self.owners(self.vdi_id),
                         [s.cluster.incarnation for s in (self.a, self.b)])
        with self.assertRaises(errors.VdiLocked):
            await self.c.volumes.open('vm')
        await one.close()
        self.assertTrue(two.valid)
        with self.assertRaises(errors.VdiLocked):
            await self.c.volumes.open('vm')
        await two.close()
        await self.c.volumes.open('vm')

    async def test_one_user_on_one_sheep(self):
        volume = await self.a.volumes.open('vm', alone=True)
        for alone in False, True:
            with self.assertRaises(errors.VdiLocked):
                await self.a.volumes.open('vm', alone=alone)
        # It goes on so behind a snapshot.
        await self.a.branching.snapshot('vm')
        with self.assertRaises(errors.VdiLocked):
            await self.a.volumes.open('vm')
        await self.a.volumes.open('vm', read_only=True)
        await volume.close()
        volume = await self.a.volumes.open('vm')
        with self.assertRaises(errors.VdiLocked):
            await self.a.volumes.open('vm', alone=True)
        await self.a.volumes.open('vm')

    async def test_one_mode_on_one_sheep(self):
        volume = await self.a.volumes.open('vm')
        with self.assertRaises(errors.VdiLocked):
            await self.a.volumes.open('vm', shared=True)
        await volume.close()
        await self.a.volumes.open('vm', shared=True)
        with self.assertRaises(errors.VdiLocked):
            await self.a.volumes.open('vm')

    async def test_readers_need_no_lock(self):
        writer = await self.a.volumes.open('vm')
        await writer.write(0, b'seen')
        reader = await self.b.volumes.open('vm', read_only=True)
        local = await self.a.volumes.open('vm', read_only=True)
        for volume in (reader, local):
            self.assertTrue(volume.read_only)
            self.assertEqual(await volume.read(0, 4), b'seen')
            with self.assertRaises(errors.ReadOnly):
                await volume.write(0, b'x')
        await local.close()
        self.assertFalse(local.valid)
        self.assertTrue(writer.valid)
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])

    async def test_snapshots_are_read_only(self):
        self.flock.event({'kind': 'vdi-create', 'entry': {
            'vdi_id': 5, 'name': 'vm', 'tag': 'old', 'snap_id': 1,
            'snapshot': True}})
        with self.assertRaises(errors.ReadOnly):
            await self.a.volumes.open('vm', tag='old')
        with self.assertRaises(errors.NoTag):
            await self.a.volumes.open('vm', tag='older', read_only=True)
        with self.assertRaises(errors.NoVdi):
            await self.a.volumes.open('other')

    # Losing it.

    async def test_unlocked_by_force(self):
        volume = await self.a.volumes.open('vm')
        other = await self.a.volumes.open('vm')
        await volume.write(0, b'before')
        self.force_unlock()
        self.assertFalse(volume.valid)
        self.assertFalse(volume.can_reopen)
        for request in (volume.read(0, 1), volume.write(0, b'x'),
                        volume.flush(), volume.zero(0, 1),
                        volume.extents(0, 1)):
            with self.assertRaises(errors.VdiNotLocked):
                await request
        new = await self.b.volumes.open('vm')
        # Whoever had it open closes it without harm to who has it now.
        await volume.close()
        await other.close()
        self.assertEqual(self.owners(self.vdi_id),
                         [self.b.cluster.incarnation])
        self.assertTrue(new.valid)

    async def test_opened_again_where_it_was_lost(self):
        lost = await self.a.volumes.open('vm')
        self.force_unlock()
        new = await self.a.volumes.open('vm')
        self.assertIsNot(new, lost)
        await lost.close()
        self.assertTrue(new.valid)
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])

    async def test_unlocks_of_others(self):
        one = await self.a.volumes.open('vm', shared=True)
        two = await self.b.volumes.open('vm', shared=True)
        await two.close()
        self.assertTrue(one.valid)

    async def test_a_lapse(self):
        volume = await self.a.volumes.open('vm')
        reader = await self.a.volumes.open('vm', read_only=True)
        self.flock.lapse(self.a)
        for one in (volume, reader):
            self.assertFalse(one.valid)
            self.assertTrue(one.can_reopen)
            with self.assertRaises(errors.NotServing):
                await one.read(0, 1)
        self.assertEqual(self.owners_at(self.b), [])
        new = await self.b.volumes.open('vm')
        await volume.close()
        await reader.close()
        self.assertTrue(new.valid)
        await new.close()
        self.flock.rejoin(self.a)
        await self.flock.settled()
        again = await self.a.volumes.open('vm')
        self.assertTrue(again.valid)

    def owners_at(self, sheep):
        lock = sheep.cluster.state.locks.get(self.vdi_id)
        return list(lock.owners) if lock else []

    async def test_a_lapse_while_it_is_opened(self):
        """It was locked for an identity that is no more."""
        gate, opening = await self.held_at(self.a, 'read',
                                           self.a.volumes.open('vm'))
        self.flock.lapse(self.a)
        self.flock.rejoin(self.a)
        await self.flock.settled()
        gate.set()
        with self.assertRaises(errors.NotServing):
            await case.within(opening)
        await self.b.volumes.open('vm')

    async def test_unlocked_by_force_while_it_is_opened(self):
        gate, opening = await self.held_at(self.a, 'read',
                                           self.a.volumes.open('vm'))
        self.force_unlock()
        other = await self.b.volumes.open('vm')
        gate.set()
        with self.assertRaises(errors.SheepdogError):
            await case.within(opening)
        self.assertTrue(other.valid)
        self.assertEqual(self.owners(self.vdi_id),
                         [self.b.cluster.incarnation])

    async def test_deleted_while_it_is_read(self):
        reader = await self.a.volumes.open('vm', read_only=True)
        await self.b.catalogue.delete('vm')
        self.assertFalse(reader.valid)

    async def test_formatted_anew(self):
        volume = await self.a.volumes.open('vm')
        await self.a.volumes.claim(await self.create('other'), False)
        self.a.volumes.on_event({'kind': 'format'})
        self.assertFalse(volume.valid)
        self.assertTrue(volume.can_reopen)

    async def test_the_cluster_shuts_down(self):
        volume = await self.a.volumes.open('vm')
        self.a.volumes.on_shutdown()
        self.assertFalse(volume.valid)

    # Growing.

    async def test_all_hear_of_a_resize(self):
        told = []
        volumes = [await self.a.volumes.open('vm'),
                   await self.a.volumes.open('vm', read_only=True),
                   await self.b.volumes.open('vm', read_only=True)]
        for volume in volumes:
            volume.on_resize.append(told.append)
        await self.create('other')
        await self.c.catalogue.resize('other', 9 * OBJECT)
        self.assertEqual(told, [])
        await self.c.catalogue.resize('vm', 9 * OBJECT)
        self.assertEqual(told, [9 * OBJECT] * 3)
        self.assertEqual({volume.size for volume in volumes}, {9 * OBJECT})

    async def test_a_resize_while_it_is_opened(self):
        for options in ({}, {'read_only': True}):
            with self.subTest(options):
                size = 20 * OBJECT if options else 10 * OBJECT
                gates = []
                opening = asyncio.ensure_future(
                    self.a.volumes.open('vm', **options))
                # Once the head is read, when the map is about to be.
                original = self.a.recorder.read_wait

                async def read_wait(oid, offset, length):
                    if offset and not gates:
                        gates.append(asyncio.Event())
                        await gates[0].wait()
                    return await original(oid, offset, length)

                with mock.patch.object(self.a.recorder, 'read_wait',
                                       read_wait):
                    await flock.until(lambda: gates)
                    await self.b.catalogue.resize('vm', size)
                    gates[0].set()
                    volume = await opening
                self.assertEqual(volume.size, size)
                self.assertEqual(await volume.read(size - 1, 1), b'\0')
                await volume.close()

    # Native clients.

    async def test_claimed_and_released(self):
        volumes = self.a.volumes
        self.assertFalse(volumes.is_claimed(self.vdi_id))
        await volumes.claim(self.vdi_id, False)
        self.assertTrue(volumes.is_claimed(self.vdi_id))
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])
        await volumes.claim(self.vdi_id, False)
        for one in (self.a, self.b):
            with self.assertRaises(errors.VdiLocked):
                await one.volumes.open('vm')
        with self.assertRaises(errors.VdiLocked):
            await self.b.volumes.claim(self.vdi_id, False)
        await volumes.release(self.vdi_id)
        self.assertEqual(self.owners(self.vdi_id), [])
        with self.assertRaises(errors.VdiNotLocked):
            await volumes.release(self.vdi_id)

    async def test_no_claim_where_it_is_open(self):
        volume = await self.a.volumes.open('vm')
        for one in (self.a, self.b):
            with self.assertRaises(errors.VdiLocked):
                await one.volumes.claim(self.vdi_id, False)
        await volume.close()
        await self.b.volumes.claim(self.vdi_id, False)

    async def test_a_claim_of_what_does_not_exist(self):
        with self.assertRaises(errors.NoVdi):
            await self.a.volumes.claim(0xABC, False)
        self.assertFalse(self.a.volumes.is_claimed(0xABC))

    async def test_shared_claims(self):
        await self.a.volumes.claim(self.vdi_id, True)
        await self.b.volumes.claim(self.vdi_id, True)
        self.assertEqual([True, True, False], [
            one.volumes.may_write(self.vdi_id) for one in self.sheep])
        with self.assertRaises(errors.VdiLocked):
            await self.c.volumes.claim(self.vdi_id, False)

    async def test_claims_that_are_lost(self):
        await self.a.volumes.claim(self.vdi_id, False)
        self.force_unlock()
        self.assertFalse(self.a.volumes.is_claimed(self.vdi_id))
        await self.a.volumes.claim(self.vdi_id, False)
        self.flock.lapse(self.a)
        self.assertFalse(self.a.volumes.is_claimed(self.vdi_id))
        self.flock.rejoin(self.a)
        await self.flock.settled()

    async def test_a_claim_beside_a_volume_that_was_lost(self):
        """Somebody has it open who does not yet know that it is lost."""
        lost = await self.a.volumes.open('vm')
        self.force_unlock()
        self.assertTrue(self.a.volumes.may_write(self.vdi_id))
        await self.a.volumes.claim(self.vdi_id, False)
        await lost.close()
        self.assertTrue(self.a.volumes.is_claimed(self.vdi_id))
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])

    async def test_who_may_write(self):
        def may():
            return [s.volumes.may_write(self.vdi_id) for s in self.sheep]

        self.assertEqual(may(), [True] * 3)
        await self.a.volumes.claim(self.vdi_id, False)
        self.assertEqual(may(), [True, False, False])
        await self.a.volumes.release(self.vdi_id)
        volume = await self.b.volumes.open('vm')
        self.assertEqual(may(), [False] * 3)
        await volume.close()
        self.assertEqual(may(), [True] * 3)

    # The end.

    async def test_all_are_flushed(self):
        volumes = [await self.a.volumes.open('vm')]
        await self.create('other')
        volumes.append(await self.a.volumes.open('other'))
        for volume in volumes:
            await volume.write(0, b'kept')
        broken = ids.vdi_oid(min(v.vdi_id for v in volumes))
        self.a.recorder.log = []
        self.a.recorder.refuse = lambda verb, oid: (
            errors.StorageError('broken') if oid == broken else None)
        with self.assertLogs('sheepdog.volume.volumes', 'WARNING'):
            await self.a.volumes.close_all()
        self.assertEqual(
            sorted(e[1] for e in self.a.recorder.log if e[0] == 'flush'),
            sorted(ids.vdi_oid(v.vdi_id) for v in volumes))
