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

"""How a leader speaks: every message carries its term and its name."""

import asyncio
import contextlib
from typing import Awaitable, Callable

from sheepdog.cluster import api
from sheepdog.cluster import messages
from sheepdog.cluster import roll as roll_module
from sheepdog.model import errors
from sheepdog.model import view as view_model


class Deposed(Exception):
    """Somebody has promised a higher term: this leader is none."""

    def __init__(self, term: int):
        super().__init__('deposed by term %d' % term)
        self.term = term


class Messenger:
    """``own``: the leader's incarnation. Messages to it take the short way,
    through ``handle``, but are messages all the same.

    :param deposed: called with a higher term that somebody has promised
    """

    def __init__(self, courier: api.Courier, roll: roll_module.Roll,
                 own: str, term: int,
                 handle: Callable[[str, dict], Awaitable[dict]],
                 deposed: Callable[[int], None]):
        self._courier = courier
        self._roll = roll
        self._handle = handle
        self._deposed = deposed
        self._gone: dict = {}
        self.own = own
        self.term = term

    async def call(self, incarnation: str, message: dict,
                   timeout: float) -> dict:
        """
        :raises SheepdogError: Unreachable, or what the other side raised
        :raises Deposed: the other side obeys a later leader
        """
        message = dict(message, term=self.term, leader=self.own,
                       to=incarnation)
        if incarnation == self.own:
            answer = await self._handle(self.own, message)
        else:
            answer = messages.checked_answer(
                message['kind'],
                await self._deliver(incarnation, message, timeout))
        if answer.get('refused') == messages.REFUSED_TERM:
            # It may be our term, but another's: a store that was part of
            # another cluster, or coordination that forgot. Above both, then.
            self._deposed(max(answer['promised'], self.term + 1))
            raise Deposed(answer['promised'])
        return answer

    async def dismiss(self, member: view_model.Member,
                      timeout: float) -> None:
        """Tell one whom coordination dropped, if it can be told."""
        info = api.MemberInfo(
            node=member.node, incarnation=member.incarnation,
            host=member.host, port=member.port, zone=member.zone,
            space=member.space)
        with contextlib.suppress(errors.SheepdogError):
            await self._courier.call(info, {
                'kind': 'dismiss', 'term': self.term, 'leader': self.own,
                'to': member.incarnation}, timeout)

    async def _deliver(self, incarnation: str, message: dict,
                       timeout: float) -> dict:
        info = self._roll.members.get(incarnation)
        if info is None:
            raise errors.Unreachable('%s is gone' % incarnation)
        gone = self._gone.get(incarnation)
        if gone is None:
            gone = asyncio.get_running_loop().create_future()
            self._gone[incarnation] = gone
        call = asyncio.ensure_future(
            self._courier.call(info, message, timeout))
        try:
            # A suspended sheep lets calls run into their timeout, long
            # after coordination knows better.
            await asyncio.wait((call, gone),
                               return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
            raise errors.Unreachable('%s is gone' % incarnation)
        finally:
            if not call.done():
                call.add_done_callback(_forget)
                call.cancel()

    def drop_gone(self) -> None:
        """Give up calls to whom coordination has dropped."""
        for incarnation in list(self._gone):
            if not self._roll.is_current(incarnation):
                self._gone.pop(incarnation).set_result(None)


def _forget(call: asyncio.Future) -> None:
    if not call.cancelled():
        call.exception()
