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

"""Tests of sheepdog.gateway.waits."""

import asyncio
import random
import types
import unittest

from sheepdog.gateway import waits as waits_module


class Naive:
    """All that was ever timed, and the same rule said at length."""

    def __init__(self):
        self.means = []
        self.open = []
        self.began = None

    def learn(self, now, times):
        if self.began is None or (
                now - self.began > 4 * waits_module.SAMPLE_SECONDS):
            self.began, self.open = now, []
        self.open += times
        if (now - self.began >= waits_module.SAMPLE_SECONDS
                and len(self.open) >= waits_module.SAMPLE_REQUESTS):
            self.means.append(sum(self.open) / len(self.open))
            self.began, self.open = now, []

    def seconds(self):
        last = sorted(self.means[-waits_module.SAMPLES:])
        if len(last) < waits_module.SAMPLES_LEAST:
            return 0.0
        return last[len(last) // 4]


class TestUsual(unittest.TestCase):

    def setUp(self):
        self.usual = waits_module.Usual()

    def learn(self, seconds, looks, begin=0.0):
        for number in range(looks):
            self.usual.learn(begin + number * 0.1, [seconds] * 32)

    def test_not_known(self):
        self.assertEqual(self.usual.limit, waits_module.UNKNOWN_SECONDS)
        self.learn(0.5, 8)
        self.assertEqual(self.usual.seconds, 0.0)

    def test_what_it_is_for_a_while(self):
        self.learn(0.002, 100)
        self.assertAlmostEqual(self.usual.seconds, 0.002)
        self.assertAlmostEqual(self.usual.limit,
                               0.002 * waits_module.TIMES_USUAL)

    def test_next_to_nothing(self):
        self.learn(0.00001, 100)
        self.assertEqual(self.usual.limit, waits_module.LEAST_SECONDS)

    def test_clients_ask_for_more(self):
        self.learn(0.002, 1000)
        self.learn(0.02, 300, 100.0)
        self.assertAlmostEqual(self.usual.seconds, 0.002)
        self.learn(0.02, 700, 130.0)
        self.assertAlmostEqual(self.usual.seconds, 0.02)

    def test_clients_ask_for_less(self):
        self.learn(0.02, 1000)
        self.learn(0.002, 300, 100.0)
        self.assertAlmostEqual(self.usual.seconds, 0.002)

    def test_few_requests_and_holes(self):
        for number in range(100):
            self.usual.learn(number * 10.0, [1.0] * 15)
        self.assertEqual(self.usual.seconds, 0.0)

    def test_as_the_naive_model(self):
        chance = random.Random(11)
        naive = Naive()
        now = 0.0
        for _ in range(4000):
            now += chance.choice((0.1, 0.1, 0.1, 0.25, 2.0))
            times = [chance.expovariate(1000)
                     for _ in range(chance.choice((0, 1, 8, 32)))]
            naive.learn(now, times)
            self.usual.learn(now, times)
            self.assertAlmostEqual(naive.seconds(), self.usual.seconds)


class TestWaits(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        self.now = 0.0
        self.gateway = types.SimpleNamespace(
            timing=None, counters={'retries': 0})
        self.waits = waits_module.Waits(
            types.SimpleNamespace(monotonic=lambda: self.now), self.gateway)
        self.answers = []

    def begin(self, size=4096):
        """A read; returns what its answer is given to."""
        if self.gateway.timing is None:
            return self.answers.append
        return self.gateway.timing.of_read(self.answers.append, size)

    def request(self, seconds, size=4096):
        done = self.begin(size)
        self.now += seconds
        done(b'answer')

    def look(self, is_quiet=False, seconds=0.001, count=40):
        """A tenth of a second with so many reads."""
        begin = self.now
        for _ in range(count):
            self.request(seconds)
        self.now = max(self.now, begin + 0.1)
        return self.waits.look(is_quiet)

    def learn(self, seconds=0.001):
        for _ in range(40):
            self.look(True, seconds)

    async def test_between_looks_nothing_is_timed(self):
        self.look()
        for _ in range(waits_module.RUN_REQUESTS):
            self.assertIsNotNone(self.gateway.timing)
            self.request(0.001)
        self.assertIsNone(self.gateway.timing)
        self.assertEqual(len(self.answers), 40 + waits_module.RUN_REQUESTS)

    async def test_totals(self):
        self.waits.look(True)
        for _ in range(3):
            self.request(0.5)
        self.assertEqual([3, 1.5], self.waits.totals['read'])
        self.assertEqual([0, 0.0], self.waits.totals['flush'])

    async def test_nobody(self):
        self.assertIsNone(self.look(count=0))

    async def test_clients_wait(self):
        self.learn()
        self.assertIsNone(self.look(seconds=0.002))
        found = self.look(seconds=0.005)
        self.assertAlmostEqual(found.seconds, 0.005)
        self.assertAlmostEqual(found.usual, 0.001)
        self.assertIsNone(self.look())

    async def test_nothing_is_known(self):
        self.assertIsNone(self.look(seconds=0.005))
        self.assertEqual(self.look(seconds=0.02).usual, 0.0)

    async def test_one_that_does_not_end(self):
        self.learn()
        done = self.begin()
        for _ in range(3):
            self.now += 0.1
            self.assertGreater(self.waits.look(False).seconds, 0.09)
        done(b'answer')
        self.look()
        self.assertIsNone(self.look())

    async def test_who_waits_for_recovery_itself(self):
        """An object that is not settled yet is asked for again and again."""
        self.learn()
        done = self.begin()
        for _ in range(3):
            self.gateway.counters['retries'] += 1
            self.now += 0.1
            self.assertIsNone(self.waits.look(False))
        done(b'answer')
        self.assertIsNone(self.look())
        self.assertIsNotNone(self.look(seconds=0.005))

    async def test_large_ones_take_long(self):
        self.learn()
        for _ in range(8):
            self.request(1.0, waits_module.SMALL_BYTES + 1)
        self.assertIsNone(self.waits.look(False))

    async def test_of_another_view(self):
        self.learn()
        done = self.begin()
        self.now += 5.0
        self.waits.forget()
        done(b'answer')
        self.assertIsNone(self.look())

    async def test_what_recovery_takes_is_not_usual(self):
        self.learn()
        for _ in range(40):
            self.look(False, 0.005)
            self.look(False, 0.001)
        self.assertAlmostEqual(self.look(seconds=0.005).usual, 0.001)

    async def test_they_wait_although_recovery_has_stepped_back(self):
        self.learn()
        for _ in range(40):
            self.assertIsNotNone(self.look(seconds=0.005))
        for _ in range(600):
            self.look(seconds=0.005)
        self.assertIsNone(self.look(seconds=0.005))

    async def test_the_kinds_are_apart(self):
        self.learn()
        self.waits.look(True)
        for _ in range(4):
            done = self.gateway.timing.of_write(self.answers.append, 4096,
                                                True)
            self.now += 0.005
            done(None)
        self.assertIsNone(self.waits.look(False))

    async def test_who_listens(self):
        heard = []
        self.waits.listener = lambda *what: heard.append(what)
        self.waits.take_times(3)
        self.request(0.5, 1 << 20)
        self.gateway.timing.of_write(self.answers.append, 1, False)(None)
        await self.gateway.timing.of_flush(asyncio.sleep(0))
        self.assertEqual([kind for kind, _ in heard],
                         ['read', 'write_back', 'flush'])
        self.assertIsNone(self.gateway.timing)


if __name__ == '__main__':
    unittest.main()
