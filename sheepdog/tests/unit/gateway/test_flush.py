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
import types

from sheepdog.gateway import flush
from sheepdog.model import errors
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case

VDI = case.VDI


class TestFlush(case.FlockCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.must_write(self.a, b'old')

    def durable(self, sheep):
        return sheep.store.durable[self.oid][1][:3]

    async def flush(self, sheep):
        await asyncio.wait_for(sheep.gateway.flush(VDI), 5)

    def assert_durable(self, data=b'new'):
        for sheep in self.flock.targets(self.oid):
            self.assertEqual(self.durable(sheep), data, sheep.name)

    async def test_what_was_acknowledged_is_durable_behind_it(self):
        for sheep in self.flock.alive():
            data = sheep.name[-3:].encode()
            await self.must_write(sheep, data, durable=False)
            self.assertNotEqual(self.durable(self.c), data)
            await self.flush(sheep)
            self.assert_durable(data)

    async def test_with_a_lock(self):
        self.flock.lock(self.c, VDI)
        await self.must_write(self.c, b'new', durable=False)
        await self.flush(self.c)
        self.assert_durable()

    async def test_nothing_to_do_asks_nobody(self):
        await self.flush(self.b)
        self.assertEqual(self.a.replica.counters['flush'], 0)

    async def test_a_write_that_a_flush_has_overtaken(self):
        """It waits at C, which recovers; the flush goes by; then it is
        acknowledged. The next flush must cover it."""
        table = self.a.store.table
        gate = asyncio.Event()

        async def wait(oid):
            await gate.wait()
            return await table(oid)

        self.a.store.table = wait
        self.c.recovery.standing.doubt(self.oid)
        answers = self.write(self.a, b'new', durable=False)
        await asyncio.sleep(0.01)
        self.assertEqual(answers, [])
        await self.flush(self.a)
        gate.set()
        self.assertIsNone(await self.done(answers))
        await self.flush(self.a)
        self.assert_durable()

    async def test_a_write_that_waited_its_turn_during_a_flush(self):
        self.hold(self.a, self.c)
        first = self.write(self.b, b'one', durable=False)
        second = self.write(self.b, b'new', durable=False)
        await asyncio.sleep(0.01)
        flushing = asyncio.ensure_future(self.flush(self.b))
        await asyncio.sleep(0.01)
        self.release(self.a, self.c)
        self.assertEqual(await self.done(first, second), [None, None])
        await flushing
        await self.flush(self.b)
        self.assert_durable()

    async def test_flushes_at_the_same_time(self):
        """The second one must not return before the first one, which has
        taken what is to be flushed."""
        await self.must_write(self.a, b'new', durable=False)
        self.hold(self.a, self.c)
        first = asyncio.ensure_future(self.flush(self.a))
        await flock.turns()
        second = asyncio.ensure_future(self.flush(self.a))
        await asyncio.sleep(0.01)
        self.assertFalse(first.done() or second.done())
        self.release(self.a, self.c)
        await first
        await second
        self.assert_durable()

    async def test_who_waits_for_a_flush_is_given_up(self):
        await self.must_write(self.a, b'new', durable=False)
        self.hold(self.a, self.c)
        first = asyncio.ensure_future(self.flush(self.a))
        await flock.turns()
        second = asyncio.ensure_future(self.flush(self.a))
        await flock.turns()
        second.cancel()
        await asyncio.sleep(0.01)
        third = asyncio.ensure_future(self.flush(self.a))
        self.assertFalse(first.done())
        self.release(self.a, self.c)
        await first
        await third
        self.assert_durable()

    async def test_a_flush_that_fails_is_made_up_for(self):
        await self.must_write(self.a, b'new', durable=False)
        self.c.store.refuse = lambda verb, oid: (
            errors.StorageError('EIO') if verb == 'sync' else None)
        with self.assertRaises(errors.StorageError):
            await self.flush(self.a)
        self.c.store.refuse = lambda verb, oid: None
        await self.flush(self.a)
        self.assert_durable()

    async def test_a_flush_behind_one_that_fails(self):
        await self.must_write(self.a, b'new', durable=False)
        self.c.store.refuse = lambda verb, oid: (
            errors.StorageError('EIO') if verb == 'sync' else None)
        results = await asyncio.gather(
            self.flush(self.a), self.flush(self.a), return_exceptions=True)
        self.assertTrue(all(isinstance(r, errors.SheepdogError)
                            for r in results), results)
        self.c.store.refuse = lambda verb, oid: None
        await self.flush(self.a)
        self.assert_durable()

    async def test_a_replica_that_dies_is_done_without(self):
        await self.must_write(self.a, b'new', durable=False)
        self.hold(self.a, self.c)
        flushing = asyncio.ensure_future(self.flush(self.a))
        await asyncio.sleep(0.01)
        self.flock.kill(3)
        self.flock.change_view()
        await flushing
        self.assert_durable()

    async def test_who_ordered_has_left(self):
        await self.must_write(self.b, b'new', durable=False)
        self.flock.kill(1)
        self.flock.change_view()
        await self.flush(self.b)
        self.assert_durable()

    async def test_who_ordered_orders_no_more(self):
        await self.must_write(self.b, b'new', durable=False)
        self.flock.lock(self.c, VDI)
        await self.flush(self.b)
        self.assert_durable()

    async def test_who_asks_has_become_the_one_who_orders(self):
        await self.must_write(self.b, b'new', durable=False)
        self.flock.lock(self.b, VDI)
        await self.flush(self.b)
        self.assert_durable()

    async def test_two_that_order_for_each_other(self):
        other = self.flock.oid_held_by(self.b, self.a, self.c)
        await self.must_write(self.b, b'new', durable=False)
        self.assertIsNone(await self.done(
            self.write(self.a, b'new', oid=other, durable=False)))
        await asyncio.gather(self.flush(self.a), self.flush(self.b))
        self.assert_durable()
        self.oid = other
        self.assert_durable()

    async def test_a_lapse_ends_it(self):
        await self.must_write(self.a, b'new', durable=False)
        self.hold(self.a, self.c)
        flushing = asyncio.ensure_future(self.flush(self.a))
        await asyncio.sleep(0.01)
        self.flock.lapse(self.a)
        with self.assertRaises(errors.NotServing):
            await flushing

    async def test_a_volume_taken_over(self):
        """The sheep that acknowledged is dead; the client goes on with
        another, whose first flush covers what it wrote before."""
        self.flock.lock(self.a, VDI)
        await self.must_write(self.a, b'new', durable=False)
        self.flock.kill(1)
        self.flock.change_view()
        self.flock.lock(self.b, VDI)
        self.b.gateway.unflushed.note_everyone(VDI)
        await self.flush(self.b)
        self.assert_durable()

    async def test_another_vdi_is_not_flushed(self):
        self.flock.make_vdi(2)
        await self.must_write(self.a, b'new', durable=False)
        self.a.gateway.unflushed.note_everyone(2)
        await asyncio.wait_for(self.a.gateway.flush(2), 5)
        flushes = self.c.replica.counters['flush']
        await self.flush(self.a)
        self.assertGreater(self.c.replica.counters['flush'], flushes)
        self.assert_durable()

    def note_gone(self, sheep):
        """A write is acknowledged, and all that hold it go away."""
        sheep.gateway.unflushed.note(types.SimpleNamespace(
            vdi_id=VDI, orderer=None, flush_round=-1,
            epoch=self.a.replica.epoch, members=('gone.1', 'gone.2')))

    async def test_nobody_is_left_that_holds_a_write(self):
        await self.must_write(self.a, b'new', durable=False)
        self.note_gone(self.a)
        with self.assertRaises(flush.LostWrites):
            await self.flush(self.a)
        # The others are flushed; and it is told once.
        self.assert_durable()
        await self.flush(self.a)

    async def test_a_flush_at_the_same_time_is_told_no_lie(self):
        await self.must_write(self.a, b'new', durable=False)
        self.note_gone(self.a)
        self.hold(self.a, self.c)
        first = asyncio.ensure_future(
            self.a.gateway.unflushed.flush_replicas(VDI))
        await flock.turns()
        second = asyncio.ensure_future(self.flush(self.a))
        await asyncio.sleep(0.01)
        self.release(self.a, self.c)
        await first
        with self.assertRaises(flush.LostWrites):
            await second

    async def test_who_ordered_tells_that_nobody_is_left(self):
        await self.must_write(self.b, b'new', durable=False)
        self.note_gone(self.a)
        with self.assertRaises(errors.StorageError):
            await self.flush(self.b)
        self.assert_durable()

    async def test_one_goes_and_the_others_do_not_wait_for_a_flush(self):
        await self.must_write(self.a, b'new', durable=False)
        self.assertNotEqual(b'new', self.durable(self.b))
        self.flock.kill(3)
        self.flock.change_view()
        async with asyncio.timeout(5):
            while self.durable(self.b) != b'new':
                await asyncio.sleep(0.01)

    def lose_disk(self, sheep):
        """…as all hear it; what is written from now on goes elsewhere."""
        for other in self.flock.alive():
            other.gateway.on_event({
                'kind': 'forgo', 'lost': True, 'space': 1,
                'incarnation': sheep.cluster.incarnation})

    def note(self, *sheep, epoch=0):
        self.a.gateway.unflushed.note(types.SimpleNamespace(
            vdi_id=VDI, orderer=None, flush_round=-1,
            epoch=epoch or self.a.replica.epoch,
            members=tuple(one.cluster.incarnation for one in sheep)))

    async def test_a_disk_is_lost_and_the_others_do_not_wait_for_a_flush(
            self):
        await self.must_write(self.a, b'new', durable=False)
        self.lose_disk(self.c)
        async with asyncio.timeout(5):
            while self.durable(self.b) != b'new':
                await asyncio.sleep(0.01)
        await self.flush(self.a)

    async def lose_both(self):
        """One loses a disk, then the other one goes away."""
        self.hold(self.a, self.c)
        self.lose_disk(self.b)
        await flock.turns()
        self.flock.kill(3)
        self.flock.change_view()

    async def test_a_lost_disk_does_not_count(self):
        self.note(self.b, self.c)
        await self.lose_both()
        with self.assertRaises(flush.LostWrites):
            await self.flush(self.a)
        await self.flush(self.a)

    async def test_a_lost_disk_does_not_count_in_a_flush_under_way(self):
        self.note(self.b, self.c)
        self.hold(self.a, self.c)
        running = asyncio.ensure_future(self.flush(self.a))
        await asyncio.sleep(0.01)
        await self.lose_both()
        with self.assertRaises(flush.LostWrites):
            await running

    async def test_a_write_that_a_lost_disk_had_taken(self):
        """It is acknowledged when the loss is known already."""
        epoch = self.a.replica.epoch
        await self.lose_both()
        self.note(self.b, self.c, epoch=epoch)
        with self.assertRaises(flush.LostWrites):
            await self.flush(self.a)
        # What the sheep has taken since is on another disk.
        self.note(self.b, self.c)
        await self.flush(self.a)

    async def test_what_all_others_had_recovered_is_not_missed(self):
        self.note_gone(self.a)
        noted = self.a.gateway.unflushed._replicas.noted[VDI]
        noted.clear()
        noted[self.b.cluster.incarnation, 'gone.1'] = None
        self.lose_disk(self.b)
        await self.flush(self.a)
