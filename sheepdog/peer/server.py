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

"""The server's side of a cluster connection.

The native face owns the port; when HELLO arrives on one of its connections
it lets a ``ClusterSession`` take over. Handlers are registered by opcode:
the replica's by this room, those of higher rooms (ordering gateways, tools)
by ``cmd/wiring.py``. A handler is called with a ``Request`` and answers it
once, now or later.
"""

import asyncio
import logging

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)


class Request:
    """One request under way: what was asked, and how to answer.

    It is itself the callback of the straight way: ``request(error)``
    answers a write, ``request(error, data)`` a read.
    """

    __slots__ = ('session', 'opcode', 'flags', 'epoch', 'id', 'oid', 'token',
                 'offset', 'aux', 'payload')

    def __init__(self, session, opcode, flags, epoch, request_id, oid, token,
                 offset, aux, payload):
        self.session = session
        self.opcode = opcode
        self.flags = flags
        self.epoch = epoch
        self.id = request_id
        self.oid = oid
        self.token = token
        self.offset = offset
        self.aux = aux
        self.payload = payload

    def __call__(self, error, payload=b'', value=0, aux=0):
        session = self.session
        session.inflight -= 1
        if session.is_throttled:
            session.relieve()
        connection = session.connection
        if error is not None:
            connection.send(*wire.pack_response(
                self.opcode, session.epoch(), self.id,
                getattr(error, 'result', errors.UnknownError.result),
                self.oid, value, aux, tag=session.tag,
                payload=wire.pack_json({'error': str(error)})))
        elif payload:
            connection.send(
                wire.HEADER.pack(
                    wire.VERSION, self.opcode, 0, session.epoch(), self.id,
                    len(payload), self.oid, value, 0, aux, crc32c(payload),
                    session.tag),
                payload)
        else:
            connection.send(
                wire.HEADER.pack(
                    wire.VERSION, self.opcode, 0, session.epoch(), self.id,
                    0, self.oid, value, 0, aux, 0, session.tag))

    def answer_json(self, message):
        self(None, wire.pack_json(message))


class ClusterSession:
    """Takes whole frames off one cluster connection."""

    __slots__ = ('server', 'connection', 'role', 'incarnation', 'tag',
                 'handlers', 'epoch', 'inflight', 'is_throttled',
                 'room_bytes', 'is_open', 'on_close')

    def __init__(self, server, connection, role, incarnation, tag):
        self.server = server
        self.connection = connection
        self.role = role
        self.incarnation = incarnation
        self.tag = tag
        self.handlers = server.handlers
        self.epoch = server.epoch
        self.inflight = 0
        self.is_throttled = False
        self.room_bytes = 0
        self.is_open = True
        self.on_close = []

    def received(self, buffer, start, end):
        unpack = wire.HEADER.unpack_from
        handlers = self.handlers
        self.room_bytes = 0
        while end - start >= wire.HEADER_BYTES:
            (version, opcode, flags, epoch, request_id, length, oid, token,
             offset, aux, crc, tag) = unpack(buffer, start)
            if version != wire.VERSION or tag != self.tag:
                raise errors.CorruptFrame('a frame is not of this connection')
            body = start + wire.HEADER_BYTES
            payload = b''
            if length:
                if body + length > end:
                    wire.check_length(length)
                    self.room_bytes = wire.HEADER_BYTES + length
                    break
                payload = bytes(memoryview(buffer)[body:body + length])
                if crc32c(payload) != crc:
                    raise errors.CorruptFrame('a frame was damaged')
                body += length
            start = body
            self.inflight += 1
            request = Request(self, opcode, flags, epoch, request_id, oid,
                              token, offset, aux, payload)
            handler = handlers.get(opcode)
            if handler is None:
                request(errors.InvalidParameters('unknown opcode 0x%02x'
                                                 % opcode))
            else:
                handler(request)
        if (self.inflight > limits.CONNECTION_INFLIGHT_MAX * 4
                and not self.is_throttled):
            self.is_throttled = True
            self.connection.pause_reading()
        return start

    def relieve(self):
        if self.inflight < limits.CONNECTION_INFLIGHT_MAX * 2:
            self.is_throttled = False
            self.connection.resume_reading()

    def disconnected(self, error):
        self.is_open = False
        self.server.forget(self)
        for function in self.on_close:
            function()


class Server:
    """All cluster connections that came in.

    :param cluster: for incarnation, epoch, and messages
    """

    def __init__(self, world, cluster):
        self.world = world
        self.cluster = cluster
        self.handlers = {wire.MESSAGE: self._on_message,
                         wire.PING: lambda request: request(None)}
        self._sessions = {}
        self._next_tag = 0

    def register(self, handlers):
        """Add handlers by opcode."""
        for opcode in handlers:
            assert opcode not in self.handlers, hex(opcode)
        self.handlers.update(handlers)

    def epoch(self):
        view = self.cluster.view
        return view.epoch if view else 0

    def greet(self, connection, hello):
        """Judge the payload of HELLO; returns ``(session, response)``.

        :raises SheepdogError: not welcome; the caller answers and closes
        """
        protocol = hello.get('protocol')
        if protocol != wire.VERSION:
            raise errors.VersionMismatch(
                'this sheep speaks version 0x%02x of the peer protocol, '
                'not %r' % (wire.VERSION, protocol))
        role = hello.get('role')
        if role not in ('peer', 'tool'):
            raise errors.InvalidParameters('unknown role %r' % (role,))
        ours = self.cluster.incarnation
        if role == 'peer' and hello.get('for') != ours:
            raise errors.NotServing('this is %s' % ours)
        self._next_tag += 1
        tag = ((self._next_tag & 0xFFFF) << 16
               | self.world.random.randrange(0xFFFF) + 1)
        session = ClusterSession(self, connection, role,
                                 str(hello.get('incarnation', '')), tag)
        self._sessions[tag] = session
        return session, wire.Hello.response(ours, tag)

    def forget(self, session):
        self._sessions.pop(session.tag, None)

    def drop_peers(self):
        """Our identity has died: connections meant for it are void."""
        for session in list(self._sessions.values()):
            if session.role == 'peer':
                session.connection.abort()

    def drop_all(self):
        for session in list(self._sessions.values()):
            session.connection.abort()

    @property
    def inflight(self):
        return sum(s.inflight for s in self._sessions.values())

    def roles(self):
        """How many connections there are of each role."""
        found = {}
        for session in self._sessions.values():
            found[session.role] = found.get(session.role, 0) + 1
        return found

    def _on_message(self, request):
        if request.session.role != 'peer':
            request(errors.InvalidParameters('messages are for sheep'))
            return
        self.world.spawn(self._deliver(request), 'cluster message')

    async def _deliver(self, request):
        try:
            answer = await self.cluster.handle(
                request.session.incarnation,
                wire.unpack_json(request.payload))
        except errors.SheepdogError as exc:
            request(exc)
        except asyncio.CancelledError:
            request(errors.NotServing('stopping'))
            raise
        else:
            request.answer_json(answer)
