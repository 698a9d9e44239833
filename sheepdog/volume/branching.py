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

Who has the VDI open is held back meanwhile, on whatever sheep
(``standstill``). Snapshots of several VDIs are the same with one event.
"""

import asyncio
import dataclasses
import logging

import numpy

from sheepdog.cluster import family
from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.volume import access
from sheepdog.volume import catalogue as catalogue_module
from sheepdog.volume import cow
from sheepdog.volume import inode_map
from sheepdog.volume import standstill

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class Branching:
    def __init__(self, world, cluster, gateway, catalogue, volumes):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway
        self.catalogue = catalogue
        self.volumes = volumes
        self.standstill = standstill.Standstill(world, cluster, gateway,
                                                volumes)

    def owners_of(self, names):
        """Who has these VDIs open: incarnations, for each.

        :raises NoVdi: there is none
        """
        return [standstill.owners_of(self.cluster.state,
                                     self.catalogue.find(name).vdi_id)
                for name in names]

    # -- what there is to ask for ---------------------------------------

    async def snapshot(self, name, tag='', only_if_changed=False,
                       operation_id=''):
        """The working VDI becomes the snapshot of that tag; another one
        takes its place, under its name. Returns both ids: ``snapshot`` and
        ``vdi_id``; None where nothing has changed since the last one.

        :raises VdiLocked: somebody opens or closes it, or it is being
            altered: try again
        :raises VdiExists: there is such a snapshot
        """
        return await self._snapshots([name], tag, only_if_changed,
                                     operation_id)

    async def snapshot_group(self, names, tag='', only_if_changed=False,
                             operation_id=''):
        """As ``snapshot``, of several VDIs at one moment: of all, or of
        none. Returns ``vdis``, in order of the names, or None where nothing
        has changed in any.

        :raises InvalidParameters: one is named twice, or they are too many
        """
        if not (isinstance(names, list)
                and all(isinstance(name, str) for name in names)
                and 0 < len(names) <= limits.SNAPSHOT_GROUP_MAX
                and len(set(names)) == len(names)):
            raise errors.InvalidParameters(
                'snapshots are made of 1 to %d VDIs at one moment, each '
                'named once' % limits.SNAPSHOT_GROUP_MAX)
        done = await self._snapshots(names, tag, only_if_changed,
                                     operation_id)
        return done if done is None or 'vdis' in done else {'vdis': [done]}

    async def _snapshots(self, names, tag, only_if_changed, operation_id):
        inode.encode_name(tag)
        # Whoever asked may hang up; what has begun comes to its end.
        future, answer = operation.future()
        self.world.spawn(self._answer(answer, self._make_snapshots(
            names, tag, only_if_changed, operation_id)), 'snapshot of a VDI')
        return await future

    async def _answer(self, answer, coroutine):
        try:
            result = await coroutine
        except errors.SheepdogError as exc:
            answer(exc)
        else:
            answer(None, result)

    async def _make_snapshots(self, names, tag, only_if_changed,
                              operation_id):
        while True:
            done = self.done(operation_id)
            if done is not None:
                return done
            sources = [self.catalogue.find(name) for name in names]
            for source in sources:
                family.check_source(source)
                family.check_tag(self.cluster.state, source.name, tag)
            if only_if_changed and not await self._has_any_changed(sources):
                return None
            try:
                return await self._snapshot(sources, tag, operation_id)
            except (errors.ReadOnly, errors.NoVdi):
                if not any(family.is_over(self.cluster.state, source)
                           for source in sources):
                    raise
                # Somebody else was quicker: of the next one, if any.

    async def clone(self, source, tag, name, shares_nothing=False,
                    operation_id=''):
        """A new VDI with the content of a snapshot. ``shares_nothing``: with
        copies of all its objects. Returns it as ``Catalogue.list`` does.

        :raises InvalidParameters: no tag is given
        :raises NoTag: there is no such snapshot
        :raises VdiExists: the name is taken
        """
        done = self.done(operation_id)
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

        :raises InvalidParameters: no tag is given
        :raises NoTag: there is no such snapshot
        :raises VdiLocked: it is open
        """
        if self.done(operation_id) is not None:
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
        """By tag, or by number.

        :raises InvalidParameters: by neither (no tag is the working VDI's)
        """
        if not tag:
            raise errors.InvalidParameters(
                'which snapshot of VDI %s? Name its tag or its number' % name)
        try:
            return self.catalogue.find(name, tag)
        except errors.NoTag:
            if not tag.isdecimal() or not int(tag):
                raise
        return self.catalogue.find(name, snap_id=int(tag))

    # -- how it is done -------------------------------------------------

    async def _snapshot(self, sources, tag, operation_id):
        """In order of id: so nobody waits for each other."""
        news = await self._begin_all(sources)
        try:
            try:
                async with asyncio.timeout(standstill.PATIENCE_SECONDS):
                    commits = {}
                    for source, new in sorted(
                            zip(sources, news),
                            key=lambda pair: pair[0].vdi_id):
                        commits[source.vdi_id] = await self._hold(
                            source, new, tag)
                    for source, new in zip(sources, news):
                        await self._write_inode(source, new)
                    await self.gateway.declare_now()
            except TimeoutError:
                raise errors.SystemFailure(
                    'no snapshot of VDI %s: in %d s not all that was under '
                    'way came to its end, or the inode could not be written'
                    % (', '.join(source.name for source in sources),
                       standstill.PATIENCE_SECONDS)) from None
            return await self.commit(
                news, [commits[source.vdi_id] for source in sources],
                operation_id)
        except BaseException:
            self.give_up(*news)
            raise
        finally:
            for new in news:
                self.standstill.release(new.vdi_id)

    async def _hold(self, source, new, tag):
        """Nobody writes to it from now on. Returns what is to be decided."""
        serial = await self.standstill.hold_all(source.vdi_id, new.vdi_id)
        now = family.living(self.cluster.state, source.vdi_id)
        return {'source': source.vdi_id, 'snapshot': True, 'tag': tag,
                'serial': serial, 'resized': now.resized, 'replaces': 0}

    async def _begin_all(self, sources):
        begun = await asyncio.gather(
            *(self.begin(source, source.name, source.vdi_id, source.created)
              for source in sources), return_exceptions=True)
        failed = [one for one in begun if isinstance(one, BaseException)]
        if failed:
            self.give_up(*(one for one in begun if one not in failed))
            raise failed[0]
        return begun

    async def _put(self, source, name, replaces, shares_nothing,
                   operation_id, size=0):
        done = self.done(operation_id)
        if done is not None:
            return done
        catalogue_module.check_name(name)
        before = self.cluster.state.lookup(name)
        if before is not None and not replaces:
            raise errors.VdiExists('a VDI %s exists already' % name)
        new = await self.begin(source, name,
                               0 if shares_nothing else source.vdi_id)
        try:
            if shares_nothing:
                await self._write_copies(source, new)
            else:
                await self._write_inode(source, new, size)
            await self.gateway.declare_now()
            return await self.commit([new], [{
                'source': source.vdi_id, 'snapshot': False, 'tag': '',
                'serial': 0, 'resized': 0, 'replaces': replaces}],
                operation_id)
        except BaseException:
            self.give_up(new)
            raise

    def done(self, operation_id):
        """What was answered when it was asked for before, or None."""
        done = self.cluster.state.operations.get(operation_id)
        return done.result if done is not None else None

    async def begin(self, source, name, parent, created=0):
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

    async def commit(self, news, commits, operation_id):
        """Until it is known whether it was done: nobody may go on before.

        :raises SheepdogError: it was not, and will not be
        """
        operation_id = operation_id or self.world.random.token(12).hex()
        owner = news[0].pending
        commits = [dict(one, vdi_id=new.vdi_id, owner=owner)
                   for one, new in zip(commits, news)]
        kind, arguments = 'vdi-commit', commits[0]
        if len(commits) > 1:
            kind, arguments = 'vdi-commit-group', {'commits': commits}
        while True:
            try:
                done = await self.cluster.execute(kind, arguments,
                                                  operation_id)
                break
            except (errors.Transient, errors.WaitForJoin):
                if self.cluster.incarnation != owner:
                    raise
            await asyncio.sleep(RETRY_SECONDS)
        made = {one['vdi_id'] for one in done.get('vdis', [done])}
        # (Else it was asked for twice, by two ways.)
        self.give_up(*(new for new in news if new.vdi_id not in made))
        return done

    def give_up(self, *news):
        for new in news:
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

    # -- inodes ---------------------------------------------------------

    def access(self, new):
        """To write what a VDI that we make has."""
        def refusal():
            entry = self.cluster.state.vdis.get(new.vdi_id)
            if entry is None or entry.pending != self.cluster.incarnation:
                return errors.NoVdi('VDI %06x is not being made any more'
                                    % new.vdi_id)
            return None

        return access.Access(self.gateway, refusal)

    async def write_head(self, head, new, to, size):
        """
        :param head: the source's
        :param size: in bytes
        """
        packed = dataclasses.replace(
            head, name=new.name, tag='', create_time=new.created,
            snap_ctime=0, vm_clock_nsec=0, vm_state_size=0, snap_id=0,
            copy_policy=new.copy_policy, nr_copies=new.copies,
            vdi_size=size, vdi_id=new.vdi_id,
            parent_vdi_id=new.parent).pack()
        await to.write_wait(ids.vdi_oid(new.vdi_id), 0,
                            packed.ljust(inode.HEAD_BYTES, b'\0'), True,
                            create=True)

    async def _write_whole_head(self, source, new, to, size=0):
        """Returns the size of the source's map, in entries.

        :param size: that it has at least
        """
        head = await self.catalogue.head(source.vdi_id)
        await self.write_head(head, new, to, max(size, head.vdi_size))
        return -(-head.vdi_size // head.object_bytes)

    async def _write_inode(self, source, new, size=0):
        """Durable when it returns."""
        to = self.access(new)
        count = await self._write_whole_head(source, new, to, size)
        async for first, content in inode_map.pieces(
                self.gateway, source.vdi_id, count):
            await to.write_wait(ids.vdi_oid(new.vdi_id),
                                inode.map_offset(first), content, True)

    async def _write_copies(self, source, new):
        """All objects of the source as objects of its own."""
        to = self.access(new)
        count = await self._write_whole_head(source, new, to)
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

    async def _has_any_changed(self, sources):
        for source in sources:
            if await self._has_changed(source):
                return True
        return False

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
