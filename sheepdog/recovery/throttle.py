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

"""How many objects are made whole at once, and how fast one after the other.

Both may change at any moment. What a client waits for never comes here.
"""

import asyncio

from sheepdog.recovery import yielding
from sheepdog.world import futures

AT_ONCE = 2
"""Objects, where nobody has said how many."""

AT_ONCE_MAX = 1024
PAUSE_MS_MAX = 3600000


class Throttle:
    """``at_once`` objects are under way at the same time; behind each,
    whoever made it whole rests for ``pause_seconds``. Both are bounds:
    while clients wait it is less (see ``yielding``)."""

    def __init__(self, at_once=0, pause_seconds=0.0):
        """:param at_once: 0 for AT_ONCE"""
        self.at_once = at_once or AT_ONCE
        self.pause_seconds = pause_seconds
        self.yielding = yielding.Yielding()
        self.on_change = None
        """Called without arguments when it has changed."""
        self._resting = []

    def set(self, at_once, pause_seconds):
        """From this moment on, also for those who rest just now."""
        self.at_once = at_once or AT_ONCE
        self.pause_seconds = pause_seconds
        self.wake()
        self._changed()

    def _changed(self):
        if self.on_change is not None:
            self.on_change()

    @property
    def allowed(self):
        """Objects at once, at this moment."""
        at_once = self.yielding.at_once
        return self.at_once if at_once is None else min(at_once, self.at_once)

    def step(self, is_waited):
        """Again and again: do clients wait?"""
        before = self.allowed
        self.yielding.step(self.at_once, is_waited)
        if self.allowed > before:
            self._changed()

    def begin_slowly(self):
        """There are clients, and nobody knows yet whether they mind."""
        self.yielding.begin()

    def stop_yielding(self):
        """Nothing is recovered, or clients are not to be looked at."""
        if self.yielding.pace is not None:
            self.yielding.end()
            self.wake()
            self._changed()

    def wake(self):
        """End all rests."""
        resting, self._resting = self._resting, []
        for future in resting:
            futures.settle(future, None)

    async def rest(self, seconds=0.0):
        """Behind something that took ``seconds``."""
        pause = max(self.pause_seconds, self.yielding.rest_seconds(seconds))
        if not pause:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._resting.append(future)
        timer = loop.call_later(pause, futures.settle, future, None)
        try:
            await future
        finally:
            timer.cancel()
            if future in self._resting:
                self._resting.remove(future)


class Crew:
    """Workers for one queue, as many as the throttle says at each moment.

    :param job: coroutine function, called without arguments: takes one thing
        from the queue and does it; what it raises ends all
    :param is_left: returns whether there is something in the queue
    """

    def __init__(self, world, throttle, job, is_left):
        self._world = world
        self._throttle = throttle
        self._job = job
        self._is_left = is_left
        self._count = 0
        self._ended = asyncio.get_running_loop().create_future()

    async def run(self):
        """Returns when nothing is left, and all have ended."""
        self._throttle.on_change = self._hire
        try:
            self._hire()
            if not self._count:
                return
            await self._ended
        finally:
            self._throttle.on_change = None

    def _hire(self):
        while self._count < self._throttle.allowed and self._is_left():
            self._count += 1
            self._world.spawn(self._work(), 'recovery worker')

    async def _work(self):
        ended = self._ended
        monotonic = self._world.clock.monotonic
        try:
            while (self._is_left() and not ended.done()
                    and self._count <= self._throttle.allowed):
                began = monotonic()
                await self._job()
                if self._is_left():
                    await self._throttle.rest(monotonic() - began)
        except Exception as exc:
            if not ended.done():
                ended.set_exception(exc)
        except BaseException:
            ended.cancel()
            raise
        finally:
            self._count -= 1
            if not self._count and not ended.done():
                ended.set_result(None)
