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

import fractions
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.placement import weights


class WeightsTest(unittest.TestCase):

    def test_examples(self):
        self.assertEqual(128, weights.vnodes_by_space(10 ** 12, 10 ** 12))
        self.assertEqual(256, weights.vnodes_by_space(2 * 10 ** 12,
                                                      10 ** 12))
        self.assertEqual(1, weights.vnodes_by_space(1, 10 ** 12))
        self.assertEqual(1, weights.vnodes_by_space(0, 10 ** 12))
        self.assertEqual(65535, weights.vnodes_by_space(10 ** 18, 10 ** 12))
        self.assertEqual(128, weights.vnodes_by_space(5, 0))

    @hypothesis.given(strategies.integers(0, 1 << 60),
                      strategies.integers(1, 1 << 60))
    @hypothesis.settings(deadline=None, max_examples=200)
    def test_rounded(self, space, reference):
        exact = fractions.Fraction(128 * space, reference)
        vnodes = weights.vnodes_by_space(space, reference)
        if fractions.Fraction(1, 2) <= exact < 65535:
            self.assertLessEqual(abs(vnodes - exact),
                                 fractions.Fraction(1, 2))
        else:
            self.assertIn(vnodes, (1, 65535))
