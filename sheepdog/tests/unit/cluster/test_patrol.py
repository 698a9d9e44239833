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

from sheepdog.cluster import messages
from sheepdog.cluster import patrol

FLOOR = 100000
SLOW = 700000


class LatenessTest(unittest.TestCase):
    """``l`` leads."""

    def lateness(self, answers, told=None, own=None):
        """``answers``: how long each one's ping took; ``told``: witness →
        whom it finds late."""
        told = told or {}
        found = {one: (micros, {'disk': None, 'late': {
            other: SLOW for other in told.get(one, '')}})
            for one, micros in answers.items()}
        found['l'] = (1, {'disk': None, 'late': {
            other: SLOW for other in told.get('l', '')}})
        lateness, suspects = patrol._lateness('l', found, FLOOR)
        return ({one for one, micros in lateness.items()
                 if micros >= FLOOR}, ''.join(suspects))

    def test_nobody(self):
        self.assertEqual((set(), ''), self.lateness(dict.fromkeys('abc', 1)))

    def test_one_voice_makes_a_suspect_only(self):
        quick = dict.fromkeys('abc', 1)
        self.assertEqual((set(), 'b'), self.lateness(quick, {'a': 'b'}))
        self.assertEqual((set(), 'b'), self.lateness(dict(quick, b=SLOW)))

    def test_most_say_so(self):
        quick = dict.fromkeys('abc', 1)
        self.assertEqual(({'b'}, 'b'), self.lateness(
            quick, {'a': 'b', 'c': 'b'}))
        self.assertEqual(({'b'}, 'b'), self.lateness(
            dict(quick, b=SLOW), {'a': 'b'}))

    def test_two_that_blame_each_other(self):
        """The link between them is slow, and neither of the two."""
        self.assertEqual((set(), ''), self.lateness(
            dict.fromkeys('abc', 1), {'a': 'b', 'b': 'a'}))
        self.assertEqual((set(), 'ab'), self.lateness(
            dict.fromkeys('abcde', 1), {'a': 'b', 'b': 'a'}))

    def test_who_is_slow_itself_finds_all_late(self):
        self.assertEqual(set(), self.lateness(
            dict.fromkeys('abcd', 1), {'a': 'bcdl'})[0])

    def test_a_leader_that_finds_most_late_says_nothing(self):
        self.assertEqual((set(), ''), self.lateness(
            dict.fromkeys('abcd', SLOW), {'a': 'b', 'c': 'b'}))

    def test_the_leader_is_late(self):
        self.assertEqual(({'l'}, 'l'), self.lateness(
            dict.fromkeys('abc', 1), {'a': 'l', 'b': 'l'}))

    def test_whoever_is_named_must_be_there(self):
        self.assertEqual((set(), ''), self.lateness(
            dict.fromkeys('abc', 1), {'a': 'x', 'b': 'x'}))

    def test_alone(self):
        self.assertEqual((set(), ''), self.lateness({}))


class ReportTest(unittest.TestCase):
    def test_what_is_believed(self):
        for report in ({'disk': None, 'late': {}, 'space': None},
                       {'disk': 7, 'late': {'a': 5}, 'space': (5, -7)}):
            self.assertEqual(report, messages.checked_report(report))

    def test_space_that_nobody_understands(self):
        for space in (7, [], [1], [1, '2'], [True, 1], {'a': 1}):
            self.assertIsNone(messages.checked_report(
                {'disk': 1, 'late': {}, 'space': space})['space'])

    def test_what_is_not(self):
        for report in (None, [], {}, {'disk': 1}, {'disk': -1, 'late': {}},
                       {'disk': True, 'late': {}}, {'disk': '1', 'late': {}},
                       {'disk': 1, 'late': []}, {'disk': 1, 'late': {'a': -1}},
                       {'disk': 1, 'late': {'a': '1'}}):
            self.assertIsNone(messages.checked_report(report), report)
