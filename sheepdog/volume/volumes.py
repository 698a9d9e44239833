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

"""The volumes that are open on this sheep, whoever uses them.

All faces open volumes here. Those who write share one ``Volume``, under one
lock that belongs to this sheep; who only reads needs no lock. A lock is
freed with the last user's close, or by the cluster when this sheep dies.
"""

import asyncio
import collections
import contextlib
import logging
import weakref

from sheepdog.cluster import entries
from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.volume import copies
from sheepdog.volume import quiesce
from sheepdog.volume import throttles
from sheepdog.volume import volume as volume_module

LOG = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""So long whoever opens a VDI waits for what turns it here."""


class Volumes:
    """Also a ``ClusterListener``.

    For operators, by VDI id, in seconds since 1970: ``locked_at``, since
    when this sheep has the lock; ``refused``, when it was last refused.
    ``frozen``: VDIs that native clients may not change just now, with what
    ends that; ``copying``: how many of their copies on write are under way.
    ``on_follow`` functions are called with the id of a claimed
    VDI that became a snapshot, and that of the one in its place.
    """

    def __init__(self, world, cluster, gateway, catalogue):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway
        self.catalogue = catalogue
        self._writing = {}
        self._turning = {}
        self._taken = collections.Counter()
        self._reading = {}
        self._claims = {}
        self._turns = weakref.WeakValueDictionary()
        self._resizes = {}
        self.frozen = {}
        self.copying = collections.Counter()
        self.unnamed = {}
        self.copies = copies.Copies(cluster, self)
        self.on_follow = []
        self.locked_at = {}
        self.refused = {}
        self.throttles = throttles.Throttles(world, cluster, self._limit)

    async def open(self, name, tag='', snap_id=0, read_only=False,
                   shared=False, alone=False):
        """A ``Volume``; close it when done.

        :param alone: nobody else of this sheep has it open to write, or gets
            it, either
        :raises NoVdi, NoTag: there is none of that name
        :raises VdiLocked: another sheep, or a native client of this one,
            has it
        """
        mode = entries.SHARED if shared else entries.EXCLUSIVE
        while True:
            entry = self.catalogue.find(name, tag, snap_id)
            if entry.snapshot and not read_only:
                raise errors.ReadOnly('%s is a snapshot' % name)
            async with self._turn(entry.vdi_id):
                try:
                    if read_only:
                        volume = await self._open_to_read(entry)
                    else:
                        volume = await self._open_to_write(entry, mode,
                                                           alone)
                except errors.SheepdogError:
                    if not family.is_over(self.cluster.state, entry):
                        raise
                else:
                    if volume is not None:
                        volume.throttle = self.throttles.by_id.get(
                            volume.vdi_id)
                        return volume

    async def _open_to_read(self, entry):
        """None: another VDI may have taken its place."""
        # (The map of a snapshot does not change.)
        volume = await self._make(entry, True, entry.snapshot)
        if family.is_over(self.cluster.state, entry):
            # (Nobody would have told this volume.)
            return None
        volume.users = 1
        self._reading[volume] = None
        return volume

    async def _open_to_write(self, entry, mode, alone):
        """None: another VDI may have taken its place."""
        if family.is_over(self.cluster.state, entry):
            return None
        volume = self._writing.get(entry.vdi_id)
        if volume is not None and volume.valid:
            if volume.map.is_alone != (mode != entries.SHARED):
                raise errors.VdiLocked('VDI %s is open here in another mode'
                                       % entry.name)
            if alone or volume.is_for_one:
                raise errors.VdiLocked('VDI %s is open here already'
                                       % entry.name)
            volume.users += 1
            return volume
        if entry.vdi_id in self._claims:
            raise errors.VdiLocked('VDI %s is open here by a native client'
                                   % entry.name)
        await self._stop_turning(entry.vdi_id)
        volume = await self._open_locked(entry, mode)
        volume.users = 1
        volume.is_for_one = alone
        self._writing[entry.vdi_id] = volume
        return volume

    async def _open_locked(self, entry, mode):
        await self._lock(entry.vdi_id, mode)
        try:
            volume = await self._make(entry, False, mode != entries.SHARED)
            self._check_held(entry.vdi_id)
        except BaseException:
            await self._unlock(entry.vdi_id)
            raise
        return volume

    async def _make(self, entry, read_only, is_alone):
        resizes = None
        while resizes != self._resizes.get(entry.vdi_id, 0):
            # Whoever grew meanwhile was not told: look again.
            resizes = self._resizes.get(entry.vdi_id, 0)
            head = await self.catalogue.head(entry.vdi_id)
            volume = volume_module.Volume(
                self.gateway, self._now(entry), head, read_only, is_alone,
                self._close, self.copies.make_own)
            await volume.load()
            volume.alter(self._now(entry).owner)
            if is_alone and self._now(entry).former:
                # Its lock may have been taken away from who was turning it.
                await volume.map.repeat()
        volume.alter(self._now(entry).owner)
        return volume

    def _now(self, entry):
        """It may have another form by now."""
        return self.cluster.state.vdis.get(entry.vdi_id, entry)

    async def _close(self, volume):
        if volume.read_only:
            volume.invalidate()
            self._reading.pop(volume, None)
            return
        # (The VDI that takes its place has the same turn.)
        async with self._turn(volume.vdi_id):
            volume.users -= 1
            if volume.users or self._writing.get(
                    volume.vdi_id) is not volume:
                return
            was_valid = volume.valid
            # Nothing new is begun; what is under way comes to its end.
            volume.invalidate()
            try:
                if was_valid:
                    await self._settle(volume.vdi_id)
            finally:
                if self._writing.get(volume.vdi_id) is volume:
                    # (Else the lock was lost meanwhile.)
                    del self._writing[volume.vdi_id]
                    if was_valid:
                        await self._unlock(volume.vdi_id)

    async def _settle(self, vdi_id):
        """All that was written here is on all copies, durably, and the
        replicas know that it is."""
        await self.gateway.finish(vdi_id)
        await self.gateway.flush(vdi_id)
        await self.gateway.declare_now()

    # -- native clients, which keep the inode themselves ------------------

    async def claim(self, vdi_id, shared):
        """Lock for native clients, which map objects themselves. Claiming
        again what is claimed is no error: who may is for the face to say.

        :raises VdiLocked: another sheep, or a volume open here, has it
        """
        async with self._turn(vdi_id):
            if self._is_open(vdi_id):
                raise errors.VdiLocked('VDI %06x is open here' % vdi_id)
            if vdi_id not in self._claims:
                # (Who tries again and again must not stop it.)
                self._check_one_form(vdi_id)
                await self._stop_turning(vdi_id)
                await self._lock(vdi_id, entries.SHARED if shared
                                 else entries.EXCLUSIVE)
                self._check_held(vdi_id)
                try:
                    self._claims[vdi_id] = self._check_one_form(vdi_id)
                except errors.VdiLocked:
                    await self._unlock(vdi_id)
                    raise

    def _check_one_form(self, vdi_id):
        """What owns its objects.

        :raises VdiLocked: it has others beside these
        """
        entry = self.cluster.state.vdis.get(vdi_id)
        if entry is None:
            raise errors.NoVdi('no VDI %06x' % vdi_id)
        if entry.former:
            raise errors.VdiLocked(
                'VDI %s is being turned into another redundancy: native '
                'clients can use it again when "dog vdi list" shows one only'
                % entry.name)
        return entry.owner

    async def release(self, vdi_id):
        """Give a claim back.

        :raises VdiNotLocked: there is none
        """
        async with self._turn(vdi_id):
            if vdi_id not in self._claims:
                raise errors.VdiNotLocked('VDI %06x is not locked here by a '
                                          'native client' % vdi_id)
            await self.gateway.finish(vdi_id)
            self.unnamed.pop(vdi_id, None)
            if self._claims.pop(vdi_id, self) is self:
                # Lost meanwhile: by force, or with our identity.
                return
            await self.gateway.declare_now()
            await self._unlock(vdi_id)

    def is_claimed(self, vdi_id):
        return vdi_id in self._claims

    def note_created(self, oid):
        """…by a native client; its entry in the map comes next."""
        vdi_id = ids.vdi_of(oid)
        if ids.is_data(oid) and vdi_id in self._claims:
            self.unnamed.setdefault(vdi_id, set()).add(oid)

    def note_named(self, vdi_id, first, count):
        """A native client has written these entries of the map."""
        unnamed = self.unnamed.get(vdi_id, set())
        unnamed.difference_update([
            oid for oid in unnamed
            if first <= ids.index_of(oid) < first + count])
        if not unnamed:
            self.unnamed.pop(vdi_id, None)

    def claimed_owner(self, vdi_id):
        """What owns the objects that a native client writes (see
        ``model.ids``): those of a form for as long as it has the VDI."""
        return self._claims.get(vdi_id)

    def may_write(self, vdi_id):
        """Whether a native client of this sheep may change the VDI's
        objects: not while another sheep, or a volume open here, has it.
        (Shared neither: who makes a snapshot holds back the lock's owners,
        and nobody else.)"""
        if vdi_id in self._claims:
            return True
        if (self._is_open(vdi_id) or vdi_id in self._turning
                or self._taken[vdi_id]):
            return False
        entry = self.cluster.state.vdis.get(vdi_id)
        if entry is not None and entry.is_turning:
            return False
        lock = self.cluster.state.locks.get(vdi_id)
        return (lock is None or not lock.owners
                or self.cluster.incarnation in lock.owners)

    def open_shared(self, vdi_id):
        """The volume that clients here have open, others elsewhere too; or
        None."""
        volume = self._writing.get(vdi_id)
        if volume is not None and volume.valid and not volume.map.is_alone:
            return volume
        return None

    def _is_open(self, vdi_id):
        volume = self._writing.get(vdi_id)
        return volume is not None and volume.valid

    # -- who makes a snapshot -------------------------------------------

    @contextlib.asynccontextmanager
    async def held(self, vdi_id, may_take):
        """For a snapshot of a VDI: we have its lock, and nobody opens or
        closes it here meanwhile. Yields one of ``quiesce``.

        :param may_take: also where nobody has it open
        :raises VdiLocked, VdiNotLocked: somebody else has it
        :raises ReadOnly: it is a snapshot
        """
        async with self._turn(vdi_id):
            entry = family.living(self.cluster.state, vdi_id)
            family.check_source(entry)
            volume = self._writing.get(vdi_id)
            if volume is not None and volume.valid:
                yield quiesce.OfVolume(volume)
            elif vdi_id in self._claims:
                yield quiesce.OfClaim(self, vdi_id)
            elif not may_take and not await self._is_left_over(vdi_id):
                raise errors.VdiNotLocked('VDI %s was closed meanwhile'
                                          % entry.name)
            else:
                volume = await self._take_to_turn(entry)
                try:
                    yield quiesce.OfNobody(volume)
                finally:
                    self._turning.pop(vdi_id, None)
                    if volume.valid:
                        volume.invalidate()
                        if self._holds(vdi_id):
                            await self._unlock(vdi_id)

    async def give_back_left_over(self, vdi_id):
        """…if others have that lock, too. Who has the turn of the VDI just
        now opens or closes it, or sees to that."""
        turn = self._turn(vdi_id)
        if turn.locked():
            return
        async with turn:
            if not (self._is_open(vdi_id) or vdi_id in self._claims
                    or vdi_id in self._turning):
                await self._is_left_over(vdi_id)

    async def _is_left_over(self, vdi_id):
        """A lock of ours that nobody uses here; one that others have, too,
        is given back."""
        if not self._holds(vdi_id):
            return False
        if len(self.cluster.state.locks[vdi_id].owners) == 1:
            return True
        await self._unlock(vdi_id)
        return False

    def take_turn_of(self, vdi_id, follower):
        """Who wants to open the VDI that follows another waits for those who
        make it."""
        self._turns[follower] = self._turn(vdi_id)

    def is_frozen(self, vdi_id):
        """Native clients' changes wait."""
        return vdi_id in self.frozen

    async def thawed(self, vdi_id):
        while vdi_id in self.frozen:
            await self.frozen[vdi_id].wait()

    def _follow(self, vdi_id, follower):
        """A VDI has become a snapshot, and who has it open goes on with
        another. (Writers wait until all sheep know.)"""
        entry = self.cluster.state.vdis[follower]
        for volume in self._of(vdi_id):
            if not volume.is_snapshot:
                volume.follow(entry)
        for held in (self._writing, self.locked_at, self.refused):
            if vdi_id in held:
                held[follower] = held.pop(vdi_id)
        if vdi_id in self._claims:
            del self._claims[vdi_id]
            self.unnamed.pop(vdi_id, None)
            self._claims[follower] = entry.owner
            for function in self.on_follow:
                function(vdi_id, follower)

    # -- who turns objects into another form ------------------------------

    def to_turn(self, vdi_id):
        """The volume, if its clients here have it alone; else None."""
        volume = self._writing.get(vdi_id)
        if volume is not None and volume.valid and volume.map.is_alone:
            return volume
        return None

    async def open_to_turn(self, entry):
        """A volume for nobody's use, which ends when somebody else wants it;
        to be given to ``close_turned``. None: a client here has it.

        :raises VdiLocked: somebody elsewhere has it
        :raises SheepdogError:
        """
        async with self._turn(entry.vdi_id):
            if self._is_open(entry.vdi_id) or entry.vdi_id in self._claims:
                return None
            return await self._take_to_turn(entry)

    async def _take_to_turn(self, entry):
        if self._holds(entry.vdi_id):
            # Left over. Nobody knows what was under way: by force.
            await self._lock(entry.vdi_id, entries.EXCLUSIVE)
            await self._unlock(entry.vdi_id)
        self._taken[entry.vdi_id] += 1
        try:
            volume = await self._open_locked(entry, entries.TURNING)
            self._turning[entry.vdi_id] = volume
            return volume
        finally:
            self._taken[entry.vdi_id] -= 1

    async def close_turned(self, volume):
        async with self._turn(volume.vdi_id):
            if self._turning.get(volume.vdi_id) is volume:
                await self._stop_turning(volume.vdi_id)

    async def _stop_turning(self, vdi_id):
        """…in order; for who has the turn."""
        volume = self._turning.get(vdi_id)
        if volume is None:
            return
        was_valid = volume.valid
        volume.invalidate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                # (All that it has written is durable.)
                await self.gateway.finish(vdi_id)
                await self.gateway.declare_now()
        except TimeoutError:
            # What cannot be copied holds nobody up. Whoever takes the lock
            # next takes it by force.
            self.gateway.abandon_vdi(vdi_id, errors.VdiNotLocked(
                'somebody wants to open VDI %06x' % vdi_id))
            was_valid = False
        if self._turning.pop(vdi_id, None) is volume and was_valid:
            await self._unlock(vdi_id)

    # -- locks ----------------------------------------------------------

    def _turn(self, vdi_id):
        """Opens and closes of one VDI take turns. (It is there for as long
        as somebody has it, or waits for it.)"""
        turn = self._turns.get(vdi_id)
        if turn is None:
            turn = self._turns[vdi_id] = asyncio.Lock()
        return turn

    async def _lock(self, vdi_id, mode):
        try:
            await self.cluster.execute(
                'lock', {'vdi_id': vdi_id, 'mode': mode,
                         'owner': self.cluster.incarnation})
        except errors.VdiLocked:
            if mode != entries.TURNING:
                self.refused[vdi_id] = self.world.clock.time()
            raise
        self.refused.pop(vdi_id, None)
        self.locked_at[vdi_id] = self.world.clock.time()
        self.gateway.unflushed.note_everyone(vdi_id)

    def _holds(self, vdi_id):
        lock = self.cluster.state.locks.get(vdi_id)
        return lock is not None and self.cluster.incarnation in lock.owners

    def _check_held(self, vdi_id):
        """:raises NotServing: nobody could be told yet that it was lost"""
        if not self._holds(vdi_id):
            raise errors.NotServing('the lock of VDI %06x was lost while it '
                                    'was opened' % vdi_id)

    async def _unlock(self, vdi_id):
        self.locked_at.pop(vdi_id, None)
        try:
            await self.cluster.execute(
                'unlock', {'vdi_id': vdi_id,
                           'owner': self.cluster.incarnation})
        except errors.SheepdogError as exc:
            # Gone already with our identity, or by force.
            LOG.info('unlocking VDI %06x: %s', vdi_id, exc)

    # -- changes of the cluster -----------------------------------------

    def _limit(self):
        """VDIs have got limits, or lost them."""
        for volume in self.opened():
            volume.throttle = self.throttles.by_id.get(volume.vdi_id)

    def on_event(self, event):
        kind = event['kind']
        if kind == 'vdi-resize':
            self._resizes[event['vdi_id']] = 1 + self._resizes.get(
                event['vdi_id'], 0)
            for volume in self._of(event['vdi_id']):
                volume.resized(event['size'])
        elif kind in ('lock', 'unlock'):
            self._check_lock(event['vdi_id'])
            if kind == 'lock' and event['mode'] == entries.TURNING:
                # Of native clients that did without a lock: it would come
                # behind what is copied now.
                self.gateway.abandon_content(
                    event['vdi_id'], errors.VdiLocked(
                        'VDI %06x is being turned, or made a snapshot of'
                        % event['vdi_id']))
        elif kind == 'format':
            self.on_lapse()
        elif kind == 'vdi-delete':
            self._end(event['vdi_id'])
        for commit in family.commits(event):
            self._take_commit(commit)
        # (Once those that follow others do so.)
        self.throttles.on_event(event)

    def _take_commit(self, commit):
        if commit['snapshot']:
            # Of native clients that did without a lock, as above: what a
            # snapshot has stays as it is.
            self.gateway.abandon_content(commit['source'], errors.ReadOnly(
                'VDI %06x is a snapshot now' % commit['source']))
            self._follow(commit['source'], commit['vdi_id'])
        elif commit['replaces']:
            self._end(commit['replaces'])

    def _end(self, vdi_id):
        """It is deleted."""
        for volume in self._of(vdi_id):
            volume.invalidate()
        if vdi_id in self._turning:
            self.gateway.abandon_vdi(vdi_id, errors.NoVdi(
                'VDI %06x was deleted' % vdi_id))

    def users(self):
        """VDI id → how many have it open here, native clients as one."""
        counts = {vdi_id: volume.users
                  for vdi_id, volume in self._writing.items()
                  if volume.valid}
        for volume in self._reading:
            counts[volume.vdi_id] = counts.get(volume.vdi_id, 0) + 1
        for vdi_id in self._claims:
            counts[vdi_id] = counts.get(vdi_id, 0) + 1
        return counts

    def opened(self):
        """All volumes that are open here, for clients."""
        return list(self._writing.values()) + list(self._reading)

    def _all(self):
        return self.opened() + list(self._turning.values())

    def _of(self, vdi_id):
        return [volume for volume in self._all() if volume.vdi_id == vdi_id]

    def _check_lock(self, vdi_id):
        if self._holds(vdi_id):
            return
        volumes = [held[vdi_id] for held in (self._writing, self._turning)
                   if vdi_id in held]
        for volume in volumes:
            volume.invalidate()
        if volumes or vdi_id in self._claims:
            self.gateway.abandon_vdi(vdi_id, errors.VdiNotLocked(
                'the lock of VDI %06x was taken away' % vdi_id))
            if vdi_id in self.throttles.by_id:
                # (Of native clients.)
                self.throttles.by_id[vdi_id].release(self)
        self._claims.pop(vdi_id, None)
        self.unnamed.pop(vdi_id, None)

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        self.throttles.refresh()

    def take_forms(self, turning=()):
        """VDIs may have another form with this view (see ``turner``).

        :param turning: ids of those that have former ones
        """
        for vdi_id in turning:
            if not self._holds(vdi_id):
                # Of native clients that did without a lock. Who turns it
                # does not know of them: it would come behind the copy.
                self.gateway.abandon_content(vdi_id, errors.VdiLocked(
                    'VDI %06x is being turned into another redundancy'
                    % vdi_id))
        for volume in self._all():
            entry = self.cluster.state.vdis.get(volume.vdi_id)
            if entry is not None:
                volume.alter(entry.owner)

    def on_lapse(self):
        for volume in self._all():
            volume.invalidate(can_reopen=True)
        self._writing.clear()
        self._turning.clear()
        self._reading.clear()
        self._claims.clear()
        self.unnamed.clear()
        for _, throttle in self.throttles.named():
            throttle.release(self)

    def on_shutdown(self):
        self.on_lapse()

    async def close_all(self):
        """This sheep stops: flush and free what is open here."""
        for volume in list(self._writing.values()):
            try:
                await volume.flush()
            except errors.SheepdogError as exc:
                LOG.warning('flushing volume %s: %s', volume.name, exc)
