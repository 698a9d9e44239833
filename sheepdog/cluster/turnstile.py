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

"""One at a time, in the order of arrival."""

import asyncio
import collections
from typing import Any, Awaitable, Callable

from sheepdog.model import errors
from sheepdog.world import api as world_api
from sheepdog.world import futures


class Turnstile:
    """Runs calls one after the other, each to its end, whether or not who
    asked still waits. What is not an operating error stops the daemon: half
    of a step may have been made."""

    def __init__(self, world: world_api.World, name: str):
        self._world = world
        self._name = name
        self._waiting = collections.deque()
        self._is_running = False

    async def take(self, function: Callable[..., Awaitable],
                   *arguments) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((function, arguments, future))
        if not self._is_running:
            self._is_running = True
            self._world.spawn(self._run(), self._name)
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                function, arguments, future = self._waiting.popleft()
                try:
                    result = await function(*arguments)
                except errors.SheepdogError as error:
                    futures.settle(future, error)
                else:
                    futures.settle(future, None, result)
        except Exception as error:
            futures.settle(future, errors.SystemFailure(repr(error)))
            self._world.fatal('%s: %r' % (self._name, error))
            raise
        finally:
            self._is_running = False
