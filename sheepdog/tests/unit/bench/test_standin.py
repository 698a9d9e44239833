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
import pathlib
import tempfile
import unittest

from bench import machine
from bench import rows
from bench import standin


class StandInTest(unittest.IsolatedAsyncioTestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name)
        self.stand_in = standin.StandIn(self.path)
        self.addCleanup(self.stand_in.stop)

    async def flood(self, **wanted):
        row, = (row for row in rows.all_rows() if row.face == 'native'
                and not row.is_durable
                and wanted.items() <= vars(row).items())
        # (Until something is done: the machine may stand still.)
        for seconds in 0.1, 1.0, 10.0:
            outcome = await asyncio.wait_for(self.stand_in.flood(row).run(
                0.0, seconds,
                lambda: machine.cpu_seconds(self.stand_in.pids)), 60)
            if outcome.operations and outcome.spent:
                break
        return outcome

    async def test_all_three_keep_what_is_written(self):
        await self.stand_in.start()
        await self.flood(size=1 << 20, is_write=True, depth=4)
        written = await self.flood(size=4096, is_write=True, depth=32)
        self.assertGreater(written.operations, 0)
        self.assertGreater(written.spent, 0)
        contents = {path.read_bytes()
                    for path in self.path.glob('blocks-*')}
        self.assertEqual(1, len(contents))
        self.assertTrue(any(contents.pop()))
        self.assertEqual(3, len(list(self.path.glob('blocks-*'))))

    async def test_reads_are_answered_in_full(self):
        await self.stand_in.start()
        for size, depth in ((4096, 32), (1 << 20, 4)):
            read = await self.flood(size=size, is_write=False, depth=depth)
            self.assertGreater(read.operations, 0)

    async def test_stop_ends_its_processes(self):
        await self.stand_in.start()
        pids = self.stand_in.pids
        self.stand_in.stop()
        for pid in pids:
            with self.assertRaises(ProcessLookupError):
                os.kill(pid, 0)
