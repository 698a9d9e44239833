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

from sheepdog.gateway import turns as turns_module


class Entry:
    def __init__(self, log, name, offset, end, is_change, oid=1):
        self.log = log
        self.name = name
        self.oid = oid
        self.offset = offset
        self.end = end
        self.is_change = is_change
        self.waiters = None
        self.blockers = 0

    def begin(self):
        self.log.append(self.name)


class TestTurns(unittest.TestCase):

    def setUp(self):
        self.turns = turns_module.Turns()
        self.begun = []

    def take(self, name, offset, end, is_change=True, oid=1):
        entry = Entry(self.begun, name, offset, end, is_change, oid)
        if self.turns.take(entry):
            self.begun.append(name)
        return entry

    def test_what_overlaps_waits(self):
        first = self.take('first', 0, 10)
        self.take('second', 9, 20)
        self.assertEqual(self.begun, ['first'])
        self.turns.leave(first)
        self.assertEqual(self.begun, ['first', 'second'])

    def test_what_does_not_overlap_goes_on(self):
        self.take('low', 0, 10)
        self.take('high', 10, 20)
        self.take('other object', 0, 10, oid=2)
        self.assertEqual(self.begun, ['low', 'high', 'other object'])

    def test_reads_go_together_and_hold_up_changes(self):
        one = self.take('one', 0, 10, False)
        two = self.take('two', 0, 10, False)
        self.take('change', 5, 6)
        self.turns.leave(one)
        self.assertEqual(self.begun, ['one', 'two'])
        self.turns.leave(two)
        self.assertEqual(self.begun, ['one', 'two', 'change'])

    def test_nobody_overtakes_who_waits(self):
        """A long change is not starved by short ones."""
        short = self.take('short', 0, 1)
        long = self.take('long', 0, 100)
        self.take('late', 50, 51)
        self.take('read', 60, 61, False)
        self.assertEqual(self.begun, ['short'])
        self.turns.leave(short)
        self.assertEqual(self.begun, ['short', 'long'])
        self.turns.leave(long)
        self.assertEqual(self.begun, ['short', 'long', 'late', 'read'])

    def test_nothing_is_left_behind(self):
        entries = [self.take(n, 0, 5) for n in range(4)]
        for entry in entries:
            self.assertTrue(self.turns.holds(entry))
            self.turns.leave(entry)
            self.assertFalse(self.turns.holds(entry))
        self.assertEqual(self.turns.table, {})

    def test_leaving_twice_is_harmless(self):
        first = self.take('first', 0, 5)
        self.take('second', 0, 5)
        third = self.take('third', 0, 5)
        self.turns.leave(first)
        self.turns.leave(first)
        self.assertEqual(self.begun, ['first', 'second'])
        self.assertEqual(third.blockers, 1)

    def test_cleared_entries_do_not_begin(self):
        first, second = self.take('first', 0, 5), self.take('second', 0, 5)
        self.assertEqual(self.turns.clear(), [first, second])
        self.turns.leave(first)
        self.assertEqual(self.begun, ['first'])

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(
        strategies.lists(strategies.tuples(
            strategies.integers(0, 20), strategies.integers(1, 8),
            strategies.booleans()), max_size=25), strategies.data())
    def test_against_a_naive_queue(self, wanted, data):
        """Twin: an entry is at work when nothing before it that is still
        there is in its way."""
        turns = turns_module.Turns()
        begun = []
        there = []

        def expected():
            return [e.name for i, e in enumerate(there) if not any(
                o.offset < e.end and e.offset < o.end
                and (o.is_change or e.is_change) for o in there[:i])]

        def leave():
            at_work = expected()
            name = data.draw(strategies.sampled_from(at_work))
            entry = next(e for e in there if e.name == name)
            there.remove(entry)
            turns.leave(entry)

        for name, (offset, size, is_change) in enumerate(wanted):
            entry = Entry(begun, name, offset, offset + size, is_change)
            there.append(entry)
            if turns.take(entry):
                begun.append(name)
            if data.draw(strategies.booleans()):
                leave()
            self.assertLessEqual(set(expected()), set(begun))
            self.assertLessEqual(
                set(begun) & {e.name for e in there}, set(expected()))
        while there:
            leave()
        self.assertEqual(sorted(begun), list(range(len(wanted))))
        self.assertEqual(turns.table, {})
