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

"""What a settlement has the targets do, once it is decided."""

import asyncio
import logging

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import absence
from sheepdog.recovery import calls
from sheepdog.recovery import told
from sheepdog.store import history as store_history
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)


class Orders:
    """What is to be done once it is decided.

    :param states: incarnation → told.State
    """

    def __init__(self, settlement, oid, view, targets, states, verdict,
                 generation):
        self._settlement = settlement
        self._oid = oid
        self._view = view
        self._targets = targets
        self._states = states
        self._verdict = verdict
        self._generation = generation
        by_holder = {m.node: m.incarnation for m in view.members}
        found = {(incarnation, strip.index): strip
                 for incarnation, state in states.items()
                 for strip in state.strips}
        self._usable = {
            (by_holder[strip.holder], strip.index):
            found[by_holder[strip.holder], strip.index]
            for strip in verdict.usable}
        self._bad = {place for place in self._usable if found[place].is_bad}
        self._marks = self._applied()
        self._left_out = {}
        self._data, _ = settlement.order.code(oid)

    def _kept(self, strip):
        """Numbers, of its open updates."""
        verdict = self._verdict
        if strip.generation != verdict.generation:
            # It has been aligned: what is open there is kept.
            return set(strip.open)
        return {number for number in strip.open
                if number in verdict.kept or number < verdict.floor}

    def _applied(self):
        """Tokens of the writes that the usable strips have when they are
        aligned, of those that may be asked for."""
        here = self._settlement.replica.tokens.here
        marks = {}
        undone = set()
        for (incarnation, _), strip in self._usable.items():
            marks.update(dict.fromkeys(self._states[incarnation].marks))
            kept = self._kept(strip)
            for number, lasting in strip.open.items():
                token = here(lasting)
                if token is None:
                    continue
                if number in kept:
                    marks[token] = None
                else:
                    undone.add(token)
        return [token for token in marks if token not in undone]

    async def run(self):
        """:raises SheepdogError: not all of it was done. NoRoom: all but
            our own strip"""
        if not self._verdict.is_gone:
            await self._align()
            await self._build()
        await self._give(wire.STRIP_SETTLE, [
            (incarnation, index, {})
            for incarnation, index in self._targets.items()
            if incarnation not in self._left_out])
        ours = self._settlement.cluster.incarnation
        if ours in self._left_out:
            raise self._left_out[ours]

    async def _give(self, opcode, orders):
        settlement = self._settlement
        settlement.check(self._view)
        await calls.every(settlement.give(
            self._view, incarnation, self._oid, opcode, told.Order(
                index, tuple(fields.pop('generation', self._generation)),
                self._states[incarnation].halt, self._marks, **fields))
            for incarnation, index, fields in orders)

    async def _align(self):
        """Those that cannot be, on disks that fail, are done without if
        there are enough others."""
        places = list(self._usable)
        answers = await asyncio.gather(*(
            self._give(wire.STRIP_ALIGN, [place + ({
                'kept': sorted(self._kept(self._usable[place])),
                'generation': self._generation
                if self._targets.get(place[0]) == place[1]
                else store_history.NONE},)])
            for place in places), return_exceptions=True)
        for place, answer in zip(places, answers):
            if isinstance(answer, errors.StorageError) and len(
                    {index for other, index in self._usable
                     if (other, index) != place}) >= self._data:
                LOG.warning('object %s is settled without strip %d: %s',
                            ids.hex_oid(self._oid), place[1], answer)
                del self._usable[place]
            elif isinstance(answer, BaseException):
                raise answer

    async def _build(self):
        """Who has no room is left out, as long as d strips are not: it must
        note that before anybody goes on."""
        some = next(iter(self._usable.values()))
        fields = {'capacity': some.capacity, 'version': max(
            strip.version for strip in self._usable.values()),
            'changed': absence.changes(self._usable.values(), self._data)}
        places = list(self._targets.items())
        await self._build_those(
            [place for place in places if place not in self._usable], fields)
        # Whoever is made anew is not as it was before the settlement any
        # more; only now enough others have reached this one to go on from.
        await self._build_those(
            [place for place in places if place in self._bad
             and place in self._usable], fields)
        await self._give(wire.STRIP_BUILD, [
            place + ({'sources': [], **fields},) for place in places
            if place[0] in self._left_out])

    async def _build_those(self, places, fields):
        sources = sorted(self._usable, key=lambda place: place in self._bad)
        answers = await asyncio.gather(*(
            self._give(wire.STRIP_BUILD, [
                place + ({'sources': sources, **fields},)])
            for place in places), return_exceptions=True)
        for (incarnation, _), answer in zip(places, answers):
            if isinstance(answer, errors.NoRoom):
                self._left_out[incarnation] = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._left_out.pop(incarnation, None)
        if not self._left_out or len(self._targets) - len(
                self._left_out) >= self._data:
            return
        if fields.get('is_needed'):
            raise next(iter(self._left_out.values()))
        # Some of them have room, perhaps, and hold it back.
        await self._build_those(
            [place for place in self._targets.items()
             if place[0] in self._left_out],
            {**fields, 'is_needed': True})
