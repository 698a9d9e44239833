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

"""Are the copies of an object equal? Asked while clients write.

A write reaches the copies at different moments, so two of them may differ
at any time without any fault. While it is under way, though, the copies
that have it also have its mark. So each copy is looked at twice, a pause
apart: blocks that differed both times, in the same way, while no mark lasted
from the first look to the second, differ for good.

Which one is right may then follow from the rules of ``choice``: the others
are set aside, and recovery makes them anew. Where it does not follow,
nothing is changed: the operator is told.
"""

import asyncio
import typing

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.peer import answers as answers_module
from sheepdog.recovery import choice
from sheepdog.store import checksums
from sheepdog.wire import peer as wire

CALL_SECONDS = 10.0
LOOKS = 4
IDLE_PAUSE_SECONDS = 0.1
BUSY_PAUSE_SECONDS = 3.0
"""Between two looks, where there are marks: longer than gateways need to
declare what is complete."""

WHOLE_OBJECT = -1
"""For a block's number: copies differ in size, or in being there."""


class Later(Exception):
    """Nothing can be said just now; the text says why."""


class Look(typing.NamedTuple):
    """One copy at one moment; ``before`` and ``after`` are the marks of its
    unstable writes before and after its table was read."""

    state: dict
    table: typing.Optional[bytes]
    before: frozenset
    after: frozenset


class Difference(typing.NamedTuple):
    """``blocks`` are sorted; ``members`` those with copies, ``wrong`` those
    of them that are settled to be wrong (empty: nothing tells)."""

    blocks: list
    members: list
    wrong: list


def lasting(first, second):
    """Blocks that differ for good between copies; [] for none.

    Pure: both arguments have a ``Look`` for each copy, in the same order.

    :raises Later: writes hide whether they do
    """
    if _is_one([_shape(one) for one in second]):
        blocks = _lasting_blocks(first, second)
    elif [_shape(one) for one in first] == [_shape(one) for one in second]:
        blocks = [WHOLE_OBJECT]
    else:
        raise Later('it was just made or removed')
    if blocks and any(one.after & two.before
                      for one, two in zip(first, second)):
        raise Later('the same writes are still under way')
    return blocks


def _lasting_blocks(first, second):
    if second[0].table is None:
        return []
    now = _tables(second)
    differs = (now != now[0]).any(axis=0)
    if not differs.any():
        return []
    if [_shape(one) for one in first] != [_shape(one) for one in second]:
        raise Later('its size has just changed')
    lasts = differs & (_tables(first) == now).all(axis=0)
    if not lasts.any():
        raise Later('it is being written')
    return numpy.flatnonzero(lasts).tolist()


def _tables(looks):
    return numpy.array([numpy.frombuffer(one.table, dtype='<u4')
                        for one in looks])


def _shape(look):
    return None if look.table is None else len(look.table)


def _is_one(values):
    return all(value == values[0] for value in values)


def wrong_ones(looks):
    """Indexes of the copies that are wrong; [] where nothing tells. Pure.
    All copies are clean, so only what ``choice`` says besides can decide.
    """
    best = choice.best([
        choice.Candidate(str(index), one.state['exists'],
                         one.state['through'], one.state['version'],
                         one.state['bad'], one.state['uncertain'], 0,
                         one.state['power_lost'])
        for index, one in enumerate(looks)])
    chosen = [looks[int(candidate.incarnation)].table for candidate in best]
    if not chosen or not _is_one(chosen):
        return []
    return [index for index, one in enumerate(looks)
            if one.table != chosen[0]]


class Comparer:
    def __init__(self, cluster, links, order, recovery):
        self.cluster = cluster
        self.links = links
        self.order = order
        self.recovery = recovery

    async def compare(self, oid):
        """What differs for good, a ``Difference``, or None.

        :raises Later: it cannot be said just now
        """
        view = self.cluster.view
        if view is None or not self.cluster.serving():
            raise Later('this sheep does not serve')
        members = [view.members[i] for i in self.order.targets(oid)]
        states = await self.states(view, members, oid)
        if _is_one([_content(state) for state in states]):
            return None
        before = await self._look(view, members, oid)
        why = None
        for _ in range(LOOKS):
            await asyncio.sleep(
                BUSY_PAUSE_SECONDS if any(one.after for one in before)
                else IDLE_PAUSE_SECONDS)
            now = await self._look(view, members, oid)
            try:
                blocks = lasting(before, now)
            except Later as exc:
                before, why = now, exc
                continue
            if not blocks:
                return None
            return Difference(blocks, members,
                              [members[i] for i in wrong_ones(now)])
        raise why

    async def is_elsewhere(self, oid):
        """Another target has a whole copy."""
        ours = self.cluster.incarnation
        return any(state['clean'] and state['exists'] and not state['bad']
                   for incarnation, state in await self._answers(oid)
                   if incarnation != ours)

    async def is_somewhere(self, oid):
        """A target is known to have a copy, whatever that is worth."""
        return any(state['exists']
                   for _incarnation, state in await self._answers(oid))

    async def _answers(self, oid):
        """(incarnation, state) of those targets that tell theirs now."""
        view = self.cluster.view
        if view is None or not self.cluster.serving():
            return []
        members = [view.members[i] for i in self.order.targets(oid)]
        answers = await asyncio.gather(
            *(self._state(view, member, oid) for member in members),
            return_exceptions=True)
        return [(member.incarnation, state)
                for member, state in zip(members, answers)
                if isinstance(state, dict)]

    async def _look(self, view, members, oid):
        states = await self.states(view, members, oid)
        tables = await self._gather(self._table, view, members, oid)
        after = await self.states(view, members, oid)
        return [Look(state, table, frozenset(state['marks']),
                     frozenset(later['marks']))
                for state, table, later in zip(states, tables, after)]

    async def states(self, view, members, oid):
        """STATE of each.

        :raises Later: not all are whole, or tell
        """
        states = await self._gather(self._state, view, members, oid)
        for member, state in zip(members, states):
            if not state['clean'] or state['bad']:
                raise Later('the copy of %s:%s is to be mended first'
                            % member.address)
        return states

    async def _gather(self, function, view, members, oid):
        try:
            answers = await asyncio.gather(
                *(function(view, member, oid) for member in members),
                return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        except errors.SheepdogError as exc:
            raise Later(str(exc) or type(exc).__name__) from exc
        if self.cluster.view is not view:
            raise Later('the view has changed')
        return answers

    async def _state(self, view, member, oid):
        if member.incarnation == self.cluster.incarnation:
            return await self.recovery.describe(oid)
        _, _, payload = await self.links.data(member).call(
            wire.STATE, epoch=view.epoch, oid=oid, timeout=CALL_SECONDS)
        state = answers_module.unpack_state(payload)
        if state['serial'] != self.order.serial(ids.vdi_of(oid)):
            raise Later('a lock changes')
        return state

    async def _table(self, view, member, oid):
        try:
            if member.incarnation == self.cluster.incarnation:
                return await self.recovery.replica.store.table(oid)
            _, _, table = await self.links.data(member).call(
                wire.TABLE, epoch=view.epoch, oid=oid, timeout=CALL_SECONDS)
        except errors.NoObject:
            return None
        if len(table) % checksums.ENTRY_BYTES:
            raise errors.CorruptFrame('a table of %d bytes' % len(table))
        return bytes(table)


def _content(state):
    return state['exists'], state['capacity'], state['digest']
