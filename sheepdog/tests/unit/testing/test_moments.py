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

"""That ``tests.moments`` would notice: its judge before snapshots that are of
no moment."""

import math
import unittest

from sheepdog.tests.moments import cut
from sheepdog.tests.moments import numbered


class CutTest(unittest.TestCase):

    def setUp(self):
        self.writes = cut.Writes()
        # Three blocks; the second write overlaps the first and the third.
        for block, issued, acknowledged in (
                (0, 1, 3), (1, 2, 5), (0, 4, 6), (2, 7, 8), (1, 9, math.inf)):
            self.writes.issue(block, issued).acknowledged = acknowledged

    def judge(self, *numbers, asked=0.0, answered=100.0):
        return self.writes.judge(dict(enumerate(numbers)), asked, answered)

    def test_what_there_was(self):
        for numbers in ((0, 0, 0), (1, 0, 0), (0, 2, 0), (1, 2, 0),
                        (3, 0, 0), (3, 2, 0), (3, 2, 4), (3, 5, 4)):
            self.assertEqual('', self.judge(*numbers), numbers)

    def test_what_never_was(self):
        for numbers in ((0, 0, 4), (1, 2, 4), (3, 0, 4), (1, 5, 4),
                        (3, 5, 0)):
            self.assertIn('no one moment', self.judge(*numbers), numbers)

    def test_neither_earlier_nor_later_than_it_was_made(self):
        self.assertEqual('', self.judge(3, 2, 0, asked=7.5, answered=7.9))
        self.assertIn('lacks', self.judge(3, 2, 0, asked=8.5))
        self.assertIn('lacks', self.judge(1, 0, 0, asked=5.5))
        self.assertIn('later', self.judge(3, 2, 4, answered=6.5))
        self.assertEqual('', self.judge(3, 2, 4, answered=7.5))
        # One whose outcome nobody knows may be there or not, for ever.
        self.assertEqual('', self.judge(3, 2, 4, asked=50))
        self.assertEqual('', self.judge(3, 5, 4, asked=50))

    def test_a_write_of_another_block(self):
        self.assertIn('none of it', self.judge(2, 0, 0))
        self.assertIn('none of it', self.judge(-1, 0, 0))

    def test_blocks_say_which_write_they_are_from(self):
        block = numbered.content(7)
        self.assertEqual(7, numbered.number_of(block))
        self.assertEqual(0, numbered.number_of(bytes(4096)))
        self.assertEqual(-1, numbered.number_of(
            block[:2048] + numbered.content(8)[2048:]))
        self.assertEqual(-1, numbered.number_of(bytes(2048) + block[2048:]))
