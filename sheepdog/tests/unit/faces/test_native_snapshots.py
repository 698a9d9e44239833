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
import dataclasses
from unittest import mock

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.tests.unit.faces import native_case
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.volume import quiesce
from sheepdog.volume import shrinking
from sheepdog.wire import native
from sheepdog.wire import native_client as client

OBJECT = case.OBJECT
MAP = inode.MAP_OFFSET
READONLY = errors.ReadOnly.result


def packed(*owners):
    return b''.join(owner.to_bytes(4, 'little') for owner in owners)


class SnapshotTest(native_case.NativeCase):
    """As QEMU and tgt do it, who keep the inode themselves."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.qemu = self.connect()
        self.inode = ids.vdi_oid(self.vdi_id)
        self.oid = ids.data_oid(self.vdi_id, 0)

    async def result(self, buffers):
        return (await self.ask(self.qemu, buffers))[0]

    async def done(self, buffers):
        self.assertEqual(0, await self.result(buffers))

    async def read(self, oid, offset, size):
        result, _, payload = await self.ask(
            self.qemu, client.pack_read(1, oid, offset, size))
        self.assertEqual(0, result)
        return payload

    async def id_of(self, name='vm', tag='', snap_id=0):
        result, fields, _ = await self.ask(
            self.qemu, client.pack_get_vdi_info(1, name, tag, snap_id))
        self.assertEqual(0, result)
        return client.read_vdi_answer(fields).vdi_id

    async def lock_and_write(self):
        await self.done(client.pack_lock_vdi(1, 'vm'))
        await self.done(client.pack_create(1, self.oid, 0, b'old'))
        await self.done(client.pack_write(1, self.inode, MAP,
                                          packed(self.vdi_id)))

    async def snapshot(self, tag):
        """The client asks for it, with the tag in the inode."""
        await self.done(client.pack_write(
            1, self.inode, inode.TAG_OFFSET, inode.encode_name(tag)))
        result, fields, _ = await self.ask(self.qemu, client.pack_new_vdi(
            1, 'vm', 4 * OBJECT, base_vdi_id=self.vdi_id, snapshot=True))
        self.assertEqual(0, result)
        return client.read_vdi_answer(fields).vdi_id

    async def test_the_client_makes_one(self):
        await self.lock_and_write()
        new = await self.snapshot('s1')
        self.assertNotEqual(self.vdi_id, new)
        self.assertEqual([self.vdi_id, self.vdi_id, new], [
            await self.id_of(tag='s1'), await self.id_of(snap_id=1),
            await self.id_of()])
        self.assertEqual([self.a.cluster.incarnation], self.owners(new))
        head = inode.InodeHead.unpack(await self.read(
            ids.vdi_oid(new), 0, inode.HEAD_BYTES))
        self.assertEqual(('vm', '', False, new, self.vdi_id), (
            head.name, head.tag, head.is_snapshot, head.vdi_id,
            head.parent_vdi_id))
        self.assertEqual(packed(self.vdi_id, 0), await self.read(
            ids.vdi_oid(new), MAP, 8))
        before = inode.InodeHead.unpack(await self.read(
            self.inode, 0, inode.HEAD_BYTES))
        self.assertEqual(('s1', True, 1), (before.tag, before.is_snapshot,
                                           before.snap_id))
        # It goes on with the new one.
        mine = ids.data_oid(new, 0)
        await self.done(client.pack_create(1, mine, 0, b'new',
                                           cow_oid=self.oid))
        await self.done(client.pack_write(1, ids.vdi_oid(new), MAP,
                                          packed(new)))
        self.assertEqual((b'old', b'new'), (
            await self.read(self.oid, 0, 3), await self.read(mine, 0, 3)))
        await self.done(client.pack_release_vdi(1, new))
        self.assertEqual([], self.owners(new))

    async def test_somebody_else_makes_one(self):
        await self.lock_and_write()
        await self.a.branching.snapshot('vm', 's1')
        for request in (client.pack_write(1, self.oid, 0, b'new'),
                        client.pack_write(1, self.inode, MAP + 4,
                                          packed(self.vdi_id)),
                        client.pack_create(1, self.oid + 1, 0, b'new'),
                        client.pack_discard(1, self.oid),
                        client.pack_remove(1, self.oid)):
            self.assertEqual(READONLY, await self.result(request))
        new = await self.id_of()
        mine = ids.data_oid(new, 0)
        await self.done(client.pack_create(1, mine, 0, b'new',
                                           cow_oid=self.oid))
        self.assertEqual((b'old', b'new'), (
            await self.read(self.oid, 0, 3), await self.read(mine, 0, 3)))
        # It gives back what it has locked.
        await self.done(client.pack_release_vdi(1, self.vdi_id))
        self.assertEqual([], self.owners(new))

    async def test_writes_wait_while_one_is_made(self):
        await self.lock_and_write()
        gate = asyncio.Event()
        oid = ids.vdi_oid(self.vdi_id)
        flushes = []

        async def flush(vdi_id):
            flushes.append(vdi_id)
            if len(flushes) == 2:
                await gate.wait()

        self.a.recorder.flush = flush
        asked = asyncio.ensure_future(self.a.branching.snapshot('vm', 's1'))
        while len(flushes) < 2:
            await asyncio.sleep(0.001)
        self.qemu.feed(*client.pack_write(1, self.oid, 0, b'new'))
        await asyncio.sleep(0.05)
        self.assertEqual(b'', self.qemu.sent)
        # (Reads do not wait.)
        other = self.connect()
        self.assertEqual(0, (await self.ask(
            other, client.pack_read(1, oid, 0, 8)))[0])
        gate.set()
        await asked
        self.assertEqual(READONLY, await self.result([]))
        self.assertEqual(b'old', await self.read(self.oid, 0, 3))

    async def head(self, vdi_id):
        return inode.InodeHead.unpack(await self.read(
            ids.vdi_oid(vdi_id), 0, inode.HEAD_BYTES))

    async def test_the_state_of_a_machine_goes_with_it(self):
        """As savevm does it: under the id that the VDI has so far."""
        await self.lock_and_write()
        state = ids.vmstate_oid(self.vdi_id, 0)
        await self.done(client.pack_create(1, state, 0, b'registers'))
        await self.done(client.pack_write(1, state, 9, b', memory'))
        await self.done(client.pack_create(1, state + 1, 0, b'and more'))
        head = dataclasses.replace(await self.head(self.vdi_id), tag='s1',
                                   vm_state_size=OBJECT + 8, vm_clock_nsec=7)
        await self.done(client.pack_write(1, self.inode, 0, head.pack()))
        result, fields, _ = await self.ask(self.qemu, client.pack_new_vdi(
            1, 'vm', 4 * OBJECT, base_vdi_id=self.vdi_id, snapshot=True))
        self.assertEqual(0, result)
        new = client.read_vdi_answer(fields).vdi_id
        saved = await self.head(await self.id_of(tag='s1'))
        self.assertEqual((OBJECT + 8, 7, True), (
            saved.vm_state_size, saved.vm_clock_nsec, saved.is_snapshot))
        self.assertEqual((b'registers, memory', b'and more'), (
            await self.read(state, 0, 17), await self.read(state + 1, 0, 8)))
        for request in (client.pack_write(1, state, 0, b'other'),
                        client.pack_create(1, state + 2, 0, b'other')):
            self.assertEqual(READONLY, await self.result(request))
        # What comes from it has none.
        await self.a.branching.clone('vm', 's1', 'copy')
        for vdi_id in new, await self.id_of('copy'):
            head = await self.head(vdi_id)
            self.assertEqual((0, 0), (head.vm_state_size,
                                      head.vm_clock_nsec))
            self.assertEqual(errors.NoObject.result, await self.result(
                client.pack_read(1, ids.vmstate_oid(vdi_id, 0), 0, 8)))
        await self.done(client.pack_del_vdi(1, 'vm', 's1'))
        await flock.until(lambda: not any(
            oid in one.store.oids() for one in self.sheep
            for oid in (state, state + 1)))
        self.assertEqual(b'old', await self.read(self.oid, 0, 3))

    async def test_no_state_of_a_machine_that_has_it_not_alone(self):
        state = ids.vmstate_oid(self.vdi_id, 0)
        await self.done(client.pack_lock_vdi(
            1, 'vm', lock_type=native.LOCK_SHARED))
        await self.done(client.pack_create(1, self.oid, 0, b'data'))
        self.assertEqual(errors.VdiLocked.result, await self.result(
            client.pack_create(1, state, 0, b'mine')))
        await self.done(client.pack_release_vdi(1, self.vdi_id))
        await self.b.volumes.claim(self.vdi_id, False)
        self.assertEqual(errors.VdiLocked.result, await self.result(
            client.pack_create(1, state, 0, b'mine')))

    async def test_a_copy_that_has_just_been_asked_for_is_waited_for(self):
        await self.lock_and_write()
        new = await self.snapshot('s1')
        freeze = quiesce.OfClaim.freeze

        async def ask_first(claim):
            self.qemu.feed(*client.pack_create(
                1, ids.data_oid(new, 0), 0, b'new', cow_oid=self.oid))
            await freeze(claim)

        with mock.patch.object(quiesce.OfClaim, 'freeze', ask_first):
            done = await self.a.branching.snapshot('vm', 's2')
        self.assertEqual(0, await self.result([]))
        self.assertEqual([new, new], [
            await self.entry_on_disk(vdi_id, 0)
            for vdi_id in (new, done['vdi_id'])])

    async def test_who_locks_meanwhile_gets_the_next(self):
        held = asyncio.Event()
        go_on = asyncio.Event()

        async def flush(vdi_id):
            held.set()
            await go_on.wait()

        self.a.recorder.flush = flush
        asked = asyncio.ensure_future(self.a.branching.snapshot('vm', 's1'))
        await held.wait()
        self.qemu.feed(*client.pack_lock_vdi(1, 'vm'))
        await asyncio.sleep(0.05)
        go_on.set()
        done = await asked
        result, fields, _ = await self.ask(self.qemu, [])
        self.assertEqual(0, result)
        self.assertEqual(done['vdi_id'],
                         client.read_vdi_answer(fields).vdi_id)
        self.assertEqual([self.a.cluster.incarnation],
                         self.owners(done['vdi_id']))

    async def test_so_does_who_locks_what_is_made_smaller(self):
        self.a.recorder.gates['flush', self.inode] = go_on = asyncio.Event()
        self.a.recorder.log = []
        asked = asyncio.ensure_future(shrinking.Shrinking(
            self.a.branching).resize('vm', case.BLOCK))
        await flock.until(lambda: self.a.recorder.log)
        self.qemu.feed(*client.pack_lock_vdi(1, 'vm'))
        await asyncio.sleep(0.05)
        go_on.set()
        await asked
        result, fields, _ = await self.ask(self.qemu, [])
        self.assertEqual(0, result)
        new = client.read_vdi_answer(fields).vdi_id
        self.assertNotEqual(self.vdi_id, new)
        self.assertEqual([self.a.cluster.incarnation], self.owners(new))

    async def test_an_object_that_the_map_does_not_name_yet(self):
        """The client goes on to write its entry, then into the new one."""
        await self.done(client.pack_lock_vdi(1, 'vm'))
        await self.done(client.pack_create(1, self.oid, 0, b'old'))
        await self.done(client.pack_create(1, self.oid + 1, 0, b'too'))
        await self.done(client.pack_write(1, self.inode, MAP + 4,
                                          packed(self.vdi_id)))
        self.assertEqual({self.vdi_id: {self.oid}}, self.a.volumes.unnamed)
        done = await self.a.branching.snapshot('vm', 's1')
        entry = packed(self.vdi_id)
        self.assertEqual(READONLY, await self.result(
            client.pack_write(1, self.inode, MAP, entry)))
        new = ids.vdi_oid(done['vdi_id'])
        for inode_oid in self.inode, new:
            self.assertEqual(2 * entry, await self.read(inode_oid, MAP, 8))
        await self.done(client.pack_write(1, new, MAP, entry))
        self.assertEqual({}, self.a.volumes.unnamed)
        # Its object is there for as long as the VDI names it.
        await self.done(client.pack_del_vdi(1, 'vm', 's1'))
        self.assertEqual(b'old', await self.read(self.oid, 0, 3))

    async def test_a_map_never_names_what_is_gone(self):
        await self.lock_and_write()
        new = await self.snapshot('s1')
        await self.done(client.pack_create(1, ids.data_oid(new, 0), 0, b'n',
                                           cow_oid=self.oid))
        await self.done(client.pack_write(1, ids.vdi_oid(new), MAP,
                                          packed(new)))
        created = self.a.cluster.state.vdis[self.vdi_id].created
        await self.done(client.pack_del_vdi(1, 'vm', 's1'))
        await self.a.cluster.execute('vdi-reclaimed', {
            'vdi_id': self.vdi_id, 'created': created})
        for owner in self.vdi_id, 77:
            self.assertEqual(
                errors.InvalidParameters.result, await self.result(
                    client.pack_write(1, ids.vdi_oid(new), MAP,
                                      packed(owner))))

    async def test_a_late_read_of_what_was_made_empty(self):
        """…is no read of zeroes."""
        await self.lock_and_write()
        await self.done(client.pack_create(1, self.oid + 1, 0, bytes(3)))
        await self.done(client.pack_write(1, self.inode, MAP + 4,
                                          packed(self.vdi_id)))
        new = await self.snapshot('s1')
        await self.done(client.pack_create(1, ids.data_oid(new, 0), 0, b'n',
                                           cow_oid=self.oid))
        await self.done(client.pack_write(1, ids.vdi_oid(new), MAP,
                                          packed(new)))
        await self.done(client.pack_del_vdi(1, 'vm', 's1'))
        await self.a.gateway.zero_wait(self.oid, 0, OBJECT)
        self.assertEqual(errors.NoObject.result, await self.result(
            client.pack_read(1, self.oid, 0, 3)))
        # (The VDI names this one.)
        self.assertEqual(bytes(3), await self.read(self.oid + 1, 0, 3))

    async def test_a_clone(self):
        await self.lock_and_write()
        await self.snapshot('s1')
        result, fields, _ = await self.ask(self.qemu, client.pack_new_vdi(
            1, 'copy', 5 * OBJECT, base_vdi_id=self.vdi_id))
        self.assertEqual(0, result)
        copy = client.read_vdi_answer(fields).vdi_id
        self.assertEqual(packed(self.vdi_id), await self.read(
            ids.vdi_oid(copy), MAP, 4))
        self.assertEqual(5 * OBJECT, inode.InodeHead.unpack(await self.read(
            ids.vdi_oid(copy), 0, inode.HEAD_BYTES)).vdi_size)
        self.assertEqual(errors.NoBaseVdi.result, await self.result(
            client.pack_new_vdi(1, 'more', OBJECT, base_vdi_id=77)))
        self.assertEqual(errors.InvalidParameters.result, await self.result(
            client.pack_new_vdi(1, 'more', OBJECT, base_vdi_id=copy)))

    async def test_objects_of_a_deleted_snapshot_are_read_by_who_came_from_it(
            self):
        await self.lock_and_write()
        new = await self.snapshot('s1')
        await self.done(client.pack_del_vdi(1, 'vm', 's1'))
        self.assertEqual(b'old', await self.read(self.oid, 0, 3))
        await self.done(client.pack_create(1, ids.data_oid(new, 0), 0, b'n',
                                           cow_oid=self.oid))
        self.assertEqual(b'nld', await self.read(ids.data_oid(new, 0), 0, 3))
        self.assertEqual(errors.NoVdi.result, await self.result(
            client.pack_write(1, self.oid, 0, b'x')))

    async def test_who_has_no_lock_writes_to_none_that_others_share(self):
        """It was lost when the client's sheep was started anew, and it does
        not lock again. Nobody would hold it back for a snapshot."""
        await self.done(client.pack_create(1, self.oid, 0, b'old'))
        await self.done(client.pack_write(1, self.inode, MAP,
                                          packed(self.vdi_id)))
        await self.b.volumes.claim(self.vdi_id, True)
        execute = self.c.cluster.execute
        results = []

        async def write_first(kind, *arguments):
            if kind == 'vdi-commit':
                for request in (
                        client.pack_write(1, self.oid, 0, b'new'),
                        client.pack_create(1, self.oid + 1, 0, b'new'),
                        client.pack_write(1, self.inode, MAP + 4,
                                          packed(self.vdi_id))):
                    results.append(await self.result(request))
            return await execute(kind, *arguments)

        self.c.cluster.execute = write_first
        done = await self.c.branching.snapshot('vm', 's1')
        self.assertEqual([errors.VdiLocked.result] * 3, results)
        self.assertEqual(b'old', await self.read(self.oid, 0, 3))
        await self.b.volumes.release(done['vdi_id'])

    async def test_one_that_several_share(self):
        """As tgt locks it; all through one sheep."""
        shared = client.pack_lock_vdi(1, 'vm',
                                      lock_type=native.LOCK_SHARED)
        await self.done(shared)
        await self.done(client.pack_create(1, self.oid, 0, b'old'))
        await self.done(client.pack_write(1, self.inode, MAP,
                                          packed(self.vdi_id)))
        await self.b.volumes.claim(self.vdi_id, True)
        done = await self.a.branching.snapshot('vm', 's1')
        self.assertEqual(2, len(self.owners(done['vdi_id'])))
        await self.b.volumes.release(done['vdi_id'])
        self.assertEqual(READONLY, await self.result(
            client.pack_write(1, self.oid, 0, b'new')))
        self.assertEqual([self.a.cluster.incarnation],
                         self.owners(done['vdi_id']))
        await self.done(client.pack_create(
            1, ids.data_oid(done['vdi_id'], 0), 0, b'new',
            cow_oid=self.oid))
        await self.done(client.pack_release_vdi(1, self.vdi_id))
        self.assertEqual([], self.owners(done['vdi_id']))
