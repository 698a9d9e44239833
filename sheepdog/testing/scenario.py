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

"""One run of a whole cluster from one seed: build, break, heal, check.

``run_seed`` is all that tests and tools need. What a seed decides: how many
nodes and copies, how the network and the coordination service behave, what
clients do and what goes wrong when.
"""

import asyncio
import contextlib
import dataclasses
import random
import signal
import traceback
import warnings
from typing import Callable, Optional

from sheepdog.model import errors
from sheepdog.testing import checkers
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import disk
from sheepdog.testing import fabric
from sheepdog.testing import history as history_module
from sheepdog.testing import loop as loop_module
from sheepdog.testing import membership
from sheepdog.testing import nemesis as nemesis_module
from sheepdog.testing import workload as workload_module
from sheepdog.testing import world as world_module

TROUBLE_SECONDS = 25.0
WELL_SECONDS = 120.0
"""After all faults have ended, all must be well again within this."""
END_SECONDS = 60.0
"""…and every request answered within this."""


PROCESSOR_SECONDS = 60
"""More for one seed is an endless loop; a few are usual."""


@contextlib.contextmanager
def _limited(seconds: float):
    """:raises loop.OutOfTime: in what runs, after so much processor time"""
    def stop(number, frame):
        raise loop_module.OutOfTime()

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@dataclasses.dataclass
class Result:
    """``failures`` is empty when all is as it should be."""

    seed: int
    digest: str = ''
    failures: list = dataclasses.field(default_factory=list)
    counts: dict = dataclasses.field(default_factory=dict)
    trace: str = ''

    def __str__(self):
        return 'seed %d digest %s %s%s' % (
            self.seed, self.digest,
            ' '.join('%s=%s' % item for item in self.counts.items()),
            ''.join('\n  ' + failure for failure in self.failures))


class Scenario:
    """What a seed stands for; ``change`` may adjust it before it runs."""

    def __init__(self, seed: int, build: Callable):
        self.seed = seed
        source = random.Random('%s/scenario' % seed)
        self.trouble_seconds = TROUBLE_SECONDS
        self.network = fabric.NetworkSettings(
            delay_mean=source.choice((0.0001, 0.0005, 0.003)),
            spike_chance=source.choice((0.0, 0.001, 0.01)),
            split_chance=source.choice((0.02, 0.2)))
        self.coordination = membership.CoordinationSettings(
            notices_kills=source.random() < 0.3,
            late_chance=source.choice((0.0, 0.1, 0.3)))
        nodes = source.choice((3, 3, 4, 5))
        self.cluster = cluster_module.ClusterSettings(
            build, nodes=nodes,
            copies=source.choice((2, 3, 3)) if nodes > 3 else 3,
            checkpoint_seconds=source.choice((2.0, 20.0, 300.0)),
            disk=disk.DiskFaults(
                sync_seconds=source.choice((0.0008, 0.005, 0.02)),
                cold_chance=source.choice((0.0, 0.1))))
        self.workload = workload_module.WorkloadSettings(
            fua_share=source.choice((0.1, 0.5, 0.9)),
            session_operations=source.choice((20, 300)),
            think_seconds=source.choice((0.02, 0.05)))
        self.nemesis = nemesis_module.NemesisSettings(
            pause_seconds=source.choice((1.0, 2.0, 5.0)),
            down_seconds=source.choice((0.5, 3.0)))

    def run(self) -> Result:
        result = Result(self.seed)
        with warnings.catch_warnings():
            # Coroutines of the dead.
            warnings.filterwarnings('ignore', '.* was never awaited')
            with _limited(PROCESSOR_SECONDS):
                self._run_and_judge(result)
        return result

    def _run_and_judge(self, result: Result) -> None:
        with world_module.Simulation(self.seed, self.network,
                                     self.coordination) as simulation:
            try:
                self._run(simulation, result)
            except (loop_module.Stuck, cluster_module.NotWell) as error:
                result.failures.append(str(error))
            except loop_module.OutOfTime as error:
                result.failures.append('endless: %s' % ''.join(
                    traceback.format_tb(error.__traceback__)))
            result.failures += [
                '%s: not handled: %s: %r' % error
                for error in simulation.errors()]
            result.digest = simulation.trace.digest()
            result.counts['callbacks'] = simulation.loop.callbacks_run
            if result.failures:
                result.trace = simulation.trace.text()

    def _run(self, simulation, result: Result) -> None:
        cluster = cluster_module.SimCluster(simulation, self.cluster)
        cluster.format()
        history = history_module.History()
        workload = workload_module.Workload(
            cluster, self.workload, history, '%s/workload' % self.seed)
        workload.create_volumes()
        workload.start()
        nemesis = nemesis_module.Nemesis(
            cluster, self.nemesis, history, '%s/nemesis' % self.seed)
        trouble = simulation.loop.create_task(nemesis.run())
        simulation.run_for(self.trouble_seconds)
        nemesis.heal()
        simulation.run(asyncio.wait([trouble]))
        self._check_liveness(cluster, workload, result)
        workload.finish()
        if not result.failures:
            self._check_end(cluster, workload, result)
        result.failures += ['history of %s: %s' % found
                            for found in history.check()]
        result.failures += cluster.epochs.violations
        result.counts.update(
            nodes=self.cluster.nodes, copies=self.cluster.copies,
            epochs=len(cluster.epochs), cuts=len(history.cuts),
            writes=history.count(checkers.WRITE),
            reads=history.count(checkers.READ),
            faults=sum(nemesis.counts.values()))

    def _check_liveness(self, cluster, workload, result: Result) -> None:
        if not cluster.wait_well(WELL_SECONDS):
            result.failures.append('not well %d s after all faults:\n%s' % (
                WELL_SECONDS, cluster.explain()))
        workload.finish()
        if not cluster.simulation.run_until(workload.has_finished,
                                            END_SECONDS):
            result.failures.append('requests without an answer:\n%s' %
                                   cluster.explain())

    def _check_end(self, cluster, workload, result: Result) -> None:
        if not cluster.wait_well(WELL_SECONDS):
            result.failures.append('not well at rest:\n%s' %
                                   cluster.explain())
            return
        for node in cluster.serving():
            try:
                workload.read_everything(node)
            except errors.SheepdogError as error:
                result.failures.append('%s cannot be read through: %r' % (
                    node.name, error))
        result.failures += cluster.copies_differ()


def run_seed(seed: int, build: Callable,
             change: Optional[Callable[[Scenario], None]] = None) -> Result:
    """Run one seed with sheep made by ``build``.

    :param change: adjusts the scenario, say to plant a bug
    """
    scenario = Scenario(seed, build)
    if change is not None:
        change(scenario)
    return scenario.run()
