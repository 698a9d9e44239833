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

"""Tests of sheepdog.faces.native.admin."""

import base64
import inspect
import types
from unittest import mock

from sheepdog.faces.native import admin
from sheepdog.faces.native import arguments
from sheepdog.faces.native import facts as facts_module
from sheepdog.gateway import watch
from sheepdog.model import errors
from sheepdog.recovery import throttle
from sheepdog.tests.unit.faces import native_case
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.wire import peer as wire

INVALID = errors.InvalidParameters.result
OBJECT = case.OBJECT


class LogControl:
    def __init__(self):
        self.now = 'info'
        self.own = {}

    def levels(self):
        return ['debug', 'info']

    def level(self, logger=''):
        return self.own.get(logger, self.now)

    def set_level(self, name, logger=''):
        if name not in self.levels():
            raise KeyError(name)
        if logger:
            self.own[logger] = name
        else:
            self.now = name

    def loggers(self):
        return self.own


class AdminCase(native_case.NativeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.stopped = []
        for one in self.sheep:
            self.complete(one)
        for one in (self.b, self.c):
            one.server.register(admin.Admin(one.world, one,
                                            None).handlers())
        self.tool = self.connect_tool()

    def complete(self, one):
        """What a whole sheep has, and one of the flock has not."""
        async def used_bytes():
            return 10

        one.version = '1.2'
        one.log_control = LogControl()
        one.stop_soon = lambda: self.stopped.append(one.name)
        one.nbd_address = lambda: '127.0.0.1:10809'
        one.exposed = ['something']
        one.settings = types.SimpleNamespace(advertised_host=one.name,
                                             port=flock.PORT, vnodes=-1)
        one.store.node_id = one.name
        one.store.used_bytes = used_bytes
        one.store.space = lambda: types.SimpleNamespace(total=100, free=30)
        one.store.weight = lambda: 100
        one.cluster.explain = lambda: {
            'status': one.cluster.status.value, 'reason': '', 'missing': [],
            'leader': {'host': '10.0.0.1', 'port': flock.PORT}}
        one.cluster.circumstances = lambda: {
            'problem': '', 'log_failure': ''}
        one.cluster.acquaintances = lambda: list(one.cluster.view.members)
        one.store.failure = ''
        one.store.is_full = False
        one.precedence = types.SimpleNamespace(describe=lambda: None)
        one.health = types.SimpleNamespace(slow=frozenset())
        one.turner = types.SimpleNamespace(facts=lambda: [])
        one.watch = watch.Watch(one.world, one.gateway, one.name, 5.0)
        one.nbd = types.SimpleNamespace(
            clients=lambda: [('10.9.9.9:1', 'vm')])

    async def ok(self, method, **arguments):
        result, message = await self.method(self.tool, method, **arguments)
        self.assertEqual(result, 0, message)
        return message['result']

    async def refused(self, method, error=errors.InvalidParameters,
                      **arguments):
        result, message = await self.method(self.tool, method, **arguments)
        self.assertEqual(result, error.result, message)
        self.assertTrue(message['error'])


class TurnTest(AdminCase):
    """Three nodes have room for 20 bytes each."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.create('vm')
        self.told = []

        async def alter_copies(*arguments):
            self.told.append(arguments)

        self.a.catalogue.alter_copies = alter_copies

    async def write(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'x')
        await volume.close()

    async def test_lists_are_of_texts(self):
        for names in ['vm', 1], [['vm']], [{}], 'vm', {'vm': 1}, None:
            result, _ = await self.method(self.tool, 'vdi.snapshot_group',
                                          names=names, tag='s1')
            self.assertEqual(INVALID, result)
        result, _ = await self.method(self.tool, 'vdi.snapshot', name=['vm'])
        self.assertEqual(INVALID, result)

    async def test_without_room(self):
        await self.write()
        wanted = {'name': 'vm', 'copies': 3, 'copy_policy': 0x11}
        result, message = await self.method(self.tool, 'vdi.alter-copy',
                                            **wanted)
        self.assertEqual(INVALID, result)
        self.assertIn(
            'VDI vm cannot be turned into 2:1 strips now: 10.0.0.1:7000 '
            'would be given about 0.5 MB more than it gives back meanwhile, '
            'and has room for 0.0 MB', message['error'])
        self.assertEqual([], self.told)
        await self.ok('vdi.alter-copy', force=True, **wanted)
        self.assertEqual(1, len(self.told))

    async def test_with_room(self):
        wanted = {'name': 'vm', 'copies': 3, 'copy_policy': 0x11}
        await self.ok('vdi.alter-copy', **wanted)
        # Another number of copies is another matter.
        await self.write()
        await self.ok('vdi.alter-copy', name='vm', copies=2)
        self.assertEqual(2, len(self.told))


class EvictTest(AdminCase):
    """Two copies: what one of three nodes has goes to the two others, who
    have room for 20 bytes each."""

    copies = 2

    def set_used(self, one, used):
        async def used_bytes():
            return used

        one.store.used_bytes = used_bytes

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.told = []

        carry_out = self.a.cluster.execute

        async def execute(kind, arguments, *more, **others):
            if kind != 'evict':
                return await carry_out(kind, arguments, *more, **others)
            self.told.append((arguments['node'], arguments['force']))

        self.a.cluster.execute = execute

    async def test_with_room(self):
        self.set_used(self.b, 40)
        await self.ok('node.evict', id=1)
        self.assertEqual(1, len(self.told))

    async def test_without(self):
        self.set_used(self.b, 42 << 20)
        result, message = await self.method(self.tool, 'node.evict', id=1)
        self.assertEqual(INVALID, result)
        self.assertEqual(
            'node 10.0.0.2:7000 cannot be evicted now: 10.0.0.1:7000 would '
            'be given about 21 MB of what it has, and has room for 0.0 MB',
            message['error'])
        self.assertEqual([], self.told)
        await self.ok('node.evict', id=1, force=True)
        self.assertEqual([True], [force for _, force in self.told])

    async def test_who_does_not_tell(self):
        """…does not count: one that is slow may have to go."""
        self.set_used(self.b, 42)
        self.b.store.space = mock.Mock(side_effect=errors.StorageError('so'))
        await self.ok('node.evict', id=1)


class AdminTest(AdminCase):

    # What is no method.

    async def test_what_cannot_be_asked(self):
        for payload in (
                b'', b'\xff', b'[]', b'{}', b'{"method": "vdi.paint"}',
                b'{"method": ["vdi.list"]}', b'{"method": {}}',
                b'{"method": "vdi.list", "arguments": [1]}',
                b'{"method": "vdi.list", "arguments": "x"}',
                b'{"method": "volume.open", "arguments": [1]}',
                b'{"method": "vdi.list", "arguments": {"colour": 1}}',
                b'{"method": "vdi.list", "arguments": {"session": 1}}',
                b'{"method": "vdi.create", "arguments": {"size": 1}}',
                b'{"method": "vdi.unlock", "arguments": {"name": []}}',
                b'{"method": "vdi.unlock", "arguments": {"name": {}}}',
                b'{"method": "volume.close", "arguments": {"handle": []}}'):
            with self.subTest(payload):
                result, answer = await self.call(self.tool, wire.ADMIN,
                                                 payload)
                self.assertEqual(result, INVALID)
                self.assertTrue(wire.unpack_json(answer)['error'])
        self.assertEqual(await self.ok('vdi.list'), [])

    async def test_arguments_of_another_type(self):
        """Each parameter of each method, and the cluster goes on."""
        for method, function in sorted(self.admin.methods.items()):
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name == 'session' or (
                        parameter.kind is parameter.VAR_KEYWORD):
                    continue
                kind = arguments.type_of(parameter)
                for value in (5, True, 'x', 0.5, None, [], {}):
                    if type(value) is kind:
                        continue
                    with self.subTest(method, name=parameter.name,
                                      value=value):
                        with self.assertRaises(errors.InvalidParameters):
                            await self.admin.call(None, method, {
                                parameter.name: value})
        await self.create('vm')

    async def test_numbers_are_of_64_bits(self):
        for number in (b'18446744073709551616', b'-9223372036854775809',
                       b'1e999', b'NaN', b'-Infinity', b'1' * 5000):
            with self.subTest(number[:30]):
                result, _ = await self.call(
                    self.tool, wire.ADMIN, b'{"method": "node.kill", '
                    b'"arguments": {"id": %s}}' % number)
                self.assertEqual(result, INVALID)

    async def test_another_sheep_that_answers_nonsense(self):
        """It is named, and the others' answers are there."""
        for answer in ({}, [], {'result': None}, {'result': []},
                       {'result': {'total': 'x'}},
                       {'result': {'is_running': 1}}):
            self.b.server._handlers['peer'][wire.ADMIN] = (
                lambda request: request(None, wire.pack_json(answer)))
            info = await self.ok('node.info')
            with self.subTest(answer):
                self.assertEqual(
                    [('answers in a way unknown' in n.get('error', ''))
                     for n in info['nodes']], [False, True, False])
                self.assertEqual(await self.ok('node.recovery'), [])
            if answer and answer.get('result'):
                continue  # Facts may be any.
            for method in ('cluster.facts', 'cluster.copies'):
                with self.subTest(answer, method=method):
                    self.assertEqual(
                        ['error' in one for one in await self.ok(method)],
                        [False, True, False])
            nodes = (await self.ok('node.log', action='get',
                                   everyone=True))['nodes']
            self.assertEqual(['error' in one for one in nodes],
                             [False, True, False])

    async def test_a_broken_invariant_is_not_hidden(self):
        async def broken():
            raise AssertionError('it cannot be')

        self.admin.methods['vdi.list'] = broken
        self.tool.feed(*wire.pack_request(
            wire.ADMIN, 0, 0, 9, tag=self.tool.tag,
            payload=b'{"method": "vdi.list"}'))
        await flock.turns()
        failures, self.a.world.failures = self.a.world.failures, []
        self.assertEqual([type(f) for f in failures], [AssertionError])

    async def test_a_method_that_breaks_is_answered(self):
        async def broken():
            return {}['x']

        self.admin.methods['vdi.list'] = broken
        with self.assertLogs('sheepdog.faces.native.admin', 'ERROR'):
            await self.refused('vdi.list', errors.SystemFailure)

    # The cluster.

    async def test_cluster_info(self):
        info = await self.ok('cluster.info')
        self.assertEqual(
            (info['status'], info['version'], info['missing'],
             info['leader']['host']), ('ok', '1.2', [], '10.0.0.1'))
        self.assertEqual(info['settings']['copies'], 3)
        self.flock.change_view()
        await self.flock.settled()
        info = await self.ok('cluster.info')
        self.assertEqual([e['epoch'] for e in info['epochs']], [2, 1])
        self.assertEqual(info['epochs'][0]['members'][2], {
            'host': '10.0.0.3', 'port': flock.PORT, 'vnodes': 16, 'zone': 3})

    async def test_cluster_changes(self):
        asked = []

        async def execute(kind, arguments, operation_id=''):
            if kind != 'recovered':
                asked.append((kind, arguments, operation_id))

        with mock.patch.object(self.a.cluster, 'execute', execute):
            await self.ok('cluster.format', copies=2, store='', force=True,
                          operation_id='o')
            await self.ok('cluster.format', strict=True)
            await self.ok('cluster.recover', action='force')
            await self.ok('cluster.shutdown')
            for wrong in {'colour': 1}, {'recycle_ids': True}:
                await self.refused('cluster.format', **wrong)
            await self.refused('cluster.recover', action='gently')
        self.assertEqual(asked, [
            ('format', {'copies': 2, 'force': True}, 'o'),
            ('format', {'strict': True, 'force': False}, ''),
            ('recover-force', {}, ''), ('shutdown', {}, '')])

    # Nodes.

    async def test_node_list(self):
        self.assertEqual(
            [(n['id'], n['host'], n['incarnation'], n['zone'])
             for n in await self.ok('node.list')],
            [(i, s.name, s.cluster.incarnation, i + 1)
             for i, s in enumerate(self.sheep)])

    async def test_node_info(self):
        await self.create('vm', 3 * OBJECT)
        with mock.patch.object(admin, 'NODE_SECONDS', 0.2):
            self.flock.fabric.sever(self.c.name)
            self.flock.fabric.cut.add((self.a.name, self.c.name))
            info = await self.ok('node.info')
        self.assertEqual(info['virtual_bytes'], 3 * OBJECT)
        self.assertEqual(
            [(n['id'], n['total'], n['used'], n['free'], 'error' in n)
             for n in info['nodes']],
            [(0, 40, 10, 30, False), (1, 40, 10, 30, False),
             (2, 0, 0, 0, True)])

    async def test_node_stat(self):
        vdi_id = await self.create('vm')
        before = await self.ok('node.stat')
        await self.a.gateway.write_wait(vdi_id << 32, 0, b'12345678',
                                        create=True)
        stat = await self.ok('node.stat')
        client = {key: stat['client'][key] - before['client'][key]
                  for key in stat['client']}
        self.assertEqual(client, {
            'write': 1, 'read': 0, 'remove': 0, 'flush': 0,
            'bytes_written': 8, 'bytes_read': 0, 'active': 0, 'total': 1})
        self.assertEqual(stat['peer']['active'], 1)

    async def test_activity(self):
        for one in self.sheep:
            one.waits = types.SimpleNamespace(totals={'read': [2, 0.5]})
        self.c.waits = None

        async def used_bytes():
            raise AssertionError('that takes long')

        self.a.store.used_bytes = used_bytes
        with self.assertLogs('sheepdog.faces.native.admin'):
            found = await self.ok('cluster.activity')
        self.assertEqual(1, found['epoch'])
        self.assertEqual([False, False, True],
                         ['error' in node for node in found['nodes']])
        for node, one in zip(found['nodes'][:2], self.sheep):
            self.assertEqual((one.name, {'read': [2, 0.5]}, 70, False), (
                node['host'], node['waits'], node['space']['used'],
                node['progress']['is_running']))
            self.assertEqual({'client', 'peer'}, set(node['stat']))

    async def test_node_recovery(self):
        self.assertEqual(await self.ok('node.recovery'), [])
        self.assertEqual(await self.ok('node.progress'), {
            'is_running': False, 'is_postponed': False, 'is_whole': True,
            'postponed': None, 'is_on_record': True,
            'done': self.a.recovery.done, 'total': self.a.recovery.total,
            'moved_bytes': self.a.recovery.moved_bytes,
            'seconds_left': None, 'held_back': None})

        held_back = {'at_once': 1, 'share': 0.5, 'of': '10.0.0.2:7000',
                     'ms': 5.0, 'usual_ms': None}

        async def progress():
            return {'is_running': True, 'done': 3, 'total': 9,
                    'held_back': held_back}

        self.admin.methods['node.progress'] = progress
        self.assertEqual(await self.ok('node.recovery'), [
            {'id': 0, 'host': '10.0.0.1', 'port': flock.PORT, 'vnodes': 16,
             'zone': 1, 'done': 3, 'total': 9, 'seconds_left': None,
             'held_back': held_back, 'postponed': None}])

    async def test_throttle(self):
        self.assertEqual(await self.ok('node.throttle', action='get'),
                         {'max': throttle.AT_ONCE, 'interval': 0})
        self.assertEqual(
            await self.ok('node.throttle', action='set', max=3,
                          interval=250), {'max': 3, 'interval': 250})
        self.assertEqual(self.a.recovery.throttle.pause_seconds, 0.25)
        self.assertEqual(self.b.recovery.throttle.pause_seconds, 0)
        found = await self.ok('node.throttle', action='set', max=0,
                              interval=7, everyone=True)
        self.assertEqual(
            [(one['max'], one['interval']) for one in found['nodes']],
            [(throttle.AT_ONCE, 7)] * 3)
        for wrong in ({'action': 'walk'}, {'action': 'set', 'max': -1},
                      {'action': 'set', 'max': throttle.AT_ONCE_MAX + 1},
                      {'action': 'set', 'interval': -1},
                      {'action': 'set',
                       'interval': throttle.PAUSE_MS_MAX + 1}):
            await self.refused('node.throttle', **wrong)

    async def test_weights(self):
        self.assertEqual(await self.ok('cluster.reweight'), {'silent': []})
        self.assertEqual(self.a.cluster.state.spaces, {
            one.name: 100 for one in self.sheep})
        await self.refused('node.vnodes', vnodes=9)

    async def test_fixed_vnodes(self):
        self.flock.event({'kind': 'settings',
                          'changes': {'fixed_vnodes': True}})
        await self.refused('cluster.reweight')
        self.a.settings.vnodes = 16
        await self.ok('node.vnodes', vnodes=40)
        self.assertEqual(self.a.cluster.state.vnodes,
                         {self.a.name: (16, 40)})
        for wrong in (0, -1, 'x'):
            await self.refused('node.vnodes', vnodes=wrong)

    async def test_recovery_is_disabled_and_enabled(self):
        for action, is_enabled in (('disable', False), ('enable', True)):
            await self.ok('cluster.recover', action=action)
            self.assertEqual(
                self.a.cluster.state.settings.recovery_enabled, is_enabled)
        await self.refused('cluster.recover', action='maybe')

    async def test_recovery_is_not_put_off(self):
        with mock.patch.object(self.a.cluster, 'execute') as execute:
            await self.ok('cluster.recover', action='now')
        self.assertEqual(('hurry', {}), execute.await_args.args[:2])

    async def test_node_kill(self):
        await self.ok('node.kill', id=1)
        # It is not waited for.
        self.assertIn(self.b.cluster.incarnation,
                      self.a.cluster.state.departing)
        await self.ok('node.kill', local=True)
        self.assertEqual(self.stopped, [self.b.name, self.a.name])
        for wrong in (3, -1, '1', None):
            await self.refused('node.kill', id=wrong)
        self.assertEqual(len(self.stopped), 2)

    async def test_node_log(self):
        self.assertEqual(await self.ok('node.log', action='list'),
                         {'levels': ['debug', 'info']})
        self.assertEqual(await self.ok('node.log', action='set',
                                       level='debug'),
                         {'level': 'debug', 'loggers': {}})
        self.assertEqual((await self.ok('node.log', action='get'))['level'],
                         'debug')
        self.assertEqual(
            await self.ok('node.log', action='set', level='info',
                          logger='sheepdog.peer'),
            {'level': 'info', 'loggers': {'sheepdog.peer': 'info'}})
        self.assertEqual((await self.ok('node.log', action='get'))['level'],
                         'debug')
        told = await self.ok('node.log', action='set', level='info',
                             everyone=True)
        self.assertEqual(['info'] * 3, [one['level']
                                        for one in told['nodes']])
        self.assertEqual('info', self.c.log_control.now)
        await self.refused('node.log', action='set', level='loud')
        await self.refused('node.log', action='eat')

    async def test_node_status(self):
        status = await self.ok('node.status')
        self.assertEqual(
            {key: status[key] for key in ('status', 'node', 'version',
                                          'address', 'nbd', 'bad_objects',
                                          'store')},
            {'status': 'ok', 'node': self.a.name, 'version': '1.2',
             'address': '10.0.0.1:7000', 'nbd': '127.0.0.1:10809',
             'bad_objects': 0,
             'store': {'total': 40, 'free': 30, 'used': 10, 'kept': 10,
                       'quarantined': 0, 'quarantine': 0}})

    async def facts(self, method='cluster.facts'):
        found = await self.ok(method)
        self.assertEqual(['%s:7000' % one.name for one in self.sheep],
                         [entry['address'] for entry in found])
        return [entry.get('answer') for entry in found]

    async def test_facts_of_all(self):
        vdi_id = await self.create('vm')
        await self.b.volumes.open('vm')
        with self.assertRaises(errors.VdiLocked):
            await self.a.volumes.open('vm')
        a, b, _c = await self.facts()
        self.assertEqual((a['status'], a['node'], a['copies'], a['problem']),
                         ('ok', self.a.name, 3, ''))
        self.assertEqual([m['host'] for m in a['view']['members']],
                         [one.name for one in self.sheep])
        self.assertIsNone(a['before'])
        self.assertEqual({'10.0.0.2:7000': '', '10.0.0.3:7000': ''},
                         a['peers'])
        self.assertEqual((a['store']['total'], a['store']['failure']),
                         (40, ''))
        self.assertEqual(b['locks'], [{
            'vdi_id': vdi_id, 'name': 'vm', 'users': 1, 'mode': 'exclusive',
            'since': self.b.volumes.locked_at[vdi_id]}])
        self.assertEqual([{'vdi_id': vdi_id, 'name': 'vm',
                           'since': self.a.volumes.refused[vdi_id],
                           'owners': [self.b.cluster.incarnation]}],
                         a['refused_locks'])
        self.assertEqual([['nbd', '10.9.9.9:1', 'vm']], b['clients'])

    async def test_facts_of_one_that_is_cut_off(self):
        with mock.patch.object(facts_module, 'PING_SECONDS', 0.2), \
                mock.patch.object(admin, 'NODE_SECONDS', 0.5):
            self.flock.fabric.sever(self.c.name)
            for one in (self.a, self.b):
                self.flock.fabric.cut.add((one.name, self.c.name))
            a, b, c = await self.facts()
        self.assertIsNone(c)
        self.assertTrue(b['peers']['10.0.0.3:7000'])
        self.assertEqual('', a['peers']['10.0.0.2:7000'])

    async def test_facts_of_recovery(self):
        oid = await self.create('vm') << 32 | 7
        recovery = self.a.recovery
        recovery.waiting = {
            oid: (5.0, 'object %016x: of no use' % oid),
            oid + 1: (4.0, 'object %016x: of no use' % (oid + 1)),
            oid + 2: (3.0, 'epoch 1 may be known only to x')}
        recovery.obstacle = (9.0, 'hidden')
        a, _b, _c = await self.facts()
        self.assertEqual([
            {'reason': 'of no use', 'count': 2, 'since': 4.0,
             'example': '%016x' % oid, 'is_untold': False},
            {'reason': 'epoch 1 may be known only to x', 'count': 1,
             'since': 3.0, 'example': '%016x' % (oid + 2),
             'is_untold': True}], a['recovery']['waiting'])
        self.assertEqual({'since': 9.0, 'reason': 'hidden',
                          'is_untold': False}, a['recovery']['obstacle'])

    async def test_facts_before_there_is_a_view(self):
        """Also who is no member yet is asked, and asks."""
        self.a.cluster.state.view = None
        members = list(self.b.cluster.view.members)
        self.a.cluster.acquaintances = lambda: members[1:]
        a, b, c = await self.facts()
        self.assertIsNone(a['view'])
        self.assertTrue(b['view'] and c['view'])

    async def test_copies(self):
        vdi_id = await self.create('vm')
        await self.a.gateway.write_wait(vdi_id << 32, 0, b'12345678',
                                        create=True)
        self.b.recovery.standing.doubt(vdi_id << 32)
        self.b.recovery.standing.doubt = None
        with mock.patch.object(self.b.recovery.mover, 'make_whole',
                               side_effect=errors.NotRecovered):
            a, b, _c = await self.facts('cluster.copies')
        name = '%06x' % vdi_id
        self.assertEqual((1, True, {name: [3, 0]}, {name: 3}), tuple(
            a[key] for key in ('epoch', 'is_settled', 'owners', 'inodes')))

        def unpack(packing, text):
            return list(packing.iter_unpack(base64.b64decode(text)))

        self.assertIn((vdi_id << 32,), unpack(facts_module.WHOLE,
                                              a['whole']))
        self.assertEqual([], unpack(facts_module.PARTIAL, a['partial']))
        self.assertEqual([(vdi_id << 32, 1)], unpack(facts_module.PARTIAL,
                                                     b['partial']))

    async def test_node_quiesce(self):
        vdi_id = await self.create('vm')
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'old', fua=True)
        await volume.write(0, b'new')
        await self.ok('node.quiesce')
        for one in self.flock.targets(vdi_id << 32):
            self.assertEqual(one.store.durable[vdi_id << 32][1][:3], b'new')

    # VDIs.

    async def test_vdis(self):
        made = await self.ok('vdi.create', name='vm', size=2 * OBJECT)
        self.assertEqual((made['name'], made['size'], made['used']),
                         ('vm', 2 * OBJECT, 0))
        await self.refused('vdi.create', errors.VdiExists, name='vm', size=1)
        await self.refused('vdi.create', name='no', size=1, preallocate=True)
        await self.refused('vdi.create', name='no', size='1')
        await self.ok('vdi.resize', name='vm', size=3 * OBJECT)
        await self.refused('vdi.resize', name='vm', size=OBJECT)
        await self.ok('vdi.resize', name='vm', size=OBJECT, force=True)
        await self.ok('vdi.resize', name='vm', size=3 * OBJECT, force=True)
        self.assertEqual([v['size'] for v in await self.ok(
            'vdi.list', name='vm')], [3 * OBJECT])
        await self.ok('vdi.delete', name='vm')
        await self.refused('vdi.delete', errors.NoVdi, name='vm')
        self.assertEqual(await self.ok('vdi.list'), [])

    async def test_locks(self):
        vdi_id = await self.create('vm')
        self.assertEqual(await self.ok('vdi.locks'), [])
        volume = await self.b.volumes.open('vm')
        self.assertEqual(await self.ok('vdi.locks'), [{
            'name': 'vm', 'tag': '', 'snap_id': 0, 'vdi_id': vdi_id,
            'mode': 'exclusive', 'owners': [{
                'host': self.b.name, 'port': flock.PORT,
                'incarnation': self.b.cluster.incarnation}]}])
        await self.ok('vdi.unlock', name='vm')
        self.assertFalse(volume.valid)
        self.assertEqual(await self.ok('vdi.locks'), [])
        await self.refused('vdi.unlock', errors.VdiNotLocked, name='vm')
        await self.refused('vdi.unlock', errors.NoVdi, name='other')
