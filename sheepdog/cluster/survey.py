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

"""Asking every live sheep where it stands, and to promise the term."""

import asyncio
import logging
from typing import Callable

from sheepdog.cluster import incarnations
from sheepdog.cluster import messages
from sheepdog.cluster import messenger as messenger_module
from sheepdog.cluster import roll as roll_module
from sheepdog.model import errors
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 0.2
GREETINGS_MAX = 128
"""Sheep asked at the same time."""


class Survey:
    """``answers``: incarnation → Answer, of those that count now;
    ``asked``: incarnation → since when it is asked, of the others."""

    def __init__(self, world: world_api.World, roll: roll_module.Roll,
                 messenger: messenger_module.Messenger, timeout: float,
                 answered: Callable[[], None]):
        self._world = world
        self._roll = roll
        self._messenger = messenger
        self._timeout = timeout
        self._answered = answered
        self._slots = asyncio.Semaphore(GREETINGS_MAX)
        self._greeters: dict = {}
        self.answers: dict = {}
        self.asked: dict = {}

    def refresh(self) -> None:
        """Greet newcomers, forget who is gone."""
        for incarnation in [one for one in self.answers
                            if not self._roll.is_current(one)]:
            del self.answers[incarnation]
        for node, incarnation in self._roll.newest.items():
            if (incarnation not in self.answers and
                    incarnation not in self._greeters):
                self.asked[incarnation] = self._world.clock.monotonic()
                self._greeters[incarnation] = self._world.spawn(
                    self._greet(incarnation), 'greet %s' % incarnation)

    def unanswered(self) -> list:
        """The incarnations that count and have not answered, oldest first.
        """
        return sorted((incarnation for incarnation
                       in self._roll.newest.values()
                       if incarnation not in self.answers),
                      key=incarnations.age_key)

    def restart(self) -> None:
        """Ask everybody again."""
        self.answers = {}

    def stop(self) -> None:
        for task in list(self._greeters.values()):
            task.cancel()

    async def _greet(self, incarnation: str) -> None:
        try:
            while self._roll.is_current(incarnation):
                if await self._ask(incarnation):
                    return
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self._greeters[incarnation]
            del self.asked[incarnation]

    async def _ask(self, incarnation: str) -> bool:
        async with self._slots:
            try:
                answer = await self._messenger.call(
                    incarnation, {'kind': 'survey'}, self._timeout)
            except errors.SheepdogError:
                return False
            except messenger_module.Deposed:
                # The leader is being stopped for it.
                return False
        if not answer.get('ok'):
            return False
        try:
            self.answers[incarnation] = messages.Answer.from_dict(
                answer.get('answer'))
        except errors.InvalidParameters as error:
            LOG.warning('%s answers a survey wrongly: %s', incarnation,
                        error)
            return False
        self._answered()
        return True
