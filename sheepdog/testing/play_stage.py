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


"""The stage of a play: sheep by name, what is done to them, what is seen.

Everything that can be seen is a line of text, so that what was expected and
what was there can be compared as texts.
"""

import collections
import dataclasses
import functools
import logging
from typing import Callable, Iterable

from sheepdog.cluster import api
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.testing import checkers
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import history as history_module
from sheepdog.testing import image
from sheepdog.testing import membership
from sheepdog.testing import play_actors
from sheepdog.testing import play_cues
from sheepdog.testing import world as world_module

LOG = logging.getLogger(__name__)

READY_SECONDS = 60.0
CHECKPOINT_SECONDS = 300.0
GAP_SECONDS = 0.1
"""Between the first starts, so that the first one named is the oldest."""


@dataclasses.dataclass
class StageSettings:
    """``names`` of the sheep, in the order of their zones; ``is_embedded``:
    a killed process is noticed at once, as the file driver does it;
    ``rest_seconds``: recovery makes one object whole, then rests so long."""

    names: tuple
    copies: int = 3
    is_embedded: bool = False
    seed: int = 1
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    is_strict: bool = False
    rest_seconds: int = 0
    avoids_full: bool = False


class _Cluster(cluster_module.SimCluster):
    """Knows stores of several clusters apart."""

    def say_epoch(self, who: str, view) -> None:
        cluster = self.nodes[who].sheep.cluster
        created = cluster.state.created
        self.simulation.trace.note(who, 'epoch', '%d%s' % (
            view.epoch, ', clean' if cluster.clean_start else ''))
        self.epochs.say(who, '%d of cluster %x' % (view.epoch, created),
                        tuple((m.node, m.host, m.port, m.zone, m.vnodes)
                              for m in view.members))


class Stage:
    """``log``: (time, line) of what has happened. Close it at the end."""

    def __init__(self, settings: StageSettings, build: Callable):
        self.settings = settings
        self.log = []
        self.simulation = world_module.Simulation(
            'play/%d' % settings.seed,
            coordination_settings=membership.CoordinationSettings(
                late_chance=0.0, double_chance=0.0, rival_chance=0.0,
                notices_kills=settings.is_embedded))
        self.simulation.fabric.settings.spike_chance = 0.0
        self.cluster = _Cluster(
            self.simulation, cluster_module.ClusterSettings(
                build, nodes=len(settings.names), copies=settings.copies,
                checkpoint_seconds=settings.checkpoint_seconds,
                recovery_max=1 if settings.rest_seconds else 0,
                recovery_interval_ms=1000 * settings.rest_seconds))
        self.nodes = dict(zip(settings.names, self.cluster.nodes.values()))
        self.history = history_module.History()
        self.terms = checkers.Agreement('the leader of term')
        self.cues = play_cues.Cues(
            self.simulation.fabric,
            {node.address: name for name, node in self.nodes.items()},
            lambda cue: self.say('cue: %s' % cue))
        self.actors = play_actors.Actors(self)
        self._began = self.simulation.loop.time()
        self._statuses = {}
        self._steps = {}
        self._names = {}
        for name, node in self.nodes.items():
            self._names[node.name] = self._names[node.address] = name
            node.on_event = functools.partial(self._on_event, name)
        self.simulation.trace.on_note = self._on_note

    def close(self) -> None:
        self.simulation.trace.on_note = None
        self.simulation.close()

    # The log.

    def say(self, line: str) -> None:
        self.log.append((self.simulation.loop.time() - self._began, line))

    def _on_note(self, who: str, what: str, details: tuple) -> None:
        template = _NOTES.get(what)
        if template is None:
            return
        if what == 'term':
            self.terms.say('the service', *details)
        if who == 'service':
            who = self.name_of(details[-1])
            what = details[0]
        elif what == 'joins':
            who = self.name_of(details[0])
        elif what == 'epoch':
            what = details[0]
        self.say(template % {'who': self._names.get(who, who),
                             'what': what})

    def _on_event(self, name: str, event: dict) -> None:
        if event['kind'] != 'recovered':  # too many, and of little interest
            self.say('%s hears of %s' % (name, event['kind']))

    def name_of(self, incarnation: str) -> str:
        """The sheep that an incarnation was, or is."""
        for name, node in self.nodes.items():
            store = node.sheep and node.sheep.store
            if store is not None and incarnation.startswith(
                    store.node_id + '.'):
                self._names[store.node_id] = name
        return self._names.get(incarnation.rpartition('.')[0], incarnation)

    def look(self) -> None:
        """Log whose status has changed."""
        for name in self.nodes:
            status = self.status(name)
            if self._statuses.get(name, 'off') != status:
                self._statuses[name] = status
                self.say('%s: %s' % (name, status))

    # Time.

    def wait(self, seconds: float) -> None:
        deadline = self.simulation.loop.time() + seconds
        self.run_until(
            lambda: self.simulation.loop.time() >= deadline - 1e-9, seconds)

    def run_until(self, condition: Callable[[], bool],
                  seconds: float) -> bool:
        def look():
            self.look()
            return condition()

        return self.simulation.run_until(look, seconds)

    # What is done.

    def start(self, names: Iterable[str]) -> None:
        for name in names:
            node = self.nodes[name]
            if not node.host.is_on:
                node.host.power_on()
            if not node.is_running:
                node.start()
                if name in self._steps:
                    self.end_at_step(name, *self._steps.pop(name))

    def format(self, names: Iterable[str]) -> None:
        """Start them, the first one as the leader, and make a cluster."""
        names = list(names)
        self.start_one_by_one(names)
        self.actors.ask(names[0], 'format')
        if not self.run_until(lambda: set(self.well().split()) == set(names),
                              READY_SECONDS):
            raise cluster_module.NotWell(self.cluster.explain())

    def start_one_by_one(self, names: Iterable[str]) -> None:
        """…and wait until they could be formatted."""
        for name in names:
            self.start([name])
            self.wait(GAP_SECONDS)
        if not self.run_until(lambda: all(
                self.status(name) == 'wait-format' for name in names),
                READY_SECONDS):
            raise cluster_module.NotWell(self.cluster.explain())

    def kill(self, names: Iterable[str]) -> None:
        for name in names:
            self.nodes[name].host.kill()

    def power_off(self, names: Iterable[str]) -> None:
        names = list(names)
        if len(names) >= min(self.settings.copies, len(self.nodes)):
            self.history.power_cut()
        for name in names:
            self.nodes[name].host.power_cut()

    def end_at_step(self, name: str, step: int, has_power_cut: bool) -> None:
        """…when so many operations on disk or network have begun, from now
        or from its start on; the last of them does not take place."""
        if not self.nodes[name].is_running:
            self._steps[name] = step, has_power_cut
            return
        process = self.nodes[name].host.process

        def end():
            if process.dies_now:
                self.say('%s ends at step %d' % (name, step))
                if has_power_cut:
                    self.power_off([name])

        process.on_kill(end)
        process.kill_after(step)

    def no_more_cues(self) -> None:
        self.cues.waiting.clear()
        self._steps.clear()
        for name in self._running():
            self.nodes[name].host.process.kill_after(0)

    def stop(self, names: Iterable[str]) -> None:
        for name in names:
            self.nodes[name].host.stop()

    def resume(self, names: Iterable[str]) -> None:
        for name in names:
            self.nodes[name].host.resume()

    def cut(self, sources: Iterable[str], targets: Iterable[str],
            both: bool, is_cut: bool) -> None:
        """Cut (or mend) all links between two groups."""
        fabric = self.simulation.fabric
        change = fabric.block if is_cut else fabric.unblock
        for source in sources:
            for target in targets:
                if source == target:
                    continue
                one = self.nodes[source].address
                other = self.nodes[target].address
                change(one, other)
                if both:
                    change(other, one)

    def slow(self, source: str, target: str, seconds: float) -> None:
        self.simulation.fabric.slow(self.nodes[source].address,
                                    self.nodes[target].address, seconds)

    def fill(self, name: str, mebibytes: float) -> None:
        """…with files of somebody else, but so much of it."""
        self.nodes[name].host.image.fill(
            int(mebibytes * (1 << 20)) // image.PAGE)

    def cut_coordination(self, names: Iterable[str], is_cut: bool) -> None:
        coordination = self.simulation.coordination
        for name in names:
            (coordination.block if is_cut else coordination.unblock)(
                self.nodes[name].host.name)

    def forget(self, names: Iterable[str]) -> None:
        """Coordination loses their sessions before their time."""
        for name in names:
            self.simulation.coordination.expire(
                self.nodes[name].sheep.cluster.incarnation)

    # What is seen.

    def _running(self) -> list:
        return [name for name, node in self.nodes.items()
                if node.is_running and node.sheep is not None]

    def _serving(self) -> list:
        return [name for name, node in self.nodes.items()
                if node.is_serving and not node.host.process.is_stopped]

    def status(self, name: str) -> str:
        node = self.nodes[name]
        if not node.is_running:
            return 'off'
        if node.host.process.is_stopped:
            return 'suspended'
        if node.sheep is None or node.sheep.cluster is None:
            return 'starting'
        cluster = node.sheep.cluster
        if cluster.status is api.Status.OK and not cluster.serving():
            return 'ok, without a lease'
        return cluster.status.value

    def epoch(self) -> str:
        """What those who serve take for the epoch and its members."""
        said = {}
        for name in self._serving():
            view = self.nodes[name].sheep.cluster.view
            line = 'epoch %d: %s' % (view.epoch, ' '.join(sorted(
                self._names[member.host] for member in view.members)))
            said.setdefault(line, []).append(name)
        return _together(said) or 'epoch: nobody serves'

    def leader(self) -> str:
        """Who thinks that it leads."""
        return 'leader %s' % (' '.join(
            name for name in self._running() if self._cluster(name)
            and self._cluster(name).explain()['is_leader']) or 'nobody')

    def waits_for(self, name: str) -> str:
        cluster = self._cluster(name)
        missing = cluster.explain()['missing'] if cluster else []
        return '%s waits for %s' % (name, ' '.join(sorted(
            self._names[address.partition(':')[0]] for address in missing))
            or 'nobody')

    def _cluster(self, name: str):
        sheep = self.nodes[name].sheep
        return sheep and sheep.cluster

    def lock_of(self, volume: str) -> str:
        said = {}
        for name in self._serving():
            state = self._cluster(name).state
            entry = state.lookup(volume)
            lock = entry and state.locks.get(entry.vdi_id)
            owners = [self.name_of(owner) for owner in lock.owners] \
                if lock else []
            said.setdefault('lock of %s: %s' % (
                volume, ' '.join(owners) or 'nobody'), []).append(name)
        return _together(said) or 'lock of %s: nobody serves' % volume

    def volumes(self) -> str:
        said = {}
        for name in self._serving():
            said.setdefault('volumes: %s' % (' '.join(
                self.nodes[name].sheep.catalogue.names()) or 'none'),
                []).append(name)
        return _together(said) or 'volumes: nobody serves'

    def well(self) -> str:
        """Who serves in a view of exactly those who serve, with nothing
        left to recover."""
        serving = self._serving()
        views = {self._cluster(name).view for name in serving}
        if len(views) != 1 or {
                self._names[member.host] for member in
                next(iter(views)).members} != set(serving):
            return 'nobody'
        for name in serving:
            sheep = self.nodes[name].sheep
            if (sheep.recovery.active or
                    not sheep.cluster.state.has_recovered()):
                return 'nobody'
        return ' '.join(serving)

    def recovery_on(self, name: str) -> str:
        recovery = self.nodes[name].sheep.recovery
        if recovery.room.short:
            return 'recovery on %s: held back' % name
        return 'recovery on %s: %s' % (
            name, 'under way' if recovery.active else 'done')

    def copies(self) -> str:
        """At rest only."""
        return '; '.join(self._copies_differ()) or 'copies are equal'

    def copies_of(self, name: str) -> str:
        """How many sheep hold each of its objects, wanted or not."""
        counts = collections.Counter(
            oid for node in self.cluster.running()
            for oid in node.sheep.store.oids()
            if ids.vdi_of(oid) == ids.first_vdi_id(name))
        return 'copies of %s: %s' % (name, ' or '.join(
            map(str, sorted(set(counts.values())))))

    def _copies_differ(self) -> list:
        try:
            return self.cluster.copies_differ()
        except errors.SheepdogError as error:
            return [repr(error)]

    def wrong(self) -> list:
        """What must never be, whatever the play says; a line each."""
        return (
            self.cluster.epochs.violations + self.terms.violations +
            self.actors.attributes.wrong +
            ['history of %s: %s' % found
             for found in self.history.check()] +
            ['%s: not handled: %s: %r' % error
             for error in self.simulation.errors()])


_NOTES = {
    'starts': '%(who)s starts',
    'dies': '%(who)s dies',
    'stops': '%(who)s is suspended',
    'resumes': '%(who)s is resumed',
    'power-cut': '%(who)s loses power',
    'joins': '%(who)s joins',
    'lapses': '%(who)s lapses',
    'term': '%(who)s claims term %(what)s',
    'fence': '%(who)s is fenced',
    'expired': '%(who)s is dropped',
    'leaves': '%(who)s leaves',
    'epoch': '%(who)s is in epoch %(what)s'}


def _together(said: dict) -> str:
    """One line if all say the same, else who says what."""
    if len(said) < 2:
        return ''.join(said)
    return '; '.join('%s (%s)' % (line, ' '.join(names))
                     for line, names in said.items())
