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
import collections
import contextlib
import unittest

from bench import flood
from bench import nbd
from bench import rows
from sheepdog.tests.unit.bench import fakes

MOMENTS = 0.05, 0.5, 5.0, 50.0
"""To run for, until something is done: the machine may stand still."""


class NbdClientTest(unittest.IsolatedAsyncioTestCase):

    async def open(self, name='vm', size=3 << 20):
        self.commands = collections.Counter()

        async def handle(reader, writer):
            with contextlib.closing(writer):
                await fakes.serve_nbd(reader, writer, size, self.commands)
            handled.set_result(None)

        listener = await asyncio.start_server(handle, '127.0.0.1', 0,
                                              limit=64 << 20)
        handled = asyncio.get_running_loop().create_future()
        self.addAsyncCleanup(asyncio.wait_for, handled, 10)
        self.addCleanup(listener.close)
        port = listener.sockets[0].getsockname()[1]
        client = await nbd.NbdClient.open('127.0.0.1', port, name)
        self.addCleanup(client.link.close)
        return client

    async def test_negotiates(self):
        client = await self.open()
        self.assertEqual(3 << 20, client.size)
        await client.close()

    async def test_refused(self):
        with self.assertRaisesRegex(flood.BenchError, 'refused'):
            await self.open('other')

    async def test_every_row(self):
        client = await self.open()
        await client.fill()
        self.assertEqual({(1, 0): 1, (3, 0): 1}, dict(self.commands))
        for row in rows.all_rows():
            if row.face != 'nbd':
                continue
            self.commands.clear()
            for seconds in MOMENTS:
                outcome = await client.flood(row).run(0.0, seconds, float)
                if outcome.operations:
                    break
            with self.subTest(row=row.name):
                self.assertEqual(
                    {(int(row.is_write), int(row.is_durable))},
                    set(self.commands))
                self.assertGreater(outcome.operations, 0)
        await client.close()

    async def test_an_error_ends_the_run(self):
        client = await self.open()
        client.size = 4 << 20          # more than there is
        row = next(row for row in rows.all_rows()
                   if row.face == 'nbd' and not row.is_random)
        with self.assertRaisesRegex(flood.BenchError, 'error 22'):
            await client.flood(row).run(0.0, 30.0, float)
