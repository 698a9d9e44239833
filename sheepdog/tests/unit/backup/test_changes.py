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

"""Tests of sheepdog.backup.changes."""

import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.backup import changes

BLOCK = changes.BLOCK_BYTES
blocks = strategies.lists(strategies.sampled_from(
    (bytes(BLOCK), b'a' * BLOCK, b'b' * BLOCK)), max_size=6)


def apply(data, pieces):
    """In place; at most once each."""
    end = 0
    for offset, length, content in pieces:
        assert offset >= end
        end = offset + length
        data[offset:end] = bytes(length) if content is None else content


class DifferingTest(unittest.TestCase):
    @hypothesis.given(blocks, blocks, strategies.integers(0, BLOCK - 1))
    def test_makes_the_one_of_the_other(self, new, old, cut):
        length = min(len(new), len(old)) * BLOCK
        new, old = (b''.join(one)[:max(length - cut, 0)]
                    for one in (new, old))
        for base in (old, None):
            found = bytearray(base if base is not None else len(new))
            pieces = list(changes.joined(changes.differing(0, new, base)))
            apply(found, pieces)
            self.assertEqual(new, found)
            # No more than need be.
            self.assertLessEqual(
                sum(len(piece.data or b'') for piece in pieces),
                sum(BLOCK for at in range(0, len(new), BLOCK)
                    if any(new[at:at + BLOCK]) and new[at:at + BLOCK]
                    != (base or bytes(len(new)))[at:at + BLOCK]))

    def test_zeroes_over_something(self):
        self.assertEqual([(7, 5, None)], list(
            changes.differing(7, None, b'abcde')))
        self.assertEqual([], list(changes.differing(7, None, bytes(5))))


class RangesTest(unittest.TestCase):
    @hypothesis.given(
        strategies.lists(strategies.integers(0, 2), max_size=9),
        strategies.lists(strategies.integers(0, 2), max_size=9),
        strategies.integers(1, 16))
    def test_all_that_may_differ_and_no_more(self, new, old, spare):
        new_size = max(len(new) * 16 - spare + 1, 0)
        found = {}
        for place in changes.ranges(new, new_size, old, len(old) * 16, 16):
            self.assertTrue(place.length)
            for at in range(place.offset, place.offset + place.length):
                found[at] = place.is_new, place.is_old
        wanted = {}
        for at in range(new_size):
            ours = new[at // 16]
            theirs = old[at // 16] if at // 16 < len(old) else 0
            if ours != theirs:
                wanted[at] = bool(ours), bool(theirs)
        self.assertEqual(wanted, found)

    def test_what_was_half_beyond_the_end_is_looked_at(self):
        self.assertEqual(
            [(16, 16, True, True)],
            list(changes.ranges([1, 2, 0], 40, [1, 2], 20, 16)))
        self.assertEqual(
            [], list(changes.ranges([1, 2, 0], 20, [1, 2], 20, 16)))


class MergedTest(unittest.TestCase):
    @hypothesis.given(strategies.lists(strategies.tuples(
        strategies.integers(1, 4), strategies.booleans()), max_size=6))
    def test_both_at_each_place(self, first):
        total = sum(length for length, _ in first)
        second = [(1, at % 3 == 0) for at in range(total)]
        found = [(one, other) for length, one, other in changes.merged(
            first, second) for _ in range(length)]
        self.assertEqual(
            list(zip([value for length, value in first
                      for _ in range(length)],
                     [value for _, value in second])), found)
