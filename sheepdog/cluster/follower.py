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

"""A member as the leader sees it: it promises, freezes, applies, syncs.

Invariants: what is acknowledged is on disk. ``standing`` means that this
incarnation is in the view and has every decided event; it is lost with the
incarnation and regained by a sync only. A term lower than the promised one
is never obeyed.
"""

import logging
from typing import Awaitable, Callable, Optional

from sheepdog.cluster import api
from sheepdog.cluster import entries
from sheepdog.cluster import ledger as ledger_module
from sheepdog.cluster import messages
from sheepdog.cluster import state as state_module
from sheepdog.cluster import turnstile
from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)


class Follower:
    """``status``, ``reason`` and ``missing`` are for people, and so are
    ``since`` (seconds since 1970, of the status) and ``lapsed``, the last
    end of an identity: (since, reason). ``is_serving``: the status is OK.

    :param depose: called (and awaited) with a newly promised term, before
        the promise is answered: a leader of ours with a lower one must be
        at rest by then
    :param refused: called when the cluster does not take us
    """

    def __init__(self, world: world_api.World, ledger: ledger_module.Ledger,
                 membership: api.Membership,
                 depose: Callable[[int], Awaitable[None]],
                 refused: Callable[[], None]):
        self._ledger = ledger
        self._membership = membership
        self._depose = depose
        self._refused = refused
        self._turns = turnstile.Turnstile(world, 'follower')
        self._clock = world.clock
        self._view = ledger.state.view
        self._expired = ''
        self.listeners: list = []
        self.health: Optional[api.Health] = None
        self.status = api.Status.STARTING
        self.reason = 'no answer from coordination yet'
        self.missing: list = []
        self.since = world.clock.time()
        self.lapsed: Optional[tuple] = None
        self.standing = False
        self.is_serving = False
        self.clean_start = False

    async def handle(self, sender: str, message: dict) -> dict:
        """One message of a leader.

        :raises SheepdogError: it is wrong, or the disk failed
        """
        if message.get('leader') != sender:
            raise errors.InvalidParameters('not from its leader')
        try:
            return await self._turns.take(self._obey, message)
        except (errors.StorageError, errors.NoSpace) as error:
            # What cannot be remembered cannot be agreed to, and nobody
            # should wait for it.
            LOG.error('%s', error)
            if self.standing:
                self._exclude(str(error))
            raise

    async def mark_clean(self) -> None:
        await self._turns.take(self._ledger.mark_clean)

    async def quiesce(self) -> None:
        """Returns when all that was begun before is done."""
        await self._turns.take(self._nothing)

    async def _nothing(self) -> None:
        pass

    # What coordination tells.

    def appear(self) -> None:
        """Our identity is live."""
        if self._membership.incarnation == self._expired:
            return
        if self.status in (api.Status.STARTING, api.Status.LAPSED):
            self._set_status(api.Status.WAIT_FOR_JOIN,
                             'waiting for the leader')

    def lapse(self, reason: str) -> None:
        """Our identity is dead."""
        was_serving = self.status is api.Status.OK
        self.standing = False
        if self.status not in (api.Status.REFUSED, api.Status.SHUTDOWN):
            self._set_status(api.Status.LAPSED, reason)
        if was_serving:
            self._tell('on_freeze')
        self._tell('on_lapse')

    def retire(self, status: api.Status, reason: str) -> None:
        """Serve no more, for good."""
        was_serving = self.status is api.Status.OK
        self.standing = False
        self._set_status(status, reason)
        if was_serving:
            self._tell('on_freeze')

    # What the leader tells.

    async def _obey(self, message: dict) -> dict:
        refusal = self._identity_refusal(message)
        if refusal:
            return refusal
        if self._ledger.is_broken:
            raise errors.StorageError('the cluster log cannot be written')
        # Who is spoken to is live, even if the snapshot comes later.
        self.appear()
        handler = self._HANDLERS.get(message['kind'])
        if handler is None:
            raise errors.InvalidParameters('unknown message %r'
                                           % (message['kind'],))
        promise = message['term'], message['leader']
        promised = self._ledger.promise
        if promise != promised:
            if promise[0] <= promised[0]:
                # The same term twice: coordination has lost a claim.
                return {'refused': messages.REFUSED_TERM,
                        'promised': promised[0]}
            await self._depose(promise[0])
            self._membership.note_term(promise[0])
            await self._ledger.promise_term(*promise)
        answer = await handler(self, message)
        # Over meanwhile? Then whatever we did counts for nobody.
        return self._identity_refusal(message) or answer

    def _identity_refusal(self, message: dict) -> dict:
        if message['to'] in (self._expired, '') or (
                message['to'] != self._membership.incarnation):
            return {'refused': messages.REFUSED_IDENTITY}
        if not self._membership.lease_valid():
            return {'refused': messages.REFUSED_LEASE}
        return {}

    async def _survey(self, message: dict) -> dict:
        state = self._ledger.state
        return {'ok': True, 'answer': messages.Answer(
            incarnation=self._membership.incarnation,
            standing=self.standing, position=state.position,
            epoch=state.epoch, created=state.created,
            prepared=self._ledger.prepared,
            clean=self._ledger.clean == state.position).to_dict()}

    async def _fetch(self, message: dict) -> dict:
        prepared = self._ledger.prepared
        return {'ok': True, 'state': self._ledger.state.to_dict(),
                'tail': messages.pack_records(self._ledger.tail),
                'views': [view.to_dict() for view in self._ledger.views],
                'prepared': prepared and prepared.to_dict()}

    async def _prepare(self, message: dict) -> dict:
        prepared = messages.Prepared.from_dict(message['prepared'])
        position = self._ledger.state.position
        if self.standing and prepared.sequence != position[1] + 1:
            return {'refused': messages.REFUSED_GAP}
        before = self._ledger.prepared
        if before is not None and before.key > prepared.key:
            # A late double of an attempt that was given up.
            return {'refused': messages.REFUSED_GAP}
        if before != prepared:
            await self._ledger.prepare(prepared)
        if self.standing and self.status is api.Status.OK:
            self._set_status(api.Status.FROZEN, 'epoch %d is prepared'
                             % prepared.epoch)
            self._tell('on_freeze')
        return {'ok': True}

    async def _events(self, message: dict) -> dict:
        if not self.standing:
            return {'refused': messages.REFUSED_STANDING}
        sequence = self._ledger.state.sequence
        records = messages.unpack_records(message['records'])
        if records[-1].term > message['term']:
            raise errors.InvalidParameters('records of a later leader')
        if not self._is_continued_by(records):
            # Our history is another one. It cannot be taken back from who
            # has seen it, so this life ends.
            self._exclude('the history of this sheep differs')
            return {'refused': messages.REFUSED_GAP}
        records = [record for record in records
                   if record.sequence > sequence]
        if records:
            await self._ledger.append(records, self._applied)
        return {'ok': True}

    def _is_continued_by(self, records: list) -> bool:
        state = self._ledger.state
        if records[0].sequence > state.sequence + 1:
            return False
        if any(record.sequence > state.sequence and record.term < state.term
               for record in records):
            return False
        known = {record.sequence: record.term for record in self._ledger.tail}
        known[state.sequence] = state.term
        return all(known.get(record.sequence, record.term) == record.term
                   for record in records)

    async def _sync(self, message: dict) -> dict:
        state = state_module.State.from_dict(message['state'])
        if self.standing:
            # A double, or nothing that a standing member may be told.
            if self._ledger.state.position >= state.position:
                return {'ok': True}
            return {'refused': messages.REFUSED_GAP}
        incarnation = self._membership.incarnation
        if not state.is_member(incarnation):
            return {'refused': messages.REFUSED_STANDING}
        views = [view_model.View.from_dict(fields)
                 for fields in message['views']]
        await self._ledger.install(state, views)
        if self._identity_refusal(message):
            return {}
        old = views[-2] if len(views) > 1 else None
        self.clean_start = message['clean']
        self._view = state.view
        self.standing = True
        self.missing = []
        self._set_serving_status()
        self._tell('on_view', old, state.view, message['cold'])
        return {'ok': True}

    async def _waiting(self, message: dict) -> dict:
        if not self.standing and self.status in (
                api.Status.WAIT_FOR_JOIN, api.Status.WAIT_FOR_FORMAT):
            self._set_status(api.Status(message['status']),
                             message['reason'])
            self.missing = message['missing']
        return {'ok': True}

    async def _refuse(self, message: dict) -> dict:
        if self.standing:
            return {'refused': messages.REFUSED_STANDING}
        if self.status is not api.Status.REFUSED:
            self._set_status(api.Status.REFUSED, message['reason'])
            self._refused()
        return {'ok': True}

    async def _dismiss(self, message: dict) -> dict:
        self._exclude('coordination has dropped this sheep')
        return {'ok': True}

    async def _ping(self, message: dict) -> dict:
        if self.health is None:
            return {'ok': True}
        return {'ok': True, 'report': self.health.report(
            message.get('slow', ()), message.get('suspects', ()),
            bool(message.get('probe')))}

    _HANDLERS = {'survey': _survey, 'fetch': _fetch, 'prepare': _prepare,
                 'events': _events, 'sync': _sync, 'waiting': _waiting,
                 'refuse': _refuse, 'dismiss': _dismiss, 'ping': _ping}

    def _applied(self, record: entries.Record) -> None:
        """The record is in the state and on disk."""
        old, self._view = self._view, self._ledger.state.view
        if not self.standing:
            return
        if not self._ledger.state.is_member(self._membership.incarnation):
            self._exclude('the cluster went on without this sheep')
            return
        kind = record.event['kind']
        self._set_serving_status()
        if kind != 'epoch':
            self._tell('on_event', record.event)
        if self._view is not old:
            self._tell('on_view', None if kind == 'format' else old,
                       self._view, False)
        if kind == 'shutdown':
            self._tell('on_shutdown')

    def _set_serving_status(self) -> None:
        if self._ledger.state.shutdown:
            status = api.Status.SHUTDOWN
        elif (self._ledger.prepared is not None and
                self._ledger.prepared.is_pending(
                    self._ledger.state.position)):
            # Only of several records at once, and but for a moment.
            return
        else:
            status = api.Status.OK
        if self.status is not status:
            was_serving = self.status is api.Status.OK
            self._set_status(status, '')
            if was_serving:
                self._tell('on_freeze')

    def _exclude(self, reason: str) -> None:
        LOG.warning('%s: this identity ends', reason)
        self._expired = self._membership.incarnation
        self.retire(api.Status.LAPSED, reason)
        self._membership.fence(self._membership.incarnation)

    def _set_status(self, status: api.Status, reason: str) -> None:
        if (status, reason) != (self.status, self.reason):
            LOG.info('status: %s%s', status.value,
                     ' (%s)' % reason if reason else '')
            self.since = self._clock.time()
            if status is api.Status.LAPSED:
                self.lapsed = self.since, reason
        self.status, self.reason = status, reason
        self.is_serving = status is api.Status.OK

    def _tell(self, method: str, *arguments) -> None:
        listeners = self.listeners
        if method in ('on_lapse', 'on_shutdown'):
            # What stands on others must not go on using them while they
            # end what they have under way.
            listeners = reversed(listeners)
        for listener in listeners:
            getattr(listener, method)(*arguments)
