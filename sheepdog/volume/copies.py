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


"""Copies on write of volumes that several sheep have open.

Were two of them to copy one object of another VDI at the same time, each
would write over what the other's clients have written since. So one does
it for all, the first owner of the lock; it copies the whole object. When it
is gone the next one is first, and what was half done begins anew: nobody
else writes to an object that the map does not name.
"""

import asyncio

from sheepdog.model import errors

ASK_SECONDS = 20.0
RETRY_SECONDS = 0.2


class Copies:
    """``ask(member, method, arguments, timeout)``: of another sheep; given
    by ``wiring``."""

    def __init__(self, cluster, volumes):
        self.cluster = cluster
        self.volumes = volumes
        self.ask = None

    async def make_own(self, volume, index):
        """An object that a shared volume has of another VDI becomes its
        own, with the same content.

        :raises SheepdogError:
        """
        while True:
            volume.access.check()
            try:
                await self._make_own(volume.vdi_id, index)
                return
            except errors.Transient:
                pass
            await asyncio.sleep(RETRY_SECONDS)

    async def _make_own(self, vdi_id, index):
        lock = self.cluster.state.locks.get(vdi_id)
        first = lock.owners[0] if lock is not None and lock.owners else ''
        if first == self.cluster.incarnation:
            await self.make_own_here(vdi_id, index)
            return
        member = self.cluster.view.member(first) if first else None
        if member is None:
            raise errors.NotServing('nobody has VDI %06x open' % vdi_id)
        await self.ask(member, 'vdi.make_own', {
            'vdi_id': vdi_id, 'index': index}, ASK_SECONDS)

    async def make_own_here(self, vdi_id, index):
        """…by the first owner of the lock.

        :raises NotServing: it has not opened the volume yet, or closes it
        :raises VdiLocked: it has it open by the native protocol
        """
        if self.volumes.is_claimed(vdi_id):
            raise errors.VdiLocked(
                'VDI %06x is open by the native protocol elsewhere: what it '
                'shares with snapshots cannot be copied for both' % vdi_id)
        lock = self.cluster.state.locks.get(vdi_id)
        volume = self.volumes.open_shared(vdi_id)
        if volume is None or lock is None or (
                lock.owners[:1] != (self.cluster.incarnation,)):
            # (Were it left over, it would never be open here.)
            await self.volumes.give_back_left_over(vdi_id)
            raise errors.NotServing('VDI %06x is not open here' % vdi_id)
        try:
            await volume.copy_object(index)
        except errors.VdiNotLocked:
            # Our lock, not that of who asks, who looks after it and asks
            # whoever is first then.
            raise errors.NotServing('VDI %06x was closed here while an '
                                    'object of it was copied'
                                    % vdi_id) from None
