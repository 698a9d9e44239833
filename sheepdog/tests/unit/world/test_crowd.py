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

"""Tests of sheepdog.world.crowd, over real sockets."""

import asyncio
import socket
import unittest
from unittest import mock

from sheepdog.model import errors
from sheepdog.world import crowd
from sheepdog.world import network
from sheepdog.world import transport
from sheepdog.world import turn

HEAD = 4
SECONDS = 30


class Frames:
    """A session that takes a length (4 bytes) and as many bytes."""

    def __init__(self):
        self.room_bytes = 0
        self.taken = []
        self.connection = None
        self.is_gone = False

    def connected(self, connection):
        self.connection = connection

    def received(self, buffer, start, end):
        self.room_bytes = 0
        while end - start >= HEAD:
            size = int.from_bytes(buffer[start:start + HEAD], 'big')
            if size == 0xFFFFFFFF:
                raise errors.CorruptFrame('garbage')
            if end - start < HEAD + size:
                self.room_bytes = HEAD + size
                break
            self.taken.append(size)
            start += HEAD + size
            self.connection.send(b'ok')
        return start

    def disconnected(self, error):
        self.is_gone = True


class CrowdCase(unittest.IsolatedAsyncioTestCase):
    """A network, and clients of it."""

    async def asyncSetUp(self):
        self.network = network.StreamNetwork(
            turn.Turn(asyncio.get_running_loop()))
        self.addCleanup(self.network.abort_all)
        self.sessions = []
        listener = await self.network.listen(self.session, host='127.0.0.1')
        self.addAsyncCleanup(listener.close)
        self.address = listener.address

    def session(self):
        self.sessions.append(Frames())
        return self.sessions[-1]

    def limit(self, **limits):
        for name, value in limits.items():
            patch = mock.patch.object(crowd, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    async def until(self, condition, what=''):
        for _ in range(SECONDS * 100):
            if condition():
                return
            await asyncio.sleep(0.01)
        self.fail(what or 'it does not come')

    async def connect(self, source='127.0.0.1', data=b''):
        """(a client's socket, its session here)."""
        client = socket.socket()
        self.addCleanup(client.close)
        client.bind((source, 0))
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        count = len(self.sessions)
        await loop.sock_connect(client, self.address)
        await self.until(lambda: len(self.sessions) > count and
                         self.sessions[count].connection)
        if data:
            await loop.sock_sendall(client, data)
        return client, self.sessions[count]


class CrowdTest(CrowdCase):

    async def test_the_oldest_of_the_silent_makes_room(self):
        self.limit(SILENT_MAX=3)
        _, speaker = await self.connect(data=bytes(HEAD))
        await self.until(lambda: speaker.taken)
        silent = [(await self.connect())[1] for _ in range(5)]
        await self.until(lambda: silent[1].is_gone)
        self.assertEqual([True, True, False, False, False],
                         [session.is_gone for session in silent])
        self.assertFalse(speaker.is_gone)

    async def test_who_says_nothing_is_cut_off(self):
        self.limit(FIRST_SECONDS=1.5, SWEEP_SECONDS=0.05)
        _, speaker = await self.connect(data=bytes(HEAD))
        _, silent = await self.connect()
        _, half = await self.connect(data=b'\0')
        with self.assertLogs(network.LOG, 'WARNING') as logs:
            await self.until(lambda: silent.is_gone and half.is_gone)
        self.assertFalse(speaker.is_gone)
        # One line a minute for all of one address.
        self.assertEqual(1, len(logs.output))

    async def test_a_message_that_does_not_end(self):
        self.limit(MESSAGE_SECONDS=1.5, SWEEP_SECONDS=0.05)
        idle = (await self.connect(data=bytes(HEAD)))[1]
        client, slow = await self.connect(data=bytes(HEAD) + b'\0\0\0\x09')
        loop = asyncio.get_running_loop()
        await self.until(lambda: slow.taken)
        for _ in range(SECONDS * 20):
            if slow.is_gone:
                break
            try:
                await loop.sock_sendall(client, b'x' if _ < 5 else b'')
            except OSError:
                break
            await asyncio.sleep(0.05)
        await self.until(lambda: slow.is_gone)
        self.assertEqual([0], slow.taken)
        self.assertFalse(idle.is_gone)

    async def test_whom_we_keep_waiting_is_not_to_blame(self):
        self.limit(MESSAGE_SECONDS=1.0, SWEEP_SECONDS=0.05)
        client, session = await self.connect(data=bytes(HEAD) + b'\0')
        await self.until(lambda: session.connection.half_since)
        session.connection.pause_reading()
        await asyncio.sleep(2.0)
        self.assertFalse(session.is_gone)
        session.connection.resume_reading()
        await asyncio.get_running_loop().sock_sendall(client, b'\0\0\0')
        await self.until(lambda: len(session.taken) == 2)

    async def test_large_buffers_are_bounded(self):
        size = 1 << 20
        self.limit(LARGE_MAX_BYTES=8 << 20, SWEEP_SECONDS=0.05,
                   MESSAGE_SECONDS=2.0)
        loop = asyncio.get_running_loop()
        half = size.to_bytes(4, 'big') + bytes(size - 1)
        hoarders = [await self.connect() for _ in range(6)]
        sending = [loop.create_task(loop.sock_sendall(client, half))
                   for client, _ in hoarders]
        known = self.network.crowd
        await self.until(lambda: known._waiting)
        self.assertLessEqual(known._large_bytes, 4 << 20)
        # Whoever comes from elsewhere has room all the same.
        client, other = await self.connect('127.0.0.2')
        await loop.sock_sendall(client, half + b'\0')
        await self.until(lambda: other.taken)
        # In the end who hoards is cut off, one batch after the other.
        await self.until(lambda: all(s.is_gone for _, s in hoarders))
        for one in sending:
            one.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        self.assertEqual({}, known._waiting)
        self.assertFalse(other.is_gone)

    async def test_who_waits_is_read_on(self):
        size = 1 << 20
        self.limit(LARGE_MAX_BYTES=4 << 20, SWEEP_SECONDS=0.05)
        loop = asyncio.get_running_loop()
        whole = size.to_bytes(4, 'big') + bytes(size)
        clients = [await self.connect() for _ in range(10)]
        await asyncio.gather(*(loop.sock_sendall(client, whole * 3)
                               for client, _ in clients))
        await self.until(lambda: all(len(session.taken) == 3
                                     for _, session in clients))

    async def test_it_forgets_who_left(self):
        clients = [await self.connect(data=b'\0\x20\0\0' + bytes(size))
                   for size in (0, 5, 1 << 18)]
        for client, _ in clients:
            client.close()
        await self.until(lambda: all(s.is_gone for _, s in clients))
        known = self.network.crowd
        self.assertEqual(({}, {}, {}, {}, 0, {}), (
            known._members, known._silent, known._large, known._waiting,
            known._large_bytes, known._by_host))

    async def test_no_buffer_outlives_its_connection(self):
        # (Session and connection are a cycle.)
        client, session = await self.connect(
            data=b'\0\x20\0\0' + bytes(1 << 18))
        await self.until(lambda: self.network.crowd._large)
        client.close()
        await self.until(lambda: session.is_gone)
        self.assertEqual(0, len(session.connection._buffer))

    async def test_idle_connections_are_cheap(self):
        _, session = await self.connect()
        self.assertEqual(transport.BUFFER_FIRST_BYTES,
                         len(session.connection._buffer))

    async def test_garbage_is_one_line_in_the_log(self):
        with self.assertLogs('sheepdog', 'WARNING') as logs:
            for _ in range(20):
                _, session = await self.connect(data=b'\xff' * 100)
                await self.until(lambda: session.is_gone)
        self.assertEqual(1, len(logs.output), logs.output)
        self.assertNotIn('Traceback', logs.output[0])
