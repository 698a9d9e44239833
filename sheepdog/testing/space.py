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

"""Is the space of VDIs that were deleted free, once all is at rest?"""

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode


async def left(node) -> list:
    """Objects with content of deleted VDIs that nobody names any more."""
    sheep = node.sheep
    state = sheep.cluster.state
    named = set()
    for entry in state.vdis.values():
        if entry.deleted or entry.pending:
            continue
        owners = await _map(sheep, entry.vdi_id)
        named.update(owner << 32 | index for index, owner
                     in enumerate(owners) if owner)
    found = []
    for vdi_id in state.needed():
        owners = await _map(sheep, vdi_id)
        for index, owner in enumerate(owners):
            oid = owner << 32 | index
            if owner & 0xFFFFFF != vdi_id or oid in named:
                continue
            try:
                if await sheep.gateway.extents(oid):
                    found.append('object %016x of a deleted VDI is named by '
                                 'none, and not empty' % oid)
            except errors.NoObject:
                pass
    return found


async def _map(sheep, vdi_id):
    head = await sheep.catalogue.head(vdi_id)
    count = -(-head.vdi_size // head.object_bytes)
    content = await sheep.gateway.read_wait(
        ids.vdi_oid(vdi_id), inode.MAP_OFFSET,
        count * inode.MAP_ENTRY_BYTES)
    return numpy.frombuffer(content, '<u4').tolist()
