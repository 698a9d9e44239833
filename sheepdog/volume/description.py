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

"""What a list of VDIs says of one. Pure."""

import numpy

from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.placement import redundancy


class Tally:
    """Objects that a map names: ``owned`` by the VDI, ``former`` of these are
    of a form that new ones have not; ``shared`` are others'."""

    def __init__(self, entry):
        self._entry = entry
        self.owned = self.shared = self.former = 0

    def add(self, owners):
        """:param owners: a part of the map (bytes)"""
        found = numpy.frombuffer(owners, '<u4')
        owned = int(numpy.count_nonzero(
            found & ids.VDI_ID_MASK == self._entry.vdi_id))
        self.owned += owned
        self.shared += int(numpy.count_nonzero(found)) - owned
        self.former += owned - int(numpy.count_nonzero(
            found == self._entry.owner))


def of(entry, head, tally, state):
    """A dictionary: sizes in bytes, ``created`` in seconds;
    ``copies_before`` and ``policy_before`` are of the policy that was
    altered, until all is as wanted (0: none); ``parent`` is the nearest one
    that there is of those that it came from.

    :param entry: the catalogue's
    :param head: the inode's
    :param tally: of the inode's map
    :param state: the cluster's
    """
    copies, copy_policy = entry.newest_policy
    before = _before(entry, state.settled)
    return {
        'name': entry.name, 'tag': entry.tag, 'snap_id': entry.snap_id,
        'vdi_id': entry.vdi_id, 'size': head.vdi_size,
        'used': tally.owned * head.object_bytes,
        'shared': tally.shared * head.object_bytes,
        'created': inode.seconds_of(entry.created),
        'copies': copies, 'copy_policy': copy_policy,
        'copies_before': before.copies, 'policy_before': before.copy_policy,
        'objects_left': tally.former if entry.former else 0,
        'block_size_shift': entry.block_size_shift,
        'snapshot': entry.snapshot, 'clone': _is_clone(entry, state),
        'parent': _parent(entry, state),
        'snapped': inode.seconds_of(entry.snapped),
    }


def _is_clone(entry, state):
    """Of a snapshot of another VDI, and without one of its own."""
    parent = state.vdis.get(entry.parent)
    while parent is not None and parent.deleted and not parent.snapshot:
        # It was shrunk since.
        parent = state.vdis.get(parent.parent)
    return (not entry.snapshot and parent is not None
            and parent.name != entry.name)


def _parent(entry, state):
    parent = state.vdis.get(entry.parent)
    while parent is not None and parent.deleted:
        parent = state.vdis.get(parent.parent)
    return parent.vdi_id if parent is not None else 0


def _before(entry, settled):
    if entry.former:
        return entry.former[0]
    if entry.wanted:
        return entry
    for until, copies in entry.earlier:
        if until >= settled and copies != entry.copies:
            return redundancy.Policy(copies, 0)
    return redundancy.Policy(0, 0)
