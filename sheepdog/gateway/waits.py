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

"""How long clients wait: now, and when nothing is being recovered.

Two clock readings and an object for each request would cost what the fastest
requests cannot spare. So runs of consecutive requests are timed, and in
between the gateway sees only that there is nothing to time.

What is usual is the lower quartile of means, each over a good part of a
second, in the last minute of its kind: an hour ago clients may have asked for
less, and a hiccup now and then is not what one could wait for.
"""

import collections
import dataclasses

KINDS = ('read', 'write', 'write_back', 'flush')

RUN_REQUESTS = 32
"""Timed for each look."""
SMALL_BYTES = 64 << 10
"""Larger requests take as long as they are large."""
SAMPLE_SECONDS = 0.25
SAMPLE_REQUESTS = 16
SAMPLES = 240
SAMPLES_LEAST = 4
"""Before that nobody knows what is usual."""
UNKNOWN_SECONDS = 0.01
LEAST_SECONDS = 0.0005
"""Nobody is said to wait who waits no longer than so; or than UNKNOWN_SECONDS
where it is not known what is usual."""
TIMES_USUAL = 2.5
HELD_SECONDS = 5.0
"""Who recovers has stepped back as far as it does when clients have waited
for so long: if they do still, they ask for more than before."""


@dataclasses.dataclass(frozen=True)
class Wait:
    """Seconds; ``usual`` is 0 where it is not known."""

    seconds: float
    usual: float


class Usual:
    """What is usual for one kind of request. Pure; times are seconds."""

    def __init__(self):
        self._means = collections.deque(maxlen=SAMPLES)
        self._began = None
        self._sum = 0.0
        self._count = 0
        self.seconds = 0.0
        """0: not known."""

    def learn(self, now, times):
        """Of requests that ended since it was called before."""
        if self._began is None or now - self._began > 4 * SAMPLE_SECONDS:
            self._began, self._sum, self._count = now, 0.0, 0
        self._sum += sum(times)
        self._count += len(times)
        if (now - self._began < SAMPLE_SECONDS
                or self._count < SAMPLE_REQUESTS):
            return
        self._means.append(self._sum / self._count)
        self._began, self._sum, self._count = now, 0.0, 0
        if len(self._means) >= SAMPLES_LEAST:
            self.seconds = sorted(self._means)[len(self._means) // 4]

    @property
    def limit(self):
        """Who waits for longer waits for long."""
        if not self.seconds:
            return UNKNOWN_SECONDS
        return max(LEAST_SECONDS, TIMES_USUAL * self.seconds)


class _Timed:
    """A ``done`` that takes the time first."""

    __slots__ = ('waits', 'kind', 'began', 'done')

    def __init__(self, waits, kind, began, done):
        self.waits = waits
        self.kind = kind
        self.began = began
        self.done = done

    def __call__(self, *answer):
        self.waits.ended(self)
        self.done(*answer)


class Waits:
    """Implements ``gateway.Timing``."""

    def __init__(self, clock, gateway):
        self.listener = None
        """Called with the kind and the seconds of each that was timed."""
        self.totals = {kind: [0, 0.0] for kind in KINDS}
        """Of all that were timed: how many, and their seconds."""
        self._monotonic = clock.monotonic
        self._gateway = gateway
        self._left = 0
        self._under_way = {}
        self._ended = {}
        self._usual = {kind: Usual() for kind in KINDS}
        self._waiting_since = None
        self._retries = gateway.counters['retries']

    def take_times(self, count):
        """Of the next so many requests at least."""
        self._left = max(self._left, count)
        self._gateway.timing = self

    def look(self, is_quiet):
        """Returns the ``Wait`` of those clients that wait for too long since
        the last look; None: none do.

        :param is_quiet: nothing is being recovered anywhere
        """
        now = self._monotonic()
        worst, most = None, 1.0
        ended, self._ended = self._ended, {}
        before = self._retries
        self._retries = self._gateway.counters['retries']
        if not ended and self._retries != before:
            # All wait for what is to be recovered, and would wait for longer
            # if that stepped back for them.
            self._under_way.clear()
        is_held = (self._waiting_since is not None
                   and now - self._waiting_since > HELD_SECONDS)
        for kind, usual in self._usual.items():
            limit = usual.limit
            times = ended.get(kind, [])
            if is_quiet or is_held:
                usual.learn(now, times)
            late = [now - timed.began for timed in self._under_way
                    if timed.kind == kind and now - timed.began > limit]
            times = times + late
            if not times:
                continue
            seconds = sum(times) / len(times)
            if seconds / limit > most:
                most = seconds / limit
                worst = Wait(seconds, usual.seconds)
        if worst is None:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        self.take_times(RUN_REQUESTS)
        return worst

    def forget(self):
        """What is under way waits for the cluster, not for its disks."""
        self._under_way.clear()
        self._ended.clear()
        self._waiting_since = None

    def ended(self, timed):
        seconds = self._monotonic() - timed.began
        if self._under_way.pop(timed, self) is None:
            self._ended.setdefault(timed.kind, []).append(seconds)
        self._add(timed.kind, seconds)
        if self.listener is not None:
            self.listener(timed.kind, seconds)

    # -- gateway.Timing ---------------------------------------------------

    def of_read(self, done, size):
        return self._timed('read', done, size)

    def of_write(self, done, size, durable):
        return self._timed('write' if durable else 'write_back', done, size)

    async def of_flush(self, flush):
        self._count()
        began = self._monotonic()
        await flush
        seconds = self._monotonic() - began
        self._add('flush', seconds)
        if self.listener is not None:
            self.listener('flush', seconds)

    def _add(self, kind, seconds):
        total = self.totals[kind]
        total[0] += 1
        total[1] += seconds

    def _timed(self, kind, done, size):
        self._count()
        timed = _Timed(self, kind, self._monotonic(), done)
        if size <= SMALL_BYTES:
            self._under_way[timed] = None
        return timed

    def _count(self):
        self._left -= 1
        if self._left <= 0:
            self._gateway.timing = None
