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

import unittest
from unittest import mock

from sheepdog.model import ids
from sheepdog.recovery import proof
from sheepdog.recovery import space
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping


def state(clean=True, bad=0, exists=True, version=3):
    return {'clean': clean, 'bad': bad, 'exists': exists, 'version': version}


class TestVerdict(unittest.TestCase):

    def test_all_have_it(self):
        self.assertEqual(proof.DROP, proof.verdict(3, [state()] * 2))
        self.assertEqual(proof.DROP, proof.verdict(3, [state(version=9)]))

    def test_not_for_sure(self):
        self.assertEqual(proof.KEEP, proof.verdict(3, []))
        for one in state(clean=False), state(bad=1), state(
                clean=False, exists=False):
            self.assertEqual(proof.KEEP, proof.verdict(3, [state(), one]))

    def test_nobody_can_say_why_it_is_here(self):
        for one in state(exists=False), state(version=2):
            self.assertEqual(proof.ASIDE, proof.verdict(3, [state(), one]))


class TestStrays(jumping.Case):
    """A has a copy that belongs to B and C."""

    async def asyncSetUp(self):
        patch = mock.patch.object(space, 'PAUSES_SECONDS', (0.01,) * 3)
        patch.start()
        self.addCleanup(patch.stop)
        self.flock = flock.Flock(3, copies=2)
        self.flock.form()
        self.flock.make_vdi(1)
        await self.flock.settled()
        self.a, self.b, self.c = self.flock.alive()
        await flock.until(self.a.cluster.state.has_recovered)
        await flock.turns()
        self.oid = self.flock.oid_held_by(self.b, self.c)
        await self.a.gateway.write_wait(self.oid, 0, b'x' * 100, create=True)
        await self.a.store.adopt(self.oid, 1, 1 << flock.SHIFT,
                                 [(0, b'x' * 100)], False)

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    async def drop(self):
        self.a.recovery.space._tidied = None
        await self.a.recovery.space.drop_strays()

    async def test_proved(self):
        self.b.store.log.clear()
        await self.drop()
        self.assertNotIn(self.oid, self.a.store.objects)
        self.assertEqual([], self.a.store.aside)
        self.assertIn(('sync', 0, 0, 0, True), self.b.store.log)

    async def test_kept_while_one_is_not_whole(self):
        self.c.recovery.standing.doubt(self.oid)
        await self.drop()
        self.assertIn(self.oid, self.a.store.objects)
        # It is not forgotten.
        await self.c.recovery.ensure(self.oid)
        await self.a.recovery.space.drop_strays()
        self.assertNotIn(self.oid, self.a.store.objects)

    async def test_that_all_have_recovered_is_not_enough(self):
        """Nobody takes back that it was whole when it finds later that it
        is not: a disk is gone, a file or a block is bad."""
        for spoil in self.lose_b, self.damage_c:
            with self.subTest(spoil.__name__):
                mend = spoil()
                self.assertTrue(self.a.cluster.state.has_recovered())
                await self.drop()
                self.assertIn(self.oid, self.a.store.objects)
                mend()
        await self.drop()
        self.assertNotIn(self.oid, self.a.store.objects)

    def lose_b(self):
        content = self.b.store.objects.pop(self.oid)
        with mock.patch.object(self.b.recovery, '_start'):
            self.b.recovery.lose([self.oid])

        def mend():
            self.b.store.objects[self.oid] = content
            self.b.recovery.standing.complete(self.b.cluster.view)

        return mend

    def damage_c(self):
        described = self.c.store.describe

        async def describe(oid):
            return (await described(oid))._replace(whole=False)

        self.c.store.describe = describe

        def mend():
            self.c.store.describe = described

        return mend

    async def test_kept_while_one_is_not_on_disk(self):
        self.b.store.refuse = lambda verb, oid: (
            proof.errors.StorageError('no') if verb == 'sync' else None)
        await self.drop()
        self.assertIn(self.oid, self.a.store.objects)

    async def test_one_that_nobody_else_has(self):
        for sheep in self.b, self.c:
            del sheep.store.objects[self.oid]
        await self.drop()
        self.assertNotIn(self.oid, self.a.store.objects)
        self.assertEqual([self.oid], [kept[0] for kept in self.a.store.aside])

    async def test_what_an_earlier_creation_has_left(self):
        # Nobody needs the inode of no VDI, but the next one of that name
        # is none of ours.
        vdi_id, oid = next(
            (number, ids.vdi_oid(number)) for number in range(2, 100)
            if self.a not in self.flock.targets(ids.vdi_oid(number)))
        await self.a.store.adopt(oid, 1, 1 << flock.SHIFT,
                                 [(0, b'x' * 100)], False)
        await self.drop()
        self.assertIn(oid, self.a.store.objects)
        await self.a.gateway.write_wait(oid, 0, b'y' * 100, create=True,
                                        copies=2)
        self.flock.make_vdi(vdi_id)
        await flock.until(lambda: oid not in self.a.store.objects)

    async def test_one_of_a_deleted_vdi(self):
        for sheep in self.b, self.c:
            del sheep.store.objects[self.oid]
        with mock.patch.object(space.Space, 'reclaim'):
            self.flock.event({'kind': 'vdi-delete', 'vdi_id': 1})
            await self.drop()
        self.assertNotIn(self.oid, self.a.store.objects)
        self.assertEqual([], self.a.store.aside)
