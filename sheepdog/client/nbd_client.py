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

"""A blocking NBD client with several requests under way at once.

It does nothing of itself: no request is sent twice, no connection opened
again. So a test knows what was acknowledged over which connection; and
images of all formats are read and written through ``qemu-nbd``.
"""

import socket

from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as codec
from sheepdog.wire import nbd_options as options
from sheepdog.wire import nbd_transmission as transmission

_RECEIVE_BYTES = 1 << 18


class NbdRefused(Exception):
    """The server answered an error: ``code`` is an NBD errno."""

    def __init__(self, what, code):
        super().__init__('%s: NBD error %d' % (what, code))
        self.code = code


class NbdClient:
    """One export over one connection; of one thread.

    :param address: (host, port), or the path of a unix socket
    :param with_extents: ask for structured replies, and to be told where
        there is data
    :raises OSError: no connection, or it was lost
    :raises NbdRefused: the export cannot be had
    """

    def __init__(self, address, name, timeout=30.0, with_extents=False):
        family = socket.AF_UNIX if isinstance(address, str) else (
            socket.AF_INET)
        self._socket = socket.socket(family)
        self._socket.settimeout(timeout)
        self._buffer = bytearray()
        self._replies = codec.ReplyReader()
        self._parts = {}
        self._answered = {}
        self._cookie = 0
        self._is_structured = False
        self.size = 0
        self.description = ''
        """The server's, of the export."""
        self.has_extents = False
        """Whether ``extents`` may be asked."""
        try:
            self._socket.connect(address)
            if family == socket.AF_INET:
                self._socket.setsockopt(socket.IPPROTO_TCP,
                                        socket.TCP_NODELAY, 1)
            self._negotiate(name, with_extents)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        """Say goodbye if that is possible, and close."""
        try:
            self._socket.sendall(codec.pack_request(nbd.CMD_DISC, 0))
        except OSError:
            pass
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    # -- requests -------------------------------------------------------

    def read(self, offset, length) -> bytes:
        return self.finish([self.start_read(offset, length)])[0].data

    def write(self, offset, data, fua=False):
        self.finish([self.start_write(offset, data, fua)])

    def flush(self):
        self.finish([self._start(nbd.CMD_FLUSH)])

    def trim(self, offset, length):
        self.finish([self.start_trim(offset, length)])

    def extents(self, offset, length) -> list:
        """``[(length, STATE_*), …]`` from ``offset`` on, at least one, and
        perhaps not up to the end of what was asked for."""
        return list(self.finish([self._start(
            nbd.CMD_BLOCK_STATUS, offset, length)])[0].extents)

    def start_read(self, offset, length) -> int:
        cookie = self._start(nbd.CMD_READ, offset, length)
        self._replies.expect(cookie, length)
        if self._is_structured:
            self._parts[cookie] = _Parts(offset, length)
        return cookie

    def start_write(self, offset, data, fua=False) -> int:
        return self._start(nbd.CMD_WRITE, offset, len(data),
                           nbd.CMD_FLAG_FUA if fua else 0, data)

    def start_zeroes(self, offset, length) -> int:
        return self._start(nbd.CMD_WRITE_ZEROES, offset, length)

    def start_trim(self, offset, length) -> int:
        return self._start(nbd.CMD_TRIM, offset, length)

    def finish(self, cookies):
        """The replies to these requests, in their order; of others that
        come first it is kept.

        :raises NbdRefused: one of them is an error; all have been answered
        """
        while not all(cookie in self._answered for cookie in cookies):
            reply = self.next_reply()
            self._answered[reply.cookie] = reply
        replies = [self._answered.pop(cookie) for cookie in cookies]
        for reply in replies:
            if reply.error:
                raise NbdRefused('request', reply.error)
        return replies

    def next_reply(self) -> codec.Chunk:
        """Whichever is whole first.

        :raises OSError: the connection is lost, or none came in time
        """
        while True:
            reply, used = self._replies.receive(self._buffer, 0,
                                                len(self._buffer))
            if reply is None:
                self._receive()
                continue
            del self._buffer[:used]
            if not self._is_structured:
                return reply
            parts = self._parts.setdefault(reply.cookie, _Parts())
            parts.add(reply)
            if reply.is_done:
                del self._parts[reply.cookie]
                return parts.whole(reply)

    # -- the rest -------------------------------------------------------

    def _start(self, command, offset=0, length=0, flags=0, data=b''):
        self._cookie += 1
        self._socket.sendall(codec.pack_request(
            command, self._cookie, offset, length, flags) + data)
        return self._cookie

    def _negotiate(self, name, with_extents):
        codec.unpack_greeting(self._take(options.GREETING.size))
        self._socket.sendall(codec.pack_client_flags())
        if with_extents:
            self._is_structured = self._ask(
                name, options.OPT_STRUCTURED_REPLY) is not None
            self.has_extents = self._is_structured and bool(self._ask(
                name, options.OPT_SET_META_CONTEXT,
                codec.pack_contexts(name)))
        told = self._ask(name, options.OPT_GO, codec.pack_info(
            name, (options.INFO_DESCRIPTION,)), must_work=True)
        for payload in told:
            kind = int.from_bytes(payload[:2])
            if kind == options.INFO_EXPORT:
                self.size, _flags = codec.unpack_export(payload)
            elif kind == options.INFO_DESCRIPTION:
                self.description = payload[2:].decode(errors='replace')

    def _ask(self, name, option, payload=b'', must_work=False):
        """Payloads of the replies before the last; None: refused."""
        self._socket.sendall(codec.pack_option(option, payload))
        payloads = []
        while True:
            reply, used = codec.unpack_option_reply(self._buffer, 0,
                                                    len(self._buffer))
            if reply is None:
                self._receive()
                continue
            del self._buffer[:used]
            if reply.reply_type == options.REP_ACK:
                return payloads
            if reply.reply_type & options.REP_ERROR:
                if must_work:
                    raise NbdRefused('%s: %s' % (
                        name, reply.payload.decode(errors='replace')),
                        reply.reply_type)
                return None
            payloads.append(reply.payload)

    def _take(self, count):
        while len(self._buffer) < count:
            self._receive()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _receive(self):
        piece = self._socket.recv(_RECEIVE_BYTES)
        if not piece:
            raise ConnectionResetError('the server closed the connection')
        self._buffer += piece


class _Parts:
    """What has come of a structured reply."""

    def __init__(self, offset=0, length=0):
        self._offset = offset
        self._data = bytearray(length)
        self._extents = ()
        self._error = 0

    def add(self, chunk):
        self._error = self._error or chunk.error
        self._extents += chunk.extents
        if chunk.kind == transmission.CHUNK_OFFSET_DATA:
            start = chunk.offset - self._offset
            self._data[start:start + len(chunk.data)] = chunk.data

    def whole(self, last):
        return last._replace(error=self._error, data=self._data,
                             extents=self._extents)
