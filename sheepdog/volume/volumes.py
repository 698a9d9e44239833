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
import logging

from sheepdog.model import errors
from sheepdog.volume import volume as volume_module

LOG = logging.getLogger(__name__)

EXCLUSIVE = 'exclusive'
SHARED = 'shared'


class Volumes:
    """Also a ``ClusterListener``.

    For operators, by VDI id, in seconds since 1970: ``locked_at``, since
    when this sheep has the lock; ``refused``, when it was last refused.
    """

    def __init__(self, world, cluster, gateway, catalogue):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway
        self.catalogue = catalogue
        self._writing = {}
        self._reading = {}
        self._claims = {}
        self._turns = {}
        self._resizes = {}
        self.locked_at = {}
        self.refused = {}

    async def open(self, name, tag='', snap_id=0, read_only=False,
                   shared=False):
        """A ``Volume``; close it when done.

        :raises NoVdi, NoTag: there is none of that name
        :raises VdiLocked: another sheep, or a native client of this one,
            has it
        """
        entry = self.catalogue.find(name, tag, snap_id)
        if entry.snapshot and not read_only:
            raise errors.ReadOnly('%s is a snapshot' % name)
        async with self._turn(entry.vdi_id):
            if read_only:
                return await self._open_to_read(entry)
            return await self._open_to_write(entry,
                                             SHARED if shared else EXCLUSIVE)

    async def _open_to_read(self, entry):
        volume = await self._make(entry, True, False)
        volume.users = 1
        self._reading[volume] = None
        return volume

    async def _open_to_write(self, entry, mode):
        volume = self._writing.get(entry.vdi_id)
        if volume is not None and volume.valid:
            if volume.map.is_alone != (mode == EXCLUSIVE):
                raise errors.VdiLocked('VDI %s is open here in another mode'
                                       % entry.name)
            volume.users += 1
            return volume
        if entry.vdi_id in self._claims:
            raise errors.VdiLocked('VDI %s is open here by a native client'
                                   % entry.name)
        await self._lock(entry.vdi_id, mode)
        try:
            volume = await self._make(entry, False, mode == EXCLUSIVE)
            self._check_held(entry.vdi_id)
        except BaseException:
            await self._unlock(entry.vdi_id)
            raise
        volume.users = 1
        self._writing[entry.vdi_id] = volume
        return volume

    async def _make(self, entry, read_only, is_alone):
        resizes = None
        while resizes != self._resizes.get(entry.vdi_id, 0):
            # Whoever grew meanwhile was not told: look again.
            resizes = self._resizes.get(entry.vdi_id, 0)
            head = await self.catalogue.head(entry.vdi_id)
            volume = volume_module.Volume(self.gateway, entry, head,
                                          read_only, is_alone, self._close)
            await volume.load()
        return volume

    async def _close(self, volume):
        if volume.read_only:
            volume.invalidate()
            self._reading.pop(volume, None)
            return
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
                await self._lock(vdi_id, SHARED if shared else EXCLUSIVE)
                self._check_held(vdi_id)
                self._claims[vdi_id] = None

    async def release(self, vdi_id):
        """Give a claim back.

        :raises VdiNotLocked: there is none
        """
        async with self._turn(vdi_id):
            if vdi_id not in self._claims:
                raise errors.VdiNotLocked('VDI %06x is not locked here by a '
                                          'native client' % vdi_id)
            await self.gateway.finish(vdi_id)
            if self._claims.pop(vdi_id, self) is self:
                # Lost meanwhile: by force, or with our identity.
                return
            await self.gateway.declare_now()
            await self._unlock(vdi_id)

    def is_claimed(self, vdi_id):
        return vdi_id in self._claims

    def may_write(self, vdi_id):
        """Whether a native client of this sheep may change the VDI's
        objects: not while another sheep, or a volume open here, has it."""
        if self._is_open(vdi_id):
            return False
        lock = self.cluster.state.locks.get(vdi_id)
        return (lock is None or not lock.owners or lock.mode == SHARED
                or self.cluster.incarnation in lock.owners)

    def _is_open(self, vdi_id):
        volume = self._writing.get(vdi_id)
        return volume is not None and volume.valid

    # -- locks ----------------------------------------------------------

    def _turn(self, vdi_id):
        """Opens and closes of one VDI take turns."""
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

    def on_event(self, event):
        kind = event['kind']
        if kind == 'vdi-resize':
            self._resizes[event['vdi_id']] = 1 + self._resizes.get(
                event['vdi_id'], 0)
            for volume in self.opened():
                if volume.vdi_id == event['vdi_id']:
                    volume.resized(event['size'])
        elif kind == 'unlock':
            self._check_lock(event['vdi_id'])
        elif kind == 'format':
            self.on_lapse()
        elif kind == 'vdi-delete':
            for volume in self.opened():
                if volume.vdi_id == event['vdi_id']:
                    volume.invalidate()

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
        """All volumes that are open here."""
        return list(self._writing.values()) + list(self._reading)

    def _check_lock(self, vdi_id):
        if self._holds(vdi_id):
            return
        volume = self._writing.get(vdi_id)
        if volume is not None:
            volume.invalidate()
        if volume is not None or vdi_id in self._claims:
            self.gateway.abandon_vdi(vdi_id, errors.VdiNotLocked(
                'the lock of VDI %06x was taken away' % vdi_id))
        self._claims.pop(vdi_id, None)

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        pass

    def on_lapse(self):
        for volume in self.opened():
            volume.invalidate(can_reopen=True)
        self._writing.clear()
        self._reading.clear()
        self._claims.clear()

    def on_shutdown(self):
        self.on_lapse()

    async def close_all(self):
        """This sheep stops: flush and free what is open here."""
        for volume in list(self._writing.values()):
            try:
                await volume.flush()
            except errors.SheepdogError as exc:
                LOG.warning('flushing volume %s: %s', volume.name, exc)
