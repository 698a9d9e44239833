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

"""The leader's hand on the total order: what comes next, and to whom.

It keeps a copy of the state for itself. A record is applied here first
(that checks it), then sent to every standing member, and decided when each
has acknowledged it or is known to be dead.
"""

from typing import Any, Iterable

from sheepdog.cluster import delivery as delivery_module
from sheepdog.cluster import entries
from sheepdog.cluster import messages
from sheepdog.cluster import pace as pace_module
from sheepdog.cluster import state as state_module
from sheepdog.model import view as view_model
from sheepdog.world import api as world_api


class LostMembers(Exception):
    """No standing member is left: who is there must be asked anew."""


class Sequencer:
    """``standing``: incarnations that have all records. ``is_prepared``:
    members were frozen for an epoch that is not decided yet."""

    def __init__(self, clock: world_api.Clock, pace: pace_module.Pace,
                 term: int, delivery: delivery_module.Delivery):
        self._clock = clock
        self._pace = pace
        self._term = term
        self._delivery = delivery
        self._attempt = 0
        self.state = state_module.State()
        self.views: list = []
        self.standing: set = set()
        self.is_prepared = False

    def begin(self, state: state_module.State, views: list,
              standing: Iterable[str]) -> None:
        self.state = state
        self.views = list(views)
        self.standing = set(standing)
        self.is_prepared = False
        self._look_after_members()

    def view(self, epoch: int, members: tuple) -> view_model.View:
        return view_model.View(epoch, self._term, self._clock.time(),
                               members)

    def add(self, event: dict, operation: str = '',
            result: Any = None) -> entries.Record:
        """Put an event at the end of the order; ``announce`` it next.

        :raises SheepdogError: it is not possible, nothing has changed
        """
        view = self.state.view
        record = self.state.next_record(self._term, self._clock.time(),
                                        event, operation, result)
        self.state.apply(record)
        if self.state.view is not view:
            if event['kind'] == 'format':
                self.views = []
            if self.views and self.views[-1].epoch >= self.state.epoch:
                self.views.pop()
            self.views.append(self.state.view)
            self.is_prepared = False
            self._look_after_members()
        elif event['kind'] == 'resume':
            self.is_prepared = False
        return record

    async def announce(self, records: list) -> None:
        """Returns when the records are decided.

        :raises LostMembers: nobody is left who has them
        """
        message = {'kind': 'events',
                   'records': messages.pack_records(records)}
        await self.catch_up({incarnation: message for incarnation
                             in sorted(self.standing)})

    async def catch_up(self, sendings: dict) -> None:
        """Each of these members must take its message, or fall.

        :raises LostMembers: all have fallen
        """
        outcomes = await self._delivery.reach_all(sendings)
        for incarnation, outcome in outcomes.items():
            if outcome is delivery_module.Outcome.DONE:
                continue
            if outcome is delivery_module.Outcome.REFUSED:
                self.drop(incarnation)
            self.standing.discard(incarnation)
        if not self.standing:
            raise LostMembers()

    def drop(self, incarnation: str) -> None:
        """Its history is another one, or too old to be continued."""
        self.standing.discard(incarnation)
        self._delivery.fence(incarnation, 'its history differs')

    async def prepare(self, view: view_model.View, created: int) -> list:
        """Freeze the members of a next view. Returns who did not agree; if
        nobody, then the view may be decided."""
        message = self._prepare_message(view, created)
        joining = {member.incarnation: message for member in view.members
                   if member.incarnation not in self.standing}
        # Joiners first, and not for long: if one fails, nobody was frozen.
        failed = _failed(await self._delivery.reach_all(
            joining, self._pace.call))
        if not failed:
            self.is_prepared = True
            failed = await self._freeze(message, [
                member.incarnation for member in view.members
                if member.incarnation in self.standing])
        return failed

    async def prepare_again(self, view: view_model.View,
                            created: int) -> None:
        """Freeze all who stand, for a view that an earlier leader prepared
        and perhaps not with everybody: nobody may serve the old one when
        the first begins with this.

        :raises LostMembers: nobody is left to be frozen
        """
        self.is_prepared = True
        message = self._prepare_message(view, created)
        self.standing.difference_update(
            await self._freeze(message, sorted(self.standing)))
        if not self.standing:
            raise LostMembers()

    def _prepare_message(self, view: view_model.View,
                         created: int) -> dict:
        self._attempt += 1
        return {'kind': 'prepare', 'prepared': messages.Prepared(
            epoch=view.epoch, term=self._term, attempt=self._attempt,
            sequence=self.state.sequence + 1, created=created,
            view=view).to_dict()}

    async def _freeze(self, message: dict, incarnations: list) -> list:
        outcomes = await self._delivery.reach_all(
            {incarnation: message for incarnation in incarnations})
        for incarnation, outcome in outcomes.items():
            if outcome is delivery_module.Outcome.REFUSED:
                self._delivery.fence(incarnation, 'its history differs')
        return _failed(outcomes)

    async def sync(self, incarnations: Iterable[str], cold: bool = False,
                   clean: bool = False) -> list:
        """Bring members of the view to the state. Returns who failed."""
        message = {'kind': 'sync', 'state': self.state.to_dict(),
                   'views': [view.to_dict() for view in self.views],
                   'cold': cold, 'clean': clean}
        outcomes = await self._delivery.reach_all(
            {one: message for one in incarnations},
            timeout=self._pace.transfer(
                self.state.size() + sum(len(view.members)
                                        for view in self.views)))
        for incarnation, outcome in outcomes.items():
            if outcome is delivery_module.Outcome.DONE:
                self.standing.add(incarnation)
            elif outcome is delivery_module.Outcome.REFUSED:
                self._delivery.fence(incarnation, 'it cannot be synced')
        return _failed(outcomes)

    def _look_after_members(self) -> None:
        self._delivery.members = tuple(
            member.incarnation for member in self.state.view.members) \
            if self.state.view else ()


def _failed(outcomes: dict) -> list:
    return [incarnation for incarnation, outcome in outcomes.items()
            if outcome is not delivery_module.Outcome.DONE]
