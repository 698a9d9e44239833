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

"""A load generator: many requests under way, little done for each.

``Link`` is a connection; first it is used step by step (``send``,
``receive``), then it is flooded. ``Flood`` keeps ``depth`` requests under
way: all answers of one read from the socket are counted together, and the
requests that follow them go out with one write.
"""

import array
import asyncio
import dataclasses
import time

_clock = time.perf_counter


class BenchError(Exception):
    """The other side did not do what it should; there is no result."""


@dataclasses.dataclass
class Outcome:
    """What happened between the end of the warm-up and the end.

    ``latencies`` and ``seconds`` are seconds; ``spent`` is whatever the
    sampler counts, the difference over that time.
    """

    operations: int
    seconds: float
    latencies: array.array
    spent: float
    own_cpu_seconds: float


class Link(asyncio.BufferedProtocol):
    """One connection, with one buffer that is used again and again."""

    BUFFER_BYTES = 1 << 20

    def __init__(self):
        self.transport = None
        self.flood = None
        self._view = memoryview(bytearray(self.BUFFER_BYTES))
        self._end = 0
        self._inbox = bytearray()
        self._waiter = None
        self._wanted = 0
        self._lost = None

    @classmethod
    async def open(cls, host: str, port: int) -> 'Link':
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(cls, host, port)
        return link

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        self._lost = BenchError('the connection was lost: %s'
                                % (exc or 'closed by the other side'))
        if self._waiter is not None:
            _fail(self._waiter, self._lost)
        if self.flood is not None:
            self.flood.fail(self._lost)

    def get_buffer(self, sizehint):
        return self._view[self._end:]

    def buffer_updated(self, nbytes):
        end = self._end + nbytes
        if self.flood is None:
            self._inbox += self._view[:end]
            self._end = 0
            self._wake()
            return
        used = self.flood.received(self._view, end)
        rest = end - used
        if rest and used:
            self._view[:rest] = bytes(self._view[used:end])
        self._end = rest

    def _wake(self):
        if self._waiter is not None and len(self._inbox) >= self._wanted:
            data = bytes(self._inbox[:self._wanted])
            del self._inbox[:self._wanted]
            waiter, self._waiter = self._waiter, None
            if not waiter.done():
                waiter.set_result(data)

    def send(self, *buffers):
        self.transport.writelines(buffers)

    async def receive(self, size: int, timeout: float = 60.0) -> bytes:
        """Exactly ``size`` bytes.

        :raises BenchError: lost, or nothing came in time
        """
        if self._lost is not None:
            raise self._lost
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        self._wanted = size
        self._wake()
        try:
            return await asyncio.wait_for(waiter, timeout)
        except asyncio.TimeoutError:
            raise BenchError('no answer for %d s' % timeout) from None

    def close(self):
        self.transport.abort()


class Flood:
    """``depth`` requests under way on ``link``.

    :param make: make(slot) -> the buffers of the next request; ``slot``
        (0 … depth − 1) must come back with its answer
    :param parse: parse(view, start, end, done) -> (start, slot): append the
        slots of all whole answers to ``done``; where an answer's payload
        goes on beyond ``end``, the position behind it and its slot
    """

    def __init__(self, link, make, parse, depth):
        self._link = link
        self._make = make
        self._parse = parse
        self._under_way = depth
        self._started = [0.0] * depth
        self._latencies = array.array('d')
        self._operations = 0
        self._begin = self._spent = self._own_cpu = 0.0
        self._sample = float
        self._done = []
        self._skip = 0
        self._pending = 0
        self._is_stopping = False
        self._drained = None

    async def run(self, warmup: float, seconds: float, sample) -> Outcome:
        """Flood, and measure for ``seconds`` after ``warmup``; see
        ``begin``."""
        self.start()
        await self.sleep(warmup)
        self.begin(sample)
        await self.sleep(seconds)
        outcome = self.end()
        await self.stop()
        return outcome

    def start(self):
        loop = asyncio.get_running_loop()
        self._drained = loop.create_future()
        self._link.flood = self
        self._done.extend(range(self._under_way))
        self._go_on()

    def begin(self, sample=float):
        """From now on it counts.

        :param sample: called with nothing; its number at the end less that
            at the beginning is ``Outcome.spent``
        """
        self._latencies = array.array('d')
        self._operations = 0
        self._sample = sample
        self._spent = sample()
        self._own_cpu = time.process_time()
        self._begin = _clock()

    def end(self) -> Outcome:
        """What was counted."""
        seconds = _clock() - self._begin
        latencies, self._latencies = self._latencies, array.array('d')
        return Outcome(self._operations, seconds, latencies,
                       self._sample() - self._spent,
                       time.process_time() - self._own_cpu)

    async def sleep(self, seconds: float):
        """:raises BenchError: at once when something goes wrong"""
        await asyncio.wait([self._drained], timeout=seconds)
        if self._drained.done():
            self._drained.result()

    async def stop(self, timeout: float = 60.0):
        """Send nothing more; return when all is answered."""
        self._is_stopping = True
        try:
            await asyncio.wait_for(self._drained, timeout)
        except asyncio.TimeoutError:
            raise BenchError('%d requests are not answered after %d s'
                             % (self._under_way, timeout)) from None
        self._link.flood = None

    def fail(self, error):
        _fail(self._drained, error)

    def received(self, view, end: int) -> int:
        start = 0
        if self._skip:
            if self._skip > end:
                self._skip -= end
                return end
            start, self._skip = self._skip, 0
            self._done.append(self._pending)
        try:
            start, slot = self._parse(view, start, end, self._done)
        except BenchError as error:
            self._is_stopping = True
            self.fail(error)
            return end
        if start > end:
            self._skip, self._pending, start = start - end, slot, end
        if self._done:
            now = _clock()
            started = self._started
            self._latencies.extend(
                [now - started[slot] for slot in self._done])
            self._operations += len(self._done)
            self._go_on()
        return start

    def _go_on(self):
        done = self._done
        if self._is_stopping:
            self._under_way -= len(done)
            if not self._under_way and not self._drained.done():
                self._drained.set_result(None)
        else:
            make, started, now = self._make, self._started, _clock()
            buffers = []
            for slot in done:
                started[slot] = now
                buffers += make(slot)
            self._link.transport.writelines(buffers)
        done.clear()


def _fail(future, error):
    if not future.done():
        future.set_exception(error)
