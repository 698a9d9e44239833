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

"""Tests of sheepdog.volume.catalogue."""

import asyncio
import dataclasses
from unittest import mock

from sheepdog.cluster import api
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.volume import catalogue

OBJECT = case.OBJECT


class CatalogueTest(case.VolumeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.catalogue = self.sheep[1].catalogue

    async def head(self, vdi_id):
        return await self.catalogue.head(vdi_id)

    async def write_head(self, vdi_id, **changes):
        """As a native client might."""
        head = await self.head(vdi_id)
        for name, value in changes.items():
            setattr(head, name, value)
        await self.sheep[0].gateway.write_wait(ids.vdi_oid(vdi_id), 0,
                                               head.pack())

    async def test_nonsense_in_an_inode_harms_only_its_own_vdi(self):
        for number, changes in enumerate((
                {'vdi_size': 1 << 62}, {'block_size_shift': 255},
                {'block_size_shift': 0})):
            name = 'bad%d' % number
            made = await self.catalogue.create(name, OBJECT)
            await self.write_head(made['vdi_id'], **changes)
            with self.assertRaises(catalogue.DamagedInode):
                await self.head(made['vdi_id'])
            with self.assertRaises(errors.StorageError):
                await self.sheep[1].volumes.open(name)
        good = await self.catalogue.create('good', OBJECT)
        listed = {vdi['name']: vdi for vdi in await self.catalogue.list()}
        self.assertEqual(good, listed['good'])
        self.assertEqual([0] * 3, [listed['bad%d' % number]['size']
                                   for number in range(3)])
        await self.catalogue.delete('bad0')
        self.assertNotIn('bad0', self.catalogue.names())

    # Creating.

    async def test_created_is_found_everywhere(self):
        made = await self.catalogue.create('vm', 3 * OBJECT, copies=2,
                                           block_size_shift=case.SHIFT)
        vdi_id = ids.first_vdi_id('vm')
        self.assertEqual(made['vdi_id'], vdi_id)
        self.assertEqual(
            {key: made[key] for key in (
                'name', 'tag', 'snap_id', 'size', 'used', 'shared', 'copies',
                'copy_policy', 'block_size_shift', 'snapshot', 'clone',
                'parent')},
            {'name': 'vm', 'tag': '', 'snap_id': 0, 'size': 3 * OBJECT,
             'used': 0, 'shared': 0, 'copies': 2, 'copy_policy': 0,
             'block_size_shift': case.SHIFT, 'snapshot': False,
             'clone': False, 'parent': 0})
        self.assertAlmostEqual(
            made['created'], self.sheep[0].world.clock.time(), delta=60)
        for one in self.sheep:
            self.assertEqual(one.catalogue.find('vm').vdi_id, vdi_id)
            self.assertEqual(one.catalogue.names(), ['vm'])
        head = await self.head(vdi_id)
        self.assertEqual((head.name, head.vdi_size, head.nr_copies,
                          head.block_size_shift, head.vdi_id),
                         ('vm', 3 * OBJECT, 2, case.SHIFT, vdi_id))

    async def test_the_cluster_s_defaults(self):
        made = await self.catalogue.create('vm', 1)
        settings = self.sheep[0].cluster.state.settings
        self.assertEqual((made['copies'], made['block_size_shift']),
                         (settings.copies, settings.block_size_shift))

    async def test_a_name_is_taken_once(self):
        await self.create('vm')
        with self.assertRaises(errors.VdiExists):
            await self.create('vm')

    async def test_the_inode_is_durable_before_the_name_is_known(self):
        vdi_id = await self.create('vm')
        writes = self.sheep[0].recorder.writes(ids.vdi_oid(vdi_id))
        self.assertEqual(writes, [(0, inode.HEAD_BYTES, True)])
        for target in self.flock.targets(ids.vdi_oid(vdi_id)):
            self.assertIn(ids.vdi_oid(vdi_id), target.store.durable)

    async def test_the_inode_is_written_within_one_epoch(self):
        """What was sent in the one before may be found in one copy, and not
        be sent to the places of now."""
        one = self.sheep[0]
        write = one.gateway.write_wait
        begun = []

        async def spanning(*arguments, **options):
            begun.append(one.cluster.state.epoch)
            await write(*arguments, **options)
            if len(begun) < 3:
                self.flock.change_view()

        with mock.patch.object(one.gateway, 'write_wait', spanning):
            await self.create('vm')
        self.assertEqual(3, len(set(begun)))
        self.assertEqual(begun[-1], one.cluster.state.epoch)

    async def test_two_names_of_one_hash(self):
        with mock.patch.object(catalogue.ids, 'first_vdi_id',
                               lambda name: ids.VDI_ID_MASK):
            self.assertEqual(await self.create('one'), ids.VDI_ID_MASK)
            # Around the end, and 0 is no id.
            self.assertEqual(await self.create('two'), 1)
            self.assertEqual(await self.create('three'), 2)

    async def test_ids_of_the_deleted_stay_taken(self):
        first = await self.create('vm')
        await self.catalogue.delete('vm')
        second = await self.create('vm')
        self.assertEqual(second, (first + 1) & ids.VDI_ID_MASK)
        await self.catalogue.delete('vm')
        self.assertEqual(await self.create('vm'),
                         (first + 2) & ids.VDI_ID_MASK)

    async def test_all_ids_are_taken(self):
        await self.create('vm')
        first = ids.first_vdi_id('vm')
        await self.catalogue.delete('vm')
        with mock.patch.object(catalogue.limits, 'VDI_IDS_MAX', 1):
            with self.assertRaises(errors.SystemFailure):
                await self.create('vm')
        self.assertNotEqual(await self.create('vm'), first)

    async def test_again_after_a_leader_died_half_way(self):
        """The inode of an attempt that was never announced."""
        arguments = {'name': 'vm', 'size': 9 * OBJECT, 'copies': 3,
                     'copy_policy': 0, 'block_size_shift': case.SHIFT}
        await self.sheep[0].catalogue.carry_out('vdi-create', arguments)
        with self.assertRaises(errors.NoVdi):
            self.catalogue.find('vm')
        event, entry = await self.sheep[2].catalogue.carry_out(
            'vdi-create', dict(arguments, size=2 * OBJECT))
        self.assertEqual(entry['vdi_id'], ids.first_vdi_id('vm'))
        self.assertEqual(event, {'kind': 'vdi-create', 'entry': entry,
                                 'size': 2 * OBJECT})
        self.flock.event(event)
        vdi, = await self.catalogue.list()
        self.assertEqual((vdi['size'], vdi['used']), (2 * OBJECT, 0))

    async def test_another_name_takes_the_id_of_one_that_failed(self):
        with mock.patch.object(catalogue.ids, 'first_vdi_id',
                               lambda name: 77):
            arguments = {'size': OBJECT, 'copies': 3, 'copy_policy': 0,
                         'block_size_shift': case.SHIFT}
            await self.sheep[0].catalogue.carry_out(
                'vdi-create', dict(arguments, name='a' * 200))
            self.assertEqual(await self.create('b'), 77)
        self.assertEqual((await self.head(77)).name, 'b')

    async def test_what_cannot_be_created(self):
        refused = {
            'no name': ('', OBJECT, {}),
            'a number': (5, OBJECT, {}),
            'too long': ('x' * limits.VDI_NAME_BYTES, OBJECT, {}),
            'too long in bytes': ('\u00e9' * 128, OBJECT, {}),
            'a zero byte': ('a\0b', OBJECT, {}),
            'half a character': ('\ud800', OBJECT, {}),
            'nothing': ('vm', 0, {}),
            'less than nothing': ('vm', -1, {}),
            'no number': ('vm', '4G', {}),
            'a fraction': ('vm', 1.5, {}),
            'too large': ('vm', (limits.VDI_OBJECTS_MAX << 20) + 1,
                          {'block_size_shift': 20}),
            'objects too small': ('vm', 1, {'block_size_shift': 19}),
            'objects too large': ('vm', 1, {'block_size_shift': 29}),
            'objects of a text': ('vm', 1, {'block_size_shift': '22'}),
            'copies': ('vm', 1, {'copies': limits.COPIES_MAX + 1}),
            'less than no copies': ('vm', 1, {'copies': -1}),
            'copies as text': ('vm', 1, {'copies': '3'}),
            'half a copy': ('vm', 1, {'copies': 1.5}),
            'a policy': ('vm', 1, {'copy_policy': 0x22}),
        }
        for what, (name, size, options) in refused.items():
            with self.subTest(what):
                with self.assertRaises(errors.InvalidParameters):
                    await self.catalogue.create(name, size, **options)
        self.assertEqual(self.catalogue.names(), [])
        self.assertEqual([s.store.oids() for s in self.sheep], [[]] * 3)

    async def test_the_longest_name_and_the_largest_size(self):
        name = 'x' * (limits.VDI_NAME_BYTES - 1)
        self.assertEqual((await self.catalogue.create(name, 1))['name'],
                         name)
        await self.catalogue.create('large', limits.VDI_OBJECTS_MAX << 20,
                                    copies=1, block_size_shift=20)

    async def test_unknown_operations(self):
        with self.assertRaises(errors.InvalidParameters):
            await self.catalogue.carry_out('vdi-paint', {})

    async def test_arguments_of_operations(self):
        """Another sheep asks: it may be wrong."""
        good = {'name': 'a', 'size': 1 << 20, 'copies': 1, 'copy_policy': 0,
                'block_size_shift': 0}
        wrong = [('vdi-create', {}), ('vdi-create', dict(good, colour=1)),
                 ('vdi-delete', {'name': 'a'}), ('vdi-resize', {'size': 1}),
                 ('vdi-resize', {'name': 'a', 'size': True}),
                 ('vdi-create', dict(good, name='\ud800'))]
        for name in good:
            for value in (None, [], {}, True, 0.5):
                wrong.append(('vdi-create', dict(good, **{name: value})))
        for kind, arguments in wrong:
            with self.subTest(kind, arguments=arguments):
                with self.assertRaises(errors.InvalidParameters):
                    await self.catalogue.carry_out(kind, arguments)

    # Finding.

    async def test_there_is_none(self):
        await self.create('vm')
        with self.assertRaises(errors.NoVdi):
            self.catalogue.find('other')
        with self.assertRaises(errors.NoTag):
            self.catalogue.find('vm', tag='yesterday')
        with self.assertRaises(errors.NoTag):
            self.catalogue.find('vm', snap_id=3)

    async def test_snapshots_are_no_working_vdis(self):
        await self.create('vm')
        self.flock.event({'kind': 'vdi-create', 'entry': {
            'vdi_id': 5, 'name': 'vm', 'tag': 'old', 'snap_id': 1,
            'snapshot': True}})
        self.assertEqual(self.catalogue.find('vm', 'old').vdi_id, 5)
        self.assertEqual(self.catalogue.find('vm', snap_id=1).vdi_id, 5)
        self.assertNotEqual(self.catalogue.find('vm').vdi_id, 5)
        self.assertEqual(self.catalogue.names(), ['vm'])

    async def test_what_the_cluster_waits_for(self):
        await self.create('vm')
        cluster = self.sheep[1].cluster
        for status, error in (
                (api.Status.STARTING, errors.WaitForJoin),
                (api.Status.WAIT_FOR_JOIN, errors.WaitForJoin),
                (api.Status.WAIT_FOR_FORMAT, errors.WaitForFormat),
                (api.Status.REFUSED, errors.JoinFailed),
                (api.Status.SHUTDOWN, errors.ShuttingDown)):
            with self.subTest(status), mock.patch.object(
                    cluster, 'status', status), mock.patch.object(
                    cluster, 'reason', '', create=True):
                with self.assertRaises(error) as caught:
                    self.catalogue.find('vm')
                self.assertTrue(str(caught.exception))
                cluster.reason = 'n2 is missing'
                with self.assertRaisesRegex(error, 'n2 is missing'):
                    self.catalogue.find('none such')
        for status in (api.Status.FROZEN, api.Status.LAPSED):
            with self.subTest(status), mock.patch.object(
                    cluster, 'status', status):
                self.assertEqual(self.catalogue.find('vm').name, 'vm')

    async def test_an_inode_out_of_reach(self):
        vdi_id = await self.create('vm')
        self.flock.freeze()
        with mock.patch.object(catalogue, 'HEAD_SECONDS', 0.05):
            with self.assertRaises(errors.NotServing):
                await self.head(vdi_id)
        self.flock.change_view()
        self.assertEqual((await self.head(vdi_id)).name, 'vm')

    async def test_an_inode_that_is_not_there(self):
        with self.assertRaises(errors.NoObject):
            await self.head(0xABCDEF)

    # Listing.

    async def test_lists_in_order_of_ids(self):
        names = ['vm%d' % number for number in range(5)]
        for name in names:
            await self.create(name)
        await self.catalogue.delete('vm3')
        with mock.patch.object(catalogue, 'LIST_AT_ONCE', 2):
            vdis = await self.catalogue.list()
        self.assertEqual([v['vdi_id'] for v in vdis],
                         sorted(ids.first_vdi_id(name) for name in names
                                if name != 'vm3'))
        one, = await self.catalogue.list('vm2')
        self.assertEqual(one['name'], 'vm2')
        self.assertEqual(await self.catalogue.list('vm3'), [])

    async def test_lists_what_is_used(self):
        vdi_id = await self.create('vm', 4 * OBJECT)
        entries = b''.join(owner.to_bytes(4, 'little')
                           for owner in (vdi_id, 9, 0, vdi_id))
        await self.sheep[0].gateway.write_wait(
            ids.vdi_oid(vdi_id), inode.map_offset(0), entries)
        vdi, = await self.catalogue.list()
        self.assertEqual((vdi['used'], vdi['shared']), (2 * OBJECT, OBJECT))

    async def test_one_that_goes_while_it_is_listed(self):
        await self.create('stays')
        vdi_id = await self.create('goes')
        for one in self.sheep:
            one.recorder.refuse = lambda verb, oid: (
                errors.NoObject('gone') if oid == ids.vdi_oid(vdi_id)
                else None)
        self.assertEqual([v['name'] for v in await self.catalogue.list()],
                         ['stays'])

    async def test_lists_nothing_from_before_it_lost_its_place(self):
        """VDIs may have been made since that it has not heard of."""
        vdi_id = await self.create('vm')
        sheep = self.sheep[1]
        gate = sheep.recorder.gates['read', ids.vdi_oid(vdi_id)] = (
            asyncio.Event())
        listing = asyncio.ensure_future(sheep.catalogue.list())
        await flock.turns()
        self.flock.lapse(sheep)
        self.flock.rejoin(sheep)
        gate.set()
        with self.assertRaises(errors.NotServing):
            await listing

    async def test_lists_nothing_without_a_lease(self):
        sheep = self.sheep[1]

        async def read_and_lose_the_lease(*arguments):
            data = await sheep.gateway.read_wait(*arguments)
            sheep.cluster.lease = arguments[1] == 0
            return data

        await self.create('vm')
        sheep.recorder.read_wait = read_and_lose_the_lease
        with self.assertRaises(errors.NotServing):
            await sheep.catalogue.list()

    # Resizing.

    async def test_grows(self):
        vdi_id = await self.create('vm', OBJECT)
        await self.catalogue.resize('vm', 7 * OBJECT + 1)
        head = await self.head(vdi_id)
        self.assertEqual((head.name, head.vdi_size),
                         ('vm', 7 * OBJECT + 1))
        # The same size again is no error: a leader may do it twice.
        await self.catalogue.resize('vm', 7 * OBJECT + 1)

    async def test_tells_what_would_be_lost(self):
        await self.create('vm', size=8 * OBJECT)

        async def refused(size):
            with self.assertRaises(errors.InvalidParameters) as caught:
                await self.catalogue.resize('vm', size)
            return str(caught.exception).partition('; ')[2]

        self.assertEqual('nothing was ever written beyond that',
                         await refused(OBJECT))
        volume = await self.sheep[0].volumes.open('vm')
        for index in 1, 3, 6:
            await volume.write(index * OBJECT, b'x')
        await volume.close()
        self.assertEqual('nothing was ever written beyond that',
                         await refused(7 * OBJECT))
        self.assertEqual('2 of its objects beyond that have data, 2.0 MB at '
                         'most', await refused(3 * OBJECT))
        self.assertEqual('2 of its objects beyond that have data, 1.5 MB at '
                         'most (of one the end only)',
                         await refused(3 * OBJECT + OBJECT // 2))
        self.assertEqual('3 of its objects beyond that have data, 3.0 MB at '
                         'most', await refused(1))
        self.assertEqual('', await refused(0))

    async def test_does_not_shrink(self):
        vdi_id = await self.create('vm', 2 * OBJECT)
        for size in (2 * OBJECT - 1, 0, -1, None, 3.5,
                     (limits.VDI_OBJECTS_MAX << case.SHIFT) + 1):
            with self.assertRaises(errors.InvalidParameters):
                await self.catalogue.resize('vm', size)
        self.assertEqual((await self.head(vdi_id)).vdi_size, 2 * OBJECT)
        with self.assertRaises(errors.NoVdi):
            await self.catalogue.resize('other', OBJECT)

    # Deleting.

    async def test_deleted(self):
        await self.create('vm')
        await self.catalogue.delete('vm')
        for one in self.sheep:
            with self.assertRaises(errors.NoVdi):
                one.catalogue.find('vm')
        with self.assertRaises(errors.NoVdi):
            await self.catalogue.delete('vm')

    async def test_its_objects_stay_while_another_has_them(self):
        first = await self.create('vm')
        for one in self.sheep:
            state = one.cluster.state
            state.vdis[7] = dataclasses.replace(
                state.vdis[first], vdi_id=7, name='clone', parent=first)
        await self.catalogue.delete('vm')
        for one in self.sheep:
            self.assertFalse(one.cluster.state.is_gone(
                ids.data_oid(first, 0)))

    async def test_not_while_it_is_open(self):
        await self.create('vm')
        volume = await self.sheep[2].volumes.open('vm')
        with self.assertRaises(errors.VdiLocked):
            await self.catalogue.delete('vm')
        await volume.close()
        await self.catalogue.delete('vm')
