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

"""Tests of sheepdog.faces.native.public."""

import asyncio
from unittest import mock

from sheepdog.cluster import api
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.tests.unit.faces import native_case
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.wire import native
from sheepdog.wire import native_client as client

BLOCK = case.BLOCK
OBJECT = case.OBJECT
INVALID = errors.InvalidParameters.result


class PublicTest(native_case.NativeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.oid = ids.data_oid(self.vdi_id, 0)
        self.qemu = self.connect()
        self.a.recorder.log = []

    async def result(self, buffers):
        return (await self.ask(self.qemu, buffers))[0]

    async def read(self, oid, offset, size):
        result, _, payload = await self.ask(
            self.qemu, client.pack_read(1, oid, offset, size))
        self.assertEqual(result, 0)
        return payload

    # Objects.

    async def test_created_written_read_and_removed(self):
        read = client.pack_read(1, self.oid, 0, 8)
        self.assertEqual(await self.result(read), errors.NoObject.result)
        self.assertEqual(await self.result(client.pack_write(
            1, self.oid, 0, b'x')), errors.NoObject.result)
        self.assertEqual(await self.result(client.pack_create(
            1, self.oid, 2, b'made')), 0)
        self.assertEqual(await self.result(client.pack_write(
            1, self.oid, 4, b'anew')), 0)
        self.assertEqual(await self.read(self.oid, 0, 10),
                         b'\0\0maanew\0\0')
        self.assertEqual(await self.result(client.pack_remove(
            1, self.oid)), 0)
        self.assertEqual(await self.result(read), errors.NoObject.result)
        self.assertEqual(await self.result(client.pack_remove(
            1, self.oid)), errors.NoObject.result)

    async def test_held_to_limits(self):
        """Only what concerns data."""
        loop = asyncio.get_running_loop()

        async def timed(count, buffers):
            began = loop.time()
            for _ in range(count):
                self.assertEqual(0, await self.result(buffers))
            return loop.time() - began

        def limit(**limits):
            self.flock.event({'kind': 'vdi-qos', 'name': 'vm',
                              'limits': limits})

        create = client.pack_create(1, self.oid, 0, b'x' * BLOCK)
        read = client.pack_read(1, self.oid, 0, BLOCK)
        await timed(1, create)
        limit(iops=[10, 1])
        self.assertAlmostEqual(0.9, await timed(10, read), delta=0.1)
        self.assertAlmostEqual(0.5, await timed(5, client.pack_write(
            1, self.oid, 0, b'y')), delta=0.1)
        self.assertLess(await timed(20, client.pack_read(
            1, ids.vdi_oid(self.vdi_id), 0, BLOCK)), 0.1)
        self.assertLess(await timed(20, client.pack_flush(
            1, self.vdi_id)), 0.1)
        # Nobody waits for who has gone.
        limit(iops=[1, 1])
        throttle = self.a.volumes.throttles.by_id[self.vdi_id]
        gone, other = self.connect(), self.connect()
        for _ in range(5):
            gone.feed(*read)
            other.feed(*read)
        self.assertEqual(10, throttle.waiting)
        self.public.forget(gone.session)
        self.assertEqual(5, throttle.waiting)
        limit()
        self.assertLess(await timed(20, read), 0.1)

    async def test_discarded(self):
        discard = client.pack_discard(1, self.oid)
        self.assertEqual(await self.result(discard), 0)
        await self.result(client.pack_create(1, self.oid, 0, b'x' * BLOCK))
        self.assertEqual(await self.result(discard), 0)
        self.assertEqual(await self.read(self.oid, 0, BLOCK), bytes(BLOCK))

    async def test_the_inode_as_clients_read_it(self):
        data = await self.read(ids.vdi_oid(self.vdi_id), 0,
                               inode.CLIENT_BYTES)
        head = inode.InodeHead.unpack(data)
        self.assertEqual((head.name, head.vdi_size),
                         ('vm', 4 * OBJECT))

    async def test_durable_unless_told_otherwise(self):
        for flags, durable in (
                (0, True), (native.FLAG_DIRECT, True),
                (native.FLAG_CACHE, False),
                (native.FLAG_CACHE | native.FLAG_DIRECT, True)):
            self.a.recorder.log = []
            for pack in (client.pack_create, client.pack_write):
                self.assertEqual(await self.result(pack(
                    1, self.oid, 0, b'x', flags=flags)), 0)
            self.assertEqual([w[2] for w
                              in self.a.recorder.writes(self.oid)],
                             [durable] * 2)

    async def test_a_flush_makes_it_durable(self):
        await self.result(client.pack_create(1, self.oid, 0, b'old'))
        await self.result(client.pack_write(1, self.oid, 0, b'new',
                                            flags=native.FLAG_CACHE))
        self.assertEqual(await self.result(client.pack_flush(
            1, self.vdi_id)), 0)
        for one in self.flock.targets(self.oid):
            self.assertEqual(one.store.durable[self.oid][1][:3], b'new')

    async def test_a_flush_that_fails(self):
        self.a.recorder.refuse = lambda verb, oid: errors.StorageError('no')
        self.assertEqual(await self.result(client.pack_flush(
            1, self.vdi_id)), errors.StorageError.result)

    async def test_copied_on_write(self):
        await self.result(client.pack_create(1, self.oid, 0, b'a' * BLOCK))
        new = self.oid + 1
        self.assertEqual(await self.result(client.pack_create(
            1, new, 5, b'new', cow_oid=self.oid)), 0)
        self.assertEqual(await self.read(new, 0, 10), b'aaaaanewaa')
        self.a.recorder.refuse = lambda verb, oid: errors.NoSpace('full')
        self.assertEqual(await self.result(client.pack_create(
            1, new, 5, b'new', cow_oid=self.oid)), errors.NoSpace.result)

    async def test_copied_on_write_while_it_is_deleted(self):
        """Nothing more is written to it."""
        await self.result(client.pack_create(1, self.oid, 0, b'a' * BLOCK))
        self.a.recorder.gates['read', self.oid] = gate = asyncio.Event()
        self.a.recorder.log = []
        asked = asyncio.ensure_future(self.result(client.pack_create(
            1, self.oid + 1, 5, b'new', cow_oid=self.oid)))
        await flock.until(lambda: self.a.recorder.log)
        await self.a.catalogue.delete('vm')
        gate.set()
        self.assertEqual(errors.NoVdi.result, await asked)
        self.assertEqual([], self.a.recorder.writes(self.oid + 1))

    async def test_our_own_codes_are_none_for_clients(self):
        self.a.recorder.read = lambda oid, offset, size, done: done(
            errors.NotServing('left'), b'')
        self.assertEqual(await self.result(client.pack_read(
            1, self.oid, 0, 8)), errors.StorageError.result)

    async def test_what_is_not_well_formed(self):
        def bare(opcode, flags=0, length=0, payload=b'', version=1,
                 oid=self.oid, offset=0):
            return [native.REQUEST.pack(version, opcode, flags, 0, 1, length,
                                        oid, 0, 0, 0, 0, 0, 0, offset, 0),
                    payload]

        for buffers in (
                bare(native.READ_OBJ),
                bare(native.READ_OBJ, 0, (16 << 20) + 1),
                bare(native.READ_OBJ, native.FLAG_WRITE, 4, b'data'),
                bare(native.WRITE_OBJ), bare(native.CREATE_AND_WRITE_OBJ),
                bare(native.REMOVE_OBJ, native.FLAG_WRITE, 1, b'x'),
                bare(native.FLUSH_VDI, native.FLAG_WRITE, 1, b'x'),
                bare(native.READ_OBJ, 0, 2, offset=OBJECT - 1),
                bare(native.WRITE_OBJ, native.FLAG_WRITE, 2, b'ab',
                     offset=OBJECT - 1),
                bare(native.READ_OBJ, 0, 1, oid=ids.vdi_oid(self.vdi_id),
                     offset=1 << 24),
                bare(native.NEW_VDI, native.FLAG_WRITE, 3, b'abc'),
                bare(native.NEW_VDI, native.FLAG_WRITE, 256, b'x' * 256),
                bare(native.LOCK_VDI), bare(native.GET_VDI_INFO),
                bare(native.DEL_VDI, native.FLAG_WRITE, 1, b'x'),
                bare(native.READ_VDIS, 0, 5),
                bare(0x00), bare(0x06), bare(0x19), bare(0x7F)):
            self.assertEqual(await self.result(buffers), INVALID, buffers)
        for opcode, length in ((native.READ_OBJ, 8),
                               (native.GET_CLUSTER_DEFAULT, 0)):
            self.assertEqual(
                await self.result(bare(opcode, 0, length, version=9)),
                errors.VersionMismatch.result)
        self.assertFalse(self.qemu.is_closed)
        self.assertEqual(self.qemu.session.inflight, 0)

    async def test_objects_of_no_vdi(self):
        oid = ids.data_oid(0xABC, 0)
        self.assertEqual(await self.result(client.pack_read(
            1, oid, 0, 8)), errors.NoObject.result)
        for buffers in (client.pack_write(1, oid, 0, b'x'),
                        client.pack_create(1, oid, 0, b'x'),
                        client.pack_flush(1, 0xABC)):
            self.assertEqual(await self.result(buffers),
                             errors.NoVdi.result)
        await self.a.catalogue.delete('vm')
        self.assertEqual(await self.result(client.pack_create(
            1, self.oid, 0, b'x')), errors.NoVdi.result)

    async def test_locked_elsewhere(self):
        volume = await self.b.volumes.open('vm')
        await volume.write(0, b'theirs')
        for buffers in (client.pack_write(1, self.oid, 0, b'x'),
                        client.pack_create(1, self.oid, 0, b'x'),
                        client.pack_remove(1, self.oid),
                        client.pack_discard(1, self.oid),
                        client.pack_lock_vdi(1, 'vm')):
            self.assertEqual(await self.result(buffers),
                             errors.VdiLocked.result)
        self.assertEqual(await self.read(self.oid, 0, 6), b'theirs')
        self.assertEqual(await self.result(client.pack_flush(
            1, self.vdi_id)), 0)

    async def test_before_it_serves(self):
        cluster = self.a.cluster
        with mock.patch.object(cluster, 'status', api.Status.WAIT_FOR_FORMAT
                               ), mock.patch.object(
                cluster, 'reason', '', create=True), mock.patch.object(
                self.a.replica, 'epoch', -1):
            for buffers in (client.pack_read(1, self.oid, 0, 8),
                            client.pack_lock_vdi(1, 'vm'),
                            client.pack_get_cluster_default(1)):
                self.assertEqual(await self.result(buffers),
                                 errors.WaitForFormat.result)

    # VDIs.

    async def test_a_new_vdi(self):
        new = client.pack_new_vdi(1, 'new', 5 * OBJECT, copies=2,
                                  block_size_shift=21)
        result, fields, _ = await self.ask(self.qemu, new)
        self.assertEqual(result, 0)
        self.assertEqual(client.read_vdi_answer(fields), client.VdiAnswer(
            ids.first_vdi_id('new'), 0, 2, 21))
        self.assertEqual(await self.result(new), errors.VdiExists.result)
        self.assertEqual(await self.result(client.pack_new_vdi(
            1, 'more', 1, store_policy=1)), INVALID)
        self.assertEqual(await self.result(client.pack_new_vdi(
            1, '', 1)), INVALID)

    async def test_found(self):
        result, fields, _ = await self.ask(
            self.qemu, client.pack_get_vdi_info(1, 'vm'))
        self.assertEqual(client.read_vdi_answer(fields), client.VdiAnswer(
            self.vdi_id, 0, 3, case.SHIFT))
        self.assertEqual(await self.result(client.pack_get_vdi_info(
            1, 'other')), errors.NoVdi.result)
        self.assertEqual(await self.result(client.pack_get_vdi_info(
            1, 'vm', 'tag')), errors.NoTag.result)

    async def test_locked_and_released(self):
        release = client.pack_release_vdi(1, self.vdi_id)
        self.assertEqual(await self.result(release),
                         errors.VdiNotLocked.result)
        self.assertEqual(await self.result(client.pack_lock_vdi(
            1, 'vm')), 0)
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])
        self.assertEqual(await self.result(client.pack_del_vdi(
            1, 'vm')), errors.VdiLocked.result)
        self.assertEqual(await self.result(release), 0)
        self.assertEqual(self.owners(self.vdi_id), [])

    async def test_a_snapshot_needs_no_lock(self):
        self.flock.event({'kind': 'vdi-create', 'entry': {
            'vdi_id': 5, 'name': 'vm', 'tag': 'old', 'snap_id': 1,
            'snapshot': True}})
        self.assertEqual(await self.result(client.pack_lock_vdi(
            1, 'vm', 'old')), 0)
        self.assertEqual(self.owners(5), [])

    async def test_all_vdis(self):
        other = await self.create('other')
        await self.create('gone')
        await self.a.catalogue.delete('gone')
        result, _, bitmap = await self.ask(self.qemu,
                                           client.pack_read_vdis(1))
        self.assertEqual(result, 0)
        self.assertEqual(bitmap, native.pack_vdi_bitmap(
            [self.vdi_id, other]))

    async def test_deleted(self):
        self.assertEqual(await self.result(client.pack_del_vdi(
            1, 'vm')), 0)
        self.assertEqual(await self.result(client.pack_del_vdi(
            1, 'vm')), errors.NoVdi.result)

    async def test_the_cluster_s_defaults(self):
        result, fields, _ = await self.ask(
            self.qemu, client.pack_get_cluster_default(1))
        self.assertEqual(result, 0)
        self.assertEqual(native.CLUSTER_DEFAULT_RESPONSE.unpack(
            native.RESPONSE.pack(*fields))[7:], (3, 0, case.SHIFT))
