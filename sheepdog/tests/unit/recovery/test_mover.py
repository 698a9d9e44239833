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
from unittest import mock

from sheepdog.model import errors
from sheepdog.recovery import recovery as recovery_module
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping

BLOCK = flock.BLOCK
VDI = 1


class TestStrayCopies(jumping.Case):

    async def test_one_helps_with_a_block_that_is_bad_elsewhere(self):
        crowd = flock.Flock(4)
        crowd.form()
        crowd.make_vdi(VDI)
        await crowd.settled()
        a, b, c, d = crowd.alive()
        oid = crowd.oid_held_by(a, b, c)
        data = b'1' * BLOCK + b'2' * BLOCK
        await a.gateway.write_wait(oid, 0, data, create=True)
        d.store.objects[oid] = a.store.objects.pop(oid)
        for sheep in (b, c):
            sheep.store.objects[oid].rotten = {1}
        a.recovery.standing.lapse()
        await flock.until(lambda: not a.recovery.needs(oid) or (
            a.recovery.hasten(oid)))
        self.assertEqual(data, bytes(a.store.objects[oid].data[:2 * BLOCK]))
        self.assertEqual({}, a.store.bad_blocks())
        self.assertEqual(await crowd.close(), [])


class TestMover(jumping.Case):
    """A is made whole; B and C have the object."""

    async def asyncSetUp(self):
        patch = mock.patch.object(recovery_module, 'PAUSE_SECONDS', 0.005)
        patch.start()
        self.addCleanup(patch.stop)
        self.flock = flock.Flock(3)
        self.flock.form()
        self.flock.make_vdi(VDI)
        await self.flock.settled()
        self.a, self.b, self.c = self.flock.alive()
        self.oid = self.flock.oid_held_by(self.a, self.b, self.c)
        self.data = bytearray(b''.join(
            bytes([number]) * BLOCK for number in range(8)))
        await self.a.gateway.write_wait(self.oid, 0, bytes(self.data),
                                        create=True)

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    def of(self, sheep):
        return sheep.store.objects[self.oid]

    async def make_whole(self):
        number = self.a.recovery.standing.doubt_number(self.oid)
        if number is None:
            self.a.recovery.standing.doubt(self.oid)
        await asyncio.wait_for(self.a.recovery.mover.make_whole(self.oid), 5)
        self.assertTrue(self.a.recovery.standing.is_clean(self.oid))
        self.assertEqual(bytes(self.of(self.a).data[:len(self.data)]),
                         bytes(self.data))

    async def test_nothing_differs(self):
        with mock.patch.object(self.b.store, 'table') as table:
            await self.make_whole()
        self.assertEqual(table.mock_calls, [])
        self.assertEqual(self.a.store.adopted, [])
        self.assertEqual(self.a.recovery.mover.moved_bytes, 0)

    async def test_the_source_changes_meanwhile(self):
        mover = self.a.recovery.mover
        is_equal = mover._is_equal

        async def is_equal_still(oid, state):
            found = await is_equal(oid, state)
            for sheep in (self.b, self.c):
                self.of(sheep).data[2 * BLOCK:3 * BLOCK] = b'?' * BLOCK
            return found

        self.data[2 * BLOCK:3 * BLOCK] = b'?' * BLOCK
        mover._is_equal = is_equal_still
        await self.make_whole()

    async def test_what_differs_is_moved_and_zeroes_are_not(self):
        self.of(self.a).data[2 * BLOCK:4 * BLOCK] = b'?' * 2 * BLOCK
        self.of(self.a).data[:1] = b'?'
        self.of(self.a).data[9 * BLOCK:9 * BLOCK + 1] = b'?'
        await self.make_whole()
        self.assertEqual(self.a.store.adopted, [(
            self.oid, [(2 * BLOCK, 2 * BLOCK)],
            [(0, BLOCK), (9 * BLOCK, BLOCK)], True)])
        self.assertEqual(self.a.recovery.mover.moved_bytes, 2 * BLOCK)
        self.assertEqual(bytes(self.of(self.a).data),
                         bytes(self.of(self.b).data))

    async def test_an_object_that_is_not_here(self):
        del self.a.store.objects[self.oid]
        await self.make_whole()
        self.assertEqual([pieces for _, pieces, _, _
                          in self.a.store.adopted],
                         [[(BLOCK, 7 * BLOCK)]])
        self.assertEqual(self.of(self.a).version, 1)

    async def test_an_object_that_should_not_be_here(self):
        del self.b.store.objects[self.oid]
        del self.c.store.objects[self.oid]
        self.a.recovery.standing.doubt(self.oid)
        await self.a.recovery.mover.make_whole(self.oid)
        self.assertNotIn(self.oid, self.a.store.objects)

    async def test_a_file_that_cannot_be_used(self):
        """Nothing of it can be kept."""
        describe = self.a.store.describe

        async def damaged(oid):
            state = await describe(oid)
            return state if self.a.store.adopted else state._replace(
                capacity=0, whole=False)

        self.a.store.describe = damaged
        self.of(self.a).data[:] = b'?' * len(self.of(self.a).data)
        await self.make_whole()
        self.assertFalse(self.a.store.adopted[0][3])

    async def test_a_source_that_cannot_be_used_comes_last(self):
        self.of(self.b).rotten = {1}
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        await self.make_whole()

    async def test_another_source_helps_with_a_bad_block(self):
        """B is repaired from C, C from B, and A, which was away, from
        both."""
        self.of(self.a).data[BLOCK:3 * BLOCK] = b'?' * 2 * BLOCK
        self.of(self.a).version = 0
        self.a.recovery.standing.lapse()
        self.of(self.b).rotten = {1}
        self.of(self.c).rotten = {2}
        await flock.until(lambda: not self.a.recovery.needs(self.oid) or (
            self.a.recovery.hasten(self.oid)))
        await flock.until(lambda: not any(
            s.recovery.needs(self.oid) for s in self.flock.alive()))
        self.assertEqual(self.flock.copies_of(self.oid), {
            bytes(self.data).ljust(1 << flock.SHIFT, b'\0')})
        for sheep in (self.a, self.b, self.c):
            self.assertEqual(sheep.store.bad_blocks(), {})

    async def test_what_nobody_has_does_not_hold_up_the_rest(self):
        """A, new, has the block no more than the others; the day that one
        of them has it again, all have."""
        told = []
        self.a.recovery.mover.on_irreparable = (
            lambda oid, blocks: told.append((oid, list(blocks))))
        del self.a.store.objects[self.oid]
        self.of(self.b).rotten = {1, 5}
        self.of(self.c).rotten = {1}
        self.a.recovery.standing.lapse()
        await flock.until(lambda: not self.a.recovery.needs(self.oid) or (
            self.a.recovery.hasten(self.oid)))
        self.assertEqual({self.oid: [1]}, self.a.store.bad_blocks())
        self.assertEqual([(self.oid, [1])], told)
        self.assertEqual(self.data[:BLOCK], await self.read(0))
        self.assertEqual(self.data[2 * BLOCK:3 * BLOCK], await self.read(2))
        with self.assertRaises(errors.StorageError):
            await self.read(1)
        self.of(self.c).rotten = set()
        self.a.recovery.mover.irreparable.clear()  # as with each new view
        self.a.recovery.doubt(self.oid)
        await flock.until(lambda: not self.a.recovery.active)
        self.assertEqual({}, self.a.store.bad_blocks())
        self.assertEqual(self.data[BLOCK:2 * BLOCK], await self.read(1))

    async def read(self, block):
        return await self.a.gateway.read_wait(self.oid, block * BLOCK, BLOCK)

    async def test_what_ours_has_instead_of_a_lost_block(self):
        """It is older than what was acknowledged: nobody may see it, but
        it is not thrown away."""
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        self.of(self.a).version = 0
        old = bytes(self.of(self.a).data)
        for sheep in (self.b, self.c):
            self.of(sheep).rotten = {1}
        self.a.recovery.standing.lapse()
        await flock.until(lambda: not self.a.recovery.needs(self.oid) or (
            self.a.recovery.hasten(self.oid)))
        with self.assertRaises(errors.StorageError):
            await self.read(1)
        self.assertEqual(self.data[:BLOCK], await self.read(0))
        self.assertEqual([(self.oid, old)], [
            kept[:2] for kept in self.a.store.aside])

    async def test_what_cannot_be_read_just_now_is_not_made_up(self):
        """A took a write that B refused, and that nobody was told of. B's
        device fails, but only for now: A must not pass for the same."""
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        self.of(self.c).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        self.c.recovery.standing.doubt(self.oid)
        self.a.recovery.standing.doubt(self.oid)
        self.b.store.refuse = lambda verb, oid: (
            errors.StorageError('EIO') if verb == 'read' else None)
        with self.assertRaises(errors.Transient):
            await self.a.recovery.mover.make_whole(self.oid)
        self.assertTrue(self.a.recovery.needs(self.oid))
        self.b.store.refuse = lambda verb, oid: None
        await self.make_whole()

    async def test_what_is_taken_back_while_it_is_taken_over(self):
        """A hears that a write was refused before it has it from B, who
        hears of it later."""
        for sheep in (self.b, self.c):
            sheep.replica.marks.note(self.oid, 77)
        self.a.recovery.standing.doubt(self.oid)
        adopt = self.a.store.adopt

        async def hear_and_adopt(*arguments, **keywords):
            self.a.store.adopt = adopt
            self.a.replica.doubt_if_applied(self.oid, 77)
            await adopt(*arguments, **keywords)

        self.a.store.adopt = hear_and_adopt
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        await self.a.recovery.mover.make_whole(self.oid)
        self.assertTrue(self.a.recovery.needs(self.oid))
        with self.assertRaises(errors.Transient):
            await self.a.recovery.mover.make_whole(self.oid)
        for sheep in (self.b, self.c):
            sheep.replica.marks.forget(self.oid, 77)
        await self.make_whole()
        self.assertEqual({}, self.a.replica.taken_back)

    async def align(self):
        """A's copy is being replaced by what B has: an earlier content."""
        self.a.recovery.standing.doubt(self.oid)
        self.b.recovery.standing.doubt(self.oid)
        waiting = asyncio.get_running_loop().create_future()
        adopt = self.a.store.adopt

        async def slowly(*arguments, **keywords):
            self.a.store.adopt = adopt
            await waiting
            await adopt(*arguments, **keywords)

        self.a.store.adopt = slowly
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        task = asyncio.ensure_future(self.a.recovery.align(
            self.oid, self.b.cluster.incarnation))
        await flock.turns(100)
        self.assertFalse(task.done())
        return task, waiting

    async def test_nobody_writes_to_what_is_being_aligned(self):
        task, waiting = await self.align()
        self.a.recovery.standing.complete(self.a.cluster.view)
        self.assertTrue(self.a.recovery.needs(self.oid))
        with self.assertRaises(errors.Transient):
            await self.a.recovery.mover.make_whole(self.oid)
        self.assertTrue(self.a.recovery.needs(self.oid))
        waiting.set_result(None)
        await task
        await self.make_whole()

    async def test_the_vdi_is_deleted_while_a_copy_is_being_made(self):
        task, waiting = await self.align()
        self.flock.event({'kind': 'vdi-delete', 'vdi_id': VDI})
        await flock.until(lambda: not any(
            sheep.store.objects for sheep in self.flock.alive()))
        waiting.set_result(None)
        await task
        self.assertEqual(self.a.store.oids(), [])

    async def test_a_table_that_cannot_be_read(self):
        async def broken(oid):
            raise errors.StorageError('EIO')

        self.b.store.table = broken
        self.of(self.a).data[:1] = b'?'
        self.a.recovery.standing.doubt(self.oid)
        with self.assertRaises(errors.Transient):
            await self.a.recovery.mover.make_whole(self.oid)

    async def test_marks_come_with_the_content(self):
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        self.b.replica.marks.note(self.oid, 1 << 48 | 77)
        await self.make_whole()
        self.assertIn(1 << 48 | 77,
                      self.a.replica.marks.unstable(self.oid))

    async def test_the_view_changes_meanwhile(self):
        table = self.b.store.table

        async def change_first(oid):
            found = await table(oid)
            self.b.store.table = table
            self.flock.change_view()
            return found

        self.b.store.table = change_first
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        self.a.recovery.standing.doubt(self.oid)
        with self.assertRaises(errors.Transient):
            await self.a.recovery.mover.make_whole(self.oid)
        self.assertEqual(self.a.store.adopted, [])
        self.assertFalse(self.a.recovery.standing.is_clean(self.oid))
        await self.flock.settled()
        await self.make_whole()

    async def test_a_doubt_that_comes_up_meanwhile_stays(self):
        table = self.b.store.table

        async def doubt_first(oid):
            self.a.recovery.standing.doubt(oid)
            return await table(oid)

        self.b.store.table = doubt_first
        self.of(self.a).data[:1] = b'?'
        self.a.recovery.standing.doubt(self.oid)
        await self.a.recovery.mover.make_whole(self.oid)
        self.assertFalse(self.a.recovery.standing.is_clean(self.oid))
        self.b.store.table = table
        await self.make_whole()

    async def test_somebody_does_not_answer(self):
        self.flock.fabric.cut.add((self.a.name, self.c.name))
        self.flock.fabric.sever(self.c.name)
        await flock.turns()
        # A clean copy says it all…
        await self.make_whole()
        # …but nothing may be concluded from copies that are not clean.
        self.b.recovery.standing.doubt(self.oid)
        self.a.recovery.standing.doubt(self.oid)
        with self.assertRaises(errors.Transient):
            await self.a.recovery.mover.make_whole(self.oid)

    async def test_the_first_target_settles(self):
        for sheep in (self.a, self.b, self.c):
            self.of(sheep).data[:1] = sheep.name[-1:].encode()
            sheep.recovery.standing.doubt(self.oid)
        self.data[:1] = b'1'
        await asyncio.wait_for(
            self.c.recovery.mover.make_whole(self.oid), 5)
        self.assertTrue(self.a.recovery.standing.is_clean(self.oid))
        self.assertEqual(bytes(self.of(self.c).data[:1]), b'1')
        self.assertFalse(self.b.recovery.standing.is_clean(self.oid))
        await asyncio.wait_for(
            self.b.recovery.mover.make_whole(self.oid), 5)
        self.assertEqual(len(self.flock.copies_of(self.oid)), 1)

    async def test_no_room(self):
        self.of(self.a).data[BLOCK:2 * BLOCK] = b'?' * BLOCK
        self.a.store.refuse = lambda verb, oid: (
            errors.NoSpace('full') if verb == 'adopt' else None)
        self.a.recovery.standing.doubt(self.oid)
        with self.assertRaises(errors.NoSpace):
            await self.a.recovery.mover.make_whole(self.oid)
        self.assertFalse(self.a.recovery.standing.is_clean(self.oid))
        self.a.store.refuse = lambda verb, oid: None
        await self.make_whole()

    async def test_who_has_no_room_does_not_hold_the_others_up(self):
        """Whoever it is: the first target, or one that is to align."""
        for number, empty in enumerate((self.a, self.c)):
            with self.subTest(empty.name):
                for sheep in (self.a, self.b, self.c):
                    sheep.recovery.standing.lapse()
                    sheep.recovery.standing.begin(sheep.cluster.view)
                empty.store.objects.clear()
                empty.store.refuse = lambda verb, oid: (
                    errors.NoSpace('full') if verb == 'adopt' else None)
                await asyncio.wait_for(
                    self.b.recovery.mover.make_whole(self.oid), 5)
                self.assertEqual(
                    {self.oid: 1}, empty.recovery.mover.behind)
                self.assertEqual(1, (await empty.recovery.describe(
                    self.oid))['behind'])
                with self.assertRaises(errors.NoRoom):
                    await empty.recovery.ensure(self.oid)
                self.assertFalse(
                    empty.recovery.standing.is_clean(self.oid))
                empty.store.refuse = lambda verb, oid: None
                await empty.recovery.ensure(self.oid)
                self.assertEqual({}, empty.recovery.mover.behind)
                self.assertEqual(1, len(self.flock.copies_of(self.oid)))

    async def test_a_disk_that_fails_does_not_hold_the_others_up(self):
        """It is not given up before they have recovered."""
        for has_all, failing in ((False, self.a), (True, self.c)):
            with self.subTest(failing.name):
                for sheep in (self.a, self.b, self.c):
                    sheep.recovery.standing.doubt(self.oid)
                if not has_all:
                    failing.recovery.standing.lapse()
                    failing.recovery.standing.begin(failing.cluster.view)
                self.of(failing).data[:1] = b'?'
                failing.store.device_error = errors.StorageError('EIO')
                failing.store.refuse = lambda verb, oid: (
                    errors.StorageError('EIO') if verb == 'adopt' else None)
                await asyncio.wait_for(
                    self.b.recovery.mover.make_whole(self.oid), 5)
                state = await failing.recovery.describe(self.oid)
                self.assertEqual((False, 1, 0), (
                    state['clean'], state['behind'], state['through']))
                with self.assertRaises(errors.NotServing):
                    await failing.recovery.ensure(self.oid)
                failing.store.device_error = None
                failing.store.refuse = lambda verb, oid: None
                await failing.recovery.ensure(self.oid)
                self.assertEqual({}, failing.recovery.mover.behind)
                await self.make_whole()
                self.assertEqual(1, len(self.flock.copies_of(self.oid)))

    async def test_what_a_copy_tells_of_itself(self):
        state = await self.a.recovery.describe(self.oid)
        self.assertEqual(
            (state['exists'], state['version'], state['capacity'],
             state['clean'], state['through'], state['bad']),
            (True, 1, 1 << flock.SHIFT, True, 1, 0))
        state = await self.a.recovery.describe(VDI << 32 | 999)
        self.assertEqual((state['exists'], state['clean']), (False, True))
