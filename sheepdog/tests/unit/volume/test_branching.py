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
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.volume import quiesce
from sheepdog.volume import reclaimer

OBJECT = case.OBJECT
BLOCK = 4096


class Rest:
    async def rest(self):
        pass


class Case(case.VolumeCase):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        for one in self.sheep:
            one.reclaimer = reclaimer.Reclaimer(
                one.world, one.cluster, one.recorder, one.catalogue, Rest())
        self.first = self.sheep[0]
        self.branching = self.first.branching

    async def fill(self, sheep, offset, byte, length=BLOCK, name='vm'):
        volume = await sheep.volumes.open(name)
        await volume.write(offset, bytes([byte]) * length)
        await volume.close()

    async def content(self, name='vm', tag='', sheep=None, offset=0,
                      length=BLOCK):
        volume = await (sheep or self.sheep[-1]).volumes.open(
            name, tag, read_only=True)
        try:
            data = await volume.read(offset, length)
        finally:
            await volume.close()
        self.assertEqual(len(set(data)), 1)
        return data[0]

    async def described(self):
        return [(vdi['name'], vdi['tag'], vdi['used'] // OBJECT,
                 vdi['shared'] // OBJECT)
                for vdi in await self.first.catalogue.list()]

    async def objects(self):
        """(VDI id, index) of data objects that are not empty."""
        found = set()
        for one in self.sheep:
            for oid in one.store.oids():
                try:
                    if ids.is_data(oid) and await one.store.extents(oid):
                        found.add((ids.vdi_of(oid), ids.index_of(oid)))
                except errors.NoObject:
                    pass
        return found

    async def check_objects(self, wanted):
        """Those and no others are there, perhaps in a moment."""
        for _ in range(200):
            if await self.objects() == wanted:
                break
            await asyncio.sleep(0.01)
        self.assertEqual(wanted, await self.objects())

    async def check_nothing_under_way(self):
        state = self.first.cluster.state
        await flock.until(lambda: not state.locks and not any(
            entry.pending for entry in state.vdis.values()))

    async def reclaim(self):
        for one in self.sheep:
            if one.reclaimer._is_ours():
                await one.reclaimer._look()
        await self.flock.settled()


class SnapshotTest(Case):
    async def test_the_vdi_becomes_it_and_another_takes_its_place(self):
        vdi_id = await self.create()
        await self.fill(self.first, 0, 1)
        done = await self.branching.snapshot('vm', 's1')
        self.assertEqual(vdi_id, done['snapshot'])
        state = self.first.cluster.state
        snapshot, working = (state.vdis[vdi_id],
                             state.vdis[done['vdi_id']])
        self.assertEqual((True, 's1', 1, 0),
                         (snapshot.snapshot, snapshot.tag, snapshot.snap_id,
                          snapshot.parent))
        self.assertEqual((False, '', 0, vdi_id, ''),
                         (working.snapshot, working.tag, working.snap_id,
                          working.parent, working.pending))
        self.assertIs(working, state.lookup('vm'))
        head = await self.first.catalogue.head(working.vdi_id)
        self.assertEqual((working.vdi_id, vdi_id, 4 * OBJECT),
                         (head.vdi_id, head.parent_vdi_id, head.vdi_size))
        self.assertEqual({}, state.locks)

    async def test_what_is_written_later_is_not_in_it(self):
        await self.create()
        await self.fill(self.first, 0, 1, 2 * BLOCK)
        await self.branching.snapshot('vm', 's1')
        await self.fill(self.sheep[1], 0, 2)
        await self.fill(self.sheep[1], OBJECT, 3)
        self.assertEqual(2, await self.content())
        self.assertEqual(1, await self.content(offset=BLOCK))
        self.assertEqual(1, await self.content(tag='s1'))
        self.assertEqual(0, await self.content(tag='s1', offset=OBJECT))
        self.assertEqual([('vm', 's1', 1, 0), ('vm', '', 2, 0)],
                         await self.described())

    async def test_who_has_it_open_goes_on(self):
        await self.create()
        volume = await self.first.volumes.open('vm')
        await volume.write(0, b'a' * BLOCK)
        done = await self.branching.snapshot('vm', 's1')
        self.assertEqual(done['vdi_id'], volume.vdi_id)
        await volume.write(0, b'b' * BLOCK)
        self.assertEqual(b'b' * BLOCK, await volume.read(0, BLOCK))
        self.assertEqual(ord('a'), await self.content(tag='s1'))
        self.assertEqual([self.first.cluster.incarnation],
                         self.owners(done['vdi_id']))
        await volume.close()
        self.assertEqual([], self.owners(done['vdi_id']))
        # Nothing is left of the old one but the snapshot.
        self.assertEqual(ord('b'), await self.content())

    async def test_who_reads_it_elsewhere_goes_on(self):
        await self.create()
        await self.fill(self.first, 0, 1)
        reader = await self.sheep[2].volumes.open('vm', read_only=True)
        await self.branching.snapshot('vm', 's1')
        await self.fill(self.sheep[1], 0, 2)
        self.assertEqual(bytes([2]) * BLOCK, await reader.read(0, BLOCK))
        await reader.close()

    async def test_writes_wait_for_it_and_are_not_in_it(self):
        vdi_id = await self.create()
        volume = await self.first.volumes.open('vm')
        await volume.write(0, b'a' * BLOCK)
        gate = asyncio.Event()
        flushes = []

        async def flush(flushed):
            flushes.append(flushed)
            if len(flushes) == 2:
                # Frozen.
                await gate.wait()
            await self.first.gateway.flush(flushed)

        self.first.recorder.flush = flush
        asked = asyncio.ensure_future(self.branching.snapshot('vm', 's1'))
        while len(flushes) < 2:
            await asyncio.sleep(0.001)
        late = [asyncio.ensure_future(volume.write(0, b'b' * BLOCK)),
                asyncio.ensure_future(volume.zero(BLOCK, BLOCK))]
        await asyncio.sleep(0.05)
        self.assertFalse(any(one.done() for one in late))
        self.assertEqual(b'a' * BLOCK, await volume.read(0, BLOCK))
        gate.set()
        await case.within(asked)
        await case.within(asyncio.gather(*late))
        self.assertEqual([vdi_id, vdi_id], flushes)
        self.assertEqual(ord('a'), await self.content(tag='s1'))
        self.assertEqual(b'b' * BLOCK, await volume.read(0, BLOCK))
        await volume.close()

    async def test_if_it_fails_clients_go_on_with_the_vdi(self):
        vdi_id = await self.create()
        volume = await self.first.volumes.open('vm')
        await volume.write(0, b'a' * BLOCK)
        self.first.recorder.refuse = lambda verb, oid: (
            errors.NoSpace('full') if verb == 'write' and ids.is_vdi(oid)
            else None)
        with self.assertRaises(errors.NoSpace):
            await self.branching.snapshot('vm', 's1')
        self.first.recorder.refuse = lambda verb, oid: None
        await volume.write(0, b'b' * BLOCK)
        self.assertEqual(vdi_id, volume.vdi_id)
        await volume.close()
        await self.check_nothing_under_way()
        state = self.first.cluster.state
        self.assertEqual([vdi_id], [entry.vdi_id for entry
                                    in state.vdis.values()
                                    if not entry.deleted])

    async def test_who_loses_the_lock_makes_none(self):
        await self.create()
        volume = await self.first.volumes.open('vm')
        execute = self.first.cluster.execute

        async def steal_first(kind, arguments, *rest):
            if kind == 'vdi-commit':
                await execute('unlock', {
                    'vdi_id': arguments['source'], 'force': True})
            return await execute(kind, arguments, *rest)

        self.first.cluster.execute = steal_first
        with self.assertRaises(errors.SheepdogError):
            await self.branching.snapshot('vm', 's1')
        await volume.close()
        await self.check_nothing_under_way()
        self.assertIsNone(self.first.cluster.state.lookup('vm', 's1'))

    async def test_who_grows_it_meanwhile_is_not_forgotten(self):
        await self.create()
        volume = await self.first.volumes.open('vm')
        execute = self.first.cluster.execute

        async def grow_first(kind, arguments, *rest):
            if kind == 'vdi-commit':
                await self.sheep[1].catalogue.resize('vm', 5 * OBJECT)
            return await execute(kind, arguments, *rest)

        self.first.cluster.execute = grow_first
        with self.assertRaises(errors.VdiLocked):
            await self.branching.snapshot('vm', 's1')
        self.first.cluster.execute = execute
        await self.branching.snapshot('vm', 's1')
        await volume.write(4 * OBJECT, b'a' * BLOCK)
        await volume.close()
        self.assertEqual(ord('a'), await self.content(offset=4 * OBJECT))

    async def test_what_is_asked_twice_is_done_once(self):
        await self.create()
        first = await self.branching.snapshot('vm', 's1',
                                              operation_id='a' * 24)
        again = await self.branching.snapshot('vm', 's1',
                                              operation_id='a' * 24)
        self.assertEqual(first, again)

    async def test_its_tag_is_its_own(self):
        await self.create()
        await self.branching.snapshot('vm', 's1')
        with self.assertRaises(errors.VdiExists):
            await self.branching.snapshot('vm', 's1')
        await self.branching.snapshot('vm', 's2')
        await self.branching.snapshot('vm')
        await self.branching.snapshot('vm')
        self.assertEqual([1, 2, 3, 4, 0], [
            vdi['snap_id'] for vdi in await self.first.catalogue.list()])

    async def test_only_if_something_has_changed(self):
        await self.create()
        self.assertIsNotNone(
            await self.branching.snapshot('vm', 's1', True))
        self.assertIsNone(await self.branching.snapshot('vm', 's2', True))
        await self.fill(self.first, 0, 1)
        self.assertIsNotNone(
            await self.branching.snapshot('vm', 's3', True))

    async def test_a_vdi_that_is_gone_is_none(self):
        """Not an error that nobody expects."""
        vdi_id = await self.create()
        await self.first.volumes.claim(vdi_id, False)
        del self.first.cluster.state.vdis[vdi_id]
        self.first.volumes._claims.clear()
        claim = quiesce.OfClaim(self.first.volumes, vdi_id)
        with self.assertRaises(errors.NoVdi):
            claim.check()
        self.first.cluster.state.locks.clear()
        with self.assertRaises(errors.NoVdi):
            async with self.first.volumes.held(vdi_id, True):
                pass

    async def test_nobody_opens_a_snapshot_to_write(self):
        await self.create()
        await self.branching.snapshot('vm', 's1')
        with self.assertRaises(errors.ReadOnly):
            await self.first.volumes.open('vm', 's1')

    async def test_who_opens_meanwhile_gets_the_next(self):
        await self.create()
        opened = asyncio.ensure_future(asyncio.gather(
            *(one.volumes.open('vm', read_only=True) for one in self.sheep),
            return_exceptions=True))
        await self.branching.snapshot('vm', 's1')
        working = self.first.cluster.state.lookup('vm')
        for volume in await opened:
            self.assertEqual(working.vdi_id, volume.vdi_id)
            await volume.close()

    async def test_a_copy_on_write_is_durable_before_the_map_names_it(self):
        vdi_id = await self.create()
        await self.fill(self.first, 0, 1, 2 * BLOCK)
        done = await self.branching.snapshot('vm', 's1')
        self.first.recorder.log.clear()
        await self.fill(self.first, 0, 2)
        copied = [entry for entry in self.first.recorder.writes(
            ids.data_oid(done['vdi_id'], 0)) if entry[0] == BLOCK]
        self.assertEqual([(BLOCK, BLOCK, True)], copied)
        self.assertEqual(done['vdi_id'], await self.entry_on_disk(
            done['vdi_id'], 0))
        self.assertEqual(vdi_id, await self.entry_on_disk(vdi_id, 0))

    async def test_the_inode_of_one_given_up_is_gone_with_its_maker(self):
        await self.create()
        await self.sheep[1].cluster.execute('vdi-begin', {
            'name': 'vm', 'source': self.first.cluster.state.lookup(
                'vm').vdi_id, 'parent': 0, 'created': 1,
            'owner': self.sheep[1].cluster.incarnation})
        state = self.first.cluster.state
        made, = [entry for entry in state.vdis.values() if entry.pending]
        self.assertEqual(1, len(await self.first.catalogue.list()))
        self.flock.lapse(self.sheep[1])
        await self.flock.settled()
        state = self.first.cluster.state
        self.assertTrue(state.is_dead(made.vdi_id))
        self.assertEqual({}, state.locks)


class LostAnswerTest(Case):
    """Of the event that takes an id: whether it was decided is open."""

    async def check_given_up(self, is_decided):
        await self.create()
        execute = self.first.cluster.execute
        asked = []

        async def lose_the_first(kind, arguments, *rest):
            if kind == 'vdi-begin':
                asked.append(rest)
                if len(asked) == 1:
                    if is_decided:
                        await execute(kind, arguments, *rest)
                    raise errors.NotServing('no answer from the leader')
            return await execute(kind, arguments, *rest)

        self.first.cluster.execute = lose_the_first
        with self.assertRaises(errors.NotServing):
            await self.branching.snapshot('vm', 's1')
        await flock.until(lambda: len(asked) > 1)
        await self.check_nothing_under_way()
        self.assertEqual(1, len(set(asked)))
        await self.branching.snapshot('vm', 's1')
        await self.check_nothing_under_way()

    async def test_it_is_given_up(self):
        await self.check_given_up(True)

    async def test_also_where_it_comes_later(self):
        await self.check_given_up(False)


class CloneTest(Case):
    async def test_it_is_as_its_snapshot_until_it_is_written(self):
        await self.create()
        await self.fill(self.first, 0, 1, 2 * BLOCK)
        await self.branching.snapshot('vm', 's1')
        await self.fill(self.first, 0, 2)
        made = await self.branching.clone('vm', 's1', 'copy')
        self.assertEqual((True, 0, OBJECT), (
            made['clone'], made['used'], made['shared']))
        self.assertEqual(1, await self.content('copy'))
        await self.fill(self.sheep[2], 0, 3, name='copy')
        self.assertEqual([1, 2, 3, 1], [
            await self.content(tag='s1'), await self.content(),
            await self.content('copy'),
            await self.content('copy', offset=BLOCK)])

    async def test_one_that_shares_nothing(self):
        await self.create()
        await self.fill(self.first, 0, 1)
        await self.branching.snapshot('vm', 's1')
        made = await self.branching.clone('vm', '1', 'copy', True)
        self.assertEqual((OBJECT, 0, 0), (made['used'], made['shared'],
                                          made['parent']))
        await self.first.catalogue.delete('vm', 's1')
        await self.first.catalogue.delete('vm')
        await self.flock.settled()
        self.assertEqual(1, await self.content('copy'))
        await self.check_objects({(made['vdi_id'], 0)})

    async def test_refusals(self):
        await self.create()
        with self.assertRaises(errors.NoTag):
            await self.branching.clone('vm', 's1', 'copy')
        await self.branching.snapshot('vm', 's1')
        with self.assertRaises(errors.VdiExists):
            await self.branching.clone('vm', 's1', 'vm')
        with self.assertRaises(errors.NoTag):
            await self.branching.clone('vm', '7', 'copy')
        with self.assertRaises(errors.InvalidParameters):
            await self.branching.clone('vm', 's1', '')
        await self.check_nothing_under_way()

    async def test_none_of_the_working_vdi(self):
        """They would go on sharing objects that are written in place."""
        await self.create()
        for refused in (self.branching.clone('vm', '', 'copy'),
                        self.branching.rollback('vm', '')):
            with self.assertRaisesRegex(errors.InvalidParameters,
                                        'which snapshot'):
                await refused
        await self.check_nothing_under_way()
        self.assertEqual(1, len(await self.first.catalogue.list()))

    async def test_asked_for_again_it_was_done(self):
        """…whatever became of its snapshot since."""
        await self.create()
        await self.branching.snapshot('vm', 's1')
        made = await self.branching.clone('vm', 's1', 'copy',
                                          operation_id='a' * 24)
        await self.first.catalogue.delete('vm', 's1')
        again = await self.branching.clone('vm', 's1', 'copy',
                                           operation_id='a' * 24)
        self.assertEqual(made['vdi_id'], again['vdi_id'])

    async def test_a_larger_one_is_made_as_a_whole_or_not(self):
        await self.create()
        await self.fill(self.first, 0, 1)
        await self.branching.snapshot('vm', 's1')
        snapshot = self.first.cluster.state.lookup('vm', 's1')
        with self.assertRaises(errors.InvalidParameters):
            await self.branching.clone_of(
                snapshot, 'copy', limits.VDI_OBJECTS_MAX * OBJECT + 1)
        self.assertIsNone(self.first.cluster.state.lookup('copy'))
        await self.branching.clone_of(snapshot, 'copy', 9 * OBJECT)
        self.assertEqual(9 * OBJECT, (await self.first.catalogue.list(
            'copy'))[0]['size'])
        self.assertEqual(1, await self.content('copy'))
        await self.fill(self.first, 8 * OBJECT, 2, name='copy')

    async def test_of_two_of_one_name_one_is_made(self):
        await self.create()
        await self.branching.snapshot('vm', 's1')
        results = await asyncio.gather(
            *(one.branching.clone('vm', 's1', 'copy',
                                  operation_id=one.name)
              for one in self.sheep), return_exceptions=True)
        await self.check_nothing_under_way()
        self.assertEqual(2, sum(isinstance(one, errors.VdiExists)
                                for one in results), results)
        self.assertEqual(3, len(await self.first.catalogue.list()))
        await self.check_nothing_under_way()

    async def test_none_of_a_snapshot_that_is_deleted_meanwhile(self):
        await self.create()
        await self.fill(self.first, 0, 1)
        await self.branching.snapshot('vm', 's1')
        execute = self.first.cluster.execute

        async def delete_first(kind, arguments, *rest):
            if kind == 'vdi-commit':
                await self.sheep[1].catalogue.delete('vm', 's1')
            return await execute(kind, arguments, *rest)

        self.first.cluster.execute = delete_first
        with self.assertRaises(errors.NoVdi):
            await self.branching.clone('vm', 's1', 'copy')
        await self.flock.settled()
        self.assertEqual(1, len(await self.first.catalogue.list()))


class LocklessTest(Case):
    async def test_what_is_under_way_without_a_lock_comes_to_its_end(self):
        """A native client elsewhere; the snapshot stays as it is."""
        await self.create()
        await self.fill(self.first, 0, 1)
        vdi_id = self.first.cluster.state.lookup('vm').vdi_id
        ended = []
        for sheep in self.sheep:
            sheep.gateway.abandon_content = (
                lambda *arguments: ended.append(arguments))
        await self.branching.snapshot('vm', 's1')
        await self.flock.settled()
        ended = [(vdi_id, type(error)) for vdi_id, error in ended
                 if isinstance(error, errors.ReadOnly)]
        self.assertEqual([(vdi_id, errors.ReadOnly)] * len(self.sheep),
                         ended)


class RollbackTest(Case):
    async def test_it_has_the_content_of_then(self):
        await self.create()
        await self.fill(self.first, 0, 1)
        await self.branching.snapshot('vm', 's1')
        await self.fill(self.first, 0, 2)
        await self.fill(self.first, OBJECT, 2)
        await self.branching.rollback('vm', 's1')
        await self.flock.settled()
        self.assertEqual(1, await self.content())
        self.assertEqual(0, await self.content(offset=OBJECT))
        self.assertEqual(['s1', ''], [
            vdi['tag'] for vdi in await self.first.catalogue.list()])
        state = self.first.cluster.state
        await self.check_objects({(state.lookup('vm', 's1').vdi_id, 0)})

    async def test_not_while_it_is_open(self):
        await self.create()
        await self.branching.snapshot('vm', 's1')
        volume = await self.sheep[1].volumes.open('vm')
        with self.assertRaises(errors.VdiLocked):
            await self.branching.rollback('vm', 's1')
        await volume.close()

    async def test_asked_for_again_it_was_done(self):
        """…whoever has opened the VDI since."""
        await self.create()
        await self.fill(self.first, 0, 1)
        await self.branching.snapshot('vm', 's1')
        await self.fill(self.first, 0, 2)
        await self.branching.rollback('vm', 's1', 'op')
        volume = await self.sheep[1].volumes.open('vm')
        await volume.write(0, b'new')
        await self.branching.rollback('vm', 's1', 'op')
        self.assertEqual(b'new', await volume.read(0, 3))
        await volume.close()

    async def test_one_that_was_deleted_comes_back(self):
        await self.create()
        await self.fill(self.first, 0, 1)
        await self.branching.snapshot('vm', 's1')
        await self.first.catalogue.delete('vm')
        with self.assertRaises(errors.NoVdi):
            await self.content()
        await self.branching.rollback('vm', 's1')
        self.assertEqual(1, await self.content())


class ReclaimTest(Case):
    async def chain(self):
        """Snapshots s1 and s2 and the working VDI, each with an object of
        its own besides what it shares: 0 is of s1, 1 of s2, 2 of vm."""
        vdis = [await self.create()]
        for number in range(3):
            await self.fill(self.first, number * OBJECT, number + 1)
            if number < 2:
                done = await self.branching.snapshot('vm',
                                                     's%d' % (number + 1))
                vdis.append(done['vdi_id'])
        return vdis

    async def test_a_shared_object_stays(self):
        s1, s2, working = await self.chain()
        await self.first.catalogue.delete('vm', 's1')
        await self.reclaim()
        await self.check_objects({(s1, 0), (s2, 1), (working, 2)})
        self.assertEqual([1, 2, 3], [
            await self.content(offset=number * OBJECT)
            for number in range(3)])
        self.assertEqual(1, await self.content(tag='s2'))

    async def test_what_nobody_names_goes(self):
        s1, s2, working = await self.chain()
        await self.fill(self.first, 0, 9)
        await self.first.catalogue.delete('vm', 's1')
        await self.reclaim()
        # (s2 names it still.)
        self.assertIn((s1, 0), await self.objects())
        await self.first.catalogue.delete('vm', 's2')
        await self.reclaim()
        await self.check_objects({(s2, 1), (working, 0), (working, 2)})
        self.assertTrue(self.first.cluster.state.vdis[s1].reclaimed)
        self.assertEqual([9, 2, 3], [
            await self.content(offset=number * OBJECT)
            for number in range(3)])
        await self.first.catalogue.delete('vm')
        await self.flock.settled()
        await self.check_objects(set())
        self.assertEqual([], self.first.cluster.state.needed())

    async def test_an_object_that_some_name_and_some_not(self):
        await self.create()
        for number in range(2):
            await self.fill(self.first, number * OBJECT, number + 1)
        first = self.first.cluster.state.lookup('vm').vdi_id
        await self.branching.snapshot('vm', 's1')
        await self.branching.clone('vm', 's1', 'copy')
        await self.fill(self.first, 0, 3)
        await self.fill(self.first, 0, 4, name='copy')
        await self.first.catalogue.delete('vm', 's1')
        await self.reclaim()
        # Object 0 is empty, though object 1 of the same VDI is needed.
        self.assertIn((first, 1), await self.objects())
        self.assertNotIn((first, 0), await self.objects())
        self.assertEqual([3, 4, 2, 2], [
            await self.content(), await self.content('copy'),
            await self.content(offset=OBJECT),
            await self.content('copy', offset=OBJECT)])

    async def test_a_clone_that_comes_meanwhile_is_looked_at(self):
        s1, _, _ = await self.chain()
        await self.fill(self.first, 0, 9)
        await self.first.catalogue.delete('vm', 's1')
        leader = [one for one in self.sheep if one.reclaimer._is_ours()][0]
        read = leader.reclaimer._map
        seen = []

        async def clone_first(vdi_id):
            if not seen:
                seen.append(vdi_id)
                await self.branching.clone('vm', 's2', 'copy')
                await self.first.catalogue.delete('vm', 's2')
            async for piece in read(vdi_id):
                yield piece

        leader.reclaimer._map = clone_first
        with self.assertRaises(errors.SheepdogError):
            await leader.reclaimer._look()
        await self.reclaim()
        self.assertEqual(1, await self.content('copy'))

    async def one_that_is_half_needed(self):
        """The reclaimer, and the id of a deleted VDI of whose two objects
        one is named still."""
        await self.create()
        for number in range(2):
            await self.fill(self.first, number * OBJECT, number + 1)
        first = self.first.cluster.state.lookup('vm').vdi_id
        await self.branching.snapshot('vm', 's1')
        await self.fill(self.first, 0, 3)
        await self.first.catalogue.delete('vm', 's1')
        found, = [one.reclaimer for one in self.sheep
                  if one.reclaimer._is_ours()]
        return found, first

    async def test_maps_are_durable_before_anything_is_emptied(self):
        """Else a power cut brings back the names of what is empty."""
        found, _ = await self.one_that_is_half_needed()
        steps = []
        gateway = found.gateway
        flush, zero = gateway.unflushed.flush_replicas, gateway.zero_wait

        async def flushed(vdi_id):
            await flush(vdi_id)
            steps.append('flush')

        async def zeroed(*arguments, **options):
            steps.append('zero')
            await zero(*arguments, **options)

        with mock.patch.object(gateway.unflushed, 'flush_replicas',
                               flushed), \
                mock.patch.object(gateway, 'zero_wait', zeroed):
            await found._look()
        self.assertEqual(['flush', 'zero'], steps)

    async def test_nothing_is_emptied_in_another_cluster(self):
        """…in which another VDI may have the id."""
        found, first = await self.one_that_is_half_needed()
        own = await found._own(first)
        unnamed = list(zip(own.indexes.tolist(), own.owners.tolist()))[:1]
        with self.assertRaises(reclaimer.Changed):
            await found._empty(found.cluster.state.created + 1, first,
                               unnamed)
        self.assertIn((first, 0), await self.objects())
        with self.assertRaises(reclaimer.Changed):
            await found._empty(found.cluster.state.created, first + 1,
                               unnamed)

    async def test_in_any_order_nothing_is_left_and_nothing_lost(self):
        wanted = {}
        for number, order in enumerate((
                (0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1))):
            name = 'vm-%d' % number
            await self.create(name)
            nodes = []
            for step in range(3):
                await self.fill(self.first, step * OBJECT, step + 1,
                                name=name)
                await self.fill(self.first, 3 * OBJECT, step + 10, name=name)
                wanted[name, 's%d' % step] = step + 10
                await self.branching.snapshot(name, 's%d' % step)
                nodes.append((name, 's%d' % step))
            await self.branching.clone(name, 's1', name + '-copy')
            await self.fill(self.first, 0, 77, name=name + '-copy')
            await self.first.catalogue.delete(name)
            wanted[name + '-copy', ''] = 11
            nodes.append((name + '-copy', ''))
            for place in order:
                victim = nodes[place]
                await self.first.catalogue.delete(*victim)
                del wanted[victim]
                await self.reclaim()
                for left in wanted:
                    self.assertEqual(wanted[left], await self.content(
                        *left, offset=3 * OBJECT), left)
            await self.check_objects(set())
        self.assertEqual([], await self.first.catalogue.list())


class InodeTest(Case):
    async def test_only_what_is_written_of_a_map_is_copied(self):
        await self.create('large', 1 << 40 >> 1)
        volume = await self.first.volumes.open('large')
        await volume.write((1 << 39) - OBJECT, b'a' * BLOCK)
        await volume.close()
        self.first.recorder.log.clear()
        done = await self.branching.snapshot('large', 's1')
        written = sum(length for _, length, _ in self.first.recorder.writes(
            ids.vdi_oid(done['vdi_id'])))
        self.assertLess(written, inode.HEAD_BYTES + 3 * BLOCK)
        volume = await self.first.volumes.open('large')
        self.assertEqual(b'a', await volume.read((1 << 39) - OBJECT, 1))
        await volume.close()
