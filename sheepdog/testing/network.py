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

"""The simulated network as one process sees it.

Keeps the promises of ``sheepdog.world.api.Network`` and no more than these:
messages come in pieces, a session's buffer has garbage around what it may
look at, and is garbage when the session is done with it.
"""

import errno
import zlib
from typing import Callable, Optional

from sheepdog.testing import fabric as fabric_module
from sheepdog.testing import loop as loop_module
from sheepdog.world import api
from sheepdog.world import transport

_MARGIN = b'\xa5' * 24


class SimConnection:
    """See ``api.Connection``: one end."""

    def __init__(self, network: 'SimNetwork', session: api.Session,
                 peername: str, is_local: bool, is_server: bool):
        self.process = network.process
        self.host = network.host
        self.peername = peername
        self.peer_host = '' if is_local else peername.rpartition(':')[0]
        self.is_local = is_local
        self.is_encrypted = False
        self.peer_uid = 0 if is_local else None
        self.session = session
        self.peer = None
        self.pipe = None
        self._fabric = network.fabric
        self._turn = network.turn
        self.is_server = is_server
        self._out = []
        self._pending = []
        self._pending_bytes = 0
        self._arrived = []
        self._buffer = bytearray()
        self._is_readable = False
        self._has_end = False
        self._paused = 0
        self._is_output_full = False
        self._is_gone = False
        self._has_missed = False
        self._error = None
        self.number = self._fabric.add(self)

    def attach(self, peer: 'SimConnection') -> None:
        self.peer = peer
        self.pipe = fabric_module.Pipe(self._fabric, self, peer)

    # What the session calls.

    def send(self, *buffers) -> None:
        self.process.operation()
        if self._is_gone:
            return
        if self._fabric.on_send is not None:
            self._fabric.on_send(self, buffers)
        if not self._out:
            self._turn.flush_later(self._flush)
        self._out += buffers

    @property
    def queued_bytes(self) -> int:
        return self._pending_bytes + sum(len(b) for b in self._out)

    def pause_reading(self) -> None:
        self._paused += 1

    def resume_reading(self) -> None:
        assert self._paused > 0, 'resumed more often than paused'
        self._paused -= 1
        if not self._paused:
            self._wake()

    def close(self) -> None:
        self.process.operation()
        if self._is_gone:
            return
        self._pending += self._out
        self._out = []
        if self._pending:
            self.pipe.push(self._pending, 0)
        self._leave(fabric_module.FIN)

    def abort(self) -> None:
        self.process.operation()
        if not self._is_gone:
            self._leave(fabric_module.RST)

    def _leave(self, how) -> None:
        self.pipe.push(how)
        self._forget()
        self._fabric.loop.call_soon(
            self._disconnected, self._error,
            context=self.process.context.copy())

    def _forget(self) -> None:
        self._is_gone = True
        self._out = []
        self._pending = []
        self._pending_bytes = 0
        self._fabric.remove(self)

    # The end of a turn in the process.

    def _flush(self) -> None:
        out = self._out
        if not out or self._is_gone:
            return
        # Who dies here has told some of the others, not all.
        self.process.operation()
        self._out = []
        if (self._pending or self.pipe.held_bytes >=
                self._fabric.settings.window_bytes):
            self._pending += out
            self._pending_bytes += sum(map(len, out))
            if (self.is_server and not self._is_output_full and
                    self._pending_bytes > transport.OUTPUT_HIGH_BYTES):
                self._is_output_full = True
                self.pause_reading()
        else:
            self.pipe.push(out, sum(map(len, out)))

    def _on_writable(self) -> None:
        if self._pending and not self._is_gone:
            self.pipe.push(self._pending, self._pending_bytes)
            self._pending = []
            self._pending_bytes = 0
        if self._is_output_full:
            self._is_output_full = False
            self.resume_reading()

    @property
    def is_half_open(self) -> bool:
        """What TCP's keep-alive would find out: the other end is gone and
        could not say so."""
        return self.peer._is_gone

    # What the kernel does.

    def arrived(self, data: bytes) -> None:
        if self._is_gone:
            if self._fabric.is_off(self.host):
                self._has_missed = True
            else:
                self._refuse()
            return
        self._fabric.trace.note(self.host, 'arrives', self.number,
                                len(data), zlib.crc32(data))
        self._arrived.append(data)
        self._wake()

    def _refuse(self) -> None:
        """A host that knows no such connection says so."""
        self.pipe.drop()
        self.pipe.push(fabric_module.RST)

    def host_is_back(self) -> None:
        # The other side has repeated all the time what was not confirmed.
        if self._has_missed:
            self._refuse()

    def ended(self, how) -> None:
        if self._is_gone:
            return
        if how is fabric_module.RST:
            self.lose(ConnectionResetError(
                errno.ECONNRESET, 'connection reset by peer'))
        else:
            self._has_end = True
            self._wake()

    def lose(self, error: Optional[BaseException]) -> None:
        """Tell the process that the connection is gone."""
        if self._is_gone:
            return
        self._fabric.trace.note(self.host, 'lost', self.number, repr(error))
        self.pipe.drop()
        self._forget()
        self._fabric.loop.call_soon(
            self._disconnected, error,
            context=self.process.context.copy())

    def process_gone(self, is_power_cut: bool) -> None:
        random = self._fabric.random
        self._forget()
        if is_power_cut:
            if random.random() < 0.5:
                self.pipe.drop()
        else:
            self.pipe.push(fabric_module.RST if random.random() < 0.5
                           else fabric_module.FIN)

    def _wake(self) -> None:
        if not self._is_readable:
            self._is_readable = True
            self._fabric.loop.call_soon(
                self._on_readable, context=self.process.context.copy())

    # In the process.

    def accept(self, factory: Callable[[], api.Session]) -> None:
        if not self._is_gone:
            self.session = factory()
            self.session.connected(self)

    def _disconnected(self, error: Optional[BaseException]) -> None:
        if self.session is not None:
            self.session.disconnected(error)

    def _on_readable(self) -> None:
        self._is_readable = False
        if self._paused or self._is_gone:
            return
        pieces = self._arrived
        if pieces:
            self._arrived = []
            data = b''.join(pieces)
            pipe = self.peer.pipe
            window = self._fabric.settings.window_bytes
            was_full = pipe.held_bytes >= window
            pipe.held_bytes -= len(data)
            if was_full and pipe.held_bytes < window:
                self._fabric.loop.call_soon(
                    self.peer._on_writable,
                    context=self.peer.process.context.copy())
            # Neither at the beginning of its buffer nor at its end.
            self._buffer = b''.join((self._buffer, data))
        if self._buffer:
            self._deliver()
        if (self._has_end and not self._paused and not self._arrived and
                not self._is_gone):
            self._flush()
            self._leave(fabric_module.FIN)

    def _deliver(self) -> None:
        size = len(self._buffer)
        start = len(_MARGIN)
        end = start + size
        buffer = bytearray(b''.join((_MARGIN, self._buffer, _MARGIN)))
        try:
            while True:
                used = self.session.received(buffer, start, end)
                assert start <= used <= end, 'used more than there is'
                assert self.session.room_bytes <= transport.BUFFER_MAX_BYTES
                is_idle = used == start
                start = used
                if is_idle or used == end or self._paused or self._is_gone:
                    break
        except Exception as error:
            self.process.errors.append(('received', error))
            self._error = error
            self.abort()
            return
        self._buffer = bytes(buffer[start:end])
        # The session must have copied what it keeps.
        buffer[:] = b'\xa5' * len(buffer)


class SimListener:
    """See ``api.Listener``."""

    def __init__(self, fabric: fabric_module.Fabric,
                 process: loop_module.Process, network: 'SimNetwork',
                 factory: Callable, key: tuple, address):
        self.process = process
        self.network = network
        self.factory = factory
        self.address = address
        self._fabric = fabric
        self._key = key

    async def close(self) -> None:
        if self._fabric.listeners.get(self._key) is self:
            del self._fabric.listeners[self._key]


class SimNetwork:
    """See ``api.Network``: what one process sees."""

    def __init__(self, fabric: fabric_module.Fabric,
                 process: loop_module.Process, host: str, turn):
        self.fabric = fabric
        self.process = process
        self.host = host
        self.turn = turn
        self._next_port = 20000

    async def listen(self, factory: Callable[[], api.Session],
                     host: str = '', port: int = 0,
                     path: str = '', mode: int = 0o600,
                     tls=None) -> SimListener:
        assert tls is None, 'there is no TLS in virtual time'
        self.process.operation()
        listeners = self.fabric.listeners
        if path:
            key = self.host, path
            address = path
        else:
            if host not in ('', '0.0.0.0', '::', self.host):  # nosec B104
                raise OSError(errno.EADDRNOTAVAIL,
                              'not an address of this host: %s' % host)
            while not port:
                self._next_port += 1
                if (self.host, self._next_port) not in listeners:
                    port = self._next_port
            key = address = self.host, port
        if key in listeners:
            raise OSError(errno.EADDRINUSE, 'address in use: %s' % (key,))
        listeners[key] = SimListener(self.fabric, self.process, self,
                                     factory, key, address)
        return listeners[key]

    async def connect(self, factory: Callable[[], api.Session],
                      host: str, port: int, timeout: float,
                      tls=None) -> api.Session:
        assert tls is None, 'there is no TLS in virtual time'
        return await self._connect(factory, host, (host, port), timeout)

    async def connect_local(self, factory: Callable[[], api.Session],
                            path: str, timeout: float = 5.0) -> api.Session:
        """Connect to a unix socket of this host."""
        return await self._connect(factory, self.host, (self.host, path),
                                   timeout)

    async def _connect(self, factory, host, key, timeout):
        self.process.operation()
        fabric = self.fabric
        loop = fabric.loop
        deadline = loop.time() + timeout
        wait = fabric.delay(self.host, host) + fabric.delay(host, self.host)
        while True:
            # A lost SYN is sent again after one second, then two, four…
            left = deadline - loop.time()
            await _sleep(loop, min(wait, left))
            self.process.operation()
            if wait >= left:
                raise TimeoutError(errno.ETIMEDOUT,
                                   'no answer from %s:%s' % key)
            if not (fabric.is_off(host) or
                    fabric.is_blocked(self.host, host) or
                    fabric.is_blocked(host, self.host)):
                break
            wait = max(1.0, wait * 2)
        listener = fabric.listeners.get(key)
        if listener is None:
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, 'connection refused by %s:%s' % key)
        return self._join(factory, listener, isinstance(key[1], str))

    def _join(self, factory, listener, is_local):
        number = self.fabric._count
        name = ('unix:uid=0' if is_local else
                '%s:%d' % (self.host, 40000 + number % 20000))
        client = SimConnection(self, factory(),
                               '%s:%s' % (listener.network.host,
                                          listener.address[1]),
                               is_local, False)
        # The kernel accepts; the process notices in its time.
        server = SimConnection(listener.network, None, name, is_local, True)
        client.attach(server)
        server.attach(client)
        self.fabric.loop.call_soon(
            server.accept, listener.factory,
            context=server.process.context.copy())
        client.session.connected(client)
        return client.session


def _sleep(loop, seconds: float):
    future = loop.create_future()
    loop.call_later(max(0.0, seconds), _wake, future)
    return future


def _wake(future) -> None:
    if not future.done():
        future.set_result(None)
