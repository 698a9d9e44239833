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

"""From a claimed term to a leader that may act: take over, start, found.

The ways, by who is there:
- somebody stands: the cluster runs, go on where the most advanced is;
- nobody stands, but all members of the last epoch are there: a cold start,
  at the same epoch;
- some are missing: wait, and say for whom; an operator may force it;
- nobody knows of an epoch: wait for format.
"""

import logging
from typing import Callable, Optional

from sheepdog.cluster import api
from sheepdog.cluster import decisions
from sheepdog.cluster import delivery as delivery_module
from sheepdog.cluster import incarnations
from sheepdog.cluster import ledger as ledger_module
from sheepdog.cluster import messages
from sheepdog.cluster import messenger as messenger_module
from sheepdog.cluster import pace as pace_module
from sheepdog.cluster import roll as roll_module
from sheepdog.cluster import roster
from sheepdog.cluster import sequencer as sequencer_module
from sheepdog.cluster import state as state_module
from sheepdog.cluster import survey as survey_module
from sheepdog.cluster import takeover
from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.world import api as world_api
from sheepdog.world import futures

LOG = logging.getLogger(__name__)

FORCED_EPOCH_STEP = 1000
"""A forced start goes on at the next multiple of this: whatever epochs the
missing members have seen, their numbers are not used again."""


FETCH_MAX_SECONDS = 60.0

SNAPSHOTS_AFTER_CLAIM = 3
"""A snapshot that comes after the claim may have been made before it, and
may come twice; the third is later for certain."""


class Request(futures.Awaited):
    """A format or a forced recovery that somebody waits for."""

    def __init__(self, operation: str, kind: str, arguments: dict):
        super().__init__()
        self.operation = operation
        self.kind = kind
        self.arguments = arguments


def absence(members: list) -> str:
    return 'waiting for %s' % ', '.join(
        '%s:%d' % (member.host, member.port) for member in members)


def _decoded(reply: dict) -> tuple:
    """:raises InvalidParameters: it makes no sense"""
    prepared = reply.get('prepared')
    return (state_module.State.from_dict(reply['state']),
            messages.unpack_records(reply['tail']),
            [view_model.View.from_dict(view) for view in reply['views']],
            messages.Prepared.from_dict(prepared) if prepared else None)


class Opening:
    """``phase``: 'survey', 'format', 'join' (the last two: waiting).
    ``missing``: the members waited for. ``request``: set from outside."""

    def __init__(self, world: world_api.World, pace: pace_module.Pace,
                 roll: roll_module.Roll,
                 messenger: messenger_module.Messenger,
                 ledger: ledger_module.Ledger, protocol: int,
                 delivery: delivery_module.Delivery,
                 survey: survey_module.Survey,
                 sequencer: sequencer_module.Sequencer,
                 refresh: Callable[[], None]):
        self._world = world
        self._pace = pace
        self._roll = roll
        self._messenger = messenger
        self._ledger = ledger
        self._protocol = protocol
        self._delivery = delivery
        self._survey = survey
        self._sequencer = sequencer
        self._refresh = refresh
        self._loaded: dict = {}
        self._told: dict = {}
        self._snapshots_needed = 0
        self._answers: dict = {}
        self._fetch_seconds = pace.call
        self.phase = 'survey'
        self.missing: list = []
        self.request: Optional[Request] = None

    async def run(self, pause: Callable) -> None:
        """Returns when the sequencer has standing members."""
        began = self._world.clock.monotonic()
        self._snapshots_needed = (self._roll.snapshots +
                                  SNAPSHOTS_AFTER_CLAIM)
        while True:
            self._refresh()
            if self._messenger.own not in self._survey.answers:
                await pause()
                continue
            unanswered = self._survey.unanswered()
            waited = self._world.clock.monotonic() - began
            if not unanswered or waited > self._pace.grace:
                # One look decides, whatever comes in while we act on it.
                self._answers = dict(self._survey.answers)
                found = takeover.examine(self._answers.values(),
                                         self._messenger.own)
                if isinstance(found, takeover.Warm):
                    is_done = await self._adopt(found, unanswered)
                else:
                    is_done = await self._begin(found, unanswered)
                if is_done:
                    break
            await pause()
        self._loaded, self._told, self.missing = {}, {}, []

    # Somebody stands.

    async def _adopt(self, found: takeover.Warm, unanswered: list) -> bool:
        loaded = await self._load(found.best)
        if loaded is None:
            return False
        state, tail, views = loaded
        seats = [state.view]
        prepared = found.prepared
        if prepared is not None:
            prepared = await self._load_prepared(prepared, found.holder)
            if prepared is None:
                return False
            seats.append(prepared.view)
        if self._roll.snapshots < self._snapshots_needed and not all(
                self._roll.has_seen(member.incarnation)
                for view in seats for member in view.members):
            # They seem to be gone, but perhaps we have not seen them yet.
            return False
        # Who may be standing without our knowing must be heard, or die.
        silent = [one for one in unanswered if any(
            view.member(one) is not None for view in seats)]
        if silent:
            self._delivery.members = tuple(
                member.incarnation for member in state.view.members)
            for incarnation in silent:
                self._delivery.suspect(incarnation)
            return False
        self._sequencer.begin(state, views, (
            answer.incarnation for answer in found.standing))
        # What one has already goes to all, from the last record that the
        # other has on: if that is another one, it says so.
        sendings = {}
        for answer in found.standing:
            if answer.position < state.position:
                records = [record for record in tail
                           if record.sequence >= answer.position[1]]
                if not records:
                    self._sequencer.drop(answer.incarnation)
                    continue
                sendings[answer.incarnation] = {
                    'kind': 'events',
                    'records': messages.pack_records(records)}
        await self._sequencer.catch_up(sendings)
        if prepared is not None:
            await self._sequencer.prepare_again(prepared.view,
                                                state.created)
            await self._sequencer.announce([self._sequencer.add(
                {'kind': 'epoch', 'view': prepared.view.to_dict()})])
        return True

    async def _load(self, answer: messages.Answer) -> Optional[tuple]:
        """→ (state, newest records, views), as it answered; None if it has
        gone on or away."""
        key = answer.incarnation, answer.position
        if key not in self._loaded:
            if answer.incarnation == self._messenger.own:
                loaded = (self._ledger.state, list(self._ledger.tail),
                          list(self._ledger.views))
            else:
                reply = await self._fetch(answer.incarnation)
                if reply is None:
                    return None
                loaded = reply[:3]
            if loaded[0].position != answer.position:
                self._survey.restart()
                return None
            self._loaded[key] = loaded
        state, tail, views = self._loaded[key]
        return state.copy(), tail, views

    async def _load_prepared(self, prepared: messages.Prepared,
                             holder: str) -> Optional[messages.Prepared]:
        key = holder, 'prepared', prepared.key
        if key not in self._loaded:
            if holder == self._messenger.own:
                loaded = self._ledger.prepared
            else:
                reply = await self._fetch(holder)
                if reply is None or reply[3] is None:
                    return None
                loaded = reply[3]
            if loaded is None or loaded.key != prepared.key:
                self._survey.restart()
                return None
            self._loaded[key] = loaded
        return self._loaded[key]

    async def _fetch(self, incarnation: str) -> Optional[tuple]:
        """→ (state, newest records, views, prepared epoch or None)."""
        try:
            reply = await self._messenger.call(
                incarnation, {'kind': 'fetch'}, self._fetch_seconds)
            return _decoded(reply) if reply.get('ok') else None
        except errors.SheepdogError as error:
            LOG.warning('cannot fetch from %s: %s', incarnation, error)
            # How much there is only the other knows.
            self._fetch_seconds = min(2 * self._fetch_seconds,
                                      FETCH_MAX_SECONDS)
            return None

    # Nobody stands.

    async def _begin(self, groups: list, unanswered: list) -> bool:
        formatted, waiting = [], []
        for group in groups:
            if not group.created:
                continue
            loaded = group.best and await self._load(group.best)
            if group.best and not loaded:
                return False
            # Those of the last epoch must have it; of a prepared one it is
            # enough that they answer, and do not know of its decision.
            absent = takeover.missing(
                loaded[0].view.members if loaded else (),
                self._present(group.created))
            for prepared, holder in group.pending:
                prepared = await self._load_prepared(prepared, holder)
                if prepared is None:
                    return False
                absent += takeover.missing(
                    takeover.needed(prepared, self._answers.values()),
                    map(incarnations.node_of, self._answers))
            if absent:
                waiting.extend(absent)
            elif loaded:
                # All are here, so what was prepared was not decided.
                return await self._start(loaded)
            if loaded:
                formatted.append(loaded)
        self.phase = 'join' if waiting else 'format'
        self.missing = waiting
        if self.request is not None:
            return await self._obey(formatted, unanswered)
        self._tell_waiting(formatted)
        return False

    def _present(self, created: int) -> list:
        """Nodes whose store is of that cluster, or was about to be: who was
        killed while its cluster was formatted anew has agreed to that."""
        return [incarnations.node_of(incarnation) for incarnation, answer
                in self._answers.items()
                if created in takeover.clusters_of(answer)]

    async def _start(self, loaded: tuple) -> bool:
        """Cold, at the epoch of before."""
        state, _, views = loaded
        infos = {}
        clean = True
        for member in state.view.members:
            incarnation = self._roll.newest.get(member.node)
            answer = self._answers.get(incarnation)
            if answer is None:
                return False
            infos[member.node] = self._roll.members[incarnation]
            clean = (clean and answer.clean and
                     answer.position == state.position)
        view = roster.reincarnate(state.view, infos)
        LOG.info('cold start at epoch %d%s', view.epoch,
                 ' after a clean shutdown' if clean else '')
        self._sequencer.begin(state, views, ())
        self._sequencer.add({'kind': 'epoch', 'view': view.to_dict()})
        return await self._sync_all(view, cold=True, clean=clean)

    async def _sync_all(self, view: view_model.View, cold: bool = False,
                        clean: bool = False) -> bool:
        # From now on some serve, and an operation is to be asked again.
        self.phase = 'survey'
        await self._sequencer.sync(
            [member.incarnation for member in view.members], cold, clean)
        if not self._sequencer.standing:
            raise sequencer_module.LostMembers()
        return True

    # What an operator asks for.

    async def _obey(self, formatted: list, unanswered: list) -> bool:
        request = self.request
        try:
            if request.kind == 'format':
                return await self._format(request, unanswered)
            return await self._force(request, formatted, unanswered)
        except errors.SheepdogError as error:
            request.fail(error)
            self.request = None
            return False

    async def _format(self, request: Request, unanswered: list) -> bool:
        if unanswered:
            # It may be one of a cluster that runs.
            raise errors.NotServing('no answer from %s' % ', '.join(
                '%s:%d' % (info.host, info.port) for info in map(
                    self._roll.members.get, unanswered) if info))
        if self.phase == 'join' and not request.arguments.get('force'):
            raise errors.WaitForJoin(absence(self.missing))
        infos = self.acceptable(None)
        settings = decisions.format_settings(
            request.arguments, infos, self._world.clock.time())
        view = self._sequencer.view(1, roster.compose(
            infos, None, settings.reference_space))
        self._sequencer.begin(state_module.State(), [], ())
        return await self._found(
            request, view, settings.created,
            {'kind': 'format', 'settings': settings.to_dict(),
             'view': view.to_dict()})

    async def _force(self, request: Request, formatted: list,
                     unanswered: list) -> bool:
        if not formatted:
            raise errors.WaitForFormat('the cluster is not formatted')
        if len(formatted) > 1:
            raise errors.InvalidParameters(
                'stores of %d clusters are here: stop those of all but one'
                % len(formatted))
        if unanswered:
            # One of them may be standing. It must not, from now on.
            for incarnation in unanswered:
                self._delivery.fence(incarnation, 'out of reach while a '
                                     'recovery is forced')
            return False
        state, _, views = formatted[0]
        settings = state.settings
        infos = self.acceptable(settings)
        # Never the very next epoch: a gap tells that it was by force.
        steps = (state.epoch + 1) // FORCED_EPOCH_STEP + 1
        epoch = steps * FORCED_EPOCH_STEP
        view = self._sequencer.view(epoch, roster.compose(
            infos, state.view, settings.reference_space, state.spaces,
            state.vnodes, state.evicted_nodes()))
        self._sequencer.begin(state, views, ())
        return await self._found(
            request, view, settings.created,
            {'kind': 'epoch', 'view': view.to_dict()})

    async def _found(self, request: Request, view: view_model.View,
                     created: int, event: dict) -> bool:
        failed = await self._sequencer.prepare(view, created)
        if failed:
            LOG.warning('cannot prepare epoch %d on %s', view.epoch,
                        ', '.join(failed))
            return False
        result = {'epoch': view.epoch, 'created': created}
        self._sequencer.add(event, request.operation, result)
        await self._sync_all(view)
        self.request = None
        request.succeed(result)
        return True

    def acceptable(self, settings: Optional[view_model.ClusterSettings]
                   ) -> list:
        """Infos of those who answered and may be members."""
        infos = []
        for incarnation, answer in self._answers.items():
            info = self._roll.members.get(incarnation)
            if info is not None and not roster.refusal(
                    info, takeover.created_of(answer), self._protocol,
                    settings):
                infos.append(info)
        return infos

    # What people should know meanwhile.

    def _tell_waiting(self, formatted: list) -> None:
        if self.phase == 'format':
            status = api.Status.WAIT_FOR_FORMAT
            reason = 'the cluster is not formatted'
        else:
            status = api.Status.WAIT_FOR_JOIN
            reason = absence(self.missing)
        if len(formatted) > 1:
            reason += ' (stores of %d clusters are here)' % len(formatted)
        notice = {'kind': 'waiting', 'status': status.value,
                  'reason': reason,
                  'missing': ['%s:%d' % (member.host, member.port)
                              for member in self.missing]}
        for incarnation in self._answers:
            if self._told.get(incarnation) != notice:
                self._told[incarnation] = notice
                self._world.spawn(self._tell(incarnation, notice), 'tell')

    async def _tell(self, incarnation: str, notice: dict) -> None:
        try:
            await self._messenger.call(incarnation, notice, self._pace.call)
        except (errors.SheepdogError, messenger_module.Deposed):
            self._told.pop(incarnation, None)
