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


"""VDIs out of others: snapshots, clones, rollbacks.

The rules, and why they hold, are in ARCHITECTURE.md ("Snapshots"). In short:
an event takes the new VDI's id and lock for us (``cluster.family``); we write
its inode, whose map names the same objects as the other's; another event
makes it a VDI. That one is the moment of a snapshot: the VDI as it was is the
snapshot from then on, and its users go on with the new one.

Who has the lock does it: nobody else knows what is under way.
"""

import asyncio
import dataclasses
import logging

import numpy

from sheepdog.cluster import entries
from sheepdog.cluster import family
from sheepdog.gateway import flush
from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.volume import access
from sheepdog.volume import catalogue as catalogue_module
from sheepdog.volume import cow
from sheepdog.volume import inode_map

LOG = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""So long clients' writes may wait until the event is asked for; then they
go on, and there is no snapshot."""

RETRY_SECONDS = 0.5


class Branching:
    def __init__(self, world, cluster, gateway, catalogue, volumes):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway
        self.catalogue = catalogue
        self.volumes = volumes

    def owner_of(self, name):
        """The incarnation that has to make the snapshot: who has the VDI
        open; None: any.

        :raises NoVdi: there is none
        """
        entry = self.catalogue.find(name)
        lock = self.cluster.state.locks.get(entry.vdi_id)
        if lock is None or not lock.owners or lock.mode == entries.TURNING:
            return None
        return lock.owners[0]

    # -- what there is to ask for ---------------------------------------

    async def snapshot(self, name, tag='', only_if_changed=False,
                       operation_id=''):
        """The working VDI becomes the snapshot of that tag; another one
        takes its place, under its name. Returns both ids: ``snapshot`` and
        ``vdi_id``; None where nothing has changed since the last one.

        :raises VdiLocked: another sheep has it open, or it is open shared
        :raises VdiExists: there is such a snapshot
        """
        done = self._done(operation_id)
        if done is not None:
            return done
        inode.encode_name(tag)
        # Whoever asked may hang up; what has begun comes to its end.
        future, answer = operation.future()
        self.world.spawn(self._answer(answer, self._hold_and_snapshot(
            name, tag, only_if_changed, operation_id)), 'snapshot of a VDI')
        return await future

    async def _answer(self, answer, coroutine):
        try:
            result = await coroutine
        except errors.SheepdogError as exc:
            answer(exc)
        else:
            answer(None, result)

    async def _hold_and_snapshot(self, name, tag, only_if_changed,
                                 operation_id):
        while True:
            entry = self.catalogue.find(name)
            try:
                async with self.volumes.held(entry.vdi_id) as hold:
                    return await self._snapshot_held(
                        entry.vdi_id, tag, only_if_changed, hold,
                        operation_id)
            except errors.ReadOnly:
                now = self.cluster.state.vdis.get(entry.vdi_id)
                if now is None or not now.snapshot:
                    raise
                # Somebody else was quicker: of the next one.

    async def _snapshot_held(self, vdi_id, tag, only_if_changed, hold,
                             operation_id):
        done = self._done(operation_id)
        if done is not None:
            return done
        state = self.cluster.state
        entry = family.living(state, vdi_id)
        family.check_source(entry)
        family.check_tag(state, entry.name, tag)
        if only_if_changed and not await self._has_changed(entry):
            return None
        return await self._snapshot(entry, tag, hold, operation_id)

    async def clone(self, source, tag, name, shares_nothing=False,
                    operation_id=''):
        """A new VDI with the content of a snapshot. ``shares_nothing``: with
        copies of all its objects. Returns it as ``Catalogue.list`` does.

        :raises NoTag: there is no such snapshot
        :raises VdiExists: the name is taken
        """
        done = self._done(operation_id)
        if done is None:
            # (Else its snapshot may be gone by now.)
            done = await self._put(self._snapshot_of(source, tag), name, 0,
                                   shares_nothing, operation_id)
        for vdi in await self.catalogue.list(name):
            if vdi['vdi_id'] == done['vdi_id']:
                return vdi
        raise errors.NoVdi('VDI %s was deleted at once' % name)

    async def clone_of(self, snapshot, name, size):
        """As ``clone``, larger perhaps, for native clients.

        :param snapshot: the catalogue's entry
        """
        if not snapshot.snapshot:
            raise errors.InvalidParameters('VDI %06x is no snapshot'
                                           % snapshot.vdi_id)
        if size:
            catalogue_module.check_size(size, snapshot.block_size_shift)
        await self._put(snapshot, name, 0, False, '', size)

    async def rollback(self, name, tag, operation_id=''):
        """The VDI has the content of its snapshot again; what was written
        since is gone.

        :raises NoTag: there is no such snapshot
        :raises VdiLocked: it is open
        """
        if self._done(operation_id) is not None:
            # Whoever has opened it since may have.
            return
        snapshot = self._snapshot_of(name, tag)
        working = self.cluster.state.lookup(name)
        if working is not None:
            family.check_unused(working, self.cluster.state.locks.get(
                working.vdi_id))
        await self._put(snapshot, name, working.vdi_id if working else 0,
                        False, operation_id)

    def _snapshot_of(self, name, tag):
        """By tag, or by number."""
        try:
            return self.catalogue.find(name, tag)
        except errors.NoTag:
            if not tag.isdecimal() or not int(tag):
                raise
        return self.catalogue.find(name, snap_id=int(tag))

    # -- how it is done -------------------------------------------------

    async def _snapshot(self, entry, tag, hold, operation_id):
        # What clients have written so far need not hold them up then.
        await self._flush(entry.vdi_id)
        new = await self._begin(entry, entry.name, entry.vdi_id,
                                entry.created)
        self.volumes.take_turn_of(entry.vdi_id, new.vdi_id)
        try:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await hold.freeze()
                    await self._flush(entry.vdi_id)
                    await hold.complete()
                    hold.check()
                    state = self.cluster.state
                    now = family.living(state, entry.vdi_id)
                    serial = state.fences.get(entry.vdi_id, 0)
                    await self._write_inode(now, new)
                    await self.gateway.declare_now()
                    hold.check()
            except TimeoutError:
                raise errors.SystemFailure(
                    'no snapshot of VDI %s: in %d s not all that was under '
                    'way came to its end, or the inode could not be written'
                    % (entry.name, PATIENCE_SECONDS)) from None
            return await self._commit(new, {
                'source': entry.vdi_id, 'snapshot': True, 'tag': tag,
                'serial': serial, 'resized': now.resized, 'replaces': 0},
                operation_id, hold.check)
        except BaseException:
            self._give_up(new)
            raise
        finally:
            hold.thaw()

    async def _put(self, source, name, replaces, shares_nothing,
                   operation_id, size=0):
        done = self._done(operation_id)
        if done is not None:
            return done
        catalogue_module.check_name(name)
        before = self.cluster.state.lookup(name)
        if before is not None and not replaces:
            raise errors.VdiExists('a VDI %s exists already' % name)
        new = await self._begin(source, name,
                                0 if shares_nothing else source.vdi_id)
        try:
            if shares_nothing:
                await self._write_copies(source, new)
            else:
                await self._write_inode(source, new, size)
            await self.gateway.declare_now()
            return await self._commit(new, {
                'source': source.vdi_id, 'snapshot': False, 'tag': '',
                'serial': 0, 'resized': 0, 'replaces': replaces},
                operation_id, lambda: None)
        except BaseException:
            self._give_up(new)
            raise

    def _done(self, operation_id):
        """What was answered when it was asked for before, or None."""
        done = self.cluster.state.operations.get(operation_id)
        return done.result if done is not None else None

    async def _begin(self, source, name, parent, created=0):
        """Returns the entry of a VDI that is ours to make. (One that follows
        another was ``created`` with it.)"""
        now = self.world.clock.time()
        created = created or int(now) << 32 | int(now % 1 * 1e9)
        owner = self.cluster.incarnation
        arguments = {
            'name': name, 'source': source.vdi_id, 'parent': parent,
            'created': created, 'owner': owner}
        operation_id = self.world.random.token(12).hex()
        try:
            begun = await self.cluster.execute('vdi-begin', arguments,
                                               operation_id)
        except (errors.Transient, errors.WaitForJoin,
                asyncio.CancelledError):
            # It may have begun, or begin yet.
            self.world.spawn(self._end_begun(arguments, operation_id),
                             'end of a VDI that was perhaps begun')
            raise
        entry = self.cluster.state.vdis.get(begun['vdi_id'])
        if entry is None or entry.pending != owner:
            raise errors.NotServing('this sheep lost its place in the '
                                    'cluster')
        return entry

    async def _end_begun(self, arguments, operation_id):
        """Nobody waits for it any more. Asked for again under the same name
        it tells which VDI it was."""
        while self.cluster.incarnation == arguments['owner']:
            try:
                begun = await self.cluster.execute('vdi-begin', arguments,
                                                   operation_id)
            except (errors.Transient, errors.WaitForJoin):
                await asyncio.sleep(RETRY_SECONDS)
            except errors.SheepdogError:
                return
            else:
                await self._abort(begun['vdi_id'], arguments['owner'])
                return

    async def _commit(self, new, arguments, operation_id, check):
        """Until it is known whether it was done: nobody may go on before.

        :raises SheepdogError: it was not, and will not be
        """
        operation_id = operation_id or self.world.random.token(12).hex()
        arguments = dict(arguments, vdi_id=new.vdi_id, owner=new.pending)
        while True:
            try:
                done = await self.cluster.execute('vdi-commit', arguments,
                                                  operation_id)
                break
            except (errors.Transient, errors.WaitForJoin):
                if self.cluster.incarnation != new.pending:
                    raise
                check()
            await asyncio.sleep(RETRY_SECONDS)
        if done['vdi_id'] != new.vdi_id:
            # Asked for twice, by two ways.
            self._give_up(new)
        return done

    def _give_up(self, new):
        self.world.spawn(self._abort(new.vdi_id, new.pending),
                         'end of a VDI that was not made')

    async def _abort(self, vdi_id, owner):
        """It goes with our place in the cluster at the latest."""
        while True:
            entry = self.cluster.state.vdis.get(vdi_id)
            if (entry is None or entry.pending != owner
                    or self.cluster.incarnation != owner):
                return
            try:
                await self.cluster.execute('vdi-abort', {
                    'vdi_id': vdi_id, 'owner': owner})
            except errors.NoVdi:
                return
            except errors.SheepdogError as exc:
                LOG.info('VDI %06x is not given up yet: %s', vdi_id, exc)
            await asyncio.sleep(RETRY_SECONDS)

    async def _flush(self, vdi_id):
        try:
            await self.gateway.flush(vdi_id)
        except flush.LostWrites as exc:
            # Its client is to hear of it.
            self.gateway.unflushed.losses[vdi_id] = exc
            raise

    # -- inodes ---------------------------------------------------------

    def _access(self, new):
        def refusal():
            entry = self.cluster.state.vdis.get(new.vdi_id)
            if entry is None or entry.pending != self.cluster.incarnation:
                return errors.NoVdi('VDI %06x is not being made any more'
                                    % new.vdi_id)
            return None

        return access.Access(self.gateway, refusal)

    async def _write_head(self, source, new, to, size=0):
        """Returns the size of the source's map, in entries.

        :param size: that it has at least
        """
        head = await self.catalogue.head(source.vdi_id)
        packed = dataclasses.replace(
            head, name=new.name, tag='', create_time=new.created,
            snap_ctime=0, vm_clock_nsec=0, vm_state_size=0, snap_id=0,
            copy_policy=new.copy_policy, nr_copies=new.copies,
            vdi_size=max(size, head.vdi_size), vdi_id=new.vdi_id,
            parent_vdi_id=new.parent).pack()
        await to.write_wait(ids.vdi_oid(new.vdi_id), 0,
                            packed.ljust(inode.HEAD_BYTES, b'\0'), True,
                            create=True)
        return -(-head.vdi_size // head.object_bytes)

    async def _write_inode(self, source, new, size=0):
        """Durable when it returns."""
        to = self._access(new)
        count = await self._write_head(source, new, to, size)
        async for first, content in inode_map.pieces(
                self.gateway, source.vdi_id, count):
            await to.write_wait(ids.vdi_oid(new.vdi_id),
                                inode.map_offset(first), content, True)

    async def _write_copies(self, source, new):
        """All objects of the source as objects of its own."""
        to = self._access(new)
        count = await self._write_head(source, new, to)
        async for first, content in inode_map.pieces(
                self.gateway, source.vdi_id, count):
            owners = numpy.frombuffer(content, '<u4').copy()
            for place in numpy.flatnonzero(owners).tolist():
                index = first + place
                await cow.create_equal(
                    self.gateway, to, ids.data_oid(int(owners[place]), index),
                    ids.data_oid(new.owner, index))
            owners[owners != 0] = new.owner
            await to.write_wait(ids.vdi_oid(new.vdi_id),
                                inode.map_offset(first), owners.tobytes(),
                                True)

    async def _has_changed(self, entry):
        """Anything since the VDI followed its last snapshot."""
        parent = self.cluster.state.vdis.get(entry.parent)
        if parent is None or parent.deleted or parent.name != entry.name:
            return True
        if (await self.catalogue.head(entry.vdi_id)).vdi_size != (
                await self.catalogue.head(parent.vdi_id)).vdi_size:
            return True
        async for _, content in inode_map.pieces(
                self.gateway, entry.vdi_id, limits.VDI_OBJECTS_MAX):
            owners = numpy.frombuffer(content, '<u4')
            if (owners & ids.VDI_ID_MASK == entry.vdi_id).any():
                return True
        return False
