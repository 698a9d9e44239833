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

"""The thread that keeps an identity alive, and tries to lead.

One thread per process makes every call of ``tooz_groups``, because all of
them block. It tells the loop by ``call_soon_threadsafe``; whether an identity
lives is decided in the loop alone (``membership``). Nothing kept in tooz
matters once it is lost: a sheep that is not listed any more takes a new
identity.
"""

import collections
import dataclasses
import functools
import itertools
import logging
import threading
import time
from typing import Optional

from sheepdog.cluster import address as address_module
from sheepdog.cluster import api
from sheepdog.cluster import incarnations
from sheepdog.cluster import membership
from sheepdog.cluster import tooz_groups
from sheepdog.world import processes

LOG = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5
RECONNECT_MAX_SECONDS = 4.0
FILE_POLL_SECONDS = 0.1
FILE_MISSES = 3
FENCE_TTLS = 10
"""How long a fence is kept, in TTLs, after its identity has gone."""

now = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class Lapsed(Exception):
    """The identity of now has ended."""


class Heart(threading.Thread):
    """The thread.

    :param face: the loop's side, called through ``_tell`` only
    :param address: an ``address.Address``
    """

    def __init__(self, face: membership.LeasedMembership,
                 address: address_module.Address, loop):
        super().__init__(daemon=True, name='coordination')
        self._face = face
        self._loop = loop
        self._address = address
        self._ttl = address.ttl
        self._margin = membership.margin_seconds(self._ttl)
        self._is_file = address.driver == 'file'
        self._witness = processes.Witness() if self._is_file else None
        self._poll = (FILE_POLL_SECONDS if self._is_file
                      else min(0.5, self._ttl / 8))
        self._urls = itertools.cycle(address.urls)
        self._last_start = 0
        self._has_stopped = threading.Event()
        self._groups: Optional[tooz_groups.Groups] = None
        self._identity: Optional[membership.Identity] = None
        self._known: dict = {}
        self._misses: dict = {}
        self._fences: dict = {}
        self._term = 0
        self._is_term_told = False
        self._vacant = 0
        self._leaving: list = []
        self._was_stuck = False
        self.loop_seen = now()
        self.to_fence = collections.deque()
        self.min_term = 0
        """Written in the loop, and only upwards."""

    def stop(self) -> None:
        self._has_stopped.set()

    def has_left(self) -> bool:
        return not self.is_alive() and all(
            left.is_set() for left in self._leaving)

    def run(self) -> None:
        pause = RECONNECT_SECONDS
        while not self._has_stopped.is_set():
            if self._is_stuck():
                # A new identity would not live either.
                self._has_stopped.wait(self._poll)
                continue
            try:
                self._begin()
            except Exception as error:
                # Drivers raise what they like; all of it means: not now.
                self._report(error)
                self._drop()
                self._has_stopped.wait(pause)
                pause = min(2 * pause, RECONNECT_MAX_SECONDS)
                continue
            pause = RECONNECT_SECONDS
            self._live()
            self._drop()

    def _is_stuck(self) -> bool:
        """Whether the loop has not answered for long. Asks it, too."""
        self._tell(self._face.ping)
        is_stuck = now() - self.loop_seen > self._ttl / 2
        if is_stuck and not self._was_stuck:
            LOG.warning('the event loop is stuck: no heartbeat')
        self._was_stuck = is_stuck
        return is_stuck

    def _tell(self, function, *arguments) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed: nobody is left to live for.
            self._has_stopped.set()

    def _report(self, error: Exception) -> None:
        self._tell(self._face.report,
                   tooz_groups.describe(error, self._address.place))

    def _begin(self) -> None:
        """Take a new identity."""
        start = max(time.time_ns(), self._last_start + 1)
        self._last_start = start
        incarnation = incarnations.name(self._face.info.node, start)
        self._groups = tooz_groups.Groups(self._address, next(self._urls),
                                          incarnation)
        self._groups.start()
        begun = now()
        self._groups.heartbeat()
        self._groups.create('leader')
        info = dataclasses.replace(self._face.info, incarnation=incarnation)
        self._groups.join('members', self._capabilities(info=info.to_dict()))
        self._known = {}
        self._term = self._vacant = 0
        self._identity = membership.Identity(
            incarnation, begun + self._ttl - self._margin)
        self._tell(self._face.born, self._identity)

    def _capabilities(self, **fields) -> dict:
        if self._is_file:
            fields['process'] = processes.token()
        return fields

    def _drop(self) -> None:
        """Never speak for this identity again, but for taking it off the
        list, which may block: aside."""
        groups, self._groups = self._groups, None
        identity, self._identity = self._identity, None
        if identity is not None:
            identity.lease_until = 0.0
        if groups is not None:
            self._leaving = [one for one in self._leaving if not one.is_set()]
            self._leaving.append(groups.leave_aside(
                identity.incarnation if identity is not None else ''))

    def _live(self) -> None:
        identity = self._identity
        while not self._has_stopped.is_set() and not identity.is_dead:
            try:
                self._tick(identity)
            except Lapsed as error:
                identity.lease_until = 0.0
                self._tell(self._face.end, identity, str(error))
                return
            except Exception as error:
                # While the lease holds there is time to try again.
                self._report(error)
            self._has_stopped.wait(self._poll)

    def _tick(self, identity: membership.Identity) -> None:
        begun = now()
        if begun >= identity.lease_until:
            raise Lapsed('no heartbeat in time')
        if self._is_stuck():
            return
        groups = self._groups
        groups.heartbeat()
        if groups.exists('fence.' + identity.incarnation):
            raise Lapsed('fenced')
        members = self._members()
        if identity.incarnation not in members:
            raise Lapsed('expelled')
        if now() >= identity.lease_until:
            raise Lapsed('the heartbeat took too long')
        # From before the heartbeat: the service counts from after.
        identity.lease_until = begun + self._ttl - self._margin
        self._set_fences(members)
        leader = self._lead(identity, members)
        self._tell(self._face.snapshot, identity, members, leader)

    def _members(self) -> dict:
        """Incarnation → MemberInfo, of the living."""
        listed = self._groups.members('members')
        unknown = [one for one in listed if one not in self._known]
        if len(unknown) > 8:
            found = self._groups.all_capabilities('members')
        else:
            found = {one: self._groups.capabilities('members', one)
                     for one in unknown}
        for one in unknown:
            info = membership.member_info(found.get(one))
            if info is not None:
                self._known[one] = info, found[one].get('process')
        listed = set(listed)
        if self._is_file:
            listed = self._look_twice(listed)
        until = now() - self._ttl
        for one in list(self._known):
            if one not in listed:
                del self._known[one]
        return {one: info for one, (info, _) in self._known.items()
                if self._fences.get(one, until) >= until}

    def _look_twice(self, listed: set) -> set:
        """On files: whose process is gone is dead. Who else is missing may
        be a victim of a clock that was set; a heartbeat brings it back."""
        result = set()
        for one, (_, process) in self._known.items():
            if self._witness.is_dead(process):
                self._groups.bury(one)
                continue
            misses = 0 if one in listed else self._misses.get(one, 0) + 1
            self._misses[one] = misses
            if misses < FILE_MISSES:
                result.add(one)
        self._misses = {one: count for one, count in self._misses.items()
                        if one in result}
        return result

    def _set_fences(self, members: dict) -> None:
        """A fenced identity sees it at its next heartbeat, or has none: in
        either case its lease is over one TTL after the fence was set."""
        while self.to_fence:
            incarnation = self.to_fence[0]
            self._groups.create('fence.' + incarnation)
            self._fences[incarnation] = now()
            self.to_fence.popleft()
        for incarnation, since in list(self._fences.items()):
            if (incarnation not in self._known and
                    now() - since > FENCE_TTLS * self._ttl):
                self._groups.delete('fence.' + incarnation)
                del self._fences[incarnation]

    def _lead(self, identity: membership.Identity,
              members: dict) -> Optional[api.MemberInfo]:
        """Claim a term when nobody leads, give ours up for a higher one."""
        leaders = []
        for one, capabilities in self._groups.all_capabilities(
                'leader').items():
            # A claim of one who is not live is over.
            if one in members and one != identity.incarnation:
                leaders.append((capabilities['term'], one))
        if self._term:
            leaders.append((self._term, identity.incarnation))
        leaders.sort()
        if self._term and (self._term < self.min_term or
                           leaders[-1][1] != identity.incarnation):
            self._groups.leave('leader')
            self._tell(self._face.deposed, self._term)
            leaders.remove((self._term, identity.incarnation))
            self._term = 0
        if self._term and not self._is_term_told:
            return self._tell_claim(identity, members)
        if leaders:
            self._vacant = 0
            return members[leaders[-1][1]]
        if self._term:
            return members[identity.incarnation]
        # The oldest first, each other one poll later.
        rank = sorted(members, key=incarnations.age_key).index(
            identity.incarnation)
        self._vacant += 1
        if self._vacant > rank and not self._has_stopped.is_set():
            return self._claim(identity, members)
        return None

    def _claim(self, identity: membership.Identity,
               members: dict) -> Optional[api.MemberInfo]:
        term = self._groups.claim(self.min_term)
        if not term:
            # Suspended in the middle of a claim it would block for ever.
            self._tell(self._face.note_term, self.min_term + 1)
            return None
        # A join of before may have worked though its answer was lost.
        self._groups.leave('leader')
        self._groups.join('leader', self._capabilities(term=term))
        self._term = term
        self._is_term_told = False
        return self._tell_claim(identity, members)

    def _tell_claim(self, identity: membership.Identity,
                    members: dict) -> api.MemberInfo:
        """May fail, and is then tried again at the next tick."""
        # Whoever was a member before the claim is in this list.
        members.clear()
        members.update(self._members())
        if identity.incarnation not in members:
            raise Lapsed('expelled')
        self._tell(self._face.claimed, identity, self._term)
        self._is_term_told = True
        return members[identity.incarnation]
