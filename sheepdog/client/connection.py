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

"""One connection to a sheep: framing, pipelining, checks, time limits.

Many requests may be under way at once, from one thread or from many. There
is no thread of the library's own: of the callers that wait, one at a time
reads and hands each answer to whoever asked. A caller that cannot send
because the sheep is not reading takes in answers meanwhile, so that neither
side ever waits for the other to read.

An answer is taken only when its version, opcode, id, tag, handle and
checksum (or seal) are those of a request under way; anything else, and any
request that runs out of time, ends the connection: what follows on the stream
could not be trusted.
"""

import os
import select
import selectors
import socket
import threading
import time
import typing

from crc32c import crc32c

from sheepdog.client import key_file
from sheepdog.model import errors
from sheepdog.wire import hello as hello_module
from sheepdog.wire import peer as wire
from sheepdog.wire import seal as seal_module

_NOT_MY_TURN_SECONDS = 0.05
"""How long a blocked sender waits before it asks again who reads."""

_ADVICE = ('name the file of the cluster key with --key-file or %s, or make '
           'it readable at %s' % (key_file.VARIABLE, key_file.DEFAULT_PATH))


class ConnectionLost(errors.Unreachable):
    """It broke with requests under way: they may have been carried out."""


class NoAnswer(ConnectionLost):
    """The time limit passed."""


class Reply(typing.NamedTuple):
    value: int
    aux: int
    payload: typing.Any
    """bytes-like; empty when the request brought a buffer of its own."""


class Call:
    """A request under way. ``into`` takes the payload of a good answer."""

    __slots__ = ('opcode', 'handle', 'into', 'deadline', 'reply', 'error')

    def __init__(self, opcode, handle, into, deadline):
        self.opcode = opcode
        self.handle = handle
        self.into = into
        self.deadline = deadline
        self.reply = None
        self.error = None

    @property
    def done(self) -> bool:
        return self.reply is not None or self.error is not None


def connect(address, connect_timeout: float, tls=None):
    """A connected socket; times are seconds.

    :param tls: ``tls.ClientTls``, for all but unix sockets
    :raises Unreachable: refused, no such host or path, timed out, no TLS
    :raises AccessRefused: its certificate is not to be believed
    """
    try:
        if address.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(connect_timeout)
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection((address.host, address.port),
                                            connect_timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                sock = tls.wrap(sock, address)
    except OSError as exc:
        raise errors.Unreachable('cannot connect to %s: %s' % (
            address, exc.strerror or exc)) from exc
    sock.setblocking(False)
    return sock


class Connection:
    """Use ``Connection.open``.

    :ivar incarnation: who the sheep said it was
    """

    def __init__(self, sock, address, timeout):
        self.address = address
        self.incarnation = ''
        self._socket = sock
        self._timeout = timeout
        self._tag = 0
        self._seal = self._check = None
        self._needs_seal = True
        """Not where the kernel, or TLS, keeps others from the stream."""
        self._next_id = 1
        self._calls = {}
        self._error = None
        self._send_lock = threading.Lock()
        self._state = threading.Condition()
        self._is_read = False
        self._header = memoryview(bytearray(wire.HEADER_BYTES))
        self._header_used = 0
        self._body = None
        self._body_used = 0

    @classmethod
    def open(cls, address, timeout=60.0, connect_timeout=5.0,
             keyring=None, tls=None) -> 'Connection':
        """Connect and say HELLO as a tool.

        :param timeout: seconds that any request may take
        :param keyring: ``model.keys.Keyring``: the sheep must know one of
            these keys too, unless it is reached by a unix socket
        :param tls: ``tls.ClientTls``; None: in clear
        :raises Unreachable: no way to it
        :raises AccessRefused: one side has not the key that the other wants
        :raises SheepdogError: it does not welcome us
        """
        sock = connect(address, connect_timeout, tls)
        self = cls(sock, address, timeout)
        self._needs_seal = tls is None and not address.path
        try:
            self._greet(min(timeout, connect_timeout), keyring,
                        sock.binding if tls and not address.path else b'')
        except BaseException:
            self.close()
            raise
        return self

    def _greet(self, timeout, keyring, bound):
        hello = hello_module.ClientHello(
            'tool', keyring=keyring,
            nonce=os.urandom(hello_module.NONCE_BYTES),
            is_proof_due=not self.address.path, bound=bound)
        payload = hello.opening
        try:
            while payload is not None:
                payload = hello.take(self.call(
                    wire.HELLO, payload=payload, timeout=timeout).payload)
        except errors.AccessRefused as exc:
            raise errors.AccessRefused('%s: %s; %s' % (
                self.address, exc, _ADVICE if keyring is None else
                'the key file in use has %s' % ', '.join(keyring.ids))
            ) from None
        except (errors.VersionMismatch, errors.Unreachable) as exc:
            raise type(exc)('%s: %s' % (self.address, exc)) from None
        self._tag = hello.tag
        self.incarnation = hello.incarnation
        if hello.seals is not None and self._needs_seal:
            ours, theirs = hello.seals
            self._seal = seal_module.sealer(ours)
            self._check = seal_module.opener(theirs)
            self._header = memoryview(bytearray(seal_module.HEAD_BYTES))

    @property
    def is_lost(self) -> bool:
        return self._error is not None

    def call(self, opcode, flags=0, handle=0, token=0, aux=0, payload=b'',
             into=None, timeout=None) -> Reply:
        """Ask and wait. See ``submit`` and ``wait``."""
        return self.wait(self.submit(opcode, flags, handle, token, aux,
                                     payload, into, timeout))

    def submit(self, opcode, flags=0, handle=0, token=0, aux=0, payload=b'',
               into=None, timeout=None) -> Call:
        """Send a request; ``wait`` fetches its answer.

        :param handle: the volume's, 0 for none
        :param into: a writable memoryview for exactly the payload expected
        :raises ConnectionLost: the connection is of no use any more
        """
        call = Call(opcode, handle, into, time.monotonic()
                    + (self._timeout if timeout is None else timeout))
        with self._send_lock:
            with self._state:
                self._raise_if_lost()
                request_id = self._next_id
                self._next_id = request_id % 0xFFFFFFFF + 1
                self._calls[request_id] = call
            buffers = wire.pack_request(
                opcode, flags, 0, request_id, handle, token, 0, aux, payload,
                self._tag, is_sealed=self._seal is not None)
            if self._seal is not None:
                buffers[0] = self._seal(*buffers)
            self._send(buffers, call.deadline)
        return call

    def wait(self, call) -> Reply:
        """The answer to ``call``.

        :raises ConnectionLost: none came, it may have been carried out
        :raises SheepdogError: what the sheep answered
        """
        while True:
            with self._state:
                while not call.done and self._is_read:
                    if not self._state.wait(
                            call.deadline - time.monotonic()):
                        break
                if call.done:
                    break
                if self._is_read:
                    late = True
                else:
                    late = False
                    self._is_read = True
            if late:
                self._fail(self._no_answer())
                break
            self._read_for(call)
        if call.error is not None:
            raise call.error
        return call.reply

    def ask(self, method, arguments, timeout=None):
        """Have an admin call carried out once; returns its result.

        :raises SheepdogError: what the sheep answered, or that it did not
        """
        reply = self.call(
            wire.ADMIN, timeout=timeout, payload=wire.pack_json(
                {'method': method, 'arguments': arguments}))
        try:
            return wire.unpack_json(reply.payload)['result']
        except KeyError:
            raise errors.CorruptFrame(
                '%s answers %s in a way unknown to us'
                % (self.address, method)) from None

    def close(self):
        self._fail(ConnectionLost('the connection to %s was closed'
                                  % self.address))

    # The rest is for whoever holds the turn to read or the lock to send.

    def _read_for(self, call):
        """We are the reader: go on until ``call`` is done."""
        try:
            while not call.done:
                if self._receive():
                    continue
                left = call.deadline - time.monotonic()
                if left <= 0 or not self._ready(selectors.EVENT_READ, left):
                    self._fail(self._no_answer())
        finally:
            self._leave_reading()

    def _leave_reading(self):
        with self._state:
            self._is_read = False
            self._state.notify_all()

    def _send(self, buffers, deadline):
        buffers = [memoryview(buffer).cast('B') for buffer in buffers]
        while buffers:
            try:
                sent = self._socket.sendmsg(buffers)
            except (BlockingIOError, InterruptedError):
                self._wait_to_send(deadline)
                self._raise_if_lost()
                continue
            except OSError as exc:
                self._fail(ConnectionLost('lost the connection to %s: %s' % (
                    self.address, exc.strerror or exc)))
                self._raise_if_lost()
            while buffers and sent >= len(buffers[0]):
                sent -= len(buffers.pop(0))
            if buffers:
                buffers[0] = buffers[0][sent:]

    def _wait_to_send(self, deadline):
        """The socket takes no more: take in answers until it does."""
        with self._state:
            is_reader = not self._is_read
            if is_reader:
                self._is_read = True
        try:
            left = deadline - time.monotonic()
            if left <= 0:
                self._fail(self._no_answer())
            elif is_reader:
                ready = self._ready(
                    selectors.EVENT_READ | selectors.EVENT_WRITE, left)
                if ready & selectors.EVENT_READ:
                    self._receive()
            else:
                self._ready(selectors.EVENT_WRITE,
                            min(left, _NOT_MY_TURN_SECONDS))
        finally:
            if is_reader:
                self._leave_reading()

    def _ready(self, events, timeout) -> int:
        """Which of the events the socket is ready for; 0: time is up."""
        # No poll under eventlet, which brings a selector of its own.
        with (selectors.PollSelector() if hasattr(select, 'poll')
              else selectors.DefaultSelector()) as selector:
            try:
                selector.register(self._socket, events)
            except (OSError, ValueError):
                # Closed meanwhile: the next attempt to use it will tell.
                return events
            ready = selector.select(timeout)
        return ready[0][1] if ready else 0

    def _receive(self) -> bool:
        """Take in one piece; False when there is none just now."""
        try:
            if self._body is None:
                count = self._socket.recv_into(
                    self._header[self._header_used:])
                self._header_used += count
            else:
                count = self._socket.recv_into(self._body[self._body_used:])
                self._body_used += count
            if not count:
                raise ConnectionLost('%s closed the connection'
                                     % self.address)
            if self._body is None and self._header_used == len(self._header):
                self._take_header()
            if self._body is not None and self._body_used == len(self._body):
                self._take_frame()
        except (BlockingIOError, InterruptedError):
            return False
        except errors.SheepdogError as exc:
            self._fail(exc)
        except OSError as exc:
            self._fail(ConnectionLost('lost the connection to %s: %s' % (
                self.address, exc.strerror or exc)))
        return True

    def _take_header(self):
        (version, opcode, _flags, _epoch, request_id, length, handle, _value,
         result, _aux, _crc, tag) = wire.HEADER.unpack_from(self._header)
        if version != wire.VERSION:
            raise errors.VersionMismatch(
                '%s speaks version 0x%02x of the protocol, not 0x%02x: is it '
                'a sheep of this release?' % (self.address, version,
                                              wire.VERSION))
        call = self._calls.get(request_id)
        if call is None or call.opcode != opcode or call.handle != handle:
            raise errors.CorruptFrame(
                '%s answered something that was not asked' % self.address)
        if tag != self._tag and opcode != wire.HELLO:
            raise errors.CorruptFrame(
                'an answer from %s belongs to another connection'
                % self.address)
        wire.check_length(length)
        if result == errors.SUCCESS and call.into is not None:
            if length != len(call.into):
                raise errors.CorruptFrame(
                    '%s answered %d bytes, not %d' % (
                        self.address, length, len(call.into)))
            self._body = call.into
        else:
            self._body = memoryview(bytearray(length))
        self._body_used = 0

    def _take_frame(self):
        (_version, _opcode, _flags, _epoch, request_id, length, _handle,
         value, result, aux, crc, _tag) = wire.HEADER.unpack_from(self._header)
        body, self._body = self._body, None
        self._header_used = 0
        if self._check is not None:
            self._check(self._header, 0, body)
        elif length and crc32c(body) != crc:
            raise errors.CorruptFrame('an answer from %s was damaged'
                                      % self.address)
        with self._state:
            call = self._calls.pop(request_id, None)
            if call is None:
                return
            if result != errors.SUCCESS:
                call.error = errors.from_result(result, _text_of(body))
            else:
                call.reply = Reply(value, aux,
                                   b'' if call.into is not None else body)
            self._state.notify_all()

    def _no_answer(self):
        return NoAnswer('%s did not answer in time' % self.address)

    def _raise_if_lost(self):
        if self._error is not None:
            raise ConnectionLost(str(self._error))

    def _fail(self, error):
        """End the connection: all calls under way end with ``error``."""
        with self._state:
            if self._error is not None:
                return
            self._error = error
            for call in self._calls.values():
                call.error = error
            self._calls.clear()
            try:
                # Wakes whoever waits in the selector; close alone may not.
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:  # it may be gone already
                pass
            self._socket.close()
            self._state.notify_all()


def _text_of(payload) -> str:
    """The reason in an answer that is an error, '' where there is none."""
    if not payload:
        return ''
    try:
        return str(wire.unpack_json(payload).get('error', ''))
    except errors.InvalidParameters:
        return ''
