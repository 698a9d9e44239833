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

from sheepdog.peer import marks as marks_module


def token(origin, count):
    return origin << marks_module.COUNT_BITS | count


class TestMarks(unittest.TestCase):

    def setUp(self):
        self.marks = marks_module.Marks()

    def test_a_write_is_unstable_until_declared(self):
        self.marks.note(1, token(0, 5))
        self.marks.note(1, token(0, 6))
        self.assertEqual(self.marks.unstable(1), [token(0, 5), token(0, 6)])
        self.marks.declare_stable(0, 6)
        self.assertEqual(self.marks.unstable(1), [token(0, 6)])
        self.assertEqual(self.marks.unstable_objects(), [1])
        self.marks.declare_stable(0, 7)
        self.assertEqual(self.marks.unstable_objects(), [])

    def test_each_origin_counts_for_itself(self):
        self.marks.note(1, token(0, 5))
        self.marks.note(1, token(3, 2))
        self.marks.declare_stable(0, 100)
        self.assertEqual(self.marks.unstable(1), [token(3, 2)])
        self.assertEqual(self.marks.origins(1), {3})

    def test_declarations_never_go_back(self):
        self.marks.declare_stable(0, 7)
        self.marks.declare_stable(0, 3)
        self.marks.note(1, token(0, 5))
        self.assertEqual(self.marks.unstable(1), [])

    def test_has(self):
        self.marks.note(1, token(0, 5))
        self.assertTrue(self.marks.has(1, token(0, 5)))
        self.assertFalse(self.marks.has(1, token(0, 6)))
        self.assertFalse(self.marks.has(2, token(0, 5)))

    def test_forget(self):
        self.marks.note(1, token(0, 5))
        self.marks.forget(1, token(0, 6))
        self.marks.forget(2, token(0, 5))
        self.assertTrue(self.marks.has(1, token(0, 5)))
        self.marks.forget(1, token(0, 5))
        self.assertEqual(self.marks.unstable(1), [])

    def test_replace(self):
        self.marks.note(1, token(0, 5))
        theirs = [token(1, 1)]
        self.marks.replace(1, theirs)
        theirs.append(token(1, 2))
        self.assertEqual(self.marks.unstable(1), [token(1, 1)])
        self.marks.replace(1, [])
        self.assertEqual(self.marks.unstable_objects(), [])

    def test_renumber(self):
        self.marks.note(1, token(0, 5))
        self.marks.note(1, token(1, 6))
        self.marks.note(2, token(2, 7))
        self.marks.declare_stable(1, 6)
        self.marks.renumber({0: 1, 1: 0})
        self.assertEqual(self.marks.unstable(1), [token(1, 5), token(0, 6)])
        self.assertEqual(self.marks.unstable(2), [])
        self.marks.declare_stable(0, 6)
        self.assertEqual(self.marks.unstable(1), [token(1, 5), token(0, 6)])
        self.marks.declare_stable(0, 7)
        self.assertEqual(self.marks.unstable(1), [token(1, 5)])

    def test_clear(self):
        self.marks.note(1, token(0, 5))
        self.marks.declare_stable(0, 9)
        self.marks.clear()
        self.marks.note(1, token(0, 5))
        self.assertEqual(self.marks.unstable(1), [token(0, 5)])

    def test_no_write_under_way_is_forgotten(self):
        """However many others came behind it."""
        self.marks.note(1, token(0, 1))
        for count in range(2, 5000):
            self.marks.note(1, token(1, count))
        self.assertTrue(self.marks.has(1, token(0, 1)))
        self.assertEqual(len(self.marks.unstable(1)), 4999)

    def test_an_object_does_not_grow_without_bound(self):
        for count in range(3 * marks_module.KEPT_PER_OBJECT):
            self.marks.note(1, token(0, count))
        self.assertLessEqual(len(self.marks._tokens[1]),
                             marks_module.KEPT_PER_OBJECT)
        self.assertEqual(self.marks.unstable_objects(), [1])

    def test_stable_writes_to_one_object_are_pruned(self):
        for count in range(1, 100000):
            if count % 1000 == 0:
                self.marks.declare_stable(0, count)
            self.marks.note(1, token(0, count))
        self.assertLess(len(self.marks._tokens[1]), 2000)

    def test_stable_objects_are_forgotten(self):
        """A replica that has seen a million objects in one view must not
        remember them all."""
        for oid in range(20000):
            self.marks.note(oid, token(0, oid + 1))
            if oid % 2000 == 1999:
                self.marks.declare_stable(0, oid + 1)
        most = len(self.marks._tokens)
        for count in range(20001, 20101):
            self.marks.declare_stable(0, count)
        self.assertLess(most, 20000)
        self.assertEqual(self.marks._tokens, {})

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(strategies.lists(strategies.one_of(
        strategies.tuples(strategies.just('note'), strategies.integers(0, 3),
                          strategies.integers(0, 2),
                          strategies.integers(1, 12)),
        strategies.tuples(strategies.just('declare'),
                          strategies.integers(0, 2),
                          strategies.integers(1, 12)),
        strategies.tuples(strategies.just('renumber'), strategies.lists(
            strategies.sampled_from([0, 1, 2]), unique=True)))))
    def test_against_a_naive_twin(self, steps):
        marks = marks_module.Marks()
        noted = []
        stable = {}
        for step in steps:
            if step[0] == 'note':
                _, oid, origin, count = step
                marks.note(oid, token(origin, count))
                noted.append((oid, origin, count))
            elif step[0] == 'declare':
                _, origin, count = step
                marks.declare_stable(origin, count)
                stable[origin] = max(count, stable.get(origin, 0))
            else:
                numbers = {old: new for new, old in enumerate(step[1])}
                marks.renumber(numbers)
                noted = [(oid, numbers[origin], count)
                         for oid, origin, count in noted
                         if origin in numbers
                         and count >= stable.get(origin, 0)]
                stable = {numbers[o]: c for o, c in stable.items()
                          if o in numbers}
            expected = {}
            for oid, origin, count in noted:
                if count >= stable.get(origin, 0):
                    expected.setdefault(oid, []).append(
                        token(origin, count))
            self.assertEqual(marks.unstable_objects(), sorted(expected))
            for oid in range(4):
                self.assertEqual(marks.unstable(oid), expected.get(oid, []))
