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

"""Tests of sheepdog.faces.native.port."""

import asyncio
from unittest import mock

from sheepdog.faces.native import port as port_module
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import keys
from sheepdog.model import limits
from sheepdog.model import networks
from sheepdog.peer import access
from sheepdog.tests.unit.faces import native_case
from sheepdog.tests.unit import flock
from sheepdog.wire import hello
from sheepdog.wire import native
from sheepdog.wire import native_client
from sheepdog.wire import peer as wire
from sheepdog.world import crowd

INVALID = errors.InvalidParameters.result


class PortTest(native_case.NativeCase):

    async def test_public_requests_are_answered(self):
        vdi_id = await self.create('vm')
        result, fields, _ = await self.ask(
            self.connect(), native_client.pack_get_vdi_info(5, 'vm'))
        self.assertEqual(result, 0)
        self.assertEqual(fields[native.ID], 5)
        self.assertEqual(native_client.read_vdi_answer(fields).vdi_id, vdi_id)

    async def test_opcodes_of_sheep_and_tools_are_refused(self):
        connection = self.connect()
        for opcode in (wire.MESSAGE, wire.ADMIN, wire.PING, wire.WRITE,
                       wire.READ, wire.ORDER_WRITE, wire.VOLUME_READ, 0xFF):
            result, fields, _ = await self.ask(connection, wire.pack_request(
                opcode, 0, 0, 3, payload=b'{}'))
            self.assertEqual((result, fields[native.ID]), (INVALID, 3))
        self.assertFalse(connection.is_closed)
        await self.create('vm')
        result, _, _ = await self.ask(connection,
                                      native_client.pack_get_vdi_info(5, 'vm'))
        self.assertEqual(result, 0)

    async def test_a_message_in_pieces(self):
        await self.create('vm')
        connection = self.connect()
        data = b''.join(native_client.pack_get_vdi_info(5, 'vm'))
        self.assertEqual(connection.feed(data[:20]), 0)
        self.assertEqual(connection.feed(data[:100]), 0)
        self.assertEqual(connection.session.room_bytes, len(data))
        self.assertEqual(connection.feed(data), len(data))
        await flock.until(lambda: connection.sent)

    async def test_so_many_clients_and_no_more(self):
        await self.create('vm')
        self.port.places = crowd.Places(3, 2)
        request = native_client.pack_get_vdi_info(5, 'vm')
        clients = []
        for host, good in (('10.0.0.1', True), ('10.0.0.1', True),
                           ('10.0.0.1', False), ('10.0.0.2', True),
                           ('10.0.0.3', False)):
            connection = self.connect()
            connection.peer_host = host
            result, _, _ = await self.ask(connection, request)
            self.assertEqual((good, not good),
                             (result == 0, connection.is_closed))
            clients.append(connection)
            # Sheep, tools and who comes by a unix socket get in.
            self.connect_tool()
            local = self.connect()
            local.is_local = True
            self.assertEqual(0, (await self.ask(local, request))[0])
        for connection in clients:
            connection.session.disconnected(None)
        self.assertEqual(0, len(self.port.places))
        self.assertEqual(0, (await self.ask(self.connect(), request))[0])

    async def test_what_cannot_be_framed_closes(self):
        header = native.REQUEST.pack(
            1, native.WRITE_OBJ, native.FLAG_WRITE, 0, 1,
            limits.FRAME_PAYLOAD_MAX_BYTES + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        with self.assertRaises(errors.InvalidParameters):
            self.connect().feed(header)

    async def test_a_tool_is_let_in(self):
        connection = self.connect_tool()
        self.assertEqual(await self.call(connection, wire.PING), (0, b''))

    async def test_hello_refused(self):
        ours = self.a.cluster.incarnation
        for result, role, changes in (
                (errors.VersionMismatch.result, 'tool', {'protocol': 0x10}),
                (errors.VersionMismatch.result, 'tool', {'protocol': None}),
                (errors.NotServing.result, 'peer', {'for': 'other.1'}),
                (errors.NotServing.result, 'peer', {}),
                (INVALID, 'king', {'for': ours})):
            with self.subTest(role=role, **changes):
                connection = self.connect()
                answer = self.hello(connection, role, **changes)
                self.assertEqual(answer[0], result)
                self.assertTrue(answer[1]['error'])
                self.assertTrue(connection.is_closed)
        result, answer = self.hello(self.connect(), 'peer', incarnation='x',
                                    **{'for': ours})
        self.assertEqual((result, answer['incarnation']), (0, ours))

    async def test_hello_that_is_no_json(self):
        connection = self.connect()
        connection.feed(*wire.pack_request(wire.HELLO, 0, 0, 1,
                                           payload=b'\xff'))
        (fields, _), = connection.frames()
        self.assertEqual(fields[8], INVALID)
        self.assertTrue(connection.is_closed)

    async def test_too_many_requests_pause_it(self):
        vdi_id = await self.create('vm')
        oid = ids.vdi_oid(vdi_id)
        connection = self.connect()
        waiting = []
        self.a.recorder.read = lambda oid, offset, size, done: (
            waiting.append(done))
        count = limits.CONNECTION_INFLIGHT_MAX + 5
        requests = b''.join(native_client.pack_read(n, oid, 0, 8)[0]
                            for n in range(count))
        connection.feed(requests)
        self.assertEqual(len(waiting), count)
        self.assertEqual(connection.pauses, 1)
        for done in waiting[:count // 2]:
            done(None, bytes(8))
        self.assertEqual(connection.pauses, 1)
        for done in waiting[count // 2:]:
            done(None, bytes(8))
        self.assertEqual(connection.pauses, 0)
        self.assertEqual(connection.session.inflight, 0)
        self.assertEqual(len(connection.public()), count)

    async def read_much(self, answer):
        """20 requests for 1 MiB each, and the connection for them."""
        oid = ids.vdi_oid(await self.create('vm'))
        self.a.recorder.read = answer
        return self.connect(), b''.join(
            native_client.pack_read(n, oid, 0, 1 << 20)[0] for n in range(20))

    async def test_too_many_bytes_pause_it(self):
        waiting = []
        connection, requests = await self.read_much(
            lambda oid, offset, size, done: waiting.append(done))
        most = limits.CONNECTION_INFLIGHT_MAX_BYTES >> 20
        while connection.pauses == 0:
            used = connection.feed(requests)
            self.assertEqual(used, len(requests) // 20 * (
                limits.CONNECTION_TURN_BYTES >> 20))
            await asyncio.sleep(0)
        self.assertEqual(len(waiting), most)
        for done in waiting:
            self.assertEqual(connection.pauses,
                             connection.session.inflight > most // 2)
            done(None, bytes(1 << 20))
        self.assertEqual(connection.session.inflight_bytes, 0)

    async def test_no_more_in_a_turn_than_may_be(self):
        sizes = []

        def answer(oid, offset, size, done):
            sizes.append(size)
            done(None, bytes(size))

        connection, requests = await self.read_much(answer)
        connection.feed(requests)
        self.assertEqual(sum(sizes), limits.CONNECTION_TURN_BYTES)
        self.assertEqual(connection.pauses, 1)
        await asyncio.sleep(0)
        self.assertEqual(connection.pauses, 0)

    async def test_not_open_yet(self):
        self.port.is_open = False
        self.assertTrue(self.connect().is_closed)

    async def test_the_end(self):
        connections = [self.connect() for _ in range(2)]
        connections[0].session.disconnected(None)
        self.port.abort_all()
        self.assertEqual([c.is_closed for c in connections], [False, True])

    def restrict(self, **settings):
        self.a.server.access.settings = access.AccessSettings(**settings)

    def connect_from(self, host):
        session = self.port._session()
        connection = native_case.Connection(session)
        connection.peer_host = host
        session.connected(connection)
        return connection

    async def test_native_clients_of_other_hosts(self):
        self.restrict(public_networks=networks.parse(['192.0.2.0/24']))
        for host in '127.0.0.1', '192.0.2.9':
            result, _, _ = await self.ask(
                self.connect_from(host),
                native_client.pack_get_cluster_default(1))
            self.assertEqual(result, 0)
        with self.assertLogs(access.LOG, 'WARNING') as logs:
            for request in (native_client.pack_get_cluster_default(1),
                            native_client.pack_del_vdi(1, 'vm'),
                            wire.pack_request(wire.ADMIN, 0, 0, 1),
                            # A HELLO without end is none.
                            wire.pack_request(
                                wire.HELLO, 0, 0, 1,
                                payload=bytes(limits.HELLO_MAX_BYTES + 1))):
                connection = self.connect_from('198.51.100.1')
                connection.feed(*request)
                (fields, _), = connection.public()
                self.assertNotEqual(fields[native.RESULT], 0)
                self.assertTrue(connection.is_closed)
        self.assertEqual(len(logs.output), 1)
        self.assertIn('198.51.100.1', logs.output[0])
        self.assertEqual(self.a.server.access.refused_public, 4)

    async def test_a_tool_of_another_host_needs_the_key(self):
        ring = keys.Keyring((keys.Key('0000000a', b'k' * 32),))
        self.restrict(keys=access.StaticKeys(ring))
        connection = self.connect_from('198.51.100.1')
        with self.assertLogs(access.LOG, 'WARNING') as logs:
            result, answer = self.hello(connection)
        self.assertEqual(result, errors.AccessRefused.result)
        self.assertIn('198.51.100.1', logs.output[0])
        self.assertTrue(connection.is_closed)
        client = hello.ClientHello('tool', keyring=ring, nonce=b'n' * 32)
        connection = self.connect_from('198.51.100.1')
        payload = client.opening
        while payload is not None:
            connection.feed(*wire.pack_request(wire.HELLO, 0, 0, 7,
                                               payload=payload))
            (fields, answer), = connection.frames()
            self.assertEqual(fields[8], 0, answer)
            payload = client.take(answer)
        self.assertIsNotNone(client.seals)

    async def test_strangers_are_not_waited_for(self):
        self.restrict()
        with mock.patch.object(port_module, 'GREET_SECONDS', 0.05), (
                self.assertLogs(access.LOG, 'WARNING')) as logs:
            patient = self.connect_from('127.0.0.1')
            silent = self.connect_from('198.51.100.1')
            slow = self.connect_from('198.51.100.1')
            slow.feed(wire.pack_request(wire.HELLO, 0, 0, 1)[0][:40])
            await flock.until(lambda: silent.is_closed and slow.is_closed)
        self.assertIn('198.51.100.1', logs.output[0])
        self.assertFalse(patient.is_closed)

    async def test_who_has_proved_himself_may_be_silent(self):
        self.restrict(allow_unauthenticated=True)
        with mock.patch.object(port_module, 'GREET_SECONDS', 0.05):
            connection = self.connect_from('198.51.100.1')
            self.assertEqual(self.hello(connection)[0], 0)
            await asyncio.sleep(0.1)
        self.assertFalse(connection.is_closed)

    async def test_nothing_else_between_the_rounds(self):
        ring = keys.Keyring((keys.Key('0000000a', b'k' * 32),))
        self.restrict(keys=access.StaticKeys(ring))
        for request in (wire.pack_request(wire.ADMIN, 0, 0, 1, payload=b'{}'),
                        native_client.pack_get_cluster_default(1)):
            client = hello.ClientHello('tool', keyring=ring, nonce=b'n' * 32)
            connection = self.connect()
            connection.feed(*wire.pack_request(wire.HELLO, 0, 0, 7,
                                               payload=client.opening))
            connection.frames()
            connection.feed(*request)
            (fields, _), = connection.public()
            self.assertNotEqual(fields[native.RESULT], 0)
            self.assertTrue(connection.is_closed)

    async def test_listens_at_all_or_none(self):
        asked, closed = [], []

        class Listener:
            async def close(self):
                closed.append(self)

        class Network:
            async def listen(self, factory, **where):
                asked.append(where)
                if 'path' in where:
                    raise OSError('in use')
                return Listener()

        self.port.world = type('World', (), {'network': Network()})()
        with self.assertRaises(OSError):
            await self.port.listen('h', 1, '/s', 'd', 2)
        self.assertEqual(asked, [{'host': 'h', 'port': 1},
                                 {'host': 'd', 'port': 2},
                                 {'path': '/s', 'mode': 0o600}])
        self.assertEqual(len(closed), 2)
        await asyncio.sleep(0)
