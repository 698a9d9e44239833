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

"""Holds the requests for a VDI back to its limits (see ``cluster.qos``).

Requests begin in the order in which they came, those to read and those to
write each for themselves: none overtakes another for what both need. Who
waits for a limit of its own direction lets the other direction pass; who
waits for a limit on all lets nobody pass, or else small ones would empty the
bucket again and again before there is enough in it for a large one.
"""

import asyncio
import collections
import math
from typing import Callable, Mapping, NamedTuple

from sheepdog.cluster import qos
from sheepdog.volume import bucket
from sheepdog.world import api

SLACK_SECONDS = 0.001
"""A timer is no more exact. Who begins so much early has it charged all the
same: the next waits longer."""


class _Held(NamedTuple):
    number: int
    since: float
    size: int
    begin: Callable[[], None]
    owners: tuple


class _Direction:
    """Requests to read, or those to write."""

    def __init__(self, kinds: tuple):
        self.kinds = kinds
        self.buckets: list = []
        self.held: collections.deque = collections.deque()


class Throttle:
    """Of one VDI, on this sheep.

    ``delayed``: requests that had to wait, so far; ``delayed_seconds``: for
    how long, all together.
    """

    def __init__(self, world: api.World):
        self._clock = world.clock
        self._buckets: dict = {}
        self._common: list = []
        self._reads = _Direction(('read-iops', 'read-bytes'))
        self._writes = _Direction(('write-iops', 'write-bytes'))
        self._timer = None
        self._is_running = False
        self._count = 0
        self.delayed = 0
        self.delayed_seconds = 0.0

    @property
    def waiting(self) -> int:
        return len(self._reads.held) + len(self._writes.held)

    def set(self, limits: Mapping, share: float = 1.0) -> None:
        """Other limits from now on, also for those who wait.

        :param limits: kind → ``qos.Rate``
        :param share: how much of them is ours
        """
        now = self._clock.monotonic()
        before, self._buckets = self._buckets, {}
        for kind, rate in limits.items():
            one = before.get(kind)
            size = max(1.0, rate.size() * share)
            if one is None:
                one = bucket.Bucket(rate.rate * share, size, now)
            else:
                one.alter(rate.rate * share, size, now)
            self._buckets[kind] = one
        self._common = self._of(('iops', 'bytes'))
        for direction in self._reads, self._writes:
            direction.buckets = self._of(direction.kinds)
        self._run()

    def _of(self, kinds: tuple) -> list:
        """(bucket, is it of bytes) of each that is limited."""
        return [(self._buckets[kind], qos.is_bytes(kind)) for kind in kinds
                if kind in self._buckets]

    def submit(self, is_write: bool, size: int,
               begin: Callable[[], None], owners: tuple = ()) -> None:
        """``begin()`` as soon as it is its turn: at once, or later.

        :param size: bytes
        :param owners: it need not wait when one of these has gone: the
            connection that it came by, the volume that it is for
        """
        self._count += 1
        direction = self._writes if is_write else self._reads
        direction.held.append(_Held(self._count, self._clock.monotonic(),
                                    size, begin, owners))
        if not self._is_running:
            self._run()

    async def wait(self, is_write: bool, size: int,
                   owners: tuple = ()) -> None:
        """Returns when it is its turn."""
        future = asyncio.get_running_loop().create_future()
        self.submit(is_write, size, lambda: future.done()
                    or future.set_result(None), owners)
        await future

    def hasten(self, owner: object) -> None:
        """What waits of that owner begins now: it goes away, and whoever
        closes the volume waits for that. It is charged all the same: others
        wait the longer."""
        self._let_go(owner, is_charged=True)

    def release(self, owner: object) -> None:
        """The same where all of it is about to fail, the lock being lost:
        what is not done is not charged."""
        self._let_go(owner, is_charged=False)

    def _let_go(self, owner: object, is_charged: bool) -> None:
        if not self.waiting:
            return
        now = self._clock.monotonic()
        gone = []
        for direction in self._reads, self._writes:
            held, direction.held = direction.held, collections.deque()
            for one in held:
                if any(each is owner for each in one.owners):
                    gone.append(one)
                    if is_charged:
                        self._charge(direction, one, now)
                else:
                    direction.held.append(one)
        for one in sorted(gone, key=lambda one: one.number):
            self._begin(one, now)
        if not self._is_running:
            self._run()

    def _run(self) -> None:
        """Begin whose turn it is."""
        self._is_running = True
        try:
            while True:
                now = self._clock.monotonic()
                due, direction = self._next(now)
                if direction is None:
                    break
                one = direction.held.popleft()
                self._charge(direction, one, now)
                self._begin(one, now)
        finally:
            self._is_running = False
        self._set_timer(due)

    def _charge(self, direction: _Direction, one: _Held,
                now: float) -> None:
        for each, is_bytes in self._common + direction.buckets:
            each.take(now, one.size if is_bytes else 1)

    def _next(self, now: float) -> tuple:
        """→ (when it is to be looked again, whose first one may begin)."""
        due = math.inf
        for direction in sorted(
                (one for one in (self._reads, self._writes) if one.held),
                key=lambda one: one.held[0].number):
            size = direction.held[0].size
            common = _ready_at(self._common, size)
            own = _ready_at(direction.buckets, size)
            if max(common, own) <= now + SLACK_SECONDS:
                return due, direction
            due = min(due, max(common, own))
            if common > now + SLACK_SECONDS:
                break
        return due, None

    def _begin(self, one: _Held, now: float) -> None:
        if now > one.since + SLACK_SECONDS:
            self.delayed += 1
            self.delayed_seconds += now - one.since
        one.begin()

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due < math.inf:
            self._timer = asyncio.get_running_loop().call_later(
                max(due - self._clock.monotonic(), SLACK_SECONDS),
                self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._run()


def _ready_at(buckets: list, size: int) -> float:
    # (What brings no bytes does not wait for them.)
    return max((one.ready_at(size if is_bytes else 1)
                for one, is_bytes in buckets if size or not is_bytes),
               default=-math.inf)
