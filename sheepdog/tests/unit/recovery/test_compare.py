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

import struct
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.recovery import compare


def look(blocks, before=(), after=(), version=1, exists=True):
    """A copy with such a table; None: there is none."""
    table = None if blocks is None else struct.pack(
        '<%dI' % len(blocks), *blocks)
    return compare.Look(
        {'exists': table is not None, 'through': 5, 'version': version,
         'bad': 0, 'uncertain': 0, 'power_lost': False}, table,
        frozenset(before), frozenset(after))


class TestLasting(unittest.TestCase):

    def test_equal(self):
        looks = [look([1, 2]), look([1, 2])]
        self.assertEqual(compare.lasting(looks, looks), [])
        self.assertEqual(compare.lasting([look(None)] * 2, [look(None)] * 2),
                         [])

    def test_what_has_become_equal_was_a_write(self):
        self.assertEqual(compare.lasting(
            [look([1, 2]), look([1, 3])], [look([1, 2], before=[7])] * 2),
            [])

    def test_what_lasts(self):
        looks = [look([1, 2, 3]), look([1, 0, 3]), look([9, 2, 3])]
        self.assertEqual(compare.lasting(looks, looks), [0, 1])

    def test_a_write_under_way(self):
        """It is on one copy, and on its way to the other."""
        first = [look([1, 2], after=[7]), look([1, 3])]
        with self.assertRaises(compare.Later):
            compare.lasting(first, [look([1, 2], before=[7]),
                                    look([1, 3])])
        # Another one since hides nothing.
        self.assertEqual(compare.lasting(
            first, [look([1, 2], before=[8]), look([1, 3])]), [1])

    def test_what_changes_all_the_time(self):
        with self.assertRaises(compare.Later):
            compare.lasting([look([1, 2]), look([1, 3])],
                            [look([1, 4]), look([1, 5])])

    def test_one_that_is_not_there(self):
        looks = [look([1]), look(None)]
        self.assertEqual(compare.lasting(looks, looks),
                         [compare.WHOLE_OBJECT])
        for before in [look(None)] * 2, [look([1])] * 2:
            with self.assertRaises(compare.Later):
                compare.lasting(before, looks)
        with self.assertRaises(compare.Later):
            compare.lasting([look([1], after=[3]), look(None)],
                            [look([1], before=[3]), look(None)])

    def test_one_that_has_just_grown(self):
        with self.assertRaises(compare.Later):
            compare.lasting([look([1])] * 2, [look([1, 2]), look([1, 3])])

    @hypothesis.settings(max_examples=200, deadline=None)
    @hypothesis.given(strategies.lists(strategies.tuples(*[
        strategies.integers(0, 2)] * 4), min_size=1, max_size=8))
    def test_against_a_naive_twin(self, blocks):
        """Of each block: what two copies had at first, and then."""
        a, b, c, d = zip(*blocks)
        first, second = [look(a), look(b)], [look(c), look(d)]
        expected = [i for i in range(len(blocks))
                    if c[i] != d[i] and (a[i], b[i]) == (c[i], d[i])]
        try:
            found = compare.lasting(first, second)
        except compare.Later:
            self.assertEqual(expected, [])
            self.assertNotEqual(c, d)
        else:
            self.assertEqual(found, expected)
            self.assertTrue(expected or c == d)


class TestWrongOnes(unittest.TestCase):

    def test_who_lacks_the_last_write(self):
        self.assertEqual(compare.wrong_ones(
            [look([1], version=4), look([2], version=5)]), [0])
        self.assertEqual(compare.wrong_ones(
            [look([1], version=4), look([2], version=5),
             look(None)]), [0, 2])

    def test_nothing_tells(self):
        """Not even a majority: two may have lost the same write."""
        self.assertEqual(compare.wrong_ones([look([1]), look([2])]), [])
        self.assertEqual(compare.wrong_ones(
            [look([1]), look([2]), look([2])]), [])

    def test_who_differs_from_the_best(self):
        self.assertEqual(compare.wrong_ones(
            [look([2]), look([1], version=0), look([2])]), [1])
