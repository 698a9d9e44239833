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
from sheepdog.testing import planted
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.wire import peer as wire

BLOCK = flock.BLOCK
VDI = 1


class FlockCase(jumping.Case):

    count = 3
    copies = 3
    options = {}

    async def asyncSetUp(self):
        patch = mock.patch.object(recovery_module, 'PAUSE_SECONDS', 0.005)
        patch.start()
        self.addCleanup(patch.stop)
        self.flock = flock.Flock(self.count, self.copies)
        self.flock.options = self.options
        self.flock.form()
        self.flock.make_vdi(VDI)
        await self.flock.settled()

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    async def write(self, oid, data=b'x' * BLOCK, offset=0, by=None, **how):
        sheep = by or self.flock.alive()[0]
        await asyncio.wait_for(sheep.gateway.write_wait(
            oid, offset, data, create=True, **how), 5)

    async def read(self, oid, by=None, offset=0, size=BLOCK):
        sheep = by or self.flock.alive()[0]
        return await asyncio.wait_for(
            sheep.gateway.read_wait(oid, offset, size), 5)

    async def assert_same_everywhere(self, oid, data, size=BLOCK):
        await self.flock.settled()
        copies = self.flock.copies_of(oid)
        self.assertEqual(len(copies), 1)
        self.assertEqual(copies.pop()[:size], data)


class TestViews(FlockCase):

    count = 4

    async def test_a_sheep_that_was_away_catches_up(self):
        a, b, c, d = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, b'1' * BLOCK)
        self.flock.kill(1)
        self.flock.change_view()
        await self.write(oid, b'2' * BLOCK)
        await self.flock.settled()
        self.flock.restart(self.flock.retired[0])
        self.flock.change_view()
        await self.assert_same_everywhere(oid, b'2' * BLOCK)

    async def test_only_what_differs_is_moved(self):
        a, b, c, d = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, bytes(range(256)) * 16 * 64)
        self.flock.kill(1)
        self.flock.change_view()
        await self.write(oid, b'2' * BLOCK, 5 * BLOCK)
        again = self.flock.restart(self.flock.retired[0])
        self.flock.change_view()
        await self.flock.settled()
        self.assertEqual([pieces for o, pieces, _, _ in again.store.adopted
                          if o == oid], [[(5 * BLOCK, BLOCK)]])

    async def test_a_new_target_gets_the_object(self):
        a, b, c, d = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, b'1' * BLOCK)
        self.flock.kill(2)
        self.flock.change_view()
        self.assertIn(d, self.flock.targets(oid))
        await self.assert_same_everywhere(oid, b'1' * BLOCK)

    async def test_strays_go_when_all_have_recovered(self):
        a, b, c, d = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid)
        self.flock.kill(2)
        self.flock.change_view()
        await self.flock.settled()
        self.flock.restart(self.flock.retired[0])
        self.flock.change_view()
        await self.flock.settled()
        await flock.until(lambda: oid not in d.store.objects)
        await self.assert_same_everywhere(oid, b'x' * BLOCK)

    async def test_who_is_evicted_keeps_its_copies_until_it_is_back(self):
        a, b, c, d = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid)
        self.flock.event({'kind': 'evict', 'node': b.name})
        self.flock.vnodes[b.name] = 0
        self.flock.change_view()
        await self.flock.settled()
        await self.write(oid, b'2' * BLOCK)
        self.assertNotIn(b, self.flock.targets(oid))
        await asyncio.sleep(0.1)
        self.assertEqual(b'x' * BLOCK, bytes(
            b.store.objects[oid].data[:BLOCK]))
        self.assertEqual(b'2' * BLOCK, await self.read(oid, b))
        self.flock.event({'kind': 'readmit', 'node': b.name})
        del self.flock.vnodes[b.name]
        self.flock.change_view()
        await self.flock.settled()
        await self.assert_same_everywhere(oid, b'2' * BLOCK)
        await flock.until(lambda: oid not in d.store.objects)

    async def test_reads_and_writes_go_on_meanwhile(self):
        oids = [VDI << 32 | index for index in range(20)]
        for oid in oids:
            await self.write(oid, b'1' * BLOCK)
        self.flock.kill(2)
        self.flock.change_view()
        for oid in oids:
            self.assertEqual(await self.read(oid), b'1' * BLOCK)
            await self.write(oid, b'2' * BLOCK)
            self.assertEqual(await self.read(oid), b'2' * BLOCK)
        for oid in oids:
            await self.assert_same_everywhere(oid, b'2' * BLOCK)

    async def test_one_view_after_the_other(self):
        oids = [VDI << 32 | index for index in range(10)]
        for oid in oids:
            await self.write(oid, b'0' * BLOCK)
        for turn, number in enumerate((1, 2, 3, 4), 1):
            self.flock.kill(number)
            self.flock.change_view()
            for oid in oids:
                await self.write(oid, b'%d' % turn * BLOCK)
            self.flock.restart(self.flock.retired[-1])
            self.flock.change_view()
        for oid in oids:
            await self.assert_same_everywhere(oid, b'4' * BLOCK)

    async def test_a_view_waits_for_no_announcement_of_an_earlier_one(self):
        """Where nobody takes it any more: this sheep has lapsed since."""
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        execute = one.cluster.execute
        asked = asyncio.Event()

        async def never(*arguments, **options):
            asked.set()
            await asyncio.Event().wait()

        one.cluster.execute = never
        self.flock.change_view()
        await asyncio.wait_for(asked.wait(), 5)
        one.cluster.execute = execute
        self.flock.change_view()
        await self.flock.settled()
        self.assertEqual(3, one.cluster.state.settled)

    async def test_it_goes_on_when_an_epoch_was_given_up(self):
        """Frozen for an epoch that did not come, in mid-recovery."""
        a, b, c, d = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid)
        self.flock.kill(1)
        self.flock.change_view()
        self.flock.freeze()
        await asyncio.sleep(0.05)
        self.assertTrue(b.recovery.active)
        for sheep in self.flock.alive():
            sheep.cluster.status = flock.api.Status.OK
        self.flock.event({'kind': 'resume'})
        await self.flock.settled()
        self.assertEqual(await self.read(oid), b'x' * BLOCK)
        self.assertEqual(b.cluster.state.settled, 2)


class TestNothingIsLost(FlockCase):
    """Whoever is killed and comes back, in whatever order."""

    count = 5

    async def test_all_holders_are_away_for_a_while(self):
        a, b, c, d, e = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, b'precious'.ljust(BLOCK))
        for number in (1, 2, 3):
            self.flock.kill(number)
        self.flock.change_view()
        await asyncio.sleep(0.1)
        for old in list(self.flock.retired):
            self.flock.restart(old)
        self.flock.change_view()
        self.assertEqual(await self.read(oid), b'precious'.ljust(BLOCK))
        await self.assert_same_everywhere(oid, b'precious'.ljust(BLOCK))

    async def test_an_object_out_of_reach_is_waited_for(self):
        a, b, c, d, e = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, b'precious'.ljust(BLOCK))
        for number in (1, 2, 3):
            self.flock.kill(number)
        self.flock.change_view()
        read = asyncio.ensure_future(d.gateway.read_wait(oid, 0, 8))
        write = asyncio.ensure_future(
            e.gateway.write_wait(oid, 8, b'new', create=True))
        await asyncio.sleep(0.1)
        self.assertFalse(read.done() or write.done())
        self.flock.restart(self.flock.retired[1])
        self.flock.change_view()
        self.assertEqual(await asyncio.wait_for(read, 5), b'precious')
        await asyncio.wait_for(write, 5)
        self.assertEqual(await self.read(oid, size=12), b'preciousnew ')

    async def test_other_objects_are_served_meanwhile(self):
        a, b, c, d, e = self.flock.alive()
        oid = self.flock.oid_held_by(d, a, e)
        await self.write(oid, b'1' * BLOCK)
        for number in (1, 2, 3):
            self.flock.kill(number)
        self.flock.change_view()
        self.assertEqual(await self.read(oid), b'1' * BLOCK)
        await self.write(oid, b'2' * BLOCK)
        self.assertEqual(await self.read(oid), b'2' * BLOCK)

    async def test_who_was_left_behind_does_not_decide(self):
        """A returns and is left alone before it caught up: what it has is
        old."""
        for number in (4, 5):
            self.flock.kill(number)
        self.flock.change_view()
        await self.flock.settled()
        oid = VDI << 32
        await self.write(oid, b'1' * BLOCK)
        self.flock.kill(1)
        self.flock.change_view()
        await self.write(oid, b'2' * BLOCK)
        await self.flock.settled()
        self.fabric = self.flock.fabric
        again = self.flock.restart(self.flock.retired[-1])
        self.fabric.cut |= {(again.name, '10.0.0.2'), (again.name,
                                                       '10.0.0.3')}
        self.flock.change_view()
        two, three = self.flock.kill(2), self.flock.kill(3)
        self.flock.change_view()
        read = asyncio.ensure_future(again.gateway.read_wait(oid, 0, BLOCK))
        await asyncio.sleep(0.1)
        self.assertFalse(read.done(), read)
        self.fabric.cut.clear()
        self.flock.restart(two)
        self.flock.restart(three)
        self.flock.change_view()
        self.assertEqual(await asyncio.wait_for(read, 5), b'2' * BLOCK)
        await self.assert_same_everywhere(oid, b'2' * BLOCK)

    async def test_an_operator_may_give_up_who_is_missing(self):
        a, b, c, d, e = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid)
        for number in (1, 2, 3):
            self.flock.kill(number)
        self.flock.force_view()
        with self.assertRaises(errors.NoObject):
            await self.read(oid)
        await self.flock.settled()

    async def test_a_full_stop_at_any_moment(self):
        oids = [VDI << 32 | index for index in range(10)]
        for oid in oids:
            await self.write(oid, b'1' * BLOCK)
        self.flock.kill(5)
        self.flock.change_view()
        for oid in oids:
            await self.write(oid, b'2' * BLOCK)
        for number in (1, 2, 3, 4):
            self.flock.kill(number)
        for old in self.flock.retired[1:]:
            self.flock.restart(old)
        self.flock.change_view(cold=True)
        for oid in oids:
            self.assertEqual(await self.read(oid), b'2' * BLOCK)
        self.flock.restart(self.flock.retired[0])
        self.flock.change_view()
        for oid in oids:
            await self.assert_same_everywhere(oid, b'2' * BLOCK)


class TestPowerCuts(FlockCase):

    async def crash_all(self, power_cut):
        """All die; of those in ``power_cut``, the machine with them."""
        for number in (1, 2, 3):
            self.flock.kill(number)
        for old in list(self.flock.retired):
            self.flock.restart(old, int(old.name[-1]) in power_cut)
        self.flock.change_view(cold=True)

    async def test_what_was_flushed_survives_all_of_them(self):
        oid = VDI << 32
        await self.write(oid, b'1' * BLOCK, durable=False)
        await self.flock[1].gateway.flush(VDI)
        await self.write(oid, b'2' * BLOCK, 2 * BLOCK, durable=False)
        await self.crash_all((1, 2, 3))
        await self.assert_same_everywhere(oid, b'1' * BLOCK)

    async def test_what_was_not_survives_where_power_was_not_lost(self):
        a, b, c = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, b'0' * BLOCK)
        for survivor in (3, 2, 1):
            data = b'%d' % survivor * BLOCK
            await self.write(oid, data, durable=False)
            await self.crash_all({1, 2, 3} - {survivor})
            await self.assert_same_everywhere(oid, data)


class TestFirstReads(FlockCase):
    """A write that nobody acknowledged is on some copies when all die. If
    the next read shows it, it must be on all copies by then: any of them
    may be the only one tomorrow."""

    async def test_what_a_read_shows_is_on_all_copies(self):
        a, b, c = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, b'1' * BLOCK)
        for has_it in ((1,), (2,), (3,), (1, 2), (1, 3), (2, 3)):
            data = bytes([has_it[0], has_it[-1]]) * (BLOCK // 2)
            for number in has_it:
                store = self.flock[number].store
                store.write(oid, store.version(oid), 0, data,
                            lambda error: self.assertIsNone(error))
            for number in (1, 2, 3):
                self.flock.kill(number)
            for old in list(self.flock.retired):
                self.flock.restart(old)
            self.flock.change_view(cold=True)
            shown = await self.read(oid)
            self.assertEqual([copy[:BLOCK] for copy
                              in self.flock.copies_of(oid)], [shown])
            await self.flock.settled()


class TestStarts(FlockCase):

    async def stop_all(self):
        for number in (1, 2, 3):
            self.flock.kill(number)
        for old in list(self.flock.retired):
            self.flock.restart(old)

    async def test_after_a_clean_shutdown_nothing_is_recovered(self):
        oid = VDI << 32
        await self.write(oid)
        await self.stop_all()
        self.flock.change_view(cold=True, clean=True)
        self.assertFalse(any(s.recovery.active for s in self.flock.alive()))
        self.assertEqual(await self.read(oid), b'x' * BLOCK)
        self.assertEqual([s.store.adopted for s in self.flock.alive()],
                         [[], [], []])

    async def test_one_whose_journal_is_damaged_is_not_whole(self):
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        one.store.objects[oid].data[:BLOCK] = b'0' * BLOCK
        await self.stop_all()
        one = self.flock[1]
        one.store.journal_damaged = True
        self.flock.change_view(cold=True, clean=True)
        self.assertEqual([True, False, False], [
            s.recovery.active for s in self.flock.alive()])
        await self.assert_same_everywhere(oid, b'x' * BLOCK)

    async def test_a_leader_that_dies_during_the_first_cold_start(self):
        """The next one brings in who is missing, and does not call it a
        cold start. This must not look like a new cluster."""
        oid = VDI << 32
        await self.write(oid)
        await self.stop_all()
        self.flock.change_view(cold=True, late=[self.flock[3]])
        self.flock.join_late(self.flock[3])
        await self.flock.settled()
        self.assertIn(oid, self.flock[3].store.objects)
        await self.assert_same_everywhere(oid, b'x' * BLOCK)

    async def test_a_cluster_formatted_anew_is_empty(self):
        oid = VDI << 32
        await self.write(oid)
        self.flock.reformat()
        await self.flock.settled()
        for sheep in self.flock.alive():
            self.assertEqual(sheep.store.oids(), [])
        self.flock.make_vdi(VDI)
        with self.assertRaises(errors.NoObject):
            await self.read(oid)

    async def test_what_had_no_room_before_a_format(self):
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        one.recovery.mover.behind[oid] = 1
        self.flock.reformat()
        await self.flock.settled()
        self.flock.make_vdi(VDI)
        await self.write(oid)
        state = await one.recovery.describe(oid)
        self.assertEqual((True, 0), (state['clean'], state['behind']))
        # Others may follow it at once.
        await one.recovery.ensure_for(oid)

    async def test_what_was_behind_stays_so_while_the_cluster_does(self):
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        one.recovery.mover.behind[oid + 1] = 1
        self.flock.change_view()
        self.assertEqual({oid + 1: 1}, one.recovery.mover.behind)

    async def test_who_hears_late_of_a_format(self):
        """By then there are VDIs again, of the names and ids of before."""
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        self.flock.lapse(one)
        self.flock.reformat()
        self.flock.make_vdi(VDI)
        await self.write(oid + 1, b'new' * 1000, by=self.flock[2])
        self.flock.rejoin(one)
        await self.flock.settled()
        self.assertEqual(one.store.oids(), [oid + 1])
        with self.assertRaises(errors.NoObject):
            await self.read(oid, by=one)

    async def test_what_was_being_adopted_when_a_format_came(self):
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        gate = asyncio.Event()
        begun = asyncio.Event()
        adopt = one.store.adopt

        async def adopt_late(*what, **more):
            begun.set()
            await gate.wait()
            await adopt(*what, **more)

        one.store.adopt = adopt_late
        del one.store.objects[oid]
        one.recovery.doubt(oid)
        await begun.wait()
        self.flock.reformat()
        await asyncio.sleep(0.05)
        gate.set()
        await self.flock.settled()
        self.assertEqual([], one.store.oids())

    async def test_a_crash_before_all_of_before_is_gone(self):
        """Nothing of the new cluster may be kept before that: it would go
        with the rest at the next start."""
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        gate = asyncio.Event()
        named = one.store.set_cluster

        async def set_cluster(created):
            await gate.wait()
            await named(created)

        one.store.set_cluster = set_cluster
        before = one.store.cluster
        self.flock.reformat()
        self.flock.make_vdi(VDI)
        writing = asyncio.ensure_future(self.write(oid, by=self.flock[2]))
        stating = asyncio.ensure_future(one.recovery.describe(oid))
        await asyncio.sleep(0.05)
        self.assertFalse(writing.done())
        self.assertFalse(stating.done())
        self.assertEqual((before, []), (one.store.cluster, one.store.oids()))
        gate.set()
        await writing
        await stating
        self.assertNotEqual(before, one.store.cluster)
        await self.assert_same_everywhere(oid, b'x' * BLOCK)

    async def test_a_sheep_that_lapsed_trusts_nothing(self):
        oid = VDI << 32
        await self.write(oid, b'1' * BLOCK)
        one = self.flock[1]
        self.flock.lapse(one)
        await self.write(oid, b'2' * BLOCK, by=self.flock[2])
        self.assertFalse(one.recovery.standing.is_clean(oid))
        self.flock.rejoin(one)
        await self.assert_same_everywhere(oid, b'2' * BLOCK)


class TestDoubts(FlockCase):

    async def test_doubts_are_resolved_in_the_background(self):
        oid = VDI << 32
        await self.write(oid)
        for sheep in self.flock.alive():
            sheep.recovery.doubt(oid)
        await self.assert_same_everywhere(oid, b'x' * BLOCK)

    async def test_a_doubtful_copy_follows_a_clean_one(self):
        a, b, c = self.flock.alive()
        oid = VDI << 32
        await self.write(oid)
        a.store.objects[oid].data[:4] = b'evil'
        a.recovery.doubt(oid)
        await self.assert_same_everywhere(oid, b'x' * BLOCK)

    async def test_all_come_to_the_same(self):
        oid = VDI << 32
        await self.write(oid)
        for number, sheep in enumerate(self.flock.alive()):
            sheep.store.objects[oid].data[:1] = b'%d' % number
        for sheep in self.flock.alive():
            sheep.recovery.doubt(oid)
        await self.flock.settled()
        self.assertEqual(len(self.flock.copies_of(oid)), 1)

    async def test_a_doubt_that_comes_up_while_it_is_announced(self):
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        execute = one.cluster.execute

        async def doubt_and_execute(*arguments, **options):
            one.recovery.doubt(oid)
            await asyncio.sleep(0.01)
            return await execute(*arguments, **options)

        one.cluster.execute = doubt_and_execute
        self.flock.change_view()
        await flock.until(lambda: one.cluster.state.settled == 2)
        one.cluster.execute = execute
        await self.flock.settled()
        self.assertTrue(one.recovery.standing.is_clean(oid))

    async def test_who_holds_no_copy_doubts_none(self):
        self.flock.add('10.0.0.4')
        self.flock.change_view()
        await self.flock.settled()
        a, b, c, d = self.flock.alive()
        oid = self.flock.oid_held_by(b, c, d)
        await self.write(oid)
        a.recovery.doubt(oid)
        await self.flock.settled()
        self.assertNotIn(oid, a.store.objects)

    async def test_what_is_made_whole_stays_closed_when_all_is_done(self):
        """Nobody has the object yet, so no pass knows of it; but a client
        waits for it, and whoever makes it whole may still drop it."""
        a = self.flock.alive()[0]
        oid = self.flock.oid_held_by(*self.flock.alive())
        waiting = asyncio.get_running_loop().create_future()

        async def slowly(oid):
            await waiting

        self.flock.change_view()
        a.recovery.standing.lapse()
        with mock.patch.object(a.recovery.mover, 'make_whole', slowly):
            asking = asyncio.ensure_future(a.recovery.ensure(oid))
            await flock.until(lambda: a.recovery.standing.is_complete)
            self.assertTrue(a.recovery.needs(oid))
            waiting.set_result(None)
            await asking
        await flock.until(lambda: not a.recovery.needs(oid))

    async def test_what_breaks_is_not_taken_for_whole(self):
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        one.recovery.mover.make_whole = mock.AsyncMock(
            side_effect=KeyError('a bug'))
        one.recovery.standing.doubt(oid)
        with self.assertRaises(errors.Transient):
            await one.recovery.ensure(oid)
        await flock.turns()
        self.assertIsInstance(one.world.failures.pop(), KeyError)

    async def test_who_asks_at_the_same_time_shares_the_work(self):
        oid = VDI << 32
        await self.write(oid)
        one = self.flock[1]
        one.recovery.standing.doubt(oid)
        with mock.patch.object(
                one.recovery.mover, 'make_whole',
                wraps=one.recovery.mover.make_whole) as make_whole:
            await asyncio.gather(*(one.recovery.ensure(oid)
                                   for _ in range(5)))
        self.assertEqual(make_whole.await_count, 1)


class TestReclaim(FlockCase):

    async def test_objects_of_a_deleted_vdi_go(self):
        self.flock.make_vdi(2)
        for vdi_id in (VDI, 2):
            await self.write(vdi_id << 32 | 7)
        self.flock.event({'kind': 'vdi-delete', 'vdi_id': VDI})
        await flock.until(lambda: not any(
            VDI << 32 | 7 in s.store.objects for s in self.flock.alive()))
        for sheep in self.flock.alive():
            self.assertEqual(sheep.store.oids(), [2 << 32 | 7])

    async def test_a_first_write_that_is_not_in_its_place_yet(self):
        one = self.flock.alive()[0]
        write, sync = one.store.write, one.store.sync
        taken = []

        def sync_all(done):
            while taken:
                write(*taken.pop())
            sync(done)

        one.store.write = lambda *arguments: taken.append(arguments)
        one.store.sync = sync_all
        oid = VDI << 32 | 7
        one.replica.write(1, oid, 5 << 48 | 99, flock.SHIFT, 0,
                          b'x' * BLOCK, True, True, flock.Answers())
        self.flock.event({'kind': 'vdi-delete', 'vdi_id': VDI})
        await flock.until(lambda: ('remove', oid, 0, 0, True)
                          in one.store.log)
        self.assertEqual(one.store.oids(), [])

    async def test_space_comes_back_though_a_sync_fails(self):
        await self.write(VDI << 32)
        one = self.flock.alive()[0]
        one.store.refuse = lambda verb, oid: (
            errors.StorageError('EIO') if verb == 'sync' else None)
        self.flock.event({'kind': 'vdi-delete', 'vdi_id': VDI})
        await flock.until(lambda: not one.store.objects)

    async def test_who_was_away_gives_them_back_later(self):
        await self.write(VDI << 32)
        self.flock.kill(3)
        self.flock.change_view()
        self.flock.event({'kind': 'vdi-delete', 'vdi_id': VDI})
        again = self.flock.restart(self.flock.retired[0])
        self.flock.change_view()
        await flock.until(lambda: not again.store.objects)


class TestHonesty(FlockCase):
    """What a copy tells of itself, and when it is believed."""

    async def test_a_source_that_is_behind_with_a_lock(self):
        """B does not know yet that the owner has changed: that it takes
        its copy for clean means nothing."""
        a, b, c = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        self.flock.lock(a, VDI)
        await self.write(oid, b'1' * BLOCK, by=a)
        # One more write reaches B only.
        b.replica.write(1, oid, 5 << 48 | 99, flock.SHIFT
                        | b.order.serial(VDI) << 8, 0, b'2' * BLOCK, True,
                        False, flock.Answers())
        self.flock.unlock(a, VDI, to=[a, c])
        c.recovery.doubt(oid)
        a.recovery.doubt(oid)
        await asyncio.sleep(0.05)
        self.flock.catch_up(b)
        await self.flock.settled()
        self.assertEqual(len(self.flock.copies_of(oid)), 1)

    async def test_a_source_that_is_doubted_meanwhile(self):
        a, b, c = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid, b'1' * BLOCK)
        b.store.objects[oid].data[:BLOCK] = b'2' * BLOCK
        table = b.store.table

        async def doubt_behind(oid):
            found = await table(oid)
            b.recovery.standing.doubt(oid)
            return found

        b.store.table = doubt_behind
        a.recovery.standing.doubt(oid)
        links = a.links
        first = a.recovery.mover
        asked = []
        original = first._ask

        async def ask(members, oid, epoch):
            asked.append(len(members))
            return await original(members, oid, epoch)

        first._ask = ask
        await asyncio.wait_for(a.recovery.ensure(oid), 5)
        b.store.table = table
        self.assertIs(links, a.links)
        await b.recovery.ensure(oid)
        self.assertEqual(self.flock.copies_of(oid), {
            bytes(a.store.objects[oid].data)})
        self.assertEqual(bytes(a.store.objects[oid].data[:1]), b'1')

    async def test_an_object_removed_while_it_is_followed(self):
        a, b, c = self.flock.alive()
        oid = self.flock.oid_held_by(a, b, c)
        await self.write(oid)
        table = b.store.table
        removed = []

        async def remove_first(oid):
            if not removed:
                removed.append(oid)
                del b.store.objects[oid]
                del c.store.objects[oid]
            return await table(oid)

        b.store.table = remove_first
        a.store.objects[oid].data[:1] = b'?'
        a.recovery.standing.doubt(oid)
        await asyncio.wait_for(a.recovery.ensure(oid), 5)
        self.assertNotIn(oid, a.store.objects)

    async def test_a_list_is_refused_in_another_epoch(self):
        a, b, c = self.flock.alive()
        member = a.cluster.view.member(b.cluster.incarnation)
        with self.assertRaises(errors.StaleEpoch):
            await a.links.data(member).call(wire.LIST, epoch=99)


class TestThrottle(FlockCase):

    count = 4
    copies = 3
    objects = 12

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.oids = [VDI << 32 | index for index in range(self.objects)]
        for oid in self.oids:
            await self.write(oid, b'1' * BLOCK)
        await self.flock.settled()

    def throttle(self, at_once, pause_seconds):
        for sheep in self.flock.alive():
            sheep.recovery.throttle.set(at_once, pause_seconds)

    async def made_whole(self, sheep):
        """Objects, when no more are made whole for now."""
        before = None
        while before != sheep.recovery.done or not sheep.recovery.total:
            before = sheep.recovery.done
            await flock.turns(200)
        return before

    async def cold_start(self):
        self.flock.freeze()
        old = self.flock.alive()
        for number in range(1, self.count + 1):
            self.flock.kill(number)
        again = [self.flock.restart(sheep) for sheep in old]
        self.throttle(1, 3600.0)
        self.flock.change_view(cold=True)
        return again

    async def test_the_pass_rests_and_clients_do_not_wait(self):
        a, *_ = await self.cold_start()
        self.assertEqual(await self.made_whole(a), 1)
        for oid in self.oids:
            self.assertEqual(await self.read(oid), b'1' * BLOCK)
            await self.write(oid, b'2' * BLOCK)
        self.assertTrue(a.recovery.is_running)
        self.throttle(0, 0.0)
        await self.flock.settled()

    async def test_clients_wait_where_the_throttle_counts_for_them(self):
        with planted.let_clients_wait_for_the_throttle():
            a, *_ = await self.cold_start()
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(a.gateway.read_wait(
                    self.oids[-1], 0, BLOCK), 0.3)
            self.throttle(0, 0.0)
            await self.flock.settled()

    async def test_a_new_view_waits_for_no_rest(self):
        await self.cold_start()
        self.flock.kill(4)
        self.flock.change_view()
        a, *_ = self.flock.alive()
        await flock.until(lambda: a.recovery.total and a.recovery.done == 1)
        self.throttle(0, 0.0)
        await self.flock.settled()

    async def test_more_at_once_in_the_middle(self):
        a, *_ = await self.cold_start()
        await self.made_whole(a)
        self.throttle(4, 3600.0)
        self.assertEqual(await self.made_whole(a), 5)
        self.throttle(0, 0.0)
        await self.flock.settled()


class TestPostponed(FlockCase):

    count = 4
    copies = 3

    def enable(self, is_enabled):
        self.flock.event({'kind': 'settings', 'changes': {
            'recovery_enabled': is_enabled}})

    async def asyncSetUp(self):
        await super().asyncSetUp()
        a, b, c, self.d = self.flock.alive()
        self.oid = self.flock.oid_held_by(a, b, c)
        for index in range(20):
            await self.write(VDI << 32 | index)
        await self.write(self.oid, b'1' * BLOCK)
        self.enable(False)
        self.flock.kill(2)

    async def lose_one(self):
        self.flock.change_view()
        self.assertIn(self.d, self.flock.targets(self.oid))
        await flock.turns(200)

    def is_anybody_moving(self):
        return any(s.recovery.is_running for s in self.flock.alive())

    async def test_nothing_moves(self):
        await self.lose_one()
        # (Who died may have left copies in doubt.)
        await flock.until(lambda: not self.is_anybody_moving())
        self.assertNotIn(self.oid, self.d.store.objects)
        self.assertTrue(self.d.recovery.is_postponed)
        self.assertFalse(self.d.cluster.state.has_recovered())
        self.enable(True)
        await self.assert_same_everywhere(self.oid, b'1' * BLOCK)
        self.assertFalse(self.d.recovery.is_postponed)
        await flock.until(self.d.cluster.state.has_recovered)

    async def test_what_clients_use_is_recovered(self):
        await self.lose_one()
        await self.write(self.oid, b'2' * BLOCK)
        self.assertEqual(await self.read(self.oid, by=self.d), b'2' * BLOCK)
        self.assertTrue(self.d.recovery.is_postponed)
        self.enable(True)
        await self.assert_same_everywhere(self.oid, b'2' * BLOCK)

    async def test_damage_is_mended(self):
        await self.lose_one()
        a, *_ = self.flock.alive()
        await self.read(self.oid, by=a)
        a.recovery.doubt(self.oid)
        await flock.until(lambda: not a.recovery.standing.doubtful())
        await flock.until(lambda: not self.is_anybody_moving())
        self.enable(True)
        await self.flock.settled()

    async def test_in_the_middle(self):
        self.enable(True)
        for sheep in self.flock.alive():
            sheep.recovery.throttle.set(1, 3600.0)
        self.flock.change_view()
        await flock.until(lambda: self.d.recovery.done)
        self.enable(False)
        for sheep in self.flock.alive():
            sheep.recovery.throttle.set(0, 0.0)
        await flock.until(lambda: not self.is_anybody_moving())
        self.assertTrue(self.d.recovery.is_postponed)
        self.enable(True)
        await self.flock.settled()
        await flock.until(self.d.cluster.state.has_recovered)


class TestReadOfOthers(FlockCase):
    """B has a write that nobody acknowledged, A has not. A is clean and is
    read: from then on that write must not come back."""

    copies = 2
    step = 1

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.a, self.b, self.c = self.flock.alive()
        self.oid = self.flock.oid_held_by(self.a, self.b)
        await self.write(self.oid, b'1' * BLOCK)
        self.flock.change_view(step=self.step)
        await self.flock.settled()
        for sheep in self.flock.alive():
            sheep.replica.marks.clear()
        self.flock.lock(self.c, VDI)
        self.b.store.write(self.oid, self.epoch, 0, b'2' * BLOCK,
                           lambda error: self.assertIsNone(error))
        self.b.replica.marks.note(self.oid, 2 << 48 | 1 << 40)

    @property
    def epoch(self):
        return self.c.cluster.view.epoch

    def hold_up(self):
        """What it finds out it cannot make use of, as on a slow disk."""
        async def never(*arguments, **options):
            raise errors.NotRecovered('slow')

        self.b.recovery.mover.adopt = never

    async def assert_waits_for_a(self):
        read = asyncio.ensure_future(
            self.c.gateway.read_wait(self.oid, 0, BLOCK))
        await asyncio.sleep(0.1)
        self.assertFalse(read.done(), read)
        self.assertIn('may be known only to 10.0.0.1',
                      self.b.recovery.waiting[self.oid][1])
        return read

    async def a_leaves(self):
        self.flock.kill(1)
        self.flock.change_view()
        del self.b.recovery.mover.adopt

    async def test_who_was_read_is_waited_for(self):
        self.hold_up()
        self.flock.unlock(self.c, VDI, force=True)
        self.assertEqual(b'1' * BLOCK, await self.read(self.oid, self.c))
        await self.a_leaves()
        read = await self.assert_waits_for_a()
        # (What it has is older, and it has forgotten that it was clean.)
        self.flock.restart(self.flock.retired[-1])
        self.flock.change_view()
        self.assertEqual(b'1' * BLOCK, await asyncio.wait_for(read, 5))
        await self.assert_same_everywhere(self.oid, b'1' * BLOCK)

    async def test_nobody_is_waited_for_behind_a_lock_that_was_given_back(
            self):
        """Then nothing was under way: all of it is on all copies."""
        self.hold_up()
        self.flock.unlock(self.c, VDI)
        await self.a_leaves()
        self.assertEqual(b'2' * BLOCK, await asyncio.wait_for(
            self.read(self.oid, self.c), 5))

    async def test_so_it_is_when_the_orderer_was_gone(self):
        """That alone does not tell that anybody is clean: but A said so."""
        self.hold_up()
        self.flock.unlock(self.c, VDI, to=[])
        self.flock.change_view()
        self.assertEqual(b'1' * BLOCK, await self.read(self.oid, self.c))
        await flock.until(lambda: self.oid in self.b.recovery.waiting)
        await self.a_leaves()
        await self.assert_waits_for_a()
        self.flock.force_view()
        self.assertEqual(b'2' * BLOCK, await self.read(self.oid, self.c))

    async def test_who_is_evicted_is_asked(self):
        self.hold_up()
        self.flock.unlock(self.c, VDI, force=True)
        self.assertEqual(b'1' * BLOCK, await self.read(self.oid, self.c))
        self.flock.vnodes[self.a.name] = 0
        self.flock.change_view()
        del self.b.recovery.mover.adopt
        self.assertEqual(b'1' * BLOCK, await self.read(self.oid, self.c))
        await self.assert_same_everywhere(self.oid, b'1' * BLOCK)

    async def test_nobody_is_waited_for_where_all_are_doubtful(self):
        """A is gone before anybody can say what it was."""
        self.flock.unlock(self.c, VDI, to=[])
        self.flock.fabric.cut |= {(self.b.name, self.a.name)}
        self.flock.change_view()
        self.flock.kill(1)
        self.flock.change_view()
        self.assertEqual(b'2' * BLOCK, await self.read(self.oid, self.c))
        await self.assert_same_everywhere(self.oid, b'2' * BLOCK)


class TestReadOfOthersAfterForce(TestReadOfOthers):
    """All have recovered the epoch that was begun by force."""

    step = 1000

    async def test_what_was_begun_by_force_makes_nothing_whole(self):
        self.flock.change_view()
        await self.flock.settled()
        kept = self.b.recovery.mover.kept
        self.flock.change_view()
        self.assertIn(self.a.member.node, kept(self.oid))
        self.flock.force_view()
        self.assertEqual({}, kept(self.oid))


class TestReadOfThird(FlockCase):
    """A and B have a write that nobody acknowledged, C is read."""

    count = 4

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.a, self.b, self.c, self.d = self.flock.alive()
        self.oid = self.flock.oid_held_by(self.a, self.b, self.c)
        await self.write(self.oid, b'1' * BLOCK)
        self.flock.change_view()
        await self.flock.settled()
        for sheep in self.flock.alive():
            sheep.replica.marks.clear()
        self.flock.lock(self.d, VDI)
        for sheep in self.a, self.b:
            sheep.store.write(self.oid, self.d.cluster.view.epoch, 0,
                              b'2' * BLOCK,
                              lambda error: self.assertIsNone(error))
            sheep.replica.marks.note(self.oid, 3 << 48 | 1 << 40)

    @staticmethod
    async def never(*arguments, **options):
        raise errors.NotRecovered('slow')

    async def assert_read_waits(self):
        read = asyncio.ensure_future(
            self.d.gateway.read_wait(self.oid, 0, BLOCK))
        await asyncio.sleep(0.1)
        self.assertFalse(read.done(), read)
        return read

    async def test_who_has_forgotten_has_that_write(self):
        self.a.recovery.mover.adopt = self.never
        self.b.recovery.mover.adopt = self.never
        self.flock.unlock(self.d, VDI, force=True)
        self.assertEqual(b'1' * BLOCK, await self.read(self.oid, self.d))
        self.flock.kill(3)
        self.flock.change_view()
        del self.a.recovery.mover.adopt, self.b.recovery.mover.adopt
        read = await self.assert_read_waits()
        self.flock.kill(1)
        self.flock.restart(self.flock.retired[-1])
        self.flock.change_view()
        await asyncio.sleep(0.1)
        self.assertFalse(read.done(), read)
        self.flock.restart(self.flock.retired[0])
        self.flock.change_view()
        self.assertEqual(b'1' * BLOCK, await asyncio.wait_for(read, 5))
        await self.assert_same_everywhere(self.oid, b'1' * BLOCK)

    async def test_who_knows_speaks_for_who_does_not(self):
        """B has heard of C that it is clean, A has not."""
        self.b.recovery.mover.adopt = self.never
        self.a.recovery.mover._attempt = self.never
        self.flock.unlock(self.d, VDI, to=[])
        self.flock.change_view()
        self.assertEqual(b'1' * BLOCK, await self.read(self.oid, self.d))
        await flock.until(lambda: self.b.recovery.standing.apart(self.oid)[2])
        self.assertFalse(self.a.recovery.standing.apart(self.oid)[2])
        self.flock.kill(3)
        self.flock.change_view()
        del self.b.recovery.mover.adopt, self.a.recovery.mover._attempt
        read = await self.assert_read_waits()
        self.flock.restart(self.flock.retired[-1])
        self.flock.change_view()
        self.assertEqual(b'1' * BLOCK, await asyncio.wait_for(read, 5))
        await self.assert_same_everywhere(self.oid, b'1' * BLOCK)


class TestWriteUnderWay(FlockCase):
    """B was started anew and is not whole; a write is on A, waits at B."""

    copies = 2

    async def asyncSetUp(self):
        await super().asyncSetUp()
        a, b, self.c = self.flock.alive()
        self.oid = self.flock.oid_held_by(a, b)
        await self.write(self.oid, b'1' * BLOCK)
        self.flock.change_view()
        await self.flock.settled()
        self.flock.kill(2)
        self.b = self.flock.restart(self.flock.retired[-1])
        self.adopt = self.b.recovery.mover.adopt
        self.b.recovery.mover.adopt = self.slow_adopt
        self.held_up = asyncio.Event()
        self.flock.change_view()
        self.write_waits = asyncio.ensure_future(
            self.c.gateway.write_wait(self.oid, 0, b'2' * BLOCK))

    async def asyncTearDown(self):
        self.write_waits.cancel()
        await asyncio.wait([self.write_waits])
        await super().asyncTearDown()

    async def slow_adopt(self, *arguments, **options):
        self.held_up.set()
        raise errors.NotRecovered('slow')

    def a_leaves(self):
        self.flock.kill(1)
        self.flock.change_view()
        del self.b.recovery.mover.adopt

    async def test_who_was_only_away_may_decide(self):
        await asyncio.wait_for(self.held_up.wait(), 5)
        self.a_leaves()
        await asyncio.wait_for(self.write_waits, 5)
        self.assertEqual(b'2' * BLOCK, await self.read(self.oid, self.c))

    async def test_who_has_taken_it_over_may_not(self):
        """(The view might change, and a third copy without it be read.)"""
        async def late_adopt(*arguments, **options):
            await self.adopt(*arguments, **options)
            self.a_leaves()

        self.b.recovery.mover.adopt = late_adopt
        await flock.until(
            lambda: 'may be known only to 10.0.0.1'
            in self.b.recovery.waiting.get(self.oid, (0, ''))[1])
