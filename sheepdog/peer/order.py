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

"""Who orders the writes of an object.

A VDI that is locked exclusively is ordered by its owner, so that a volume's
writes go straight from its gateway to the replicas. Everything else is
ordered by the object's first target. Both are functions of the view and of
the replicated lock table alone, so all sheep agree; the lock's *serial* (the
sequence number of its last change) travels with every write and read, so
that nobody acts on an older answer.
"""

from sheepdog.cluster import entries
from sheepdog.model import ids
from sheepdog.placement import redundancy
from sheepdog.placement import ring as ring_module
from sheepdog.placement import slots

SERIAL_MASK = 0xFFFFFF


class Order:
    """Placement and order under the current view."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.ring = None

    def begin(self, view):
        """Take the ring of a new view."""
        self.ring = ring_module.Ring(view)

    def copies_at(self, oid, epoch):
        """As ``copies``, in an earlier epoch perhaps."""
        entry = self.cluster.state.vdis.get(ids.vdi_of(oid))
        if entry is not None:
            return entry.copies_at(oid, epoch)
        return self.copies(oid)

    def copies(self, oid):
        """How many sheep keep (a part of) an object: as its VDI has it,
        else as the cluster has it."""
        kept = self._kept(oid)
        if kept is None:
            return 1
        if kept.copy_policy and ids.is_whole(oid):
            return redundancy.whole_copies(kept.copies, kept.copy_policy)
        return kept.copies

    def _kept(self, oid):
        state = self.cluster.state
        entry = state.vdis.get(ids.vdi_of(oid))
        return state.settings if entry is None else entry.kept(oid)

    def code(self, oid):
        """(d, p) of an object that is kept in strips, else None."""
        if ids.is_whole(oid):
            return None
        kept = self._kept(oid)
        if kept is None or not kept.copy_policy:
            return None
        return redundancy.strips_of(kept.copy_policy)

    def copies_max(self):
        """No object has more copies than that."""
        state = self.cluster.state
        return max([policy.copies for entry in state.vdis.values()
                    for policy in entry.policies()]
                   + [state.settings.copies if state.settings else 1])

    def targets(self, oid, copies=0):
        """Indexes into the view's members; the first one is the primary."""
        return self.ring.targets(oid, copies or self.copies(oid))

    def strips(self, oid, targets):
        """The strip of each target of a coded object, in their order."""
        members = self.cluster.view.members
        return slots.strips_of([members[i].node for i in targets], oid,
                               sum(self.code(oid)))

    def serial(self, vdi_id):
        return self.cluster.state.fences.get(vdi_id, 0) & SERIAL_MASK

    def exclusive_owner(self, vdi_id):
        """The incarnation that has locked the VDI exclusively, or None."""
        lock = self.cluster.state.locks.get(vdi_id)
        if lock is None or lock.mode == entries.SHARED or not lock.owners:
            return None
        return lock.owners[0]

    def orderer(self, oid, copies=0):
        """The incarnation that orders this object, or None when no sheep
        stores anything."""
        owner = self.exclusive_owner(ids.vdi_of(oid))
        if owner is not None:
            return owner
        targets = self.targets(oid, copies)
        if not targets:
            return None
        return self.cluster.view.members[targets[0]].incarnation
