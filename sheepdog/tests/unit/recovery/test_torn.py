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

from sheepdog.recovery import agreement
from sheepdog.recovery import torn

BORN = agreement.Generation(3, 0, True)
OLD = agreement.Generation(4, 1)
NEW = agreement.Generation(6, 2)
DATA = 2


def strip(index, generation=OLD, nexts=(), floor=0, numbers=(),
          forgotten=agreement.NONE, holder=None):
    return agreement.Strip(holder or str(index), index, generation,
                           tuple(nexts), floor, frozenset(numbers),
                           forgotten)


class ForgetfulTest(unittest.TestCase):
    """Of 2:2; strip 3 is one of a torn journal."""

    def found(self, *strips, names='3', targets='0123'):
        return torn.forgetful(strips, set(names), DATA,
                              lambda epoch: frozenset(targets))

    def of_others(self, own, *numbers, **more):
        return self.found(own, *(strip(index, numbers=has, **more)
                                 for index, has in enumerate(numbers)))

    def test_what_d_others_have(self):
        own = strip(3, numbers=(5,))
        self.assertEqual({('3', 3)}, self.of_others(own, {5, 7}, {5, 7}, {5}))
        # Whoever is not lost would have what was acknowledged.
        self.assertEqual(set(), self.of_others(own, {5, 7}, {5}, {5}))
        self.assertEqual(set(), self.of_others(own, {5, 7}, {5, 8}, {5}))

    def test_what_is_complete_is_not_lacking(self):
        self.assertEqual(set(), self.of_others(
            strip(3, floor=8), {5, 7}, {5, 7}))

    def test_one_floor_tells_that_all_had_it(self):
        for own, lacks in ((strip(3, numbers=(5,)), True),
                           (strip(3, floor=7), True),
                           (strip(3, numbers=(5, 7)), False),
                           (strip(3, floor=8), False)):
            self.assertEqual(lacks, bool(self.found(own, strip(0, floor=8))))

    def test_one_that_has_not_begun(self):
        own = strip(3, OLD, [NEW])
        for others, lacks in (
                ([strip(0, NEW, floor=3)], True),
                ([strip(0, NEW, numbers=(3,)), strip(1, NEW)], True),
                ([strip(0, NEW, numbers=(3,)), strip(1, OLD)], False),
                ([strip(0, NEW), strip(1, NEW)], False)):
            self.assertEqual(lacks, bool(self.found(own, *others)))

    def test_one_that_was_rolled_back(self):
        self.assertEqual(set(), self.of_others(
            strip(3, OLD, [NEW], numbers=(5,)), {5, 7}, {5, 7}))

    def test_a_first_write(self):
        others = [strip(0, BORN, numbers=(1,)), strip(1, BORN, numbers=(1,))]
        self.assertEqual({('3', None)}, self.found(*others))
        self.assertEqual(set(), self.found(*others[:1]))
        self.assertEqual(set(), self.found(*others, targets='012'))
        self.assertEqual(set(), self.found(
            *others, strip(3, agreement.NONE, forgotten=NEW)))

    def test_each_strip_is_looked_at(self):
        """One of them may be out of place, and another be made anew."""
        self.assertEqual({('3', 3)}, self.found(
            strip(3, numbers=(5,)), strip(4, agreement.NONE, [NEW],
                                          holder='3'),
            strip(0, numbers=(5, 7)), strip(1, numbers=(5, 7))))

    def test_those_who_are_believed_are_enough(self):
        """All are torn, and none has all."""
        strips = [strip(0, numbers=(5, 6)), strip(1, numbers=(6, 7)),
                  strip(2, numbers=(5, 7))]
        self.assertEqual(1, len(self.found(*strips, names='012')))

    def test_who_has_the_greatest_number_has_lost_least(self):
        self.assertEqual({('1', 1), ('2', 2)}, self.found(
            strip(0, numbers=(6, 7, 8)), strip(1, numbers=(6, 7)),
            strip(2, numbers=(6, 7)), strip(3, numbers=(8,)), names='123'))

    def test_others_are_believed(self):
        self.assertEqual(set(), self.found(
            strip(3, numbers=(5,)), strip(0, numbers=(5, 7)),
            strip(1, numbers=(5, 7)), names=''))


if __name__ == '__main__':
    unittest.main()
