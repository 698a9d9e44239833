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

"""Tests of how a volume gets another form; see also sheepdog.volume.turner
and the seeds that turn (``testing.run --turn``)."""

import asyncio
import dataclasses

from sheepdog.cluster import entries
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case

BLOCK = case.BLOCK
OBJECT = case.OBJECT


class TurningTest(case.VolumeCase):
    """``a`` has the volume open. (Both forms are of three copies: that is
    all the same to the volume.)"""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.a, self.b = self.sheep[:2]
        self.vdi_id = await self.create('vm')
        self.volume = await self.a.volumes.open('vm')
        await self.volume.write(BLOCK, b'old', fua=True)
        self.gateway = self.a.recorder
        self.old, self.new = (ids.data_oid(ids.owner_of(self.vdi_id, form), 0)
                              for form in (0, 1))

    def alter(self):
        for one in self.sheep:
            vdis = one.cluster.state.vdis
            vdis[self.vdi_id] = dataclasses.replace(
                vdis[self.vdi_id], form=1,
                former=(entries.Former(0, 3, 0),))
            one.volumes.take_forms()

    async def check(self, offset, data, volume=None):
        self.assertEqual(data, await case.within(
            (volume or self.volume).read(offset, len(data))))

    def held(self, verb, oid, sheep=None):
        gate = (sheep or self.a).recorder.gates[verb, oid] = asyncio.Event()
        return gate

    def started(self, coroutine):
        return asyncio.ensure_future(coroutine)

    async def test_objects_stay_as_they_are(self):
        self.alter()
        await self.check(BLOCK, b'old')
        await self.volume.write(2 * BLOCK, b'more', fua=True)
        await self.volume.zero(BLOCK, BLOCK)
        await self.volume.write(OBJECT, b'another', fua=True)
        self.assertEqual([0], self.volume.turning.former())
        self.assertEqual(
            [ids.owner_of(self.vdi_id, form) for form in (0, 1)],
            [await self.entry_on_disk(self.vdi_id, index)
             for index in (0, 1)])
        await self.check(BLOCK, bytes(BLOCK) + b'more')
        await self.check(OBJECT, b'another')

    async def test_turned(self):
        await self.volume.write(OBJECT - 5, b'end', fua=True)
        self.alter()
        await self.volume.turning.turn(0)
        self.assertEqual([], self.volume.turning.former())
        self.assertEqual(ids.owner_of(self.vdi_id, 1),
                         await self.entry_on_disk(self.vdi_id, 0))
        await self.check(0, bytes(BLOCK) + b'old' + bytes(BLOCK))
        await self.check(OBJECT - 6, b'\0end\0')
        self.assertEqual([(BLOCK, False), (BLOCK, True),
                          (OBJECT - 3 * BLOCK, False), (BLOCK, True)],
                         await self.volume.extents(0, OBJECT))
        # The former one stays as it was.
        await self.volume.write(BLOCK, b'new')
        self.assertEqual(b'old', await self.gateway.read_wait(self.old,
                                                              BLOCK, 3))
        # There is nothing to do, neither here nor where nothing is.
        for index in (0, 1):
            await self.volume.turning.turn(index)
        self.assertEqual(0, await self.entry_on_disk(self.vdi_id, 1))

    async def test_what_is_made_may_be_out_of_reach(self):
        """…as somebody has begun it before: its writers do not wait."""
        self.alter()
        is_back = asyncio.Event()
        extents = self.gateway.extents

        async def when_back(oid):
            if oid == self.new:
                await is_back.wait()
            return await extents(oid)

        self.gateway.extents = when_back
        turning = self.started(self.volume.turning.turn(0, 0.2))
        await asyncio.sleep(0.05)
        writing = self.started(self.volume.write(2 * BLOCK, b'client'))
        with self.assertRaises(errors.Transient):
            await case.within(turning)
        await case.within(writing)
        self.assertEqual([0], self.volume.turning.former())
        is_back.set()
        await case.within(self.volume.turning.turn(0))
        self.assertEqual([], self.volume.turning.former())
        await self.check(BLOCK, b'old' + bytes(BLOCK - 3) + b'client')

    async def test_how_far_it_is(self):
        count = limits.TURNING_LEFT_MAX + 3
        self.volume.resized(2 * count * OBJECT)
        self.alter()
        for index in range(count):
            self.volume.map.owners[index] = self.vdi_id
        left = tuple(range(limits.TURNING_LEFT_MAX))
        self.assertEqual((5, left[:5]), self.volume.turning.progress(5))
        self.assertEqual((len(left), left),
                         self.volume.turning.progress(2 * count))
        self.volume.map.owners[2] = self.volume.owner
        self.assertEqual((len(left) + 1, (0, 1, *range(3, len(left) + 1))),
                         self.volume.turning.progress(2 * count))
        # What was lost before is for clients to hear.
        losses = self.a.gateway.unflushed.losses
        losses[self.vdi_id] = errors.StorageError('lost')
        await self.volume.turning.secure()
        self.assertIn(self.vdi_id, losses)

    async def test_an_object_of_zeroes(self):
        await self.volume.zero(0, OBJECT)
        self.alter()
        await self.volume.turning.turn(0)
        await self.check(0, bytes(OBJECT))

    async def test_what_was_under_way_is_copied(self):
        """A straight write, to where nothing was."""
        held, writes = [], [one.replica.write for one in self.sheep]
        for one, write in zip(self.sheep, writes):
            one.replica.write = lambda *request, write=write: held.append(
                (write, request))
        writing = self.started(self.volume.write(5 * BLOCK, b'late'))
        await flock.turns()
        for one, write in zip(self.sheep, writes):
            one.replica.write = write
        self.alter()
        turning = self.started(self.volume.turning.turn(0))
        await asyncio.sleep(1)
        for write, request in held:
            write(*request)
        await case.within(writing)
        await case.within(turning)
        await self.check(5 * BLOCK, b'late')

    async def test_who_reads_it_straight_is_waited_for(self):
        """A read that is tried again meanwhile has no turn. Nothing is over
        before it has ended."""
        reads = self.a.gateway.reads
        late, submit, reads.submit = [], reads.submit, lambda read: (
            late.append(read))
        reading = self.started(self.volume.read(BLOCK, 3))
        await flock.turns()
        reads.submit = submit
        self.alter()
        await case.within(self.volume.turning.turn(0))
        self.assertEqual([], self.volume.turning.former())
        self.assertFalse(self.volume.turning.is_over())
        self.assertEqual((0, ()), self.volume.turning.progress(4))
        submit(*late)
        self.assertEqual(b'old', await case.within(reading))
        self.assertTrue(self.volume.turning.is_over())
        self.assertEqual((4, ()), self.volume.turning.progress(4))

    async def test_a_write_that_cannot_end_holds_up_no_other(self):
        await self.volume.write(OBJECT, b'another', fua=True)
        changes = self.a.gateway.changes
        late, submit, changes.submit = [], changes.submit, lambda change: (
            late.append(change))
        writing = self.started(self.volume.write(5 * BLOCK, b'late'))
        await flock.turns()
        changes.submit = submit
        self.alter()
        await case.within(self.volume.write(OBJECT, b'written', fua=True))
        await case.within(self.volume.turning.turn(1))
        turning = self.started(self.volume.turning.turn(0))
        await asyncio.sleep(1)
        submit(*late)
        await case.within(writing)
        await case.within(turning)
        await self.check(5 * BLOCK, b'late')
        await self.check(OBJECT, b'written')

    async def test_a_first_write_of_the_former_form_is_waited_for(self):
        gate = self.held('write', ids.data_oid(self.vdi_id, 1))
        writing = self.started(self.volume.write(OBJECT, b'first'))
        await flock.turns()
        self.alter()
        await case.within(self.volume.turning.turn(0))
        self.assertEqual([], self.volume.turning.former())
        self.assertFalse(self.volume.turning.is_over())
        self.assertEqual((0, ()), self.volume.turning.progress(4))
        gate.set()
        await case.within(writing)
        self.assertEqual([1], self.volume.turning.former())
        self.assertEqual((4, (1,)), self.volume.turning.progress(4))
        await case.within(self.volume.turning.turn(1))
        await self.check(OBJECT, b'first')

    async def test_who_writes_to_the_former_one_comes_first(self):
        self.alter()
        gate = self.held('write', self.old)
        writing = self.started(self.volume.write(5 * BLOCK, b'late'))
        await flock.turns()
        turning = self.started(self.volume.turning.turn(0))
        await flock.turns()
        self.assertFalse(turning.done())
        gate.set()
        await case.within(writing)
        await case.within(turning)
        await self.check(5 * BLOCK, b'late')

    async def meanwhile(self, change, expected):
        self.alter()
        gate = self.held('write', self.new)
        turning = self.started(self.volume.turning.turn(0))
        await flock.turns()
        changing = self.started(change)
        await flock.turns()
        # Who reads does not wait.
        await self.check(BLOCK, b'old')
        self.assertFalse(changing.done())
        gate.set()
        await case.within(turning)
        await case.within(changing)
        await self.check(BLOCK, expected)

    async def test_who_writes_meanwhile_waits(self):
        await self.meanwhile(self.volume.write(BLOCK, b'new'), b'new')

    async def test_who_discards_meanwhile_waits(self):
        await self.meanwhile(self.volume.zero(BLOCK, BLOCK), b'\0\0\0')

    async def test_the_map_comes_last(self):
        self.alter()
        gate = self.held('write', ids.vdi_oid(self.vdi_id))
        turning = self.started(self.volume.turning.turn(0))
        await flock.turns()
        self.assertEqual(ids.owner_of(self.vdi_id, 0),
                         await self.entry_on_disk(self.vdi_id, 0))
        await self.check(BLOCK, b'old')
        self.assertEqual(
            b'old', await self.gateway.gateway.read_wait(self.old, BLOCK, 3))
        gate.set()
        await case.within(turning)
        await self.check(BLOCK, b'old')

    async def test_broken_off_and_begun_anew(self):
        self.alter()
        self.gateway.refuse = lambda verb, oid: (
            errors.NoSpace('full') if oid == ids.vdi_oid(self.vdi_id)
            and verb == 'write' else None)
        with self.assertRaises(errors.NoSpace):
            await self.volume.turning.turn(0)
        await self.check(BLOCK, b'old')
        # What the copy had must not come to light.
        await self.volume.zero(BLOCK, BLOCK)
        self.gateway.refuse = lambda verb, oid: None
        await self.volume.turning.turn(0)
        await self.check(BLOCK, bytes(BLOCK))

    def no_room_for_the_inode(self, sheep):
        """It comes back, and must make its copy whole first. What is
        written is refused, and is on the other copies all the same."""
        sheep.store.refuse = lambda verb, oid: (
            errors.NoSpace('full') if oid == ids.vdi_oid(self.vdi_id)
            else None)
        self.flock.rejoin(sheep)

    async def test_the_map_is_written_and_refused(self):
        self.flock.lapse(self.sheep[2])
        await self.volume.write(OBJECT, b'another', fua=True)
        self.no_room_for_the_inode(self.sheep[2])
        self.alter()
        with self.assertRaises(errors.NoSpace):
            await case.within(self.volume.turning.turn(0))
        await self.volume.write(BLOCK, b'new', fua=True)
        reader = await self.b.volumes.open('vm', read_only=True)
        await self.check(BLOCK, b'new', reader)

    async def test_a_first_write_is_refused_and_named(self):
        """Nobody gives back what the map names."""
        self.flock.lapse(self.sheep[2])
        await self.volume.write(OBJECT, b'another', fua=True)
        self.no_room_for_the_inode(self.sheep[2])
        with self.assertRaises(errors.NoSpace):
            await case.within(self.volume.write(2 * OBJECT, b'third'))
        self.assertEqual(self.vdi_id, await self.entry_on_disk(
            self.vdi_id, 2))
        self.alter()
        self.assertEqual([0, 1, 2], self.volume.turning.former())

    async def test_what_is_missing_is_not_made_up(self):
        await self.gateway.remove_wait(self.old)
        self.alter()
        with self.assertRaises(errors.NoObject):
            await case.within(self.volume.turning.turn(0))
        with self.assertRaises(errors.NoObject):
            await self.volume.read(0, 1)
        self.assertEqual([0], self.volume.turning.former())

    async def test_a_reader_elsewhere(self):
        reader = await self.b.volumes.open('vm', read_only=True)
        await self.check(BLOCK, b'old', reader)
        self.alter()
        await self.check(BLOCK, b'old', reader)
        await self.volume.turning.turn(0)
        await self.volume.write(BLOCK, b'new')
        await self.check(BLOCK, b'new', reader)
        self.assertEqual([(BLOCK, False), (BLOCK, True),
                          (OBJECT - 2 * BLOCK, False)],
                         await reader.extents(0, OBJECT))

    async def test_a_reader_asks_the_map_once_more(self):
        reader = await self.b.volumes.open('vm', read_only=True)
        self.alter()
        gate = self.held('read', self.old, self.b)
        reading = self.started(reader.read(BLOCK, 3))
        await flock.turns()
        await self.volume.turning.turn(0)
        await self.volume.write(BLOCK, b'new')
        self.assertEqual(b'old', await self.gateway.read_wait(self.old,
                                                              BLOCK, 3))
        gate.set()
        self.assertEqual(b'new', await case.within(reading))
        await self.check(BLOCK, b'new', reader)

    async def test_a_reader_whose_answer_comes_with_the_new_view(self):
        """It was read before the alteration; it may have waited since."""
        reader = await self.b.volumes.open('vm', read_only=True)
        answers = []
        read, self.b.gateway.read = self.b.gateway.read, (
            lambda *request: answers.append(request))
        reading = self.started(reader.read(BLOCK, 3))
        await flock.turns()
        self.b.gateway.read = read
        self.alter()
        await self.volume.turning.turn(0)
        await self.volume.write(BLOCK, b'new')
        (oid, _, _, done), = answers
        self.assertEqual(self.old, oid)
        done(None, b'old')
        self.assertEqual(b'new', await case.within(reading))

    async def test_who_wants_it_gets_it(self):
        await self.volume.close()
        self.alter()
        entry = self.a.cluster.state.vdis[self.vdi_id]
        turning = await self.a.volumes.open_to_turn(entry)
        self.assertEqual({}, self.a.volumes.users())
        # Here, in order.
        volume = await self.a.volumes.open('vm')
        self.assertFalse(turning.valid)
        self.assertIsNone(await self.a.volumes.open_to_turn(entry))
        self.assertIs(volume, self.a.volumes.to_turn(self.vdi_id))
        await volume.close()
        turning = await self.a.volumes.open_to_turn(entry)
        await turning.turning.turn(0)
        await self.a.volumes.close_turned(turning)
        self.assertNotIn(self.vdi_id, self.a.cluster.state.locks)

    async def test_it_is_taken_away_from_another_sheep(self):
        await self.volume.close()
        self.alter()
        entry = self.a.cluster.state.vdis[self.vdi_id]
        turning = await self.a.volumes.open_to_turn(entry)
        self.flock.event({'kind': 'lock', 'vdi_id': self.vdi_id,
                          'mode': 'exclusive', 'force': True,
                          'owner': self.b.cluster.incarnation})
        self.assertFalse(turning.valid)
        with self.assertRaises(errors.VdiNotLocked):
            await turning.turning.turn(0)
        self.b.recorder.log = []
        volume = await self.b.volumes.open('vm')
        # What is under way elsewhere must not change the map later.
        self.assertEqual(1, len(self.b.recorder.writes(
            ids.vdi_oid(self.vdi_id))))
        await self.check(BLOCK, b'old', volume)
        await self.a.volumes.close_turned(turning)
        self.assertEqual((self.b.cluster.incarnation,),
                         self.a.cluster.state.locks[self.vdi_id].owners)

    async def turning(self):
        """Nobody has it open but who turns it."""
        await self.volume.close()
        self.alter()
        return await self.a.volumes.open_to_turn(
            self.a.cluster.state.vdis[self.vdi_id])

    async def test_what_cannot_be_copied_holds_nobody_up(self):
        turning = await self.turning()
        changes = self.a.gateway.changes
        start, changes._start = changes._start, lambda change, route: (
            None if change.oid == self.new else start(change, route))
        copying = self.started(turning.turning.turn(0))
        await flock.turns()
        volume = await case.within(self.a.volumes.open('vm'), 60)
        with self.assertRaises(errors.VdiNotLocked):
            await case.within(copying)
        changes._start = start
        await volume.write(BLOCK, b'new', fua=True)
        await case.within(volume.turning.turn(0))
        await self.check(BLOCK, b'new', volume)

    async def test_it_is_closed_whatever_was_lost_before(self):
        """…which is for clients to hear."""
        turning = await self.turning()
        losses = self.a.gateway.unflushed.losses
        losses[self.vdi_id] = errors.StorageError('lost')
        await self.a.volumes.close_turned(turning)
        self.assertNotIn(self.vdi_id, self.a.cluster.state.locks)
        self.assertIn(self.vdi_id, losses)

    async def test_a_lock_that_was_left_over(self):
        """Its number changes, so nothing of before comes late."""
        await self.volume.close()
        self.flock.lock(self.a, self.vdi_id, 'turning')
        serial = self.a.order.serial(self.vdi_id)
        self.alter()
        turning = await self.a.volumes.open_to_turn(
            self.a.cluster.state.vdis[self.vdi_id])
        self.assertTrue(turning.valid)
        self.assertLess(serial, self.a.order.serial(self.vdi_id))
        await self.a.volumes.close_turned(turning)
        self.assertNotIn(self.vdi_id, self.a.cluster.state.locks)

    async def test_many_here_and_there(self):
        """A write for each would take minutes."""
        count = 5000
        vdi_id = await self.create('many', count * OBJECT)
        shown = [vdi_id if index % 3 == 1 else 0 for index in range(count)]
        await self.gateway.write_wait(
            ids.vdi_oid(vdi_id), inode.map_offset(0),
            b''.join(one.to_bytes(4, 'little') for one in shown))
        self.vdi_id = vdi_id
        self.alter()
        self.gateway.log = []
        volume = await self.a.volumes.open('many')
        (offset, length, durable), = self.gateway.writes(ids.vdi_oid(vdi_id))
        self.assertEqual(inode.map_offset(1), offset)
        self.assertTrue(durable)
        self.assertEqual(list(range(1, count, 3)),
                         volume.turning.former())
        for index in (0, 1, count - 1):
            self.assertEqual(shown[index],
                             await self.entry_on_disk(vdi_id, index))

    async def test_it_grows_while_it_is_opened(self):
        await self.volume.close()
        self.alter()
        gate = self.held('write', ids.vdi_oid(self.vdi_id))
        opening = self.started(self.a.volumes.open('vm'))
        await asyncio.sleep(1)
        self.assertFalse(opening.done())
        self.flock.carry_out = self.b.catalogue.carry_out
        await self.b.catalogue.resize('vm', 8 * OBJECT)
        gate.set()
        volume = await case.within(opening)
        self.assertEqual(8 * OBJECT, volume.size)
        await volume.write(7 * OBJECT, b'grown')

    async def test_it_is_deleted(self):
        turning = await self.turning()
        changes = self.a.gateway.changes
        late, submit, changes.submit = [], changes.submit, lambda change: (
            late.append(change))
        copying = self.started(turning.turning.turn(0))
        await flock.turns()
        changes.submit = submit
        self.assertEqual([self.new], [change.oid for change in late])
        await self.a.catalogue.delete('vm')
        self.assertFalse(turning.valid)
        with self.assertRaises(errors.NoVdi):
            await case.within(copying)
        await case.within(self.a.volumes.close_turned(turning))
        await asyncio.sleep(1)
        for one in self.sheep:
            self.assertEqual([], [oid for oid in one.store.oids()
                                  if ids.vdi_of(oid) == self.vdi_id])

    async def test_a_native_client_that_comes_too_early(self):
        """…and tries again and again, does not stop it."""
        turning = await self.turning()
        for one in (self.a, self.b):
            with self.assertRaisesRegex(errors.VdiLocked, 'being turned'):
                await one.volumes.claim(self.vdi_id, False)
        self.assertTrue(turning.valid)

    async def test_native_clients(self):
        """They keep the form that there was when they came; and do not come
        while there are two."""
        await self.volume.close()
        await self.a.volumes.claim(self.vdi_id, False)
        self.alter()
        self.assertEqual(self.vdi_id,
                         self.a.volumes.claimed_owner(self.vdi_id))
        self.assertTrue(self.a.volumes.may_write(self.vdi_id))
        await self.a.volumes.release(self.vdi_id)
        self.assertFalse(self.a.volumes.may_write(self.vdi_id))
        with self.assertRaisesRegex(errors.VdiLocked, 'being turned'):
            await self.a.volumes.claim(self.vdi_id, False)
        self.assertNotIn(self.vdi_id, self.a.cluster.state.locks)
