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
import statistics
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.cluster import outliers

MS = 1000
FLOOR = 100 * MS
RIPE = 500 * MS

LATENCIES = strategies.sampled_from(
    (0, 1, 50 * MS, 99 * MS, FLOOR, 120 * MS, RIPE - 1, RIPE, 2000 * MS))
ROUNDS = strategies.lists(strategies.dictionaries(
    strategies.sampled_from('abcdefgh'),
    strategies.one_of(strategies.none(), LATENCIES)), max_size=30)


def slow_naively(latencies, floor):
    """Each against the rest, one by one."""
    found = set()
    for name, latency in latencies.items():
        others = [other for one, other in latencies.items() if one != name]
        if others and latency >= floor and latency >= (
                outliers.FACTOR * statistics.median_high(others)):
            found.add(name)
    if len(latencies) == 2:
        return found if len(found) < 2 else set()
    return found if 2 * len(found) < len(latencies) else set()


class Twin:
    """Keeps all that was, and reckons it up each time."""

    def __init__(self):
        self.rounds = []

    def round(self, latencies, floor, ripe_floor):
        self.rounds.append((latencies, floor, ripe_floor))

    def _story(self, name):
        """(is slow, is slow enough to go), of each round with a verdict,
        since it was last not there."""
        story = []
        for latencies, floor, ripe_floor in self.rounds:
            if name not in latencies:
                story = []
                continue
            known = {one: latency for one, latency in latencies.items()
                     if latency is not None}
            if len(known) < 2 or name not in known:
                continue
            is_slow = name in slow_naively(known, floor)
            story.append((is_slow, bool(is_slow and ripe_floor
                                        and known[name] >= ripe_floor)))
        return story

    def is_demoted(self, name):
        is_demoted = False
        story = [is_slow for is_slow, _ in self._story(name)]
        for end in range(1, len(story) + 1):
            if sum(story[:end][-3:]) >= 2:
                is_demoted = True
            elif not any(story[:end][-5:]):
                is_demoted = False
        return is_demoted

    def is_ripe(self, name):
        return sum(ripe for _, ripe in self._story(name)[-5:]) >= 4

    def is_well(self, name):
        story = self._story(name)
        return len(story) >= 5 and not any(slow for slow, _ in story[-5:])


class OutliersTest(unittest.TestCase):
    @hypothesis.given(strategies.dictionaries(
        strategies.sampled_from('abcdefgh'), LATENCIES))
    def test_against_the_naive_twin(self, latencies):
        self.assertEqual(slow_naively(latencies, FLOOR),
                         outliers.slow_ones(latencies, FLOOR))

    @hypothesis.given(ROUNDS)
    def test_histories_against_the_naive_twin(self, rounds):
        ours, twin = outliers.Outliers(), Twin()
        for latencies in rounds:
            for one in (ours, twin):
                one.round(latencies, FLOOR, RIPE)
            names = 'abcdefgh'
            self.assertEqual([one for one in names if twin.is_demoted(one)],
                             ours.demoted())
            self.assertEqual({one for one in names if twin.is_ripe(one)},
                             set(ours.ripe()))
            self.assertEqual([one for one in names if twin.is_well(one)],
                             [one for one in names if ours.is_well(one)])

    @hypothesis.given(ROUNDS)
    def test_never_all_of_them(self, rounds):
        for latencies in rounds:
            known = {one: latency for one, latency in latencies.items()
                     if latency is not None}
            slow = outliers.slow_ones(known, FLOOR)
            self.assertTrue(2 * len(slow) < len(known) or not slow
                            or len(known) == 2 and len(slow) == 1)

    def test_what_is_short_does_not_matter(self):
        self.assertEqual(set(), outliers.slow_ones(
            {'a': FLOOR - 1, 'b': 1, 'c': 1}, FLOOR))

    def test_all_alike(self):
        self.assertEqual(set(), outliers.slow_ones(
            dict.fromkeys('abcde', 3000 * MS), FLOOR))

    def test_one_moment_says_nothing(self):
        found = outliers.Outliers()
        for latency in (1, 9000 * MS, 1, 1, 9000 * MS, 1, 1):
            found.round({'a': latency, 'b': 1, 'c': 1}, FLOOR, RIPE)
            self.assertEqual([], found.demoted())

    def test_it_takes_time_to_go_and_to_come_back(self):
        found = outliers.Outliers()
        seen = []
        for latency in 5 * (2000 * MS,) + 6 * (MS,):
            found.round({'a': latency, 'b': MS, 'c': MS}, FLOOR, RIPE)
            seen.append((bool(found.demoted()), bool(found.ripe()),
                         found.is_well('a')))
        self.assertEqual(
            [(False, False), (True, False), (True, False), (True, True),
             (True, True), (True, True)] + 3 * [(True, False)]
            + 2 * [(False, False)],
            [one[:2] for one in seen])
        self.assertEqual(9 * [False] + 2 * [True],
                         [one[2] for one in seen])

    def test_the_slowest_goes_first(self):
        found = outliers.Outliers()
        for _ in range(5):
            found.round({'a': 900 * MS, 'b': 2000 * MS, 'c': 1, 'd': 1,
                         'e': 1, 'f': 1}, FLOOR, RIPE)
        self.assertEqual(['b', 'a'], found.ripe())
        found.round({'a': 900 * MS, 'c': 1, 'd': 1}, FLOOR, 0)
        self.assertEqual(['a'], found.ripe())
