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
import unittest

from bench import flood
from bench import native as client_module
from bench import rows
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.tests.unit.bench import fakes
from sheepdog.wire import native

MOMENTS = 0.05, 0.5, 5.0, 50.0
"""To run for, until something is done: the machine may stand still."""


class NativeClientTest(unittest.IsolatedAsyncioTestCase):

    async def open(self, name='vm', **options):
        self.server = fakes.NativeServer(**options)
        listener = await asyncio.get_running_loop().create_server(
            lambda: self.server, '127.0.0.1', 0)
        self.addCleanup(listener.close)
        port = listener.sockets[0].getsockname()[1]
        client = await client_module.NativeClient.open('127.0.0.1', port,
                                                       name)
        self.addCleanup(client.link.close)
        return client

    async def test_fills_as_clients_do(self):
        client = await self.open(objects=3)
        self.assertTrue(self.server.is_locked)
        self.assertEqual(3, client.objects)
        await client.fill()
        objects = self.server.objects
        entries = objects[ids.vdi_oid(fakes.NativeServer.VDI_ID)][
            inode.MAP_OFFSET:]
        for index in range(3):
            self.assertEqual(fakes.NativeServer.VDI_ID, int.from_bytes(
                entries[4 * index:4 * index + 4], 'little'))
            content = objects[ids.data_oid(fakes.NativeServer.VDI_ID, index)]
            self.assertGreater(len(set(content)), 200)
        self.assertEqual(bytes(8), entries[12:20])
        create = (native.CREATE_AND_WRITE_OBJ,
                  native.FLAG_WRITE | native.FLAG_DIRECT)
        self.assertEqual(3, self.server.seen[create])
        await client.close()
        self.assertFalse(self.server.is_locked)

    async def test_no_such_vdi(self):
        with self.assertRaises(errors.NoVdi):
            await self.open('other')

    async def test_every_row(self):
        client = await self.open()
        await client.fill()
        for row in rows.all_rows():
            if row.face != 'native':
                continue
            self.server.seen.clear()
            for seconds in MOMENTS:
                outcome = await client.flood(row).run(0.0, seconds, float)
                if outcome.operations:
                    break
            with self.subTest(row=row.name):
                (opcode, flags), = self.server.seen
                self.assertEqual(
                    native.WRITE_OBJ if row.is_write else native.READ_OBJ,
                    opcode)
                self.assertEqual(
                    0 if not row.is_write else native.FLAG_WRITE
                    | (native.FLAG_DIRECT if row.is_durable
                       else native.FLAG_CACHE), flags)
                self.assertGreater(outcome.operations, 0)
                self.assertEqual(outcome.operations, len(outcome.latencies))
                self.assertGreater(min(outcome.latencies), 0.0)
                # What was counted, and what came before and after it.
                self.assertGreaterEqual(self.server.seen[opcode, flags],
                                        outcome.operations + row.depth - 1)
        await client.close()

    async def test_an_error_ends_the_run(self):
        client = await self.open(fail_after=50)
        await client.fill()
        row = next(row for row in rows.all_rows() if row.depth == 32)
        with self.assertRaisesRegex(flood.BenchError, 'StorageError'):
            await client.flood(row).run(0.0, 30.0, float)

    async def test_a_lost_connection_ends_the_run(self):
        client = await self.open()
        await client.fill()
        asyncio.get_running_loop().call_later(
            0.05, self.server.transport.abort)
        with self.assertRaisesRegex(flood.BenchError, 'lost'):
            await client.flood(rows.all_rows()[0]).run(0.0, 30.0, float)


class ParserTest(unittest.TestCase):

    def answer(self, slot, length, result=0):
        fields = (1, native.READ_OBJ, 0, 0, slot)
        return native.pack_response(fields, result, 0, length) + bytes(length)

    def test_any_cut(self):
        parse = client_module.parser(100)
        stream = b''.join(self.answer(slot, 100) for slot in (4, 2, 9))
        for cut in range(len(stream) + 1):
            done = []
            start, slot = parse(stream, 0, cut, done)
            self.assertEqual([4, 2, 9][:cut // 148], done)
            if cut % 148 >= 48:      # a header, and not all of its payload
                self.assertEqual((148 * (cut // 148 + 1),
                                  [4, 2, 9][cut // 148]), (start, slot))
            else:
                self.assertEqual(148 * (cut // 148), start)

    def test_what_is_not_as_it_should_be(self):
        parse = client_module.parser(100)
        for answer in (self.answer(1, 99), self.answer(1, 100, 3)):
            with self.assertRaises(flood.BenchError):
                parse(answer, 0, len(answer), [])
