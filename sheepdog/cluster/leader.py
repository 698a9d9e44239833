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

"""One term of leading: take over, then change epochs and announce events.

A leader is a client of all followers, its own included. One task decides,
so that epochs and events have one order; exclusive operations run beside
it, at the desk, and hand in what they want announced.
"""

import asyncio
import collections
import logging
from typing import Any, Callable, Optional

from sheepdog.cluster import admission as admission_module
from sheepdog.cluster import api
from sheepdog.cluster import decisions
from sheepdog.cluster import delivery as delivery_module
from sheepdog.cluster import desk as desk_module
from sheepdog.cluster import epochs as epochs_module
from sheepdog.cluster import ledger as ledger_module
from sheepdog.cluster import messenger as messenger_module
from sheepdog.cluster import opening as opening_module
from sheepdog.cluster import pace as pace_module
from sheepdog.cluster import patrol as patrol_module
from sheepdog.cluster import roll as roll_module
from sheepdog.cluster import sequencer as sequencer_module
from sheepdog.cluster import survey as survey_module
from sheepdog.model import errors
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)

BATCH_RECORDS_MAX = 256
PAUSE_SECONDS = 0.5
POLL_SECONDS = 0.02

PLACING = ('weights', 'disks', 'forgo', 'evict', 'readmit', 'vdi-alter')
"""Events after which objects may have other places."""


class Leader:
    """``is_leading``: it has taken over."""

    def __init__(self, world: world_api.World, pace: pace_module.Pace,
                 membership: api.Membership, roll: roll_module.Roll,
                 messenger: messenger_module.Messenger,
                 ledger: ledger_module.Ledger, protocol: int,
                 operations: api.Operations,
                 slow_settings: Callable[[], patrol_module.SlowSettings]):
        self._world = world
        self._clock = world.clock
        self._pace = pace
        self._roll = roll
        self._messenger = messenger
        self._kicked = asyncio.Event()
        self._delivery = delivery_module.Delivery(
            world, membership, roll, messenger, pace.patience, pace.call)
        self._survey = survey_module.Survey(
            world, roll, messenger, pace.call, self._answered)
        self._sequencer = sequencer_module.Sequencer(
            world.clock, pace, messenger.term, self._delivery)
        self._opening = opening_module.Opening(
            world, pace, roll, messenger, ledger, protocol, self._delivery,
            self._survey, self._sequencer, self._refresh)
        self._desk = desk_module.Desk(
            world, operations, self._enqueue,
            lambda: self._sequencer.state, lambda: ledger.state.epoch)
        self._admission = admission_module.Admission(
            world, pace, roll, self._delivery, self._survey, self._sequencer,
            protocol, messenger.own)
        self._epochs = epochs_module.Epochs(
            world.clock, pace, roll, messenger, self._survey,
            self._sequencer, self._admission, self._refresh)
        self._patrol = patrol_module.Patrol(
            world, pace, roll, messenger, self._delivery, self._sequencer,
            slow_settings, self._ask_ourselves, lambda: self.is_leading)
        self._queue = collections.deque()
        self._is_roll_new = True
        self._task: Optional[asyncio.Task] = None
        self._helpers: list = []
        self.is_leading = False

    @property
    def refusals(self) -> dict:
        """See ``Admission``."""
        return self._admission.refusals

    @property
    def term(self) -> int:
        return self._messenger.term

    # From outside.

    def start(self, after: Optional[asyncio.Task]) -> None:
        """
        :param after: the end of an earlier leader of ours, to wait for
        """
        self._task = self._world.spawn(self._run(after),
                                       'leader %d' % self.term)

    async def stop(self) -> None:
        """Returns when nothing of this leader runs any more."""
        self.is_leading = False
        tasks = [task for task in [self._task] + self._helpers
                 if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        self._survey.stop()
        self._desk.close()
        gone = errors.NotServing('the leader has changed')
        while self._queue:
            self._queue.popleft().fail(gone)
        if self._opening.request is not None:
            self._opening.request.fail(gone)
        if tasks:
            await asyncio.wait(tasks, timeout=self._pace.call)

    async def finish(self) -> None:
        """Returns when what was asked for is decided, or will not be soon.
        """
        deadline = self._clock.monotonic() + 2 * self._pace.call
        while self._clock.monotonic() < deadline and not (
                self.is_leading and self._desk.is_idle()):
            await asyncio.sleep(POLL_SECONDS)

    def roll_changed(self) -> None:
        self._is_roll_new = True
        self._messenger.drop_gone()
        self._kicked.set()

    def complain(self, accuser: str, accused: str) -> None:
        """``accuser`` cannot reach ``accused``."""
        if self.is_leading:
            self._admission.complain(accuser, accused)
            self._epochs.is_due = True
            self._kicked.set()

    async def ask(self, operation: str, kind: str, arguments: dict) -> Any:
        """Run an exclusive operation.

        :raises NotServing: not yet, or no longer; ask again
        :raises SheepdogError: why it failed
        """
        request = self._opening.request
        if request is not None and request.operation == operation:
            return await asyncio.shield(request.future)
        if self._desk.is_pending(operation):
            return await self._desk.ask(operation, kind, arguments)
        if not self.is_leading:
            return await self._ask_early(operation, kind, arguments)
        state = self._sequencer.state
        if operation in state.operations:
            return state.operations[operation].result
        if state.shutdown:
            raise errors.ShuttingDown('the cluster shuts down')
        if kind in decisions.FOUNDING:
            return await self._found(operation, kind, arguments)
        if self._messenger.own not in self._sequencer.standing:
            raise errors.NotServing('the leader is not a member yet')
        return await self._desk.ask(operation, kind, arguments)

    async def _ask_ourselves(self, kind: str, arguments: dict) -> Any:
        return await self.ask(self._world.random.token(12).hex(), kind,
                              arguments)

    async def _ask_early(self, operation: str, kind: str,
                         arguments: dict) -> Any:
        phase = self._opening.phase
        if phase == 'survey':
            raise errors.NotServing('the leader has not taken over yet')
        if kind in decisions.FOUNDING:
            return await self._found(operation, kind, arguments)
        if phase == 'format':
            raise errors.WaitForFormat('the cluster is not formatted')
        raise errors.WaitForJoin(opening_module.absence(
            self._opening.missing))

    async def _found(self, operation: str, kind: str,
                     arguments: dict) -> Any:
        if self._opening.request is not None:
            raise errors.NotServing('another format or recover is under way')
        request = opening_module.Request(operation, kind, arguments)
        self._opening.request = request
        self._kicked.set()
        return await asyncio.shield(request.future)

    # The one task that decides.

    async def _run(self, after: Optional[asyncio.Task]) -> None:
        if after is not None:
            await asyncio.wait([after])
        self._helpers = [
            self._world.spawn(self._desk.run(), 'desk'),
            self._world.spawn(self._patrol.run(), 'patrol')]
        try:
            while True:
                await self._term_of_office()
        except messenger_module.Deposed as error:
            LOG.info('%s', error)

    async def _term_of_office(self) -> None:
        try:
            await self._opening.run(self._pause)
            LOG.info('term %d leads from epoch %d on', self.term,
                     self._sequencer.state.epoch)
            self.is_leading = True
            self._epochs.is_due = True
            while True:
                await self._step()
        except sequencer_module.LostMembers:
            LOG.warning('no standing member is left')
            self.is_leading = False
            self._opening.phase = 'survey'
            self._sequencer.standing = set()
            self._survey.restart()
            self._is_roll_new = True
            gone = errors.NotServing('no standing member is left')
            while self._queue:
                self._queue.popleft().fail(gone)

    async def _step(self) -> None:
        """Whatever is most urgent now; if nothing is, wait."""
        sequencer = self._sequencer
        self._refresh()
        if not sequencer.standing:
            raise sequencer_module.LostMembers()
        if sequencer.state.shutdown:
            # The members leave one by one; no epoch comes of it.
            await self._pause()
        elif self._epochs.is_due and await self._epochs.tend():
            pass
        elif self._opening.request is not None:
            await self._reformat()
        elif self._queue:
            await self._announce()
        else:
            await self._pause()

    async def _pause(self) -> None:
        try:
            # (Python 3.11's wait_for forgets that it was cancelled when the
            # kick comes at the same moment: the leader would never end.)
            async with asyncio.timeout(
                    self._pace.welcome if self._epochs.is_soon_more()
                    else PAUSE_SECONDS):
                await self._kicked.wait()
        except TimeoutError:
            pass
        self._kicked.clear()

    def _answered(self) -> None:
        self._is_roll_new = True
        self._kicked.set()

    def _refresh(self) -> None:
        if not self._is_roll_new:
            return
        self._is_roll_new = False
        self._epochs.is_due = True
        self._survey.refresh()
        self._sequencer.standing = {
            one for one in self._sequencer.standing
            if self._roll.is_current(one)}
        self._admission.forget_gone()

    async def _reformat(self) -> None:
        if await self._epochs.reformat(self._opening.request):
            self._opening.request = None

    # Events.

    def _enqueue(self, announcement: desk_module.Announcement) -> None:
        self._queue.append(announcement)
        self._kicked.set()

    async def _announce(self) -> None:
        """All that waits, in one message. Who is refused is told so when all
        have heard of what came before: it may be for the sake of that."""
        records, announced, refused = [], [], []
        state = self._sequencer.state
        try:
            while self._queue and len(records) < BATCH_RECORDS_MAX:
                announcement = self._queue.popleft()
                try:
                    done = state.operations.get(announcement.operation)
                    if done is not None:
                        announced.append((announcement, done.result))
                        continue
                    event, result = announcement.decide(state)
                    if event is not None:
                        records.append(self._sequencer.add(
                            event, announcement.operation, result))
                        if event['kind'] in PLACING:
                            self._epochs.is_due = True
                    announced.append((announcement, result))
                except errors.SheepdogError as error:
                    refused.append((announcement, error))
            if records:
                standing = len(self._sequencer.standing)
                await self._sequencer.announce(records)
                if len(self._sequencer.standing) != standing:
                    self._epochs.is_due = True
        except BaseException:
            gone = errors.NotServing('the leader has changed')
            for announcement, _ in announced + refused:
                announcement.fail(gone)
            raise
        for announcement, error in refused:
            announcement.fail(error)
        for announcement, result in announced:
            announcement.succeed(result)
