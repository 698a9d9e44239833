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

from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.tests.unit.volume import test_branching
from sheepdog.volume import standstill

OBJECT = case.OBJECT
BLOCK = test_branching.BLOCK
SIZE = OBJECT + 2 * BLOCK
"""It ends in the second object."""


class ShrinkTest(test_branching.Case):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create()
        for index in 0, 1, 3:
            await self.fill(self.first, index * OBJECT, 1 + index,
                            4 * BLOCK)

    async def shrink(self, size=SIZE, sheep=1, **more):
        await self.sheep[sheep].shrinking.resize('vm', size, **more)

    async def sizes(self):
        return [(vdi['tag'], vdi['size'], vdi['used'] // OBJECT,
                 vdi['shared'] // OBJECT)
                for vdi in await self.first.catalogue.list()]

    async def check_smaller(self):
        """…and that nothing of what was beyond comes back."""
        self.assertEqual([1, 2], [await self.content(offset=0),
                                  await self.content(offset=OBJECT,
                                                     length=2 * BLOCK)])
        await self.first.catalogue.resize('vm', 4 * OBJECT)
        self.assertEqual(2, await self.content(offset=SIZE - 1, length=1))
        self.assertEqual(0, await self.content(
            offset=SIZE, length=4 * OBJECT - SIZE))

    async def test_what_is_beyond_is_gone_for_good(self):
        await self.shrink()
        self.assertEqual([('', SIZE, 1, 1)], await self.sizes())
        await self.reclaim()
        new = self.first.cluster.state.lookup('vm')
        await self.check_objects({(self.vdi_id, 0), (new.vdi_id, 1)})
        await self.check_smaller()
        await self.check_nothing_under_way()

    async def test_at_the_end_of_an_object_none_is_copied(self):
        await self.shrink(OBJECT)
        self.assertEqual([('', OBJECT, 0, 1)], await self.sizes())
        await self.reclaim()
        await self.check_objects({(self.vdi_id, 0)})

    async def test_where_nothing_was_written(self):
        await self.shrink(2 * OBJECT + 1)
        await self.reclaim()
        await self.check_objects({(self.vdi_id, 0), (self.vdi_id, 1)})

    async def test_snapshots_keep_what_they_have(self):
        await self.branching.snapshot('vm', 's1')
        await self.fill(self.first, 2 * OBJECT, 9)
        await self.shrink()
        self.assertEqual([('s1', 4 * OBJECT, 3, 0), ('', SIZE, 1, 1)],
                         await self.sizes())
        await self.reclaim()
        new = self.first.cluster.state.lookup('vm')
        await self.check_objects({(self.vdi_id, 0), (self.vdi_id, 1),
                                  (self.vdi_id, 3), (new.vdi_id, 1)})
        await self.check_smaller()
        self.assertEqual([1, 2, 0, 4], [
            await self.content(tag='s1', offset=index * OBJECT)
            for index in range(4)])
        self.assertEqual(2, await self.content(
            tag='s1', offset=SIZE, length=2 * BLOCK))

    async def test_who_lost_it_does_not_take_it_for_its_own(self):
        """Its id tells, or that it was created later (clients have no more
        than that where theirs became a snapshot before)."""
        await self.branching.snapshot('vm', 's1')
        await self.shrink()
        was, new = await self.first.catalogue.list('vm')
        self.assertEqual(['s1', ''], [was['tag'], new['tag']])
        self.assertLess(was['created'], new['created'])
        await self.branching.snapshot('vm', 's2')
        *_, follower = await self.first.catalogue.list('vm')
        self.assertEqual(new['created'], follower['created'])

    async def test_a_clone_stays_one(self):
        await self.branching.snapshot('vm', 's1')
        await self.branching.clone('vm', 's1', 'copy')
        await self.first.shrinking.resize('copy', SIZE)
        self.assertEqual([('copy', True, 1, 1)], [
            (vdi['name'], vdi['clone'], vdi['used'] // OBJECT,
             vdi['shared'] // OBJECT)
            for vdi in await self.first.catalogue.list('copy')])
        await self.first.catalogue.resize('copy', 4 * OBJECT)
        self.assertEqual(0, await self.content(
            'copy', offset=SIZE, length=4 * OBJECT - SIZE))

    async def test_again_and_deleted_in_the_end(self):
        await self.shrink()
        await self.shrink(BLOCK)
        self.assertEqual([('', BLOCK, 1, 0)], await self.sizes())
        await self.first.catalogue.resize('vm', 4 * OBJECT)
        self.assertEqual(0, await self.content(
            offset=BLOCK, length=4 * OBJECT - BLOCK))
        await self.first.catalogue.delete('vm')
        await self.reclaim()
        await self.check_objects(set())

    async def test_not_while_it_is_open(self):
        volume = await self.first.volumes.open('vm')
        with self.assertRaisesRegex(errors.VdiLocked, 'in use'):
            await self.shrink()
        await volume.close()
        await self.shrink()

    async def about_to_read(self):
        """(An event, what is opened once it is set)."""
        gates = self.sheep[2].recorder.gates
        gates['read', ids.vdi_oid(self.vdi_id)] = gate = asyncio.Event()
        opening = asyncio.ensure_future(
            self.sheep[2].volumes.open('vm', read_only=True))
        await flock.until(lambda: self.sheep[2].recorder.log)
        return gate, opening

    async def test_who_was_about_to_read_it_finds_the_next_one(self):
        gate, opening = await self.about_to_read()
        await self.shrink()
        gate.set()
        volume = await opening
        self.assertEqual((self.vdi_id + 1, SIZE),
                         (volume.vdi_id, volume.size))
        await volume.close()

    async def test_nor_is_what_was_deleted_read_any_more(self):
        gate, opening = await self.about_to_read()
        await self.first.catalogue.delete('vm')
        gate.set()
        with self.assertRaisesRegex(errors.NoVdi, 'vm'):
            await opening

    async def meanwhile(self, other, **more):
        """What ``other()`` is answered, that begins during a shrink."""
        recorder = self.sheep[1].recorder
        new = ids.vdi_oid(family.free_id(self.first.cluster.state.vdis, 'vm'))
        recorder.gates['write', new] = gate = asyncio.Event()
        shrunk = asyncio.ensure_future(self.shrink(**more))
        await flock.until(lambda: recorder.writes(new))
        asked = asyncio.ensure_future(other())
        for _ in range(50):
            # (It has looked the name up by then.)
            await asyncio.sleep(0)
        gate.set()
        await shrunk
        return await asked

    async def test_who_opens_it_meanwhile_gets_the_next_one(self):
        volume = await self.meanwhile(
            lambda: self.sheep[1].volumes.open('vm'))
        self.assertEqual((self.vdi_id + 1, SIZE),
                         (volume.vdi_id, volume.size))
        await volume.close()

    async def test_asked_for_twice_at_once_it_is_done_once(self):
        for sheep, size in ((1, SIZE), (2, OBJECT)):
            more = {'size': size, 'operation_id': 'op %d' % sheep}
            await self.meanwhile(
                lambda: self.shrink(sheep=sheep, **more), **more)
            self.assertEqual(size, (await self.sizes())[0][1])

    async def test_another_one_is_to_be_tried_again(self):
        for sheep, size in ((1, SIZE), (2, OBJECT)):
            with self.assertRaisesRegex(errors.VdiLocked, 'try again'):
                await self.meanwhile(lambda: self.shrink(BLOCK, sheep),
                                     size=size)
            self.assertEqual(size, (await self.sizes())[0][1])

    async def test_a_snapshot_meanwhile_is_of_the_next_one(self):
        for sheep, size in ((1, SIZE), (2, OBJECT)):
            tag = 's%d' % sheep
            made = await self.meanwhile(lambda: self.sheep[
                sheep].branching.snapshot('vm', tag), size=size)
            now = self.first.cluster.state.vdis[made['snapshot']]
            self.assertEqual((tag, False), (now.tag, now.deleted))
            self.assertEqual([(tag, size), ('', size)],
                             [one[:2] for one in (await self.sizes())[-2:]])

    async def test_what_is_written_meanwhile_is_not_lost(self):
        """Who opens it takes the lock away, which gives way."""
        recorder = self.sheep[1].recorder
        gate = asyncio.Event()
        new = ids.vdi_oid(self.vdi_id + 1)
        recorder.gates['write', new] = gate
        shrunk = asyncio.ensure_future(self.shrink())
        await flock.until(lambda: recorder.writes(new))
        await self.fill(self.sheep[2], 0, 9)
        gate.set()
        with self.assertRaises(errors.VdiLocked):
            await shrunk
        self.assertEqual([9, 4], [await self.content(),
                                  await self.content(offset=3 * OBJECT)])
        await self.check_nothing_under_way()

    async def test_if_it_fails_it_is_as_it_was(self):
        def refuse(verb, oid):
            if verb == 'write' and ids.vdi_of(oid) != self.vdi_id:
                return errors.NoSpace('full')
            return None

        self.sheep[1].recorder.refuse = refuse
        with self.assertRaises(errors.NoSpace):
            await self.shrink()
        self.sheep[1].recorder.refuse = lambda verb, oid: None
        await self.check_nothing_under_way()
        self.assertEqual([('', 4 * OBJECT, 3, 0)], await self.sizes())
        self.assertEqual(4, await self.content(offset=3 * OBJECT))

    async def test_what_does_not_stand_still_stays_as_it_is(self):
        maker = self.sheep[1].branching
        new = await maker.begin(maker.catalogue.find('vm'), 'vm', self.vdi_id)
        gates = self.sheep[1].recorder.gates
        gates['flush', ids.vdi_oid(self.vdi_id)] = asyncio.Event()
        with mock.patch.object(standstill, 'PATIENCE_SECONDS', 0.05):
            with self.assertRaisesRegex(errors.SystemFailure, 'is as it was'):
                await maker.standstill.hold(
                    self.vdi_id, new.vdi_id, maker.cluster.incarnation, True)
        gates.clear()
        maker.give_up(new)
        await self.check_nothing_under_way()

    async def test_asked_for_again_it_was_done(self):
        await self.shrink(operation_id='op')
        await self.first.catalogue.resize('vm', 4 * OBJECT)
        await self.fill(self.first, 3 * OBJECT, 7)
        await self.shrink(operation_id='op')
        self.assertEqual(7, await self.content(offset=3 * OBJECT))

    async def test_it_grows_as_ever(self):
        volume = await self.first.volumes.open('vm')
        await self.shrink(5 * OBJECT)
        self.assertEqual(5 * OBJECT, volume.size)
        await volume.close()
        self.assertEqual(
            self.vdi_id, self.first.cluster.state.lookup('vm').vdi_id)

    async def test_no_size_and_no_vdi(self):
        with self.assertRaises(errors.InvalidParameters):
            await self.shrink(0)
        with self.assertRaises(errors.NoVdi):
            await self.first.shrinking.resize('none', OBJECT)
