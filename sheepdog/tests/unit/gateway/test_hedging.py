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

from sheepdog.model import errors
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case


class HedgingTest(case.FlockCase):
    """``a`` orders, and has the local copy."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.must_write(self.a, b'old')
        self.hedging = self.a.gateway.hedging
        self.counters = self.a.gateway.counters
        self.a.gateway.demote(frozenset([self.a.cluster.incarnation]))

    async def look_twice(self):
        for _ in range(2):
            await flock.turns()
            self.hedging.look()
        await flock.turns()

    def counts(self):
        return self.counters['hedged'], self.counters['hedge_wins']

    async def test_who_is_slow_is_read_last(self):
        before = self.a.replica.counters['read']
        self.assertEqual(b'old', await self.must_read(self.a, 3))
        self.assertEqual(before, self.a.replica.counters['read'])
        self.a.gateway.demote(frozenset([self.b.cluster.incarnation,
                                         self.c.cluster.incarnation]))
        self.assertEqual(b'old', await self.must_read(self.a, 3))
        self.assertEqual(before + 1, self.a.replica.counters['read'])

    async def test_all_slow_is_as_none(self):
        self.a.gateway.demote(frozenset(
            sheep.cluster.incarnation for sheep in self.flock.alive()))
        before = self.a.replica.counters['read']
        self.assertEqual(b'old', await self.must_read(self.a, 3))
        self.assertEqual(before + 1, self.a.replica.counters['read'])

    async def test_the_next_copy_answers(self):
        self.hold(self.b, self.a)
        read = self.read(self.a, 0, 3)
        await self.look_twice()
        self.assertEqual((None, b'old'), await self.done(read))
        self.assertEqual((1, 1), self.counts())
        # What the first one says in the end is for nobody.
        self.release(self.b, self.a)
        await self.assert_at_rest(b'old')
        self.assertEqual([(None, b'old')], read)

    async def test_for_another_gateway(self):
        self.hold(self.b, self.a)
        read = self.read(self.c, 0, 3)
        await flock.turns()
        await self.look_twice()
        self.assertEqual((None, b'old'), await self.done(read))
        self.assertEqual((1, 1), self.counts())
        self.release(self.b, self.a)
        await self.assert_at_rest(b'old')

    async def test_one_look_is_not_enough_and_a_third_asks_nobody(self):
        for pair in ((self.b, self.a), (self.c, self.a)):
            self.hold(*pair)
        read = self.read(self.a, 0, 3)
        await flock.turns()
        self.hedging.look()
        self.assertEqual((0, 0), self.counts())
        for _ in range(5):
            self.hedging.look()
        self.assertEqual((1, 0), self.counts())
        self.release(self.b, self.a)
        self.assertEqual((None, b'old'), await self.done(read))
        self.assertEqual((1, 0), self.counts())
        self.release(self.c, self.a)
        await self.assert_at_rest(b'old')

    async def test_an_error_of_the_second_says_nothing(self):
        self.c.store.refuse = lambda verb, oid: (
            errors.StorageError('EIO') if verb == 'read' else None)
        self.hold(self.b, self.a)
        read = self.read(self.a, 0, 3)
        await self.look_twice()
        self.assertEqual([], read)
        self.assertEqual((1, 0), self.counts())
        self.release(self.b, self.a)
        self.assertEqual((None, b'old'), await self.done(read))

    async def test_not_what_waits_for_its_turn(self):
        self.hold(self.b, self.a)
        write = self.write(self.a, b'new')
        read = self.read(self.a, 0, 3)
        await self.look_twice()
        self.assertEqual((0, 0), self.counts())
        self.assertEqual([], read)
        self.release(self.b, self.a)
        self.assertEqual([None, (None, b'new')],
                         await self.done(write, read))

    async def test_a_read_that_is_tried_anew_hears_no_answer_of_before(self):
        """It has left its turn: a write may have come in between."""
        self.hold(self.b, self.a)
        self.hold(self.c, self.a)
        read = self.read(self.a, 0, 3)
        await self.look_twice()
        self.assertEqual((1, 0), self.counts())
        entry = next(iter(self.a.gateway.reads.under_way))
        # The first copy is cut off, and no other one answers: once more.
        entry.tried = len(entry.route.copies) - 1
        self.fabric.cut.add((self.a.name, self.b.name))
        self.a.links.data(self.b.member).close()
        while entry.attempts == 0:
            await asyncio.sleep(0)
        self.release(self.c, self.a)
        self.assertEqual((None, b'old'), await self.done(read))
        self.assertEqual((1, 0), self.counts())
        self.fabric.cut.clear()
        self.release(self.b, self.a)
        await self.assert_at_rest(b'old')

    async def test_not_too_many(self):
        self.hold(self.b, self.a)
        reads = [self.read(self.a, 0, 3) for _ in range(100)]
        await self.look_twice()
        await flock.turns()
        self.assertLessEqual(self.counts()[0], 64)
        self.release(self.b, self.a)
        for read in reads:
            self.assertEqual((None, b'old'), await self.done(read))
