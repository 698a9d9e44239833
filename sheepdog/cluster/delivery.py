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

"""Bringing a message to a member for certain, or knowing that it is dead.

A member that cannot be reached is called again and again, until it answers
or coordination drops it. Half-reachable ones (coordination sees them, we do
not) are fenced when patience ends: they lapse, and are dropped for that. A
leader that cannot reach most of the others takes itself for the one cut
off and fences itself.
"""

import asyncio
import enum
import logging
from typing import Optional

from sheepdog.cluster import api
from sheepdog.cluster import messages
from sheepdog.cluster import messenger as messenger_module
from sheepdog.cluster import roll as roll_module
from sheepdog.model import errors
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 0.05
RETRY_MAX_SECONDS = 0.25


class Outcome(enum.Enum):
    DONE = 'done'
    GONE = 'gone'          # coordination dropped it, or its node restarted
    REFUSED = 'refused'    # it answered, but is not where we thought
    GAVE_UP = 'gave up'    # within the patience asked for


class Delivery:
    """
    :param patience: seconds until an unreachable member is fenced; longer
        than coordination takes to drop one that is dead
    :param timeout: seconds one call may take
    """

    def __init__(self, world: world_api.World, membership: api.Membership,
                 roll: roll_module.Roll,
                 messenger: messenger_module.Messenger,
                 patience: float, timeout: float):
        self._clock = world.clock
        self._membership = membership
        self._roll = roll
        self._messenger = messenger
        self._patience = patience
        self._suspects: dict = {}
        self._fenced: set = set()
        self._asking: dict = {}
        self.timeout = timeout
        self.members: tuple = ()
        """Incarnations that the leader must reach (set by it)."""

    async def reach(self, incarnation: str, message: dict,
                    patience: Optional[float] = None,
                    timeout: float = 0) -> Outcome:
        """
        :param patience: seconds after which to give up; None: never
        :raises Deposed: it obeys a later leader
        """
        self._asking[incarnation] = self._asking.get(incarnation, 0) + 1
        try:
            return await self._reach(incarnation, message, patience,
                                     timeout or self.timeout)
        finally:
            self._asking[incarnation] -= 1
            if not self._asking[incarnation]:
                del self._asking[incarnation]

    async def _reach(self, incarnation: str, message: dict,
                     patience: Optional[float], timeout: float) -> Outcome:
        began = self._clock.monotonic()
        pause = RETRY_SECONDS
        while self._roll.is_current(incarnation):
            try:
                answer = await self._messenger.call(
                    incarnation, message, timeout)
            except errors.SheepdogError as error:
                LOG.debug('%s to %s: %s', message['kind'], incarnation,
                          error)
            else:
                if answer.get('ok'):
                    self._suspects.pop(incarnation, None)
                    return Outcome.DONE
                if answer['refused'] in (messages.REFUSED_STANDING,
                                         messages.REFUSED_GAP):
                    return Outcome.REFUSED
                # Its identity is over or about to be: coordination will
                # tell.
            if patience is None:
                self.suspect(incarnation)
            elif self._clock.monotonic() - began > patience:
                return Outcome.GAVE_UP
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_MAX_SECONDS)
        self._suspects.pop(incarnation, None)
        return Outcome.GONE

    async def reach_all(self, sendings: dict, patience=None,
                        timeout: float = 0) -> dict:
        """Incarnation → message becomes incarnation → Outcome."""
        tasks = [asyncio.ensure_future(
            self.reach(incarnation, message, patience, timeout))
            for incarnation, message in sendings.items()]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return dict(zip(sendings, outcomes))

    def clear(self, incarnation: str) -> None:
        """It answered, for what that is worth: while something more is
        asked of it in vain, the suspicion stays."""
        if incarnation not in self._asking:
            self._suspects.pop(incarnation, None)

    def suspect(self, incarnation: str) -> None:
        """It did not answer just now; when that has gone on for too long,
        it is fenced, or we are."""
        now = self._clock.monotonic()
        since = self._suspects.setdefault(incarnation, now)
        if now - since <= self._patience:
            return
        silent = [one for one in self.members if
                  self._roll.is_current(one) and
                  now - self._suspects.get(one, now) > self._patience / 2]
        others = len([one for one in self.members
                      if one != self._messenger.own])
        if 2 * len(silent) > others:
            self.fence(self._messenger.own,
                       'cannot reach %d of %d members'
                       % (len(silent), others))
        else:
            self.fence(incarnation, 'cannot be reached')

    def fence(self, incarnation: str, reason: str) -> None:
        if incarnation not in self._fenced:
            LOG.warning('fencing %s: %s', incarnation, reason)
            self._fenced.add(incarnation)
            self._membership.fence(incarnation)
