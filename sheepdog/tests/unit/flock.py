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

"""A few real sheep below the volume, without disks, sockets or coordination.

``Flock`` joins real replicas, recoveries and gateways by connections in
memory. Who is in the view, which event reaches whom when, which message
waits, which store refuses: all that is the test's to say. Nothing happens
by chance, and nothing takes longer than the rooms' own short pauses.
"""

import asyncio

from sheepdog.cluster import api
from sheepdog.cluster import decisions
from sheepdog.cluster import state as state_module
from sheepdog.gateway import gateway as gateway_module
from sheepdog.gateway import orders
from sheepdog.model import limits
from sheepdog.model import view as view_model
from sheepdog.peer import links as links_module
from sheepdog.peer import order as order_module
from sheepdog.peer import replica as replica_module
from sheepdog.peer import server as server_module
from sheepdog.recovery import pace
from sheepdog.recovery import recovery as recovery_module
from sheepdog.recovery import scrub as scrub_module
from sheepdog.tests.unit import fabric
from sheepdog.tests.unit import memory_store

BLOCK = limits.BLOCK_BYTES
SHIFT = 18
PORT = fabric.PORT
Fabric = fabric.Fabric
World = fabric.World
Door = fabric.Door
open_access = fabric.open_access
MemoryStore = memory_store.MemoryStore


class Answers(list):
    """A ``peer.replica.Caller`` that notes what it is called with."""

    is_void = False

    def __call__(self, *answer):
        self.append(answer)


class Cluster:
    """What one sheep knows of the cluster; see ``cluster.Cluster``."""

    def __init__(self, flock, incarnation):
        self.flock = flock
        self.incarnation = incarnation
        self.state = state_module.State()
        self.status = api.Status.WAIT_FOR_JOIN
        self.lease = True
        self.clean_start = False
        self.views = []
        self.listeners = []

    @property
    def view(self):
        return self.state.view

    def serving(self):
        return self.status is api.Status.OK and self.lease

    async def execute(self, kind, arguments, operation_id='', timeout=60):
        return await self.flock.execute(self, kind, arguments, operation_id)

    def tell(self, method, *arguments):
        listeners = self.listeners
        if method in ('on_lapse', 'on_shutdown'):
            listeners = reversed(listeners)
        for listener in listeners:
            getattr(listener, method)(*arguments)

    def apply(self, record):
        old = self.state.view
        self.state.apply(record)
        new = self.state.view
        if new is not old:
            if record.event['kind'] == 'format':
                self.views = []
            if self.views and self.views[-1].epoch >= new.epoch:
                self.views.pop()
            self.views.append(new)
        if self.status is api.Status.OK and record.event['kind'] != 'epoch':
            self.tell('on_event', record.event)
        return old, new


class Sheep:
    def __init__(self, flock, name, store, life):
        self.flock = flock
        self.name = name
        self.store = store
        self.life = life
        self.is_alive = True
        self.world = World(name, flock.fabric)
        self.cluster = Cluster(flock, '%s.%d' % (name, life))
        self.access = fabric.open_access(self.world)
        self.links = links_module.Links(
            self.world, lambda: self.cluster.incarnation, self.access)
        self.server = server_module.Server(self.world, self.cluster,
                                           self.access)
        self.order = order_module.Order(self.cluster)
        self.replica = replica_module.Replica(
            self.world, self.cluster, store, self.order)
        self.recovery = recovery_module.Recovery(
            self.world, self.cluster, self.replica, self.links, self.order)
        self.replica.guard = self.recovery
        self.gateway = gateway_module.Gateway(
            self.world, self.cluster, self.replica, self.links, self.order)
        self.scrub = scrub_module.Scrub(
            self.world, self.cluster, self.replica, self.links, self.order,
            self.recovery, pace.ScrubSettings(), lambda: False)
        store.when_damaged(self.scrub.damaged)
        self.server.register(self.replica.handlers())
        self.server.register(self.scrub.handlers())
        self.server.register(
            orders.Orders(self.world, self.gateway).handlers())
        self.cluster.listeners = [self.replica, self.recovery, self.gateway]
        self.world.listen(lambda: Door(self.server))

    @property
    def member(self):
        zone = int(self.name.rsplit('.', 1)[1])
        return view_model.Member(
            node=self.name, incarnation=self.cluster.incarnation,
            host=self.name, port=PORT, zone=zone,
            vnodes=self.flock.vnodes.get(self.name, 16))


class Flock:
    """``sheep``: by name (an address), those that live."""

    def __init__(self, count=3, copies=3, vnodes=None):
        self.fabric = Fabric()
        self.vnodes = vnodes or {}
        self.copies = copies
        self.options = {}
        """More settings of a cluster that is formatted."""
        self.records = []
        self.sheep = {}
        self.retired = []
        self.events = 0
        self.carry_out = None
        for number in range(1, count + 1):
            self.add('10.0.0.%d' % number)

    def add(self, name, store=None, life=1):
        sheep = Sheep(self, name, store or MemoryStore(), life)
        self.sheep[name] = sheep
        return sheep

    def __getitem__(self, number):
        return self.sheep['10.0.0.%d' % number]

    def alive(self):
        return [s for s in self.sheep.values() if s.is_alive]

    # -- coordination ---------------------------------------------------

    def form(self):
        """The first view, of a new cluster."""
        settings = view_model.ClusterSettings(
            created=1, copies=self.copies, block_size_shift=SHIFT,
            **self.options)
        view = view_model.View(1, 1, 0.0, tuple(
            s.member for s in self.alive()))
        record = state_module.State().next_record(
            1, 0.0, {'kind': 'format', 'settings': settings.to_dict(),
                     'view': view.to_dict()})
        self.records.append(record)
        for sheep in self.alive():
            sheep.cluster.apply(record)
            sheep.cluster.status = api.Status.OK
            sheep.cluster.tell('on_view', None, sheep.cluster.view, False)

    def freeze(self):
        for sheep in self.alive():
            if sheep.cluster.status is api.Status.OK:
                sheep.cluster.status = api.Status.FROZEN
                sheep.cluster.tell('on_freeze')

    def change_view(self, cold=False, clean=False, late=(), step=1):
        """The next epoch: all who live. ``late``: they hear of it by
        ``join_late``."""
        self.freeze()
        newest = self._newest_state()
        epoch = newest.view.epoch + (0 if cold else step)
        view = view_model.View(epoch, newest.term + 1, 0.0, tuple(
            s.member for s in self.alive()))
        record = newest.next_record(
            view.term, 0.0, {'kind': 'epoch', 'view': view.to_dict()})
        self.records.append(record)
        for sheep in self.alive():
            if sheep not in late:
                self.catch_up(sheep, cold, clean)

    def force_view(self):
        """An operator gives up who is missing."""
        self.change_view(step=1000)

    def join_late(self, sheep):
        """As a leader that does not know of the cold start brings it in."""
        self.catch_up(sheep)

    def reformat(self):
        self.freeze()
        newest = self._newest_state()
        settings = view_model.ClusterSettings(
            created=2, copies=self.copies, block_size_shift=SHIFT)
        view = view_model.View(newest.view.epoch + 1, newest.term + 1, 0.0,
                               tuple(s.member for s in self.alive()))
        self.records.append(newest.next_record(
            view.term, 0.0, {'kind': 'format', 'view': view.to_dict(),
                             'settings': settings.to_dict()}))
        for sheep in self.alive():
            sheep.cluster.status = api.Status.OK
            self.catch_up(sheep)

    def lapse(self, sheep):
        """It loses its place; the others go on without it."""
        sheep.is_alive = False
        if sheep.cluster.status is api.Status.OK:
            sheep.cluster.tell('on_freeze')
        sheep.cluster.status = api.Status.LAPSED
        sheep.life += 1
        sheep.cluster.incarnation = '%s.%d' % (sheep.name, sheep.life)
        sheep.cluster.tell('on_lapse')
        sheep.server.drop_peers()
        self.change_view()

    def rejoin(self, sheep):
        sheep.is_alive = True
        self.change_view()

    def _newest_state(self):
        state = state_module.State()
        for record in self.records:
            state.apply(record)
        return state

    def catch_up(self, sheep, cold=False, clean=False):
        """Let a sheep have all events that it has not seen. Who stands in
        no view gets them as one (see ``Follower._sync``)."""
        cluster = sheep.cluster
        if cluster.status not in (api.Status.OK, api.Status.FROZEN):
            for record in self.records[cluster.state.sequence:]:
                cluster.apply(record)
            if cluster.view.member(cluster.incarnation) is not None:
                cluster.status = api.Status.OK
                cluster.clean_start = clean
                cluster.tell('on_view', cluster.views[-2] if len(
                    cluster.views) > 1 else None, cluster.view, cold)
            return
        for record in self.records[cluster.state.sequence:]:
            old, new = cluster.apply(record)
            if new is not old:
                cluster.status = api.Status.OK
                cluster.tell('on_view',
                             None if record.event['kind'] == 'format'
                             else old, new, cold)

    def event(self, event, to=None, operation=()):
        """Announce to all, or for now only to those."""
        newest = self._newest_state()
        record = newest.next_record(newest.term, 0.0, event, *operation)
        newest.apply(record)
        self.records.append(record)
        for sheep in self.alive() if to is None else to:
            self.catch_up(sheep)

    def lock(self, sheep, vdi_id, mode='exclusive', to=None):
        self.event({'kind': 'lock', 'vdi_id': vdi_id, 'mode': mode,
                    'owner': sheep.cluster.incarnation}, to)

    def unlock(self, sheep, vdi_id, to=None, force=False):
        self.event({'kind': 'unlock', 'vdi_id': vdi_id, 'force': force,
                    'owner': sheep.cluster.incarnation}, to)

    def make_vdi(self, vdi_id, name='', copies=None):
        self.event({'kind': 'vdi-create', 'entry': {
            'vdi_id': vdi_id, 'name': name or 'vdi%d' % vdi_id,
            'copies': copies or self.copies, 'block_size_shift': SHIFT}})

    async def execute(self, cluster, kind, arguments, operation_id=''):
        await asyncio.sleep(0)
        state = self._newest_state()
        if operation_id in state.operations:
            return state.operations[operation_id].result
        if kind in decisions.KINDS:
            event, result = decisions.decide(kind, arguments, state)
        else:
            event, result = await self.carry_out(kind, arguments)
        if event is not None:
            self.event(event, operation=(operation_id, result))
        return result

    def kill(self, number):
        """kill -9: it hears and says nothing any more; see ``restart``."""
        sheep = self[number]
        sheep.is_alive = False
        sheep.cluster.status = api.Status.LAPSED
        sheep.cluster.lease = False
        sheep.replica.epoch = replica_module.NEVER
        self.fabric.listeners.pop((sheep.name, PORT), None)
        self.fabric.sever(sheep.name)
        for task in list(sheep.world.tasks):
            task.cancel()
        self.retired.append(self.sheep.pop(sheep.name))
        return sheep

    def restart(self, old, power_cut=False):
        """With what is on its disk; it is in the next view."""
        if power_cut:
            old.store.power_cut()
        old.store.is_slow, old.store.waiting = False, []
        return self.add(old.name, old.store, old.life + 1)

    # -- looking --------------------------------------------------------

    def orderer(self, oid):
        return self._by_incarnation(self.alive()[0].order.orderer(oid))

    def targets(self, oid):
        order = self.alive()[0].order
        members = self.alive()[0].cluster.view.members
        return [self._by_incarnation(members[i].incarnation)
                for i in order.targets(oid)]

    def _by_incarnation(self, incarnation):
        for sheep in self.alive():
            if sheep.cluster.incarnation == incarnation:
                return sheep
        return None

    def oid_held_by(self, *sheep, vdi_id=1):
        """An object with just these targets, in this order."""
        for index in range(10000):
            oid = vdi_id << 32 | index
            if self.targets(oid) == list(sheep):
                return oid
        raise AssertionError('no such object')

    async def settled(self, seconds=5):
        """Until no sheep recovers anything."""
        await until(lambda: not any(
            s.recovery.active or s.recovery.is_running
            for s in self.alive()), seconds)

    def copies_of(self, oid):
        """The distinct contents of the targets' copies."""
        return {None if s.store.objects.get(oid) is None
                else bytes(s.store.objects[oid].data)
                for s in self.targets(oid)}

    async def close(self):
        everybody = list(self.sheep.values()) + self.retired
        for sheep in everybody:
            sheep.links.close()
            await sheep.world.close()
        return [f for s in everybody for f in s.world.failures
                if s.is_alive]


async def until(condition, seconds=5):
    """Wait for something that must come soon."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        if loop.time() > deadline:
            raise AssertionError('it does not happen')
        await asyncio.sleep(0.002)


async def turns(count=20):
    """Let everything that is ready go on."""
    for _ in range(count):
        await asyncio.sleep(0)
