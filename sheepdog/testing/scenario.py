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
from typing import Callable, Collection, Optional

from sheepdog.model import errors
from sheepdog.placement import redundancy
from sheepdog.recovery import pace
from sheepdog.testing import alterations
from sheepdog.testing import branches
from sheepdog.testing import checkers
from sheepdog.testing import chores as chores_module
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import disk
from sheepdog.testing import fabric
from sheepdog.testing import history as history_module
from sheepdog.testing import lies
from sheepdog.testing import loop as loop_module
from sheepdog.testing import membership
from sheepdog.testing import nemesis as nemesis_module
from sheepdog.testing import qos
from sheepdog.testing import remote
from sheepdog.testing import rest
from sheepdog.testing import sloth
from sheepdog.testing import workload as workload_module
from sheepdog.testing import world as world_module

TROUBLE_SECONDS = 20.0
ALTERING_SHARE = 0.35
"""Of all seeds: operators alter numbers of copies."""
SETTLE_LEASES = 2
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
    parts: dict = dataclasses.field(default_factory=dict)
    """Label → kind of all that may be left out."""
    outcomes: dict = dataclasses.field(default_factory=dict)
    """How the chores ended: text → times."""

    def __str__(self):
        return 'seed %d digest %s %s%s' % (
            self.seed, self.digest,
            ' '.join('%s=%s' % item for item in self.counts.items()),
            ''.join('\n  ' + failure for failure in self.failures))


class Scenario:
    """What a seed stands for; ``change`` may adjust it before it runs.

    ``without``: labels of what is left out (see ``steps`` and
    ``Result.parts``).
    """

    def __init__(self, seed: int, build: Callable,
                 without: Collection[str] = ()):
        self.seed = seed
        self.without = frozenset(without)
        source = random.Random('%s/scenario' % seed)
        self.trouble_seconds = TROUBLE_SECONDS
        self.network = fabric.NetworkSettings(
            delay_mean=source.choice((0.0001, 0.0005, 0.003)),
            spike_chance=source.choice((0.0, 0.001, 0.01)),
            split_chance=source.choice((0.02, 0.2)))
        self.coordination = membership.CoordinationSettings(
            notices_kills=source.random() < 0.3,
            late_chance=source.choice((0.0, 0.1, 0.3)),
            lost_chance=source.choice((0.0, 0.0, 0.1)))
        nodes = source.choice((3, 3, 4, 5, 7))
        self.cluster = cluster_module.ClusterSettings(
            build, nodes=nodes,
            copies=source.choice((2, 3, 3)) if nodes > 3 else 3,
            checkpoint_seconds=source.choice((2.0, 20.0, 300.0)),
            disk=disk.DiskFaults(
                sync_seconds=source.choice((0.0008, 0.005, 0.02)),
                cold_chance=source.choice((0.0, 0.1))))
        self.workload = workload_module.WorkloadSettings(
            fua_share=source.choice((0.1, 0.5, 0.9)),
            zero_share=source.choice((0.02, 0.1)),
            session_operations=source.choice((20, 300)),
            think_seconds=source.choice((0.03, 0.08)))
        self.nemesis = nemesis_module.NemesisSettings(
            pause_seconds=source.choice((0.7, 1.5, 4.0)),
            down_seconds=source.choice((0.5, 3.0)))
        self.chores = chores_module.ChoreSettings(
            pause_seconds=source.choice((0.7, 2.0, 6.0)))
        self.cluster.scrub = pace.ScrubSettings(
            source.random() < 0.5, source.choice((4 << 20, 32 << 20)),
            source.choice((1.0, 5.0)))
        self.cluster.disks = source.choice(((0,), (0, 1, 2, 3), (1, 2, 3)))

        source = random.Random('%s/alterations' % seed)
        self.alterations = alterations.AlterationSettings(
            source.choice((1.0, 3.0, 8.0))
            if source.random() < ALTERING_SHARE else 0.0)
        self.cluster.is_strict = random.Random(
            '%s/strict' % seed).random() < 0.15
        self.cluster.avoids_full = random.Random(
            '%s/full' % seed).random() < 0.3
        self.has_slow = False
        self.branches = branches.BranchSettings()
        self.limits = qos.LimitSettings()

    def slow_down(self) -> None:
        """Disks and links that are slow for long, and evictions."""
        self.has_slow = True
        self.cluster.slow = sloth.LIMITS

    def send_clients_away(self) -> None:
        """Some of them, by lot, to hosts of their own; see ``remote``. A
        seed that keeps all has the same story as without."""
        source = random.Random('%s/clients' % self.seed)
        self.workload.nbd_share = source.choice((0.0, 0.4, 0.8))
        self.workload.native_share = source.choice((0.0, 0.2))
        if self.workload.nbd_share or self.workload.native_share:
            self.nemesis.weights.update(cut_client=1, reset_client=2)

    def encode(self, policy: str) -> None:
        """Erasure coded volumes, in a cluster that is large enough."""
        cluster = self.cluster
        cluster.copies, cluster.copy_policy = redundancy.parse(policy)
        cluster.nodes = max(cluster.nodes, cluster.copies)

    def branch(self) -> None:
        """Many snapshots, clones, discards and deletions."""
        source = random.Random('%s/branch' % self.seed)
        self.branches.pause_seconds = source.choice((0.15, 0.4, 1.0))
        self.workload.discard_share = source.choice((0.0, 0.003, 0.01))

    def limit(self) -> None:
        """Volumes get limits, and other ones."""
        self.limits.pause_seconds = random.Random(
            '%s/limit' % self.seed).choice((0.3, 1.0, 3.0))

    def turn(self) -> None:
        """VDIs are turned from copies to strips, and back."""
        source = random.Random('%s/turn' % self.seed)
        self.alterations = alterations.AlterationSettings(
            source.choice((0.5, 1.0, 2.0)),
            {'turn': 8, 'alter': 1, 'repeat': 1})

    def have_patience(self) -> None:
        """What absent nodes held is left as it is for a while."""
        source = random.Random('%s/grace' % self.seed)
        self.cluster.grace_seconds = source.choice((1, 3, 8, 20))
        self.cluster.nodes = max(
            self.cluster.nodes,
            self.cluster.copies + source.choice((0, 1, 2)))

    def leave_alone(self) -> None:
        """No operators, few nodes, and volumes that stay as they are."""
        self.cluster.nodes = min(self.cluster.nodes, 4)
        self.chores.pause_seconds = 1e9
        self.has_slow = False
        self.alterations.pause_seconds = 0.0
        self.branches.pause_seconds = 0.0
        self.limits.pause_seconds = 0.0
        self.workload.volumes = self.workload.volumes[:2]
        self.workload.grown_bytes = self.workload.volume_bytes = 6 << 20
        self.workload.clients_per_volume = 3
        self.workload.large_share = 0.0

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
                _Run(self, simulation, result).run()
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


class _Run:
    """The parts of one run, and their order."""

    def __init__(self, scenario: Scenario, simulation, result: Result):
        self.simulation = simulation
        self.result = result
        self._scenario = scenario
        seed, without = scenario.seed, scenario.without
        scenario.cluster.serves_nbd = scenario.workload.nbd_share > 0
        self.cluster = cluster_module.SimCluster(simulation,
                                                 scenario.cluster)
        self.history = history_module.History()
        self.workload = workload_module.Workload(
            self.cluster, scenario.workload, self.history,
            '%s/workload' % seed, without)
        self.nemesis = nemesis_module.Nemesis(
            self.cluster, scenario.nemesis, self.history,
            '%s/nemesis' % seed, without)
        self.chores = chores_module.Chores(
            self.cluster, self.workload, scenario.chores,
            self.nemesis.unsettled, '%s/chores' % seed, without)
        self.sloth = sloth.Sloth(
            self.cluster, self.nemesis.unsettled, '%s/sloth' % seed,
            without) if scenario.has_slow else None
        self.alterations = alterations.Alterations(
            self.cluster, self.workload, scenario.alterations,
            self.nemesis.unsettled, '%s/alterations' % seed, without)
        self.branches = branches.Branches(
            self.cluster, self.workload, self.history, self.chores,
            scenario.branches, '%s/branches' % seed, without)
        self.limits = qos.Limits(
            self.cluster, self.workload, scenario.limits,
            '%s/limits' % seed, without)

    def run(self) -> None:
        self.cluster.format()
        self.workload.create_volumes()
        self.workload.start(remote.start_client)
        loop = self.simulation.loop
        troubles = [loop.create_task(self.nemesis.run()),
                    loop.create_task(self.chores.run())]
        if self.sloth is not None:
            troubles.append(loop.create_task(self.sloth.run()))
        if self._scenario.alterations.pause_seconds:
            troubles.append(loop.create_task(self.alterations.run()))
        if self._scenario.branches.pause_seconds:
            troubles.append(loop.create_task(self.branches.run()))
        if self._scenario.limits.pause_seconds:
            troubles.append(loop.create_task(self.limits.run()))
        self.simulation.run_for(self._scenario.trouble_seconds)
        if self.sloth is not None:
            self.sloth.heal()
        self.chores.heal()
        self.alterations.is_over = self.branches.is_over = True
        self.limits.is_over = True
        self.nemesis.heal()
        loop.create_task(self.cluster.keep_running())
        self._settle(troubles)
        self._check_liveness()
        if not self.result.failures:
            self._check_end()
        self._judge()
        self._count()

    def _settle(self, troubles: list) -> None:
        """What went wrong before may cost a sheep its place as long as a
        lease lasts, or make it ask for what nobody answers."""
        for trouble in troubles:
            trouble.cancel()
        self.simulation.run(asyncio.wait(troubles))
        ttl = self._scenario.coordination.ttl_seconds
        self.simulation.run_for(SETTLE_LEASES * ttl)
        self.chores.look()

    def _check_liveness(self) -> None:
        cluster = self.cluster
        self._calm_since = self.simulation.loop.time()
        if not cluster.wait_well(WELL_SECONDS):
            self._fail('not well %d s after all faults:\n%s' % (
                WELL_SECONDS, cluster.explain()))
        self.workload.finish()
        if not self.simulation.run_until(self.workload.has_finished,
                                         END_SECONDS):
            self._fail('requests without an answer:\n%s' %
                       cluster.explain())

    def _check_end(self) -> None:
        cluster = self.cluster
        if not cluster.wait_well(WELL_SECONDS):
            self._fail('not well at rest:\n%s' % cluster.explain())
            return
        for node in cluster.serving():
            try:
                self.workload.read_everything(node)
            except errors.SheepdogError as error:
                self._fail('%s cannot be read through: %r' % (
                    node.name, error))
        # Reading may have found what has rotted: it is mended first.
        self.result.failures += rest.wait(cluster)
        self.result.failures += cluster.copies_differ()
        self.result.failures += [
            '%s lost its place at %s, long after all faults' % (
                node.name, when) for node in cluster.nodes.values()
            for when in node.lapses if when > self._calm_since]
        state = next(iter(cluster.nodes.values())).sheep.cluster.state
        self.result.failures += self.chores.judge(state)
        self.result.failures += self.alterations.judge(state)
        self.result.failures += self.branches.judge(cluster.serving())
        if self._scenario.cluster.scrub.enabled and not self.result.failures:
            self.result.failures += lies.check(
                cluster, '%s/lies' % self._scenario.seed)

    def _judge(self) -> None:
        self.result.failures += ['history of %s: %s' % found
                                 for found in self.history.check()]
        for said in (self.cluster.epochs.violations,
                     self.cluster.events.violations,
                     self.cluster.orphans, self.workload.violations):
            self.result.failures += said

    def _count(self) -> None:
        self.result.parts = {
            **self.nemesis.done, **self.chores.done,
            **(self.sloth.done if self.sloth else {}),
            **self.alterations.done, **self.branches.done,
            **self.limits.done,
            **{name: 'client' for name in self.workload.names}}
        self.result.outcomes = {**self.chores.outcomes,
                                **self.alterations.outcomes,
                                **self.branches.outcomes,
                                **self.limits.outcomes}
        self.result.counts.update(
            nodes=len(self.cluster.nodes), copies=self.cluster.copies,
            epochs=len(self.cluster.epochs), cuts=len(self.history.cuts),
            writes=self.history.count(checkers.WRITE),
            reads=self.history.count(checkers.READ),
            faults=len(self.nemesis.done), chores=len(self.chores.done),
            remote=len(self.cluster.client_hosts))

    def _fail(self, what: str) -> None:
        self.result.failures.append(what)


def run_seed(seed: int, build: Callable,
             change: Optional[Callable[[Scenario], None]] = None,
             without: Collection[str] = ()) -> Result:
    """Run one seed with sheep made by ``build``.

    :param change: adjusts the scenario, say to plant a bug
    :param without: labels of what to leave out
    """
    scenario = Scenario(seed, build, without)
    if change is not None:
        change(scenario)
    return scenario.run()
