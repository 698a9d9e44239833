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

from sheepdog.recovery import absence
from sheepdog.recovery import agreement
from sheepdog.recovery import told
from sheepdog.store import changed
from sheepdog.store import history as store_history

BLOCK = 4096
CAPACITY = 16 * BLOCK
FIRST = agreement.Generation(3, 1)
SECOND = agreement.Generation(5, 1)
THIRD = agreement.Generation(6, 1)


def strip(index, changes):
    return told.unknown(index)._replace(changed=changes)


def block(number):
    return changed.bits_of(number * BLOCK, BLOCK)


class ChangesTest(unittest.TestCase):

    def test_it_takes_d_strips_that_know(self):
        strips = [strip(i, {FIRST: (9, block(i)), SECOND: (4, 0)})
                  for i in range(3)]
        strips.append(strip(3, {SECOND: (5, block(8))}))
        self.assertEqual({SECOND: (5, block(8))},
                         absence.changes(strips, 4))
        self.assertEqual(
            {SECOND: (5, block(8)), FIRST: (9, sum(map(block, (0, 1, 2, 8))))},
            absence.changes(strips, 3))

    def test_one_strip_at_two_places_is_one(self):
        strips = [strip(0, {FIRST: (1, 0)}), strip(0, {FIRST: (1, 0)})]
        self.assertEqual({}, absence.changes(strips, 2))

    def test_not_more_than_a_strip_keeps(self):
        strips = [strip(i, {agreement.Generation(n, 1): (0, 0)
                            for n in range(1, 6)}) for i in range(2)]
        self.assertEqual([5, 4, 3, 2], [
            generation.epoch for generation in absence.changes(strips, 2)])


class LackingTest(unittest.TestCase):

    def setUp(self):
        self.history = store_history.History()
        self.history.apply(store_history.Settle(FIRST), 1)
        for number in range(4):
            self.update(number)

    def update(self, number):
        event = store_history.Update(number, FIRST, number * BLOCK, BLOCK,
                                     None)
        sequence = self.history.sequence + 1
        self.history.note(event, sequence)
        self.history.apply(event, sequence)

    def lacking(self, others, bad=(), capacity=CAPACITY, is_torn=False):
        return absence.lacking(self.history, others, bad, capacity, is_torn)

    def test_what_all_have_is_left_alone(self):
        self.assertEqual([(0, 4 * BLOCK)], self.lacking({FIRST: (0, 0)}))
        self.assertEqual([(3 * BLOCK, BLOCK)], self.lacking({FIRST: (3, 0)}))
        self.assertEqual([], self.lacking({FIRST: (4, 0)}))
        self.history.close(3)
        self.assertEqual([(3 * BLOCK, BLOCK)], self.lacking({FIRST: (0, 0)}))

    def test_what_others_have_changed_and_what_is_bad(self):
        self.assertEqual(
            [(3 * BLOCK, BLOCK), (7 * BLOCK, 2 * BLOCK)],
            self.lacking({FIRST: (3, block(7)), THIRD: (0, 0)}, bad=[8]))

    def test_what_may_have_been_lost_with_the_last_records(self):
        """All had the update before a floor."""
        for floor, ranges in ((4, []), (5, None)):
            self.assertEqual(ranges, self.lacking({FIRST: (floor, 0)},
                                                  is_torn=True))
            self.assertEqual([], self.lacking({FIRST: (floor, 0)}))

    def test_nothing_in_common(self):
        self.assertIsNone(self.lacking({SECOND: (9, 0)}))
        self.assertIsNone(self.lacking({}))
        self.assertIsNone(absence.lacking(
            store_history.History(), {FIRST: (0, 0)}, (), CAPACITY))

    def test_the_newest_in_common_counts(self):
        self.history.apply(store_history.Settle(SECOND), 99)
        self.assertEqual([(BLOCK, BLOCK)], self.lacking(
            {FIRST: (9, changed.ALL), SECOND: (0, block(1))}))

    def test_all_of_it(self):
        self.assertIsNone(self.lacking({FIRST: (0, 0)},
                                       capacity=4 * BLOCK))

    def test_what_was_rolled_back_is_not_alike(self):
        self.history.close(3)
        self.history.apply(store_history.Align(SECOND, frozenset({3})), 99)
        self.assertEqual([(3 * BLOCK, BLOCK)], self.lacking({FIRST: (9, 0)}))

    def test_what_was_built_says_what_the_others_say(self):
        built = store_history.History()
        built.inherit({FIRST: (4, block(7)), SECOND: (0, 0)})
        self.assertIsNone(built.since(THIRD))
        built.nexts = (THIRD,)
        built.apply(store_history.Settle(THIRD), 5)
        event = store_history.Update(1, THIRD, 9 * BLOCK, 1, None)
        built.note(event, 6)
        built.apply(event, 6)
        self.assertEqual({FIRST: (4, block(7) | block(9)),
                          SECOND: (0, block(9)), THIRD: (0, block(9))},
                         built.all_changes())
