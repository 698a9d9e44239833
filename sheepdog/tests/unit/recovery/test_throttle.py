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
import types
import unittest

from sheepdog.recovery import throttle as throttle_module


class World:
    """``now`` is what its clock says."""

    def __init__(self):
        self.tasks = []
        self.now = 0.0
        self.clock = types.SimpleNamespace(monotonic=lambda: self.now)

    def spawn(self, coroutine, name=''):
        self.tasks.append(asyncio.ensure_future(coroutine))
        return self.tasks[-1]


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


class TestThrottle(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        self.throttle = throttle_module.Throttle(2, 3600.0)
        self.left = 10
        self.under_way = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.world = World()

    async def job(self):
        self.left -= 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1

    def run_crew(self):
        crew = throttle_module.Crew(self.world, self.throttle, self.job,
                                    lambda: self.left)
        return asyncio.ensure_future(crew.run())

    async def test_so_many_at_once(self):
        self.throttle.set(3, 0.0)
        crew = self.run_crew()
        await turns()
        self.assertEqual(self.under_way, 3)
        self.gate.set()
        await asyncio.wait_for(crew, 5)
        self.assertEqual((self.left, self.most), (0, 3))

    async def test_nothing_to_do(self):
        self.left = 0
        await asyncio.wait_for(self.run_crew(), 5)

    async def test_none_said(self):
        self.assertEqual(throttle_module.Throttle().at_once,
                         throttle_module.AT_ONCE)
        self.throttle.set(0, 0.0)
        self.assertEqual(self.throttle.at_once, throttle_module.AT_ONCE)

    async def test_more_at_once_from_now_on(self):
        crew = self.run_crew()
        await turns()
        self.throttle.set(5, 0.0)
        await turns()
        self.assertEqual(self.under_way, 5)
        self.gate.set()
        await asyncio.wait_for(crew, 5)

    async def test_fewer_at_once_from_now_on(self):
        self.throttle.set(5, 0.0)
        crew = self.run_crew()
        await turns()
        self.throttle.set(1, 0.0)
        self.gate.set()
        self.most = 0
        await asyncio.wait_for(crew, 5)
        self.assertEqual((self.left, self.most), (0, 1))

    async def test_a_rest_behind_each(self):
        self.gate.set()
        crew = self.run_crew()
        await turns()
        self.assertEqual(self.left, 8)
        # Ends all rests; the next ones are as long as before.
        self.throttle.wake()
        await turns()
        self.assertEqual(self.left, 6)
        self.throttle.set(2, 0.0)
        await asyncio.wait_for(crew, 5)
        self.assertEqual(self.left, 0)

    async def test_a_rest_ends_by_itself(self):
        self.throttle.set(1, 0.01)
        self.gate.set()
        await asyncio.wait_for(self.run_crew(), 5)

    async def test_no_rest_behind_the_last(self):
        self.left = 1
        self.gate.set()
        await asyncio.wait_for(self.run_crew(), 5)

    async def test_what_is_not_wanted_any_more(self):
        self.gate.set()
        crew = self.run_crew()
        await turns()
        self.left = 0
        self.throttle.wake()
        await asyncio.wait_for(crew, 5)

    async def test_an_error_ends_it(self):
        async def job():
            self.left -= 1
            if self.left == 5:
                raise RuntimeError('broken')

        self.throttle.set(1, 0.0)
        self.job = job
        with self.assertRaises(RuntimeError):
            await asyncio.wait_for(self.run_crew(), 5)
        await turns()
        self.assertEqual(self.left, 5)

    async def test_where_clients_wait(self):
        self.throttle.set(4, 0.0)
        self.gate.set()
        crew = self.run_crew()
        for allowed in (2, 1, 1, 1):
            self.throttle.step(True)
            self.assertEqual(self.throttle.allowed, allowed)
        self.assertEqual(self.throttle.at_once, 4)
        await asyncio.wait_for(crew, 5)

    async def test_as_many_again_as_clients_let(self):
        self.throttle.set(3, 0.0)
        for _ in range(3):
            self.throttle.step(True)
        crew = self.run_crew()
        await turns()
        self.assertEqual(self.under_way, 1)
        while self.throttle.yielding.pace is not None:
            self.throttle.step(False)
            await turns()
        self.assertEqual(self.under_way, 3)
        self.gate.set()
        await asyncio.wait_for(crew, 5)

    async def test_a_rest_goes_by_what_the_work_took(self):
        self.throttle.set(1, 0.0)
        self.throttle.step(True)
        crew = self.run_crew()
        await turns()
        self.world.now += 0.03
        began = asyncio.get_running_loop().time()
        self.left = 1
        self.gate.set()
        await asyncio.wait_for(crew, 5)
        self.assertGreater(asyncio.get_running_loop().time() - began, 0.025)

    async def test_nobody_to_yield_to_ends_the_rests(self):
        self.throttle.set(2, 0.0)
        for _ in range(9):
            self.throttle.step(True)
        crew = self.run_crew()
        await turns()
        self.world.now += 3600.0
        self.gate.set()
        await turns()
        self.assertEqual(self.left, 9)
        self.throttle.stop_yielding()
        await asyncio.wait_for(crew, 5)
        self.assertEqual(self.left, 0)
