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
it asks a ``Greeting`` what to answer, and at its end lets a ``ClusterSession``
take over. Handlers are registered by opcode and role: the replica's by this
room, those of higher rooms (ordering gateways, tools) by ``cmd/wiring.py``. A
handler is called with a ``Request`` and answers it once, now or later.
"""

import asyncio
import logging

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.peer import access as access_module
from sheepdog.wire import hello as hello_module
from sheepdog.wire import peer as wire
from sheepdog.wire import seal as seal_module

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

    @property
    def is_void(self):
        """Its connection is over: who asked may have asked again by
        another, and for more behind it."""
        return not self.session.is_open

    def __call__(self, error, payload=b'', value=0, aux=0):
        session = self.session
        session.inflight -= 1
        if session.is_throttled:
            session.relieve()
        result = 0
        if error is not None:
            result = getattr(error, 'result', errors.UnknownError.result)
            payload = wire.pack_json({'error': str(error)})
        seal = session.seal
        head = wire.HEADER.pack(
            wire.VERSION, self.opcode, 0, session.epoch(), self.id,
            len(payload), self.oid, value, result, aux,
            crc32c(payload) if payload and seal is None else 0, session.tag)
        if seal is not None:
            head = seal(head, payload)
        if payload:
            session.connection.send(head, payload)
        else:
            session.connection.send(head)

    def answer_json(self, message):
        self(None, wire.pack_json(message))


class ClusterSession:
    """Takes whole frames off one cluster connection."""

    __slots__ = ('server', 'connection', 'role', 'incarnation', 'lane', 'tag',
                 'key_id', 'seal', 'handlers', 'epoch', 'inflight',
                 'is_throttled', 'room_bytes', 'is_open', 'on_close',
                 '_check')

    def __init__(self, server, connection, hello, tag):
        """``hello``: ``wire.hello.ServerHello``, at its end."""
        self.server = server
        self.connection = connection
        self.role = hello.role
        self.incarnation = hello.incarnation
        self.lane = hello.lane
        self.tag = tag
        self.key_id = hello.key_id
        self.seal = self._check = None
        if hello.seals is not None and access_module.needs_seal(connection):
            ours, theirs = hello.seals
            self.seal = seal_module.sealer(ours)
            self._check = seal_module.opener(theirs)
        self.handlers = server.handlers_of(hello.role)
        self.epoch = server.epoch
        self.inflight = 0
        self.is_throttled = False
        self.room_bytes = 0
        self.is_open = True
        self.on_close = []

    def received(self, buffer, start, end):
        unpack = wire.HEADER.unpack_from
        handlers = self.handlers
        check = self._check
        head_bytes = (wire.HEADER_BYTES if check is None
                      else seal_module.HEAD_BYTES)
        self.room_bytes = 0
        while end - start >= head_bytes:
            (version, opcode, flags, epoch, request_id, length, oid, token,
             offset, aux, crc, tag) = unpack(buffer, start)
            if version != wire.VERSION or tag != self.tag:
                raise errors.CorruptFrame('a frame is not of this connection')
            body = start + head_bytes
            payload = b''
            if length:
                if body + length > end:
                    wire.check_length(length)
                    self.room_bytes = head_bytes + length
                    break
                payload = bytes(memoryview(buffer)[body:body + length])
                if check is None and crc32c(payload) != crc:
                    raise errors.CorruptFrame('a frame was damaged')
                body += length
            if check is not None:
                check(buffer, start, payload)
            start = body
            self.inflight += 1
            request = Request(self, opcode, flags, epoch, request_id, oid,
                              token, offset, aux, payload)
            handler = handlers.get(opcode)
            if handler is None:
                request(errors.InvalidParameters(
                    'opcode 0x%02x is unknown, or not for a %s'
                    % (opcode, self.role)))
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


class Greeting:
    """One HELLO that came in, of one round or two.

    :ivar session: the ``ClusterSession``, at its end
    """

    def __init__(self, server, connection):
        self.session = None
        self._server = server
        self._connection = connection
        self._hello = None

    def take(self, payload) -> bytes:
        """A payload of HELLO; returns that of the answer.

        :raises SheepdogError: not welcome; the caller answers and closes
        """
        try:
            return self._take(payload)
        except (errors.AccessRefused, errors.InvalidParameters) as exc:
            self._server.access.refuse_cluster(self._connection, exc)
            raise

    def _take(self, payload):
        server, access = self._server, self._server.access
        if self._hello is not None:
            tag = server.new_tag()
            answer = self._hello.check(payload, tag)
        else:
            self._hello = hello = hello_module.ServerHello(
                server.cluster.incarnation,
                access_module.binding_of(self._connection, True))
            hello.open(payload)
            access.check_encrypted(self._connection)
            keyring = access.keyring()
            is_due = access.is_proof_due(self._connection, hello.role)
            if is_due and self._connection.is_local and (
                    not hello.offers_proof):
                raise errors.AccessRefused(
                    '%s; user %s is none of [security] trusted_uids' % (
                        hello_module.NO_KEY, self._connection.peer_uid))
            if keyring is not None and (hello.offers_proof or is_due):
                return hello.challenge(keyring, server.world.random.token(
                    hello_module.NONCE_BYTES))
            if is_due:
                raise errors.AccessRefused(
                    'this sheep has no cluster key, and takes cluster '
                    'connections from its own machine only')
            tag = server.new_tag()
            answer = hello.welcome(tag)
        self.session = server.begin(self._connection, self._hello, tag)
        return answer


class Server:
    """All cluster connections that came in.

    :param cluster: for incarnation, epoch, and messages
    :param access: ``access.Access``, who may connect
    """

    def __init__(self, world, cluster, access):
        self.world = world
        self.cluster = cluster
        self.access = access
        self._handlers = {role: {} for role in hello_module.ROLES}
        self._sessions = {}
        self._next_tag = 0
        self.register({wire.PING: lambda request: request(None)})
        self.register({wire.MESSAGE: self._on_message}, roles=('peer',))

    def register(self, handlers, roles=hello_module.ROLES):
        """Add handlers by opcode, for connections in these roles."""
        for role in roles:
            for opcode in handlers:
                assert opcode not in self._handlers[role], hex(opcode)
            self._handlers[role].update(handlers)

    def handlers_of(self, role: str) -> dict:
        return self._handlers[role]

    def epoch(self):
        view = self.cluster.view
        return view.epoch if view else 0

    def greeting(self, connection) -> Greeting:
        return Greeting(self, connection)

    def new_tag(self) -> int:
        self._next_tag += 1
        return ((self._next_tag & 0xFFFF) << 16
                | self.world.random.randrange(0xFFFF) + 1)

    def begin(self, connection, hello, tag) -> ClusterSession:
        """A HELLO has come to its end."""
        session = ClusterSession(self, connection, hello, tag)
        if session.role == 'peer':
            self._supersede(session)
        self._sessions[tag] = session
        return session

    def _supersede(self, session):
        """Whatever an earlier connection in the same lane has not brought
        yet must not come after what is sent again over this one."""
        for other in list(self._sessions.values()):
            if (other.role == 'peer' and other.lane == session.lane
                    and other.incarnation == session.incarnation):
                other.is_open = False
                other.connection.abort()

    def forget(self, session):
        self._sessions.pop(session.tag, None)

    def drop_peers(self):
        """Our identity has died: connections meant for it are void."""
        for session in list(self._sessions.values()):
            if session.role == 'peer':
                session.connection.abort()

    def drop_keys_but(self, key_ids):
        """All other keys are void, and what was proved with them."""
        for session in list(self._sessions.values()):
            if session.key_id and session.key_id not in key_ids:
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
        except AssertionError:
            raise
        except Exception as exc:
            # Whoever asked would wait for ever.
            LOG.exception('a message of %s failed',
                          request.session.incarnation)
            request(errors.SystemFailure('%r: see the log of this sheep'
                                         % exc))
        else:
            request.answer_json(answer)
