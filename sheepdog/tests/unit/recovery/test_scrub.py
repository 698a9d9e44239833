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
import contextlib
from unittest import mock

from sheepdog.model import view as view_model
from sheepdog.recovery import compare
from sheepdog.recovery import pace
from sheepdog.recovery import recovery as recovery_module
from sheepdog.recovery import scrub as scrub_module
from sheepdog.recovery import tally
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping

BLOCK = flock.BLOCK
VDI = 1


class Watcher:
    def __init__(self):
        self.told = []

    def object_damaged(self, oid, blocks):
        self.told.append(('damaged', oid, blocks))

    def object_irreparable(self, oid, blocks):
        self.told.append(('irreparable', oid, blocks))

    def copies_differ(self, oid, nodes, is_settled):
        self.told.append(('differ', oid, is_settled))

    def quarantine_added(self, note):
        self.told.append(('kept', note['name']))


class ScrubCase(jumping.Case):
    """A is the first target, B and C have the object too."""

    async def asyncSetUp(self):
        with contextlib.ExitStack() as stack:
            for module, name, value in (
                    (recovery_module, 'PAUSE_SECONDS', 0.005),
                    (compare, 'IDLE_PAUSE_SECONDS', 0.005),
                    (compare, 'BUSY_PAUSE_SECONDS', 0.005),
                    (pace, 'HOLD_SECONDS', 0),
                    (scrub_module, 'STEP_SECONDS', 0.005),
                    (scrub_module, 'PAUSES_SECONDS',
                     (0.01,) * 20 + (1.0,) * 20)):
                stack.enter_context(mock.patch.object(module, name, value))
            self.addCleanup(stack.pop_all().close)
        self.flock = flock.Flock(3)
        self.flock.form()
        self.flock.make_vdi(VDI)
        await self.flock.settled()
        self.a, self.b, self.c = self.flock.alive()
        self.watcher = self.a.scrub.watcher = Watcher()
        self.oid = self.flock.oid_held_by(self.a, self.b, self.c)
        await self.a.gateway.write_wait(self.oid, 0, bytes(range(8)) * BLOCK,
                                        create=True)
        await self.a.gateway.declare_now()

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    def of(self, sheep):
        return sheep.store.objects[self.oid]

    async def check(self, *sheep, vdi_id=None):
        """What each has found; all of them together, where none is named.
        """
        sheep = sheep or self.flock.alive()
        for one in sheep:
            one.scrub.start_check('c', vdi_id)
        await asyncio.wait_for(asyncio.gather(
            *(one.scrub.check('c').task for one in sheep)), 60)
        found = [one.scrub.check('c').tally for one in sheep]
        for one in sheep:
            del one.scrub._checks['c']
        return found[0] if len(found) == 1 else found

    async def check_in_haste(self):
        """Of what cannot be said now, and will not be able to soon."""
        with mock.patch.object(scrub_module, 'PAUSES_SECONDS', (0.01,)):
            return await self.check(self.a)

    def assert_equal_copies(self):
        self.assertEqual(len(self.flock.copies_of(self.oid)), 1)

    def kinds(self, found):
        return [problem['kind'] for problem in found.problems]


class TestVerify(ScrubCase):

    async def test_all_is_well(self):
        for found in await self.check():
            self.assertEqual((found.objects, found.total), (1, 1))
            self.assertEqual(found.bytes, len(self.of(self.a).data))
            self.assertEqual(found.problems, [])
            self.assertGreater(found.ended, found.began)

    async def test_only_one_vdi(self):
        self.flock.make_vdi(2)
        found = await self.check(self.a, vdi_id=2)
        self.assertEqual((found.total, found.bytes), (0, 0))
        self.assertEqual((await self.check(self.a, vdi_id=VDI)).total, 1)

    async def test_what_is_bad_is_mended(self):
        for sheep in self.a, self.c:
            self.of(sheep).rotten = {1, 63}
        of_a, of_b, of_c = await self.check()
        for found in of_a, of_c:
            self.assertEqual((found.bad_blocks, found.mended), (2, 1))
            self.assertEqual(found.problems, [])
        self.assertEqual((of_b.bad_blocks, of_b.mended), (0, 0))
        self.assertEqual([('damaged', self.oid, [1, 63])], self.watcher.told)
        self.assertEqual(self.of(self.a).rotten, set())
        self.assertEqual(self.of(self.c).rotten, set())

    async def test_what_is_mended_before_all_is_read(self):
        """A read has found it, and recovery is fast."""
        self.of(self.a).rotten = {1}
        verify = self.a.scrub._read

        async def read(oid, offset, size):
            error = await verify(oid, offset, size)
            while self.of(self.a).rotten:
                await asyncio.sleep(0.01)
            return error

        with mock.patch.object(scrub_module, 'CHUNK_BYTES', 4 * BLOCK):
            with mock.patch.object(self.a.scrub, '_read', read):
                found = await self.check(self.a)
        self.assertEqual((found.bad_blocks, found.mended), (1, 1))
        self.assertEqual({}, self.a.scrub._reading)

    async def test_what_nobody_has_good(self):
        for sheep in self.flock.alive():
            self.of(sheep).rotten = {3}
        for found in await self.check():
            self.assertEqual(self.kinds(found), [tally.IRREPARABLE])
            self.assertEqual(found.mended, 0)
            self.assertIn('blocks 3', found.problems[0]['detail'])
        self.assertEqual([('damaged', self.oid, [3]),
                          ('irreparable', self.oid, [3])], self.watcher.told)
        # It is not told of again.
        await self.check()
        self.assertEqual(2, len(self.watcher.told))

    async def test_objects_of_a_vdi_that_is_deleted(self):
        with mock.patch.object(self.a.recovery.space, 'reclaim'):
            self.flock.event({'kind': 'vdi-delete', 'vdi_id': VDI})
            self.assertEqual((await self.check(self.a)).total, 0)

    async def test_an_object_of_no_known_vdi(self):
        """It may be that its VDI is just being made; later it may not."""
        oid = 77 << 32
        await self.a.gateway.write_wait(oid, 0, b'x', create=True)
        for _ in range(2):
            found = await self.check(self.a)
            self.assertEqual(self.kinds(found), [tally.UNKNOWN])
        with mock.patch.object(scrub_module, 'UNKNOWN_SECONDS', 0.0):
            await self.a.gateway.write_wait(oid, 1, b'y')
            with mock.patch.object(self.a.store, 'set_aside') as aside:
                aside.return_value = False
                await self.check(self.a)
            self.assertEqual((await self.check(self.a)).problems, [])
        self.assertNotIn(oid, self.a.store.objects)
        self.assertEqual([oid], [kept[0] for kept in self.a.store.aside])
        # One that has come to be known is let alone.
        self.flock.make_vdi(77)
        self.assertEqual((await self.check(self.b)).problems, [])
        self.assertIn(oid, self.b.store.objects)

    async def test_stopped(self):
        read = self.a.store.read

        def read_and_stop(*arguments):
            self.a.scrub.stop_check('c')
            read(*arguments)

        self.a.store.read = read_and_stop
        other = self.flock.oid_held_by(self.a, self.c, self.b)
        await self.a.gateway.write_wait(other, 0, b'x', create=True)
        self.a.scrub.start_check('c')
        await self.a.scrub.check('c').task
        self.assertEqual(self.a.scrub.check('c').state, 'stopped')
        self.assertEqual(self.a.scrub.check('c').tally.objects, 1)

    async def test_asked_twice(self):
        self.a.scrub.start_check('c')
        check = self.a.scrub.check('c')
        self.a.scrub.start_check('c')
        self.assertIs(check, self.a.scrub.check('c'))
        await check.task
        for number in range(20):
            self.a.scrub.start_check('d%d' % number)
            await self.a.scrub.check('d%d' % number).task
        self.assertIsNone(self.a.scrub.check('c'))
        self.assertLess(len(self.a.scrub._checks), 8)


class TestCompare(ScrubCase):

    async def test_what_only_another_has(self):
        """The first target lacks it altogether."""
        del self.a.store.objects[self.oid]
        found = await self.check(self.a)
        self.assertEqual((found.settled, found.problems), (1, []))
        self.assertIn(self.oid, self.a.store.objects)
        self.assert_equal_copies()

    async def test_only_the_first_compares(self):
        self.of(self.c).data[:1] = b'?'
        self.assertEqual(self.kinds(await self.check(self.b)), [])
        self.assertEqual(self.kinds(await self.check(self.a)),
                         [tally.DIFFERS])

    async def test_nothing_tells_which_is_right(self):
        """All stays as it is, and is told of once."""
        self.of(self.c).data[BLOCK:BLOCK + 1] = b'?'
        before = [bytes(self.of(s).data) for s in self.flock.alive()]
        for _ in range(2):
            found = await self.check(self.a)
            self.assertEqual(self.kinds(found), [tally.DIFFERS])
            self.assertIn('blocks 1', found.problems[0]['detail'])
        self.assertEqual(before, [bytes(self.of(s).data)
                                  for s in self.flock.alive()])
        self.assertEqual(len(self.watcher.told), 1)
        self.assertIn(self.oid, self.a.scrub.differing)
        # Once it is equal again, that is known too.
        self.of(self.c).data[:] = self.of(self.a).data
        await self.check(self.a)
        self.assertEqual(self.a.scrub.differing, {})

    async def test_a_copy_that_lacks_the_last_write(self):
        for behind in (self.c,), (self.a,), (self.a, self.b):
            with self.subTest([one.name for one in behind]):
                self.watcher.told.clear()
                good = bytes(next(iter(self.flock.copies_of(self.oid))))
                for one in self.flock.alive():
                    self.of(one).version = 1
                for one in behind:
                    self.of(one).version = 0
                    self.of(one).data[:3] = b'old'
                found = await self.check(self.a)
                self.assertEqual(found.problems, [])
                self.assertGreaterEqual(found.settled, 1)
                self.assertEqual(self.flock.copies_of(self.oid), {good})
                self.assertIn(('differ', self.oid, True), self.watcher.told)
                for one in behind:
                    self.assertEqual(b'old', one.store.aside[-1][1][:3])

    async def test_a_write_under_way_is_no_difference(self):
        """It waits at one copy for as long as we look."""
        self.b.store.is_slow = True
        held = []
        self.b.store.write = lambda *arguments: held.append(arguments)
        write = asyncio.ensure_future(self.a.gateway.write_wait(
            self.oid, 0, b'new' * 1000))
        await flock.until(lambda: held)
        found = await self.check_in_haste()
        self.assertEqual(self.kinds(found), [tally.UNCHECKED])
        self.assertEqual(found.settled, 0)
        del self.b.store.write
        self.b.store.is_slow = False
        self.b.store.write(*held[0])
        await write
        await self.a.gateway.declare_now()
        self.assertEqual((await self.check(self.a)).problems, [])

    async def test_a_copy_that_is_not_whole_is_left_to_recovery(self):
        self.of(self.c).data[:1] = b'?'
        self.c.recovery.standing.doubt(self.oid)
        found = await self.check_in_haste()
        self.assertEqual(self.kinds(found), [tally.UNCHECKED])
        self.c.recovery.doubt(self.oid)
        self.assertEqual((await self.check(self.a)).problems, [])
        self.assert_equal_copies()

    async def test_a_view_that_is_not_that_of_the_ring(self):
        # As in one that has lapsed and hears of an epoch without it.
        self.a.cluster.lease = False
        other = view_model.View(9, 1, 0.0, ())
        with mock.patch.object(self.a.cluster.state, 'view', other):
            found = await self.check(self.a)
        self.assertEqual(self.kinds(found), [tally.UNCHECKED])

    async def test_a_suspicion_of_another_epoch(self):
        self.flock.change_view()
        view = self.a.cluster.view
        with self.assertRaises(compare.errors.StaleEpoch):
            await self.a.links.data(view.members[1]).call(
                scrub_module.wire.SUSPECT, epoch=view.epoch - 1,
                oid=self.oid, payload=b'{}')


class TestRounds(ScrubCase):

    def run_scrub(self, **settings):
        self.a.scrub.settings = pace.ScrubSettings(**settings)
        task = asyncio.ensure_future(self.a.scrub.run())
        self.addCleanup(task.cancel)

    async def test_round_after_round(self):
        self.run_scrub(pause_seconds=0.0, bytes_per_second=1 << 30)
        await flock.until(lambda: self.a.scrub.rounds > 2)
        self.of(self.a).rotten = {5}
        await flock.until(lambda: not self.of(self.a).rotten)

    async def test_switched_off_and_on(self):
        self.run_scrub(enabled=False, pause_seconds=0.0)
        await asyncio.sleep(0.05)
        self.assertIsNone(self.a.scrub.round)
        self.a.scrub.settings = pace.ScrubSettings(
            pause_seconds=3600.0, bytes_per_second=1 << 30)
        await flock.until(lambda: self.a.scrub.rounds == 1)
        # It is not waited for the end of a pause that is none any more.
        self.a.scrub.settings = pace.ScrubSettings(
            pause_seconds=0.0, bytes_per_second=1 << 30)
        await flock.until(lambda: self.a.scrub.rounds > 1)

    async def test_switched_off_in_a_round(self):
        for index in range(40):
            await self.a.gateway.write_wait(VDI << 32 | index, 0, b'x',
                                            create=True)
        self.run_scrub(pause_seconds=0.0, bytes_per_second=1 << 20)
        await flock.until(lambda: self.a.scrub.read_bytes)
        self.a.scrub.settings = pace.ScrubSettings(enabled=False)
        await flock.until(lambda: self.a.scrub.round.is_over)
        self.assertEqual(self.a.scrub.rounds, 0)
