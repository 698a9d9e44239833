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

"""Is there room here for what recovery would bring?

In a cluster that avoids full disks (format's option -F) copies that a sheep
has not, and that would not all fit, are not fetched: half of them would help
nobody, and leave no room for writes. What is here already is made whole
nevertheless, and so is what clients write to, as long as the reserve lasts.
Who reads is sent on to another copy, if one is whole.
Strips are as copies in that; those who have room settle them without us.
"""

from typing import Optional

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.model import sizes
from sheepdog.peer import answers
from sheepdog.wire import peer as wire
from sheepdog.wire import strips as strips_wire

PROBES = 16
"""Objects whose size is asked for; the others are taken for as large."""

CALL_SECONDS = 10.0
ELSEWHERE_SECONDS = 10.0
"""So long another copy is taken for whole that was found to be."""

FILE_BYTES = 2 * limits.BLOCK_BYTES
"""What an object's file takes beside its blocks."""


class Room:
    """``short``: (since when, in seconds since 1970, and text) new copies
    are held back for want of room; or None."""

    def __init__(self, world, cluster, store, links, holders, mover):
        """:param holders: called with (view, object's id): the members that
            are its targets then
        :param mover: a ``mover.Mover``: knows strips
        """
        self.short: Optional[tuple] = None
        self._held = frozenset()
        self._elsewhere = {}
        self._known = None
        self._world = world
        self._cluster = cluster
        self._store = store
        self._links = links
        self._holders = holders
        self._mover = mover
        self._order = mover.order
        self._looked_at = None
        self._mean = 0.0

    async def hold_back(self, view, wanted: dict, doubtful: list) -> int:
        """Take what would not fit out of the objects (keys) that are
        wanted here; how many these are. A copy that is doubtful was whole
        here, and stays. (A strip is doubtful whenever others settle it.)"""
        new = await self._new(wanted, doubtful)
        needed = 0
        if new:
            needed = int(await self._mean_bytes(view, new) * len(new))
        self._known = view
        room = max(self._store.room(), 0)
        if needed <= room:
            self.forget()
            return 0
        since = self.short[0] if self.short else self._world.clock.time()
        self.short = since, (
            '%d objects (about %s) are to come here, and there is room for '
            '%s' % (len(new), sizes.show_size(needed),
                    sizes.show_size(room)))
        self._held = frozenset(new)
        for oid in new:
            del wanted[oid]
        return len(new)

    @property
    def may_be_short(self) -> bool:
        """Is a new strip held back that another sheep would have us make?
        (Also as long as nobody has looked, in this view.)"""
        return self.short is not None or (
            self._known is not self._cluster.view
            and self._cluster.state.settings.avoid_full)

    def forget(self) -> None:
        """Nothing is held back any more."""
        self.short = None
        self._held = frozenset()
        self._elsewhere.clear()

    def spares(self, oid: int) -> bool:
        """It is held back, and another copy was found to be whole."""
        return oid in self._held and self._elsewhere.get(
            oid, (None, 0))[0] is self._cluster.view and (
            self._elsewhere[oid][1] > self._world.clock.monotonic())

    async def is_elsewhere(self, oid: int) -> bool:
        """It is held back, and another copy is whole: who reads need not
        have ours. (A strip that is held back is settled without.)"""
        if oid not in self._held or self._order.code(oid) is not None:
            return False
        view = self._cluster.view
        if not self.spares(oid) and await self._mover.is_whole_elsewhere(oid):
            self._elsewhere[oid] = (
                view, self._world.clock.monotonic() + ELSEWHERE_SECONDS)
        return self.spares(oid)

    async def _new(self, wanted: dict, doubtful: list) -> list:
        """Those that would take room; [] if all of them fit, whatever is in
        them."""
        if not self._cluster.state.settings.avoid_full:
            return []
        here = set(doubtful)
        coded = [oid for oid in wanted if self._order.code(oid) is not None]
        new = [oid for oid in wanted if self._order.code(oid) is None
               and oid not in here and self._store.version(oid) is None]
        if sum(map(self._capacity, new + coded)) <= self._store.room():
            return []
        # (What is here of a strip may only say that it is not.)
        builder = self._mover.settlement.builder
        return new + [oid for oid in coded if self._mover.key(oid) is not None
                      and await builder.is_new(oid)]

    def _capacity(self, oid: int) -> int:
        """The most that its file can take."""
        entry = self._cluster.state.vdis.get(ids.vdi_of(oid))
        shift = entry.block_size_shift if entry is not None \
            else self._cluster.state.settings.block_size_shift
        data, _ = self._order.code(oid) or (1, 0)
        return ids.capacity_of(oid, shift) // data + FILE_BYTES

    async def _mean_bytes(self, view, oids: list) -> float:
        """Of some of them, once per view: as the first of those that may
        have it says who has."""
        if self._looked_at is not view:
            probes = oids[::-(-len(oids) // PROBES)]
            found = [size for oid in probes
                     for size in [await self._bytes(view, oid)] if size]
            if not found:
                return 0.0
            self._mean = sum(found) / len(found)
            self._looked_at = view
        return self._mean

    async def _bytes(self, view, oid: int) -> int:
        """What it takes elsewhere; 0: nobody says."""
        if self._order.code(oid) is not None:
            return await self._strip_bytes(view, oid)
        for member in self._sources(view, oid):
            try:
                _, _, table = await self._links.data(member).call(
                    wire.TABLE, epoch=view.epoch, oid=oid,
                    timeout=CALL_SECONDS)
                answers.check_table(table, self._capacity(oid) - FILE_BYTES)
            except errors.SheepdogError:
                continue
            blocks = numpy.count_nonzero(numpy.frombuffer(table, '<u4'))
            return int(blocks) * limits.BLOCK_BYTES + FILE_BYTES
        return 0

    async def _strip_bytes(self, view, oid: int) -> int:
        if self._cluster.view is not view:
            # The places are those of another one, and the pass is over.
            return 0
        places = self._order.targets(oid)
        for place, index in zip(places, self._order.strips(oid, places)):
            member = view.members[place]
            if member.incarnation == self._cluster.incarnation:
                continue
            try:
                _, _, payload = await self._links.data(member).call(
                    wire.STRIP_EXTENTS, epoch=view.epoch, oid=oid,
                    flags=strips_wire.flags_of(index, 0),
                    timeout=CALL_SECONDS)
                return FILE_BYTES + sum(size for _, size in
                                        answers.unpack_extents(payload))
            except errors.SheepdogError:
                continue
        return 0

    def _sources(self, view, oid: int) -> list:
        """Members that hold it, or did in the view before."""
        found = {}
        for then in [view] + [one for one in self._cluster.views[-2:-1]]:
            for member in self._holders(then, oid):
                here = view.node(member.node)
                if here is not None and (here.incarnation
                                         != self._cluster.incarnation):
                    found[here.node] = here
        return list(found.values())
