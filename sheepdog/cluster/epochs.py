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

"""The epochs of a term after its first: members come and go.

A new view is prepared by all members that stay, then announced as an event,
and sent to those who come. Called by the leader's one task only.
"""

import asyncio
import logging
from typing import Any, Callable

from sheepdog.cluster import admission as admission_module
from sheepdog.cluster import decisions
from sheepdog.cluster import messenger as messenger_module
from sheepdog.cluster import opening as opening_module
from sheepdog.cluster import pace as pace_module
from sheepdog.cluster import roll as roll_module
from sheepdog.cluster import roster
from sheepdog.cluster import sequencer as sequencer_module
from sheepdog.cluster import survey as survey_module
from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)


class Epochs:
    """``is_due``: something may have changed, so ``tend`` must look.

    :param refresh: takes in what the roll and the survey have learnt
    """

    def __init__(self, clock: world_api.Clock, pace: pace_module.Pace,
                 roll: roll_module.Roll,
                 messenger: messenger_module.Messenger,
                 survey: survey_module.Survey,
                 sequencer: sequencer_module.Sequencer,
                 admission: admission_module.Admission,
                 refresh: Callable[[], None]):
        self._clock = clock
        self._pace = pace
        self._roll = roll
        self._messenger = messenger
        self._survey = survey
        self._sequencer = sequencer
        self._admission = admission
        self._refresh = refresh
        self.is_due = True

    async def tend(self) -> bool:
        """Returns whether anything was done. Looking costs something with
        thousands of members, so it is done when something may have changed.
        """
        self._admission.judge()
        if await self._sync_absent() or await self._change_epoch():
            return True
        self.is_due = self._admission.is_pending() or self.is_soon_more()
        return False

    def is_soon_more(self) -> bool:
        """Somebody has just come and is about to answer: one epoch for all,
        rather than one for its leaving and one for its return."""
        now = self._clock.monotonic()
        return any(now - since < self._pace.welcome
                   for since in self._survey.asked.values())

    async def _sync_absent(self) -> bool:
        """Members of the view that have not got its state: a leader died
        between deciding the epoch and telling them."""
        sequencer = self._sequencer
        absent = [member.incarnation for member
                  in sequencer.state.view.members
                  if member.incarnation not in sequencer.standing and
                  member.incarnation in self._survey.answers and
                  self._roll.is_current(member.incarnation) and
                  not self._admission.is_held(member.incarnation)]
        if not absent:
            return False
        self._admission.hold(await sequencer.sync(absent))
        return True

    async def _change_epoch(self) -> bool:
        sequencer = self._sequencer
        state = sequencer.state
        members = roster.compose(self._admission.eligible(), state.view,
                                 state.settings.reference_space,
                                 state.spaces, state.vnodes,
                                 state.evicted_nodes())
        if members == state.view.members and not state.wants_epoch():
            if not sequencer.is_prepared:
                return False
            # Whoever was to join is gone, and all are frozen for it.
            await sequencer.announce([sequencer.add({'kind': 'resume'})])
            return True
        if self.is_soon_more():
            return False
        if not any(member.incarnation in sequencer.standing
                   for member in members):
            raise sequencer_module.LostMembers()
        view = sequencer.view(state.epoch + 1, members)
        await self._decide(
            view, state.created, {'kind': 'epoch', 'view': view.to_dict()})
        return True

    async def _decide(self, view: view_model.View, created: int,
                      event: dict, operation: str = '',
                      result: Any = None) -> bool:
        """Returns whether the view is one now: all of its members that
        stood have prepared it."""
        sequencer = self._sequencer
        failed, _ = await asyncio.gather(sequencer.prepare(view, created),
                                         self._dismiss(view))
        self._refresh()
        staying = {member.incarnation for member in view.members
                   if member.incarnation in sequencer.standing}
        if failed:
            self._admission.hold([one for one in failed
                                  if one not in sequencer.standing])
            return False
        if not staying:
            raise sequencer_module.LostMembers()
        LOG.info('epoch %d: %d members', view.epoch, len(view.members))
        record = sequencer.add(event, operation, result)
        # The others are dead, or their node has begun a new life.
        sequencer.standing = staying
        await sequencer.announce([record])
        joining = [member.incarnation for member in view.members
                   if member.incarnation not in sequencer.standing]
        self._admission.hold(await sequencer.sync(joining))
        return True

    async def _dismiss(self, view: view_model.View) -> None:
        """Whoever drops out is dead, or has lapsed: its lease is over. If
        coordination lost it before its time (its server forgot), then it
        does not know yet, and a word will do."""
        staying = {member.node for member in view.members}
        await asyncio.gather(*(
            self._messenger.dismiss(member, self._pace.farewell)
            for member in self._sequencer.state.view.members
            if member.node not in staying and
            not self._roll.is_current(member.incarnation)))

    async def reformat(self, request: opening_module.Request) -> bool:
        """Format or forced recovery, asked for while the cluster runs.
        Returns whether the request is answered; if not, try again."""
        state = self._sequencer.state
        done = state.operations.get(request.operation)
        if done is not None:
            # Its answer was lost with the members that gave it.
            request.succeed(done.result)
            return True
        try:
            if request.kind != 'format':
                raise errors.InvalidParameters('the cluster runs')
            if not request.arguments.get('force'):
                raise errors.InvalidParameters(
                    'the cluster is formatted already')
            infos = self._admission.eligible()
            settings = decisions.format_settings(
                request.arguments, infos, self._clock.time())
            view = self._sequencer.view(state.epoch + 1, roster.compose(
                infos, None, settings.reference_space))
            result = {'epoch': view.epoch, 'created': settings.created}
            is_done = await self._decide(
                view, settings.created,
                {'kind': 'format', 'settings': settings.to_dict(),
                 'view': view.to_dict()}, request.operation, result)
        except errors.SheepdogError as error:
            request.fail(error)
            return True
        if is_done:
            request.succeed(result)
        return is_done
