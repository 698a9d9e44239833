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

import os
import time
import unittest

from bench import machine
from bench import report
from bench import rows


class RowsTest(unittest.TestCase):

    def test_percentile(self):
        values = list(range(1, 101))
        self.assertEqual(50, rows.percentile(values, 50))
        self.assertEqual(99, rows.percentile(values, 99))
        self.assertEqual(100, rows.percentile(values, 100))
        self.assertEqual(1, rows.percentile([1], 50))
        self.assertEqual(2, rows.percentile([1, 2, 3], 50))

    def test_names_differ(self):
        names = [row.name for row in rows.all_rows()]
        self.assertEqual(len(names), len(set(names)))
        self.assertIn('native random write 4K durable, depth 32', names)
        self.assertIn('nbd sequential read 1M, depth 4', names)


class MachineTest(unittest.TestCase):

    def test_cpu_seconds(self):
        begin = machine.cpu_seconds([os.getpid()])
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
        spent = machine.cpu_seconds([os.getpid()]) - begin
        self.assertTrue(0.1 <= spent < 10.0, spent)

    def test_busy_seconds(self):
        begin = machine.busy_seconds()
        # In ticks of 10 ms, of which several are counted at once, and none
        # while another machine has the processor.
        for _ in range(20):
            ours = time.process_time()
            while time.process_time() < ours + 0.3:
                pass
            if machine.busy_seconds() - begin > 0.2:
                break
        self.assertGreater(machine.busy_seconds() - begin, 0.2)

    def test_resident_bytes(self):
        now, highest = machine.resident_bytes(os.getpid())
        self.assertTrue(1 << 20 < now <= highest)

    def test_calibration(self):
        self.assertTrue(1e-8 < machine.calibrate() < 1e-4)


class ReportTest(unittest.TestCase):

    def test_line_fits_its_head(self):
        line = report.line({
            'name': 'x', 'iops': 12345.6, 'bytes_per_second': 5e7,
            'latency': {'p50': 0.001, 'p99': 0.002, 'max': 0.03},
            'cpu_per_operation': 1e-4, 'client_cpu_per_operation': 2e-6,
            'highest_bytes': 87.4e6}, 4e-7)
        self.assertEqual(len(report.head()), len(line))
        self.assertEqual(
            ['x', '12346', '50.0', '1.000', '2.000', '30.00', '0.1000',
             '250.0', '0.0020', '87'], line.split())

    def test_rest(self):
        text = report.rest({
            'calibration': 2.5e-7, 'first_start': [0.5, 0.6],
            'kills': [{'epoch_change': 0.31, 'longest_write': 0.32,
                       'start': 0.9, 'recovery': 1.5}],
            'rows': [],
            'stop': {'stop': 0.2, 'epoch_change': 0.21, 'start': 0.8},
            'memory': {'after nbd': [(50_000_000, 60_000_000)]}})
        for part in ('0.250 us', '0.50, 0.60 s', 'epoch changed after 0.31',
                     'longest write 0.32', '50 MB (highest 60)',
                     'stopped in 0.20'):
            self.assertIn(part, text)
