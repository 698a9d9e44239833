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

from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case
from sheepdog.wire import peer as wire

BLOCK = case.BLOCK
VDI = case.VDI


class TestReads(case.FlockCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.must_write(self.a, b'old'.ljust(BLOCK))

    def refuse_reads(self, sheep, error):
        sheep.store.refuse = lambda verb, oid: (
            error if verb == 'read' else None)

    async def test_everybody_reads_the_same(self):
        for sheep in self.flock.alive():
            self.assertEqual(await self.must_read(sheep, 3), b'old')

    async def test_the_local_copy_is_nearest(self):
        self.refuse_reads(self.a, errors.StorageError('EIO'))
        self.refuse_reads(self.c, errors.StorageError('EIO'))
        self.flock.lock(self.b, VDI)
        await self.flock.settled()
        reads = self.a.replica.counters['read']
        self.assertEqual(await self.must_read(self.b, 3), b'old')
        self.assertEqual(self.a.replica.counters['read'], reads)

    async def test_a_bad_copy_is_passed_over(self):
        self.refuse_reads(self.a, errors.StorageError('EIO'))
        self.assertEqual(await self.must_read(self.a, 3), b'old')

    async def test_a_copy_that_is_not_whole_is_passed_over(self):
        self.a.recovery.standing.doubt(self.oid)
        self.hold(self.b, self.a)
        read = self.read(self.a, 0, 3)
        await asyncio.sleep(0.01)
        self.release(self.b, self.a)
        self.assertEqual(await self.done(read), (None, b'old'))

    async def test_a_copy_out_of_reach_is_passed_over(self):
        self.refuse_reads(self.a, errors.StorageError('EIO'))
        self.fabric.cut.add((self.a.name, self.b.name))
        self.fabric.sever(self.b.name)
        self.assertEqual(await self.must_read(self.a, 3), b'old')

    async def test_all_copies_are_bad(self):
        for sheep in self.flock.alive():
            self.refuse_reads(sheep, errors.StorageError('EIO'))
        for sheep in self.flock.alive():
            error, data = await self.done(self.read(sheep))
            self.assertIsInstance(error, errors.StorageError)
            self.assertFalse(data)

    async def test_bad_and_unsure_is_not_bad(self):
        """C may have it good: it must be asked again."""
        self.refuse_reads(self.a, errors.StorageError('EIO'))
        self.refuse_reads(self.b, errors.StorageError('EIO'))
        self.fabric.cut.add((self.a.name, self.c.name))
        self.fabric.sever(self.c.name)
        read = self.read(self.a, 0, 3)
        await asyncio.sleep(0.05)
        self.assertEqual(read, [])
        self.fabric.cut.clear()
        self.assertEqual(await self.done(read), (None, b'old'))

    async def test_who_does_not_wait_any_more(self):
        """Neither what is asked of copies stays, nor what is tried again,
        nor what waits for its turn."""
        gateway = self.a.gateway
        gateway.turns.take(change := operation.Change(
            gateway.changes, wire.WRITE, self.oid, 0, 9, b'', True, False, 0,
            None))
        for _ in range(3):
            with self.assertRaises(TimeoutError):
                await asyncio.wait_for(gateway.read_wait(self.oid, 0, 5), 1)
        self.assertEqual(0, gateway.inflight)
        gateway.turns.leave(change)
        self.assertEqual({}, gateway.turns.table)
        for sheep in self.flock.alive():
            self.refuse_reads(sheep, errors.NotRecovered('later'))
        with self.assertRaises(TimeoutError):
            await asyncio.wait_for(gateway.read_wait(self.oid, 0, 5), 1)
        self.assertEqual((0, {}), (gateway.inflight, gateway.turns.table))
        for sheep in self.flock.alive():
            sheep.store.refuse = lambda verb, oid: None
        await asyncio.sleep(1)
        self.assertEqual((0, {}), (gateway.inflight, gateway.turns.table))

    async def test_what_does_not_exist(self):
        error, data = await self.done(self.read(self.b, oid=VDI << 32 | 999))
        self.assertIsInstance(error, errors.NoObject)

    async def test_beyond_the_end(self):
        error, data = await self.done(
            self.read(self.b, (1 << flock.SHIFT) - 1, 2))
        self.assertIsInstance(error, errors.InvalidParameters)

    async def test_frozen_it_waits(self):
        self.flock.freeze()
        reads = [self.read(sheep, 0, 3) for sheep in self.flock.alive()]
        await asyncio.sleep(0.03)
        self.assertEqual(reads, [[], [], []])
        self.flock.change_view()
        self.assertEqual(await self.done(*reads), [(None, b'old')] * 3)

    async def test_an_answer_of_an_earlier_view_does_not_count(self):
        self.a.store.is_slow = True
        read = self.read(self.a, 0, 3)
        await flock.turns()
        self.flock.change_view()
        self.a.store.objects[self.oid].data[:3] = b'new'
        self.a.store.go_on()
        self.assertEqual(await self.done(read), (None, b'new'))

    async def test_who_orders_dies(self):
        self.hold(self.b, self.a)
        read = self.read(self.b, 0, 3)
        await flock.turns()
        self.flock.kill(1)
        self.flock.change_view()
        self.assertEqual(await self.done(read), (None, b'old'))

    async def test_it_ends_when_our_place_is_lost(self):
        self.hold(self.b, self.a)
        read = self.read(self.b, 0, 3)
        await flock.turns()
        self.flock.lapse(self.b)
        error, _ = await self.done(read)
        self.assertIsInstance(error, errors.NotServing)
        self.assertEqual(self.b.gateway.inflight, 0)

    async def test_the_lock_changes_meanwhile(self):
        self.hold(self.b, self.a)
        read = self.read(self.b, 0, 3)
        await flock.turns()
        self.flock.lock(self.c, VDI)
        self.release(self.b, self.a)
        self.assertEqual(await self.done(read), (None, b'old'))


class TestReadsAndChanges(case.FlockCase):
    """No read sees a change that may yet come to nothing."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.must_write(self.a, b'old'.ljust(BLOCK))

    async def test_a_read_behind_a_change(self):
        self.hold(self.a, self.c)
        change = self.write(self.a, b'new')
        reads = [self.read(sheep, 0, 3) for sheep in self.flock.alive()]
        other = self.read(self.b, 2048, 1)
        self.assertEqual((await self.done(other))[1], b' ')
        await asyncio.sleep(0.02)
        self.assertEqual(reads, [[], [], []])
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(change))
        self.assertEqual(await self.done(*reads), [(None, b'new')] * 3)

    async def test_a_change_behind_a_read(self):
        """The read goes on to another copy; meanwhile a change comes. If it
        overtook, the read would see it before it is anywhere else."""
        self.a.recovery.standing.doubt(self.oid)
        self.a.recovery.standing.trust(
            self.oid, self.a.recovery.standing.doubt_number(self.oid))
        self.a.store.refuse = lambda verb, oid: (
            errors.StorageError('EIO') if verb == 'read' else None)
        self.b.store.is_slow = True
        read = self.read(self.a, 0, 3)
        await flock.until(lambda: self.b.store.waiting)
        change = self.write(self.a, b'new')
        await asyncio.sleep(0.02)
        self.assertEqual(self.content(self.c, 3), b'old')
        self.b.store.go_on()
        self.assertEqual(await self.done(read), (None, b'old'))
        self.assertIsNone(await self.done(change))

    async def test_reads_are_not_starved_by_changes(self):
        stop = []

        def again(error):
            self.assertIsNone(error)
            if not stop:
                self.a.gateway.write(self.oid, 0, b'busy', again)

        for _ in range(3):
            again(None)
        for sheep in self.flock.alive():
            self.assertEqual(await self.must_read(sheep, 4), b'busy')
        stop.append(True)
        await flock.until(lambda: not self.a.gateway.turns.table)

    async def test_changes_are_not_starved_by_reads(self):
        stop = []

        def again(error, data):
            self.assertIsNone(error)
            if not stop:
                self.b.gateway.read(self.oid, 0, BLOCK, again)

        for _ in range(3):
            again(None, b'')
        await self.must_write(self.c, b'new')
        stop.append(True)
        await flock.until(lambda: not self.b.gateway.inflight)


class TestRepair(case.FlockCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.must_write(self.a, b'x' * 2 * BLOCK)

    async def test_a_bad_block_is_mended_by_reading(self):
        self.a.store.objects[self.oid].rotten = {0}
        self.assertEqual(await self.must_read(self.a), b'x' * BLOCK)
        await self.flock.settled()
        self.assertEqual(self.a.store.bad_blocks(), {})
        self.assertEqual([(o, p) for o, p, _, _ in self.a.store.adopted],
                         [(self.oid, [(0, BLOCK)])])

    async def test_a_write_into_a_bad_block(self):
        self.a.store.objects[self.oid].rotten = {0}
        await self.must_write(self.b, b'new')
        await self.assert_at_rest(b'newxxx')
        self.assertEqual(self.a.store.bad_blocks(), {})

    async def test_a_block_that_is_bad_everywhere(self):
        for sheep in self.flock.alive():
            sheep.store.objects[self.oid].rotten = {0}
        error, _ = await self.done(self.read(self.a))
        self.assertIsInstance(error, errors.StorageError)
        await self.flock.settled()
        # The rest of the object is as good as before.
        self.assertEqual(await self.must_read(self.b, BLOCK, BLOCK),
                         b'x' * BLOCK)
        error = await self.done(self.write(self.b, b'in part'))
        self.assertIsInstance(error, errors.StorageError)
        await self.must_write(self.c, b'y' * BLOCK)
        await self.assert_at_rest(b'y' * BLOCK + b'x' * BLOCK)


class TestOneCopy(case.FlockCase):

    copies = 1

    async def test_a_bad_block(self):
        await self.must_write(self.a, b'x' * 2 * BLOCK)
        self.a.store.objects[self.oid].rotten = {0}
        for sheep in self.flock.alive():
            error, _ = await self.done(self.read(sheep))
            self.assertIsInstance(error, errors.StorageError)
            await self.flock.settled()
        error = await self.done(self.write(self.b, b'in part'))
        self.assertIsInstance(error, errors.StorageError)
        await self.must_write(self.c, b'y' * BLOCK)
        self.assertEqual(await self.must_read(self.b), b'y' * BLOCK)
