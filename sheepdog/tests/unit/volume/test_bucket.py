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

import hypothesis
from hypothesis import strategies

from sheepdog.volume import bucket

TICKS = 64
"""A second. (So many parts, and the paces below, are exact in floating
point, too.)"""


class Twin:
    """The same, dumbly: fills tick by tick. ``level``: in parts of 1/TICKS.
    """

    def __init__(self, rate, burst):
        self.rate, self.burst = rate, burst
        self.level = burst * TICKS

    def tick(self):
        self.level = min(self.level + self.rate, self.burst * TICKS)

    def is_ready(self, amount):
        return self.level >= min(amount, self.burst) * TICKS


PACES = strategies.sampled_from([1, 2, 8, 64, 1024])
STEPS = strategies.lists(strategies.one_of(
    strategies.tuples(strategies.just('rest'), strategies.integers(1, 300)),
    strategies.tuples(strategies.just('ask'), strategies.integers(0, 3000)),
    strategies.tuples(strategies.just('alter'),
                      strategies.tuples(PACES, PACES))), max_size=40)


class BucketTest(unittest.TestCase):

    @hypothesis.given(PACES, PACES, STEPS)
    def test_as_a_naive_twin(self, rate, burst, steps):
        ticks = 1 << 20
        one = bucket.Bucket(rate, burst, ticks / TICKS)
        twin = Twin(rate, burst)
        for kind, value in steps:
            now = ticks / TICKS
            if kind == 'rest':
                for _ in range(value):
                    twin.tick()
                ticks += value
            elif kind == 'alter':
                one.alter(*value, now)
                twin.rate, twin.burst = value
                twin.level = min(twin.level, value[1] * TICKS)
            else:
                self.assertEqual(twin.is_ready(value),
                                 one.ready_at(value) <= now)
                if twin.is_ready(value):
                    one.take(now, value)
                    twin.level -= value * TICKS
            self.assertEqual(twin.level / TICKS, one.level(ticks / TICKS))

    @hypothesis.given(PACES, PACES, strategies.lists(
        strategies.integers(1, 3000), min_size=1, max_size=30))
    def test_never_more_than_its_pace_and_never_stuck(self, rate, burst,
                                                      amounts):
        """Whoever always waits until it is ready."""
        begin = now = 4096.0
        one = bucket.Bucket(rate, burst, now)
        done = 0
        for amount in amounts:
            now = max(now, one.ready_at(amount))
            # In time T: rate * T, a burst, and what the last one lacked.
            self.assertLessEqual(done, rate * (now - begin) + burst + 1e-6)
            one.take(now, amount)
            done += amount
        self.assertLessEqual(now - begin, done / rate + 1e-6)
