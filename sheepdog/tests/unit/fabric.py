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

"""Connections in memory between worlds of one process, for unit tests.

They keep the promises of ``world.api`` for connections, and let the test
hold back, cut and damage what goes over them.
"""

import asyncio
import random

from sheepdog.model import errors
from sheepdog.peer import access
from sheepdog.wire import peer as wire

PORT = 7000


class Clock:
    def monotonic(self):
        return asyncio.get_running_loop().time()

    def time(self):
        return 1e9 + asyncio.get_running_loop().time()


class Connection:
    """One end; see ``world.api.Connection``."""

    is_local = False
    is_encrypted = False
    peer_uid = None

    def __init__(self, fabric, source, target, session):
        self.fabric = fabric
        self.source = source
        self.target = target
        self.peername = self.peer_host = target
        self.session = session
        self.peer = None
        self.is_lost = False
        self.queued_bytes = 0
        self.tamper = None
        self._out = []
        self._inbox = b''
        self._pauses = 0

    def send(self, *buffers):
        if not self.is_lost:
            data = b''.join(buffers)
            self._out.append(self.tamper(data) if self.tamper else data)
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self):
        if self.is_lost or (self.source, self.target) in self.fabric.held:
            return
        out, self._out = b''.join(self._out), []
        if out and not self.peer.is_lost:
            self.peer.arrived(out)

    def arrived(self, data):
        self._inbox += data
        self._deliver()

    def _deliver(self):
        if self._pauses or self.is_lost or not self._inbox:
            return
        margin = b'\xa5' * 8
        buffer = bytearray(margin + self._inbox + margin)
        start, end = len(margin), len(buffer) - len(margin)
        try:
            while start < end and not self._pauses and not self.is_lost:
                used = self.session.received(buffer, start, end)
                if used == start:
                    break
                start = used
        except errors.SheepdogError as error:
            self.fabric.refused.append(error)
            self.abort()
            return
        self._inbox = bytes(buffer[start:end])

    def pause_reading(self):
        self._pauses += 1

    def resume_reading(self):
        assert self._pauses
        self._pauses -= 1
        asyncio.get_running_loop().call_soon(self._deliver)

    def close(self):
        self.flush()
        self.abort()

    def abort(self):
        for end in (self, self.peer):
            if end is not None and not end.is_lost:
                end.is_lost = True
                asyncio.get_running_loop().call_soon(
                    end.session.disconnected, None)
        self.fabric.connections.pop(self, None)
        self.fabric.connections.pop(self.peer, None)


class Random(random.Random):
    """See ``world.api.Random``."""

    def token(self, size):
        return self.randbytes(size)


def open_access(world):
    """Everybody may do everything."""
    return access.Access(world, access.AccessSettings(
        allow_unauthenticated=True))


class Fabric:
    """``held``: (from, to) whose messages wait; ``cut``: who cannot
    connect to whom; ``refused``: errors that closed a connection."""

    def __init__(self):
        self.listeners = {}
        self.connections = {}
        self.held = set()
        self.cut = set()
        self.refused = []

    def hold(self, source, target):
        self.held.add((source, target))

    def release(self, source, target):
        self.held.discard((source, target))
        for connection in list(self.connections):
            connection.flush()

    def sever(self, name):
        """All connections of and to ``name`` are lost, now."""
        for connection in list(self.connections):
            if name in (connection.source, connection.target):
                connection.abort()


class World:
    """See ``world.api.World``; ``network`` is itself."""

    def __init__(self, name, fabric):
        self.name = name
        self.fabric = fabric
        self.clock = Clock()
        self.random = Random(name)
        self.network = self
        self.tasks = {}
        self.failures = []

    def spawn(self, coroutine, name=''):
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task):
        self.tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(task.exception())

    def call_batched(self, function):
        asyncio.get_running_loop().call_soon(function)

    def listen(self, factory):
        self.fabric.listeners[self.name, PORT] = self, factory

    async def connect(self, factory, host, port, timeout):
        await asyncio.sleep(0)
        fabric = self.fabric
        if (self.name, host) in fabric.cut or (
                (host, port) not in fabric.listeners):
            raise ConnectionRefusedError('refused by %s' % host)
        _, accept = fabric.listeners[host, port]
        ours = Connection(fabric, self.name, host, factory())
        theirs = Connection(fabric, host, self.name, accept())
        ours.peer, theirs.peer = theirs, ours
        fabric.connections[ours] = fabric.connections[theirs] = None
        theirs.session.connected(theirs)
        ours.session.connected(ours)
        return ours.session

    async def close(self):
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Door:
    """What the native face is to ``peer.server``: lets HELLO in."""

    room_bytes = 0

    def __init__(self, server):
        self.server = server
        self.connection = None
        self.session = None
        self._greeting = None

    def connected(self, connection):
        self.connection = connection
        self._greeting = self.server.greeting(connection)

    def disconnected(self, error):
        if self.session is not None:
            self.session.disconnected(error)

    def received(self, buffer, start, end):
        if self.session is not None:
            return self.session.received(buffer, start, end)
        fields = wire.HEADER.unpack_from(buffer, start)
        body = start + wire.HEADER_BYTES
        payload = bytes(buffer[body:body + fields[5]])
        try:
            answer = self._greeting.take(payload)
            self.connection.send(*wire.pack_response(
                wire.HELLO, self.server.epoch(), fields[4], 0,
                payload=answer))
            self.session = self._greeting.session
        except errors.SheepdogError as exc:
            self.connection.send(*wire.pack_response(
                wire.HELLO, self.server.epoch(), fields[4], exc.result,
                payload=wire.pack_json({'error': str(exc)})))
            self.connection.close()
        return body + fields[5]
