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
from unittest import mock

import hypothesis
from hypothesis import strategies
import numpy

from sheepdog.model import limits
from sheepdog.recovery import fetch

BLOCK = limits.BLOCK_BYTES


class TestRuns(unittest.TestCase):

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(strategies.lists(strategies.tuples(
        strategies.booleans(), strategies.booleans()), max_size=40))
    def test_every_block_once_and_in_short_runs(self, blocks):
        """Each block: does it differ, is it zero?"""
        differing = numpy.flatnonzero(numpy.array(
            [differs for differs, _ in blocks], dtype=bool))
        table = numpy.array([0 if zero else 7 for _, zero in blocks],
                            dtype='<u4')
        with mock.patch.object(fetch, 'PIECE_BYTES', 4 * BLOCK):
            runs = list(fetch.runs(differing, table))
        covered = []
        for first, count, is_zero in runs:
            self.assertTrue(is_zero or count <= 4)
            for block in range(first, first + count):
                self.assertEqual(table[block] == 0, is_zero)
                covered.append(block)
        self.assertEqual(covered, differing.tolist())
        # No two that could be one.
        for (first, count, zero), (other, length, other_zero) in zip(
                runs, runs[1:]):
            self.assertFalse(first + count == other and zero == other_zero
                             and (zero or count + length <= 4
                                  and count < 4))
