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

"""The hash ring: which members hold an object.

Each member stands on the ring of 64-bit hashes as many times as it has
vnodes. An object's first place is the first vnode at or after its hash; the
others are found going on from there, skipping zones that are taken. Hashes
are those of the placement facts, so that objects land where the original
put them.

Two steps make it fast. The ring itself (sorted hashes, and whose each is)
is built by numpy for all members at once. Then, once per number of copies,
the answer for *every* vnode is tabulated in one walk backwards, so that a
lookup is one hash and one bisection, however skewed zones and weights are.
(6,144 members with 128 vnodes each: 0.13 s for the ring, 0.27 s for a table.)

Balance: with 128 vnodes and 3 copies the members' shares of all copies, over
their shares of all vnodes, have a standard deviation of 5 % (what random
places give: 1/sqrt(128 x 3)); of a hundred members the worst is off by 10 to
16 %.
"""

import array
import bisect
import ipaddress

import numpy

from sheepdog.model import errors
from sheepdog.model import ids

FEW = 64
"""Members whose vnodes are reckoned one by one: a call of numpy costs as
much as some dozen hashes."""

CACHE_MAX = 1 << 16
"""Looked-up objects kept per number of copies; then it starts anew."""

_PRIME = numpy.uint64(ids.FNV_PRIME)
_BYTE = numpy.uint64(0xFF)
_SHIFTS = tuple(numpy.uint64(shift) for shift in range(0, 64, 8))


def _feed(state, values):
    """FNV-1a over the eight bytes of each value, lowest first (uint64s)."""
    for shift in _SHIFTS:
        state = (state ^ ((values >> shift) & _BYTE)) * _PRIME
    return state


def address_bytes(host: str) -> bytes:
    """The sixteen bytes of an address in text; IPv4 in the last four.

    :raises InvalidParameters: it is neither IPv4 nor IPv6
    """
    try:
        return ipaddress.ip_address(host).packed.rjust(16, b'\0')
    except ValueError:
        raise errors.InvalidParameters(
            '%r is not an IP address' % host) from None


def object_hash(oid: int) -> int:
    """Where an object stands on the ring."""
    return ids.next_hash(ids.fnv1a(oid.to_bytes(8, 'little')))


def object_hashes(oids) -> numpy.ndarray:
    """``object_hash`` of many ids at once (uint64s in and out)."""
    oids = numpy.asarray(oids, dtype=numpy.uint64)
    state = _feed(numpy.full(oids.shape, ids.FNV_BASIS, numpy.uint64), oids)
    return _feed(state, state)


class Ring:
    """The ring of one view. Immutable but for its caches.

    Members are named by their index in ``view.members``. Where two vnodes
    have one hash, the member with the lower address (then port) stands
    first, whatever the order of the list.
    """

    def __init__(self, view):
        self.view = view
        members = view.members
        standing = [(address_bytes(member.host), member.port, index)
                    for index, member in enumerate(members)
                    if member.vnodes > 0]
        standing.sort()
        self._zones = [member.zone for member in members]
        self.zone_count = len({self._zones[index]
                               for _, _, index in standing})
        hashes, owners = _vnodes(
            [address + port.to_bytes(2, 'little')
             for address, port, _ in standing],
            [members[index].vnodes for _, _, index in standing],
            [index for _, _, index in standing])
        self._hashes = hashes
        self._owners = owners
        self._sorted = array.array('Q', hashes.tobytes())
        self._tables = {}
        self._found = {}
        self._tuples = {}

    def __len__(self):
        """The number of vnodes on the ring."""
        return len(self._sorted)

    def targets(self, oid: int, copies: int) -> tuple:
        """Who holds an object: indexes of members, the first is primary.

        As many as ``copies`` says, or as there are zones with storage.
        """
        try:
            return self._found[copies][oid]
        except KeyError:
            return self._look_up(oid, copies)

    def targets_many(self, oids, copies: int) -> numpy.ndarray:
        """``targets`` of many objects: an array of (objects, copies)."""
        table = self._table(copies)
        if not len(table):
            return numpy.empty((len(oids), 0), numpy.uint32)
        position = numpy.searchsorted(self._hashes, object_hashes(oids))
        position[position == len(table)] = 0
        return table[position]

    def _look_up(self, oid, copies):
        table = self._table(copies)
        if not len(table):
            return ()
        position = bisect.bisect_left(self._sorted, object_hash(oid))
        if position == len(table):
            position = 0
        targets = tuple(table[position].tolist())
        # One tuple for equal answers: there are far fewer of them.
        targets = self._tuples.setdefault(targets, targets)
        found = self._found[copies]
        if len(found) >= CACHE_MAX:
            found.clear()
        found[oid] = targets
        return targets

    def _table(self, copies):
        """Who holds the objects that begin at each vnode."""
        table = self._tables.get(copies)
        if table is None:
            assert copies > 0
            table = self._tables[copies] = self._tabulate(copies)
            self._found[copies] = {}
        return table

    def _tabulate(self, copies):
        # The answer at a vnode is its owner, followed by the answer of the
        # next vnode less whoever is of the owner's zone (or less its last):
        # "move to front". So one walk against the ring's direction gives
        # all of them, beginning with the answer at the ring's start, which
        # is also the one behind its end.
        zones = self._zones
        owners = self._owners.tolist()
        count = min(copies, self.zone_count)
        first, taken = [], set()
        for owner in owners:
            if len(first) == count:
                break
            if zones[owner] not in taken:
                taken.add(zones[owner])
                first.append(owner)
        answer = tuple(first)
        rows = array.array('I')
        for owner in reversed(owners):
            if answer[0] != owner:
                zone = zones[owner]
                slot = 0
                for slot in range(count):
                    if zones[answer[slot]] == zone:
                        break
                answer = (owner,) + answer[:slot] + answer[slot + 1:]
            rows.extend(answer)
        table = numpy.array(rows, dtype=numpy.uint32)
        return numpy.ascontiguousarray(
            table.reshape(len(owners), count)[::-1])


def _vnodes(names, weights, indexes):
    """All vnodes: their hashes, sorted, and the index each belongs to.

    ``names`` are the bytes that a node's hash is taken of (all of one
    length); equal hashes keep the order of ``names``.
    """
    weights = numpy.array(weights, dtype=numpy.int64)
    total = int(weights.sum())
    hashes = numpy.empty(total, numpy.uint64)
    owners = numpy.repeat(numpy.array(indexes, dtype=numpy.uint32), weights)
    if not total:
        return hashes, owners
    if len(names) <= FEW:
        _reckon_few(names, weights.tolist(), hashes)
    else:
        _reckon_many(names, weights, hashes)
    order = numpy.argsort(hashes, kind='stable')
    return hashes[order], owners[order]


def _reckon_few(names, weights, hashes):
    found = []
    for name, weight in zip(names, weights):
        state = ids.next_hash(ids.fnv1a(name))
        for _ in range(weight):
            state = ids.next_hash(state)
            found.append(state)
    hashes[:] = found


def _reckon_many(names, weights, hashes):
    table = numpy.frombuffer(b''.join(names), numpy.uint8)
    table = table.reshape(len(names), -1).astype(numpy.uint64)
    state = numpy.full(len(names), ids.FNV_BASIS, numpy.uint64)
    for column in range(table.shape[1]):
        state = (state ^ table[:, column]) * _PRIME
    state = _feed(state, state)

    # Heaviest first: those who still get a vnode in a round are a prefix.
    heavy = numpy.argsort(-weights, kind='stable')
    start = (numpy.cumsum(weights) - weights)[heavy]
    state = state[heavy]
    # How many have more than n vnodes, for n = 0, 1, …
    standing = len(names) - numpy.searchsorted(
        weights[heavy][::-1], numpy.arange(int(weights.max())), 'right')
    for turn, count in enumerate(standing.tolist()):
        state = state[:count]
        state = _feed(state, state)
        hashes[start[:count] + turn] = state
