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

"""The leader's rounds: is everybody within reach, and who is slow?

Each member answers a ping with a report of what it has measured since the
last one: how long its own disks take, and which members answer it late. The
leader adds how long the ping took. Who is much slower than the others is
told to all with the next pings, so that they read elsewhere first; who
stays so is evicted, and let in again when it has been well for a while.
"""

import asyncio
import dataclasses
import logging
from typing import Any, Awaitable, Callable, Optional

from sheepdog.cluster import eviction
from sheepdog.cluster import messages
from sheepdog.cluster import outliers
from sheepdog.model import errors
from sheepdog.model import sizes
from sheepdog.placement import headroom

LOG = logging.getLogger(__name__)

SUSPECTS_MAX = 32


@dataclasses.dataclass(frozen=True)
class SlowSettings:
    """``demote_ms``: from this latency on a disk or a member may be slow;
    0: nobody looks. ``evict_ms``: from this on it may be evicted; 0: none
    is."""

    demote_ms: int = 100
    evict_ms: int = 500


class Patrol:
    """
    :param settings: called for the ``SlowSettings`` of now
    :param ask: runs an exclusive operation (its kind, its arguments)
    :param is_leading: the leader has taken over
    """

    def __init__(self, world, pace, roll, messenger, delivery, sequencer,
                 settings: Callable[[], SlowSettings],
                 ask: Callable[[str, dict], Awaitable[Any]],
                 is_leading: Callable[[], bool]):
        self._world = world
        self._clock = world.clock
        self._pace = pace
        self._roll = roll
        self._messenger = messenger
        self._delivery = delivery
        self._sequencer = sequencer
        self._settings = settings
        self._ask = ask
        self._is_leading = is_leading
        self._disks = outliers.Outliers()
        self._answers = outliers.Outliers()
        self._message: dict = {'kind': 'ping'}
        self._asking: Optional[asyncio.Task] = None
        self._said: set = set()
        self._spaces: dict = {}
        self._kept: dict = {}

    async def run(self) -> None:
        """An idle leader would not notice who is out of its reach."""
        while True:
            await asyncio.sleep(self._pace.patrol)
            if not self._is_leading():
                continue
            standing = sorted(self._sequencer.standing)
            found = await asyncio.gather(
                *(self._ping(one) for one in standing),
                return_exceptions=True)
            self._take({one: answer for one, answer in zip(standing, found)
                        if isinstance(answer, tuple)})

    async def _ping(self, incarnation: str) -> tuple:
        """(microseconds, report or None)"""
        began = self._clock.monotonic()
        report = None
        try:
            answer = await self._messenger.call(incarnation, self._message,
                                                self._pace.call)
        except errors.SheepdogError:
            if self._roll.is_current(incarnation):
                self._delivery.suspect(incarnation)
        else:
            self._delivery.clear(incarnation)
            report = messages.checked_report(answer.get('report'))
        return int((self._clock.monotonic() - began) * 1e6), report

    # Who is slow.

    def _take(self, found: dict) -> None:
        """What a round of pings has brought: incarnation → (microseconds,
        report or None)."""
        settings = self._settings()
        state = self._sequencer.state
        floor = settings.demote_ms * 1000
        if not floor or state.view is None:
            self._message = {'kind': 'ping'}
            return
        keepers = [member.incarnation for member in state.view.members
                   if member.vnodes or eviction.is_out(state, member.node)]
        ripe = settings.evict_ms * 1000
        self._disks.round({one: _disk_of(found, one) for one in keepers},
                          floor, ripe)
        lateness, suspects = _lateness(self._messenger.own, found, floor)
        self._spaces = {one: known for one in keepers
                        for known in [_space_of(found, one)
                                      or self._spaces.get(one)] if known}
        self._kept = {one: why for one, why in self._kept.items()
                      if one in self._said}
        self._answers.round({one: lateness.get(one) for one in keepers},
                            floor, ripe)
        self._speak(state, floor, found, suspects)
        self._act(state)

    def _speak(self, state, floor: int, found: dict, suspects: list) -> None:
        """What the next pings tell."""
        slow = sorted({*self._disks.demoted(), *self._answers.demoted()})
        for one in slow:
            if one not in self._said:
                LOG.warning('%s is slow: its disk takes %s, others wait %s '
                            'for it; what can is read elsewhere first',
                            _address(state, one), *_shown(
                                _disk_of(found, one),
                                _lateness(self._messenger.own, found,
                                          floor)[0].get(one)))
        for one in self._said.difference(slow):
            LOG.info('%s is not slow any more', _address(state, one))
        self._said = set(slow)
        is_asked = bool(slow) or bool(state.evicted_nodes()) or any(
            (_disk_of(found, one) or 0) >= floor for one in found)
        self._message = {'kind': 'ping', 'slow': slow,
                         'suspects': suspects[:SUSPECTS_MAX],
                         'probe': is_asked}

    # Who is evicted, and comes back.

    def _act(self, state) -> None:
        if self._asking is not None and not self._asking.done():
            return
        members = {member.incarnation: member
                   for member in state.view.members}
        back = self._coming_back(state, members)
        if back is not None:
            self._propose('readmit', back.node, '')
            return
        for kind, why in ((self._disks, 'its disk is slow'),
                          (self._answers, 'it answers late')):
            for one in kind.ripe():
                member = members[one]
                reason = (eviction.refusal(state, member.node)
                          or self._no_room_without(state, member))
                if not reason:
                    self._propose('evict', member.node, why)
                    return
                self._say_kept(member, reason)

    def _no_room_without(self, state, gone) -> str:
        """Why what it has would not fit on the others, or ''. (Of who does
        not tell, as one whose disk hangs, as much is assumed as others have
        by their weight.)"""
        keepers = [member for member in state.view.members if member.vnodes]
        told = [member for member in keepers
                if member.incarnation in self._spaces]
        share = sum(self._spaces[member.incarnation][0] for member in told
                    ) / max(1, sum(member.vnodes for member in told))
        lack = headroom.lack_without(
            [headroom.Node(member.incarnation, member.zone, member.vnodes,
                           *self._spaces.get(member.incarnation, (
                               int(share * member.vnodes), 0)))
             for member in keepers if member in told or member is gone],
            state.settings.copies, gone.incarnation)
        return '' if lack is None else (
            '%s would be given about %s of what it has, and has room for %s'
            % (_address(state, lack.node), sizes.show_size(lack.needed),
               sizes.show_size(lack.room)))

    def _say_kept(self, member, reason: str) -> None:
        known = self._kept.get(member.incarnation)
        self._kept = {**self._kept, member.incarnation: reason}
        LOG.log(logging.DEBUG if known == reason else logging.WARNING,
                '%s:%d is slow, but not evicted: %s', *member.address,
                reason)

    def _coming_back(self, state, members: dict):
        """Who is to be let in again, or None."""
        now = self._clock.time()
        for one, member in members.items():
            found = state.evicted.get(member.node)
            if found is None or not found.is_out or found.by_hand:
                continue
            if eviction.is_missed(state, member):
                return member
            if now >= eviction.back_at(found) and (
                    self._disks.is_well(one) and self._answers.is_well(one)):
                return member
        return None

    def _propose(self, kind: str, node: str, why: str) -> None:
        self._asking = self._world.spawn(self._decide(kind, node, why), kind)

    async def _decide(self, kind: str, node: str, why: str) -> None:
        try:
            await self._ask(kind, {'node': node, 'why': why})
        except errors.SheepdogError as error:
            LOG.info('%s of %s: %s', kind, node, error)
        else:
            LOG.warning('%s of %s%s', kind, node, why and ': ' + why)


def _disk_of(found: dict, one: str) -> Optional[int]:
    report = found.get(one, (0, None))[1]
    return report['disk'] if report is not None else None


def _space_of(found: dict, one: str) -> Optional[tuple]:
    report = found.get(one, (0, None))[1]
    return report['space'] if report is not None else None


def _lateness(own: str, found: dict, floor: int) -> tuple:
    """``(microseconds by incarnation, suspects)``: how late each member
    answers, as the median of the others has it. Who says nothing of it is
    content. Suspects are those of whom anybody says so: they are asked by
    all. Nothing is known of anybody if most are late for the leader: it is
    the leader then, or all of them."""
    others = len(found) - 1
    late = sum(micros >= floor for one, (micros, _) in found.items()
               if one != own)
    if others < 1 or late > max(1, others // 2):
        return {}, []
    told: dict = {}
    witnesses = [one for one, (_, report) in found.items()
                 if report is not None and one != own]
    for witness in witnesses:
        for one, micros in found[witness][1]['late'].items():
            if one in found and one != witness:
                told.setdefault(one, {})[witness] = micros
    mine = found.get(own, (0, None))[1]
    for one, (micros, _) in found.items():
        if one != own:
            seen = mine['late'].get(one, 0) if mine is not None else 0
            told.setdefault(one, {})[own] = max(micros, seen)
    lateness = {}
    for one in found:
        said = told.get(one, {})
        count = len(witnesses) + (own in found) - (
            one in witnesses or one == own)
        values = sorted(said.values())
        values = [0] * max(0, count - len(values)) + values
        lateness[one] = values[(len(values) - 1) // 2] if values else 0
    suspects = sorted(one for one, said in told.items()
                      if max(said.values()) >= floor)
    if len(suspects) > max(1, others // 2):
        suspects = []
    return lateness, suspects


def _address(state, incarnation: str) -> str:
    member = state.view.member(incarnation)
    return '%s:%d' % member.address if member else incarnation


def _shown(*latencies: Optional[int]) -> list:
    return ['? ms' if latency is None else '%d ms' % (latency // 1000)
            for latency in latencies]
