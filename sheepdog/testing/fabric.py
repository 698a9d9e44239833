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

"""The network between simulated hosts, with all that TCP lets through.

Bytes of one connection arrive in order, in pieces of any length, after any
delay; connections overtake each other. Links can be cut (in one direction
too): nothing is lost then, it arrives when the link is back, however late.
A process that is killed leaves a reset behind, a host without power leaves
nothing: its connections stay half open until somebody sends on them.

``network`` is what a process sees of it.
"""

import collections
import contextvars
import dataclasses
import errno

KERNEL = contextvars.Context()
"""What happens in it belongs to no process."""

FIN = 'fin'
RST = 'rst'


@dataclasses.dataclass
class NetworkSettings:
    delay_min: float = 0.00003
    delay_mean: float = 0.0001
    """Of the part above the minimum, exponentially distributed."""
    spike_chance: float = 0.001
    spike_seconds: float = 0.05
    split_chance: float = 0.1
    """That a piece arrives in two."""
    window_bytes: int = 256 << 10
    """What the kernels and the wire hold of one direction."""
    retransmit_seconds: float = 0.4
    """At most so long after a link is back, what was sent arrives."""


class Fabric:
    """Hosts, links and connections. Faults are injected here."""

    def __init__(self, loop, random, trace, settings=None):
        self.loop = loop
        self.random = random
        self.trace = trace
        self.settings = settings or NetworkSettings()
        self.listeners = {}
        self.on_send = None
        """Called with ``(connection, buffers)`` before what a process sends
        is taken over: a play waits there for its cues."""
        self._blocked = {}
        self._off = {}
        self._slow = {}
        self._connections = {}
        self._stalled = []
        self._count = 0

    # Faults.

    def block(self, source: str, target: str) -> None:
        """Cut one direction of a link."""
        self._blocked[source, target] = True

    def unblock(self, source: str, target: str) -> None:
        self._blocked.pop((source, target), None)
        stalled = self._stalled
        self._stalled = []
        for pipe in stalled:
            if pipe.hosts == (source, target):
                pipe.unstall()
            else:
                self._stalled.append(pipe)

    def cut(self, one: str, other: str) -> None:
        """Cut a link in both directions."""
        self.block(one, other)
        self.block(other, one)

    def heal(self) -> None:
        """All links work again, at their usual speed."""
        self._slow = {}
        for source, target in list(self._blocked):
            self.unblock(source, target)

    def slow(self, source: str, target: str, seconds: float) -> None:
        """Add to the delay of one direction of a link; 0 ends it."""
        self._slow[source, target] = seconds

    def reset(self, one: str, other: str) -> int:
        """Reset all connections between two hosts; their number."""
        count = 0
        for connection in list(self._connections.values()):
            if {connection.host, connection.peer.host} == {one, other}:
                connection.lose(ConnectionResetError(
                    errno.ECONNRESET, 'reset by the simulator'))
                count += 1
        return count

    def power_off(self, host: str) -> None:
        """Its processes must have been killed by ``power_cut``."""
        self._off[host] = True
        # Nobody is left to repeat what a cut held up.
        self._stalled = [pipe for pipe in self._stalled
                         if pipe.hosts[0] != host]

    def power_on(self, host: str) -> None:
        self._off.pop(host, None)
        for connection in list(self._connections.values()):
            if connection.peer.host == host:
                connection.peer.host_is_back()

    def process_gone(self, process, is_power_cut: bool) -> None:
        """Close what a dead process had open, as its kernel would."""
        self.listeners = {
            address: listener for address, listener in self.listeners.items()
            if listener.process is not process}
        for connection in list(self._connections.values()):
            if connection.process is process:
                connection.process_gone(is_power_cut)

    # For connections.

    def is_blocked(self, source: str, target: str) -> bool:
        return source != target and (source, target) in self._blocked

    def is_off(self, host: str) -> bool:
        return host in self._off

    def delay(self, source: str, target: str) -> float:
        settings = self.settings
        random = self.random
        if source == target:
            return settings.delay_min * random.random()
        delay = (settings.delay_min +
                 random.expovariate(1 / settings.delay_mean) +
                 self._slow.get((source, target), 0.0))
        if random.random() < settings.spike_chance:
            delay += settings.spike_seconds * random.random()
        return delay

    def add(self, connection) -> int:
        self._count += 1
        self._connections[self._count] = connection
        return self._count

    def remove(self, connection) -> None:
        self._connections.pop(connection.number, None)

    def stall(self, pipe: 'Pipe') -> None:
        self._stalled.append(pipe)

    def open_connections(self, host: str) -> list:
        return [connection for connection in self._connections.values()
                if connection.host == host]


class Pipe:
    """One direction of a connection, from kernel to kernel."""

    def __init__(self, fabric: Fabric, source, target):
        self._fabric = fabric
        self._source = source
        self._target = target
        self._queue = collections.deque()
        self._last_due = 0.0
        self._is_pumping = False
        self.hosts = source.host, target.host
        self.held_bytes = 0

    def push(self, piece, size: int = 0) -> None:
        """``piece``: a list of buffers, FIN or RST. The buffers are looked
        at when they arrive, so that who changes one after sending it is
        found out."""
        fabric = self._fabric
        due = fabric.loop.time() + fabric.delay(*self.hosts)
        self._last_due = due = max(due, self._last_due)
        self._queue.append((due, piece))
        self.held_bytes += size
        if not self._is_pumping:
            self._pump_at(due)

    def drop(self) -> None:
        """What has not arrived never will."""
        self._queue.clear()

    def unstall(self) -> None:
        fabric = self._fabric
        self._pump_at(fabric.loop.time() + fabric.random.random() *
                      fabric.settings.retransmit_seconds)

    def _pump_at(self, when: float) -> None:
        self._is_pumping = True
        self._fabric.loop.call_at(when, self._pump, context=KERNEL)

    def _pump(self) -> None:
        fabric = self._fabric
        if fabric.is_blocked(*self.hosts):
            fabric.stall(self)
            return
        self._is_pumping = False
        queue = self._queue
        now = fabric.loop.time()
        while queue and queue[0][0] <= now:
            _, piece = queue.popleft()
            if piece is not FIN and piece is not RST:
                data = b''.join(piece)
                if (len(data) > 1 and fabric.random.random() <
                        fabric.settings.split_chance):
                    cut = 1 + fabric.random.randrange(len(data) - 1)
                    rest = now + fabric.delay(*self.hosts)
                    queue.appendleft((rest, [data[cut:]]))
                    data = data[:cut]
                self._target.arrived(data)
            else:
                self._target.ended(piece)
        if queue:
            self._pump_at(max(now, queue[0][0]))
