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
from sheepdog.model import ids
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.tests.unit.volume import test_branching

OBJECT = case.OBJECT
BLOCK = 4096


class Case(test_branching.Case):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.a, self.b, self.c = self.sheep

    async def open_by(self, *sheep, name='vm'):
        return [await one.volumes.open(name, shared=True) for one in sheep]

    async def close(self, *volumes):
        for volume in volumes:
            await volume.close()
        await self.check_nothing_under_way()

    async def frozen(self, *volumes):
        await flock.until(lambda: all(
            volume._gate.is_shut for volume in volumes))


class SharedTest(Case):
    """A VDI that several sheep have open."""

    async def test_all_go_on_with_the_next(self):
        vdi_id = await self.create()
        one, other = await self.open_by(self.a, self.b)
        await one.write(0, b'a' * BLOCK)
        await other.write(OBJECT, b'b' * BLOCK)
        # By who has it open, and by one who has not.
        for tag, maker in (('s1', self.a), ('s2', self.c)):
            done = await maker.branching.snapshot('vm', tag)
            self.assertEqual(vdi_id, done['snapshot'])
            vdi_id = done['vdi_id']
            await flock.until(lambda: not (
                one._gate.is_shut or other._gate.is_shut))
            self.assertEqual([vdi_id, vdi_id], [one.vdi_id, other.vdi_id])
            self.assertEqual(
                sorted([self.a.cluster.incarnation,
                        self.b.cluster.incarnation]),
                sorted(self.owners(vdi_id)))
        await one.write(OBJECT, b'c' * BLOCK)
        self.assertEqual(b'c' * BLOCK, await other.read(OBJECT, BLOCK))
        self.assertEqual(b'a' * BLOCK, await other.read(0, BLOCK))
        await self.close(one, other)
        self.assertEqual([ord('b'), ord('b'), ord('c')], [
            await self.content(tag=tag, offset=OBJECT)
            for tag in ('s1', 's2', '')])
        # Of nothing is kept that its turn was taken.
        await flock.until(lambda: not any(
            len(sheep.volumes._turns) for sheep in self.sheep))

    async def test_that_all_shuts_down_is_no_answer(self):
        await self.create()
        one, other = await self.open_by(self.a, self.b)
        execute = self.b.cluster.execute
        shut = []

        async def ends(kind, *arguments):
            if kind == 'vdi-abort' and len(shut) < 3:
                shut.append(other._gate.is_shut)
                raise errors.ShuttingDown('the cluster shuts down')
            return await execute(kind, *arguments)

        self.b.cluster.execute = ends
        await self.a.branching.snapshot('vm', 's1')
        await flock.until(lambda: not other._gate.is_shut)
        self.assertEqual([True] * 3, shut)
        await self.close(one, other)

    async def test_nobody_writes_until_all_know(self):
        await self.create()
        one, other = await self.open_by(self.a, self.b)
        await one.write(0, b'a' * BLOCK)
        execute = self.c.cluster.execute
        decide = asyncio.Event()

        async def wait_first(kind, *arguments):
            if kind == 'vdi-commit':
                await decide.wait()
            return await execute(kind, *arguments)

        self.c.cluster.execute = wait_first
        asked = asyncio.ensure_future(self.c.branching.snapshot('vm', 's1'))
        await self.frozen(one, other)
        late = [asyncio.ensure_future(volume.write(
            place * BLOCK, b'b' * BLOCK))
            for place, volume in enumerate((one, other))]
        await asyncio.sleep(0.05)
        self.assertFalse(any(write.done() for write in late))
        decide.set()
        await asked
        await case.within(asyncio.gather(*late))
        self.assertEqual(ord('a'), await self.content(tag='s1'))
        self.assertEqual(0, await self.content(tag='s1', offset=BLOCK))
        self.assertEqual(ord('b'), await self.content(length=2 * BLOCK))
        await self.close(one, other)

    async def test_if_the_maker_dies_all_go_on_with_the_vdi(self):
        vdi_id = await self.create()
        one, other = await self.open_by(self.a, self.b)

        async def never(kind, *arguments):
            await asyncio.get_running_loop().create_future()

        execute, self.c.cluster.execute = self.c.cluster.execute, never
        begun = await execute('vdi-begin', {
            'name': 'vm', 'source': vdi_id, 'parent': vdi_id, 'created': 1,
            'owner': self.c.cluster.incarnation})
        for sheep in self.a, self.b:
            await sheep.branching.standstill.hold(
                vdi_id, begun['vdi_id'], self.c.cluster.incarnation)
        write = asyncio.ensure_future(one.write(0, b'b' * BLOCK))
        await asyncio.sleep(0.05)
        self.assertFalse(write.done())
        self.flock.lapse(self.c)
        await case.within(write)
        self.assertEqual([vdi_id, vdi_id], [one.vdi_id, other.vdi_id])
        await self.close(one, other)

    async def test_who_waits_too_long_gives_it_up(self):
        vdi_id = await self.create()
        one, other = await self.open_by(self.a, self.b)
        begun = await self.c.cluster.execute('vdi-begin', {
            'name': 'vm', 'source': vdi_id, 'parent': vdi_id, 'created': 1,
            'owner': self.c.cluster.incarnation})
        held = await self.a.branching.standstill.hold(
            vdi_id, begun['vdi_id'], self.c.cluster.incarnation)
        await case.within(one.write(0, b'b' * BLOCK), 100)
        with self.assertRaises(errors.NoVdi):
            await self.c.cluster.execute('vdi-commit', {
                'vdi_id': begun['vdi_id'], 'source': vdi_id,
                'owner': self.c.cluster.incarnation, 'snapshot': True,
                'serial': held['serial'], 'tag': '', 'resized': 0,
                'replaces': 0})
        await self.close(one, other)

    async def check_refused(self, is_before, *opened):
        """Somebody else opens it as well, before or behind the standstill
        of those who had it."""
        await self.create()
        volumes = await self.open_by(*opened)
        hold = self.a.branching.standstill.hold

        async def meanwhile(*arguments):
            if is_before:
                volumes.extend(await self.open_by(self.a, self.b))
            held = await hold(*arguments)
            if not is_before:
                volumes.extend(await self.open_by(self.b))
            return held

        self.a.branching.standstill.hold = meanwhile
        with self.assertRaises(errors.VdiLocked):
            await self.a.branching.snapshot('vm', 's1')
        for volume in volumes:
            await case.within(volume.write(0, b'b' * BLOCK))
        await self.close(*volumes)

    async def test_not_while_somebody_opens_it(self):
        await self.check_refused(False, self.a)

    async def test_not_where_somebody_has_just_opened_it(self):
        await self.check_refused(True, self.a)

    async def test_not_where_it_was_closed_a_moment_ago(self):
        await self.check_refused(True)

    async def test_a_lock_that_was_left_over(self):
        """It could not be given back when the volume was closed."""
        vdi_id = await self.create()
        for mode in 'exclusive', 'shared':
            await self.b.cluster.execute('lock', {
                'vdi_id': vdi_id, 'mode': mode,
                'owner': self.b.cluster.incarnation})
            done = await self.a.branching.snapshot('vm', mode)
            vdi_id = done['vdi_id']
        one, = await self.open_by(self.a)
        await self.b.cluster.execute('lock', {
            'vdi_id': vdi_id, 'mode': 'shared',
            'owner': self.b.cluster.incarnation})
        with self.assertRaises(errors.VdiNotLocked):
            await self.a.branching.snapshot('vm', 's1')
        # (…which may be tried again.)
        await self.a.branching.snapshot('vm', 's1')
        await self.close(one)

    async def test_several_who_make_one_wait_for_each_other(self):
        await self.create()
        one, other = await self.open_by(self.a, self.b)
        await case.within(asyncio.gather(*(
            sheep.branching.snapshot('vm', 's-%s' % sheep.name)
            for sheep in self.sheep)), 15)
        self.assertEqual(4, len(await self.a.catalogue.list()))
        await case.within(one.write(0, b'b' * BLOCK))
        await self.close(one, other)


class SharedCopyTest(Case):
    """Objects that a shared volume has of its snapshots."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.create()
        await self.fill(self.a, 0, 1, 8 * BLOCK)
        await self.branching.snapshot('vm', 's1')

    async def test_nothing_is_lost_where_two_write_first(self):
        volumes = await self.open_by(*self.sheep)
        await asyncio.gather(*(
            volume.write(place * BLOCK, bytes([10 + place]) * BLOCK)
            for place, volume in enumerate(volumes)))
        for volume in volumes:
            self.assertEqual(
                b''.join(bytes([byte]) * BLOCK
                         for byte in (10, 11, 12, 1, 1, 1, 1, 1)),
                await volume.read(0, 8 * BLOCK))
        self.assertEqual(1, await self.content(tag='s1', length=8 * BLOCK))
        await self.close(*volumes)

    async def test_one_copies_for_all(self):
        one, other = await self.open_by(self.a, self.b)
        oid = ids.data_oid(other.vdi_id, 0)
        gate = self.a.recorder.gates['write', oid] = asyncio.Event()
        writes = [asyncio.ensure_future(volume.write(
            place * BLOCK, b'b' * BLOCK))
            for place, volume in enumerate((one, other))]
        await asyncio.sleep(0.05)
        self.assertEqual([], self.b.recorder.writes(oid))
        gate.set()
        await case.within(asyncio.gather(*writes))
        copied = [one for one in self.a.recorder.writes(oid)
                  if one[1] == 8 * BLOCK]
        self.assertEqual(1, len(copied))
        await self.close(one, other)

    async def test_zeroes(self):
        one, other = await self.open_by(self.a, self.b)
        await other.zero(BLOCK, BLOCK)
        self.assertEqual([1, 0, 1], list(
            (await one.read(0, 3 * BLOCK))[::BLOCK]))
        self.assertEqual(1, await self.content(tag='s1', length=8 * BLOCK))
        await self.close(one, other)

    async def test_the_next_one_does_it_when_the_first_is_gone(self):
        one, other = await self.open_by(self.a, self.b)
        asked = []

        async def lost(*arguments):
            asked.append(arguments)
            if len(asked) == 1:
                self.flock.lapse(self.a)
            raise errors.Unreachable('no answer')

        self.b.volumes.copies.ask = lost
        await case.within(other.write(0, b'b' * BLOCK))
        self.assertEqual(b'b' * BLOCK, await other.read(0, BLOCK))
        await other.close()

    async def test_the_next_one_does_it_where_the_first_closes(self):
        one, other = await self.open_by(self.a, self.b)
        copied = []

        async def closed(index):
            copied.append(index)
            await one.close()
            one.access.check()

        one.copy_object = closed
        await case.within(other.write(0, b'b' * BLOCK))
        self.assertEqual([0], copied)
        self.assertEqual(b'b' * BLOCK, await other.read(0, BLOCK))
        await self.close(other)

    async def test_a_lock_that_was_left_over(self):
        """Its sheep is the first, and has not opened the volume."""
        await self.a.cluster.execute('lock', {
            'vdi_id': self.a.cluster.state.lookup('vm').vdi_id,
            'mode': 'shared', 'owner': self.a.cluster.incarnation})
        other, = await self.open_by(self.b)
        await case.within(other.write(0, b'b' * BLOCK))
        self.assertEqual([self.b.cluster.incarnation],
                         self.owners(other.vdi_id))
        await self.close(other)

    async def test_one_that_is_being_opened_is_not_left_over(self):
        vdi_id = self.a.cluster.state.lookup('vm').vdi_id
        head = self.a.catalogue.head
        go_on = asyncio.Event()

        async def late(*arguments):
            await go_on.wait()
            return await head(*arguments)

        self.a.catalogue.head = late
        opened = asyncio.ensure_future(self.open_by(self.a))
        await flock.until(lambda: self.owners(vdi_id))
        with self.assertRaises(errors.NotServing):
            await self.a.volumes.copies.make_own_here(vdi_id, 0)
        go_on.set()
        one, = await opened
        self.assertEqual([self.a.cluster.incarnation], self.owners(vdi_id))
        await self.close(one)

    async def test_not_where_the_first_is_a_native_client(self):
        vdi_id = self.a.cluster.state.lookup('vm').vdi_id
        await self.a.volumes.claim(vdi_id, True)
        other, = await self.open_by(self.b)
        with self.assertRaises(errors.VdiLocked):
            await other.write(0, b'b' * BLOCK)
        await other.close()
        await self.a.volumes.release(vdi_id)


class GroupTest(Case):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.names = ['one', 'two', 'three']
        for name in self.names:
            await self.create(name)

    async def test_all_at_one_place_in_the_order(self):
        """Open on two sheep, and closed."""
        one = await self.a.volumes.open('one')
        two = await self.b.volumes.open('two')
        await self.fill(self.c, 0, 3, name='three')
        await one.write(0, b'1' * BLOCK)
        await two.write(0, b'2' * BLOCK)
        before = [self.a.cluster.state.lookup(name).vdi_id
                  for name in self.names]
        done = await self.c.branching.snapshot_group(self.names, 's1')
        self.assertEqual(before, [vdi['snapshot'] for vdi in done['vdis']])
        for volume in one, two:
            await case.within(volume.write(0, b'x' * BLOCK))
        self.assertEqual([ord('1'), ord('2'), 3], [
            await self.content(name, 's1') for name in self.names])
        state = self.a.cluster.state
        self.assertEqual(1, len({state.vdis[vdi_id].snapped
                                 for vdi_id in before}))
        await self.close(one, two)

    async def test_of_all_or_of_none(self):
        await self.branching.snapshot('two', 'taken')
        count = len(await self.a.catalogue.list())
        for tag, names, error in (
                ('taken', self.names, errors.VdiExists),
                ('s1', self.names + ['none'], errors.NoVdi),
                ('s1', ['one', 'one'], errors.InvalidParameters),
                ('s1', [], errors.InvalidParameters),
                ('s1', 'one', errors.InvalidParameters)):
            with self.assertRaises(error):
                await self.branching.snapshot_group(names, tag)
        execute = self.a.cluster.execute

        async def take_one_first(kind, *arguments):
            if kind == 'vdi-commit-group':
                self.a.cluster.execute = execute
                await execute('unlock', {
                    'vdi_id': arguments[0]['commits'][1]['source'],
                    'force': True})
            return await execute(kind, *arguments)

        self.a.cluster.execute = take_one_first
        with self.assertRaises(errors.VdiLocked):
            await self.branching.snapshot_group(self.names, 's1')
        await self.check_nothing_under_way()
        self.assertEqual(count, len(await self.a.catalogue.list()))

    async def test_what_is_asked_twice_is_done_once(self):
        first = await self.branching.snapshot_group(
            self.names, 's1', operation_id='a' * 24)
        again = await self.b.branching.snapshot_group(
            self.names, 's1', operation_id='a' * 24)
        self.assertEqual(first, again)
        self.assertEqual(6, len(await self.a.catalogue.list()))

    async def test_of_one(self):
        done = await self.branching.snapshot_group(['one'], 's1')
        self.assertEqual(1, len(done['vdis']))

    async def test_only_if_anything_has_changed(self):
        await self.branching.snapshot_group(self.names, 's1')
        self.assertIsNone(
            await self.branching.snapshot_group(self.names, 's2', True))
        await self.fill(self.a, 0, 1, name='two')
        self.assertIsNotNone(
            await self.branching.snapshot_group(self.names, 's2', True))

    async def test_two_groups_in_different_order(self):
        await case.within(asyncio.gather(
            self.a.branching.snapshot_group(self.names, 's1'),
            self.b.branching.snapshot_group(self.names[::-1], 's2')), 15)
        self.assertEqual(9, len(await self.a.catalogue.list()))
        await self.check_nothing_under_way()
