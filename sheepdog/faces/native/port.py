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

"""One TCP port and one unix socket for all who speak in 48-byte headers.

A connection starts out public: the public opcodes (if they are taken from
where it comes from) and HELLO are all that it may say. After a HELLO that was
accepted it is a cluster connection.
"""

import asyncio
import logging

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.wire import native
from sheepdog.wire import peer as wire
from sheepdog.world import api
from sheepdog.world import crowd
from sheepdog.world import refusals

LOG = logging.getLogger(__name__)

INFLIGHT_MAX = limits.CONNECTION_INFLIGHT_MAX
INFLIGHT_RESUME = INFLIGHT_MAX // 2
INFLIGHT_MAX_BYTES = limits.CONNECTION_INFLIGHT_MAX_BYTES
TURN_BYTES = limits.CONNECTION_TURN_BYTES
INFLIGHT_RESUME_BYTES = INFLIGHT_MAX_BYTES // 2
GREET_SECONDS = 10.0
"""How long one may take to prove himself whom nothing else is taken of."""
TOO_MANY = errors.SystemFailure('too many connections')
NOT_PUBLIC = errors.InvalidParameters('not for a public connection')
NOT_TAKEN = errors.AccessRefused('no native client is taken from there')


class Port:
    """:param public_face: ``public.Public``; ``server``: the peer room's,
        which also knows whom public connections are taken from

    ``is_open``: before it is set, connections are accepted and dropped.
    """

    def __init__(self, world, public_face, server):
        self.world = world
        self.public_face = public_face
        self.server = server
        self.sessions = {}
        self.is_open = False
        self.places = crowd.Places(limits.PUBLIC_CONNECTIONS_MAX,
                                   limits.PUBLIC_CONNECTIONS_PER_HOST_MAX)
        self._refusals = refusals.Refusals(world.clock, LOG)
        self._listeners = []

    async def listen(self, host, port, socket_path, data_host='',
                     data_port=0, socket_mode=0o600):
        """:raises OSError: an address cannot be had; none is then held"""
        network = self.world.network
        access = self.server.access
        how = {} if access.tls is None else {'tls': access.tls}
        try:
            self._listeners.append(await network.listen(
                self._session, host=host, port=port, **how))
            if data_host:
                self._listeners.append(await network.listen(
                    self._session, host=data_host, port=data_port,
                    **how))
            if socket_path:
                self._listeners.append(await network.listen(
                    self._session, path=socket_path, mode=socket_mode))
        except OSError:
            await self.close()
            raise

    async def close(self):
        """Accept no more connections."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            await listener.close()

    def abort_all(self):
        for session in list(self.sessions):
            session.connection.abort()

    def find_place(self, connection) -> bool:
        """Whether there is one for another native client."""
        reason = self.places.take(connection)
        if reason:
            self._refusals.note(connection.peer_host, 'a native client '
                                'too many: %s' % reason)
        return not reason

    def _session(self):
        return Session(self)


class Session:
    """One connection; see ``world.api.Session``."""

    def __init__(self, port):
        self.port = port
        self.connection = None
        self.room_bytes = 0
        self.inflight = 0
        self.inflight_bytes = 0
        self.is_throttled = False
        self.used = {}
        self._is_public = False
        self._greeting = None
        self._has_place = False
        self._cluster_session = None
        self._timer = None

    def connected(self, connection):
        self.connection = connection
        self.port.sessions[self] = None
        self._is_public = self.port.server.access.may_be_public(connection)
        if not self.port.is_open:
            connection.abort()
        elif not self._is_public:
            self._timer = asyncio.get_running_loop().call_later(
                GREET_SECONDS, self._on_silence)

    def _on_silence(self):
        self.port.server.access.refuse_cluster(
            self.connection, 'no HELLO within %d seconds' % GREET_SECONDS)
        self.connection.abort()

    def _stop_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def disconnected(self, error):
        self._stop_timer()
        self.port.sessions.pop(self, None)
        if isinstance(error, api.TlsFailed):
            self.port.server.access.refuse_cluster(self.connection, error)
        self.port.places.give_back(self.connection)
        if self._cluster_session is not None:
            self._cluster_session.disconnected(error)
        self.port.public_face.forget(self)

    def received(self, buffer, start, end):
        session = self._cluster_session
        if session is not None:
            used = session.received(buffer, start, end)
            self.room_bytes = session.room_bytes
            return used
        if not self._is_public or self._greeting is not None:
            if not self._is_hello(buffer, start, end):
                return end
        try:
            requests, used, self.room_bytes = native.split_requests(
                buffer, start, end, TURN_BYTES)
        except native.Unframeable as exc:
            raise errors.InvalidParameters(
                '%s: %s' % (self.connection.peername, exc)) from None
        handle = self.port.public_face.handle
        for fields, payload in requests:
            opcode = fields[native.OPCODE]
            if opcode == wire.HELLO:
                # Whatever came behind it is a cluster connection's: a
                # client waits for the answer before it goes on.
                self._greet(fields, payload)
                return used
            if not self._has_place:
                # Sheep and tools have said HELLO before: they need none.
                if not self.port.find_place(self.connection):
                    self.connection.send(native.pack_error(fields, TOO_MANY))
                    self.connection.close()
                    return end
                self._has_place = True
            self.inflight += 1
            self.inflight_bytes += fields[native.DATA_LENGTH]
            if opcode > native.PUBLIC_MAX:
                self.answer(fields, native.pack_error(fields, NOT_PUBLIC))
            else:
                handle(self, fields, payload)
        if not self.is_throttled:
            if (self.inflight > INFLIGHT_MAX
                    or self.inflight_bytes >= INFLIGHT_MAX_BYTES):
                self.is_throttled = True
                self.connection.pause_reading()
            elif end - used >= native.HEADER_BYTES and not self.room_bytes:
                # More than one turn's worth was asked for. Should these
                # answers pile up, the world keeps it paused.
                self.connection.pause_reading()
                asyncio.get_running_loop().call_soon(
                    self.connection.resume_reading)
        return used

    def answer(self, fields, *buffers):
        """Answer the request of these fields: one less under way."""
        self.inflight -= 1
        self.inflight_bytes -= fields[native.DATA_LENGTH]
        if (self.is_throttled and self.inflight < INFLIGHT_RESUME
                and self.inflight_bytes <= INFLIGHT_RESUME_BYTES):
            self.is_throttled = False
            self.connection.resume_reading()
        self.connection.send(*buffers)

    def _is_hello(self, buffer, start, end) -> bool:
        """Nothing else may come, and a short one; else say so and close."""
        if end - start < native.HEADER_BYTES:
            return True
        fields = native.REQUEST.unpack_from(buffer, start)
        if (fields[native.OPCODE] == wire.HELLO and
                fields[native.DATA_LENGTH] <= limits.HELLO_MAX_BYTES):
            return True
        self.connection.send(native.pack_error(fields, NOT_TAKEN))
        self.connection.close()
        if self._greeting is None:
            self.port.server.access.refuse_public(self.connection)
        return False

    def _greet(self, fields, payload):
        request_id = fields[native.ID]
        server = self.port.server
        if self._greeting is None:
            self._greeting = server.greeting(self.connection)
        try:
            response = self._greeting.take(payload)
        except errors.SheepdogError as exc:
            LOG.debug('HELLO of %s refused: %s', self.connection.peername,
                      exc)
            self.connection.send(*wire.pack_response(
                wire.HELLO, server.epoch(), request_id, exc.result,
                payload=wire.pack_json({'error': str(exc)})))
            self.connection.close()
            return
        self.connection.send(*wire.pack_response(
            wire.HELLO, server.epoch(), request_id, errors.SUCCESS,
            payload=response))
        self._cluster_session = self._greeting.session
        if self._cluster_session is not None:
            self._stop_timer()
