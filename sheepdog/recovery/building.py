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

"""Makes one of our strips of those of the others, as a settlement orders it,
or notes that there is no room for it."""

import asyncio

from sheepdog.erasure import codec as codecs
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.recovery import absence
from sheepdog.recovery import calls
from sheepdog.store import checksums
from sheepdog.store import history as store_history

_BLOCK = limits.BLOCK_BYTES

PIECE_BYTES = 64 << 10
"""Of each strip, decoded at once: see ``erasure.codec``."""


class Builder:
    """``moved_bytes`` counts what came over the wire."""

    def __init__(self, settlement, adopt, behind, holds_back):
        """:param settlement: whose orders it obeys; see there"""
        self._settlement = settlement
        self._cluster = settlement.cluster
        self._store = settlement.store
        self._links = settlement.links
        self._order = settlement.order
        self._adopt = adopt
        self._behind = behind
        self._holds_back = holds_back
        self._needed = {}
        """Object → bytes of content that a strip of it had no room for."""
        self.moved_bytes = 0

    def forget(self, oid):
        """It is settled."""
        self._needed.pop(oid, None)

    async def build(self, oid, key, order):
        """Our strip, of the sources' strips.

        :raises NoRoom: it does not fit
        """
        if not order.sources:
            await self._stay_behind(oid, key, order)
            return
        try:
            await self._build_fitting(oid, key, order)
        except (errors.NoSpace, errors.StorageError) as exc:
            self._settlement.check(self._cluster.view)
            if not isinstance(exc, errors.NoSpace) and not self.is_failing():
                raise
            raise errors.NoRoom(str(exc)) from exc

    def is_failing(self):
        """A disk of ours fails, and is not given up yet."""
        return self._store.device_error is not None

    async def _stay_behind(self, oid, key, order):
        """The others go on without us. On disk, in the place of whatever was
        no good any more: that we lack what they have proves nothing."""
        before = await self._store.history(key)
        history = store_history.History()
        history.forgotten = order.generation
        if before is not None:
            history.forgotten = max((order.generation, before.forgotten,
                                     before.generation) + before.nexts)
        view = self._cluster.view
        try:
            await self._adopt(view, key, order.version, order.capacity, [],
                              keep=False, history=history)
        except errors.StorageError:
            # What is on a disk that fails is as good as gone.
            if not self.is_failing():
                raise
        self._settlement.check(view)
        self._behind.setdefault(oid, view.epoch)

    async def check_room(self, oid, key):
        """Of what we are behind with.

        :raises NoRoom: there is none, still
        """
        if self.is_failing():
            raise errors.NoRoom('a disk fails')
        state = None if key is None else await self._store.describe(key)
        if state is None or not state.capacity:
            return
        try:
            await self._check_fitting(oid, key, self._needed.get(oid, 0),
                                      state.capacity)
        except errors.NoSpace as exc:
            raise errors.NoRoom(str(exc)) from exc

    async def is_new(self, oid):
        """There is no strip of it here that goes when ours is made. (One of
        another index does.)"""
        for key in self._settlement.keys(oid):
            history = await self._store.history(key)
            if history is None or not history.is_left_out:
                return False
        return True

    async def _check_fitting(self, oid, key, content, capacity,
                             is_needed=False):
        """:raises NoSpace: it does not fit, or is held back (unless it
            ``is_needed``)
        """
        is_new = await self.is_new(oid)
        keeps_all = not is_needed and self._cluster.state.settings.avoid_full
        try:
            self._store.check_room(key, content, capacity, keeps_all, is_new)
        except errors.NoSpace:
            self._needed[oid] = content
            raise
        if is_new and keeps_all and self._holds_back(oid):
            raise errors.NoSpace('object %s is held back: not all that is '
                                 'to come here would fit'
                                 % ids.hex_oid(oid))

    async def _build_fitting(self, oid, key, order):
        view = self._cluster.view
        self._settlement.check(view)
        code = codecs.codec_of(*self._order.code(oid))
        index = order.index
        await self._check_fitting(oid, key, self._needed.get(oid, 0),
                                  order.capacity, order.is_needed)
        sources = {}
        for incarnation, number in order.sources:
            if view.member(incarnation) is not None:
                sources.setdefault(number, incarnation)
        ranges = await self._lacking(oid, key, order)
        keep = ranges is not None
        pieces = []
        zeros = []
        for start, size in _pieces(ranges if keep else
                                   [(0, order.capacity)]):
            piece = await self._piece(oid, view, code, index, sources, start,
                                      size)
            solid, holes = _split(start, piece)
            pieces += solid
            zeros += holes
            self._settlement.check(view)
            self._settlement.check_halt(oid, order)
        await self._check_fitting(
            oid, key, sum(len(piece) for _, piece in pieces)
            + (absence.kept_bytes(await self._store.extents(key), ranges)
               if keep else 0), order.capacity, order.is_needed)
        before = await self._store.history(key)
        history = store_history.History()
        history.nexts = (order.generation,)
        history.inherit(order.changed)
        if before is not None:
            history.forgotten = max((before.forgotten, before.generation)
                                    + before.nexts)
        if self._settlement.is_torn(oid) or (
                before is None and self._store.version(key) is not None):
            # Nobody knows what it had reached, so it never says that it had
            # not.
            history.forgotten = max(history.forgotten, order.generation)
        await self._adopt(view, key, order.version, order.capacity, pieces,
                          keep=keep, zeros=zeros if keep else (),
                          history=history)
        self._settlement.check(view)

    async def _lacking(self, oid, key, order):
        """Ranges that our strip is to get from the others, what is there
        being kept; None: it is to be made of nothing."""
        history = await self._store.history(key)
        state = await self._store.describe(key)
        if history is None or state.capacity != order.capacity \
                or self._settlement.is_damaged(oid):
            return None
        return absence.lacking(history, order.changed,
                               self._store.bad_blocks().get(key, ()),
                               order.capacity,
                               self._settlement.is_torn(oid))

    async def _piece(self, oid, view, code, index, sources, start, size):
        """A range of our strip: as somebody has it, else of the first d that
        are good there.

        :param sources: index → incarnation; those with bad blocks last
        :raises StorageError: there are none
        """
        error = None
        if index in sources:
            try:
                return await self._fetch(oid, view, sources[index], index,
                                         start, size)
            except errors.StorageError as exc:
                error = exc
        left = [item for item in sources.items() if item[0] != index]
        parts = {}
        while len(parts) < code.data and left:
            lacking = code.data - len(parts)
            asked, left = left[:lacking], left[lacking:]
            answers = await asyncio.gather(*(
                self._fetch(oid, view, incarnation, number, start, size)
                for number, incarnation in asked), return_exceptions=True)
            for (number, _), answer in zip(asked, answers):
                if isinstance(answer, errors.StorageError):
                    error = answer
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    parts[number] = answer
        if len(parts) >= code.data:
            return code.restore(parts, [index])[index]
        if size <= limits.BLOCK_BYTES:
            raise error or errors.NotRecovered('too few strips are left')
        # Each may be bad in another place.
        return b''.join([await self._piece(
            oid, view, code, index, sources, offset,
            min(limits.BLOCK_BYTES, start + size - offset))
            for offset in range(start, start + size, limits.BLOCK_BYTES)])

    async def _fetch(self, oid, view, incarnation, index, offset, size):
        member = (None if incarnation == self._cluster.incarnation
                  else view.member(incarnation))
        data = await calls.read_strip(self._store, self._links, view, member,
                                      oid, index, offset, size)
        if member is not None:
            self.moved_bytes += size
        return data


def _split(start, piece):
    """(offset, bytes) of its runs of blocks that are not zero: a hole of the
    others is one of ours. And (offset, size) of the others."""
    solid = []
    holes = []
    for first, count in checksums.runs(
            number for number in range(len(piece) // _BLOCK)
            if piece[number * _BLOCK:(number + 1) * _BLOCK]
            != checksums.ZERO_BLOCK):
        solid.append((start + first * _BLOCK,
                      piece[first * _BLOCK:(first + count) * _BLOCK]))
    end = start
    for offset, data in solid + [(start + len(piece), b'')]:
        if offset > end:
            holes.append((end, offset - end))
        end = offset + len(data)
    return solid, holes


def _pieces(ranges):
    for offset, size in ranges:
        for start in range(offset, offset + size, PIECE_BYTES):
            yield start, min(PIECE_BYTES, offset + size - start)
