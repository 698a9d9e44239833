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

"""Steps of operators, who ask sheep for something and count the answers."""

from sheepdog.model import errors
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import steps

OPEN = 'open'
"""An outcome that nobody was told."""


class Asking(steps.Steps):
    """``cluster``: of simulated nodes. ``outcomes``: how often each thing
    ended how, by 'what how'."""

    open_errors = (errors.Transient, errors.ShuttingDown)
    """After these it may have happened, or happen yet."""

    def __init__(self, cluster, name, *how):
        super().__init__(name, cluster.simulation.trace, *how)
        self.cluster = cluster
        self.outcomes = {}

    def _serving(self, source):
        nodes = self.cluster.serving()
        return nodes[source.randrange(len(nodes))] if nodes else None

    def _ask(self, node, function, *arguments) -> None:
        """In the sheep's process: it ends with it."""
        if node is not None:
            node.host.world.spawn(
                self._answered(function, node, arguments),
                cluster_module.CLIENT + function.__name__)

    async def _answered(self, function, node, arguments) -> None:
        outcome = await self._outcome(function(node, *arguments))
        key = '%s %s' % (function.__name__.strip('_'), outcome or 'done')
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    async def _outcome(self, coroutine) -> str:
        """'' when it was done, OPEN, or the name of the error for which it
        was not."""
        try:
            await coroutine
        except self.open_errors:
            return OPEN
        except errors.SheepdogError as error:
            return type(error).__name__
        return ''
