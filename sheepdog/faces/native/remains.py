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


"""What native clients are told of objects of deleted VDIs.

VDIs that came from a deleted one may still name its objects; what none of
them names is made empty (``volume.reclaimer``). A client keeps the map
itself, and may have an old one: the zeroes of such an object are not what
its volume holds.
"""

import numpy

from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode


class Remains:
    def __init__(self, cluster, gateway):
        self.cluster = cluster
        self.gateway = gateway

    async def read(self, oid, offset, size):
        """Bytes of a data object of a deleted VDI.

        :raises NoObject: nobody has it any more
        :raises SheepdogError:
        """
        if not self.cluster.state.is_dead(ids.vdi_of(oid)):
            data = await self.gateway.read_wait(oid, offset, size)
            # (Whoever names it now did so all the time.)
            if data.count(0) < len(data) or await self._is_named(oid):
                return data
        raise errors.NoObject('no VDI has object %s any more'
                              % ids.hex_oid(oid))

    async def _is_named(self, oid):
        """By a VDI that came from its own."""
        vdis = self.cluster.state.vdis
        heirs = [entry.vdi_id for entry in vdis.values()
                 if not (entry.deleted or entry.pending)
                 and ids.vdi_of(oid) in family.came_from(vdis, entry)]
        for vdi_id in heirs:
            try:
                found = await self.gateway.read_wait(
                    ids.vdi_oid(vdi_id), inode.map_offset(ids.index_of(oid)),
                    inode.MAP_ENTRY_BYTES)
            except errors.NoObject:
                continue
            if int.from_bytes(found, 'little') == ids.owner_in(oid):
                return True
        return False

    def check_named(self, payload, offset, entry):
        """What a client writes to the map of a VDI that came from another.

        :raises InvalidParameters: it names what is gone
        """
        start = max(inode.MAP_OFFSET - offset, 0)
        start += -(offset + start - inode.MAP_OFFSET) % inode.MAP_ENTRY_BYTES
        count = (len(payload) - start) // inode.MAP_ENTRY_BYTES
        if not entry.parent or count <= 0:
            return
        state = self.cluster.state
        for owner in numpy.unique(numpy.frombuffer(
                payload, '<u4', count, start)).tolist():
            vdi_id = owner & ids.VDI_ID_MASK
            if vdi_id and vdi_id != entry.vdi_id and (
                    vdi_id not in state.vdis or state.is_dead(vdi_id)):
                raise errors.InvalidParameters(
                    'there are no objects of VDI %06x' % vdi_id)
