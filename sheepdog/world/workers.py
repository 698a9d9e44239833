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

"""Threads for what may block on a device.

A few threads take calls from a queue; the answers come back in the loop.
Without a future per call: the journal syncs thousands of times a second.
"""

import asyncio
import queue
import threading
from typing import Any, Callable

from sheepdog.world import futures


class Workers:
    """Up to ``threads`` daemon threads, started when first needed.

    With one thread, calls are carried out in the order of asking.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str,
                 threads: int):
        self._loop = loop
        self._name = name
        self._limit = threads
        self._threads = 0
        self._pending = 0
        self._queue = queue.SimpleQueue()

    def submit(self, function: Callable, arguments: tuple,
               done: Callable[[Any, Any], None]) -> None:
        """Call ``function(*arguments)`` in a thread, then, in the loop,
        ``done(error, result)``; one of the two is None."""
        self._pending += 1
        if self._pending > self._threads < self._limit:
            self._threads += 1
            # Daemons: an orderly stop waits for results where it wants them,
            # any other stop waits for nothing.
            threading.Thread(
                target=self._work, daemon=True,
                name='%s-%d' % (self._name, self._threads)).start()
        self._queue.put((function, arguments, done))

    async def run(self, function: Callable, *arguments) -> Any:
        """Await ``function(*arguments)``; raises what it raises."""
        future = self._loop.create_future()
        self.submit(
            function, arguments,
            lambda error, result: futures.settle(future, error, result))
        return await future

    def close(self) -> None:
        """Let the threads end behind what was submitted."""
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = self._limit

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            function, arguments, done = item
            result = error = None
            try:
                result = function(*arguments)
            except Exception as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(
                    self._finish, done, error, result)
            except RuntimeError:
                # The loop was closed: nobody waits any more.
                return

    def _finish(self, done, error, result) -> None:
        self._pending -= 1
        done(error, result)
