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
import functools

from sheepdog.model import errors
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case
from sheepdog.wire import peer as wire

BLOCK = case.BLOCK
VDI = case.VDI


class TestChanges(case.FlockCase):

    async def test_a_write_is_on_all_copies_when_it_is_done(self):
        for sheep in (self.a, self.b, self.c):
            await self.must_write(sheep, sheep.name.encode())
            await self.assert_at_rest(sheep.name.encode())

    async def test_it_is_not_done_before(self):
        self.hold(self.a, self.c)
        answers = self.write(self.a, b'x')
        await asyncio.sleep(0.02)
        self.assertEqual(answers, [])
        self.assertEqual(self.content(self.b), b'x')
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(answers))

    async def test_overlapping_ones_take_turns(self):
        self.hold(self.a, self.c)
        first = self.write(self.a, b'1' * BLOCK)
        second = self.write(self.b, b'2' * BLOCK, BLOCK // 2)
        other = self.write(self.c, b'3' * BLOCK, 8 * BLOCK)
        await asyncio.sleep(0.02)
        self.assertEqual(self.content(self.b, 1, BLOCK - 1), b'1')
        self.assertEqual(self.content(self.b, 1, 8 * BLOCK), b'3')
        self.release(self.a, self.c)
        self.assertEqual(await self.done(first, second, other), [None] * 3)
        await self.assert_at_rest(b'1' * (BLOCK // 2) + b'2' * BLOCK)

    async def test_zero_and_remove(self):
        await self.must_write(self.b, b'x' * BLOCK)
        await self.b.gateway.zero_wait(self.oid, 1, 2)
        await self.assert_at_rest(b'x\0\0x')
        await self.c.gateway.remove_wait(self.oid)
        await self.flock.settled()
        self.assertEqual(self.flock.copies_of(self.oid), {None})
        with self.assertRaises(errors.NoObject):
            await self.c.gateway.remove_wait(self.oid)

    async def test_what_does_not_exist_is_created_only_when_asked_for(self):
        error = await self.done(self.write(self.b, b'x', create=False))
        self.assertIsInstance(error, errors.NoObject)
        self.assertEqual(self.flock.copies_of(self.oid), {None})

    async def test_what_all_copies_refuse_alike_is_refused(self):
        error = await self.done(self.write(self.b, b'x', 1 << flock.SHIFT))
        self.assertIsInstance(error, errors.InvalidParameters)
        await self.must_write(self.b, b'x')
        await self.assert_at_rest(b'x')

    async def test_write_back_is_not_durable_and_durable_is(self):
        await self.must_write(self.a, b'1')
        await self.must_write(self.a, b'2', durable=False)
        self.assertEqual(self.a.store.durable[self.oid][1][:1], b'1')
        await self.must_write(self.b, b'3', durable=True)
        for sheep in self.flock.alive():
            self.assertEqual(sheep.store.durable[self.oid][1][:1], b'3')


class TestTrouble(case.FlockCase):

    async def test_a_copy_that_dies_is_done_without(self):
        self.hold(self.a, self.c)
        answers = self.write(self.a, b'x')
        await asyncio.sleep(0.01)
        self.flock.kill(3)
        await asyncio.sleep(0.01)
        self.assertEqual(answers, [])
        self.flock.change_view()
        self.assertIsNone(await self.done(answers))
        self.copies = 2
        await self.assert_at_rest(b'x')

    async def test_a_lost_connection_is_not_the_end(self):
        self.hold(self.a, self.c)
        answers = self.write(self.a, b'x')
        await asyncio.sleep(0.01)
        self.fabric.sever(self.c.name)
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(answers))
        await self.assert_at_rest(b'x')

    async def test_frozen_it_waits(self):
        self.flock.freeze()
        answers = self.write(self.a, b'x'), self.write(self.b, b'y', 1)
        await asyncio.sleep(0.05)
        self.assertEqual(answers, ([], []))
        self.flock.change_view()
        self.assertEqual(await self.done(*answers), [None, None])
        await self.assert_at_rest(b'xy')

    async def test_who_orders_dies_and_another_goes_on(self):
        self.hold(self.a, self.c)
        answers = self.write(self.b, b'x')
        await flock.until(lambda: self.content(self.b) == b'x')
        self.flock.kill(1)
        self.flock.change_view()
        self.assertIsNone(await self.done(answers))
        self.copies = 2
        await self.assert_at_rest(b'x')

    async def test_it_is_not_applied_twice(self):
        """A has written everywhere, but B does not hear of it; D writes the
        same block meanwhile. B's second attempt must not undo that."""
        self.hold(self.a, self.b)
        answers = self.write(self.b, b'old')
        await flock.until(lambda: self.content(self.c, 3) == b'old')
        # B's own copy takes part in it: let just this message pass.
        self.release(self.a, self.b)
        await flock.until(lambda: self.content(self.b, 3) == b'old')
        self.assertIsNone(await self.done(answers))

        self.hold(self.b, self.a)
        late = self.write(self.b, b'late')
        await flock.turns()
        for connection in list(self.fabric.connections):
            if (connection.source, connection.target) == (
                    self.b.name, self.a.name):
                # The request comes through, its answer will not.
                self.fabric.held.discard((self.b.name, self.a.name))
                connection.flush()
                self.fabric.hold(self.b.name, self.a.name)
        await flock.until(lambda: self.content(self.c, 4) == b'late')
        self.fabric.sever(self.b.name)
        self.release(self.b, self.a)
        await self.must_write(self.a, b'new!')
        self.assertIsNone(await self.done(late))
        await self.assert_at_rest(b'new!')

    async def test_refused_by_one_copy_it_is_taken_back(self):
        await self.must_write(self.a, b'old')
        self.c.store.refuse = lambda verb, oid: (
            errors.NoSpace('full') if verb == 'write' else None)
        for sheep in (self.a, self.b):
            error = await self.done(self.write(sheep, b'new'))
            self.assertIsInstance(error, errors.NoSpace)
            await self.flock.settled()
            self.assertEqual(await self.must_read(sheep, 3), b'old')
            await self.assert_at_rest(b'old')

    async def test_refused_by_all_when_one_has_it_already(self):
        """…from an attempt before, of which another could not tell."""
        await self.must_write(self.a, b'old')
        full = errors.NoSpace('full')
        for sheep, answers in ((self.a, [None]), (self.c, []),
                               (self.b, [errors.NotServing('not now')])):
            sheep.store.refuse = functools.partial(self.refuse_writes,
                                                   answers, full)
        error = await self.done(self.write(self.a, b'new'))
        self.assertIsInstance(error, errors.NoSpace)
        for sheep in self.flock.alive():
            sheep.store.refuse = lambda verb, oid: None
        await self.flock.settled()
        self.assertEqual(b'old', await self.must_read(self.a, 3))
        await self.assert_at_rest(b'old')

    @staticmethod
    def refuse_writes(answers, last, verb, oid):
        if verb != 'write':
            return None
        return answers.pop(0) if answers else last

    async def test_who_hears_late_that_it_is_taken_back(self):
        """Who heard of it before does not follow the copy that still has
        it."""
        await self.must_write(self.a, b'old')
        self.c.store.refuse = lambda verb, oid: (
            errors.NoSpace('full') if verb == 'write' else None)
        doubt = self.b.replica.doubt_if_applied
        late = []
        self.b.replica.doubt_if_applied = lambda *args: late.append(args)
        failed = self.write(self.a, b'new')
        await flock.until(lambda: late)
        await asyncio.sleep(0.02)
        doubt(*late[0])
        self.assertIsInstance(await self.done(failed), errors.NoSpace)
        await self.flock.settled()
        await self.assert_at_rest(b'old')

    async def test_what_was_taken_back_is_read_by_nobody(self):
        await self.must_write(self.a, b'old')
        self.c.store.refuse = lambda verb, oid: (
            errors.NoSpace('full') if verb == 'write' else None)
        self.hold(self.a, self.b)
        failed = self.write(self.a, b'new')
        reads = [self.read(sheep, 0, 3) for sheep in self.flock.alive()]
        await asyncio.sleep(0.01)
        self.release(self.a, self.b)
        self.assertIsInstance(await self.done(failed), errors.NoSpace)
        self.assertEqual(await self.done(*reads), [(None, b'old')] * 3)

    async def test_refused_by_a_copy_that_is_not_whole(self):
        """…and has no room to be: the others have it, are equal, and are
        read. Were they to take it back, they would have to agree with it.
        """
        await self.must_write(self.a, b'old')
        lost = self.flock.kill(3)
        self.flock.change_view()
        await self.must_write(self.a, b'mid', 2 * BLOCK)
        c = self.flock.restart(lost)
        c.store.refuse = lambda verb, oid: (
            errors.NoSpace('full') if verb == 'adopt' else None)
        self.flock.change_view()
        for sheep in (self.a, self.b, c):
            error = await self.done(self.write(sheep, b'new'))
            self.assertIs(errors.NoSpace, type(error))
            self.assertIn('10.0.0.3:7000: full', str(error))
            self.assertEqual(await self.must_read(sheep, 3), b'new')
        self.assertEqual(self.content(self.b, 3), b'new')
        c.store.refuse = lambda verb, oid: None
        await self.assert_at_rest(b'new')
        await self.must_write(c, b'end')
        await self.assert_at_rest(b'end')

    async def test_a_refusal_and_a_change_of_view(self):
        await self.must_write(self.a, b'old')
        self.c.store.refuse = lambda verb, oid: (
            errors.NoSpace('full') if verb == 'write' else None)
        self.hold(self.a, self.b)
        failed = self.write(self.a, b'new')
        await asyncio.sleep(0.01)
        self.flock.change_view()
        self.release(self.a, self.b)
        self.assertIsInstance(await self.done(failed), errors.NoSpace)
        await self.assert_at_rest(b'old')

    async def test_a_removal_that_is_tried_again(self):
        await self.must_write(self.a, b'x')
        self.hold(self.a, self.c)
        removal = asyncio.ensure_future(
            self.a.gateway.remove_wait(self.oid))
        await flock.until(lambda: self.content(self.b) is None)
        self.fabric.sever(self.c.name)
        self.release(self.a, self.c)
        await asyncio.wait_for(removal, 5)
        self.assertEqual(self.flock.copies_of(self.oid), {None})


class TestLocks(case.FlockCase):

    async def test_the_owner_orders(self):
        self.flock.lock(self.c, VDI)
        await self.must_write(self.c, b'x')
        self.assertEqual(self.a.gateway.counters['write'], 0)
        await self.must_write(self.b, b'y', 1)
        await self.assert_at_rest(b'xy')

    async def test_a_write_under_way_when_the_order_changes(self):
        await self.must_write(self.a, b'0')
        for one, other in ((self.b, self.c), (self.c, self.a)):
            data = one.name[-1:].encode()
            self.hold(self.a, other)
            answers = self.write(self.a, data)
            await asyncio.sleep(0.01)
            self.flock.lock(one, VDI)
            self.release(self.a, other)
            self.assertIsNone(await self.done(answers))
            await self.assert_at_rest(data)
            self.flock.unlock(one, VDI)

    async def test_order_lost_and_regained_meanwhile(self):
        """X was begun by A; then B orders, takes over X (by another way)
        and Y, which overlaps; then A orders again. A must not go on with X
        as if nothing had been."""
        await self.must_write(self.a, b'0')
        self.hold(self.a, self.b)
        self.hold(self.a, self.c)
        x = self.write(self.a, b'x')
        await asyncio.sleep(0.01)
        self.flock.lock(self.b, VDI)
        self.fabric.sever(self.a.name)
        self.assertEqual(x, [])
        y = self.write(self.b, b'y')
        self.release(self.a, self.b)
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(y))
        seen = await self.must_read(self.b, 1)
        self.assertEqual(seen, b'y')
        self.flock.unlock(self.b, VDI)
        self.assertIsNone(await self.done(x))
        # X was not acknowledged before Y: it may come behind it, but then
        # for all.
        last = await self.must_read(self.b, 1)
        await self.assert_at_rest(last)

    async def test_lost_and_regained_within_one_turn(self):
        await self.must_write(self.a, b'0')
        self.hold(self.a, self.b)
        x = self.write(self.a, b'x')
        await asyncio.sleep(0.01)
        change = self.a.gateway.turns.table[self.oid][0]
        self.flock.lock(self.b, VDI)
        self.flock.unlock(self.b, VDI)
        self.assertTrue(change.has_lost)
        self.fabric.sever(self.a.name)
        self.release(self.a, self.b)
        self.assertIsNone(await self.done(x))
        await self.assert_at_rest(b'x')

    async def test_somebody_hears_late_of_a_lock(self):
        await self.must_write(self.a, b'0')
        self.flock.lock(self.b, VDI, to=[self.b, self.c])
        one = self.write(self.b, b'1')
        other = self.write(self.a, b'2', 1)
        await asyncio.sleep(0.05)
        self.assertEqual((one, other), ([], []))
        self.flock.catch_up(self.a)
        self.assertEqual(await self.done(one, other), [None, None])
        await self.assert_at_rest(b'12')


class TestForce(case.FlockCase):
    """A lock is taken away: what its owner has under way must not come
    behind what the next owner does."""

    async def take_away(self, owner):
        await self.must_write(owner, b'000')
        self.flock.lock(owner, VDI)
        await self.must_write(owner, b'old')
        await owner.gateway.declare_now()
        for other in self.flock.alive():
            if other is not owner:
                self.hold(owner, other)
        writes = [self.write(owner, b'late'), self.write(owner, b'later'),
                  self.write(owner, b'last', BLOCK)]
        await asyncio.sleep(0.01)
        self.flock.event({'kind': 'unlock', 'vdi_id': VDI, 'owner': '',
                          'force': True})
        owner.gateway.abandon_vdi(VDI, errors.VdiNotLocked('by force'))
        for error in await self.done(*writes):
            self.assertIsInstance(error, errors.VdiNotLocked)

    async def test_the_next_owner_is_alone(self):
        for owner, heir in ((self.a, self.b), (self.b, self.a),
                            (self.b, self.c)):
            await self.take_away(owner)
            self.flock.lock(heir, VDI)
            write = self.write(heir, b'new!')
            for sheep in self.flock.alive():
                self.release(owner, sheep)
            self.assertIsNone(await self.done(write))
            await asyncio.sleep(0.05)
            await self.flock.settled()
            self.assertEqual(len(self.flock.copies_of(self.oid)), 1)
            self.assertEqual(await self.must_read(heir, 4), b'new!')
            for sheep in self.flock.alive():
                self.assertEqual(sheep.gateway.turns.table, {})
            self.flock.unlock(heir, VDI)

    async def test_what_was_given_up_is_not_declared(self):
        """C hears late of the unlock; it must not believe before that the
        write that it has is everywhere."""
        self.flock.lock(self.a, VDI)
        await self.must_write(self.a, b'old')
        await self.a.gateway.declare_now()
        self.hold(self.a, self.b)
        write = self.write(self.a, b'new')
        await flock.until(lambda: self.content(self.c, 3) == b'new')
        self.flock.event({'kind': 'unlock', 'vdi_id': VDI, 'owner': '',
                          'force': True}, to=[self.a, self.b])
        self.a.gateway.abandon_vdi(VDI, errors.VdiNotLocked('by force'))
        await self.done(write)
        self.a.gateway._declare()
        await self.a.links.data(self.c.member).call(wire.PING)
        self.flock.catch_up(self.c)
        self.release(self.a, self.b)
        await self.flock.settled()
        self.assertEqual(len(self.flock.copies_of(self.oid)), 1)
        for sheep in self.flock.alive():
            self.assertEqual(sheep.gateway.turns.table, {})

    async def test_other_vdis_go_on(self):
        self.flock.make_vdi(2)
        self.hold(self.a, self.c)
        other = self.flock.oid_held_by(self.a, self.b, self.c, vdi_id=2)
        write = self.write(self.a, b'x', oid=other)
        self.a.gateway.abandon_vdi(VDI, errors.VdiNotLocked('by force'))
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(write))


class TestForOthers(case.FlockCase):
    """A orders for B, or did."""

    async def test_who_asked_dies(self):
        self.hold(self.a, self.c)
        self.write(self.b, b'x')
        await flock.until(lambda: self.content(self.a) == b'x')
        self.flock.kill(2)
        self.flock.change_view()
        self.release(self.a, self.c)
        self.copies = 2
        await flock.until(lambda: not self.a.gateway.turns.table)
        await self.flock.settled()
        self.assertEqual(len(self.flock.copies_of(self.oid)), 1)

    async def test_who_asked_dies_while_its_change_waits(self):
        await self.must_write(self.a, b'0')
        self.hold(self.a, self.c)
        first = self.write(self.a, b'1')
        self.write(self.b, b'2')
        await flock.until(
            lambda: len(self.a.gateway.turns.table[self.oid]) == 2)
        self.flock.kill(2)
        self.flock.change_view()
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(first))
        self.copies = 2
        await self.assert_at_rest(b'1')

    async def test_who_asked_and_who_orders_die_one_after_the_other(self):
        """X of B reached C only; B's tokens mean nothing any more when A,
        who would have brought it to its end, dies as well."""
        self.flock.add('10.0.0.4')
        self.flock.change_view()
        await self.flock.settled()
        await self.connect()
        a, b, c, d = self.flock.alive()
        self.oid = self.flock.oid_held_by(a, c, d)
        await self.must_write(a, b'0')
        await a.gateway.declare_now()
        self.hold(a, d)
        self.write(b, b'x')
        await flock.until(lambda: self.content(c) == b'x')
        self.hold(a, c)
        self.flock.kill(2)
        self.flock.change_view()
        self.flock.kill(1)
        self.fabric.held.clear()
        self.flock.change_view()
        await self.flock.settled()
        self.assertEqual(len(self.flock.copies_of(self.oid)), 1)

    async def test_who_orders_loses_its_place(self):
        """What waited at A must not be done by A's next life."""
        await self.must_write(self.a, b'0')
        self.hold(self.a, self.c)
        self.write(self.a, b'1')
        late = self.write(self.b, b'2')
        await flock.until(
            lambda: len(self.a.gateway.turns.table[self.oid]) == 2)
        self.flock.freeze()
        # In A, what waited begins and finds no view.
        change = self.a.gateway.turns.table[self.oid][0]
        self.a.gateway.changes.end(change, None)
        self.flock.lapse(self.a)
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(late))
        await self.must_write(self.b, b'3')
        self.flock.rejoin(self.a)
        await asyncio.sleep(0.05)
        await self.assert_at_rest(b'3')

    async def test_who_is_no_member_orders_nothing(self):
        self.b.cluster.incarnation = 'stranger.1'
        # (A link made before would go on speaking for the member.)
        link = self.b.links.data(self.a.member)
        self.fabric.sever(self.b.name)
        await flock.turns()
        with self.assertRaises(errors.Transient):
            await link.call(wire.ORDER_WRITE, epoch=1, oid=self.oid,
                            payload=b'x', flags=wire.FLAG_CREATE)
        self.assertEqual(self.a.gateway.turns.table, {})
        self.b.cluster.incarnation = self.b.name + '.1'


class TestLapse(case.FlockCase):

    async def test_everything_under_way_ends_once(self):
        self.hold(self.a, self.b)
        answers = [self.write(self.a, b'x'), self.write(self.a, b'y'),
                   self.write(self.a, b'z', 2 * BLOCK)]
        reads = [self.read(self.a), self.read(self.a, 2 * BLOCK)]
        self.flock.lapse(self.a)
        for error in await self.done(*answers):
            self.assertIsInstance(error, errors.NotServing)
        for error, _ in await self.done(*reads):
            self.assertIsInstance(error, errors.NotServing)
        self.release(self.a, self.b)
        self.flock.rejoin(self.a)
        await self.flock.settled()
        self.assertEqual(self.a.gateway.turns.table, {})
        self.assertEqual(self.a.gateway.inflight, 0)
        self.assertEqual(len(self.flock.copies_of(self.oid)), 1)
        for sheep in self.flock.alive():
            await self.must_write(sheep, b'again')

    async def test_no_task_is_left(self):
        before = set(self.a.world.tasks)
        self.flock.freeze()
        self.write(self.a, b'x')
        self.read(self.a)
        self.assertGreater(set(self.a.world.tasks), before)
        self.a.gateway.abandon(errors.ShuttingDown('stop'))
        await flock.until(lambda: set(self.a.world.tasks) <= before)
