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

"""What native clients are shown of VDIs that were altered between copies and
strips.

They keep the inode themselves and know nothing of forms (``model.ids``): to
them each of a VDI's objects has one name for ever. So their requests are
translated: data objects get the form that the VDI has, or had when the
client locked it; entries of the map lose theirs when they are read, and get
it when they are written.
"""

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.volume import steady

ENTRY = inode.MAP_ENTRY_BYTES


class Forms:
    def __init__(self, cluster, gateway, volumes):
        self.cluster = cluster
        self.gateway = gateway
        self.volumes = volumes

    def owner(self, entry):
        """What owns the objects that a client writes."""
        claimed = self.volumes.claimed_owner(entry.vdi_id)
        return entry.owner if claimed is None else claimed

    def owners(self, entry):
        """Of those that own objects of its map, and have forms: VDI id →
        what the map says."""
        found = {}
        if entry.form:
            found[entry.vdi_id] = self.owner(entry)
        vdis = self.cluster.state.vdis
        parent = vdis.get(entry.parent)
        while parent is not None and parent.vdi_id not in found:
            if parent.form:
                found[parent.vdi_id] = parent.owner
            parent = vdis.get(parent.parent)
        return found

    def translated(self, oid):
        """A data object's real name.

        :raises InvalidParameters: no client can know of that one
        """
        entry = self.cluster.state.vdis.get(ids.vdi_of(oid))
        if not ids.is_data(oid) or entry is None:
            return oid
        if ids.form_of(oid):
            raise errors.InvalidParameters('there is no object %s'
                                           % ids.hex_oid(oid))
        return ids.data_oid(self.owner(entry), ids.index_of(oid))

    def is_turned_elsewhere(self, entry):
        """Objects may have one form or the other at any moment."""
        return bool(entry.former) and not self.volumes.is_claimed(
            entry.vdi_id)

    def is_former(self, oid):
        """It may have been turned since somebody asked for it."""
        entry = self.cluster.state.vdis.get(ids.vdi_of(oid))
        return (entry is not None and entry.form != ids.form_of(oid)
                and ids.is_data(oid)
                and not self.volumes.is_claimed(entry.vdi_id))

    async def read_steadily(self, oid, offset, size):
        """Bytes of a data object of a VDI that is being turned.

        :raises SheepdogError:
        """
        index = ids.index_of(oid)

        async def look():
            return int.from_bytes(await self.gateway.read_wait(
                ids.vdi_oid(ids.vdi_of(oid)), inode.map_offset(index),
                ENTRY), 'little')

        data = await steady.ask(look, lambda owner: self.gateway.read_wait(
            ids.data_oid(owner, index), offset, size))
        if data is None:
            raise errors.NoObject('there is no object %s'
                                  % ids.hex_oid(oid))
        return data


def without_forms(data, offset):
    """Bytes of an inode from ``offset`` on, as clients know it."""
    found = bytearray(data)
    first = max(inode.MAP_OFFSET - offset, 0)
    # The form is in the last byte of an entry.
    first += (ENTRY - 1 - (offset + first - inode.MAP_OFFSET)) % ENTRY
    if first < len(found):
        found[first::ENTRY] = bytes(len(range(first, len(found), ENTRY)))
    return bytes(found)


def with_forms(data, offset, owners):
    """Bytes that a client writes to an inode, as it is kept.

    :param owners: as ``Forms.owners``
    :raises InvalidParameters: they begin or end within an entry
    """
    start = max(inode.MAP_OFFSET - offset, 0)
    if start >= len(data) or not owners:
        return data
    if (offset + start - inode.MAP_OFFSET) % ENTRY or (
            (len(data) - start) % ENTRY):
        raise errors.InvalidParameters(
            'VDI %06x was altered between copies and strips: entries of its '
            'map are written as a whole' % next(iter(owners)))
    entries = numpy.frombuffer(data, '<u4', offset=start).copy()
    for vdi_id, owner in owners.items():
        entries[entries == vdi_id] = owner
    return bytes(data[:start]) + entries.tobytes()


def as_snapshot(data, offset, entry):
    """Bytes of the inode of a snapshot from ``offset`` on, with what the
    catalogue says of it."""
    if offset >= inode.HEAD_BYTES:
        return data
    found = bytearray(data)
    # (The time of one that was taken over from another cluster is there.)
    snapped = entry.snapped.to_bytes(8, 'little') if entry.snapped else b''
    for place, field in ((inode.TAG_OFFSET, inode.encode_name(entry.tag)),
                         (inode.SNAP_CTIME_OFFSET, snapped),
                         (inode.SNAP_ID_OFFSET,
                          entry.snap_id.to_bytes(4, 'little'))):
        low = max(place, offset)
        high = min(place + len(field), offset + len(data))
        if low < high:
            found[low - offset:high - offset] = field[low - place:
                                                      high - place]
    return bytes(found)
