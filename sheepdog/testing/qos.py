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

"""Operators who limit the volumes that clients use, and change their minds,
at any moment. In the end some limits stay."""

import dataclasses
from typing import Collection

from sheepdog.cluster import qos
from sheepdog.model import errors
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import steps

IOPS = (10, 40, 200)
BYTES = (256 << 10, 1 << 20, 8 << 20)
BURSTS = (0, 0, 1, 4)
"""0: as is usual; else in seconds."""


@dataclasses.dataclass
class LimitSettings:
    pause_seconds: float = 0.0
    """Between two of them, on average; 0: there are none."""
    weights: dict = dataclasses.field(default_factory=lambda: {
        'limit': 5, 'clear': 1})


class Limits(steps.Steps):
    """See ``Steps``."""

    def __init__(self, cluster, workload, settings: LimitSettings,
                 seed: str, without: Collection[str] = ()):
        super().__init__('limit', cluster.simulation.trace, seed,
                         settings.weights, settings.pause_seconds, without)
        self.cluster = cluster
        self.workload = workload
        self.outcomes = {}

    def _limit(self, source) -> None:
        changes = {}
        for _ in range(source.randint(1, 3)):
            kind = qos.KINDS[source.randrange(len(qos.KINDS))]
            rates = BYTES if qos.is_bytes(kind) else IOPS
            rate = rates[source.randrange(len(rates))]
            changes[kind] = None if source.random() < 0.2 else [
                rate, rate * BURSTS[source.randrange(len(BURSTS))]]
        self._ask(source, changes, False)

    def _clear(self, source) -> None:
        self._ask(source, {}, True)

    def _ask(self, source, changes: dict, clear: bool) -> None:
        names = [name for name, _ in self.workload.settings.volumes]
        name = names[source.randrange(len(names))]
        nodes = self.cluster.serving()
        if nodes:
            node = nodes[source.randrange(len(nodes))]
            node.host.world.spawn(
                self._answered(node, name, changes, clear),
                cluster_module.CLIENT + 'limit')

    async def _answered(self, node, name, changes, clear) -> None:
        outcome = 'done'
        try:
            await node.sheep.cluster.execute('qos', {
                'name': name, 'changes': changes, 'clear': clear})
        except errors.SheepdogError as error:
            outcome = type(error).__name__
        key = 'limit %s' % outcome
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
