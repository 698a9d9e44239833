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

import contextlib
import io
import itertools
import json
import time
import unittest
from unittest import mock

from bench import rows
from tools import cpu_guard

READ = 'native random read 4K, depth 32'
WRITE = 'native random write 4K write-back, depth 32'
LIMITS = {READ: 10.0, WRITE: 100.0}


class _Client:
    closed = 0

    async def close(self):
        self.closed += 1


class GuardTest(unittest.IsolatedAsyncioTestCase):

    async def judge(self, found: dict, seconds=60.0, is_quiet=True):
        """What comes of tries that find this, name → ratios in turn."""
        self.tries = []
        client = _Client()

        async def measure(client, row, pids):
            self.tries.append(row.name)
            return next(found[row.name]), is_quiet

        async def open_client(cluster):
            return client

        with mock.patch.object(cpu_guard, 'measure', measure), \
                mock.patch.object(cpu_guard, 'open_client', open_client):
            judged = await cpu_guard.judge(
                mock.Mock(), LIMITS, time.monotonic() + seconds)
        self.assertEqual(1, client.closed)
        return judged

    async def test_one_good_try_is_enough(self):
        found = await self.judge({READ: iter([12.0, 11.0, 9.5]),
                                  WRITE: iter([100.0])})
        self.assertEqual({READ: 9.5, WRITE: 100.0},
                         {name: one.lowest for name, one in found.items()})
        self.assertEqual([1, 3], sorted(map(self.tries.count,
                                            (READ, WRITE))))
        self.assertEqual(0, self.report(found)[0])

    async def test_none_is_too_much(self):
        for is_quiet, ratio, over in ((True, 10.1, 1), (True, 13.0, 1),
                                      (False, 14.9, 0), (False, 15.1, 1)):
            found = await self.judge({READ: itertools.repeat(ratio),
                                      WRITE: iter([90.0])}, 0.02, is_quiet)
            self.assertEqual(over, self.report(found)[0])

    def report(self, found):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            over = cpu_guard.report(found, LIMITS)
        return over, text.getvalue()

    def found(self, read, write, quiet_tries=2):
        found = {READ: cpu_guard.Found(), WRITE: cpu_guard.Found()}
        for _ in range(quiet_tries):
            found[READ].take(read, True)
            found[WRITE].take(write, True)
        return found

    def test_report(self):
        over, text = self.report(self.found(13.0, 90.0))
        self.assertEqual(1, over)
        self.assertIn('TOO MUCH: +30 %', text)
        self.assertIn('--record', text)
        over, text = self.report(self.found(10.0, 90.0))
        self.assertEqual(0, over)
        self.assertNotIn('TOO MUCH', text)
        over, text = self.report(self.found(13.0, 90.0, 1))
        self.assertEqual(0, over)
        self.assertIn('too busy to tell', text)

    def test_what_was_never_measured_is_too_much(self):
        self.assertEqual(2, self.report(self.found(0, 0, 0))[0])

    def test_limits_are_of_loads_that_exist(self):
        limits = json.loads(cpu_guard.LIMITS.read_text())['limits']
        self.assertLessEqual(set(limits),
                             {row.name for row in rows.all_rows()})
        self.assertIn(READ, limits)
        # 30 % over what was measured must be over the limit.
        self.assertLess(cpu_guard.MARGIN, 1.3)
