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

"""Writes of a strict cluster while there are fewer zones than copies."""

import asyncio

from sheepdog.model import errors
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case

BLOCK = case.BLOCK
VDI = case.VDI


class TestStrict(case.FlockCase):
    is_strict = True

    async def lose_a_zone(self):
        self.lost = self.flock.kill(3)
        self.flock.change_view()
        await self.flock.settled()

    async def get_it_back(self):
        self.c = self.flock.restart(self.lost)
        self.flock.change_view()
        await self.flock.settled()

    async def assert_refused(self, *all_answers):
        for answers in all_answers:
            error = await self.done(answers)
            self.assertIsInstance(error, errors.Halted)
            self.assertIn('2 of 3 copies', str(error))

    async def test_refused_while_a_zone_is_missing(self):
        await self.must_write(self.a, b'before')
        await self.lose_a_zone()
        for sheep in self.flock.alive():
            await self.assert_refused(
                self.write(sheep, b'x'), self.write(sheep, b'x', 2 * BLOCK))
            self.assertEqual(await self.must_read(sheep, 6), b'before')
            with self.assertRaises(errors.Halted):
                await sheep.gateway.zero_wait(self.oid, 0, BLOCK)
            with self.assertRaises(errors.Halted):
                await sheep.gateway.remove_wait(self.oid)
        self.copies = 2
        await self.assert_at_rest(b'before')

    async def test_taken_again_when_it_is_back(self):
        await self.must_write(self.a, b'before')
        await self.lose_a_zone()
        await self.assert_refused(self.write(self.b, b'x'))
        await self.get_it_back()
        for sheep in self.flock.alive():
            await self.must_write(sheep, sheep.name.encode())
            await self.assert_at_rest(sheep.name.encode())

    async def test_a_vdi_of_fewer_copies_has_zones_enough(self):
        self.flock.make_vdi(2, copies=2)
        await self.lose_a_zone()
        for number, sheep in enumerate(self.flock.alive()):
            self.assertIsNone(await self.done(self.write(
                sheep, b'x', oid=2 << 32 | number)))
            # That it is not in the catalogue yet makes no difference.
            error = await self.done(self.write(
                sheep, b'x', oid=3 << 32 | number, copies=3))
            self.assertIsInstance(error, errors.Halted)

    async def test_what_has_begun_is_brought_to_its_end_and_no_success(self):
        """…so that the copies are equal, and nobody relies on too few."""
        for sheep in (self.a, self.b):
            with self.subTest(sheep.name):
                await self.must_write(sheep, b'0')
                self.hold(self.a, self.c)
                answers = self.write(sheep, b'x')
                await flock.until(lambda: self.content(self.b) == b'x')
                await self.lose_a_zone()
                await self.assert_refused(answers)
                self.copies = 2
                await self.assert_at_rest(b'x')
                self.release(self.a, self.c)
                await self.get_it_back()
                self.copies = 3
                await self.connect()
                await self.assert_at_rest(b'x')

    async def test_what_waits_its_turn_is_refused(self):
        self.hold(self.a, self.c)
        first = self.write(self.a, b'1')
        others = [self.write(self.a, b'2'), self.write(self.b, b'3')]
        await asyncio.sleep(0.02)
        await self.lose_a_zone()
        await self.assert_refused(first, *others)
        self.copies = 2
        await self.assert_at_rest(b'1')


class TestNotStrict(case.FlockCase):

    async def test_as_many_copies_as_there_are_zones(self):
        self.flock.kill(3)
        self.flock.change_view()
        await self.must_write(self.b, b'x')
        self.copies = 2
        await self.assert_at_rest(b'x')
