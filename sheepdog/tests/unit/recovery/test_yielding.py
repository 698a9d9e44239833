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

"""Tests of sheepdog.recovery.yielding, beside a naive model of a disk."""

import random
import unittest

from sheepdog.recovery import yielding as yielding_module


class TestYielding(unittest.TestCase):

    def setUp(self):
        self.yielding = yielding_module.Yielding()

    def steps(self, is_waited, count=1, most=8):
        found = []
        for _ in range(count):
            self.yielding.step(most, is_waited)
            found.append((self.yielding.at_once, self.yielding.share))
        return found

    def test_nobody_waits(self):
        self.assertEqual(self.steps(False, 3), [(None, 1.0)] * 3)
        self.assertEqual(self.yielding.rest_seconds(5.0), 0.0)

    def test_half_of_it_each_time(self):
        self.assertEqual(self.steps(True, 8), [
            (4, 1.0), (2, 1.0), (1, 1.0), (1, 0.5), (1, 0.25), (1, 0.125),
            (1, 0.125), (1, 0.125)])

    def test_one_is_as_many_as_there_may_be(self):
        self.assertEqual(self.steps(True, 2, 1), [(1, 0.5), (1, 0.25)])

    def test_by_small_steps_to_all_of_it(self):
        self.steps(True, 6, 2)
        self.assertEqual(self.steps(False, 15, 2), [
            (1, n / 8) for n in range(2, 9)] + [
            (2, n / 16) for n in range(9, 16)] + [(None, 1.0)])
        self.steps(True, 20, 64)
        self.assertEqual(self.steps(False, 16, 64)[-2:],
                         [(61, 60.125 / 61), (None, 1.0)])

    def test_what_may_be_at_most_becomes_less(self):
        self.steps(True)
        self.assertEqual(self.steps(True, 1, 2), [(1, 1.0)])

    def test_rests_are_as_long_as_the_work(self):
        self.steps(True, 1, 1)
        self.assertEqual(self.yielding.rest_seconds(0.5), 0.5)
        self.steps(True, 9, 1)
        self.assertEqual(self.yielding.rest_seconds(0.5), 3.5)
        self.assertEqual(self.yielding.rest_seconds(100.0),
                         yielding_module.REST_SECONDS_MAX)

    def test_the_end(self):
        self.steps(True, 9)
        self.yielding.end()
        self.assertEqual(self.steps(False), [(None, 1.0)])

    def test_always_within_its_bounds(self):
        chance = random.Random(7)
        for _ in range(5000):
            most = chance.randrange(1, 9)
            (at_once, share), = self.steps(chance.random() < 0.5, 1, most)
            self.assertTrue(at_once is None or 1 <= at_once <= most)
            self.assertTrue(yielding_module.PACE_LEAST <= share <= 1.0)

    def test_a_disk_that_both_use(self):
        """Each look is of one tenth of a second. A client waits as long as
        the disk is busy for recovery; it minds more than twice the usual.
        Recovery comes to a pace at which it does not mind, and ends."""
        left, looks, minded = 400.0, 0, 0
        while left > 0 and looks < 5000:
            work = self.yielding.pace or 4.0
            left -= work
            looks += 1
            is_waited = 1.0 + work > 2.0
            minded += is_waited
            self.yielding.step(4, is_waited)
        self.assertLess(minded, 0.4 * looks)
        # Four would have been done in 100 looks, one in 400.
        self.assertLess(looks, 700)

    def test_who_waits_for_something_else(self):
        """…does not hold recovery up for ever."""
        self.steps(True, 100)
        self.assertEqual(self.yielding.pace, yielding_module.PACE_LEAST)


if __name__ == '__main__':
    unittest.main()
