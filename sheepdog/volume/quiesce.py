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


"""The lock of a VDI in the hands of who makes a snapshot of it.

Whoever has the VDI open here goes on with it, but for the moment between
``freeze`` and ``thaw``, in which nobody's change is under way and those that
come wait.
"""

import asyncio

from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode

PAUSE_SECONDS = 0.001


class OfNobody:
    """It was not open: we have taken its lock."""

    def __init__(self, volume):
        self._volume = volume

    def check(self):
        """:raises SheepdogError: the lock is lost"""
        self._volume.access.check()

    async def freeze(self):
        pass

    async def complete(self):
        """All that was acknowledged is durable; the map is to name it."""

    def thaw(self):
        pass


class OfVolume(OfNobody):
    """Clients here have the volume open."""

    async def freeze(self):
        await self._volume.freeze()

    def thaw(self):
        self._volume.thaw()


class OfClaim:
    """A native client has it, and keeps the inode itself: it learns by the
    answer READONLY that its VDI is a snapshot, and looks for the other."""

    def __init__(self, volumes, vdi_id):
        self._volumes = volumes
        self._vdi_id = vdi_id

    def check(self):
        volumes = self._volumes
        if not (volumes.is_claimed(self._vdi_id) or family.living(
                volumes.cluster.state, self._vdi_id).snapshot):
            raise errors.VdiNotLocked('the lock of VDI %06x was taken away'
                                      % self._vdi_id)

    async def freeze(self):
        volumes = self._volumes
        volumes.frozen[self._vdi_id] = asyncio.Event()
        while volumes.copying[self._vdi_id]:
            await asyncio.sleep(PAUSE_SECONDS)
        await volumes.gateway.finish(self._vdi_id)

    async def complete(self):
        """An object that was created belongs to the snapshot, too: its
        entry would come too late, and no map gets an entry of another VDI
        but from that VDI's own."""
        volumes = self._volumes
        for oid in sorted(volumes.unnamed.get(self._vdi_id, ())):
            await volumes.gateway.write_wait(
                ids.vdi_oid(self._vdi_id),
                inode.map_offset(ids.index_of(oid)),
                ids.owner_in(oid).to_bytes(inode.MAP_ENTRY_BYTES, 'little'),
                True)

    def thaw(self):
        frozen = self._volumes.frozen.pop(self._vdi_id, None)
        if frozen is not None:
            frozen.set()
