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

"""A cluster of real sheep in one process, on simulated hosts.

``SimCluster`` starts and restarts them and asks whether they are well; what
goes wrong is ``nemesis``'s, what clients do is ``workload``'s affair.
"""

import asyncio
import dataclasses
import logging
import random
import re
from typing import Any, Callable, Optional

from sheepdog.cluster import api
from sheepdog.cluster import patrol
from sheepdog.conf import settings as settings_module
from sheepdog.erasure import codec
from sheepdog.faces.nbd import settings as nbd_settings
from sheepdog.model import ids
from sheepdog.model import keys
from sheepdog.model import networks
from sheepdog.peer import access
from sheepdog.placement import redundancy
from sheepdog.placement import ring as ring_module
from sheepdog.recovery import calls
from sheepdog.recovery import pace
from sheepdog.store import settings as store_settings
from sheepdog.testing import checkers
from sheepdog.testing import disk as disk_module
from sheepdog.testing import world as world_module

LOG = logging.getLogger(__name__)

CLIENT = 'client '
"""How the names of the tasks begin that are not the sheep's own."""

WATCH_SECONDS = 0.5
LINGER_SECONDS = 2.0
LINGER_TIMES = 10
ENDED_TASKS = re.compile(
    r'^(store: .*|leader \d+|end of leading|desk|patrol|views|reclaim|'
    r'drop stray copies)$')
"""None of these may go on when a sheep has stopped. (Others may wait for
answers on behalf of clients; the end of the process ends them.)"""
META = '/meta'
PORT = 7000
NBD_PORT = 10809
CLIENT_ADDRESS = '10.0.1.%d'
CLIENT_NETWORKS = networks.parse(['10.0.1.0/24'])
LOCK_WAIT_SECONDS = 0.5
HOST_DISK_BYTES = 256 << 20
KEYS = access.StaticKeys(keys.Keyring((keys.Key('0', b'simulated' * 4),)))
"""Of all clusters: what is random in a HELLO comes from the world."""


class NotWell(Exception):
    """A cluster does not come up though nothing is wrong."""


@dataclasses.dataclass
class ClusterSettings:
    """``build`` makes a sheep (``cmd.wiring.build_sheep``);
    ``make_membership(world)`` and ``prepare(node)`` are for tests that
    plant a bug: the latter is called with each sheep before it starts."""

    build: Callable
    nodes: int = 3
    copies: int = 3
    copy_policy: int = 0
    block_size_shift: int = 20
    journal_bytes: int = 4 << 20
    reserve_bytes: int = 64 << 20
    has_journal: bool = True
    checkpoint_seconds: float = 20.0
    disks: tuple = (0,)
    """How many disks a sheep may have beside META; 0: META is the disk."""
    disk: disk_module.DiskFaults = dataclasses.field(
        default_factory=disk_module.DiskFaults)
    scrub: pace.ScrubSettings = pace.ScrubSettings(enabled=False)
    recovery_max: int = 0
    recovery_interval_ms: int = 0
    grace_seconds: int = 0
    slow: patrol.SlowSettings = patrol.SlowSettings()
    serves_nbd: bool = False
    is_strict: bool = False
    avoids_full: bool = False
    make_membership: Optional[Callable] = None
    prepare: Optional[Callable] = None


class Node:
    """One host and the sheep that runs on it now, if any."""

    def __init__(self, cluster: 'SimCluster', name: str, zone: int):
        self.name = name
        self.zone = zone
        self.cluster = cluster
        self.address = '10.0.0.%d' % (zone + 1)
        self.host = cluster.simulation.add_host(
            self.address, HOST_DISK_BYTES, cluster.settings.disk)
        self.sheep = None
        self.refusal = ''
        """Why the sheep did not start."""
        self.is_leaving = False
        """It is being taken out of the cluster, or shut down."""
        self.is_sick = False
        """Its disk has refused something: to be started anew."""
        self.lapses = []
        """When it lost its place, and as whom."""
        self.disks = []
        """Paths that are named at a start."""
        self.pulled = []
        """Of disks that are gone for good."""
        self._source = random.Random('%s/disks/%s' % (
            cluster.simulation.seed, name))
        self._mounted = 0
        self._furnish()

    def _furnish(self) -> None:
        self.host.make_durable_directory(META)
        self.disks = [self.mount() for _ in range(
            self._source.choice(self.cluster.settings.disks))]

    def mount(self) -> str:
        """Another disk, empty; its path."""
        self._mounted += 1
        path = '/d%d' % self._mounted
        self.host.mount(path, self._source.choice((0.5, 1.0, 2.0)))
        return path

    def pull(self, path: str) -> None:
        """A disk dies."""
        self.host.pull(path)
        self.pulled.append(path)
        if path in self.disks:
            self.disks.remove(path)

    def plugged(self) -> list:
        """Paths of the disks that are in use, or []."""
        store = self.sheep.store if self.is_serving else None
        return [] if store is None else [
            path for path in store.paths() if path in self.host.mounts]

    @property
    def is_running(self) -> bool:
        return self.host.is_running

    @property
    def is_serving(self) -> bool:
        sheep = self.sheep
        return (self.is_running and sheep is not None and
                sheep.cluster is not None and sheep.cluster.serving())

    @property
    def is_leading(self) -> bool:
        return (self.is_running and self.sheep is not None and
                self.sheep.cluster is not None and
                self.sheep.cluster.explain()['is_leader'])

    @property
    def is_recovering(self) -> bool:
        return (self.is_serving and self.sheep.recovery is not None and
                self.sheep.recovery.active)

    @property
    def is_refused(self) -> bool:
        return (self.is_running and self.sheep is not None and
                self.sheep.cluster is not None and
                self.sheep.cluster.status is api.Status.REFUSED)

    def renew(self) -> None:
        """An operator gives it an empty disk, and starts it."""
        self.replace_disk()
        self.start()

    def replace_disk(self) -> None:
        self.host.kill()
        self.host.new_disk()
        self.pulled = []
        self._furnish()

    def start(self) -> None:
        """A process, and a sheep in it."""
        self.sheep = None
        self.refusal = ''
        self.is_sick = False
        world = self.host.start()
        world.spawn(self._start(world), 'sheep')

    async def _start(self, world) -> None:
        settings = self.cluster.settings
        membership = (settings.make_membership or
                      world_module.SimWorld.membership)(world)
        sheep = settings.build(world, membership, self._settings())
        try:
            self.sheep = sheep
            if settings.prepare is not None:
                settings.prepare(self)
            await sheep.start()
            sheep.cluster.add_listener(self)
            world.spawn(self._exit_when_stopped(world, sheep), 'watch')
        except Exception as error:
            # What the daemon makes an exit code of.
            self.refusal = '%s: %s' % (type(error).__name__, error)
            LOG.info('%s does not start: %s', self.name, self.refusal)
            world.process.kill()

    async def _exit_when_stopped(self, world, sheep) -> None:
        """…as the daemon does. Nothing of the sheep may run by then."""
        await sheep.wait_stopped()
        for _ in range(LINGER_TIMES):
            await asyncio.sleep(LINGER_SECONDS)
            left = [name for name in self.tasks()
                    if ENDED_TASKS.match(name)]
            if not left:
                break
        else:
            self.cluster.orphans.append('%s stopped and left tasks: %s' % (
                world.process.name, ', '.join(left)))
        world.process.kill()

    def tasks(self) -> list:
        """Names of the sheep's tasks that run, without those of clients.
        """
        tasks = self.cluster.simulation.loop.pending_tasks(
            self.host.process)
        return [_name_of(task) for task in tasks
                if not task.get_name().startswith(CLIENT)]

    def _settings(self) -> settings_module.SheepSettings:
        settings = self.cluster.settings
        return settings_module.SheepSettings(
            store=store_settings.StoreSettings(
                meta=META, disks=tuple(self.disks),
                lost_disks=tuple(self.pulled),
                journal_bytes=settings.journal_bytes,
                reserve_bytes=settings.reserve_bytes,
                journal_skip=not settings.has_journal,
                checkpoint_seconds=settings.checkpoint_seconds),
            log=settings_module.LogSettings(path=META + '/sheep.log'),
            host=self.address, port=PORT, advertised_host=self.address,
            zone=self.zone, scrub=settings.scrub,
            recovery_max=settings.recovery_max,
            recovery_interval_ms=settings.recovery_interval_ms,
            recovery_grace_seconds=settings.grace_seconds,
            slow=settings.slow,
            access=access.AccessSettings(
                keys=KEYS, public_networks=CLIENT_NETWORKS),
            nbd=self._nbd_settings() if settings.serves_nbd else None)

    def _nbd_settings(self) -> nbd_settings.NbdSettings:
        return nbd_settings.NbdSettings(
            host=self.address, port=NBD_PORT,
            lock_wait_seconds=LOCK_WAIT_SECONDS)

    def run(self, coroutine):
        """Run in the sheep's process until it is done."""
        return self.host.run(coroutine)

    # ClusterListener: what each sheep was told, for the checker.

    def on_freeze(self) -> None:
        pass

    def on_view(self, old, new, cold: bool) -> None:
        self.cluster.say_epoch(self.name, new)

    def on_event(self, event: dict) -> None:
        state = self.sheep.cluster.state
        self.cluster.events.say(
            self.name, (state.created,) + state.position, repr(event))

    def on_lapse(self) -> None:
        self.lapses.append(self.cluster.simulation.loop.time())

    def on_shutdown(self) -> None:
        pass


def _name_of(task) -> str:
    """Its name, or, where it was given none, its coroutine's."""
    name = task.get_name()
    if name.startswith('task-'):
        return 'task %s' % task.get_coro().__qualname__
    return name


class SimCluster:
    """All nodes, and what is true of them together."""

    def __init__(self, simulation: world_module.Simulation,
                 settings: ClusterSettings):
        self.simulation = simulation
        self.settings = settings
        self.epochs = checkers.Agreement('the member list of epoch')
        self.events = checkers.Agreement('the event at')
        self.orphans = []
        """What was left behind, as text."""
        self.nodes = {}
        self.client_hosts = []
        """Of clients that are not in a sheep's process."""
        self.gone = []
        """Nodes that were taken out, with what is on their disks."""
        self.copies = redundancy.whole_copies(settings.copies,
                                              settings.copy_policy)
        """Of whole objects; one less may be lost of any."""
        self.fewest = self.copies
        """No VDI has ever fewer."""
        self._count = 0
        for _ in range(settings.nodes):
            self.add_node()

    def add_node(self) -> Node:
        """Another host, in a zone of its own."""
        name = 'n%d' % self._count
        self.nodes[name] = Node(self, name, self._count)
        self._count += 1
        return self.nodes[name]

    def take_out(self, node: Node) -> None:
        """It does not belong to the cluster any more."""
        assert not node.is_running
        del self.nodes[node.name]
        node.is_leaving = False
        self.gone.append(node)

    def bring_back(self, node: Node) -> None:
        self.gone.remove(node)
        self.nodes[node.name] = node

    def vdis(self) -> set:
        """Ids of the VDIs that there are, as some sheep knows."""
        serving = self.serving()
        if not serving:
            return set()
        return {vdi_id for vdi_id, entry
                in serving[0].sheep.cluster.state.vdis.items()
                if not entry.deleted}

    def start(self) -> None:
        for node in self.nodes.values():
            if not node.is_running:
                node.start()

    def running(self) -> list:
        return [node for node in self.nodes.values() if node.is_running]

    def serving(self) -> list:
        return [node for node in self.nodes.values() if node.is_serving]

    def say_epoch(self, who: str, view: Any) -> None:
        self.simulation.trace.note(who, 'epoch', view.epoch,
                                   *(m.incarnation for m in view.members))
        # Incarnations change at a cold start, which keeps the epoch. Epochs
        # of a cluster that was formatted anew, by who knew of no other, are
        # others.
        created = self.nodes[who].sheep.cluster.state.created
        self.epochs.say(who, (created, view.epoch), tuple(
            (m.node, m.host, m.port, m.zone, m.vnodes)
            for m in view.members))

    def has_status(self, status: api.Status) -> bool:
        return all(node.is_running and node.sheep is not None and
                   node.sheep.cluster is not None and
                   node.sheep.cluster.status is status
                   for node in self.nodes.values())

    def is_well(self, without: Optional[Node] = None) -> bool:
        """Everybody (but one) serves, in one view, and nothing is to be
        recovered."""
        views = []
        for node in self.nodes.values():
            if node is without:
                continue
            if not node.is_serving:
                return False
            sheep = node.sheep
            if (sheep.recovery.active or
                    not sheep.cluster.state.has_recovered()):
                return False
            views.append(sheep.cluster.view)
        return (all(view.epoch == views[0].epoch for view in views) and
                len(views[0].members) == len(views))

    async def keep_running(self) -> None:
        """Start whoever ended, for ever."""
        while True:
            self.start()
            await asyncio.sleep(WATCH_SECONDS)

    def wait_well(self, timeout: float) -> bool:
        return self.simulation.run_until(self.is_well, timeout)

    def explain(self) -> str:
        """Why all is not well, a line per node."""
        lines = []
        for node in self.nodes.values():
            sheep = node.sheep
            if not node.is_running or sheep is None or sheep.cluster is None:
                lines.append('%s is not running %s' % (node.name,
                                                       node.refusal))
                continue
            lines.append('%s recovery %s %d/%d announced by all: %s %s' % (
                node.name,
                'runs' if sheep.recovery.is_running else 'rests',
                sheep.recovery.done, sheep.recovery.total,
                sheep.cluster.state.has_recovered(),
                sheep.cluster.explain()))
            lines += ['  waits: %s' % (why,) for why in [
                sheep.recovery.obstacle, *sheep.recovery.waiting.values()]
                if why]
        return '\n'.join(lines)

    def format(self) -> None:
        """Start all and make a cluster of them; its settings say how."""
        self.start()
        if not self.simulation.run_until(
                lambda: self.has_status(api.Status.WAIT_FOR_FORMAT), 30):
            raise NotWell('not ready to be formatted:\n' + self.explain())
        node = next(iter(self.nodes.values()))
        node.run(node.sheep.cluster.execute('format', self.format_settings))
        if not self.wait_well(30):
            raise NotWell('not well after format:\n' + self.explain())

    @property
    def format_settings(self) -> dict:
        return {'copies': self.settings.copies,
                'copy_policy': self.settings.copy_policy,
                'strict': self.settings.is_strict,
                'avoid_full': self.settings.avoids_full,
                'block_size_shift': self.settings.block_size_shift}

    # At rest.

    def copies_differ(self) -> list:
        """What is wrong with the copies while nothing happens: a line per
        object."""
        view = next(iter(self.nodes.values())).sheep.cluster.view
        state = next(iter(self.nodes.values())).sheep.cluster.state
        ring = ring_module.Ring(view)
        by_member = [self._node_of(member) for member in view.members]
        order = next(iter(self.nodes.values())).sheep.order
        oids = sorted({ids.object_of(oid) for node in self.nodes.values()
                       for oid in node.sheep.store.oids()})
        wrong = []
        for oid in oids:
            if ids.vdi_of(oid) not in state.vdis or state.is_gone(oid):
                continue
            if order.code(oid) is not None:
                wrong += self._strips_differ(oid, order, by_member)
                continue
            copies = [(node.name, node.run(node.sheep.store.describe(oid)))
                      for node in (by_member[i] for i in
                                   ring.targets(oid, order.copies(oid)))]
            contents = {(copy.digest, copy.capacity) if copy else None
                        for _, copy in copies}
            if len(contents) > 1 or not all(
                    copy and copy.whole for _, copy in copies):
                wrong.append('object %s: %s' % (ids.hex_oid(oid), copies))
        return wrong

    def _strips_differ(self, oid, order, by_member) -> list:
        """As ``copies_differ``: what strips there are decode to one
        content, of which all of them are."""
        places = order.targets(oid)
        generations = set()
        strips = {}
        for place, index in zip(places, order.strips(oid, places)):
            store = by_member[place].sheep.store
            node = by_member[place]
            key = ids.strip_key(oid, index)
            state = node.run(store.describe(key))
            if state is None or not state.whole:
                return ['strip %d of object %s on %s: %s' % (
                    index, ids.hex_oid(oid), node.name, state)]
            generations.add(node.run(store.history(key)).generation)
            strips[index] = node.run(calls.read(store, key, 0,
                                                state.capacity))
        code = codec.codec_of(*order.code(oid))
        wanted = code.restore(dict(list(strips.items())[:code.data]),
                              list(strips))
        differing = [index for index in strips
                     if strips[index] != wanted[index]]
        if len(generations) > 1 or differing:
            return ['object %s: strips %s are not of the others; %s' % (
                ids.hex_oid(oid), differing, sorted(generations))]
        return []

    def _node_of(self, member) -> Node:
        for node in self.nodes.values():
            if node.address == member.host:
                return node
        raise KeyError(member.host)
