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

import random
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.placement import slots

nodes = strategies.lists(strategies.text('0123456789abcdef', min_size=1,
                                         max_size=32),
                         max_size=31, unique=True)


class SlotsTest(unittest.TestCase):

    @hypothesis.given(nodes, strategies.integers(0, 2 ** 64 - 1),
                      strategies.integers(0, 31))
    def test_strips_differ_and_exist(self, nodes, oid, more):
        count = min(len(nodes) + more, 31)
        strips = slots.strips_of(nodes, oid, count)
        self.assertEqual(len(nodes), len(set(strips)))
        self.assertTrue(all(0 <= strip < count for strip in strips))

    @hypothesis.given(nodes, strategies.integers(0, 2 ** 64 - 1))
    def test_who_comes_last_changes_nothing_for_the_others(self, nodes, oid):
        self.assertEqual(slots.strips_of(nodes, oid, 31)[:-1],
                         slots.strips_of(nodes[:-1], oid, 31))

    def test_they_never_change(self):
        # Stores rely on it.
        self.assertEqual((3, 4, 5, 0, 2, 1), slots.strips_of(
            ['a', 'b', 'c', 'd', 'e', 'f'], 0x7C2B2500000001, 6))

    def moved(self, count, objects=2000):
        chance = random.Random(1)
        moved = 0
        for oid in range(objects):
            drawn = ['node %d' % n for n in chance.sample(range(100),
                                                          count + 1)]
            before = dict(zip(drawn[:count], slots.strips_of(
                drawn[:count], oid, count)))
            del drawn[chance.randrange(count)]
            after = dict(zip(drawn, slots.strips_of(drawn, oid, count)))
            moved += sum(before.get(node) != strip
                         for node, strip in after.items())
        return moved / objects

    def test_few_move(self):
        self.assertLess(self.moved(6), 2.1)
        self.assertLess(self.moved(18, 500), 3.2)

    def test_all_strips_are_anybodys(self):
        found = [0] * 6
        for oid in range(6000):
            found[slots.strips_of('abcdef', oid, 6)[2]] += 1
        self.assertTrue(all(800 < count < 1200 for count in found), found)
