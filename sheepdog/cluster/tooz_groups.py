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

"""What a membership needs of tooz, and what each driver needs beside it.

The only module that imports tooz. It uses only what means the same on all
drivers: groups (creating one has one winner: that is how a term is claimed),
members with capabilities, and heartbeats. Groups, each prefixed with the
cluster's name:

    members             who is live; capabilities: MemberInfo
    leader              who leads; capabilities: term
    term.N              exists once term N is claimed
    fence.INCARNATION   exists once that identity must end

Every call blocks.
"""

import contextlib
import logging
import os
import threading
import time
from typing import Any, Optional

import tooz
from tooz import coordination

from sheepdog.cluster import address as address_module

LOG = logging.getLogger(__name__)

TERMS_KEPT = 3


class CoordinationRefused(Exception):
    """The service cannot be used as it is; the message says why."""

    exit_code = 2


class Groups:
    """The part of tooz that is the same on all drivers. Blocks.

    Everything raises what tooz and the drivers below it raise.
    """

    def __init__(self, address: address_module.Address, url: str,
                 incarnation: str):
        """:param url: one of the address's"""
        driver = address.driver
        self._prefix = address.cluster + '.'
        self._ttl = address.ttl
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

    def leave_aside(self, incarnation: str) -> threading.Event:
        """Take an identity off the lists in a thread of its own, and stop.

        :param incarnation: '' if it is on none
        :returns: set when it is done, or will not be
        """
        left = threading.Event()
        threading.Thread(target=self._leave, args=(incarnation, left),
                         daemon=True, name='coordination-leave').start()
        return left

    def stop_aside(self) -> None:
        """The file driver's takes a second."""
        threading.Thread(target=self._stop, daemon=True,
                         name='coordination-check').start()

    def _leave(self, incarnation: str, left: threading.Event) -> None:
        try:
            if incarnation:
                self.leave('leader')
                self.leave('members')
                self.bury(incarnation)
        except Exception as error:
            LOG.debug('leaving: %s', error)
        finally:
            # What follows may take a second, and nobody needs to wait.
            left.set()
        self._stop()

    def _stop(self) -> None:
        with contextlib.suppress(Exception):
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
        with self._written_aside(name):
            self._get(self._coordinator.join_group(self._id(name),
                                                   capabilities))

    @contextlib.contextmanager
    def _written_aside(self, name: str):
        """The driver writes the file of a member in its place, and without
        the lock of all others read it half written: it is written where
        nobody looks, and put there whole."""
        if not self._is_file:
            yield
            return
        driver: Any = self._coordinator
        member = driver._safe_member_id
        file_name = member + '.raw'
        group = os.path.join(driver._group_dir, driver._make_filesystem_safe(
            self._id(name)))
        aside = os.path.join(driver._tmpdir, file_name)
        # What an attempt that failed has left.
        _unlink(aside)
        driver._safe_member_id = os.path.join(
            os.path.relpath(driver._tmpdir, group), member)
        try:
            yield
        finally:
            driver._safe_member_id = member
        os.replace(aside, os.path.join(group, file_name))

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
        return result.get(timeout=self._ttl)


def describe(error: Exception, place: str) -> str:
    """What keeps the service from being used, for operators.

    :param error: what a call of ``Groups`` raised
    """
    if isinstance(error, CoordinationRefused):
        return str(error)
    if not isinstance(error, tooz.ToozError):
        LOG.debug('coordination', exc_info=error)
    return '%s does not answer: %s' % (
        place, str(error) or type(error).__name__)


def check(address: address_module.Address, url: str) -> dict:
    """Try the service out.

    :returns: the capabilities of all listed members, dead or alive
    :raises CoordinationRefused: it does not answer, or not well
    """
    name = 'check.%016x' % time.time_ns()
    groups = None
    try:
        groups = Groups(address, url, name)
        groups.start()
        groups.heartbeat()
        return groups.all_capabilities('members')
    except coordination.GroupNotCreated:
        return {}
    except CoordinationRefused:
        raise
    except Exception as error:
        raise CoordinationRefused(
            describe(error, address.place)) from error
    finally:
        if groups is not None:
            with contextlib.suppress(Exception):
                groups.bury(name)
            groups.stop_aside()


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else name
