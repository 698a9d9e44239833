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

"""Several clusters' rooms on the simulator, over a courier that loses,
doubles and delays, and the checkers that watch them."""

import asyncio
import json
import logging
import random

from sheepdog.cluster import api
from sheepdog.cluster import cluster as cluster_module
from sheepdog.model import errors
from sheepdog.testing import membership as membership_module
from sheepdog.testing import world as world_module

META = '/meta'
PROTOCOL = 17


class Mail:
    """The network between the nodes."""

    def __init__(self, net: 'Net'):
        self._net = net
        self._random = random.Random('%s/mail' % net.seed)
        self.blocked = set()
        self.loss = 0.0
        self.doubling = 0.0
        self.delay = 0.002

    def send(self, source: str, target: str, function) -> None:
        """Call ``function`` in the target's process of then."""
        if (source, target) in self.blocked:
            return
        if self._random.random() < self.loss:
            return
        copies = 2 if self._random.random() < self.doubling else 1
        for _ in range(copies):
            self._net.loop.call_later(
                self._random.expovariate(1 / self.delay), self._arrive,
                source, target, function)

    def _arrive(self, source: str, target: str, function) -> None:
        host = self._net.simulation.hosts[target]
        if (source, target) in self.blocked or not host.is_on:
            return
        if host.is_running:
            self._net.loop.call_soon(function,
                                     context=host.process.context.copy())
        else:
            function()


class Courier:
    """See ``api.Courier``: one node's."""

    def __init__(self, node: 'Node'):
        self._node = node

    async def call(self, member, message, timeout):
        node = self._node
        net, world = node.net, node.world
        world.process.operation()
        loop = net.loop
        future = loop.create_future()
        target = member.node
        text = json.dumps(message)
        sender = node.cluster.incarnation

        def settle(answer):
            if not future.done():
                future.set_result(answer)

        def reply(answer):
            net.mail.send(target, node.name, lambda: settle(answer))

        def arrive():
            other = net.nodes[target]
            if not other.is_running:
                # Connection refused.
                net.mail.send(target, node.name,
                              lambda: settle(errors.Unreachable('refused')))
                return
            other.world.spawn(other.serve(
                sender, member.incarnation, text, reply))

        net.mail.send(node.name, target, arrive)
        handle = loop.call_later(
            timeout, settle, errors.Unreachable('no answer'))
        try:
            answer = await future
        finally:
            handle.cancel()
        if isinstance(answer, errors.SheepdogError):
            raise answer
        return json.loads(answer)


class Operations:
    """Creates VDIs: the id is looked for, which takes its time."""

    def __init__(self, node: 'Node'):
        self._node = node

    async def carry_out(self, kind, arguments):
        node = self._node
        net = node.net
        node.net.running.append(node.name)
        state = node.cluster.state
        await net.wait(node.random.random() * 0.02)
        node.world.process.operation()
        if kind == 'fail':
            raise errors.NoSpace('no')
        if kind == 'wait':
            # Its I/O cannot be finished in this epoch.
            epoch = state.epoch
            while node.cluster.state.epoch == epoch:
                await net.wait(0.01)
            return {'kind': 'vdi-create', 'entry': {
                'vdi_id': 9, 'name': 'waited'}}, {'from': epoch}
        if kind == 'look':
            return None, {'count': len(state.vdis)}
        vdi_id = 1
        while vdi_id in node.cluster.state.vdis:
            vdi_id += 1
        entry = {'vdi_id': vdi_id, 'name': arguments['name']}
        return {'kind': 'vdi-create', 'entry': entry}, {'vdi_id': vdi_id}


class Life:
    """What one incarnation was told, in order."""

    def __init__(self, name: str, incarnation: str):
        self.name = name
        self.incarnation = incarnation
        self.told = []
        self.is_over = False


class Listener:
    """Notes what is told, and checks it as it comes."""

    def __init__(self, node: 'Node'):
        self._node = node
        self.life = None
        self.shutdowns = 0

    def _live(self) -> Life:
        incarnation = self._node.cluster.incarnation
        if self.life is None or self.life.incarnation != incarnation:
            if self.life is not None:
                self.life.is_over = True
            self.life = Life(self._node.name, incarnation)
            self._node.net.lives.append(self.life)
        return self.life

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        node = self._node
        life = self._live()
        state = node.cluster.state
        assert new is state.view and new is node.cluster.view
        assert new.member(life.incarnation) is not None
        if life.told and not cold and '"format"' not in life.told[-1][2]:
            assert old is not None and old.epoch < new.epoch, (old, new)
        life.told.append((state.sequence, state.term, 'view %d' % new.epoch))
        node.net.note_view(node, new)

    def on_event(self, event):
        state = self._node.cluster.state
        self._live().told.append(
            (state.sequence, state.term, json.dumps(event, sort_keys=True)))

    def on_lapse(self):
        if self.life is not None:
            self.life.is_over = True

    def on_shutdown(self):
        self.shutdowns += 1


class Node:
    """A host, and the daemon that may run on it."""

    def __init__(self, net: 'Net', name: str, info: api.MemberInfo):
        self.net = net
        self.name = name
        self.info = info
        self.random = random.Random('%s/%s' % (net.seed, name))
        self.host = net.simulation.add_host(name, 64 << 20)
        self.cluster = None
        self.listener = None

    @property
    def world(self):
        return self.host.world

    @property
    def is_running(self) -> bool:
        return self.host.is_running and self.cluster is not None

    def start(self) -> None:
        if self.listener is not None and self.listener.life is not None:
            self.listener.life.is_over = True
        world = self.host.start()
        self.cluster = None
        cluster = cluster_module.Cluster(
            world, world.membership(), Courier(self), META, self.info,
            self.net.ttl)
        cluster.operations = Operations(self)
        self.listener = Listener(self)
        cluster.add_listener(self.listener)
        self.cluster = cluster

        async def begin():
            world.disk.make_directory(META)
            await world.disk.sync_directory('/')
            await cluster.start()

        world.spawn(begin(), 'start')

    async def serve(self, sender, meant, text, reply):
        try:
            if self.cluster.incarnation != meant:
                raise errors.Unreachable('another incarnation')
            answer = json.dumps(await self.cluster.handle(
                sender, json.loads(text)))
        except errors.SheepdogError as error:
            answer = error
        reply(answer)

    def ask(self, kind, arguments=None, **options):
        """Start an operation in the node; → its task."""
        return self.world.spawn(self._ask(kind, arguments or {}, options),
                                'ask')

    async def _ask(self, kind, arguments, options):
        # Not raised, so that the world does not take it for a fault.
        try:
            return await self.cluster.execute(kind, arguments, **options)
        except errors.SheepdogError as error:
            return error


class Net:
    """All of it, from one seed."""

    def __init__(self, seed, count=3, ttl=4.0, notices_kills=True, **infos):
        logging.disable(logging.CRITICAL)
        self.seed = seed
        self.ttl = ttl
        settings = membership_module.CoordinationSettings(
            ttl_seconds=ttl, notices_kills=notices_kills)
        self.simulation = world_module.Simulation(
            seed, coordination_settings=settings)
        self.loop = self.simulation.loop
        self.mail = Mail(self)
        self.nodes = {}
        self.lives = []
        self.epochs = {}
        self.running = []
        self.violations = []
        for number in range(count):
            name = 'n%d' % number
            fields = {'node': name, 'incarnation': '', 'host': '10.0.0.%d' % (
                number + 1), 'port': 7000, 'zone': number,
                'space': 1 << 30, 'protocol': PROTOCOL}
            fields.update(infos.get(name, {}))
            self.nodes[name] = Node(self, name, api.MemberInfo(**fields))

    def close(self):
        self.simulation.close()
        logging.disable(logging.NOTSET)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    async def wait(self, seconds):
        await asyncio.sleep(seconds)

    # Driving.

    def start_all(self):
        for node in self.nodes.values():
            if not node.host.is_on:
                node.host.power_on()
            if not node.host.is_running:
                node.start()

    def run_for(self, seconds):
        deadline = self.loop.time() + seconds
        while self.loop.time() < deadline:
            self.loop.run_for(0.01)
            self.check_serving()

    def run_until(self, condition, timeout=60.0, what=''):
        deadline = self.loop.time() + timeout
        while not condition():
            if self.loop.time() >= deadline:
                raise AssertionError('not within %g s: %s\n%s' % (
                    timeout, what, self.describe()))
            self.loop.run_for(0.01)
            self.check_serving()

    def result(self, node, kind, arguments=None, timeout=60.0, **options):
        """Run one operation to its end; errors are returned."""
        task = node.ask(kind, arguments, timeout=timeout, **options)
        self.run_until(task.done, timeout + 5, kind)
        return task.result()

    def format(self, node='n0', **arguments):
        result = self.result(self.nodes[node], 'format', arguments)
        assert isinstance(result, dict), result
        self.run_until(self.is_settled, what='format')
        return result

    def formed(self, **arguments):
        """Start everybody and format."""
        self.start_all()
        self.run_until(lambda: all(
            node.cluster.status is api.Status.WAIT_FOR_FORMAT
            for node in self.nodes.values()), what='wait for format')
        self.format(**arguments)

    def is_settled(self, names=None):
        """These (all) serve, in one view that has exactly them."""
        names = sorted(names if names is not None else self.nodes)
        views = []
        for name in names:
            node = self.nodes[name]
            if not node.is_running or not node.cluster.serving():
                return False
            views.append(node.cluster.view)
        return (all(view == views[0] for view in views) and
                sorted(member.node for member in views[0].members) == names)

    def leader(self):
        for node in self.nodes.values():
            if node.is_running and node.cluster._leader is not None:
                return node
        return None

    # Watching.

    def note_view(self, node, view):
        """Epoch N has one member list, everywhere, for ever."""
        key = node.cluster.state.created, view.epoch
        names = tuple(member.node for member in view.members)
        known = self.epochs.setdefault(key, names)
        if known != names:
            self.violations.append('epoch %r: %r and %r' % (
                key, known, names))

    def check_serving(self):
        """Whoever serves, serves the same view: the members of the next
        were frozen, the others dead, before anybody began with it."""
        serving = [node for node in self.nodes.values()
                   if node.is_running and node.cluster.serving()]
        if serving:
            latest = max(serving, key=lambda node: node.cluster.view.epoch)
            for node in serving:
                if node.cluster.view != latest.cluster.view:
                    self.violations.append('%s serves epoch %d, %s %d' % (
                        node.name, node.cluster.view.epoch, latest.name,
                        latest.cluster.view.epoch))

    def check(self):
        """Raise what is wrong so far."""
        self.check_order()
        problems = self.violations + [
            repr(error) for error in self.simulation.errors()]
        assert not problems, 'seed %s: %s' % (self.seed,
                                              '\n'.join(problems[:5]))

    def check_order(self):
        """All lives were told the same, but for the end of one that died
        with an event that was never decided."""
        decided = {}
        for life in self.lives:
            for sequence, term, event in life.told:
                key = sequence, event.startswith('view')
                if key not in decided or decided[key][0] < term:
                    decided[key] = term, event
        for life in self.lives:
            wrong = [sequence for sequence, term, event in life.told
                     if decided[sequence, event.startswith('view')][1]
                     != event]
            last = life.told[-1][0] if life.told else 0
            if wrong and not (life.is_over and min(wrong) > last - 256):
                self.violations.append('%s was told otherwise: %r' % (
                    life.incarnation, [item for item in life.told
                                       if item[0] == wrong[0]]))
            order = [sequence for sequence, _, _ in life.told]
            if order != sorted(order):
                self.violations.append('%s: order %r' % (life.incarnation,
                                                         order))

    def describe(self):
        lines = []
        for name, node in self.nodes.items():
            lines.append('%s on=%s running=%s stopped=%s %s' % (
                name, node.host.is_on, node.is_running,
                node.host.process and node.host.process.is_stopped,
                node.cluster.explain() if node.is_running and
                node.cluster._follower else ''))
        lines.append('violations: %r' % self.violations[:3])
        lines.append('errors: %r' % self.simulation.errors()[:3])
        return '\n'.join(lines)
