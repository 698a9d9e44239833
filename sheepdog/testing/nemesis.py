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
was not durable may be lost, and the history is told. Bits rot in one copy
at a time, and only where the others are there to mend it.
"""

import dataclasses
from typing import Collection

from sheepdog.testing import history as history_module
from sheepdog.testing import rot as rot_module
from sheepdog.testing import steps


@dataclasses.dataclass
class NemesisSettings:
    pause_seconds: float = 1.5
    """Between faults, on average."""
    weights: dict = dataclasses.field(default_factory=lambda: {
        'kill': 3, 'kill_in_the_middle': 4, 'kill_leader': 3,
        'kill_in_recovery': 3, 'kill_all': 1,
        'power_cut': 2, 'power_cut_all': 1.5, 'stop': 2, 'cut_link': 2,
        'cut_one_way': 2, 'isolate': 2, 'vanish': 2, 'lose_coordination': 3,
        'slow_link': 2, 'slow_disk': 2, 'reset': 3,
        'fill_disk': 1, 'fail_reads': 1, 'fail_writes': 1, 'fail_syncs': 1,
        'rot': 2, 'rot_journal': 0.5, 'jump': 1, 'pull_disk': 2})
    down_seconds: float = 3.0
    """How long a killed sheep stays away, on average."""
    fault_seconds: float = 4.0
    """How long other faults last, on average."""


class Nemesis(steps.Steps):
    """``run`` until cancelled, then ``heal``."""

    def __init__(self, cluster, settings: NemesisSettings,
                 history: history_module.History, seed: str,
                 without: Collection[str] = ()):
        super().__init__('fault', cluster.simulation.trace, seed,
                         settings.weights, settings.pause_seconds, without)
        self.cluster = cluster
        self.settings = settings
        self._history = history
        self._simulation = cluster.simulation
        self._decay = rot_module.Rot(cluster)
        self._returning = {}
        self._is_whole = True
        """Nothing that is acknowledged stands on fewer copies than it
        should: all has been well since the last node was lost."""
        self._crashed = set()
        """Who died since then, by name."""
        self._has_lost_power = False
        """One of them by a power cut."""

    def heal(self) -> None:
        """No more faults; whoever is down comes back."""
        self.is_over = True
        self._simulation.heal()
        for node in self.cluster.nodes.values():
            if node.is_running:
                node.host.process.kill_after(0)
            if not node.host.is_on:
                node.host.power_on()
            if node.is_sick:
                node.host.kill()
        self.cluster.start()

    def look(self) -> None:
        if not self._is_whole and self.cluster.is_well():
            self._is_whole = True
            self._crashed.clear()
            self._has_lost_power = False
        self._decay.look()
        for node in self._nodes():
            if not node.is_running and node.name not in self._returning:
                # It ended by itself; whoever watches it starts it again.
                self._start_later(node)

    def unsettled(self) -> None:
        """Somebody comes or goes: not all copies are where they should be.
        """
        self._is_whole = False

    # Choices.

    def _nodes(self) -> list:
        return [node for node in self.cluster.nodes.values()
                if not node.is_leaving]

    def _node(self, source):
        nodes = list(self.cluster.nodes.values())
        return nodes[source.randrange(len(nodes))]

    def _two(self, source) -> tuple:
        one, other = source.sample(list(self.cluster.nodes.values()), 2)
        return one.host, other.host

    def _after(self, source, mean_seconds: float, function,
               *arguments) -> None:
        """…unless all is healed by then."""
        def call():
            if not self.is_over:
                function(*arguments)

        self._simulation.loop.call_later(
            source.expovariate(1 / mean_seconds), call)

    # Processes.

    def _start(self, node) -> None:
        self._returning.pop(node.name, None)
        if (node.is_leaving or
                self.cluster.nodes.get(node.name) is not node):
            return
        if not node.host.is_on:
            node.host.power_on()
        if not node.is_running:
            node.start()

    def _start_later(self, node, source=None) -> None:
        self._returning[node.name] = True
        seconds = self.settings.down_seconds
        if source is None:
            self._simulation.loop.call_later(seconds, self._start_if, node)
        else:
            self._after(source, seconds, self._start, node)

    def _start_if(self, node) -> None:
        if not self.is_over:
            self._start(node)

    def _kill(self, source) -> None:
        self._end(self._node(source), source)

    def _note_crash(self, node) -> None:
        """What is not durable survives fewer crashes than copies: that one
        of them was a power cut, and as many in all, may have cost it."""
        self._crashed.add(node.name)
        if self._has_lost_power and len(self._crashed) >= min(
                self.cluster.fewest, len(self.cluster.nodes)):
            self._history.power_cut(is_total=False)

    def _end(self, node, source) -> None:
        node.host.kill()
        self._note_crash(node)
        self._is_whole = False
        self._start_later(node, source)

    def _kill_in_the_middle(self, source) -> None:
        """…of whatever it does then, to the disk or the network."""
        self._end_soon(self._node(source), source, 300)

    def _end_soon(self, node, source, operations: int) -> None:
        if node.is_running:
            node.host.process.kill_after(1 + source.randrange(operations))
            node.host.process.on_kill(
                lambda: self._is_ended(node, source))
        self._is_whole = False

    def _is_ended(self, node, source) -> None:
        self._note_crash(node)
        self._start_later(node, source)

    def _kill_leader(self, source) -> None:
        """At once, or in the middle of what it tells the others."""
        leaders = [node for node in self._nodes() if node.is_leading]
        if not leaders:
            return
        if source.random() < 0.5:
            self._end_soon(leaders[0], source, 40)
        else:
            self._end(leaders[0], source)

    def _kill_in_recovery(self, source) -> None:
        """Who is behind, or who hands it what it lacks."""
        nodes = self._nodes()
        behind = [node for node in nodes if node.is_recovering]
        if not behind:
            return
        if source.random() < 0.5:
            behind = nodes
        self._end_soon(behind[source.randrange(len(behind))], source, 60)

    def _kill_all(self, source) -> None:
        for node in self._nodes():
            self._end(node, source)

    def _stop(self, source) -> None:
        """SIGSTOP: it does not know that time goes by."""
        host = self._node(source).host
        host.stop()
        self._after(source, self.settings.fault_seconds, host.resume)
        self._is_whole = False

    # Power.

    def _power_cut(self, source) -> None:
        self._cut_power([self._node(source)], source)

    def _power_cut_all(self, source) -> None:
        self._cut_power(list(self.cluster.nodes.values()), source)

    def _cut_power(self, nodes: list, source) -> None:
        copies = min(self.cluster.fewest, len(self.cluster.nodes))
        if not self._is_whole or len(nodes) >= copies:
            if self._decay.is_there:
                # The good copies might go.
                return
            self._history.power_cut(
                is_total=len(nodes) == len(self.cluster.nodes))
        self._is_whole = False
        self._has_lost_power = True
        for node in nodes:
            self._crashed.add(node.name)
            node.host.power_cut()
            self._start_later(node, source)

    # Network and coordination.

    def _cut_link(self, source) -> None:
        one, other = self._two(source)
        self._cut([(one, other), (other, one)], source)

    def _cut_one_way(self, source) -> None:
        self._cut([self._two(source)], source)

    def _isolate(self, source) -> None:
        """From all others, not from the coordination service."""
        self._isolate_host(self._node(source).host, source)

    def _vanish(self, source) -> None:
        """From everything; it does not know why it is so quiet."""
        host = self._node(source).host
        self._isolate_host(host, source)
        self._block(host, source)

    def _isolate_host(self, host, source) -> None:
        others = [node.host for node in self.cluster.nodes.values()
                  if node.host is not host]
        self._cut([(host, other) for other in others] +
                  [(other, host) for other in others], source)

    def _cut(self, links: list, source) -> None:
        fabric = self._simulation.fabric
        for one, other in links:
            fabric.block(one.name, other.name)

        def heal():
            for one, other in links:
                fabric.unblock(one.name, other.name)

        self._after(source, self.settings.fault_seconds, heal)
        self._is_whole = False

    def _reset(self, source) -> None:
        one, other = self._two(source)
        self._simulation.fabric.reset(one.name, other.name)

    def _slow_link(self, source) -> None:
        one, other = self._two(source)
        fabric = self._simulation.fabric
        fabric.slow(one.name, other.name, 0.3 * source.random())
        self._after(source, self.settings.fault_seconds, fabric.slow,
                    one.name, other.name, 0.0)

    def _client_and_node(self, source) -> tuple:
        """Names of their hosts; none of a client where all are in the
        processes of sheep."""
        hosts = self.cluster.client_hosts
        return (hosts[source.randrange(len(hosts))].name if hosts else '',
                self._node(source).host.name)

    def _cut_client(self, source) -> None:
        """From one sheep, in one direction or both: who sends does not
        know, and who does not hear takes the other for idle."""
        fabric = self._simulation.fabric
        one, other = self._client_and_node(source)
        links = [(one, other), (other, one)]
        links = source.choice((links[:1], links[1:], links))
        for link in links:
            fabric.block(*link)

        def heal():
            for link in links:
                fabric.unblock(*link)

        self._after(source, self.settings.fault_seconds, heal)

    def _reset_client(self, source) -> None:
        self._simulation.fabric.reset(*self._client_and_node(source))

    def _lose_coordination(self, source) -> None:
        self._block(self._node(source).host, source)

    def _block(self, host, source) -> None:
        coordination = self._simulation.coordination
        coordination.block(host.name)
        self._after(source, self.settings.fault_seconds * 2,
                    coordination.unblock, host.name)
        self._is_whole = False

    # Disks.

    def _slow_disk(self, source) -> None:
        faults = self._node(source).host.faults
        faults.slowness = 1 + 200 * source.random() ** 3

        def heal():
            faults.slowness = 1.0

        self._after(source, self.settings.fault_seconds, heal)

    def _fill_disk(self, source) -> None:
        """Somebody else's files take (nearly) all that is left."""
        host = self._node(source).host
        host.image.fill(source.choice((0, 1, 8, 64)))
        self._after(source, self.settings.fault_seconds, host.image.unfill)
        self._is_whole = False

    def _fail_reads(self, source) -> None:
        self._fail(source, 'fails_reads')

    def _fail_writes(self, source) -> None:
        self._fail(source, 'fails_writes')

    def _fail_syncs(self, source) -> None:
        self._fail(source, 'fails_syncs')

    def _fail(self, source, what: str) -> None:
        """EIO for a while; then the operator has mended the disk, and
        starts the sheep anew. (One of several is given up instead, and with
        it what is there.)"""
        node = self._node(source)
        faults = source.choice(node.host.all_faults())
        if faults is not node.host.faults and not self._can_lose_disk(node):
            return
        setattr(faults, what, True)
        node.is_sick = True
        self._is_whole = False

        def heal():
            setattr(faults, what, False)
            self._after(source, 2.0, self._end_sick, node, source)

        self._after(source, self.settings.fault_seconds, heal)

    def _end_sick(self, node, source) -> None:
        if node.is_sick:
            self._end(node, source)

    def _pull_disk(self, source) -> None:
        """One of several is gone for good."""
        node = self._node(source)
        paths = node.plugged()
        if len(paths) > 1 and self._can_lose_disk(node):
            node.pull(paths[source.randrange(len(paths))])

    def _can_lose_disk(self, node) -> bool:
        """The others have all that is on it; if so, it is as good as lost.
        """
        if not (self._is_whole and self.cluster.is_well()
                and self.cluster.copies > 1) or self._decay.is_there:
            return False
        self._is_whole = False
        self._has_lost_power = True
        self._note_crash(node)
        return True

    def _rot(self, source) -> None:
        """A bit of an object's file flips, where all copies are good."""
        if self._is_whole and self.cluster.is_well():
            self._decay.flip_object(source)

    def _rot_journal(self, source) -> None:
        if self._is_whole and self.cluster.is_well():
            self._decay.flip_journal(source)

    # The rest.

    def _jump(self, source) -> None:
        self._node(source).host.jump(
            source.choice((-1, 1)) * source.random() * 7200)
