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

"""Who is let into the next epoch, and who is sent away or told to wait."""

import logging

from sheepdog.cluster import api
from sheepdog.cluster import complaints as complaints_module
from sheepdog.cluster import messenger as messenger_module
from sheepdog.cluster import roster
from sheepdog.cluster import takeover

LOG = logging.getLogger(__name__)

REFUSALS_KEPT = 16


class Admission:
    """``refusals``: who was not let in, for people: address → (when, in
    seconds since 1970, and why).

    :param protocol: the leader's version of the peer protocol
    """

    def __init__(self, world, pace, roll, delivery, survey, sequencer,
                 protocol: int, own: str):
        self._world = world
        self._clock = world.clock
        self._pace = pace
        self._roll = roll
        self._delivery = delivery
        self._survey = survey
        self._sequencer = sequencer
        self._protocol = protocol
        self._own = own
        self._complaints = complaints_module.Complaints()
        self._held: dict = {}
        self._refused: dict = {}
        self._kept_out: dict = {}
        self.refusals: dict = {}

    def is_pending(self) -> bool:
        """The answer may be another one soon, though nobody comes or goes.
        """
        return bool(self._held) or self._complaints.is_pending(
            self._clock.monotonic())

    def forget_gone(self) -> None:
        """The roll has changed."""
        for known in (self._held, self._refused, self._kept_out):
            for incarnation in [one for one in known
                                if not self._roll.is_current(one)]:
                del known[incarnation]

    def eligible(self) -> list:
        """Infos of those who belong into the next epoch: who stands, and
        newcomers that answer and may join."""
        infos = []
        now = self._clock.monotonic()
        for incarnation in self._roll.newest.values():
            info = self._roll.members[incarnation]
            answer = self._survey.answers.get(incarnation)
            if incarnation in self._sequencer.standing:
                infos.append(info)
            elif self._complaints.is_away(incarnation, now):
                self._keep_out(incarnation)
            elif answer is not None and not self.is_held(incarnation):
                reason = roster.refusal(
                    info, takeover.created_of(answer), self._protocol,
                    self._sequencer.state.settings)
                if reason:
                    self._refuse(incarnation, reason)
                else:
                    infos.append(info)
        return infos

    # Who failed to join, for a while.

    def hold(self, failed: list) -> None:
        until = self._clock.monotonic() + self._pace.hold
        for incarnation in failed:
            LOG.warning('%s cannot join now', incarnation)
            self._held[incarnation] = until

    def is_held(self, incarnation: str) -> bool:
        until = self._held.get(incarnation)
        if until is None:
            return False
        if self._clock.monotonic() < until and self._roll.is_current(
                incarnation):
            return True
        del self._held[incarnation]
        return False

    # Whom others cannot reach.

    def complain(self, accuser: str, accused: str) -> None:
        """``accuser`` cannot reach ``accused``."""
        if {accuser, accused} <= self._sequencer.standing:
            self._complaints.note(accuser, accused, self._clock.monotonic())

    def judge(self) -> None:
        """Send away who cannot be reached by others."""
        now = self._clock.monotonic()
        missed = self._complaints.verdict(
            [one for one in self._roll.current()
             if one in self._sequencer.standing], self._own, now)
        if missed is None:
            return
        self._delivery.fence(missed, 'other members cannot reach it')
        if missed != self._own:
            LOG.warning('%s may join again in %d s', missed,
                        self._complaints.send_away(missed, now))

    def _keep_out(self, incarnation: str) -> None:
        if incarnation not in self._kept_out:
            self._kept_out[incarnation] = None
            self._say(incarnation, {
                'kind': 'waiting', 'status': api.Status.WAIT_FOR_JOIN.value,
                'reason': 'other members could not reach this sheep: its '
                          'network must be mended; it is tried again soon',
                'missing': []})

    # Who may not join at all.

    def _refuse(self, incarnation: str, reason: str) -> None:
        if self._refused.get(incarnation) != reason:
            self._refused[incarnation] = reason
            LOG.warning('refusing %s: %s', incarnation, reason)
            self._note_refusal(incarnation, reason)
            self._say(incarnation, {'kind': 'refuse', 'reason': reason})

    def _note_refusal(self, incarnation: str, reason: str) -> None:
        info = self._roll.members[incarnation]
        self.refusals.pop((info.host, info.port), None)
        self.refusals[info.host, info.port] = self._clock.time(), reason
        while len(self.refusals) > REFUSALS_KEPT:
            del self.refusals[next(iter(self.refusals))]

    def _say(self, incarnation: str, message: dict) -> None:
        self._world.spawn(self._tell(incarnation, message), message['kind'])

    async def _tell(self, incarnation: str, message: dict) -> None:
        try:
            await self._delivery.reach(incarnation, message,
                                       patience=self._pace.hold)
        except messenger_module.Deposed:
            pass
