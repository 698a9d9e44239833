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

"""A disk or a link that is slow for long, and operators who evict nodes.

See ``Scenario.slow_down``. The limits are low there, so that the cluster
evicts by itself, too.
"""

from sheepdog.cluster import patrol
from sheepdog.model import errors
from sheepdog.testing import steps

WEIGHTS = {'slow_disk': 2, 'slow_network': 1, 'quick': 1, 'evict': 3,
           'readmit': 2}
PAUSE_SECONDS = 2.5
LIMITS = patrol.SlowSettings(demote_ms=30, evict_ms=60)


class Sloth(steps.Steps):
    """``run`` until cancelled, then ``heal``."""

    def __init__(self, cluster, unsettled, seed: str, without=()):
        super().__init__('slow', cluster.simulation.trace, seed, WEIGHTS,
                         PAUSE_SECONDS, without)
        self._cluster = cluster
        self._unsettled = unsettled

    def heal(self) -> None:
        self.is_over = True
        self._quick(None)
        for node in self._cluster.nodes.values():
            self._ask(node, 'readmit', {'by_hand': True})

    def _node(self, source):
        nodes = list(self._cluster.nodes.values())
        return nodes[source.randrange(len(nodes))]

    def _slow_disk(self, source) -> None:
        faults = self._node(source).host.faults
        faults.slowness = source.choice((0.2, 2.0)) / faults.sync_seconds

    def _slow_network(self, source) -> None:
        self._delay(self._node(source), source.choice((0.05, 0.2)))

    def _delay(self, slow, seconds: float) -> None:
        fabric = self._cluster.simulation.fabric
        for node in self._cluster.nodes.values():
            if node is not slow:
                fabric.slow(slow.host.name, node.host.name, seconds)

    def _quick(self, _source) -> None:
        for node in self._cluster.nodes.values():
            node.host.faults.slowness = 1.0
            self._delay(node, 0.0)

    def _evict(self, source) -> None:
        self._unsettled()
        self._ask(self._node(source), 'evict', {
            'by_hand': True, 'force': source.random() < 0.5})

    def _readmit(self, source) -> None:
        self._unsettled()
        self._ask(self._node(source), 'readmit', {})

    def _ask(self, node, kind: str, arguments: dict) -> None:
        """Have the node ask it for itself, if it can."""
        if node.is_serving:
            node.host.world.spawn(
                _execute(node.sheep, kind, arguments), kind)


async def _execute(sheep, kind: str, arguments: dict) -> None:
    try:
        await sheep.cluster.execute(
            kind, dict(arguments, node=sheep.store.node_id))
    except errors.SheepdogError:
        pass
