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

"""``testing.spans``: when a block may have held what a snapshot holds."""

import unittest

from sheepdog.testing import checkers
from sheepdog.testing import history
from sheepdog.testing import spans


class SpansTest(unittest.TestCase):

    def setUp(self):
        self.history = history.History()
        self.lost = []

    def write(self, value, begin, end=checkers.NEVER):
        operation, = self.history.begin_write('w', ['block'], value)
        operation.begin, operation.end = begin, end
        return operation

    def spans(self, value):
        return spans.of_value(self.history.operations('block'), value,
                              self.lost.__contains__)

    def test_until_what_came_later_was_answered(self):
        self.write(1, 10, 20)
        self.write(2, 15, 25)
        self.write(3, 30, 40)
        self.write(4, 35)
        never = checkers.NEVER
        self.assertEqual([(10, 40)], self.spans(1))
        self.assertEqual([(15, 40)], self.spans(2))
        self.assertEqual([(30, never)], self.spans(3))
        self.assertEqual([(35, never)], self.spans(4))
        self.assertEqual([], self.spans(5))
        self.assertEqual([(-never, 20)], self.spans(checkers.ZERO))

    def test_zeroes_are_of_each_discard(self):
        self.write(1, 10, 20)
        self.write(checkers.ZERO, 30, 40)
        self.write(2, 50, 60)
        self.assertEqual([(30, 60), (-checkers.NEVER, 20)],
                         self.spans(checkers.ZERO))

    def test_what_may_be_lost_ends_nothing(self):
        self.write(1, 10, 20)
        self.lost.append(self.write(2, 30, 40))
        self.assertEqual([(10, checkers.NEVER)], self.spans(1))
        self.assertEqual([(30, checkers.NEVER)], self.spans(2))

    def test_what_is_common(self):
        self.assertEqual([(2, 3), (5, 5)], spans.common(
            [(1, 3), (5, 9)], [(2, 5)]))
        self.assertEqual([], spans.common([(1, 2)], [(3, 4)]))

    def test_they_do_not_become_more_and_more(self):
        zeroes = [(second, second + 5) for second in range(50)]
        held = zeroes
        for _ in range(50):
            held = spans.common(held, zeroes)
        self.assertEqual([(0, 54)], held)
