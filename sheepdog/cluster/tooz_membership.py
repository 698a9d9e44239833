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

"""Membership on tooz: ZooKeeper, etcd, Redis, or files on one machine.

One thread per process makes every tooz call, because all of them block. It
uses only what means the same on all drivers: groups (creating one has one
winner: that is how a term is claimed), members with capabilities, and
heartbeats. Groups, each prefixed with the cluster's name:

    members             who is live; capabilities: MemberInfo
    leader              who leads; capabilities: term
    term.N              exists once term N is claimed
    fence.INCARNATION   exists once that identity must end

The thread tells the loop by ``call_soon_threadsafe``; whether an identity
lives is decided in the loop alone. Nothing kept in tooz matters once it is
lost: a sheep that is not listed any more takes a new identity.
"""

import asyncio
import collections
import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import threading
import time
from typing import Any, Optional

import tooz
from tooz import coordination

from sheepdog.cluster import address as address_module
from sheepdog.cluster import api
from sheepdog.cluster import incarnations
from sheepdog.cluster import membership
from sheepdog.world import processes

LOG = logging.getLogger(__name__)

RUN_DIRECTORY = '/run/sheepdog'
RECONNECT_SECONDS = 0.5
RECONNECT_MAX_SECONDS = 4.0
TERMS_KEPT = 3
FILE_POLL_SECONDS = 0.1
FILE_MISSES = 3
FENCE_TTLS = 10
"""How long a fence is kept, in TTLs, after its identity has gone."""

now = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def from_url(text: str, ttl: float) -> 'ToozMembership':
    """
    :param text: as after ``sheep -c``, see ``address``
    :raises InvalidParameters: it is not understood
    """
    return ToozMembership(address_module.parse(
        text, ttl, os.path.join(_run_directory(), 'coordination')))


def _run_directory() -> str:
    if os.geteuid() == 0:
        return RUN_DIRECTORY
    base = os.environ.get('XDG_RUNTIME_DIR')
    if base:
        return os.path.join(base, 'sheepdog')
    return '/tmp/sheepdog-%d' % os.geteuid()  # nosec B108


class CoordinationRefused(Exception):
    """The service cannot be used as it is; the message says why."""

    exit_code = 2


class Lapsed(Exception):
    """The identity of now has ended."""


# -- tooz, in its own thread -----------------------------------------------

class _Groups:
    """The part of tooz that is the same on all drivers. Blocks.

    Everything raises what tooz and the drivers below it raise.
    """

    def __init__(self, driver: str, url: str, cluster: str,
                 incarnation: str, ttl: float):
        self._prefix = cluster + '.'
        self._wait = ttl
        self._ttl = ttl
        self._session_seconds: Optional[float] = None
        self._coordinator = coordination.get_coordinator(
            url, incarnation.encode())
        self._is_file = driver == 'file'
        if self._is_file:
            self._use_own_lock(incarnation)
        elif driver == 'zookeeper':
            self._watch_session()
        elif driver == 'redis':
            self._fail_at_once()

    def _use_own_lock(self, incarnation: str) -> None:
        """The driver holds one lock of the whole directory during every
        call: a sheep suspended just then would stop all others. Its calls
        are short, atomic enough for what is asked of them, and need a lock
        only among the threads of one process."""
        driver: Any = self._coordinator
        driver._driver_lock = driver._get_raw_lock(
            os.path.join(driver._dir, '.lock.%s'
                         % driver._make_filesystem_safe(incarnation)),
            incarnation.encode())

    def _watch_session(self) -> None:
        """The server may cut the session's length, and only kazoo's
        connection hears of it."""
        connection: Any = self._coordinator._coord._connection
        connect = connection._connect

        def watched(*arguments, **options):
            answer = connect(*arguments, **options)
            # Its read timeout is two thirds of the session, in ms.
            self._session_seconds = answer[0] * 1.5 / 1000
            return answer

        connection._connect = watched

    def _fail_at_once(self) -> None:
        """By itself redis-py tries again with growing pauses, within every
        try that tooz makes, long past any lease."""
        # Here, since no other driver needs it: 0.05 s of a start, 5 MB.
        from redis import backoff
        from redis import retry
        driver: Any = self._coordinator
        make = driver._make_client

        def made(*arguments):
            client = make(*arguments)
            client.set_retry(retry.Retry(backoff.NoBackoff(), 0))
            return client

        driver._make_client = made

    def start(self) -> None:
        if self._is_file:
            os.makedirs(self._coordinator._dir, mode=0o770, exist_ok=True)
        self._coordinator.start(start_heart=False)
        self._check_session()

    def _check_session(self) -> None:
        session = self._session_seconds
        if session is not None and session < self._ttl - 0.001:
            raise CoordinationRefused(
                'the ZooKeeper server allows sessions of %g s at most, but '
                'the TTL is %g s: raise its maxSessionTimeout or lower the '
                'TTL' % (session, self._ttl))

    def stop(self) -> None:
        self._coordinator.stop()

    def heartbeat(self) -> None:
        self._coordinator.heartbeat()
        self._check_session()

    def create(self, name: str) -> bool:
        """Whether it was us who created it."""
        try:
            self._get(self._coordinator.create_group(self._id(name)))
        except coordination.GroupAlreadyExist:
            return False
        return True

    def delete(self, name: str) -> None:
        with contextlib.suppress(tooz.ToozError):
            self._get(self._coordinator.delete_group(self._id(name)))

    def exists(self, name: str) -> bool:
        try:
            self._get(self._coordinator.get_members(self._id(name)))
        except coordination.GroupNotCreated:
            return False
        return True

    def join(self, name: str, capabilities: dict) -> None:
        self.create(name)
        self._get(self._coordinator.join_group(self._id(name),
                                               capabilities))

    def leave(self, name: str) -> None:
        with contextlib.suppress(tooz.ToozError):
            self._get(self._coordinator.leave_group(self._id(name)))

    def members(self, name: str) -> list:
        return [_text(one) for one in self._get(
            self._coordinator.get_members(self._id(name)))]

    def capabilities(self, name: str, incarnation: str) -> Optional[dict]:
        try:
            return self._get(self._coordinator.get_member_capabilities(
                self._id(name), incarnation.encode()))
        except coordination.MemberNotJoined:
            return None

    def all_capabilities(self, name: str) -> dict:
        found = self._get(
            self._coordinator.get_members_with_capabilities(self._id(name)))
        return {_text(one): capabilities
                for one, capabilities in found.items() if capabilities}

    def claim(self, least: int) -> int:
        """Claim a term above all there are and above ``least``; 0: another
        was faster."""
        prefix = self._prefix + 'term.'
        names = map(_text, self._get(self._coordinator.get_groups()))
        terms = sorted(int(name[len(prefix):]) for name in names
                       if name.startswith(prefix) and
                       name[len(prefix):].isdigit())
        term = max(terms + [least]) + 1
        with self._term_lock(term) as is_ours:
            if not is_ours or not self.create('term.%010d' % term):
                return 0
        for old in terms[:1 - TERMS_KEPT]:
            self.delete('term.%010d' % old)
            if self._is_file:
                driver: Any = self._coordinator
                _unlink(os.path.join(driver._dir, self._lock_name(old)))
        return term

    def _lock_name(self, term: int) -> str:
        return '%slock.%010d' % (self._prefix, term)

    @contextlib.contextmanager
    def _term_lock(self, term: int):
        """On files two may create the same group. A lock for each term,
        since a suspended sheep keeps the one it has."""
        if not self._is_file:
            yield True
            return
        lock = self._coordinator.get_lock(self._lock_name(term).encode())
        if not lock.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def bury(self, incarnation: str) -> None:
        """On files the dead stay listed until somebody removes them."""
        if not self._is_file:
            return
        driver: Any = self._coordinator
        name = driver._make_filesystem_safe(incarnation)
        for group in ('members', 'leader'):
            _unlink(os.path.join(
                driver._group_dir, driver._make_filesystem_safe(
                    self._id(group)), name + '.raw'))
        _unlink(os.path.join(driver._dir, '.lock.' + name))

    def _id(self, name: str) -> bytes:
        return (self._prefix + name).encode()

    def _get(self, result):
        return result.get(timeout=self._wait)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else name


class _Heart(threading.Thread):
    """The thread. ``face`` is called through ``_tell`` only."""

    def __init__(self, face: 'ToozMembership', loop):
        super().__init__(daemon=True, name='coordination')
        self._face = face
        self._loop = loop
        self._address = face.address
        self._ttl = face.address.ttl
        self._margin = membership.margin_seconds(self._ttl)
        self._is_file = face.address.driver == 'file'
        self._witness = processes.Witness() if self._is_file else None
        self._poll = (FILE_POLL_SECONDS if self._is_file
                      else min(0.5, self._ttl / 8))
        self._urls = itertools.cycle(face.address.urls)
        self._last_start = 0
        self._has_stopped = threading.Event()
        self._groups: Optional[_Groups] = None
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
        text = str(error)
        if not isinstance(error, CoordinationRefused):
            text = '%s does not answer: %s' % (
                self._address.place, text or type(error).__name__)
        if not isinstance(error, (tooz.ToozError, CoordinationRefused)):
            LOG.debug('coordination', exc_info=error)
        self._tell(self._face.report, text)

    def _begin(self) -> None:
        """Take a new identity."""
        start = max(time.time_ns(), self._last_start + 1)
        self._last_start = start
        incarnation = incarnations.name(self._face.info.node, start)
        self._groups = _Groups(self._address.driver, next(self._urls),
                               self._address.cluster, incarnation, self._ttl)
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
            left = threading.Event()
            self._leaving = [one for one in self._leaving if not one.is_set()]
            self._leaving.append(left)
            threading.Thread(
                target=_leave,
                args=(groups, identity and identity.incarnation, left),
                daemon=True, name='coordination-leave').start()

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


def _leave(groups: _Groups, incarnation: Optional[str],
           left: threading.Event) -> None:
    try:
        if incarnation is not None:
            groups.leave('leader')
            groups.leave('members')
            groups.bury(incarnation)
    except Exception as error:
        LOG.debug('leaving: %s', error)
    finally:
        # What follows may take a second, and nobody needs to wait for it.
        left.set()
    _stop(groups)


def _stop(groups: _Groups) -> None:
    with contextlib.suppress(Exception):
        groups.stop()


class ToozMembership(membership.LeasedMembership):
    """See ``api.Membership``."""

    def __init__(self, address: address_module.Address):
        super().__init__(address.ttl, now)
        self.address = address

    def make_heart(self) -> _Heart:
        return _Heart(self, asyncio.get_running_loop())

    def check(self) -> list:
        """Try the service out; blocks. To be called before ``start``.

        :returns: ``MemberInfo`` of all who are listed, dead or alive
        :raises CoordinationRefused: it does not answer, or not well
        """
        refusal = None
        for url in self.address.urls:
            try:
                return self._check(url)
            except CoordinationRefused as error:
                refusal = error
        raise refusal

    def _check(self, url: str) -> list:
        name = 'check.%016x' % time.time_ns()
        groups = None
        try:
            groups = _Groups(self.address.driver, url, self.address.cluster,
                             name, self.ttl)
            groups.start()
            groups.heartbeat()
            try:
                listed = groups.all_capabilities('members')
            except coordination.GroupNotCreated:
                listed = {}
            infos = map(membership.member_info, listed.values())
            return [info for info in infos if info is not None]
        except CoordinationRefused:
            raise
        except Exception as error:
            raise CoordinationRefused('%s does not answer: %s' % (
                self.address.place, str(error) or type(error).__name__)
            ) from error
        finally:
            if groups is not None:
                with contextlib.suppress(Exception):
                    groups.bury(name)
                # Aside: the file driver's takes a second.
                threading.Thread(target=_stop, args=(groups,), daemon=True,
                                 name='coordination-check').start()
