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

"""The only place that knows every room: makes a sheep of its parts.

``build_sheep`` is the one seam to the outside world. The daemon calls it
with the real world, the simulator many times in one process with a world
that misbehaves. No room knows which one it is in.
"""

import asyncio
import dataclasses
import logging

from sheepdog.cluster import api
from sheepdog.cluster import cluster as cluster_module
from sheepdog.cmd import disk_care
from sheepdog.cmd import exits
from sheepdog.cmd import monitoring
from sheepdog.cmd import precedence
from sheepdog.cmd import tracing
from sheepdog.faces.native import admin
from sheepdog.faces.native import handles
from sheepdog.faces.native import port
from sheepdog.faces.native import public
from sheepdog.faces.nbd import server as nbd
from sheepdog.gateway import gateway
from sheepdog.gateway import operation
from sheepdog.gateway import orders
from sheepdog.gateway import waits
from sheepdog.gateway import watch
from sheepdog.model import errors
from sheepdog.peer import access
from sheepdog.peer import health
from sheepdog.peer import links
from sheepdog.peer import order
from sheepdog.peer import replica
from sheepdog.peer import server
from sheepdog.recovery import recovery
from sheepdog.recovery import scrub
from sheepdog.recovery import throttle
from sheepdog.store import disks as disks_module
from sheepdog.volume import branching
from sheepdog.volume import catalogue
from sheepdog.volume import reclaimer
from sheepdog.volume import shrinking
from sheepdog.volume import turner
from sheepdog.volume import volumes
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
LATE_SECONDS = 0.25
"""A read that is older is asked of another copy at the next look."""
KEYS_SECONDS = 2.0
"""How soon a running sheep notices that a key is gone."""


class NoLogControl:
    """Where nobody may change the log's level (the simulator)."""

    def levels(self):
        return []

    def level(self, logger=''):
        return ''

    def set_level(self, level, logger=''):
        raise KeyError(level)

    def loggers(self):
        return {}


class Sheep:
    """One sheep, built but not started; see ``build_sheep``.

    Rooms that hang on the store are made in ``start``, when it is open.
    """

    def __init__(self, world, membership, settings, version, log_control,
                 sink=None):
        self.world = world
        self.membership = membership
        self.settings = settings
        self.version = version
        self.log_control = log_control
        self.store = None
        self.cluster = None
        self.nbd = None
        self.port = None
        self.monitoring = None
        self.watch = None
        self.tracer = None
        self._sink = sink
        self.exit_code = 0
        self.exposed = []
        """See ``cmd.exposure``."""
        self.disk_care = None
        self._stopped = asyncio.Event()
        self._is_stopping = False

    async def start(self):
        """Returns when the port is open; the cluster may still be waited
        for.

        :raises StoreRefused: the store cannot be used
        :raises OSError: an address is in use
        :raises SheepdogError: the cluster refuses this sheep
        """
        settings = self.settings
        self.store = await disks_module.Disks.open(self.world,
                                                   settings.store)
        try:
            self._build()
            await self.port.listen(
                settings.host, settings.port, settings.socket_path,
                settings.io_host, settings.io_port, settings.socket_mode)
            await self.cluster.start()
            self.port.is_open = True
            self.world.spawn(self.gateway.declare_forever(),
                             'declarations to replicas')
            self.world.spawn(self.watch.run(), 'watch of slow requests')
            self.world.spawn(self._look_for_slow_members(),
                             'watch of slow members')
            self.world.spawn(self.precedence.run(), 'watch of clients')
            self.world.spawn(self.scrub.run(), 'scrub')
            self.world.spawn(self.turner.run(),
                             'turn VDIs into another form')
            self.world.spawn(self.reclaimer.run(),
                             'reclaim what no VDI names')
            self.world.spawn(self.links.complain_forever(self.cluster),
                             'complaints')
            if self.access.is_watched:
                self.world.spawn(self._watch_keys(), 'watch the keys')
            if settings.nbd is not None:
                self.nbd = nbd.NbdFace(self.world, self.volumes,
                                       self.catalogue, settings.nbd)
                await self.nbd.start()
            await self.monitoring.start()
        except BaseException:
            await self.stop()
            raise

    def _build(self):
        world, settings = self.world, self.settings
        info = api.MemberInfo(
            node=self.store.node_id, incarnation='',
            host=settings.advertised_host, port=settings.port,
            zone=settings.zone, space=self.store.weight(),
            vnodes=settings.vnodes, data_host=settings.io_host,
            data_port=settings.io_port, protocol=wire.VERSION)
        self.access = access.Access(world, settings.access)
        self.links = links.Links(world, lambda: self.cluster.incarnation,
                                 self.access)
        self.cluster = cluster_module.Cluster(
            world, self.membership, self.links, settings.meta, info,
            settings.ttl_seconds)
        self.server = server.Server(world, self.cluster, self.access)
        self.order = order.Order(self.cluster)
        self.replica = replica.Replica(world, self.cluster, self.store,
                                       self.order)
        self.recovery = recovery.Recovery(
            world, self.cluster, self.replica, self.links, self.order,
            throttle.Throttle(settings.recovery_max,
                              settings.recovery_interval_ms / 1000),
            settings.recovery_grace_seconds)
        self.replica.guard = self.recovery
        self.disk_care = disk_care.DiskCare(
            world, self.cluster, self.store, self.replica, self.recovery,
            self._leave_with_disk)
        self.gateway = gateway.Gateway(world, self.cluster, self.replica,
                                       self.links, self.order)
        self.waits = waits.Waits(world.clock, self.gateway)
        self.precedence = precedence.Precedence(
            world, self.cluster, self.replica, self.waits, self.recovery,
            self.links, settings.recovery_clients_first)
        self.health = self.cluster.health = health.Health(
            world, self.cluster, self.store, self.links)
        self.health.listen(self.gateway.demote)
        self.health.listen(self.recovery.demote)
        self.cluster.slow_settings = settings.slow
        self.scrub = scrub.Scrub(
            world, self.cluster, self.replica, self.links, self.order,
            self.recovery, settings.scrub,
            lambda: self.gateway.inflight or self.server.inflight)
        self.store.when_damaged(self.scrub.damaged)
        self.catalogue = catalogue.Catalogue(world, self.cluster,
                                             self.gateway)
        self.volumes = volumes.Volumes(world, self.cluster, self.gateway,
                                       self.catalogue)
        self.turner = turner.Turner(world, self.cluster, self.volumes,
                                    self.recovery.throttle)
        self.branching = branching.Branching(
            world, self.cluster, self.gateway, self.catalogue, self.volumes)
        self.shrinking = shrinking.Shrinking(self.branching)
        self.reclaimer = reclaimer.Reclaimer(
            world, self.cluster, self.gateway, self.catalogue,
            self.recovery.throttle)
        self.watch = watch.Watch(
            world, self.gateway, '%s:%s' % (settings.advertised_host,
                                            settings.port),
            settings.slow_seconds)
        self.tracer = tracing.Tracer(self)
        self.cluster.operations = self.catalogue
        # In this order: a view is known to the replica (which takes its
        # ring) before anybody asks where objects are; recovery knows what
        # is whole, and volumes what form objects have, before the gateway
        # sends anything.
        for listener in (self.replica, self.recovery, self.turner,
                         self.gateway, self.volumes,
                         self.branching.standstill, self.reclaimer,
                         self.precedence, self):
            self.cluster.add_listener(listener)
        self.monitoring = monitoring.Monitoring(self, self._sink)
        self.monitoring.listen(info)
        self._open_doors()

    def _open_doors(self):
        volume_handles = handles.Handles(self.world, self.volumes)
        # ADMIN is for both: sheep pass on what a tool has asked.
        self.server.register(self.replica.handlers(), roles=('peer',))
        self.server.register(self.scrub.handlers(), roles=('peer',))
        self.server.register(self.gateway.coded.strips.handlers(),
                             roles=('peer',))
        self.server.register(self.recovery.handlers(), roles=('peer',))
        self.server.register(self.precedence.handlers(), roles=('peer',))
        self.server.register(orders.Orders(self.world,
                                           self.gateway).handlers(),
                             roles=('peer',))
        self.server.register(volume_handles.handlers(), roles=('tool',))
        self.port = port.Port(
            self.world, public.Public(self.world, self.cluster, self.gateway,
                                      self.catalogue, self.volumes,
                                      self.branching),
            self.server)
        operators = admin.Admin(self.world, self, volume_handles, self.port)
        self.server.register(operators.handlers())
        self.branching.standstill.ask = self.volumes.copies.ask = (
            operators.ask)

    async def _watch_keys(self):
        """A key that was dropped also ends what was proved with it."""
        while not self._is_stopping:
            await asyncio.sleep(KEYS_SECONDS)
            self.server.drop_keys_but(self.access.keyring().ids)

    async def _look_for_slow_members(self):
        while True:
            await asyncio.sleep(LATE_SECONDS)
            self.health.look()
            self.gateway.hedging.look()

    def reload(self, settings):
        """Take over what may change while a sheep runs."""
        before = self.settings
        self.settings = dataclasses.replace(
            self.settings, slow_seconds=settings.slow_seconds,
            recovery_max=settings.recovery_max,
            recovery_interval_ms=settings.recovery_interval_ms,
            recovery_clients_first=settings.recovery_clients_first,
            recovery_grace_seconds=settings.recovery_grace_seconds,
            scrub=settings.scrub, slow=settings.slow)
        if self.cluster is not None:
            self.cluster.slow_settings = settings.slow
        if self.watch is not None:
            self.watch.slow_seconds = settings.slow_seconds
            paces = [(one.recovery_max, one.recovery_interval_ms / 1000)
                     for one in (before, settings)]
            if paces[0] != paces[1]:
                # (Else what an operator has set meanwhile stays.)
                self.recovery.throttle.set(*paces[1])
            self.precedence.is_enabled = settings.recovery_clients_first
            self.recovery.grace.seconds = settings.recovery_grace_seconds
            self.scrub.settings = settings.scrub
            if self.nbd is not None and settings.nbd is not None:
                self.nbd.reload(settings.nbd)
                self.settings = dataclasses.replace(
                    self.settings, nbd=self.nbd.settings)
            for certificates in (self.access.tls,
                                 self.nbd.tls if self.nbd else None):
                if certificates is not None:
                    certificates.refresh()

    # -- disks ----------------------------------------------------------

    def _leave_with_disk(self):
        LOG.critical('the disk fails: %s; this sheep leaves the cluster. '
                     'Replace the disk, and start it again',
                     self.store.device_error)
        self.exit_code = exits.SYSTEM
        self.world.spawn(self.stop(), 'leave for a failing disk')

    async def plug(self, path):
        """Use another disk from now on (see ``store.disks``).

        :raises StoreRefused: it cannot be used
        """
        await self.store.plug(path)
        self.disk_care.tell()

    async def unplug(self, path):
        """Stop using a disk, behind the answer.

        :raises StoreRefused: it is none of ours, or the last
        """
        await self.store.unplug(path)
        self.disk_care.tell()

    # -- the end --------------------------------------------------------

    def stop_soon(self):
        """Stop in order, after what is being answered now."""
        self.world.spawn(self._stop_later(), 'stop')

    async def _stop_later(self):
        # The answer to whoever asked goes out first.
        await asyncio.sleep(0.1)
        await self.stop()

    async def stop(self):
        """Leave the cluster in order, and close the store."""
        if self._is_stopping:
            await self._stopped.wait()
            return
        self._is_stopping = True
        if self.disk_care is not None:
            self.disk_care.stop()
        try:
            if self.monitoring is not None:
                await self.monitoring.stop()
            if self.nbd is not None:
                await self.nbd.stop(0 if self.exit_code else DRAIN_SECONDS)
            if self.cluster is not None:
                await self._leave()
            if self.port is not None:
                await self.port.close()
                self.port.abort_all()
            if self.store is not None:
                await self.store.close()
            if self.monitoring is not None:
                await self.monitoring.stop_notifying()
        finally:
            self._stopped.set()

    async def _leave(self):
        if not self.exit_code:
            try:
                await asyncio.wait_for(self.volumes.close_all(),
                                       DRAIN_SECONDS)
            except (errors.SheepdogError, asyncio.TimeoutError) as exc:
                LOG.warning('closing volumes: %s', exc)
        await self.cluster.stop(clean=await self._is_clean())
        self.gateway.abandon(errors.ShuttingDown('this sheep stops'))
        self.links.close()

    async def _is_clean(self):
        """The cluster was shut down, and our copies are equal to all
        others, on disk."""
        if self.cluster.status is not api.Status.SHUTDOWN:
            return False
        unstable = self.replica.marks.unstable_objects()
        if self.recovery.active or unstable:
            LOG.info('the next start will compare copies: %s',
                     'recovery runs' if self.recovery.active
                     else '%d objects are in doubt' % len(unstable))
            return False
        future, done = operation.future()
        self.store.sync(done)
        try:
            await future
        except errors.SheepdogError as exc:
            LOG.error('the store cannot be synced: %s', exc)
            return False
        return True

    async def wait_stopped(self):
        """The exit code, once stopped."""
        await self._stopped.wait()
        return self.exit_code

    def nbd_address(self):
        """Where NBD is served, as text; '' for nowhere."""
        if self.nbd is None:
            return ''
        address = self.nbd.address
        if isinstance(address, tuple):
            return '%s:%d' % address[:2]
        return str(address)

    # -- cluster.api.ClusterListener --------------------------------------

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        self.disk_care.tell()

    def on_event(self, event):
        if event['kind'] == 'forgo':
            self.disk_care.granted(event)

    def on_lapse(self):
        self.server.drop_peers()

    def on_shutdown(self):
        self.stop_soon()


def build_sheep(world, membership, settings, version='',
                log_control=None, sink=None) -> Sheep:
    """A sheep of its parts.

    :param world: ``world.api.World``
    :param membership: ``cluster.api.Membership``
    :param settings: ``conf.settings.SheepSettings``, complete
    :param sink: where notifications go; None: as the settings say
    :param log_control: ``levels()``, ``level(logger)``,
        ``set_level(name, logger)``, ``loggers()``; see ``cmd.logs``
    """
    return Sheep(world, membership, settings, version,
                 log_control or NoLogControl(), sink)
