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

"""From what all stores of a cluster hold to what each of them becomes. Pure.

Nothing is guessed: whatever does not fit is a problem with a sentence of its
own, all of them are told at once, and there is no plan then.
"""

import dataclasses
import hashlib
from typing import Iterable, Iterator

import numpy

from sheepdog.cluster import incarnations
from sheepdog.cluster import roster
from sheepdog.legacy import contents
from sheepdog.legacy import formats
from sheepdog.legacy import plan as plan_module
from sheepdog.legacy import vdis as vdis_module
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.model import view as view_model
from sheepdog.placement import redundancy
from sheepdog.placement import ring as ring_module

SHOWN_MAX = 5
"""Objects that one problem names."""


class Planner:
    """:param scans: of all nodes that kept objects at the end
    :param leave: names of VDIs that stay behind"""

    def __init__(self, scans: Iterable[contents.Scan],
                 leave: Iterable[str] = ()):
        self._scans = list(scans)
        self._problems: list = []
        self._notes: list = []
        self._vdis = vdis_module.Vdis(self._scans, set(leave),
                                      self._problems, self._notes)

    def make(self) -> plan_module.Plan:
        """:raises Refused: with all that is in the way"""
        if not self._scans:
            raise formats.Refused('no store was named', 64)
        self._check_cluster()
        self._stop_at_problems()
        last = max(epoch.number for scan in self._scans
                   for epoch in scan.epochs)
        view = self._last_view(last)
        self._stop_at_problems()
        self._vdis.take()
        self._vdis.check_maps()
        self._stop_at_problems()
        places = self._places(view)
        self._stop_at_problems()
        wanted, attributes = self._vdis.wanted(), self._vdis.attributes()
        self._check_objects(view, places, wanted)
        self._stop_at_problems()
        # The original's number is what was free when the node was started.
        view = dataclasses.replace(view, members=tuple(
            dataclasses.replace(member, space=places[index].capacity)
            for index, member in enumerate(view.members)))
        self._tell(wanted)
        stores = tuple(self._stores(view, places, wanted))
        plan = plan_module.Plan(
            self._settings(view), (*self._earlier(last), view),
            self._vdis.entries(), attributes, stores, tuple(self._notes))
        try:
            state = plan.state()
        except errors.SheepdogError as error:
            raise formats.Refused('these VDIs do not fit each other: %s'
                                  % error) from None
        if state.attributes.bytes > limits.ATTRIBUTES_MAX_BYTES:
            raise formats.Refused(
                'the attributes of all VDIs have %d bytes, which is more '
                'than %d: delete some with the original' % (
                    state.attributes.bytes, limits.ATTRIBUTES_MAX_BYTES))
        return plan

    def _stop_at_problems(self):
        if self._problems:
            raise formats.Refused('\n'.join(self._problems))

    # -- the cluster ----------------------------------------------------

    def _check_cluster(self):
        first = self._scans[0]
        for scan in self._scans[1:]:
            if scan.config.created != first.config.created:
                self._problems.append(
                    '%s is of another cluster than %s (created %s, %s): plan '
                    'each by itself' % (
                        scan.name, first.name, _when(scan), _when(first)))
            elif scan.config._replace(space=0, flags=0) != (
                    first.config._replace(space=0, flags=0)) or (
                        scan.config.flags != first.config.flags):
                self._problems.append(
                    '%s and %s have different settings of the cluster: start '
                    'the original once more and shut it down in order'
                    % (scan.name, first.name))
        seen: dict = {}
        for scan in self._scans:
            other = seen.setdefault(scan.fingerprint, scan)
            if other is not scan:
                self._problems.append('%s and %s are the same store: name it '
                                      'once' % (other.name, scan.name))

    def _last_view(self, last: int) -> view_model.View:
        found = None
        for scan in list(self._scans):
            epoch = scan.epochs[-1]
            if epoch.number != last:
                self._problems.append(
                    '%s knows of epoch %d only, the last one is %d: it was '
                    'not there at the end, and what it has is old. Leave it '
                    'out; start its sheep with an empty directory when the '
                    'others are there'
                    % (scan.name, epoch.number, last))
            elif found is not None and epoch != found:
                self._problems.append('%s says otherwise who was there in '
                                      'epoch %d than others do'
                                      % (scan.name, last))
            else:
                found = epoch
        return self._view(found)

    def _view(self, epoch: formats.Epoch) -> view_model.View:
        members = []
        for node in epoch.nodes:
            if node.vnodes:
                name = _node_id(self._scans[0].config.created, node)
                members.append(view_model.Member(
                    name, incarnations.name(name, epoch.time * 10 ** 9),
                    node.host, node.port, node.zone, node.vnodes, node.space,
                    node.data_host, node.data_port))
        members.sort(key=lambda one: (
            roster.address_key(one.host), one.port))
        return view_model.View(epoch.number, 0, float(epoch.time),
                               tuple(members))

    def _earlier(self, last: int) -> list:
        found: dict = {}
        for scan in self._scans:
            for epoch in scan.epochs:
                if epoch.number < last:
                    found.setdefault(epoch.number, epoch)
        return [self._view(found[number]) for number in sorted(found)]

    def _settings(self, view) -> view_model.ClusterSettings:
        config = self._scans[0].config
        policy = redundancy.checked(config.copies, config.copy_policy)
        fixed = not config.flags & formats.AUTO_VNODES
        if config.flags & formats.RECYCLE:
            self._notes.append('ids of deleted VDIs will not be used again')
        vnodes = sum(member.vnodes for member in view.members)
        space = sum(member.space for member in view.members)
        if fixed:
            self._notes.append(
                'the numbers of vnodes are fixed: start each sheep with the '
                'one that it had (%s)' % ', '.join(
                    '%s:%d: -V %d' % (*member.address, member.vnodes)
                    for member in view.members))
        return view_model.ClusterSettings(
            config.created, 'plain', policy.copies, policy.copy_policy,
            config.block_size_shift,
            strict=bool(config.flags & formats.STRICT), fixed_vnodes=fixed,
            avoid_full=bool(config.flags & formats.AVOID_FULL),
            # What 128 vnodes stand for, so that who comes weighs as they do.
            reference_space=space * limits.VNODES_DEFAULT // max(vnodes, 1))

    # -- which store is whose -------------------------------------------

    def _places(self, view) -> dict:
        """Index of a member → its scan. No store says whose it is; what
        lies there does."""
        members = view.members
        if len(self._scans) > len(members):
            self._problems.append(
                'there are %d stores, but %d nodes kept objects in epoch %d'
                % (len(self._scans), len(members), view.epoch))
            return {}
        ring = ring_module.Ring(view)
        open_ = {number: self._candidates(scan, view, ring)
                 for number, scan in enumerate(self._scans)}
        for number, found in open_.items():
            if not found:
                self._problems.append(self._nobodys(self._scans[number], view))
        if self._problems:
            return {}
        places: dict = {}
        while open_:
            number = min(open_, key=lambda one: len(open_[one]))
            found = open_.pop(number)
            if len(found) != 1:
                self._problems.append(
                    '%s may be that of %s: say whose it is when you scan it '
                    '(dog upgrade scan --node HOST:PORT)' % (
                        self._scans[number].name, ', '.join(
                            '%s:%d' % members[index].address
                            for index in sorted(found)) or 'nobody'))
                continue
            index, = found
            places[index] = self._scans[number]
            for others in open_.values():
                others.discard(index)
        missing = [member for index, member in enumerate(members)
                   if index not in places]
        if missing and not self._problems:
            self._problems.append(
                'the stores of %s are missing: each node that kept objects '
                'in epoch %d is needed' % (', '.join(
                    '%s:%d' % member.address for member in missing),
                    view.epoch))
        return places

    def _candidates(self, scan, view, ring) -> set:
        members = view.members
        if scan.node:
            return {index for index, member in enumerate(members)
                    if '%s:%d' % member.address == scan.node}
        found = set(range(len(members)))
        held = vdis_module.held(scan)
        for vdi_id, vdi in self._vdis.taken.items():
            oids = held[(held >> numpy.uint64(32) & numpy.uint64(
                ids.VDI_ID_MASK) == vdi_id)
                & (held & numpy.uint64(ids.ATTRIBUTE_BIT) == 0)]
            targets = ring.targets_many(oids, vdi.head.nr_copies)
            found = {index for index in found
                     if bool((targets == index).any(axis=1).all())}
        if len(found) > 1:
            by_space = {index for index in found
                        if members[index].space == scan.config.space}
            found = by_space if len(by_space) == 1 else found
        return found

    @staticmethod
    def _nobodys(scan, view) -> str:
        if scan.node:
            return ('%s is none of the nodes that kept objects in epoch %d: '
                    '%s' % (scan.node, view.epoch, ', '.join(
                        '%s:%d' % member.address for member in view.members)))
        return ('%s has objects in places that no node of epoch %d has: '
                'start the original, let its recovery end, and shut down'
                % (scan.name, view.epoch))

    # -- objects --------------------------------------------------------

    def _check_objects(self, view, places, wanted):
        ring = ring_module.Ring(view)
        held = {index: vdis_module.held(scan)
                for index, scan in places.items()}
        for vdi_id, oids in wanted.items():
            vdi = self._vdis.taken[vdi_id]
            targets = ring.targets_many(oids, vdi.head.nr_copies)
            at_home = numpy.zeros(len(oids), bool)
            anywhere = numpy.zeros(len(oids), bool)
            for index, there in held.items():
                has = numpy.isin(oids, there)
                anywhere |= has
                at_home |= has & (targets == index).any(axis=1)
            self._complain(vdi, oids[~anywhere], 'is in none of these stores')
            self._complain(vdi, oids[anywhere & ~at_home],
                           'is in none of its places, as if a recovery had '
                           'not ended')
            shift = vdi.head.block_size_shift
            for scan in self._scans:
                here = numpy.intersect1d(oids, vdis_module.held(scan))
                self._complain(vdi, [
                    oid for oid in here.tolist() if not ids.is_whole(oid)
                    and scan.sizes.get(
                        oid, 1 << scan.config.block_size_shift) != 1 << shift
                ], 'has another length than its VDI says, on %s' % scan.name)

    def _complain(self, vdi, oids, what):
        if len(oids):
            self._problems.append(
                'object %s of %s %s: start the original, let its recovery '
                'end, look with "dog vdi check", and shut down' % (
                    ', '.join('%016x' % oid for oid in oids[:SHOWN_MAX])
                    + (' (and %d more)' % (len(oids) - SHOWN_MAX)
                       if len(oids) > SHOWN_MAX else ''), vdi.name, what))

    def _stores(self, view, places,
                wanted) -> Iterator[plan_module.Store]:
        for index, scan in sorted(places.items()):
            member = view.members[index]
            held = vdis_module.held(scan)
            taken = [numpy.intersect1d(oids, held)
                     for oids in wanted.values()]
            yield plan_module.Store(
                member.node, '%s:%d' % member.address, scan.meta,
                scan.fingerprint, contents.runs_of(
                    numpy.sort(numpy.concatenate(
                        [*taken, vdis_module.none()])).tolist()))

    def _tell(self, wanted):
        all_ = numpy.concatenate([*wanted.values(), vdis_module.none()])
        stray = sum(len(numpy.setdiff1d(vdis_module.held(scan), all_))
                    - len(scan.attributes) for scan in self._scans)
        stale = sum(scan.stale for scan in self._scans)
        strips = sum(sum(scan.strips.values()) for scan in self._scans)
        for count, what in (
                (stray, 'files of objects that no VDI has'),
                (strips, 'strips of VDIs that are left behind'),
                (stale, 'copies that were replaced (.stale)'),
                (sum(scan.ledgers for scan in self._scans),
                 'ledgers, which are not needed here'),
                (sum(scan.strangers for scan in self._scans),
                 'files that are no objects')):
            if count:
                self._notes.append('%d %s are left behind' % (count, what))


def _node_id(created: int, node: formats.Node) -> str:
    """The same on all hosts."""
    return hashlib.blake2b(
        ('%d %s' % (created, node.address)).encode(),
        digest_size=8).hexdigest()


def _when(scan) -> str:
    created = scan.config.created
    return '%d.%09d' % (created >> 32, created & 0xFFFFFFFF)
