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

"""What the tests of the native face share."""

from sheepdog.faces.native import admin
from sheepdog.faces.native import handles
from sheepdog.faces.native import port
from sheepdog.faces.native import public
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.wire import native
from sheepdog.wire import peer as wire


class Connection:
    """See ``api.Connection``; the test is the client."""

    peername = '127.0.0.1:1'
    peer_host = '127.0.0.1'
    peer_uid = None
    is_local = False
    is_encrypted = False

    def __init__(self, session):
        self.session = session
        self.sent = b''
        self.pauses = 0
        self.is_closed = False

    def send(self, *buffers):
        self.sent += b''.join(buffers)

    def pause_reading(self):
        self.pauses += 1

    def resume_reading(self):
        self.pauses -= 1

    def close(self):
        self.is_closed = True

    abort = close

    def feed(self, *buffers):
        data = bytearray(b''.join(buffers))
        return self.session.received(data, 0, len(data))

    def public(self):
        """(fields, payload) of the answers so far; they are taken."""
        answers, used, _ = native.split_responses(self.sent, 0,
                                                  len(self.sent))
        self.sent = self.sent[used:]
        return answers

    def frames(self):
        """(fields, payload) of cluster answers so far."""
        found = []
        while self.sent:
            fields = wire.HEADER.unpack_from(self.sent)
            end = wire.HEADER_BYTES + fields[5]
            found.append((fields, self.sent[wire.HEADER_BYTES:end]))
            self.sent = self.sent[end:]
        return found


class NativeCase(case.VolumeCase):
    """``sheep[0]`` also has the native face."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.a, self.b, self.c = self.sheep
        one = self.a
        self.handles = handles.Handles(one.world, one.volumes)
        self.admin = admin.Admin(one.world, one, self.handles)
        one.server.register(self.handles.handlers())
        one.server.register(self.admin.handlers())
        self.public = public.Public(one.world, one.cluster, one.recorder,
                                    one.catalogue, one.volumes, one.branching)
        self.port = port.Port(one.world, self.public, one.server)
        self.port.is_open = True

    def connect(self):
        session = self.port._session()
        connection = Connection(session)
        session.connected(connection)
        return connection

    async def ask(self, connection, buffers):
        """One public request: (result code, fields, payload)."""
        connection.feed(*buffers)
        await flock.until(lambda: len(connection.sent) >= 48)
        (fields, payload), = connection.public()
        return fields[native.RESULT], fields, payload

    def hello(self, connection, role='tool', **changes):
        message = {'protocol': wire.VERSION, 'role': role, **changes}
        connection.feed(*wire.pack_request(
            wire.HELLO, 0, 0, 7, payload=wire.pack_json(message)))
        (fields, payload), = connection.frames()
        return fields[8], wire.unpack_json(payload)

    def connect_tool(self):
        connection = self.connect()
        result, answer = self.hello(connection)
        self.assertEqual(result, 0)
        connection.tag = answer['tag']
        return connection

    async def call(self, connection, opcode, payload=b'', **fields):
        """One request of a tool: (result code, payload)."""
        connection.feed(*wire.pack_request(
            opcode, fields.pop('flags', 0), 0, 9, payload=payload,
            tag=connection.tag, **fields))
        await flock.until(lambda: connection.sent)
        (answer, payload), = connection.frames()
        return answer[8], payload

    async def method(self, connection, method, **arguments):
        """(result code, the message)."""
        result, payload = await self.call(
            connection, wire.ADMIN, wire.pack_json(
                {'method': method, 'arguments': arguments}))
        return result, wire.unpack_json(payload)
