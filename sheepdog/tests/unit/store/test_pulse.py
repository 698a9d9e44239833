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
import unittest

from sheepdog.store import pulse
from sheepdog.tests.unit.store import case


class PulseTest(unittest.TestCase):
    def setUp(self):
        self.now = 5.0
        self.pulse = pulse.Pulse(lambda: self.now)

    def ask(self, seconds, kind=pulse.SYNC):
        number = self.pulse.begin()
        self.now += seconds
        self.pulse.end(number, kind)

    def test_nothing(self):
        self.assertTrue(self.pulse.is_idle)
        self.assertIsNone(self.pulse.take())

    def test_the_mean_of_the_slower_kind(self):
        for seconds in (1.0, 3.0):
            self.ask(seconds)
        for _ in range(10):
            self.ask(0.001, pulse.READ)
        self.assertFalse(self.pulse.is_idle)
        self.assertEqual(2000000, self.pulse.take())
        self.assertIsNone(self.pulse.take())

    def test_what_does_not_end_counts(self):
        first = self.pulse.begin()
        self.now += 1.0
        second = self.pulse.begin()
        self.ask(0.25)
        self.now += 0.75
        self.assertEqual(2000000, self.pulse.take())
        self.assertFalse(self.pulse.is_idle)
        self.pulse.end(first, pulse.READ)
        self.now += 3.0
        self.assertEqual(4000000, self.pulse.take())
        self.pulse.end(second, pulse.READ)
        self.assertEqual(4000000, self.pulse.take())
        self.assertTrue(self.pulse.is_idle)


class StoreTest(case.StoreCase):
    def test_syncs_are_measured(self):
        self.open()
        self.store.latency()
        self.host.faults.slowness = 2.0 / self.host.faults.sync_seconds
        self.write(1, 0, b'x' * 4096, capacity=1 << 20)
        self.assertGreater(self.store.latency(), 100000)

    def test_cold_reads_are_measured(self):
        self.open()
        self.write(1, 0, b'x' * 4096, capacity=1 << 20)
        self.store.latency()
        self.read(1, 0, 4096)
        self.assertIsNone(self.store.latency())
        self.host.faults.cold_chance = 1.0
        self.host.faults.slowness = 1.0 / self.host.faults.read_seconds
        self.read(1, 0, 4096)
        self.assertGreater(self.store.latency(), 100000)
        self.assertIsNone(self.store.latency())

    def test_a_probe_only_where_nothing_else_was_asked(self):
        self.open()
        self.store.latency()
        self.wait(self.store.probe())
        first = self.store.latency()
        self.assertGreater(first, 0)
        self.host.faults.slowness = 1000.0
        self.wait(self.store.probe())
        self.wait(self.store.probe())
        self.assertGreater(self.store.latency(), 20 * first)
        self.host.faults.slowness = 1.0
