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

"""The cluster as one sheep sees it: the room's face to the others."""

import asyncio
import contextlib
import dataclasses
import logging
from typing import Any, Mapping, Optional

from sheepdog.cluster import api
from sheepdog.cluster import follower as follower_module
from sheepdog.cluster import leader as leader_module
from sheepdog.cluster import ledger as ledger_module
from sheepdog.cluster import messages
from sheepdog.cluster import messenger as messenger_module
from sheepdog.cluster import pace as pace_module
from sheepdog.cluster import patrol as patrol_module
from sheepdog.cluster import roll as roll_module
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)

TTL_SECONDS = 4.0
RETRY_SECONDS = 0.05
RETRY_MAX_SECONDS = 0.25
CALL_SECONDS = 30.0
"""One try of an operation; a leader that works on it goes on doing so, and
the next try finds it."""


class _NoLeader(errors.NotServing):
    """Nobody was asked."""


class Cluster:
    """
    :param meta: the META directory
    :param info: what this sheep tells of itself; ``incarnation`` and
        ``created`` are filled in here
    :param ttl: seconds after which coordination drops who is silent, where
        the membership does not know

    ``operations`` must be set, listeners added, before ``start``.
    """

    def __init__(self, world: world_api.World, membership: api.Membership,
                 courier: api.Courier, meta: str, info: api.MemberInfo,
                 ttl: float = TTL_SECONDS):
        self._world = world
        self._membership = membership
        self._lease_valid = membership.lease_valid
        self._courier = courier
        self._meta = meta
        self._info = info
        self._pace = pace_module.Pace(getattr(membership, 'ttl', ttl))
        self._roll = roll_module.Roll()
        self._ledger: Optional[ledger_module.Ledger] = None
        self._follower: Optional[follower_module.Follower] = None
        self._leader: Optional[leader_module.Leader] = None
        self._ending: Optional[asyncio.Task] = None
        self._listeners: list = []
        self._calls: dict = {}
        self._nothing = state_module.State()
        self.operations: Optional[api.Operations] = None
        self.health: Optional[api.Health] = None
        self.slow_settings = patrol_module.SlowSettings()

    def add_listener(self, listener: api.ClusterListener) -> None:
        self._listeners.append(listener)

    # What is.

    @property
    def incarnation(self) -> str:
        return self._membership.incarnation

    @property
    def status(self) -> api.Status:
        return self._follower.status if self._follower \
            else api.Status.STARTING

    @property
    def reason(self) -> str:
        """Why the status is what it is; '' while all is well."""
        return self._follower.reason if self._follower else ''

    @property
    def state(self) -> state_module.State:
        return self._ledger.state if self._ledger else self._nothing

    @property
    def view(self) -> Optional[view_model.View]:
        """The current view, or before this sheep is in it again, the last
        one known."""
        return self.state.view

    @property
    def views(self) -> list:
        """Of the epochs that are remembered, oldest first; do not change.
        """
        return self._ledger.views if self._ledger else []

    @property
    def clean_start(self) -> bool:
        """The cluster was shut down in order before it started: nothing
        needs recovery."""
        return self._follower is not None and self._follower.clean_start

    def serving(self) -> bool:
        """Asked before each I/O and again before its answer."""
        follower = self._follower
        return (follower is not None and follower.is_serving and
                self._lease_valid())

    def explain(self) -> dict:
        """Why this sheep serves, or does not."""
        leader = self._roll.leader
        view = self.view
        return {
            'status': self.status.value,
            'reason': self.reason or getattr(self._membership, 'problem',
                                             ''),
            'missing': list(self._follower.missing) if self._follower
            else [],
            'serving': self.serving(),
            'incarnation': self.incarnation,
            'lease': self._membership.lease_valid(),
            'leader': {'host': leader.host, 'port': leader.port,
                       'incarnation': leader.incarnation}
            if leader else None,
            'is_leader': self._leader is not None,
            'term': self._ledger.promise[0] if self._ledger else 0,
            'epoch': view.epoch if view else 0,
            'sequence': self.state.sequence,
            'live': sorted('%s:%d' % (info.host, info.port)
                           for info in self._roll.members.values()),
        }

    def circumstances(self) -> dict:
        """More of the same, for who looks for the cause of trouble: JSON.
        Times are seconds since 1970."""
        now = self._world.clock.time()
        follower, leader = self._follower, self._leader
        prepared = self._ledger.prepared if self._ledger else None
        if prepared is not None and not prepared.is_pending(
                self.state.position):
            prepared = None
        membership = self._membership
        problem = getattr(membership, 'problem', '')
        return {
            'since': follower.since if follower else now,
            'lapsed': follower and follower.lapsed,
            'problem': problem,
            'problem_since': now - membership.problem_seconds
            if problem else None,
            'prepared': prepared and prepared.epoch,
            'log_failure': 'the cluster log cannot be written'
            if self._ledger and self._ledger.is_broken else '',
            'refusals': [
                {'host': host, 'port': port, 'since': since,
                 'reason': reason} for (host, port), (since, reason)
                in leader.refusals.items()] if leader else [],
        }

    def acquaintances(self) -> list:
        """Who is there according to coordination, or a member of the view:
        each with ``node``, ``incarnation``, ``host`` and ``port``."""
        found = {info.node: info for info in
                 map(self._roll.members.get, self._roll.current())}
        for member in self.view.members if self.view else ():
            found.setdefault(member.node, member)
        return list(found.values())

    # Coming and going.

    async def start(self) -> None:
        """Read what is on disk and join. Returns at once; listeners hear
        when a view begins.

        :raises LedgerRefused: what is on disk cannot be used
        :raises OSError: META cannot be used
        """
        self._ledger = await ledger_module.Ledger.open(self._world,
                                                       self._meta)
        self._follower = follower_module.Follower(
            self._world, self._ledger, self._membership, self._depose,
            self._refused)
        self._follower.listeners = self._listeners
        self._follower.health = self.health
        self._info = dataclasses.replace(
            self._info, created=self._ledger.state.created)
        self._membership.start(self._info, self,
                               self._ledger.promise[0])

    async def stop(self, clean: bool) -> None:
        """Leave in order.

        :param clean: everything this sheep stores is on disk, after a
            shutdown of the cluster: the next cold start needs no recovery
        """
        leader = self._leader
        if leader is not None and self.state.shutdown:
            # The others must hear of the shutdown before we go.
            await leader.finish()
        if self._follower is not None:
            self._follower.retire(api.Status.SHUTDOWN, 'stopped')
        self._end_leader()
        await self._membership.stop()
        if self._ending is not None:
            await asyncio.wait([self._ending])
        if self._ledger is not None:
            if clean and self.state.shutdown:
                await self._follower.mark_clean()
            else:
                await self._follower.quiesce()
            await self._ledger.close()

    # Exclusive operations.

    async def execute(self, kind: str, arguments: dict,
                      operation_id: str = '', timeout: float = 60) -> Any:
        """Run an operation alone in the cluster and exactly once, whoever
        dies meanwhile; return its result.

        :param operation_id: names it; a call with the same one again
            answers the same and does nothing
        :raises NotServing: no answer in time; whether it was done is open
        :raises SheepdogError: why it was not done
        """
        if not operation_id:
            operation_id = self._world.random.token(12).hex()
        messages.check_operation(operation_id)
        clock = self._world.clock
        deadline = clock.monotonic() + timeout
        pause = RETRY_SECONDS
        is_open = False
        while True:
            left = deadline - clock.monotonic()
            try:
                return await self._try(operation_id, kind, arguments,
                                       min(left, CALL_SECONDS))
            except (errors.Transient, errors.WaitForJoin) as error:
                # A leader that waits for others does not know yet whether
                # the one before has done it.
                if not is_open and isinstance(error, errors.WaitForJoin):
                    raise
                if clock.monotonic() + pause >= deadline:
                    raise errors.NotServing(
                        'no answer from the leader in %g s: %s'
                        % (timeout, error)) from error
                is_open = is_open or not isinstance(error, _NoLeader)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_MAX_SECONDS)

    async def _try(self, operation: str, kind: str, arguments: dict,
                   timeout: float) -> Any:
        """:raises Transient: try again, perhaps there is another leader"""
        info = self._roll.leader
        if self._leader is None and (
                info is None or info.incarnation == self.incarnation):
            raise _NoLeader('there is no leader')
        task = asyncio.ensure_future(
            self._ask(info, operation, kind, arguments, timeout))
        key = object()
        self._calls[key] = task, info and info.incarnation
        try:
            return await task
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():
                raise
            raise errors.NotServing('the leader has changed') from None
        finally:
            task.cancel()
            del self._calls[key]

    async def _ask(self, info: api.MemberInfo, operation: str, kind: str,
                   arguments: dict, timeout: float) -> Any:
        leader = self._leader
        try:
            if leader is not None:
                return await asyncio.wait_for(
                    leader.ask(operation, kind, arguments), timeout)
            answer = await self._courier.call(
                info, {'kind': 'execute', 'operation': operation,
                       'name': kind, 'arguments': arguments}, timeout)
        except asyncio.TimeoutError:
            raise errors.NotServing('it takes long') from None
        if 'result' not in answer:
            raise errors.CorruptFrame('%s:%d answers in a way unknown to us'
                                      % (info.host, info.port))
        return answer['result']

    async def complain(self, incarnation: str) -> None:
        """Tell the leader that a member cannot be reached from here; again
        each second while it is so, once ``patience`` seconds have gone by.
        """
        info = self._roll.leader
        if self._leader is not None:
            self._leader.complain(self.incarnation, incarnation)
        elif info is not None and info.incarnation != self.incarnation:
            with contextlib.suppress(errors.SheepdogError):
                await self._courier.call(
                    info, {'kind': 'complain', 'about': incarnation},
                    self._pace.call)

    @property
    def patience(self) -> float:
        """Seconds: who is dead has left the view by then."""
        return self._pace.patience

    # From the other sheep.

    async def handle(self, sender: str, message: dict) -> dict:
        """A message that came in.

        :raises SheepdogError: for the sender
        """
        if self._follower is None:
            raise errors.NotServing('starting')
        messages.checked(message)
        kind = message['kind']
        if kind not in messages.TO_THE_LEADER:
            return await self._follower.handle(sender, message)
        if self._leader is None:
            raise errors.NotServing('not the leader')
        if kind == 'complain':
            self._leader.complain(sender, message['about'])
            return {'ok': True}
        return {'result': await self._leader.ask(
            message['operation'], message['name'], message['arguments'])}

    # From coordination.

    def on_members(self, members: Mapping[str, api.MemberInfo],
                   leader: Optional[api.MemberInfo]) -> None:
        if self.status is api.Status.SHUTDOWN and not self._leader:
            return
        if self.incarnation in members:
            self._follower.appear()
        if not self._roll.update(members, leader):
            return
        if self._leader is not None:
            self._leader.roll_changed()
        current = leader and leader.incarnation
        for task, asked in list(self._calls.values()):
            if asked != current:
                task.cancel()

    def on_lapse(self, reason: str) -> None:
        LOG.warning('lapsed: %s', reason)
        self._end_leader()
        self._follower.lapse(reason)

    def on_leader(self, term: int) -> None:
        self._end_leader()
        if not term:
            return
        LOG.info('claimed term %d', term)
        messenger = messenger_module.Messenger(
            self._courier, self._roll, self.incarnation, term,
            self._follower.handle, self._deposed)
        self._leader = leader_module.Leader(
            self._world, self._pace, self._membership, self._roll, messenger,
            self._ledger, self._info.protocol, self.operations,
            lambda: self.slow_settings)
        self._leader.start(self._ending)

    def _deposed(self, term: int) -> None:
        """Somebody obeys another leader: only a term from this one on will
        do."""
        self._membership.note_term(term)
        if self._leader is not None and self._leader.term < term:
            self._end_leader()

    async def _depose(self, term: int) -> None:
        """We are about to promise that term."""
        if self._leader is not None and self._leader.term < term:
            self._end_leader()
        if self._ending is not None:
            await asyncio.wait([self._ending])

    def _end_leader(self) -> None:
        leader, self._leader = self._leader, None
        if leader is not None:
            self._ending = self._world.spawn(
                self._stop_leader(leader, self._ending), 'end of leading')

    async def _stop_leader(self, leader: leader_module.Leader,
                           previous: Optional[asyncio.Task]) -> None:
        await leader.stop()
        if previous is not None:
            await asyncio.wait([previous])

    def _refused(self) -> None:
        LOG.error('this sheep may not join: %s', self.reason)
        self._end_leader()
        self._world.spawn(self._membership.stop(), 'withdraw')
