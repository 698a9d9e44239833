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

"""What goes wrong: one fault after the other, from the seed.

Each fault ends by itself after a while. The nemesis knows what it may ask
for: as long as a cluster is well, the power of one node (of more, where
there are more copies) may go without any loss; when more goes at once, what
was not durable may be lost, and the history is told.
"""

import asyncio
import dataclasses
import random

from sheepdog.testing import history as history_module


@dataclasses.dataclass
class NemesisSettings:
    pause_seconds: float = 1.5
    """Between faults, on average."""
    weights: dict = dataclasses.field(default_factory=lambda: {
        'kill': 4, 'kill_in_the_middle': 4, 'kill_all': 1,
        'power_cut': 2, 'power_cut_all': 1.5, 'stop': 2, 'cut_link': 2,
        'cut_one_way': 2, 'isolate': 2, 'vanish': 2, 'lose_coordination': 3,
        'slow_link': 2, 'slow_disk': 2, 'reset': 3,
        'jump': 1})
    down_seconds: float = 3.0
    """How long a killed sheep stays away, on average."""
    fault_seconds: float = 4.0
    """How long other faults last, on average."""


class Nemesis:
    """``run`` until cancelled, then ``heal``."""

    def __init__(self, cluster, settings: NemesisSettings,
                 history: history_module.History, seed: str):
        self.cluster = cluster
        self.settings = settings
        self.counts = {}
        self._history = history
        self._simulation = cluster.simulation
        self._random = random.Random(seed)
        self._is_over = False
        self._is_whole = True
        """Nothing that is acknowledged stands on fewer copies than it
        should: all has been well since the last node was lost."""

    async def run(self) -> None:
        names = list(self.settings.weights)
        weights = list(self.settings.weights.values())
        while not self._is_over:
            await asyncio.sleep(self._random.expovariate(
                1 / self.settings.pause_seconds))
            if self._is_over:
                return
            self._look()
            name, = self._random.choices(names, weights)
            self.counts[name] = self.counts.get(name, 0) + 1
            self._simulation.trace.note('nemesis', name)
            getattr(self, '_' + name)()

    def heal(self) -> None:
        """No more faults; whoever is down comes back."""
        self._is_over = True
        self._simulation.heal()
        for node in self.cluster.nodes.values():
            if node.is_running:
                node.host.process.kill_after(0)
            if not node.host.is_on:
                node.host.power_on()
        self.cluster.start()

    def _look(self) -> None:
        if not self._is_whole and self.cluster.is_well():
            self._is_whole = True

    # Choices.

    def _node(self):
        nodes = list(self.cluster.nodes.values())
        return nodes[self._random.randrange(len(nodes))]

    def _two(self) -> tuple:
        one, other = self._random.sample(list(self.cluster.nodes.values()),
                                         2)
        return one.host, other.host

    def _after(self, mean_seconds: float, function, *arguments) -> None:
        """…unless all is healed by then."""
        def call():
            if not self._is_over:
                function(*arguments)

        self._simulation.loop.call_later(
            self._random.expovariate(1 / mean_seconds), call)

    # Processes.

    def _start(self, node) -> None:
        if not node.host.is_on:
            node.host.power_on()
        if not node.is_running:
            node.start()

    def _start_later(self, node) -> None:
        self._after(self.settings.down_seconds, self._start, node)

    def _kill(self) -> None:
        node = self._node()
        node.host.kill()
        self._is_whole = False
        self._start_later(node)

    def _kill_in_the_middle(self) -> None:
        """…of whatever it does then, to the disk or the network."""
        node = self._node()
        if node.is_running:
            node.host.process.kill_after(1 + self._random.randrange(300))
            node.host.process.on_kill(lambda: self._start_later(node))
        self._is_whole = False

    def _kill_all(self) -> None:
        for node in self.cluster.nodes.values():
            node.host.kill()
            self._start_later(node)
        self._is_whole = False

    def _stop(self) -> None:
        """SIGSTOP: it does not know that time goes by."""
        host = self._node().host
        host.stop()
        self._after(self.settings.fault_seconds, host.resume)
        self._is_whole = False

    # Power.

    def _power_cut(self) -> None:
        self._cut_power([self._node()])

    def _power_cut_all(self) -> None:
        self._cut_power(list(self.cluster.nodes.values()))

    def _cut_power(self, nodes: list) -> None:
        copies = min(self.cluster.settings.copies, len(self.cluster.nodes))
        if not self._is_whole or len(nodes) >= copies:
            self._history.power_cut()
        self._is_whole = False
        for node in nodes:
            node.host.power_cut()
            self._start_later(node)

    # Network and coordination.

    def _cut_link(self) -> None:
        one, other = self._two()
        self._cut([(one, other), (other, one)])

    def _cut_one_way(self) -> None:
        self._cut([self._two()])

    def _isolate(self) -> None:
        """From all others, not from the coordination service."""
        self._isolate_host(self._node().host)

    def _vanish(self) -> None:
        """From everything; it does not know why it is so quiet."""
        host = self._node().host
        self._isolate_host(host)
        self._block(host)

    def _isolate_host(self, host) -> None:
        others = [node.host for node in self.cluster.nodes.values()
                  if node.host is not host]
        self._cut([(host, other) for other in others] +
                  [(other, host) for other in others])

    def _cut(self, links: list) -> None:
        fabric = self._simulation.fabric
        for source, target in links:
            fabric.block(source.name, target.name)

        def heal():
            for source, target in links:
                fabric.unblock(source.name, target.name)

        self._after(self.settings.fault_seconds, heal)
        self._is_whole = False

    def _reset(self) -> None:
        one, other = self._two()
        self._simulation.fabric.reset(one.name, other.name)

    def _slow_link(self) -> None:
        one, other = self._two()
        fabric = self._simulation.fabric
        fabric.slow(one.name, other.name, 0.3 * self._random.random())
        self._after(self.settings.fault_seconds, fabric.slow, one.name,
                    other.name, 0.0)

    def _lose_coordination(self) -> None:
        self._block(self._node().host)

    def _block(self, host) -> None:
        coordination = self._simulation.coordination
        coordination.block(host.name)
        self._after(self.settings.fault_seconds * 2, coordination.unblock,
                    host.name)
        self._is_whole = False

    # The rest.

    def _slow_disk(self) -> None:
        faults = self._node().host.faults
        faults.slowness = 1 + 200 * self._random.random() ** 3

        def heal():
            faults.slowness = 1.0

        self._after(self.settings.fault_seconds, heal)

    def _jump(self) -> None:
        self._node().host.jump(
            self._random.choice((-1, 1)) * self._random.random() * 7200)
