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

"""Byte streams on the loop's transports: TCP and unix sockets.

Per connection there is one receive buffer, reused for ever: the transport
reads into it, the session looks at it in place. Output is gathered and
written once per turn of the loop. Both are bounded: the buffer follows what
the session says that it needs, and the accepting side reads no further
requests while its answers pile up. (The connecting side always reads: if
both ends waited for their output to drain, nobody would drain it.)
"""

import asyncio
import logging
import socket
import struct
from typing import Optional

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.world import api
from sheepdog.world import tls as tls_module
from sheepdog.world import tls_layer

LOG = logging.getLogger(__name__)

BUFFER_FIRST_BYTES = 4 << 10
"""Of a connection that came in, until it has filled it once: ten thousand
that say nothing cost 40 MiB."""
BUFFER_MIN_BYTES = 64 << 10
BUFFER_USUAL_BYTES = 256 << 10
"""A buffer grows this far when reads fill it, without being asked."""
BUFFER_MAX_BYTES = limits.CLUSTER_MESSAGE_MAX_BYTES + 4096
BUFFER_KEPT_SECONDS = 5.0
"""A buffer larger than usual goes when this long nothing needed it."""

OUTPUT_HIGH_BYTES = 1 << 20
OUTPUT_LOW_BYTES = 256 << 10
JOIN_MAX_BYTES = 1024
"""Answers up to this long are cheaper to join than to list for writev."""

CLOSE_SECONDS = 10.0
"""How long a peer may take to read the rest after we closed."""

_PEERCRED = struct.Struct('3i')


class StreamConnection(asyncio.BufferedProtocol):
    """One connection: the transport's protocol below, ``api.Connection``
    above. Made by ``network.StreamNetwork`` only."""

    __slots__ = ('peername', 'peer_host', 'peer_uid', 'is_local',
                 'is_encrypted', 'when_secured', '_session', '_transport',
                 '_turn', '_loop', '_is_server', '_buffer', '_view', '_start',
                 '_end', '_out', '_paused', '_is_output_full', '_is_closing',
                 '_error', '_shrink_timer', '_close_timer', '_was_large',
                 '_on_lost', '_scratch', '_tls', '_crowd', '_complain',
                 'half_since', '_is_silent')

    def __init__(self, session: api.Session, network,
                 is_server: bool, tls: Optional[tls_module.Tls]):
        self.peername = ''
        self.peer_host = ''
        self.peer_uid = None
        self.is_local = False
        self.is_encrypted = False
        self._session = session
        self._turn = network.turn
        self._scratch = network.scratch
        self._is_server = is_server
        self._on_lost = network.forget
        self._tls = tls
        self.when_secured = None
        """A future, where we connect under TLS: the session hears of the
        connection only when the handshake is done."""
        self._transport = None
        self._loop = None
        self._start = 0
        self._end = 0
        self._out = []
        self._paused = 0
        self._is_output_full = False
        self._is_closing = False
        self._error = None
        self._shrink_timer = None
        self._close_timer = None
        self._was_large = False
        self._crowd = network.crowd if is_server else None
        self._complain = network.complain
        self.half_since = 0.0
        self._is_silent = is_server
        self._replace_buffer(BUFFER_FIRST_BYTES if is_server
                             else BUFFER_MIN_BYTES)

    # What the session calls.

    def send(self, *buffers) -> None:
        out = self._out
        if not out:
            if self._is_closing:
                return
            self._turn.flush_later(self._flush)
        out += buffers

    @property
    def queued_bytes(self) -> int:
        if self._transport is None:
            return 0
        return (self._transport.get_write_buffer_size() +
                sum(len(buffer) for buffer in self._out))

    @property
    def certificates(self) -> tuple:
        return self._transport.certificates

    @property
    def peer_names(self) -> tuple:
        if not self.is_encrypted or self._transport is None:
            return ()
        return self._transport.peer_names

    def pause_reading(self) -> None:
        self._paused += 1
        if self._paused == 1 and not self._is_closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        assert self._paused > 0, 'resumed more often than paused'
        self._paused -= 1
        if self._paused == 0 and not self._is_closing:
            # Not from here: the session may be in the middle of something.
            self._loop.call_soon(self._resume)

    def start_tls(self, tls: tls_module.Tls) -> None:
        if self._is_closing:
            return
        self._flush()
        self.pause_reading()
        layer = self._begin_tls(tls.server_context())
        # When the session has said how far it used what is there.
        self._loop.call_soon(self._start_tls, layer)

    def close(self) -> None:
        if self._is_closing:
            return
        self._flush()
        self._is_closing = True
        self._transport.close()
        self._close_timer = self._loop.call_later(
            CLOSE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        self._out = []
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        transport.set_write_buffer_limits(high=OUTPUT_HIGH_BYTES,
                                          low=OUTPUT_LOW_BYTES)
        self._describe(transport)
        if self._crowd is not None:
            self._crowd.joined(self)
        tls = self._tls
        if tls is not None:
            if not self._is_server:
                self.when_secured = self._loop.create_future()
                self._begin_tls(tls.client_context()).start()
                return
            transport.set_protocol(tls_layer.Sniffer(
                self, transport, self._sniffed_tls))
        self._tell_connected()

    def _tell_connected(self) -> None:
        try:
            self._session.connected(self)
        except Exception as error:
            self._fail(error)

    def _describe(self, transport) -> None:
        sock = transport.get_extra_info('socket')
        if sock.family == socket.AF_UNIX:
            self.is_local = True
            credentials = sock.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
            self.peer_uid = _PEERCRED.unpack(credentials)[1]
            self.peername = 'unix:uid=%d' % self.peer_uid
            return
        address = transport.get_extra_info('peername')
        if address:
            host = '[%s]' if ':' in address[0] else '%s'
            self.peername = (host + ':%d') % tuple(address[:2])
            self.peer_host = address[0]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._end:]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        if not self._paused:
            self._deliver()
        else:
            # A pause from ``connected`` came before reading had begun.
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._flush()
        return False

    def pause_writing(self) -> None:
        if self._is_server:
            self._is_output_full = True
            self.pause_reading()

    def resume_writing(self) -> None:
        if self._is_output_full:
            self._is_output_full = False
            self.resume_reading()

    def connection_lost(self, exc) -> None:
        self._is_closing = True
        self._transport = None
        self._out = []
        for timer in self._shrink_timer, self._close_timer:
            if timer is not None:
                timer.cancel()
        # Session and connection know each other: until the collector comes
        # by, which is seldom, this would stay.
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._on_lost(self)
        if self._crowd is not None:
            self._crowd.left(self)
        error = self._error or exc
        if self.when_secured is not None and not self.is_encrypted:
            if not self.when_secured.done():
                self.when_secured.set_exception(
                    error or ConnectionResetError('closed'))
            return
        try:
            self._session.disconnected(error)
        except Exception as error:
            self._report('a session failed to end', error)

    # TLS.

    def _begin_tls(self, context) -> tls_layer.Layer:
        layer = tls_layer.Layer(self, self._transport, context,
                                self._is_server, self._paused > 0,
                                self._scratch)
        self._transport = layer
        return layer

    def _start_tls(self, layer: tls_layer.Layer) -> None:
        if self._is_closing:
            return
        if self._end > self._start:
            # Not worth a line in the log, and anybody can cause it.
            self._error = ValueError('bytes in clear where TLS should begin')
            self.abort()
            return
        layer.start()
        self.resume_reading()

    def _sniffed_tls(self) -> tls_layer.Layer:
        layer = self._begin_tls(self._tls.server_context())
        layer.start()
        return layer

    def secured(self) -> None:
        """The layer below has shaken hands."""
        self.is_encrypted = True
        secured = self.when_secured
        if secured is not None:
            self._tell_connected()
            if not secured.done():
                secured.set_result(None)

    # Input.

    def _deliver(self) -> None:
        """Offer what is there until the session uses no more of it."""
        session = self._session
        start = self._start
        end = self._end
        try:
            while True:
                used = session.received(self._buffer, start, end)
                assert start <= used <= end, 'used more than there is'
                if (used == start or used == end or self._paused or
                        self._is_closing):
                    break
                start = used
        except Exception as error:
            self._fail(error)
            return
        if self._is_silent and used > self._start:
            self._is_silent = False
            self._crowd.spoke(self)
        if used == end:
            self.half_since = 0.0
            self._start = self._end = 0
            size = len(self._buffer)
            if size < BUFFER_USUAL_BYTES:
                if end == size:
                    self._replace_buffer(2 * end)
            elif (size > BUFFER_USUAL_BYTES and self._crowd is not None
                    and self._crowd.is_tight):
                self.give_back()
        else:
            if used > self._start or not self.half_since:
                self.half_since = self._loop.time()
            self._start = used
            self._make_room(session.room_bytes)

    def _make_room(self, wanted: int) -> None:
        """There is the beginning of a message: let the rest have room.

        It grows only as fast as bytes come, so that who announces a giant
        message does not get its memory for the announcement.
        """
        buffer = self._buffer
        size = len(buffer)
        start = self._start
        end = self._end
        if wanted > BUFFER_MAX_BYTES:
            self._fail(errors.InvalidParameters('a message of %d bytes'
                                                % wanted))
            return
        if wanted > BUFFER_USUAL_BYTES:
            self._was_large = True
        if start and (start + wanted > size or end == size):
            length = end - start
            buffer[:length] = self._view[start:end]
            self._start = 0
            self._end = end = length
        if end == size:
            if size >= BUFFER_MAX_BYTES:
                self._fail(errors.InvalidParameters(
                    'a message without end'))
                return
            grown = min(2 * size, BUFFER_MAX_BYTES)
            whole = grown
            if wanted > size:
                # Twice a long message would be memory for nothing.
                whole = -(-wanted // BUFFER_MIN_BYTES) * BUFFER_MIN_BYTES
                grown = min(grown, whole)
            if (grown > BUFFER_USUAL_BYTES and self._crowd is not None and
                    not self._crowd.may_grow(self, whole)):
                self.pause_reading()
                return
            self._replace_buffer(grown)
            if size >= BUFFER_USUAL_BYTES:
                self._was_large = True
                if self._shrink_timer is None:
                    self._shrink_timer = self._loop.call_later(
                        BUFFER_KEPT_SECONDS, self._shrink)

    def _replace_buffer(self, size: int) -> None:
        """Move to another buffer. The old one may still be looked at, so
        it is not resized."""
        buffer = bytearray(size)
        length = self._end - self._start
        if length:
            buffer[:length] = self._view[self._start:self._end]
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._start = 0
        self._end = length

    def _shrink(self) -> None:
        self._shrink_timer = None
        # (Of a message that fills the small one there must be room for
        # more.)
        if self._was_large or self._end >= BUFFER_MIN_BYTES:
            self._was_large = False
            self._shrink_timer = self._loop.call_later(
                BUFFER_KEPT_SECONDS, self._shrink)
        else:
            self._replace_buffer(BUFFER_MIN_BYTES)
            if self._crowd is not None:
                self._crowd.shrunk(self)

    # What the crowd asks.

    @property
    def is_paused(self) -> bool:
        return bool(self._paused)

    def give_back(self) -> None:
        """Keep no large buffer for later."""
        if self._end == 0:
            self._replace_buffer(BUFFER_MIN_BYTES)
            self._crowd.shrunk(self)

    def grow_again(self) -> None:
        """There is room now."""
        self._make_room(self._session.room_bytes)
        self.resume_reading()

    def _resume(self) -> None:
        if self._paused or self._is_closing:
            return
        if self._end > self._start:
            self._deliver()
        if not self._paused and not self._is_closing:
            self._transport.resume_reading()

    # Output.

    def _flush(self) -> None:
        out = self._out
        if not out or self._is_closing:
            return
        self._out = []
        if len(out) == 1:
            self._transport.write(out[0])
        elif len(out) > 2 and max(map(len, out)) <= JOIN_MAX_BYTES:
            self._transport.write(b''.join(out))
        else:
            self._transport.writelines(out)

    # Trouble.

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, errors.SheepdogError):
            # The other side's doing: it must not fill our log.
            self._complain(self, 'the connection is closed: %s' % error)
        else:
            self._report('the connection is closed', error)
        self._error = error
        self.abort()

    def _report(self, what: str, error: BaseException) -> None:
        LOG.error('%s: %s: %s', self.peername, what, error, exc_info=error)
