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

"""Tests of sheepdog.cmd.benchmark."""

import itertools
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.cmd import benchmark
from sheepdog.model import errors


class TimesTest(unittest.TestCase):

    @hypothesis.given(strategies.lists(
        strategies.floats(1e-6, 1e4), min_size=1, max_size=60),
        strategies.sampled_from((0.01, 0.5, 0.99, 1.0)))
    def test_close_to_the_real_ones(self, seconds, share):
        times, half = benchmark.Times(), benchmark.Times()
        for number, one in enumerate(seconds):
            (times if number % 2 else half).note(one)
        times.add(half)
        seconds.sort()
        real = next(one for number, one in enumerate(seconds, 1)
                    if number >= share * len(seconds) - 1e-9)
        self.assertLessEqual(real * 0.999, times.below(share))
        self.assertLessEqual(times.below(share), real * 1.05)
        self.assertEqual(seconds[-1], times.longest)
        self.assertEqual(len(seconds), times.count)

    def test_none(self):
        self.assertEqual(0.0, benchmark.Times().below(0.5))


class Volume:
    size = 10 * 4096 + 5

    def __init__(self):
        self.reads, self.writes, self.flushes = [], [], 0
        self.fail = False

    def read_into(self, offset, room):
        if self.fail:
            raise errors.StorageError('bad')
        self.reads.append((offset, len(room)))

    def write(self, offset, data, fua=False):
        self.writes.append((offset, len(data), fua))

    def flush(self):
        self.flushes += 1


class RunTest(unittest.TestCase):

    def run_it(self, **plan):
        self.volume = Volume()
        clock = itertools.count(0.0, 0.01)
        return benchmark.Run(self.volume, benchmark.Plan(
            depth=2, seconds=1.0, **plan), lambda: next(clock)).run()

    def test_reads(self):
        found = self.run_it()
        self.assertEqual(found['requests'], len(self.volume.reads))
        self.assertGreater(found['requests'], 20)
        self.assertEqual(found['bytes'], 4096 * found['requests'])
        self.assertEqual(('read', 'random'), (found['operation'],
                                              found['order']))
        places = {offset for offset, _ in self.volume.reads}
        self.assertLessEqual(places, set(range(0, 10 * 4096, 4096)))
        self.assertGreater(len(places), 3)
        self.assertEqual(0, self.volume.flushes)
        self.assertGreater(found['latency_ms']['mean'], 0)

    def test_sequential_durable_writes(self):
        self.run_it(is_write=True, is_sequential=True, is_durable=True)
        self.assertEqual({(number * 4096, 4096, True)
                          for number in range(10)},
                         set(self.volume.writes))
        self.assertEqual(1, self.volume.flushes)

    def test_an_error_ends_it(self):
        volume = Volume()
        volume.fail = True
        with self.assertRaises(errors.StorageError):
            benchmark.Run(volume, benchmark.Plan(seconds=60.0)).run()
