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

"""Tests of sheepdog.faces.metrics.server, over real sockets."""

import asyncio
import contextlib
import time
import unittest
from unittest import mock

from sheepdog.faces.metrics import server
from sheepdog.faces.metrics import settings
from sheepdog.world import real

SECONDS = 60


class ServerCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.world = real.RealWorld()
        self.made = 0
        self.face = server.MetricsFace(
            self.world, settings.MetricsSettings('127.0.0.1', 0),
            self.make_page, 'text/plain; version=0.0.4')
        await self.face.start()

    async def asyncTearDown(self):
        await self.face.stop()
        await self.world.close()

    def make_page(self):
        self.made += 1
        return b'sheepdog_epoch %d.0\n' % self.made

    async def connect(self):
        return await asyncio.open_connection(*self.face.address[:2])

    async def ask(self, request):
        """(status line, headers and body) of the answer; ('', '') where the
        connection just ends."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), SECONDS)
        except ConnectionError:
            answer = b''
        finally:
            writer.close()
        status, _, rest = answer.decode().partition('\r\n')
        return status, rest


class AnswersTest(ServerCase):
    async def test_page(self):
        status, rest = await self.ask(
            b'GET /metrics?name=x HTTP/1.1\r\nHost: h\r\n\r\n')
        self.assertEqual('HTTP/1.1 200 ', status)
        self.assertIn('text/plain; version=0.0.4', rest)
        self.assertTrue(rest.endswith('\r\n\r\nsheepdog_epoch 1.0\n'), rest)

    async def test_head(self):
        status, rest = await self.ask(
            b'HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n')
        self.assertIn('200', status)
        self.assertNotIn('sheepdog_epoch', rest)

    async def test_in_pieces(self):
        reader, writer = await self.connect()
        for byte in b'GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n':
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(), SECONDS)
        writer.close()
        self.assertIn(b'sheepdog_epoch 1.0', answer)

    async def test_a_body_in_pieces(self):
        reader, writer = await self.connect()
        for piece in (b'POST /metrics HTTP/1.1\r\nHost: h\r\n'
                      b'Content-Length: 2\r\n\r\n', b'a', b'b'):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        answer = await asyncio.wait_for(reader.read(), SECONDS)
        writer.close()
        self.assertIn(b'405', answer)

    async def test_refusals(self):
        for request, status in (
                (b'GET / HTTP/1.1\r\nHost: h\r\n\r\n', '404'),
                (b'GET /metricsx HTTP/1.1\r\nHost: h\r\n\r\n', '404'),
                (b'POST /metrics HTTP/1.1\r\nHost: h\r\n'
                 b'Content-Length: 2\r\n\r\nab', '405'),
                (b'\x00\x01\x02 what\r\n\r\n', '400'),
                (b'GET /metrics HTTP/1.1\r\n\r\n', '400'),
                (b'GET /metrics HTTP/1.1\r\nHost: h\r\nX: '
                 + b'x' * server.HEAD_MAX_BYTES, '431'),
                (b'POST /metrics HTTP/1.1\r\nHost: h\r\n'
                 b'Content-Length: 999999\r\n\r\n'
                 + b'x' * 2 * server.HEAD_MAX_BYTES, '431')):
            with self.subTest(request[:40]):
                self.assertIn(status, (await self.ask(request))[0])
        self.assertEqual(0, self.made)

    async def test_the_page_is_made_once_a_second_at_most(self):
        request = b'GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n'
        with mock.patch.object(server, 'FRESH_SECONDS', 3600):
            bodies = {(await self.ask(request))[1] for _ in range(5)}
        self.assertEqual((1, 1), (len(bodies), self.made))
        with mock.patch.object(server, 'FRESH_SECONDS', 0):
            self.face._page_until = None
            await self.ask(request)
            await self.ask(request)
        self.assertEqual(3, self.made)

    async def test_requests_behind_the_first_are_not_answered(self):
        _, rest = await self.ask(
            2 * b'GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n')
        self.assertEqual(1, rest.count('sheepdog_epoch'))


class BoundsTest(ServerCase):
    async def assert_closed(self, reader):
        with contextlib.suppress(ConnectionError):
            self.assertEqual(b'', await asyncio.wait_for(reader.read(),
                                                         SECONDS))

    async def test_a_silent_client_is_cut_off(self):
        with mock.patch.object(server, 'CONNECTION_SECONDS', 0.05):
            reader, writer = await self.connect()
            writer.write(b'GET /metr')
            await self.assert_closed(reader)
        writer.close()

    async def test_a_client_that_does_not_read_is_cut_off(self):
        with mock.patch.object(server, 'CONNECTION_SECONDS', 0.2), \
                mock.patch.object(self.face, '_make_page',
                                  lambda: bytes(32 << 20)):
            _, writer = await self.connect()
            writer.write(b'GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n')
            await self.until(lambda: self.face._sessions)
            await self.until(lambda: not self.face._sessions)
        writer.close()

    async def test_connections_at_once(self):
        with mock.patch.object(server, 'CONNECTIONS_MAX', 3):
            kept = [await self.connect() for _ in range(3)]
            await self.until(lambda: len(self.face._sessions) == 3)
            with self.assertLogs(server.LOG, 'WARNING') as logs:
                for _ in range(2):
                    reader, writer = await self.connect()
                    await self.assert_closed(reader)
                    writer.close()
            self.assertEqual(1, len(logs.records))
            # When one goes, there is room again.
            kept.pop()[1].close()
            await self.until(lambda: len(self.face._sessions) == 2)
            self.assertIn('200', (await self.ask(
                b'GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n'))[0])
        for _, writer in kept:
            writer.close()

    async def test_connections_in_a_second(self):
        clock = mock.Mock(monotonic=lambda: 1000.0)
        self.world.clock = clock
        with self.assertLogs(server.LOG, 'WARNING'):
            answers = [(await self.ask(
                b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'))[0]
                for _ in range(server.CONNECTIONS_PER_SECOND_MAX + 2)]
        self.assertEqual(2, answers.count(''))
        self.assertEqual(['', ''], answers[-2:])
        clock.monotonic = lambda: 1001.0
        self.assertIn('404', (await self.ask(
            b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'))[0])

    async def test_stop_ends_connections(self):
        reader, writer = await self.connect()
        await self.until(lambda: self.face._sessions)
        await self.face.stop()
        await self.assert_closed(reader)
        writer.close()

    async def until(self, condition):
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            await asyncio.sleep(0.01)
