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

"""The loop's side of a membership whose heartbeats another thread makes.

The thread (the *heart*) prolongs the lease of the identity it made last and
reports; whether an identity lives is decided in the loop alone, so that all
of the loop sees the same. A heart that hangs in a call ends nothing later
than its lease.
"""

import asyncio
import collections
import dataclasses
import logging
from typing import Any, Callable, Optional, Protocol

from sheepdog.cluster import api
from sheepdog.model import errors

LOG = logging.getLogger(__name__)

STOP_SECONDS = 3.0
STOP_POLL_SECONDS = 0.02


def margin_seconds(ttl: float) -> float:
    """By how much a lease ends before the service gives its holder up."""
    return max(0.3, ttl / 10)


def member_info(capabilities: Optional[dict]) -> Optional[api.MemberInfo]:
    """What a member tells of itself under ``info``; of another version's,
    as much as we know. None if that is too little."""
    if not isinstance(capabilities, dict):
        return None
    fields = capabilities.get('info')
    if not isinstance(fields, dict):
        return None
    names = {field.name for field in dataclasses.fields(api.MemberInfo)}
    try:
        return api.MemberInfo.from_dict({
            name: value for name, value in fields.items() if name in names})
    except errors.InvalidParameters:
        return None


class Identity:
    """One incarnation. The heart moves ``lease_until``, and only forwards,
    or to zero; the loop alone sets ``is_dead``."""

    __slots__ = ('incarnation', 'lease_until', 'is_dead')

    def __init__(self, incarnation: str, lease_until: float):
        self.incarnation = incarnation
        self.lease_until = lease_until
        self.is_dead = False


NO_LEASE = Identity('', 0.0)


class Heart(Protocol):
    """What beats in the other thread. ``min_term``, ``loop_seen`` and
    ``to_fence`` are set in the loop and read by the heart."""

    min_term: int
    loop_seen: float
    to_fence: collections.deque

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def has_left(self) -> bool:
        """After ``stop``: no identity of ours is listed any more."""


class LeasedMembership:
    """See ``api.Membership``. Everything here is called in the loop.

    ``problem``: why coordination does not answer, '' while it does;
    ``problem_seconds``: for how long.
    """

    def __init__(self, ttl: float, now: Callable[[], float]):
        self.ttl = ttl
        self.incarnation = ''
        self.problem = ''
        self._problem_began = 0.0
        self.info: Optional[api.MemberInfo] = None
        self._now = now
        self._listener: Any = None
        self._heart: Any = None
        self._identity: Optional[Identity] = None
        self._lease = NO_LEASE
        self._term = 0
        self._watching: Optional[asyncio.TimerHandle] = None
        self._has_stopped = False

    def make_heart(self) -> Heart:
        raise NotImplementedError()

    # The contract.

    def start(self, info: api.MemberInfo, listener: api.MembershipListener,
              min_term: int) -> None:
        self.info = info
        self._listener = listener
        self._heart = self.make_heart()
        self._heart.min_term = min_term
        self._heart.start()
        self._watch()

    async def stop(self) -> None:
        self._has_stopped = True
        if self._watching is not None:
            self._watching.cancel()
        identity, self._identity = self._identity, None
        self._lease = NO_LEASE
        if identity is not None:
            identity.is_dead = True
        if self._heart is None:
            return
        self._heart.stop()
        for _ in range(int(STOP_SECONDS / STOP_POLL_SECONDS)):
            if self._heart.has_left():
                return
            await asyncio.sleep(STOP_POLL_SECONDS)
        LOG.warning('coordination does not answer: left without a word')

    def lease_valid(self) -> bool:
        return self._now() < self._lease.lease_until

    def lease_seconds(self) -> float:
        return max(0.0, self._lease.lease_until - self._now())

    def note_term(self, term: int) -> None:
        heart = self._heart
        heart.min_term = max(heart.min_term, term)
        if self._term and self._term < term:
            self.deposed(self._term)

    def fence(self, incarnation: str) -> None:
        identity = self._identity
        if identity is not None and incarnation == identity.incarnation:
            asyncio.get_running_loop().call_soon(
                self.end, identity, 'fenced by itself')
        else:
            self._heart.to_fence.append(incarnation)

    # From the heart, through the loop.

    def report(self, problem: str) -> None:
        if problem != self.problem:
            LOG.warning('coordination: %s', problem)
        if not self.problem:
            self._problem_began = self._now()
        self.problem = problem

    @property
    def problem_seconds(self) -> float:
        return self._now() - self._problem_began if self.problem else 0.0

    def ping(self) -> None:
        self._heart.loop_seen = self._now()

    def born(self, identity: Identity) -> None:
        if self._has_stopped:
            return
        LOG.info('identity %s', identity.incarnation)
        self._identity = self._lease = identity
        self.incarnation = identity.incarnation

    def snapshot(self, identity: Identity, members: dict,
                 leader: Optional[api.MemberInfo]) -> None:
        if identity is self._identity and self.lease_valid():
            self.problem = ''
            self._listener.on_members(members, leader)

    def claimed(self, identity: Identity, term: int) -> None:
        if (identity is self._identity and self.lease_valid() and
                term > self._heart.min_term):
            self._heart.min_term = term
            self._term = term
            self._listener.on_leader(term)
        else:
            # Useless to us; the thread gives it back and claims above.
            self._heart.min_term = max(self._heart.min_term, term + 1)

    def deposed(self, term: int) -> None:
        if term and self._term == term:
            self._term = 0
            self._listener.on_leader(0)

    def end(self, identity: Identity, reason: str) -> None:
        """The identity is dead, for ever."""
        if identity is not self._identity or identity.is_dead:
            return
        identity.is_dead = True
        self._lease = NO_LEASE
        self.deposed(self._term)
        self._listener.on_lapse(reason)

    def _watch(self) -> None:
        """The heart may hang in a call while the lease runs out."""
        if self._identity is not None and not self._identity.is_dead and (
                self._now() >= self._identity.lease_until):
            self.end(self._identity, 'no heartbeat in time')
        self._watching = asyncio.get_running_loop().call_later(
            self.ttl / 16, self._watch)
