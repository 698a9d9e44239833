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

"""One pipelined connection to another sheep.

Requests are queued, answered out of order, and matched by id; a reply must
repeat the opcode and object of its request and carry the agreed tag, or the
link is dropped. A link that is lost fails everything under way with
``Unreachable``: whoever asked tries again.
"""

import asyncio
import functools
import itertools
import logging

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.peer import access as access_module
from sheepdog.wire import hello as hello_module
from sheepdog.wire import peer as wire
from sheepdog.wire import seal as seal_module
from sheepdog.world import api
from sheepdog.world import futures

LOG = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 2.0
RECONNECT_PAUSE_SECONDS = 0.1
TRIED_SECONDS = 2 * CONNECT_TIMEOUT_SECONDS
SILENCE_SECONDS = 6.0
"""A link with requests under way and no byte coming in is dropped. (A
sheep that takes longer with them answers a PING.)"""

LOOKED_AT_MAX = 32

_DATA = frozenset((wire.READ, wire.WRITE, wire.ZERO, wire.REMOVE))
"""Asked of a copy. (Other requests may take long for good reasons.)"""


class Link:
    """A session (see ``world.api.Session``) in the client's role.

    ``request``'s callback gets ``(error, value, aux, payload)``: error None
    or a ``SheepdogError``; payload is bytes.
    """

    def __init__(self, world, ours, meant, address, access, lane='data'):
        """``ours`` is our incarnation, for which the link speaks; ``meant``
        the one that must answer at ``address``; ``access``
        (``access.Access``) has the keys. Of the links between two
        incarnations there is one of each ``lane``."""
        self.world = world
        self.ours = ours
        self.meant = meant
        self.address = address
        self.closed = False
        self.room_bytes = 0
        self._access = access
        self._lane = lane
        self._connection = None
        self._ready = False
        self._tag = 0
        self._seal = None
        self._check = None
        self._next_id = 0
        self._pending = {}
        self._backlog = []
        self._backlog_bytes = 0
        self._connecting = False
        self._not_before = 0.0
        self._failing_since = None
        self._failed_last = 0.0
        self._last_heard = 0.0
        self._eldest = None
        self._eldest_since = 0.0

    # -- calling --------------------------------------------------------

    def request(self, opcode, flags, epoch, oid, token, offset, aux, payload,
                callback):
        """Send; ``callback`` is called exactly once, perhaps at once."""
        self._next_id = request_id = (self._next_id + 1) & 0xFFFFFFFF
        if self._ready:
            self._pending[request_id] = (callback, opcode, oid)
            seal = self._seal
            if payload:
                head = wire.HEADER.pack(
                    wire.VERSION, opcode, flags | wire.FLAG_WRITE, epoch,
                    request_id, len(payload), oid, token, offset, aux,
                    crc32c(payload) if seal is None else 0, self._tag)
                self._connection.send(
                    head if seal is None else seal(head, payload), payload)
            else:
                head = wire.HEADER.pack(
                    wire.VERSION, opcode, flags, epoch, request_id, 0, oid,
                    token, offset, aux, 0, self._tag)
                self._connection.send(head if seal is None else seal(head))
            return
        self._request_later(opcode, flags, epoch, request_id, oid, token,
                            offset, aux, payload, callback)

    def tell(self, opcode, epoch, token):
        """Send something that is not answered; dropped when unconnected."""
        if self._ready:
            head = wire.HEADER.pack(wire.VERSION, opcode, 0, epoch, 0, 0, 0,
                                    token, 0, 0, 0, self._tag)
            self._connection.send(head if self._seal is None
                                  else self._seal(head))

    async def call(self, opcode, epoch=0, oid=0, token=0, offset=0, aux=0,
                   payload=b'', flags=0, timeout=None):
        """As ``request``; returns ``(value, aux, payload)``.

        :raises SheepdogError: what the other side answered; Unreachable
            also when ``timeout`` (seconds) has passed
        """
        future = asyncio.get_running_loop().create_future()

        def answered(error, value, aux, payload):
            futures.settle(future, error, (value, aux, payload))

        self.request(opcode, flags, epoch, oid, token, offset, aux, payload,
                     answered)
        try:
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            raise errors.Unreachable('%s:%s does not answer'
                                     % self.address) from None

    def _request_later(self, *request):
        payload, callback = request[-2:]
        if self.closed:
            callback(errors.Unreachable('%s:%s has left' % self.address),
                     0, 0, b'')
            return
        if not self._connecting:
            if self.world.clock.monotonic() < self._not_before:
                callback(errors.Unreachable('%s:%s cannot be reached'
                                            % self.address), 0, 0, b'')
                return
            self._connecting = True
            self.world.spawn(self._connect(), 'link to %s:%s' % self.address)
        self._backlog_bytes += len(payload)
        if self._backlog_bytes > limits.CONNECTION_OUTPUT_MAX_BYTES * 4:
            self._backlog_bytes -= len(payload)
            callback(errors.Unreachable('too much waits for %s:%s'
                                        % self.address), 0, 0, b'')
            return
        self._backlog.append(request)

    def owed(self, callback):
        """Ids of the requests that are still to be answered to it."""
        return [request_id for request_id, (one, _, _)
                in self._pending.items() if one == callback] + [
                    request[3] for request in self._backlog
                    if request[-1] == callback]

    def lateness(self, now):
        """Seconds for which the oldest request for data is unanswered, as
        far as calls of this have seen it."""
        for request_id, (_, opcode, _) in itertools.islice(
                self._pending.items(), LOOKED_AT_MAX):
            if opcode in _DATA:
                if request_id != self._eldest:
                    self._eldest, self._eldest_since = request_id, now
                return now - self._eldest_since
        self._eldest = None
        return 0.0

    @property
    def is_ready(self):
        return self._ready

    def trouble_seconds(self):
        """For how long it could not be connected; 0 when it can, or nobody
        has tried lately."""
        if (self._failing_since is None or self._failed_last
                < self.world.clock.monotonic() - TRIED_SECONDS):
            return 0.0
        return self._failed_last - self._failing_since

    @property
    def queued_bytes(self):
        if self._connection is None:
            return self._backlog_bytes
        return self._connection.queued_bytes

    # -- connecting -----------------------------------------------------

    async def _connect(self):
        error = None
        try:
            await self._open()
            if self.closed or self._connection is None:
                # While we were connecting, or right behind it.
                raise errors.Unreachable('%s:%s is gone again'
                                         % self.address)
            await asyncio.wait_for(self._greet(), CONNECT_TIMEOUT_SECONDS)
        except asyncio.TimeoutError:
            error = errors.Unreachable('%s:%s does not greet back'
                                       % self.address)
        except OSError as exc:
            error = errors.Unreachable('%s:%s: %s' % (*self.address, exc))
        except errors.SheepdogError as exc:
            if isinstance(exc, errors.AccessRefused):
                self._access.complain('%s:%s' % self.address, exc)
            error = exc if exc.retry else errors.Unreachable(str(exc))
        self._connecting = False
        if error is None and self._connection is not None and (
                not self.closed):
            self._ready = True
            self._failing_since = None
            backlog, self._backlog = self._backlog, []
            self._backlog_bytes = 0
            for (opcode, flags, epoch, _, oid, token, offset, aux, payload,
                 callback) in backlog:
                self.request(opcode, flags, epoch, oid, token, offset, aux,
                             payload, callback)
            self.world.spawn(self._watch(), 'watch %s:%s' % self.address)
            return
        now = self._failed_last = self.world.clock.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        self._not_before = now + RECONNECT_PAUSE_SECONDS
        if self._connection is not None:
            self._connection.abort()
        self._fail(error or errors.Unreachable('connection lost'))

    async def _open(self):
        """:raises OSError: refused, unreachable, timed out, no TLS"""
        connect = functools.partial(
            self.world.network.connect, lambda: self, *self.address,
            timeout=CONNECT_TIMEOUT_SECONDS)
        tls = self._access.tls
        if tls is not None:
            try:
                await connect(tls=tls)
                return
            except api.TlsFailed as exc:
                if self._access.is_tls_due:
                    self._access.complain('%s:%s' % self.address, exc)
                    raise
                # Not all sheep have got their certificates yet.
        await connect()

    async def _greet(self):
        connection = self._connection
        keyring = self._access.keyring()
        hello = hello_module.ClientHello(
            'peer', self.ours, self.meant, keyring,
            self.world.random.token(hello_module.NONCE_BYTES)
            if keyring is not None else b'',
            self._access.must_servers_prove, self._lane,
            access_module.binding_of(connection, False))
        payload = hello.opening
        while payload is not None:
            if self._connection is not connection or connection is None:
                raise errors.Unreachable('the connection to %s:%s was lost'
                                         % self.address)
            payload = hello.take(await self._say_hello(payload))
        self._tag = hello.tag
        if hello.seals is not None and access_module.needs_seal(connection):
            ours, theirs = hello.seals
            self._seal = seal_module.sealer(ours)
            self._check = seal_module.opener(theirs)

    async def _say_hello(self, payload):
        future = asyncio.get_running_loop().create_future()

        def answered(error, value, aux, payload):
            futures.settle(future, error, payload)

        self._next_id = request_id = (self._next_id + 1) & 0xFFFFFFFF
        self._pending[request_id] = (answered, wire.HELLO, 0)
        self._connection.send(*wire.pack_request(
            wire.HELLO, 0, 0, request_id, payload=payload))
        return await future

    async def _watch(self):
        """Drop the link when it owes answers and has gone silent."""
        connection = self._connection
        clock = self.world.clock
        self._last_heard = clock.monotonic()
        while True:
            owed_nothing = not self._pending
            await asyncio.sleep(SILENCE_SECONDS / 4)
            if not self._ready or self._connection is not connection:
                return
            silence = clock.monotonic() - self._last_heard
            if owed_nothing or not self._pending:
                self._last_heard = clock.monotonic()
            elif silence > SILENCE_SECONDS:
                LOG.warning('%s:%s has not answered for %d seconds: '
                            'reconnecting', *self.address, silence)
                connection.abort()
                return
            elif silence > SILENCE_SECONDS / 4:
                self.request(wire.PING, 0, 0, 0, 0, 0, 0, b'', _ignore)

    def close(self):
        """No more requests; what is under way fails."""
        self.closed = True
        if self._connection is not None:
            self._connection.abort()
        self._fail(errors.Unreachable('%s:%s has left' % self.address))

    def _fail(self, error):
        backlog, self._backlog = self._backlog, []
        self._backlog_bytes = 0
        self._fail_pending(error)
        for request in backlog:
            request[-1](error, 0, 0, b'')

    def _fail_pending(self, error):
        self._ready = False
        pending, self._pending = self._pending, {}
        for callback, _, _ in pending.values():
            callback(error, 0, 0, b'')

    # -- session --------------------------------------------------------

    def connected(self, connection):
        self._connection = connection
        self._tag = 0
        self._seal = self._check = None

    def disconnected(self, error):
        self._connection = None
        lost = errors.Unreachable('the connection to %s:%s was lost'
                                  % self.address)
        if self._connecting:
            # Only HELLO is under way. Those who wait behind it are told by
            # ``_connect``, which may know a better reason.
            self._fail_pending(lost)
        else:
            self._fail(lost)

    def received(self, buffer, start, end):
        unpack = wire.HEADER.unpack_from
        self.room_bytes = 0
        self._last_heard = self.world.clock.monotonic()
        check = self._check
        head_bytes = (wire.HEADER_BYTES if check is None
                      else seal_module.HEAD_BYTES)
        while end - start >= head_bytes:
            (version, opcode, _, _, request_id, length, oid, value, result,
             aux, crc, tag) = unpack(buffer, start)
            body = start + head_bytes
            if version != wire.VERSION or tag != self._tag:
                raise errors.CorruptFrame(
                    'a reply of %s:%s is not for this connection'
                    % self.address)
            if length:
                if body + length > end:
                    wire.check_length(length)
                    self.room_bytes = head_bytes + length
                    break
                payload = bytes(memoryview(buffer)[body:body + length])
                if check is None and crc32c(payload) != crc:
                    raise errors.CorruptFrame(
                        'a reply of %s:%s was damaged on its way'
                        % self.address)
                body += length
            else:
                payload = b''
            if check is not None:
                check(buffer, start, payload)
            start = body
            try:
                callback, asked, about = self._pending.pop(request_id)
            except KeyError:
                raise errors.CorruptFrame(
                    '%s:%s answers what was not asked' % self.address
                ) from None
            if asked != opcode or about != oid:
                callback(errors.CorruptFrame('mismatched reply'), 0, 0, b'')
                raise errors.CorruptFrame(
                    '%s:%s answers another question' % self.address)
            if result:
                callback(wire_error(result, payload), value, aux, b'')
            else:
                callback(None, value, aux, payload)
        return start


def _ignore(error, value, aux, payload):
    pass


def wire_error(result, payload):
    """The typed error of a failed reply; its payload may say more."""
    text = ''
    if payload:
        try:
            text = str(wire.unpack_json(payload).get('error', ''))
        except errors.InvalidParameters:
            pass
    return errors.from_result(result, text)
