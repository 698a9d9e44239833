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

"""Which VDIs are taken over, with which objects and attributes. Pure."""

import base64
from typing import Iterator

import numpy

from sheepdog.cluster import entries as entries_module
from sheepdog.legacy import contents
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.placement import redundancy
from sheepdog.wire import attribute

_OUT = ('copy it out with the original (dog vdi read, or qemu-img), then '
        'leave it behind with --leave %s and write it anew')


class Vdi:
    """One that is taken over."""

    def __init__(self, head: inode.InodeHead, runs: tuple):
        self.head = head
        self.runs = runs

    @property
    def name(self) -> str:
        if self.head.is_snapshot:
            return 'snapshot %s of VDI %s' % (
                self.head.tag or self.head.snap_id, self.head.name)
        return 'VDI %s' % self.head.name

    def entry(self, parent: int) -> entries_module.VdiEntry:
        head = self.head
        return entries_module.VdiEntry(
            head.vdi_id, head.name, head.tag if head.is_snapshot else '',
            head.snap_id if head.is_snapshot else 0,
            parent, head.create_time, head.nr_copies,
            block_size_shift=head.block_size_shift,
            snapshot=head.is_snapshot, snapped=head.snap_ctime)


class Vdis:
    """``taken``: VDI id → ``Vdi``; ``attributes`` as a plan has them.

    :param leave: names of VDIs that stay behind
    :param problems: sentences are added
    :param notes: likewise
    """

    def __init__(self, scans: list, leave: set, problems: list, notes: list):
        self._scans = scans
        self._leave = leave
        self._problems = problems
        self._notes = notes
        self.taken: dict = {}
        self._left: set = set()
        self._parents: dict = {}

    def take(self):
        found: dict = {}
        for scan in self._scans:
            for vdi_id, one in scan.inodes.items():
                other, where = found.setdefault(vdi_id, (one, scan))
                if other.digest != one.digest:
                    self._problems.append(
                        'the copies of the inode of VDI %06x on %s and %s '
                        'differ: start the original, repair it with "dog vdi '
                        'check", and shut down'
                        % (vdi_id, where.name, scan.name))
        for vdi_id, (one, _scan) in sorted(found.items()):
            head = inode.InodeHead.unpack(bytes.fromhex(one.head))
            vdi = Vdi(head, one.runs)
            self._parents[vdi_id] = head.parent_vdi_id
            if head.name in self._leave:
                self._left.add(vdi_id)
            elif not head.name:
                self._left.add(vdi_id)
                self._notes.append(
                    'VDI %06x has no name, as if deleted: it is left behind'
                    % vdi_id)
            else:
                self._check_vdi(vdi)
                self.taken[vdi_id] = vdi
        self._check_names()
        for name in sorted(self._leave - {
                inode.InodeHead.unpack(bytes.fromhex(one.head)).name
                for one, _scan in found.values()}):
            self._problems.append('there is no VDI %s to leave behind' % name)
        for scan in self._scans:
            for vdi_id, count in sorted(scan.strips.items()):
                if vdi_id in self.taken and not (
                        self.taken[vdi_id].head.copy_policy):
                    self._problems.append(
                        '%s has %d strips of %s, which is not erasure coded'
                        % (scan.name, count, self.taken[vdi_id].name))

    def _check_vdi(self, vdi):
        head = vdi.head
        out = _OUT % head.name
        if head.copy_policy:
            self._problems.append(
                '%s is erasure coded (%s), by a code that is not known here: '
                '%s' % (vdi.name, redundancy.text_of(
                    head.nr_copies, head.copy_policy), out))
        elif head.store_policy:
            self._problems.append(
                '%s is a hypervolume, which this version does not have: %s'
                % (vdi.name, out))
        elif not 1 <= head.nr_copies <= limits.COPIES_MAX:
            self._problems.append('%s has %d copies, says its inode: %s'
                                  % (vdi.name, head.nr_copies, out))
        elif not 0 < head.vdi_size <= (limits.VDI_OBJECTS_MAX
                                       << head.block_size_shift):
            self._problems.append('%s has %d bytes, says its inode: %s'
                                  % (vdi.name, head.vdi_size, out))

    def _check_names(self):
        seen: dict = {}
        for vdi in self.taken.values():
            head = vdi.head
            keys = [(head.name,)]
            if head.is_snapshot:
                keys = [(head.name, 'id', head.snap_id)]
                if head.tag:
                    keys.append((head.name, 'tag', head.tag))
            for key in keys:
                other = seen.setdefault(key, vdi)
                if other is not vdi:
                    self._problems.append(
                        'VDIs %06x and %06x are both %s: rename or delete '
                        'one with the original' % (
                            other.head.vdi_id, head.vdi_id, vdi.name))

    def check_maps(self):
        for vdi in self.taken.values():
            for owner in sorted({owner for _, _, owner in vdi.runs}):
                base = self.taken.get(owner)
                if base is None:
                    self._problems.append(
                        '%s has objects of VDI %06x, which %s: make it whole '
                        'with the original ("dog vdi clone" of a snapshot of '
                        'it, with -n), or leave it behind with --leave %s' % (
                            vdi.name, owner,
                            'is left behind' if owner in self._left
                            else 'is not there', vdi.head.name))
                elif (base.head.block_size_shift
                      != vdi.head.block_size_shift):
                    self._problems.append(
                        '%s has objects of %s, which are of another size'
                        % (vdi.name, base.name))
                elif base is not vdi and owner not in self.ancestors(
                        vdi.head.vdi_id):
                    # Nobody would know that they are needed.
                    self._problems.append(
                        '%s has objects of %s, but does not come from it: '
                        'make it whole with the original, or leave it behind '
                        'with --leave %s' % (vdi.name, base.name,
                                             vdi.head.name))

    def ancestors(self, vdi_id: int) -> Iterator[int]:
        """Of those that are taken over, the nearest first."""
        seen = {vdi_id}
        parent = self._parents.get(vdi_id, 0)
        while parent and parent not in seen:
            seen.add(parent)
            if parent in self.taken:
                yield parent
            parent = self._parents.get(parent, 0)

    def entries(self) -> tuple:
        """As the replicated state has them."""
        return tuple(self.taken[vdi_id].entry(next(self.ancestors(vdi_id), 0))
                     for vdi_id in sorted(self.taken))

    def wanted(self) -> dict:
        """VDI id → ids of all its objects that are taken over, sorted,
        but for attributes."""
        parts: dict = {vdi_id: [numpy.array([ids.vdi_oid(vdi_id)],
                                            numpy.uint64)]
                       for vdi_id in self.taken}
        for vdi in self.taken.values():
            for first, count, owner in vdi.runs:
                parts[owner].append(
                    numpy.uint64(ids.data_oid(owner, first))
                    + numpy.arange(count, dtype=numpy.uint64))
        for scan in self._scans:
            for oid in contents.members(
                    run for run in scan.runs if run[0] & ids.VMSTATE_BIT):
                if ids.vdi_of(oid) in parts:
                    parts[ids.vdi_of(oid)].append(
                        numpy.array([oid], numpy.uint64))
        return {vdi_id: numpy.unique(numpy.concatenate(found))
                for vdi_id, found in parts.items()}

    def attributes(self) -> tuple:
        """They belong to a name there, too."""
        found: dict = {}
        for scan in self._scans:
            for oid, content in scan.attributes.items():
                if found.setdefault(oid, content) != content:
                    self._problems.append(
                        'the copies of attribute %016x differ: set it anew '
                        'with the original ("dog vdi setattr")' % oid)
        names = {vdi.head.name for vdi in self.taken.values()
                 if not vdi.head.is_snapshot}
        taken: dict = {}
        dropped = 0
        for _oid, content in sorted(found.items()):
            one = attribute.unpack(base64.b64decode(content))
            key = one.name, one.key.encode().hex()
            if one.tag or one.snap_id or one.name not in names:
                dropped += 1
            elif key in taken:
                self._problems.append('VDI %s has two attributes %s'
                                      % (one.name, one.key))
            else:
                taken[key] = base64.b64encode(one.value).decode()
        if dropped:
            self._notes.append(
                '%d attributes of snapshots, which have none here, or of '
                'VDIs that are not taken over are left behind' % dropped)
        return tuple((*key, value) for key, value in sorted(taken.items()))


def none() -> numpy.ndarray:
    return numpy.empty(0, numpy.uint64)


def held(scan) -> numpy.ndarray:
    """Ids of all that a store has, sorted."""
    return numpy.concatenate([
        numpy.uint64(first) + numpy.arange(count, dtype=numpy.uint64)
        for first, count in scan.runs] or [none()])
