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

"""Where exclusive operations are asked for, on the leader.

One runs at a time, in its own task, so that an epoch change may happen in
the middle of it (its I/O may need one to finish). What it decides becomes
an announcement, which the leader puts into the total order together with
the operation's id: asked for again, an operation that has been announced
is answered from the state and not run.
"""

import asyncio
import collections
import logging
from typing import Any, Callable

from sheepdog.cluster import api
from sheepdog.cluster import decisions
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.world import api as world_api
from sheepdog.world import futures

LOG = logging.getLogger(__name__)


class Announcement(futures.Awaited):
    """``decide(state)`` → (event, result) when its turn comes; ends with
    the result."""

    def __init__(self, operation: str,
                 decide: Callable[[state_module.State], tuple]):
        super().__init__()
        self.operation = operation
        self.decide = decide


def _unless_outdated(state: state_module.State, created: int, epoch: int,
                     event, result) -> tuple:
    """What an operation wrote is gone when the cluster was formatted before
    it could be announced. And what was created with a number of copies of
    its own is known with it only from the announcement on: in an epoch that
    began before, others than those who were written to may have taken
    themselves for complete. ``epoch``: in which all of it was written.

    :raises NotServing: it is to be asked for again
    """
    if state.created != created:
        raise errors.NotServing('the cluster was formatted meanwhile')
    if state.epoch != epoch and event and event['kind'] == 'vdi-create':
        raise errors.NotServing('the epoch has changed meanwhile')
    return event, result


class Desk:
    """
    :param announce: puts an Announcement into the leader's queue
    :param state: the cluster's as of now
    :param epoch: that this sheep is in, and operations see (one that is
        announced may not have come here yet)
    """

    def __init__(self, world: world_api.World, operations: api.Operations,
                 announce: Callable[[Announcement], None],
                 state: Callable[[], state_module.State],
                 epoch: Callable[[], int]):
        self._world = world
        self._operations = operations
        self._announce = announce
        self._state = state
        self._epoch = epoch
        self._queue = collections.deque()
        self._asked = asyncio.Event()
        self._pending: dict = {}

    async def ask(self, operation: str, kind: str, arguments: dict) -> Any:
        """Run an operation, or wait for the run that has begun.

        :raises SheepdogError: why it failed
        """
        awaited = self._pending.get(operation)
        if awaited is None:
            awaited = self._pending[operation] = futures.Awaited()
            if kind in decisions.UNORDERED:
                self._world.spawn(self._one(operation, kind, arguments,
                                            awaited), kind)
            else:
                self._queue.append((operation, kind, arguments, awaited))
                self._asked.set()
        return await asyncio.shield(awaited.future)

    def is_pending(self, operation: str) -> bool:
        return operation in self._pending

    def is_idle(self) -> bool:
        return not self._pending

    async def run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._queue:
                await self._next()

    def close(self) -> None:
        """Whoever still waits asks the next leader."""
        pending, self._pending = self._pending, {}
        self._queue.clear()
        for awaited in pending.values():
            awaited.fail(errors.NotServing('the leader has changed'))

    async def _next(self) -> None:
        """The next operation that does I/O; or all up to it that do none,
        which one message announces."""
        batch = []
        while self._queue and self._queue[0][1] in decisions.KINDS:
            batch.append(self._queue.popleft())
        if not batch:
            batch.append(self._queue.popleft())
        if len(batch) == 1:
            await self._one(*batch[0])
            return
        await asyncio.gather(*(self._one(*item) for item in batch))

    async def _one(self, operation: str, kind: str, arguments: dict,
                   awaited: futures.Awaited) -> None:
        try:
            if kind in decisions.KINDS:
                announcement = Announcement(
                    operation,
                    lambda state: decisions.decide(kind, arguments, state))
            else:
                created = self._state().created
                event, result = await self._carry_out(kind, arguments)
                epoch = self._epoch()
                announcement = Announcement(
                    operation, lambda state: _unless_outdated(
                        state, created, epoch, event, result))
            self._announce(announcement)
            result = await announcement.future
        except errors.SheepdogError as error:
            awaited.fail(error)
        else:
            awaited.succeed(result)
        finally:
            self._pending.pop(operation, None)

    async def _carry_out(self, kind: str, arguments: dict) -> tuple:
        try:
            return await self._operations.carry_out(kind, arguments)
        except errors.SheepdogError:
            raise
        except Exception as error:
            LOG.exception('operation %s failed', kind)
            raise errors.SystemFailure('%s: %r' % (kind, error)) from error
