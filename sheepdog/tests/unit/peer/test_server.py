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


from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.peer import server as server_module
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.wire import peer as wire


class Cluster:
    incarnation = 'n1.1'
    view = None

    def __init__(self):
        self.messages = []

    async def handle(self, sender, message):
        self.messages.append((sender, message))
        if message.get('kind') == 'bad':
            raise errors.InvalidParameters('bad')
        return {'sender': sender}


class Connection:
    """What the server sends, by request id: (fields, payload)."""

    is_local = False
    is_encrypted = False
    peer_uid = None
    peer_host = peername = '10.0.0.2'

    def __init__(self):
        self.answers = {}
        self.order = []
        self.pauses = 0
        self.is_aborted = False

    def send(self, *buffers):
        data = b''.join(buffers)
        while data:
            fields = wire.HEADER.unpack_from(data)
            end = wire.HEADER_BYTES + fields[5]
            self.answers[fields[4]] = fields, data[wire.HEADER_BYTES:end]
            self.order.append(fields[4])
            data = data[end:]

    def pause_reading(self):
        self.pauses += 1

    def resume_reading(self):
        self.pauses -= 1

    def abort(self):
        self.is_aborted = True


class ServerCase(jumping.Case):

    async def asyncSetUp(self):
        self.world = flock.World('10.0.0.1', flock.Fabric())
        self.cluster = Cluster()
        self.server = server_module.Server(
            self.world, self.cluster, flock.open_access(self.world))
        self.requests = []
        self.server.register({wire.READ: self.requests.append,
                              wire.WRITE: self.requests.append})
        self.connection = Connection()
        self.session, answer = self.greet(self.connection)
        self.tag = wire.unpack_json(answer)['tag']

    def greet(self, connection, **changes):
        hello = {'protocol': wire.VERSION, 'role': 'peer',
                 'incarnation': 'n2.1', 'for': 'n1.1'}
        hello.update(changes)
        greeting = self.server.greeting(connection)
        answer = greeting.take(wire.pack_json(hello))
        return greeting.session, answer

    def frame(self, request_id=1, opcode=wire.READ, payload=b'', tag=None,
              oid=5):
        return b''.join(wire.pack_request(
            opcode, 0, 3, request_id, oid, 7, 8, 9, payload,
            self.tag if tag is None else tag))

    def receive(self, data):
        buffer = bytearray(b'xx' + data + b'xx')
        used = self.session.received(buffer, 2, 2 + len(data)) - 2
        # The session must have copied what it keeps.
        buffer[:] = b'\xa5' * len(buffer)
        return used


class TestGreeting(ServerCase):

    async def test_a_later_connection_takes_the_place_of_an_earlier(self):
        """What the earlier one has not brought yet was sent again."""
        self.receive(self.frame())
        self.greet(Connection(), lane='control')
        self.greet(Connection(), incarnation='n3.1')
        self.greet(Connection(), role='tool')
        self.assertFalse(self.connection.is_aborted)
        self.assertFalse(self.requests[0].is_void)
        session, _ = self.greet(Connection())
        self.assertTrue(self.connection.is_aborted)
        self.assertTrue(self.requests[0].is_void)
        self.assertTrue(session.is_open)

    async def test_what_it_says(self):
        session, answer = self.greet(Connection())
        answer = wire.unpack_json(answer)
        self.assertEqual(answer['incarnation'], 'n1.1')
        self.assertEqual(answer['tag'], session.tag)
        self.assertNotEqual(session.tag, self.tag)

    async def test_who_is_not_welcome(self):
        for error, changes in (
                (errors.VersionMismatch, {'protocol': wire.VERSION + 1}),
                (errors.VersionMismatch, {'protocol': None}),
                (errors.InvalidParameters, {'role': 'king'}),
                (errors.NotServing, {'for': 'n1.0'}),
                (errors.NotServing, {'for': ''})):
            with self.subTest(changes), self.assertRaises(error):
                self.greet(Connection(), **changes)

    async def test_tools_need_not_know_whom_they_ask(self):
        session, _ = self.greet(Connection(), role='tool', **{'for': ''})
        self.assertEqual(session.role, 'tool')

    async def test_handlers_are_registered_once(self):
        with self.assertRaises(AssertionError):
            self.server.register({wire.READ: None})


class TestFrames(ServerCase):

    async def test_a_request_and_its_answers(self):
        self.assertEqual(self.receive(self.frame(4, payload=b'data')), 52)
        request, = self.requests
        self.assertEqual(
            (request.opcode, request.epoch, request.id, request.oid,
             request.token, request.offset, request.aux, request.payload),
            (wire.READ, 3, 4, 5, 7, 8, 9, b'data'))
        request(None, b'answer', 6, 7)
        fields, payload = self.connection.answers[4]
        self.assertEqual(payload, b'answer')
        self.assertEqual(
            (fields[1], fields[6], fields[7], fields[8], fields[9],
             fields[10], fields[11]),
            (wire.READ, 5, 6, 0, 7, crc32c(b'answer'), self.tag))

    async def test_errors_are_typed_and_explained(self):
        self.receive(self.frame(4))
        self.requests[0](errors.NoSpace('full'))
        fields, payload = self.connection.answers[4]
        self.assertEqual(fields[8], errors.NoSpace.result)
        self.assertEqual(wire.unpack_json(payload), {'error': 'full'})

    async def test_answers_in_any_order(self):
        self.receive(self.frame(1) + self.frame(2) + self.frame(3))
        for number in (2, 0, 1):
            self.requests[number](None)
        self.assertEqual(self.connection.order, [3, 1, 2])
        self.assertEqual(self.server.inflight, 0)

    async def test_pieces(self):
        data = self.frame(1, payload=b'abc') + self.frame(2)
        whole = self.frame(1, payload=b'abc')
        for length in range(len(whole)):
            self.assertEqual(self.receive(data[:length]), 0)
            if length >= wire.HEADER_BYTES:
                self.assertEqual(self.session.room_bytes, len(whole))
        self.assertEqual(self.receive(data[:-1]), len(whole))
        self.assertEqual(len(self.requests), 1)

    async def test_unknown_opcodes(self):
        self.receive(self.frame(1, 0xEE))
        self.assertEqual(self.connection.answers[1][0][8],
                         errors.InvalidParameters.result)

    async def test_ping(self):
        self.receive(self.frame(1, wire.PING))
        self.assertEqual(self.connection.answers[1][0][8], 0)

    async def test_frames_of_another_connection(self):
        with self.assertRaises(errors.CorruptFrame):
            self.receive(self.frame(tag=self.tag + 1))
        with self.assertRaises(errors.CorruptFrame):
            self.receive(b'\x01' + self.frame()[1:])
        self.assertEqual(self.requests, [])

    async def test_damaged_frames(self):
        frame = bytearray(self.frame(payload=b'payload'))
        frame[-1] ^= 1
        with self.assertRaises(errors.CorruptFrame):
            self.receive(bytes(frame))
        self.assertEqual(self.requests, [])

    async def test_endless_frames(self):
        frame = bytearray(self.frame(payload=b'payload'))
        frame[12:16] = (limits.CLUSTER_MESSAGE_MAX_BYTES + 1).to_bytes(
            4, 'little')
        with self.assertRaises(errors.InvalidParameters):
            self.receive(bytes(frame))

    async def test_too_many_at_once(self):
        most = limits.CONNECTION_INFLIGHT_MAX * 4
        for request_id in range(most + 1):
            self.receive(self.frame(request_id))
        self.assertEqual(self.connection.pauses, 1)
        for request in self.requests:
            request(None)
        self.assertEqual(self.connection.pauses, 0)
        self.assertEqual(self.session.inflight, 0)


class TestSessions(ServerCase):

    async def message(self, message, role='peer'):
        self.session, answer = self.greet(self.connection, role=role)
        self.tag = self.session.tag
        self.receive(self.frame(1, wire.MESSAGE, wire.pack_json(message)))
        await flock.until(lambda: self.connection.answers)
        return self.connection.answers[1]

    async def test_messages_reach_the_cluster(self):
        _, payload = await self.message({'kind': 'good'})
        self.assertEqual(wire.unpack_json(payload), {'sender': 'n2.1'})

    async def test_errors_of_the_cluster(self):
        fields, _ = await self.message({'kind': 'bad'})
        self.assertEqual(fields[8], errors.InvalidParameters.result)

    async def test_messages_are_for_sheep(self):
        fields, _ = await self.message({'kind': 'good'}, 'tool')
        self.assertEqual(fields[8], errors.InvalidParameters.result)
        self.assertEqual(self.cluster.messages, [])

    async def test_what_is_not_json(self):
        self.receive(self.frame(1, wire.MESSAGE, b'{'))
        await flock.until(lambda: self.connection.answers)
        self.assertEqual(self.connection.answers[1][0][8],
                         errors.InvalidParameters.result)

    async def test_the_end_of_a_connection(self):
        ended = []
        self.session.on_close.append(lambda: ended.append(True))
        self.receive(self.frame(1))
        self.session.disconnected(None)
        self.assertEqual(ended, [True])
        self.assertFalse(self.session.is_open)
        self.requests[0](None)
        self.assertEqual(self.server.inflight, 0)

    async def test_who_is_dropped(self):
        tool = Connection()
        self.greet(tool, role='tool')
        self.server.drop_peers()
        self.assertTrue(self.connection.is_aborted)
        self.assertFalse(tool.is_aborted)
