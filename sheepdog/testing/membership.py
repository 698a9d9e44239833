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

"""The simulated coordination service, and a sheep's membership in it.

``Coordination`` is what ZooKeeper, etcd or Redis would be: it keeps who is
alive by time to live, gives each term to one claimant, and keeps fences.
``SimMembership`` keeps the promises of ``sheepdog.cluster.api.Membership``
over it, as the tooz one does: a heartbeat per tick, a lease counted from
before the heartbeat, a new identity after each lapse. Snapshots may be late
and doubled; a host may be cut off from the service.
"""

import asyncio
import dataclasses
from typing import Optional

from sheepdog.cluster import api
from sheepdog.testing import loop as loop_module

FIRST_START = 1_700_000_000_000
"""Incarnations look as if named by time, and sort by it."""


@dataclasses.dataclass
class CoordinationSettings:
    ttl_seconds: float = 4.0
    delay_mean: float = 0.002
    late_chance: float = 0.05
    """That a snapshot comes up to a tick late."""
    double_chance: float = 0.05
    """That it comes twice."""
    lost_chance: float = 0.0
    """That it never comes; the next one does."""
    rival_chance: float = 0.1
    """That one who is not the oldest tries to lead, too."""
    notices_kills: bool = False
    """As the file driver: a killed process is gone at once."""

    @property
    def margin_seconds(self) -> float:
        return max(0.3, self.ttl_seconds / 10)

    @property
    def tick_seconds(self) -> float:
        return self.ttl_seconds / 8


class _Record:
    """What the service knows of one identity."""

    def __init__(self, info: api.MemberInfo, expires: float, process):
        self.info = info
        self.expires = expires
        self.process = process


class Coordination:
    """The service: always up, but not always reachable."""

    def __init__(self, loop, random, trace, settings=None):
        self.loop = loop
        self.random = random
        self.trace = trace
        self.settings = settings or CoordinationSettings()
        self._records = {}
        self._ended = {}
        self._terms = {}
        self._fences = {}
        self._starts = 0
        self._blocked = {}

    # Faults.

    def block(self, host: str) -> None:
        self._blocked[host] = True

    def unblock(self, host: str) -> None:
        self._blocked.pop(host, None)

    def heal(self) -> None:
        self._blocked = {}

    def expire(self, incarnation: str) -> None:
        """Lose a session before its time. No real service may: the others
        go on while its lease still holds."""
        self._end(incarnation, 'expired')

    def forget(self) -> None:
        """Lose everything, as a service whose disk was wiped."""
        for incarnation in list(self._records):
            self._end(incarnation, 'expired')
        self._terms = {}
        self._fences = {}

    # The service.

    def is_blocked(self, host: str) -> bool:
        return host in self._blocked

    def name(self, node: str) -> str:
        self._starts += 1
        return '%s.%d' % (node, FIRST_START + self._starts)

    def join(self, info: api.MemberInfo, process) -> None:
        assert info.incarnation not in self._ended, 'an identity came back'
        self._records[info.incarnation] = _Record(
            info, self.loop.time() + self.settings.ttl_seconds, process)
        self.trace.note(info.node, 'joins', info.incarnation)

    def leave(self, incarnation: str) -> None:
        self._end(incarnation, 'leaves')

    def beat(self, incarnation: str) -> bool:
        """Prolong; False when it is fenced, or has been given up. It stays
        among the members until it knows (it leaves), or its time is over.
        """
        self._expire()
        record = self._records.get(incarnation)
        if record is None or incarnation in self._fences:
            return False
        record.expires = self.loop.time() + self.settings.ttl_seconds
        return True

    def members(self) -> dict:
        """Incarnation → MemberInfo, oldest first."""
        self._expire()
        return {name: record.info for name, record in self._records.items()}

    def claim(self, term: int, incarnation: str) -> bool:
        """Test and set: one claimant per term, for ever."""
        self._expire()
        if term in self._terms or incarnation not in self._records:
            return False
        self._terms[term] = incarnation
        self.trace.note('service', 'term', term, incarnation)
        return True

    def last_term(self) -> tuple:
        """(the highest term claimed or 0, who claimed it or '')."""
        term = max(self._terms, default=0)
        return term, self._terms.get(term, '')

    def fence(self, incarnation: str) -> None:
        self.trace.note('service', 'fence', incarnation)
        self._fences[incarnation] = True

    def _expire(self) -> None:
        now = self.loop.time()
        for name in list(self._records):
            record = self._records[name]
            if record.expires <= now or (
                    self.settings.notices_kills and
                    not record.process.is_alive):
                self._end(name, 'expired')

    def _end(self, incarnation: str, how: str) -> None:
        if self._records.pop(incarnation, None) is not None:
            self._ended[incarnation] = True
            self.trace.note('service', how, incarnation)


class SimMembership:
    """See ``sheepdog.cluster.api.Membership``: one process's."""

    def __init__(self, service: Coordination, world, host: str):
        self.incarnation = ''
        self._service = service
        self._world = world
        self._host = host
        self._process = world.process
        self._settings = service.settings
        self._random = world.fault_random
        self._info = None
        self._listener = None
        self._lease_end = 0.0
        self._min_term = 0
        self._term = 0
        self._to_fence = []
        self._has_stopped = False

    # The contract.

    def start(self, info: api.MemberInfo, listener: api.MembershipListener,
              min_term: int) -> None:
        self._info = info
        self._listener = listener
        self._min_term = min_term
        self._world.spawn(self._run(), 'membership')

    async def stop(self) -> None:
        self._has_stopped = True
        self._lease_end = 0.0
        try:
            await self._reach()
            self._service.leave(self.incarnation)
        except TimeoutError:
            pass

    def lease_valid(self) -> bool:
        return self._world.clock.monotonic() < self._lease_end

    def lease_seconds(self) -> float:
        return max(0.0, self._lease_end - self._world.clock.monotonic())

    def note_term(self, term: int) -> None:
        self._min_term = max(self._min_term, term)
        if self._term and self._term < term:
            self._lead_no_more()

    def fence(self, incarnation: str) -> None:
        self._to_fence.append(incarnation)

    # Heartbeats.

    async def _run(self) -> None:
        while not self._has_stopped:
            try:
                await self._live()
            except TimeoutError:
                await asyncio.sleep(self._settings.tick_seconds)

    async def _live(self) -> None:
        """One identity, from joining to its end."""
        begun = self._world.clock.monotonic()
        await self._reach()
        if self._has_stopped:
            return
        self._rename()
        self._service.join(self._info, self._process)
        self._extend(begun)
        reason = ''
        while not self._has_stopped and not reason:
            reason = await self._tick()
            if not reason:
                await asyncio.sleep(self._settings.tick_seconds *
                                    (0.8 + 0.4 * self._random.random()))
        if self._has_stopped:
            return
        self._lease_end = 0.0
        self._world.trace.note(self._host, 'lapses', self.incarnation,
                               reason)
        self._lead_no_more()
        dead = self.incarnation
        # As the real one: the dead identity is ours until there is another.
        self._listener.on_lapse(reason)
        await self._reach()
        self._service.leave(dead)

    async def _tick(self) -> str:
        """A heartbeat; why the identity is dead, or nothing."""
        begun = self._world.clock.monotonic()
        if not self.lease_valid():
            return 'no heartbeat in time'
        try:
            await self._reach()
            if not self._service.beat(self.incarnation):
                return 'the service has given it up'
            while self._to_fence:
                self._service.fence(self._to_fence.pop(0))
            members = self._service.members()
            term, leader = self._service.last_term()
            await self._reach()
        except TimeoutError:
            return ''
        if self._has_stopped:
            return ''
        if not self._extend(begun):
            return 'the heartbeat took too long'
        await self._lead(term, leader, members)
        await self._tell(members, self._leader_of(members))
        return ''

    def _extend(self, begun: float) -> bool:
        lease_end = (begun + self._settings.ttl_seconds -
                     self._settings.margin_seconds)
        if lease_end <= self._world.clock.monotonic():
            return False
        self._lease_end = max(self._lease_end, lease_end)
        return True

    async def _lead(self, term: int, leader: str, members: dict) -> None:
        """Stop leading when another does; try to, when nobody does."""
        if self._term and (leader != self.incarnation or
                           term != self._term):
            self._lead_no_more()
        if self._term or (leader in members and term >= self._min_term):
            return
        is_oldest = next(iter(members), '') == self.incarnation
        if not is_oldest and (self._random.random() >=
                              self._settings.rival_chance):
            return
        wanted = max(term, self._min_term) + 1
        try:
            await self._reach()
            is_ours = self._service.claim(wanted, self.incarnation)
            await self._reach()
        except TimeoutError:
            # Claimed or not: whoever it was, the number is used up.
            self._min_term = max(self._min_term, wanted)
            return
        if is_ours and self.lease_valid() and wanted > self._min_term:
            self._term = self._min_term = wanted
            self._listener.on_leader(wanted)

    def _leader_of(self, members: dict) -> Optional[api.MemberInfo]:
        return members.get(self._service.last_term()[1])

    async def _tell(self, members: dict,
                    leader: Optional[api.MemberInfo]) -> None:
        settings = self._settings
        if self._random.random() < settings.late_chance:
            await asyncio.sleep(settings.tick_seconds *
                                self._random.random())
        if self._has_stopped or not self.lease_valid():
            return
        if (settings.lost_chance and
                self._random.random() < settings.lost_chance):
            return
        self._listener.on_members(members, leader)
        if self._random.random() < settings.double_chance:
            self._listener.on_members(dict(members), leader)

    def _lead_no_more(self) -> None:
        if self._term:
            self._term = 0
            self._listener.on_leader(0)

    def _rename(self) -> None:
        self.incarnation = self._service.name(self._info.node)
        self._info = dataclasses.replace(self._info,
                                         incarnation=self.incarnation)

    async def _reach(self) -> None:
        """Half a round trip.

        :raises TimeoutError: the service cannot be reached
        """
        settings = self._settings
        if self._service.is_blocked(self._host):
            await asyncio.sleep(settings.tick_seconds)
            raise TimeoutError('the coordination service does not answer')
        await asyncio.sleep(self._random.expovariate(
            1 / settings.delay_mean))
        if not self._process.is_alive:
            raise loop_module.Killed()
