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

"""The real world: uvloop and the operating system. See ``api`` for the
promises, ``transport``, ``disk`` and ``turn`` for how they are kept."""

import asyncio
import functools
import logging
import os
import random
import time
from typing import Any, Callable, Coroutine

import uvloop

from sheepdog.world import disk
from sheepdog.world import network
from sheepdog.world import turn

LOG = logging.getLogger(__name__)

EXIT_SOFTWARE = 70
"""sysexits.h: EX_SOFTWARE, a broken invariant."""


class RealClock:
    """See ``api.Clock``."""

    # Asked for with every request: no Python frame in between.
    monotonic = staticmethod(
        functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME))
    time = staticmethod(time.time)


class RealRandom:
    """See ``api.Random``."""

    def __init__(self):
        # Seeded by the system. Unguessable is only what ``token`` gives.
        source = random.Random()  # nosec B311
        self.random = source.random
        self.randrange = source.randrange

    def token(self, size: int) -> bytes:
        return os.urandom(size)


class RealWorld:
    """See ``api.World``. One per running loop; made inside of it."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_exception)
        self._loop = loop
        self._turn = turn.Turn(loop)
        self._tasks = set()
        self.clock = RealClock()
        self.random = RealRandom()
        self.network = network.StreamNetwork(self._turn)
        self.disk = disk.OsDisk(loop)
        self.call_batched = self._turn.call_batched
        """See ``api.World``; the turn's own, to save a frame."""

    def spawn(self, coroutine: Coroutine, name: str = '') -> asyncio.Task:
        task = self._loop.create_task(coroutine, name=name or None)
        # The loop itself keeps weak references only.
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def fatal(self, message: str) -> None:
        LOG.critical('%s', message)
        self._exit()

    async def close(self) -> None:
        """Drop what is left after an orderly stop: connections, tasks,
        threads."""
        self.network.abort_all()
        tasks = [task for task in self._tasks
                 if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        self.disk.close()

    def _on_task_done(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._report('task %s' % task.get_name(), error)

    def _on_loop_exception(self, loop, context: dict) -> None:
        error = context.get('exception')
        if error is None:
            LOG.error('event loop: %s', context.get('message'))
        else:
            self._report(context.get('message') or 'a callback', error)

    def _report(self, what: str, error: BaseException) -> None:
        if isinstance(error, AssertionError):
            LOG.critical('broken invariant: %s: %s', what, error,
                         exc_info=error)
            self._exit()
        LOG.error('%s: %s', what, error, exc_info=error)

    def _exit(self) -> None:
        # Nothing is cleaned up: what is on disk is what counts, and code
        # that broke an invariant must not touch it any more.
        logging.shutdown()
        os._exit(EXIT_SOFTWARE)


def run(main: Callable[[RealWorld], Coroutine]) -> Any:
    """Run ``main(world)`` in a fresh loop to its end; return its result."""

    async def in_loop():
        world = RealWorld()
        try:
            return await main(world)
        finally:
            await world.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(in_loop())
