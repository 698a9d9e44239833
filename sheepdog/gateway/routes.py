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

"""Where an object's requests go, worked out once per view and lock change.
"""

import asyncio

from sheepdog.model import errors
from sheepdog.model import ids

ROUTES_MAX = 65536
RETRY_FIRST_SECONDS = 0.002
RETRY_MAX_SECONDS = 0.25
INODE_SHIFT = 24
ATTRIBUTE_SHIFT = 17


class Route:
    """``orderer`` is None when this sheep orders the object, else the link
    to who does (``ordered_by`` is its incarnation). ``links`` are the data
    links to the other targets, in order; ``is_local`` says whether this
    sheep is a target; ``copies`` are all targets in the order in which they
    are read: links, and None for this sheep. ``members`` are all targets'
    incarnations. ``aux`` is
    as on the wire: log2 of the capacity | lock serial << 8. ``lacks`` zones
    for all its copies, in a strict cluster: nothing may be written (0: it
    may, or the cluster is not strict). Of an object that is kept in strips,
    ``code`` is (d, p), and ``strips`` the links by index (None: this
    sheep), in the order in which they are read."""

    __slots__ = ('epoch', 'serial', 'vdi_id', 'orderer', 'is_local', 'links',
                 'copies', 'size', 'aux', 'members', 'ordered_by',
                 'flush_round', 'lacks', 'code', 'strips')

    def __init__(self, epoch, serial, vdi_id, orderer, is_local, links,
                 members, ordered_by, capacity_shift, lacks=0, copies=()):
        self.epoch = epoch
        self.serial = serial
        self.vdi_id = vdi_id
        self.orderer = orderer
        self.is_local = is_local
        self.links = links
        self.copies = copies
        self.size = len(links) + (1 if is_local else 0)
        self.members = members
        self.aux = capacity_shift | serial << 8
        self.ordered_by = ordered_by
        self.flush_round = -1
        self.lacks = lacks
        self.code = None
        self.strips = None

    def halted(self):
        """The error that says so."""
        return errors.Halted(
            'the cluster is strict, and its zones are enough for %d of %d '
            '%s only: writes are refused until more zones are there'
            % (self.size, self.size + self.lacks,
               'strips' if self.code else 'copies'))


class Routes:
    """The routes of the current view; also who waits for a better one."""

    def __init__(self, cluster, replica, links, order):
        self.cluster = cluster
        self.replica = replica
        self.links = links
        self.order = order
        self.known = {}
        self.slow = frozenset()
        """Incarnations that are read last."""
        self._changed = asyncio.Event()

    def find(self, oid, copies=0):
        """The route of an object now, or None while there is no view.

        ``copies`` overrides what the catalogue says, for an object whose
        VDI is not in it yet.
        """
        if not copies:
            route = self.known.get(oid)
            if route is not None:
                return route
        epoch = self.replica.epoch
        view = self.cluster.view
        if epoch < 0 or view is None:
            return None
        order = self.order
        targets = order.targets(oid, copies)
        if not targets:
            return None
        ours = self.cluster.incarnation
        ordered_by = order.orderer(oid, copies)
        owner = view.member(ordered_by)
        if owner is None:
            return None
        members = [view.members[i] for i in targets]
        vdi_id = ids.vdi_of(oid)
        links = [self.links.data(m) for m in members
                 if m.incarnation != ours]
        is_local = len(links) < len(members)
        route = Route(
            epoch, order.serial(vdi_id), vdi_id,
            None if ordered_by == ours else self.links.data(owner),
            is_local, links,
            tuple(m.incarnation for m in members), ordered_by,
            self._capacity_shift(oid), self._lacks(oid, copies, targets),
            self._reading_order(links, is_local))
        code = None if copies else order.code(oid)
        if code is not None:
            route.code = code
            route.strips = {
                index: None if member.incarnation == ours
                else self.links.data(member) for index, member
                in sorted(zip(order.strips(oid, targets), members),
                          key=self._place_of_strip)}
        if not copies:
            if len(self.known) >= ROUTES_MAX:
                self.known.clear()
            self.known[oid] = route
        return route

    def _reading_order(self, links, is_local):
        """The local copy first, then the others in order; those of slow
        sheep behind all others."""
        copies = [None, *links] if is_local else list(links)
        slow = self.slow
        if slow:
            ours = self.cluster.incarnation
            copies.sort(key=lambda link: (
                ours if link is None else link.meant) in slow)
        return copies

    def _place_of_strip(self, strip):
        """Data before parity, which is to be decoded; slow sheep last."""
        index, member = strip
        return member.incarnation in self.slow, index

    def _capacity_shift(self, oid):
        if oid & ids.VDI_BIT:
            return INODE_SHIFT
        if oid & ids.ATTRIBUTE_BIT:
            return ATTRIBUTE_SHIFT
        entry = self.cluster.state.vdis.get(ids.vdi_of(oid))
        if entry is not None:
            return entry.block_size_shift
        return self.cluster.state.settings.block_size_shift

    def _lacks(self, oid, copies, targets):
        settings = self.cluster.state.settings
        if settings is None or not settings.strict:
            return 0
        return (copies or self.order.copies(oid)) - len(targets)

    def is_current(self, route):
        """Nothing has changed since the route was worked out, and we may
        serve."""
        return (route.epoch == self.replica.epoch
                and self.cluster.serving()
                and route.serial == self.order.serial(route.vdi_id))

    def forget(self, oid):
        """Work its route out anew: what was known did not lead there."""
        self.known.pop(oid, None)

    def change(self):
        """The view or a lock has changed: forget all, wake who waits."""
        self.known.clear()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def pause(self, attempts):
        """Wait a moment (longer with each attempt), or until a change."""
        delay = min(RETRY_MAX_SECONDS,
                    RETRY_FIRST_SECONDS * (1 << min(attempts, 10)))
        try:
            # (wait_for of Python 3.11 may forget that it was cancelled.)
            async with asyncio.timeout(delay):
                await self._changed.wait()
        except TimeoutError:
            pass
