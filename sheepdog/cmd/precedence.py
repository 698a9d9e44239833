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

"""Clients go first: recovery steps back where they wait.

What is recovered here may be what slows a client of another sheep, which has
copies here. So a sheep whose clients wait for longer than usual says so to
all whom it asks for objects, and each steps back by itself (see
``recovery.yielding``). Nothing is agreed upon, and nothing has to arrive.
"""

import asyncio

from sheepdog.wire import peer as wire

LOOK_SECONDS = 0.1
IDLE_SECONDS = 0.25
"""Between looks while nothing is recovered."""
HEARD_SECONDS = 0.3
"""For so long counts what another has said: it says so at each look."""
_MAX = (1 << 32) - 1


class Precedence:
    """Also a ``ClusterListener``.

    :param replica: counts requests of any sheep's clients
    :param waits: ``gateway.waits.Waits``, of our clients
    """

    def __init__(self, world, cluster, replica, waits, recovery, links,
                 is_enabled):
        self.is_enabled = is_enabled
        self._counters = replica.counters
        self._requests = 0
        self._is_used = False
        self._clock = world.clock
        self._cluster = cluster
        self._waits = waits
        self._recovery = recovery
        self._links = links
        self._heard = {}

    async def run(self):
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS if self._is_recovering()
                                else IDLE_SECONDS)

    def _is_recovering(self):
        """Anybody: what is postponed is not under way."""
        recovery = self._recovery
        return recovery.is_running or (
            not recovery.is_postponed and not recovery.grace.is_on
            and not self._cluster.state.has_recovered())

    def look(self):
        """Once."""
        is_recovering = self._is_recovering()
        wait = self._waits.look(not is_recovering)
        before, self._requests = self._requests, sum(
            self._counters[kind] for kind in ('read', 'write'))
        self._is_used = not is_recovering and self._requests != before
        if not self.is_enabled or not is_recovering:
            self._heard.clear()
            self._recovery.throttle.stop_yielding()
            return
        now = self._clock.monotonic()
        if wait is not None:
            self._hear(self._cluster.incarnation, wait.seconds, wait.usual)
            token = (min(_MAX, int(wait.seconds * 1e6)) << 32
                     | min(_MAX, int(wait.usual * 1e6)))
            for link in self._links.ready():
                link.tell(wire.CLIENTS_WAIT, 0, token)
        self._recovery.throttle.step(any(
            now - heard[0] <= HEARD_SECONDS for heard in self._heard.values()))

    def handlers(self):
        """For ``Server.register``."""
        return {wire.CLIENTS_WAIT: self._on_clients_wait}

    def _on_clients_wait(self, request):
        request.session.inflight -= 1
        self._hear(request.session.incarnation, (request.token >> 32) / 1e6,
                   (request.token & _MAX) / 1e6)

    def _hear(self, incarnation, seconds, usual):
        self._heard[incarnation] = self._clock.monotonic(), seconds, usual

    def describe(self):
        """None: recovery here works as hard as it may. Else ``at_once``,
        ``share`` of the time, and the clients ``of`` whom wait for how many
        milliseconds, and how many are ``usual`` (None: nobody knows)."""
        yielding = self._recovery.throttle.yielding
        if yielding.pace is None or not self._heard:
            return None
        incarnation, (_, seconds, usual) = max(
            self._heard.items(), key=lambda item: item[1][0])
        view = self._cluster.view
        member = view.member(incarnation) if view is not None else None
        return {'at_once': self._recovery.throttle.allowed,
                'share': yielding.share,
                'of': '%s:%s' % member.address if member else '',
                'ms': seconds * 1e3, 'usual_ms': usual * 1e3 or None}

    # -- cluster.api.ClusterListener --------------------------------------

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        self._waits.forget()
        self._heard.clear()
        if self.is_enabled and self._is_used:
            # Nobody can say that he waits before he does.
            self._recovery.throttle.begin_slowly()

    def on_event(self, event):
        pass

    def on_lapse(self):
        self._heard.clear()

    def on_shutdown(self):
        pass
