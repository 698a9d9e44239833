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

"""TLS under a connection: a layer that is a protocol to the transport below
and a transport to the connection above.

OpenSSL works in memory here, so that all else stays as it is in clear: the
session's bytes are decrypted straight into the connection's one buffer,
output is gathered and leaves once per turn, and who does not take its
answers is not read from. A connection in clear does not come past here.
(The loop's own ``start_tls`` costs as much and cannot tell the end of a
stream from one that was cut off.)
"""

import asyncio
import ssl

from sheepdog.world import api

HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 10.0
"""How long a peer may take to read why it was refused."""

PIECE_BYTES = 64 << 10
"""Read at once, and encrypted before it is taken out of OpenSSL: what each
connection keeps there does not grow further."""

RECORD_BYTES = 16 << 10
"""What OpenSSL encrypts at once, at most."""

HANDSHAKE_TYPE = 0x16
"""The first byte of a client that begins with TLS."""


class Truncated(ConnectionResetError):
    """The stream ended without TLS's word for it: it may have been cut off
    by somebody else."""


class Layer(asyncio.BufferedProtocol):
    """:param above: ``transport.StreamConnection``
    :param scratch: a memoryview of PIECE_BYTES that all connections of the
        loop share: nothing stays there between two calls
    """

    __slots__ = ('_above', '_below', '_loop', '_scratch', '_incoming',
                 '_outgoing', '_object', '_held', '_timer', '_is_ready',
                 '_is_paused', '_is_over', '_error')

    def __init__(self, above, below, context: ssl.SSLContext,
                 is_server: bool, is_paused: bool, scratch: memoryview):
        self._above = above
        self._below = below
        self._loop = asyncio.get_running_loop()
        self._scratch = scratch
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing,
                                        server_side=is_server)
        self._held = []
        self._is_ready = False
        self._is_paused = is_paused
        self._is_over = False
        self._error = None
        self._timer = None

    def start(self) -> None:
        """Take the transport's bytes from now on."""
        self._timer = self._loop.call_later(HANDSHAKE_SECONDS, self._on_late)
        self._below.set_protocol(self)
        self._below.resume_reading()
        self._shake_hands()

    # What the connection above calls.

    def write(self, data) -> None:
        self.writelines((data,))

    def writelines(self, buffers) -> None:
        if self._is_over:
            return
        if not self._is_ready:
            self._held += buffers
        else:
            try:
                self._encrypt(buffers)
            except ssl.SSLError as error:
                self._fail(error)

    def get_write_buffer_size(self) -> int:
        return (self._below.get_write_buffer_size() +
                sum(map(len, self._held)))

    def get_extra_info(self, name: str, default=None):
        return self._below.get_extra_info(name, default)

    @property
    def certificates(self) -> tuple:
        """See ``api.Connection``."""
        return (self._object.context.certificate,
                self._object.getpeercert(True) or b'')

    @property
    def peer_names(self) -> tuple:
        """See ``api.Connection``."""
        shown = self._object.getpeercert() or {}
        names = [value for parts in shown.get('subject', ())
                 for kind, value in parts if kind == 'commonName']
        names += [value for kind, value in shown.get('subjectAltName', ())
                  if kind in ('DNS', 'URI', 'email')]
        return tuple(dict.fromkeys(names))

    def pause_reading(self) -> None:
        self._is_paused = True
        if self._is_ready and not self._is_over:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        self._is_paused = False
        if self._is_ready and not self._is_over:
            self._decrypt()
            if not self._is_paused and not self._is_over:
                self._below.resume_reading()

    def close(self) -> None:
        if self._is_ready and not self._is_over:
            try:
                self._object.unwrap()
            except ssl.SSLError:
                pass  # It wants to read the peer's: we do not wait for it.
            self._send()
        self._end()
        self._below.close()

    def abort(self) -> None:
        self._end()
        self._below.abort()

    # What the transport below calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        self.take(self._scratch[:nbytes])

    def take(self, data: memoryview) -> None:
        """Bytes that came from the other side."""
        if self._is_over:
            return
        self._incoming.write(data)
        if self._is_ready:
            self._decrypt()
        else:
            self._shake_hands()

    def eof_received(self) -> bool:
        if not self._is_over:
            self._fail(Truncated('cut off: TLS was not ended'))
        return False

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    def connection_lost(self, exc) -> None:
        if exc is not None and self._error is None and not self._is_ready:
            exc = api.TlsFailed('no TLS handshake: %s' % exc)
        self._end()
        self._above.connection_lost(self._error or exc)

    # The handshake.

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._timer.cancel()
        self._is_ready = True
        held, self._held = self._held, []
        try:
            self._encrypt(held)
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._above.secured()
        if self._is_over:
            return
        if self._is_paused:
            self._below.pause_reading()
        else:
            self._decrypt()

    def _on_late(self) -> None:
        if not self._is_over:
            self._fail(TimeoutError('it took more than %g s'
                                    % HANDSHAKE_SECONDS))

    # Input.

    def _decrypt(self) -> None:
        """All that is whole, as far as the session takes it."""
        read = self._object.read
        above = self._above
        is_more = True
        while is_more and not self._is_paused and not self._is_over:
            view = above.get_buffer(-1)
            room = len(view)
            if not room:
                self._fail(BufferError('no room for what comes'))
                return
            got = 0
            is_end = False
            try:
                while got < room:
                    count = read(room - got, view[got:])
                    if not count:
                        is_end = True
                        break
                    got += count
            except ssl.SSLWantReadError:
                is_more = False
            except ssl.SSLError as error:
                self._fail(error)
                return
            if got:
                above.buffer_updated(got)
            if is_end:
                above.close()
        if self._outgoing.pending:
            self._send()

    # Output.

    def _encrypt(self, buffers) -> None:
        write = self._object.write
        outgoing = self._outgoing
        taken = []
        for record in _records(buffers):
            write(record)
            if outgoing.pending >= PIECE_BYTES:
                taken.append(outgoing.read())
        if outgoing.pending:
            taken.append(outgoing.read())
        if taken:
            self._below.writelines(taken)

    def _send(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    # The end.

    def _fail(self, error: BaseException) -> None:
        """OpenSSL has put its reason where the peer may read it."""
        if not self._is_ready:
            failed = api.TlsFailed('no TLS handshake: %s' % error)
            failed.__cause__ = error
            error = failed
        self._error = error
        self._send()
        self._end()
        self._below.close()
        self._timer = self._loop.call_later(CLOSE_SECONDS, self._below.abort)

    def _end(self) -> None:
        self._is_over = True
        self._held = []
        if self._timer is not None:
            self._timer.cancel()


def _records(buffers):
    """What to encrypt at once: small buffers together, a large one in
    pieces and not copied."""
    small = []
    room = RECORD_BYTES
    for buffer in buffers:
        length = len(buffer)
        if length > room and small:
            yield b''.join(small)
            small = []
            room = RECORD_BYTES
        if length <= room:
            small.append(buffer)
            room -= length
            continue
        view = memoryview(buffer)
        for start in range(0, length, RECORD_BYTES):
            yield view[start:start + RECORD_BYTES]
    if room < RECORD_BYTES:
        yield b''.join(small)


class Sniffer(asyncio.BufferedProtocol):
    """Waits for a client's first byte: does TLS begin with it? What comes
    is read to where it belongs if it does not.

    :param begin_tls: makes and starts the layer
    """

    __slots__ = ('_above', '_below', '_view', '_begin_tls')

    def __init__(self, above, below, begin_tls):
        self._above = above
        self._below = below
        self._view = memoryview(b'')
        self._begin_tls = begin_tls

    def get_buffer(self, sizehint: int) -> memoryview:
        self._view = self._above.get_buffer(sizehint)
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        view, self._view = self._view, memoryview(b'')
        if view[0] == HANDSHAKE_TYPE:
            self._begin_tls().take(view[:nbytes])
        else:
            self._below.set_protocol(self._above)
            self._above.buffer_updated(nbytes)

    def eof_received(self) -> bool:
        return self._above.eof_received()

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    def connection_lost(self, exc) -> None:
        self._above.connection_lost(exc)
