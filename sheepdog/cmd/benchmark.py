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

"""A small benchmark of one volume: so many requests under way for so long.

Each is a thread with one request at a time, as a guest's are: what is
measured is what a client sees, this program's own work included.
"""

import collections
import dataclasses
import math
import os
import random
import threading
import time

STEPS = 16
"""Of the histogram, for each doubling: 4 % between two of them."""

DEPTH_MAX = 128
SECONDS_MAX = 3600
BLOCK_MIN, BLOCK_MAX = 512, 4 << 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """``block``: bytes of a request; ``depth``: so many under way."""

    is_write: bool = False
    is_sequential: bool = False
    is_durable: bool = False
    block: int = 4096
    depth: int = 16
    seconds: float = 5.0


class Times:
    """How long requests took, without keeping each: a histogram."""

    def __init__(self):
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self._steps = collections.Counter()

    def note(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self._steps[int(STEPS * math.log2(max(seconds, 1e-6) * 1e6))] += 1

    def add(self, other: 'Times') -> None:
        self.count += other.count
        self.total += other.total
        self.longest = max(self.longest, other.longest)
        self._steps.update(other._steps)

    def below(self, share: float) -> float:
        """Seconds that this share of all did not exceed, give or take a
        step; 0 if there are none."""
        left = share * self.count
        for step, count in sorted(self._steps.items()):
            left -= count
            if left <= 0:
                return min(2 ** ((step + 1) / STEPS) / 1e6, self.longest)
        return self.longest


class Run:
    """:param volume: open, for writing where that is planned"""

    def __init__(self, volume, plan: Plan, clock=time.monotonic):
        self._volume = volume
        self._plan = plan
        self._clock = clock
        self._blocks = volume.size // plan.block
        self._lock = threading.Lock()
        self._next = 0
        self._stop = threading.Event()
        self._error = None
        self._times = Times()

    def run(self) -> dict:
        """What came of it, see ``_result``.

        :raises SheepdogError: a request failed
        """
        begin = self._clock()
        threads = [threading.Thread(target=self._work, args=(
            random.Random(),  # nosec B311
            begin + self._plan.seconds), daemon=True)
            for _ in range(self._plan.depth)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._error is not None:
            raise self._error
        if self._plan.is_write:
            self._volume.flush()
        return self._result(self._clock() - begin)

    def _work(self, chance, end):
        plan, volume, times = self._plan, self._volume, Times()
        data = os.urandom(plan.block)
        room = bytearray(plan.block)
        try:
            now = self._clock()
            while now < end and not self._stop.is_set():
                place = plan.block * self._block(chance)
                if plan.is_write:
                    volume.write(place, data, fua=plan.is_durable)
                else:
                    volume.read_into(place, room)
                before, now = now, self._clock()
                times.note(now - before)
        except Exception as exc:
            self._error = self._error or exc
            self._stop.set()
        with self._lock:
            self._times.add(times)

    def _block(self, chance):
        if not self._plan.is_sequential:
            return chance.randrange(self._blocks)
        with self._lock:
            self._next += 1
            return (self._next - 1) % self._blocks

    def _result(self, seconds):
        plan, times = self._plan, self._times
        size = times.count * plan.block
        return {
            'operation': 'write' if plan.is_write else 'read',
            'order': 'sequential' if plan.is_sequential else 'random',
            'durable': plan.is_durable, 'block': plan.block,
            'depth': plan.depth, 'seconds': round(seconds, 3),
            'requests': times.count, 'bytes': size,
            'requests_per_second': round(times.count / seconds, 1),
            'bytes_per_second': round(size / seconds),
            'latency_ms': {
                'mean': round(1e3 * times.total / max(times.count, 1), 3),
                'median': round(1e3 * times.below(0.5), 3),
                '99%': round(1e3 * times.below(0.99), 3),
                'longest': round(1e3 * times.longest, 3)}}
