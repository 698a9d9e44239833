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

"""Which objects must be made whole here after a change of the view.

What a sheep must hold is computed for many objects at once (arrays of ids):
with a thousand members and a quarter of a million objects on each it takes
half a second, in steps between which clients are served.
"""

import asyncio

import numpy

from sheepdog.model import ids
from sheepdog.placement import moves
from sheepdog.recovery import listing

BATCH = 1 << 15
"""Objects looked at in one go: some milliseconds."""


class Wanted:
    """
    :param standing: ``standing.Standing`` of our copies
    :param ring: called with a view, its ring
    :param is_target: called with a view and the id of a coded object, for
        which it takes more in views of before
    """

    def __init__(self, cluster, store, links, order, standing, ring,
                 is_target):
        self._cluster = cluster
        self._store = store
        self._links = links
        self._order = order
        self._standing = standing
        self._ring = ring
        self._is_target = is_target

    def are_targets(self, view, oids) -> numpy.ndarray:
        """Of which of many objects this sheep is a target in that view: an
        array of booleans."""
        oids = numpy.asarray(oids, dtype=numpy.uint64)
        found = numpy.zeros(len(oids), dtype=bool)
        ours = self._cluster.incarnation
        for index, member in enumerate(view.members):
            if member.incarnation == ours:
                break
        else:
            return found
        ring = self._ring(view)
        copies = self._by_vdi(
            oids, lambda oid: self._order.copies_at(oid, view.epoch))
        for count in numpy.unique(copies).tolist():
            chosen = copies == count
            found[chosen] = moves.held(ring, oids[chosen], count, index)
        if view is not self._cluster.view:
            for place in numpy.flatnonzero(
                    found & (self._by_vdi(oids, self._is_coded) != 0)):
                found[place] = self._is_target(view, int(oids[place]))
        return found

    def _is_coded(self, oid):
        return self._order.code(oid) is not None

    def _by_vdi(self, oids, function) -> numpy.ndarray:
        """What a function that looks at an id's VDI only says of each."""
        vdis, which = numpy.unique(oids >> numpy.uint64(32),
                                   return_inverse=True)
        return numpy.array([function(vdi << 32) for vdi in vdis.tolist()],
                           dtype=int)[which]

    async def find(self, view, is_over):
        """Ids, sorted, of objects that we must hold and whose copies here
        are not clean, or not here; None when ``is_over()``.

        :raises SheepdogError: a member does not say what it has
        """
        lists = await listing.others(
            self._cluster, self._links, view, needs_all=True,
            copies=self._order.copies_max(),
            is_now=self._standing.has_lost)
        found = []
        for batch in batches(ids.objects_of(self._store.oids()), lists):
            await asyncio.sleep(0)
            if is_over():
                return None
            found += self.select(view, batch)
        return found

    def select(self, view, oids) -> list:
        """Those of a batch."""
        oids = oids[self.are_targets(view, oids)]
        return self._standing.unclean(oids[~self._are_gone(oids)])

    def _are_gone(self, oids) -> numpy.ndarray:
        """Of which of many nobody needs any."""
        found = numpy.zeros(len(oids), dtype=bool)
        owners, which = numpy.unique(oids >> numpy.uint64(32),
                                     return_inverse=True)
        for number, owner in enumerate(owners.tolist()):
            below, left = self._cluster.state.gone_below(owner << 32)
            if below:
                of_it = which == number
                index = oids[of_it] & numpy.uint64(ids.INDEX_MASK)
                found[of_it] = (index < below) & ~numpy.isin(
                    index, numpy.array(left, dtype=numpy.uint64))
        return found


def batches(ours, lists):
    """All ids that are in any of the lists, each once and in order."""
    oids = numpy.unique(numpy.concatenate(
        [numpy.array(ours, dtype=numpy.uint64), *lists]))
    # (At least one: others get their turn of the loop.)
    for start in range(0, max(len(oids), 1), BATCH):
        yield oids[start:start + BATCH]
