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

from unittest import mock

from sheepdog.recovery import pace as pace_module
from sheepdog.tests.unit import jumping


class Time:
    """Goes on only while somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.sleeps = 0

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        self.sleeps += 1


class TestPace(jumping.Case):

    def setUp(self):
        self.time = Time()
        self.rate = 1000
        self.is_busy = False
        patch = mock.patch.object(pace_module.asyncio, 'sleep',
                                  self.time.sleep)
        patch.start()
        self.addCleanup(patch.stop)
        self.pace = pace_module.Pace(self.time, lambda: self.rate,
                                     lambda: self.is_busy)

    async def spent(self, *sizes):
        begin = self.time.now
        for size in sizes:
            await self.pace.take(size)
        return self.time.now - begin

    async def test_no_more_than_the_rate(self):
        self.assertAlmostEqual(await self.spent(*[100] * 11), 1.0)

    async def test_no_credit_for_a_rest(self):
        await self.spent(100)
        self.time.now += 3600
        self.assertAlmostEqual(await self.spent(*[100] * 11), 1.0)

    async def test_a_rate_may_change(self):
        await self.spent(100)
        self.rate = 100
        self.assertAlmostEqual(await self.spent(100, 100, 100), 2.1)

    async def test_without_a_bound_others_get_their_turn(self):
        self.rate = 0
        self.assertEqual(await self.spent(*[1 << 20] * 10), 0)
        self.assertEqual(self.time.sleeps, 10)

    async def test_clients_go_first_but_not_for_ever(self):
        self.rate = 0
        self.is_busy = True
        longest = pace_module.HOLD_SECONDS * pace_module.HOLD_STEPS
        self.assertAlmostEqual(await self.spent(1, 1), 2 * longest)
