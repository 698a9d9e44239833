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
import json
import unittest
from unittest import mock

from bench import rows
from tools import cpu_guard

READ = 'native random read 4K, depth 32'
WRITE = 'native random write 4K write-back, depth 32'
OWN_WORK = {READ: 8.0, WRITE: 60.0}


def tries(*sheep, standin=2.0, is_quiet=True):
    return (cpu_guard.Try(one, standin, is_quiet) for one in sheep)


class PairTest(unittest.IsolatedAsyncioTestCase):

    async def judge(self, found: dict, rounds=1000):
        """What comes of tries that find this, name → tries in turn."""
        self.tries = []

        async def measure(row):
            self.tries.append(row.name)
            return next(found[row.name])

        return await cpu_guard.judge(
            mock.Mock(measure=measure), OWN_WORK,
            iter([False] * rounds + [True]).__next__)

    async def test_one_good_try_is_enough(self):
        found = await self.judge({READ: tries(13.0, 12.5, 11.9),
                                  WRITE: tries(74.0)})
        self.assertEqual([11.9, 74.0], [found[READ].best.sheep,
                                        found[WRITE].best.sheep])
        self.assertEqual([1, 3], sorted(map(self.tries.count,
                                            (READ, WRITE))))
        self.assertEqual(0, report(found)[0])

    def judge_plan(self, *turns):
        """What it says and prints of tries that take that many turns."""
        costs = iter([{'cpu': turn * 0.5} for turn in turns])
        with mock.patch.multiple(
                cpu_guard.plan, Situation=mock.Mock(),
                measure=lambda situation: next(costs)), mock.patch.object(
                cpu_guard.machine, 'calibrate', lambda times: 0.5), \
                contextlib.redirect_stdout(io.StringIO()) as printed:
            return cpu_guard.judge_plan(10.0), printed.getvalue(), len(
                list(costs))

    def test_the_plan(self):
        over, printed, left = self.judge_plan(30.0, 20.0, 9.0)
        self.assertEqual((0, 1), (over, left))
        self.assertIn('ok', printed)
        over, printed, _ = self.judge_plan(*[20.1] * cpu_guard.PLAN_TRIES)
        self.assertEqual(1, over)
        self.assertIn('TOO MUCH', printed)

    async def test_none_is_too_much(self):
        for is_quiet, sheep, over in ((True, 12.1, 1), (True, 13.0, 1),
                                      (False, 17.9, 0), (False, 18.1, 1)):
            found = await self.judge(
                {READ: tries(*[sheep] * 5, is_quiet=is_quiet),
                 WRITE: tries(60.0)}, rounds=5)
            self.assertEqual(over, report(found)[0])

    async def test_the_median_is_recorded(self):
        measured = iter([2.0, 2.5, 9.0] * cpu_guard.RECORD_ROUNDS)

        async def measure(row):
            return cpu_guard.Try(10.0 + next(measured), 10.0, False)

        self.assertEqual(
            {READ: 2.5},
            await cpu_guard.record(mock.Mock(measure=measure), [READ]))


class TryTest(unittest.TestCase):

    def test_what_waking_costs_here_is_not_held_against_the_sheep(self):
        for standin in (2.0, 50.0):
            one = cpu_guard.Try(standin + 8.0, standin, True)
            self.assertEqual(1.0, one.over(8.0))
            one = cpu_guard.Try(1.3 * (standin + 8.0), standin, True)
            self.assertAlmostEqual(1.3, one.over(8.0))


def report(found):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        over = cpu_guard.report(found)
    return over, text.getvalue()


class ReportTest(unittest.TestCase):

    def found(self, read, quiet_tries=2):
        found = {name: cpu_guard.Found(work)
                 for name, work in OWN_WORK.items()}
        for one in tries(*[read] * quiet_tries):
            found[READ].take(one)
        for one in tries(*[60.0] * quiet_tries):
            found[WRITE].take(one)
        return found

    def test_report(self):
        over, text = report(self.found(13.0))
        self.assertEqual(1, over)
        self.assertIn('TOO MUCH: +30 %', text)
        self.assertIn('--record', text)
        over, text = report(self.found(10.0))
        self.assertEqual(0, over)
        self.assertNotIn('TOO MUCH', text)
        over, text = report(self.found(13.0, 1))
        self.assertEqual(0, over)
        self.assertIn('too busy to tell', text)

    def test_what_was_never_measured_is_too_much(self):
        self.assertEqual(2, report(self.found(0, 0))[0])

    def test_limits_are_of_loads_that_exist(self):
        recorded = json.loads(cpu_guard.LIMITS.read_text())['own_work']
        self.assertLessEqual(set(recorded),
                             {row.name for row in rows.all_rows()})
        self.assertIn(READ, recorded)
        # 30 % over what was measured must be over the limit.
        self.assertLess(cpu_guard.MARGIN, 1.3)
