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

import asyncio
import os
import socket
import stat
import struct
import tempfile
import unittest

from sheepdog.model import errors
from sheepdog.world import network
from sheepdog.world import transport
from sheepdog.world import turn

LENGTH = struct.Struct('<I')
SECONDS = 60


class Lines:
    """A session of messages: four bytes of length, then so many."""

    room_bytes = 0

    def __init__(self, on_message=None):
        self.on_message = on_message
        self.messages = []
        self.connection = None
        self.ended = asyncio.get_running_loop().create_future()
        self.news = asyncio.Event()

    def connected(self, connection):
        self.connection = connection

    def received(self, buffer, start, end):
        while end - start >= LENGTH.size:
            length, = LENGTH.unpack_from(buffer, start)
            stop = start + LENGTH.size + length
            if stop > end:
                self.room_bytes = LENGTH.size + length
                return start
            self.room_bytes = 0
            message = bytes(memoryview(buffer)[start + LENGTH.size:stop])
            start = stop
            self.messages.append(message)
            self.news.set()
            if self.on_message:
                self.on_message(self, message)
        return start

    def disconnected(self, error):
        self.ended.set_result(error)

    async def wait(self, count):
        while len(self.messages) < count:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), SECONDS)

    def send(self, *messages):
        for message in messages:
            self.connection.send(LENGTH.pack(len(message)), message)


def echo(session, message):
    session.send(message)


class TransportTest(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        self.loop = asyncio.get_running_loop()
        self.network = network.StreamNetwork(turn.Turn(self.loop))
        self.accepted = []
        self.addCleanup(self.network.abort_all)

    async def listen(self, on_message=None, **arguments):
        def factory():
            self.accepted.append(Lines(on_message))
            return self.accepted[-1]

        if 'path' not in arguments:
            arguments['host'] = '127.0.0.1'
        listener = await self.network.listen(factory, **arguments)
        self.addAsyncCleanup(listener.close)
        return listener

    async def until(self, condition):
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.001)

    async def pair(self, on_message=None):
        listener = await self.listen(on_message)
        client = await self.network.connect(Lines, *listener.address, SECONDS)
        while not self.accepted:
            await asyncio.sleep(0.001)
        return client, self.accepted[0]

    async def test_echo_of_all_lengths(self):
        client, server = await self.pair(echo)
        sizes = [0, 1, 100, 4096, 65536, 70000, 1 << 20, 3, 5 << 20, 17]
        messages = [os.urandom(size) for size in sizes]
        client.send(*messages)
        await client.wait(len(sizes))
        self.assertEqual(messages, client.messages)
        self.assertEqual('127.0.0.1:',
                         client.connection.peername[:10])
        self.assertFalse(client.connection.is_local)

    async def test_byte_by_byte(self):
        listener = await self.listen(echo)
        reader, writer = await asyncio.open_connection(*listener.address)
        for byte in LENGTH.pack(5) + b'hello':
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        self.assertEqual(b'hello', (await reader.readexactly(9))[4:])
        writer.close()
        await self.accepted[0].ended

    async def test_one_write_per_turn(self):
        client, server = await self.pair()
        writes = []
        transport_ = client.connection._transport

        class Spy:
            def writelines(self, buffers):
                writes.append(list(buffers))
                transport_.writelines(buffers)

            def write(self, data):
                writes.append(data)
                transport_.write(data)

            def __getattr__(self, name):
                return getattr(transport_, name)

        client.connection._transport = Spy()
        client.send(*[b'x' * 5000] * 10)
        client.send(b'small')
        self.assertEqual(10 * 5004 + 9, client.connection.queued_bytes)
        await server.wait(11)
        self.assertEqual(1, len(writes))
        client.send(*[b'small'] * 10)
        await server.wait(21)
        self.assertEqual(b'\5\0\0\0small' * 10, writes[1])

    async def test_a_large_buffer_does_not_stay(self):
        before = transport.BUFFER_KEPT_SECONDS
        self.addCleanup(setattr, transport, 'BUFFER_KEPT_SECONDS', before)
        transport.BUFFER_KEPT_SECONDS = 0.02
        sizes = []
        client, server = await self.pair(
            lambda session, message:
                sizes.append(len(session.connection._buffer)))
        client.send(bytes(4 << 20))
        await server.wait(1)
        self.assertTrue(4 << 20 < sizes[0]
                        <= (4 << 20) + transport.BUFFER_MIN_BYTES)
        await self.until(lambda: len(server.connection._buffer)
                         == transport.BUFFER_MIN_BYTES)
        client.send(b'still', b'works')
        await server.wait(3)
        self.assertEqual([b'still', b'works'], server.messages[1:])

    async def test_half_a_message_as_long_as_the_small_buffer(self):
        """The buffer shrinks while it is there."""
        before = transport.BUFFER_KEPT_SECONDS
        self.addCleanup(setattr, transport, 'BUFFER_KEPT_SECONDS', before)
        transport.BUFFER_KEPT_SECONDS = 0.02
        client, server = await self.pair()
        client.send(bytes(1 << 20))
        await server.wait(1)
        message = LENGTH.pack(100000) + bytes(100000)
        client.connection.send(message[:transport.BUFFER_MIN_BYTES])
        while server.connection._end < transport.BUFFER_MIN_BYTES:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        client.connection.send(message[transport.BUFFER_MIN_BYTES:])
        await server.wait(2)
        self.assertEqual(bytes(100000), server.messages[1])

    async def test_an_announcement_costs_no_memory(self):
        listener = await self.listen()
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(LENGTH.pack(60 << 20) + b'x' * 1000)
        while not self.accepted or not self.accepted[0].room_bytes:
            await asyncio.sleep(0.001)
        self.assertEqual(transport.BUFFER_FIRST_BYTES,
                         len(self.accepted[0].connection._buffer))
        writer.close()
        await self.accepted[0].ended

    async def test_a_message_longer_than_any_ends_the_connection(self):
        listener = await self.listen()
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(LENGTH.pack(transport.BUFFER_MAX_BYTES))
        with self.assertLogs(network.LOG, 'WARNING'):
            self.assertEqual(b'', await reader.read())
        self.assertIsInstance(await self.accepted[0].ended,
                              errors.InvalidParameters)
        writer.close()

    async def test_pauses_nest(self):
        client, server = await self.pair()
        server.connection.pause_reading()
        server.connection.pause_reading()
        client.send(b'one')
        await asyncio.sleep(0.02)
        server.connection.resume_reading()
        await asyncio.sleep(0.02)
        self.assertEqual([], server.messages)
        server.connection.resume_reading()
        await server.wait(1)

    async def test_paused_from_the_first_moment(self):
        class Shy(Lines):
            def connected(self, connection):
                super().connected(connection)
                connection.pause_reading()

        listener = await self.listen(echo)
        client = await self.network.connect(Shy, *listener.address, SECONDS)
        client.send(b'one', b'x' * 100000)
        await asyncio.sleep(0.05)
        self.assertEqual([], client.messages)
        client.connection.resume_reading()
        await client.wait(2)

    async def test_what_was_read_before_a_pause_comes_after_it(self):
        def pause(session, message):
            session.connection.pause_reading()
            raise_after.append(session)

        raise_after = []

        class OneByOne(Lines):
            def received(self, buffer, start, end):
                length, = LENGTH.unpack_from(buffer, start)
                self.messages.append(
                    bytes(buffer[start + 4:start + 4 + length]))
                self.connection.pause_reading()
                return start + 4 + length

        session = []

        def factory():
            session.append(OneByOne())
            return session[0]

        listener = await self.network.listen(factory, '127.0.0.1')
        self.addAsyncCleanup(listener.close)
        client = await self.network.connect(Lines, *listener.address, SECONDS)
        client.send(b'one', b'two', b'three')
        for count in 1, 2, 3:
            await self.until(lambda: session and len(
                session[0].messages) == count)
            # No more than that.
            await asyncio.sleep(0.02)
            self.assertEqual([b'one', b'two', b'three'][:count],
                             session[0].messages)
            session[0].connection.resume_reading()

    async def test_answers_that_nobody_reads_stop_the_requests(self):
        answer = bytes(1 << 20)
        listener = await self.listen(
            lambda session, message: session.send(answer))
        client = await self.network.connect(Lines, *listener.address, SECONDS)
        client.connection.pause_reading()
        for _ in range(200):
            client.send(b'request')
            await asyncio.sleep(0.0005)
        server = self.accepted[0]
        count = len(server.messages)
        self.assertLess(count, 100)
        self.assertLess(server.connection.queued_bytes, 64 << 20)
        client.connection.resume_reading()
        await client.wait(200)
        self.assertEqual(200, len(server.messages))

    async def test_two_full_directions_do_not_wait_for_each_other(self):
        client, server = await self.pair(echo)
        message = bytes(1 << 20)
        client.send(*[message] * 64)
        await client.wait(64)

    async def test_close_sends_the_rest(self):
        client, server = await self.pair()
        client.send(bytes(10 << 20))
        client.connection.close()
        client.send(b'too late')
        await server.wait(1)
        self.assertEqual(10 << 20, len(server.messages[0]))
        self.assertIsNone(await client.ended)
        self.assertIsNone(await server.ended)
        self.assertEqual(1, len(server.messages))
        client.send(b'no-op')
        client.connection.close()
        client.connection.abort()
        self.assertEqual(0, client.connection.queued_bytes)

    async def test_close_does_not_wait_for_ever(self):
        before = transport.CLOSE_SECONDS
        self.addCleanup(setattr, transport, 'CLOSE_SECONDS', before)
        transport.CLOSE_SECONDS = 0.05
        client, server = await self.pair()
        server.connection.pause_reading()
        client.send(bytes(50 << 20))
        client.connection.close()
        await asyncio.wait_for(client.ended, SECONDS)

    async def test_abort(self):
        client, server = await self.pair()
        client.send(bytes(10 << 20))
        client.connection.abort()
        await client.ended
        await server.ended
        self.assertEqual([], server.messages)

    async def test_a_session_that_raises_ends_its_connection_only(self):
        def fail(session, message):
            if message == b'bad':
                raise KeyError('planned')
            echo(session, message)

        listener = await self.listen(fail)
        good = await self.network.connect(Lines, *listener.address, SECONDS)
        bad = await self.network.connect(Lines, *listener.address, SECONDS)
        with self.assertLogs(transport.LOG, 'ERROR') as logs:
            bad.send(b'bad')
            await bad.ended
        self.assertIn('planned', logs.output[0])
        self.assertIsInstance(await self.accepted[1].ended, KeyError)
        good.send(b'fine')
        await good.wait(1)

    async def test_refused(self):
        listener = await self.listen()
        await listener.close()
        with self.assertRaises(ConnectionRefusedError):
            await self.network.connect(Lines, *listener.address, SECONDS)
        self.assertFalse(self.network._connections)

    async def test_a_closed_listener_leaves_the_accepted(self):
        listener = await self.listen(echo)
        client = await self.network.connect(Lines, *listener.address, SECONDS)
        while not self.accepted:
            await asyncio.sleep(0.001)
        await listener.close()
        client.send(b'alive')
        await client.wait(1)

    async def test_connecting_takes_no_longer_than_allowed(self):
        # A listening socket whose queue is full answers no more.
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(('127.0.0.1', 0))
        full.listen(0)
        others = []
        for _ in range(3):
            other = socket.socket()
            self.addCleanup(other.close)
            other.setblocking(False)
            other.connect_ex(full.getsockname())
            others.append(other)
        with self.assertRaises(TimeoutError):
            await self.network.connect(Lines, *full.getsockname(), 0.1)

    async def test_address_in_use(self):
        listener = await self.listen()
        with self.assertRaises(OSError):
            await self.listen(port=listener.address[1])

    async def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as directory:
            path = directory + '/sock'
            listener = await self.listen(echo, path=path, mode=0o620)
            self.assertEqual(0o620, stat.S_IMODE(os.stat(path).st_mode))
            self.assertEqual(path, listener.address)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(LENGTH.pack(2) + b'hi')
            self.assertEqual(b'hi', (await reader.readexactly(6))[4:])
            connection = self.accepted[0].connection
            self.assertTrue(connection.is_local)
            self.assertEqual('unix:uid=%d' % os.getuid(),
                             connection.peername)
            writer.close()
            await listener.close()
            self.assertFalse(os.path.exists(path))

    async def test_no_delay(self):
        client, server = await self.pair()
        for session in client, server:
            sock = session.connection._transport.get_extra_info('socket')
            self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP,
                                            socket.TCP_NODELAY))


class UvloopTransportTest(TransportTest):
    """The same on the loop that the daemon runs on."""

    def _setupAsyncioRunner(self):
        import uvloop
        self._asyncioRunner = asyncio.Runner(
            debug=True, loop_factory=uvloop.new_event_loop)
