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

from sheepdog.recovery import choice


def candidate(name='a', exists=True, through=0, version=0, bad=0,
              uncertain=0, place=0, until=0, is_torn=False):
    return choice.Candidate(name, exists, through, version, bad, uncertain,
                            place, until=until, is_torn=is_torn)


class TestChoice(unittest.TestCase):

    def chosen(self, *candidates):
        best = choice.choose(candidates)
        return best and best.incarnation

    def test_nobody_has_it(self):
        self.assertIsNone(choice.choose([]))
        self.assertIsNone(self.chosen(candidate(exists=False)))

    def test_the_last_write_counts(self):
        self.assertEqual(self.chosen(candidate('old', version=3),
                                     candidate('new', version=4)), 'new')

    def test_who_was_there_until_later_counts_as_much(self):
        """No write of epoch 5 was acknowledged that it does not have."""
        self.assertEqual(
            self.chosen(candidate('unacknowledged', version=5),
                        candidate('there', through=5, version=3)), 'there')
        self.assertEqual(
            self.chosen(candidate('written', version=6),
                        candidate('left', through=5, version=3)), 'written')

    def test_absence_may_be_known(self):
        self.assertEqual(
            self.chosen(candidate('removed', exists=False, through=5),
                        candidate('old', version=4)), 'removed')
        self.assertEqual(
            self.chosen(candidate('never had it', exists=False),
                        candidate('old', version=4)), 'old')

    def test_who_else_is_as_good(self):
        """What only its place tells apart is all there."""
        good = [candidate('a', version=4, place=1),
                candidate('b', version=4, place=0)]
        self.assertEqual(choice.best(good + [candidate('old', version=3)]),
                         good)
        self.assertEqual(choice.best(
            [candidate('never had it', exists=False)] + good[:1]), good[:1])
        self.assertEqual(choice.best([]), [])

    def test_among_equals_who_has_its_last_records(self):
        for until, chosen in ((0, 'whole'), (9, 'torn')):
            self.assertEqual(chosen, self.chosen(
                candidate('torn', version=4, until=until, is_torn=True),
                candidate('whole', version=4, place=1)))

    def test_among_equals_who_stayed_longer(self):
        """It may have been read of them that a write is not there."""
        self.assertEqual(self.chosen(
            candidate('left', version=1, place=0, until=1),
            candidate('stayed', version=1, place=1, until=2)), 'stayed')
        self.assertEqual(self.chosen(
            candidate('written', version=2, until=2),
            candidate('stayed', version=1, until=5)), 'written')

    def test_among_doubtful_ones_who_was_clean_for_longest(self):
        """Read of it, until the lock changed again, was what it has."""
        early = candidate('early', through=4, version=5)._replace(
            apart=(5, 7, True))
        late = candidate('late', through=4, version=5, place=1)._replace(
            apart=(5, 9, False))
        unclean = candidate('unclean', through=4, version=5)._replace(
            apart=(6, -1, True))
        self.assertEqual('late', self.chosen(early, late, unclean))
        self.assertEqual('early', self.chosen(early, unclean))
        self.assertEqual('there', self.chosen(
            early, late, candidate('there', through=5, version=3)))

    def test_who_was_there_when_the_best_was_not_clean(self):
        best = candidate('best', through=4, version=5)._replace(
            apart=(5, 7, True), digest='refused')
        there = candidate('there', version=3)._replace(digest='read')
        for kept, other, chosen in (
                (6, there, 'there'), (5, there, 'there'), (4, there, 'best'),
                (0, there, 'best'),
                (6, there._replace(power_lost=True), 'best'),
                (6, there._replace(exists=False), 'best'),
                (8, there._replace(apart=(5, 8, True)), 'best'),
                (6, there._replace(through=2), 'best'),
                (6, there._replace(digest='refused'), 'best')):
            with self.subTest(kept=kept, other=other):
                found = choice.instead(best, 5, [
                    (best._replace(through=0), 8), (other, kept)])
                self.assertEqual(chosen, found.incarnation)

    def test_what_one_knows_holds_for_all(self):
        knows = candidate('knows', through=4, version=5)._replace(
            apart=(5, 7, True))
        for other, counts in (
                (dict(through=6, apart=(5, 7, False)),
                 dict(through=4, apart=(5, 7, True))),
                (dict(through=6, apart=(3, 2, False)),
                 dict(through=2, apart=(3, 2, True))),
                # It was clean until later.
                (dict(through=6, apart=(6, 9, False)), dict(through=6)),
                (dict(through=5), dict(through=5)),
                # It has forgotten.
                (dict(version=5), dict(version=5, apart=(5, -1, True))),
                (dict(version=6), dict(version=6))):
            with self.subTest(other=other):
                self.assertEqual(
                    [knows, candidate('other')._replace(**counts)],
                    choice.weigh([knows,
                                  candidate('other')._replace(**other)]))

    def test_nobody_knows_that_others_were_read(self):
        there = candidate('there', through=6)
        self.assertEqual(
            [there, there], choice.weigh([
                there, there._replace(apart=(5, 7, False))]))

    def test_who_of_several_was_read(self):
        best = candidate('best', through=4, version=5)._replace(
            apart=(5, 7, True), digest='refused')
        read = candidate('read', version=3)._replace(digest='read')
        other = candidate('other', version=4)._replace(digest='other')
        for read_kept, other, other_kept, chosen in (
                (6, other, 6, 'read'), (7, other, 6, 'read'),
                (6, other, 7, None), (6, other, 4, 'read'),
                (6, other._replace(version=3), 6, None),
                (6, other._replace(digest='refused'), 7, 'read'),
                (6, other._replace(digest='read'), 6, 'read')):
            with self.subTest(other=other, kept=other_kept):
                found = choice.instead(best, 5, [
                    (best._replace(through=0), 8), (other, other_kept),
                    (read, read_kept)])
                self.assertEqual(chosen, found and found.incarnation)

    def test_among_equals_the_soundest_then_the_first(self):
        self.assertEqual(self.chosen(
            candidate('bad', version=4, bad=1, place=0),
            candidate('good', version=4, uncertain=2, place=1)), 'good')
        self.assertEqual(self.chosen(
            candidate('torn', version=4, uncertain=2, place=0),
            candidate('good', version=4, uncertain=1, place=1)), 'good')
        self.assertEqual(self.chosen(
            candidate('second', version=4, place=1),
            candidate('first', version=4, place=0)), 'first')

    def test_a_power_cut_may_have_taken_something(self):
        self.assertEqual(self.chosen(
            candidate('cut', version=4, place=0)._replace(power_lost=True),
            candidate('killed', version=4, bad=1, place=1)), 'killed')
        self.assertEqual(self.chosen(
            candidate('cut', version=5, place=0)._replace(power_lost=True),
            candidate('killed', version=4, place=1)), 'cut')

    def test_reach(self):
        self.assertEqual(choice.reach_of(candidate(through=3, version=5)), 5)
        self.assertEqual(choice.reach_of(candidate(through=7, version=5)), 7)

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(strategies.data())
    def test_no_acknowledged_write_is_lost(self, data):
        """Twin: a history of one object, epoch by epoch. Each epoch has its
        holders, all of them whole; acknowledged writes reach all of them,
        one that is not may reach some. Whoever restarts forgets what it
        was through. Then: of those here, with at least one holder of each
        epoch among them, the one that is chosen has all that was ever
        acknowledged."""
        sheep = range(4)
        has = {s: set() for s in sheep}
        version = dict.fromkeys(sheep, 0)
        through = dict.fromkeys(sheep, 0)
        acknowledged = set()
        write = 0
        epochs = data.draw(strategies.integers(1, 5))
        all_holders = []
        source, last = set(), 0
        for epoch in range(1, epochs + 1):
            holders = data.draw(strategies.sets(
                strategies.sampled_from(sheep), min_size=1, max_size=3))
            all_holders.append(holders)
            for s in sheep:
                if s in holders:
                    # Made whole from one that was (see ``Standing``).
                    if through[s] != epoch - 1:
                        has[s], version[s] = set(source), last
                    through[s] = epoch
            for _ in range(data.draw(strategies.integers(0, 2))):
                write += 1
                if data.draw(strategies.booleans()):
                    acknowledged.add(write)
                    reached = holders
                else:
                    reached = data.draw(strategies.sets(
                        strategies.sampled_from(sorted(holders))))
                for s in reached:
                    has[s].add(write)
                    version[s] = epoch
            chosen = data.draw(strategies.sampled_from(sorted(holders)))
            source, last = set(has[chosen]), version[chosen]
            for s in holders:
                # Doubtful copies follow one of them when the view changes.
                has[s], version[s] = set(source), last
        here = data.draw(strategies.sets(strategies.sampled_from(sheep),
                                         min_size=1))
        hypothesis.assume(all(h & here for h in all_holders))
        for s in data.draw(strategies.sets(strategies.sampled_from(
                sorted(here)))):
            through[s] = 0
        best = choice.choose([
            choice.Candidate(str(s), bool(version[s]), through[s],
                             version[s], 0, 0, s) for s in sorted(here)])
        if best is None:
            self.assertEqual(acknowledged, set())
        else:
            self.assertLessEqual(acknowledged,
                                 has[int(best.incarnation)])
