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

"""Who holds which of many objects. Pure.

With a thousand members and a quarter of a million objects on each, a change
of the view must not look at objects one by one: all of them at once, in
arrays of ids (uint64), take a tenth of a second.
"""

import numpy

FEW = 64
"""So many are cheaper one by one."""


def held(ring, oids, copies: int, index: int) -> numpy.ndarray:
    """Of which of the objects the member with that index is a target: an
    array of booleans."""
    if len(oids) <= FEW:
        return numpy.array([index in ring.targets(oid, copies)
                            for oid in oids.tolist()], dtype=bool)
    targets = ring.targets_many(oids, copies)
    return (targets == numpy.uint32(index)).any(axis=1)


class Shares:
    """The objects of a list, by member: ``of(index)`` are those of which
    that member is a target, in the order of the list."""

    def __init__(self, ring, oids, copies: int):
        oids = numpy.asarray(oids, dtype=numpy.uint64)
        targets = ring.targets_many(oids, copies)
        members = targets.ravel()
        # (Small numbers are sorted in one go each.)
        if len(ring.view.members) <= 1 << 16:
            members = members.astype(numpy.uint16)
        order = numpy.argsort(members, kind='stable')
        self._oids = numpy.repeat(oids, targets.shape[1])[order]
        self._bounds = numpy.searchsorted(
            members[order], numpy.arange(len(ring.view.members) + 1))

    def of(self, index: int) -> numpy.ndarray:
        return self._oids[self._bounds[index]:self._bounds[index + 1]]


def moved(before, after, oids, copies: int) -> numpy.ndarray:
    """How many of the objects' targets in the ring ``after`` were none in
    the ring ``before``, by the index of the member in ``after``."""
    names = {member.node: index
             for index, member in enumerate(after.view.members)}
    # (Whoever is gone is nobody's new target.)
    index_after = numpy.array(
        [names.get(member.node, len(names))
         for member in before.view.members], dtype=numpy.uint32)
    old = index_after[before.targets_many(oids, copies)]
    new = after.targets_many(oids, copies)
    is_new = (new[:, :, None] != old[:, None, :]).all(axis=2)
    return numpy.bincount(new[is_new], minlength=len(after.view.members))
