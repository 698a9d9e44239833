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

"""Tests of sheepdog.faces.metrics.latency and histogram."""

import asyncio
import unittest

from sheepdog.faces.metrics import histogram
from sheepdog.faces.metrics import latency
from sheepdog.gateway import waits
from sheepdog.testing import world as world_module


class HistogramTest(unittest.TestCase):
    def test_counts_up_to_each_bound(self):
        sizes = histogram.Histogram((1, 2.5, 10))
        for value in (0.5, 1, 1.5, 2.5, 2.6, 10.1, 1e9):
            sizes.observe(value)
        self.assertEqual([('1', 2), ('2.5', 4), ('10', 5), ('+Inf', 7)],
                         sizes.buckets())
        self.assertEqual(7, sizes.count)
        self.assertEqual(1e9 + 18.2, sizes.sum)


class FakeGateway:
    def __init__(self):
        self.timing = None
        self.counters = {'retries': 0}

    def read(self, done):
        """As the gateway has it."""
        if self.timing is not None:
            done = self.timing.of_read(done, 4096)
        return done

    def write(self, done, durable):
        if self.timing is not None:
            done = self.timing.of_write(done, 4096, durable)
        return done


class LatenciesTest(unittest.TestCase):
    def setUp(self):
        self.simulation = world_module.Simulation(1)
        self.host = self.simulation.add_host('h')
        self.world = self.host.start()
        self.gateway = FakeGateway()
        self.latencies = latency.Latencies(
            self.world, waits.Waits(self.world.clock, self.gateway))
        self.answers = []

    def run_in_world(self, function):
        async def call():
            return function()
        return self.host.run(call())

    def test_takes_the_time_from_request_to_answer(self):
        self.run_in_world(self.latencies.start)
        read = self.gateway.read(lambda *answer: self.answers.append(answer))
        write = self.gateway.write(
            lambda *answer: self.answers.append(answer), False)
        self.simulation.run_for(0.02)
        read(None, b'data')
        write('error')
        self.assertEqual([(None, b'data'), ('error',)], self.answers)
        times = self.latencies.times
        self.assertAlmostEqual(0.02, times['read'].sum, places=3)
        self.assertEqual(
            {'read': 1, 'write': 0, 'write_back': 1, 'flush': 0},
            {kind: one.count for kind, one in times.items()})

    def test_between_runs_nothing_is_timed(self):
        self.run_in_world(self.latencies.start)

        def done(*answer):
            pass

        for _ in range(latency.RUN_REQUESTS):
            self.assertIsNot(done, self.gateway.read(done))
        self.assertIsNone(self.gateway.timing)
        self.assertIs(done, self.gateway.read(done))
        self.simulation.run_for(latency.PERIOD_SECONDS + 0.01)
        self.assertIsNotNone(self.gateway.timing)

    def test_flush(self):
        self.run_in_world(self.latencies.start)

        async def flush():
            await asyncio.sleep(0.5)

        self.host.run(self.gateway.timing.of_flush(flush()))
        self.assertAlmostEqual(0.5, self.latencies.times['flush'].sum,
                               places=3)

    def test_stops(self):
        self.run_in_world(self.latencies.start)
        self.run_in_world(self.latencies.stop)
        read = self.gateway.read(lambda *answer: None)
        self.simulation.run_for(2 * latency.PERIOD_SECONDS)
        read(None, b'')
        self.assertEqual(0, self.latencies.times['read'].count)

    def test_a_late_loop_shows(self):
        self.run_in_world(self.latencies.start)
        self.simulation.run_for(10 * latency.PERIOD_SECONDS)
        self.assertGreaterEqual(self.latencies.delays.count, 9)
        self.assertLess(self.latencies.delays.sum, 0.01)
        # As if the loop had been busy.
        self.latencies._due -= 0.3
        self.simulation.run_for(1.5 * latency.PERIOD_SECONDS)
        self.assertGreater(self.latencies.delays.sum, 0.29)
