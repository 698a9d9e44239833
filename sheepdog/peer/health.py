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

"""What one sheep has measured: of its own disks, and of how late others
answer; and who is slow, as the leader tells (see ``cluster.patrol``).

Nothing is noted when a request is sent or answered: from time to time one
looks at the oldest that each link still owes. Latencies are microseconds.
"""

import logging
import math
from typing import Callable, Collection, Optional

from sheepdog.model import errors
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

TOLD_MAX = 32
TOLD_MICROSECONDS = 10000
PROBE_SECONDS = 5.0
SPACE_SECONDS = 60.0
"""To count what objects take means to look at all of them."""


class Health:
    """Implements ``cluster.api.Health``."""

    def __init__(self, world, cluster, store, links):
        self.slow: frozenset = frozenset()
        """Incarnations."""
        self._world = world
        self._cluster = cluster
        self._store = store
        self._links = links
        self._late: dict = {}
        self._space: Optional[tuple] = None
        self._space_at = -math.inf
        self._probing: set = set()
        self._listeners: list = []

    def listen(self, function: Callable[[frozenset], None]) -> None:
        """Have it called with ``slow`` whenever that changes."""
        self._listeners.append(function)

    def look(self) -> None:
        """Again and again; what began and ended between two looks was not
        late."""
        now = self._world.clock.monotonic()
        for link in self._links.ready():
            self._note(link.meant, int(link.lateness(now) * 1e6))

    def _note(self, incarnation: str, micros: int) -> None:
        if micros > self._late.get(incarnation, TOLD_MICROSECONDS):
            self._late[incarnation] = micros

    def report(self, slow: Collection[str], suspects: Collection[str],
               is_probe: bool) -> dict:
        latency = self._store.latency()
        self._hear(frozenset(slow))
        late, self._late = self._late, {}
        self._spawn_probes(suspects, is_probe)
        most = sorted(late, key=lambda one: (-late[one], one))[:TOLD_MAX]
        return {'disk': latency, 'late': {one: late[one] for one in most},
                'space': self._space}

    def _hear(self, slow: frozenset) -> None:
        if slow != self.slow:
            ours = self._cluster.incarnation
            if ours in slow and ours not in self.slow:
                LOG.warning('this sheep is slow; its disks take: %s',
                            ', '.join('%s %s' % (
                                path, '?' if micros is None
                                else '%d ms' % (micros // 1000))
                                for path, micros
                                in self._store.latencies.items()))
            self.slow = slow
            for function in self._listeners:
                function(slow)

    # What has nothing to do is asked all the same.

    def _spawn_probes(self, suspects: Collection[str],
                      is_probe: bool) -> None:
        if is_probe and 'disk' not in self._probing:
            self._probing.add('disk')
            self._world.spawn(self._probe_disk(), 'probe the disk')
        self._count_space(is_probe)
        view, ours = self._cluster.view, self._cluster.incarnation
        for one in suspects:
            member = view.member(one) if view is not None else None
            if member is not None and one != ours and (
                    one not in self._probing):
                self._probing.add(one)
                self._world.spawn(self._probe_member(member),
                                  'probe a member')

    async def _probe_disk(self) -> None:
        try:
            await self._store.probe()
        finally:
            self._probing.discard('disk')

    def _count_space(self, is_probe: bool) -> None:
        """Before somebody is evicted the leader wants to know it of all."""
        now = self._world.clock.monotonic()
        if is_probe and 'space' not in self._probing and (
                now >= self._space_at + SPACE_SECONDS):
            self._space_at = now
            self._probing.add('space')
            self._world.spawn(self._take_space(), 'count the space')

    async def _take_space(self) -> None:
        store = self._store
        try:
            used = await store.used_bytes()
            self._space = used, store.space().free - store.reserve_bytes
        except (errors.SheepdogError, OSError) as error:
            LOG.info('what the objects take is not known: %s', error)
            self._space = None
        finally:
            self._probing.discard('space')

    async def _probe_member(self, member) -> None:
        clock = self._world.clock
        began = clock.monotonic()
        try:
            await self._links.data(member).call(wire.PING,
                                                timeout=PROBE_SECONDS)
        except errors.SheepdogError:
            # Who is out of reach is another's affair.
            return
        finally:
            self._probing.discard(member.incarnation)
            self._note(member.incarnation,
                       int((clock.monotonic() - began) * 1e6))
