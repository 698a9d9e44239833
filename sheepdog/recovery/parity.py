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

"""Do the strips of an object belong together? Asked while clients write.

Any *d* of them tell what the others must be. Those are read at different
moments, so what does not fit is looked at again a pause later: where the same
bytes are there both times, and no write lasted from the first look to the
second, the strips differ for good. Which one is wrong does not follow from
that (each has good checksums): the operator is told.
"""

import asyncio
import hashlib
import typing

from sheepdog.erasure import codec as codecs
from sheepdog.model import errors
from sheepdog.recovery import calls
from sheepdog.recovery import compare

PIECE_BYTES = 64 << 10
"""Of each strip, read and computed at once."""


class Look(typing.NamedTuple):
    """``wrong``: offset in the strips → digest of all of them, where they do
    not fit; ``before`` and ``after``: marks of unstable writes."""

    wrong: dict
    before: frozenset
    after: frozenset


class Parity:
    def __init__(self, comparer):
        """:param comparer: a ``compare.Comparer``: asks for states"""
        self._comparer = comparer
        self._cluster = comparer.cluster
        self._order = comparer.order

    async def compare(self, oid, pace=None):
        """As ``Comparer.compare``, of a coded object: blocks are those of
        strips.

        :param pace: a ``pace.Pace``: asked before each piece is read
        :raises Later: it cannot be said just now
        """
        view = self._cluster.view
        if view is None or not self._cluster.serving():
            raise compare.Later('this sheep does not serve')
        places = self._order.targets(oid)
        members = [view.members[i] for i in places]
        indexes = self._order.strips(oid, places)
        states = await self._comparer.states(view, members, oid)
        if not all(state['exists'] for state in states):
            if any(state['exists'] for state in states):
                raise compare.Later('it was just made or removed')
            return None
        capacity = min(state['capacity'] for state in states)
        holders = dict(zip(indexes, members))
        code = codecs.codec_of(*self._order.code(oid))
        if len(holders) <= code.data:
            return None
        offsets = range(0, capacity, PIECE_BYTES)
        for _ in range(compare.LOOKS):
            first = await self._look(view, holders, code, oid, capacity,
                                     offsets, pace)
            if not first.wrong:
                return None
            await asyncio.sleep(
                compare.BUSY_PAUSE_SECONDS if first.after
                else compare.IDLE_PAUSE_SECONDS)
            second = await self._look(view, holders, code, oid, capacity,
                                      list(first.wrong), pace)
            lasting = [offset for offset, digest in second.wrong.items()
                       if first.wrong[offset] == digest]
            if lasting and not first.after & second.before:
                return compare.Difference(
                    [offset // PIECE_BYTES for offset in lasting], members,
                    [])
            offsets = list(second.wrong)
            if not offsets:
                return None
        raise compare.Later('it is being written')

    async def _look(self, view, holders, code, oid, capacity, offsets, pace):
        members = list(holders.values())
        before = await self._marks(view, members, oid)
        wrong = {}
        for offset in offsets:
            size = min(PIECE_BYTES, capacity - offset)
            if pace is not None:
                await pace.take(size * len(holders))
            parts = await self._parts(view, holders, oid, offset, size)
            known = dict(list(sorted(parts.items()))[:code.data])
            others = [index for index in parts if index not in known]
            if any(any(part) for part in parts.values()):
                fitting = code.restore(known, others)
                if any(fitting[i] != parts[i] for i in others):
                    wrong[offset] = hashlib.sha256(b''.join(
                        parts[i] for i in sorted(parts))).digest()
        return Look(wrong, before, await self._marks(view, members, oid))

    async def _marks(self, view, members, oid):
        states = await self._comparer.states(view, members, oid)
        return frozenset().union(*(state['marks'] for state in states))

    async def _parts(self, view, holders, oid, offset, size):
        try:
            answers = await calls.every(
                self._read(view, member, index, oid, offset, size)
                for index, member in holders.items())
        except errors.SheepdogError as exc:
            raise compare.Later(str(exc) or type(exc).__name__) from exc
        return dict(zip(holders, answers))

    async def _read(self, view, member, index, oid, offset, size):
        comparer = self._comparer
        return await calls.read_strip(
            comparer.recovery.replica.store, comparer.links, view,
            None if member.incarnation == self._cluster.incarnation
            else member, oid, index, offset, size)
