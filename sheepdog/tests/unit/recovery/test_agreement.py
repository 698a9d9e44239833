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
from sheepdog.tests.unit.recovery import absence_model
from sheepdog.tests.unit.recovery import bad_model
from sheepdog.tests.unit.recovery import coded_model
from sheepdog.tests.unit.recovery import crash_model
from sheepdog.tests.unit.recovery import disk_model
from sheepdog.tests.unit.recovery import full_model
from sheepdog.tests.unit.recovery import spoilt_model
from sheepdog.tests.unit.recovery import torn_model

SEEDS = 400
STEPS = 400
BORN = agreement.Generation(3, 0, True)
OLD = agreement.Generation(4, 1)
NEW = agreement.Generation(6, 2)


def strip(index, generation, nexts=(), floor=0, numbers=(),
          forgotten=agreement.NONE):
    return agreement.Strip(str(index), index, generation, tuple(nexts),
                           floor, frozenset(numbers), forgotten)


def decide(strips, present='012345', targets='012345'):
    return agreement.decide(strips, 4, frozenset(present),
                            lambda epoch: frozenset(targets))


class DecideTest(unittest.TestCase):

    def test_what_all_have_is_kept(self):
        verdict = decide([strip(0, OLD, numbers=(5, 7)),
                          strip(1, OLD, numbers=(5, 7, 9)),
                          strip(2, OLD, numbers=(5, 7)),
                          strip(5, OLD, numbers=(5, 7, 8))], '0125')
        self.assertEqual({5, 7}, verdict.kept)
        self.assertEqual(OLD, verdict.generation)
        self.assertEqual(4, len(verdict.usable))

    def test_what_is_below_a_floor_is_complete(self):
        verdict = decide([strip(i, OLD, floor=6, numbers=(8,))
                          for i in range(3)]
                         + [strip(3, OLD, numbers=(5, 8))])
        self.assertEqual((6, {8}), (verdict.floor, verdict.kept))

    def test_what_has_gone_on_counts(self):
        verdict = decide([strip(i, NEW) for i in (0, 1, 2)]
                         + [strip(3, OLD, [NEW], numbers=(5,))]
                         + [strip(4, OLD, numbers=(5,))])
        self.assertEqual((NEW, set(), [0, 1, 2, 3]), (
            verdict.generation, verdict.kept,
            [s.index for s in verdict.usable]))

    def test_a_settlement_that_not_all_reached_is_left_out(self):
        verdict = decide([strip(i, OLD, [NEW], numbers=(5,))
                          for i in (0, 1)]
                         + [strip(i, OLD, numbers=(5,)) for i in (2, 3)])
        self.assertEqual((OLD, {5}), (verdict.generation, verdict.kept))

    def test_who_did_not_reach_one_that_nobody_began_is_usable(self):
        """…and not made anew while those who did may be lost."""
        found = [strip(i, OLD, [NEW], numbers=(5,)) for i in range(4)]
        missed = [strip(4, OLD, numbers=(5, 6))]
        verdict = decide(found + missed, '01234')
        self.assertEqual((OLD, {5}, 5), (
            verdict.generation, verdict.kept, len(verdict.usable)))
        # Who says that it was not reached is away; somebody has begun it.
        for others, present in (missed, '0123'), (
                [strip(4, NEW), strip(5, OLD)], '012345'):
            verdict = decide(found + others, present)
            self.assertEqual(NEW, verdict.generation)
            self.assertFalse(verdict.wait)
        # Bad blocks may need those that were built for it.
        found[0] = found[0]._replace(is_bad=True)
        self.assertEqual(NEW, decide(found + missed, '01234').generation)

    def test_what_was_made_anew_does_not_go_back(self):
        """…to what it was made of: of that there are too few."""
        built = [strip(i, agreement.NONE, [NEW], forgotten=OLD)
                 for i in (2, 3)]
        for own in (OLD, BORN, agreement.NONE):
            found = built + [strip(i, own, [NEW]) for i in (0, 1)]
            older = [strip(i, agreement.Generation(2, 1))._replace(
                holder='other %d' % i) for i in range(4)]
            for is_given_up in (False, True):
                verdict = agreement.decide(
                    found + older, 4, frozenset('012345'),
                    lambda epoch: frozenset('012345'),
                    lambda generation: is_given_up)
                self.assertEqual((NEW, 4), (verdict.generation,
                                            len(verdict.usable)))

    def test_one_that_all_may_have_reached_is_waited_for(self):
        found = [strip(i, OLD, [NEW]) for i in (0, 1, 2)]
        self.assertEqual('only the strips 0, 1, 2 are here, it takes 4',
                         decide(found, '012').wait)

    def test_who_forgot_proves_nothing(self):
        found = [strip(0, NEW), strip(1, OLD, forgotten=NEW),
                 strip(2, OLD), strip(3, OLD), strip(4, OLD)]
        self.assertTrue(decide(found).wait)

    def test_a_birth_that_one_target_missed_was_none(self):
        found = [strip(i, BORN, numbers=(5,)) for i in range(5)]
        self.assertTrue(decide(found).is_gone)
        self.assertEqual({5}, decide(found, '01234').kept)
        found[0] = strip(0, BORN, floor=6)
        self.assertEqual(6, decide(found).floor)

    def test_who_was_made_anew_does_not_miss_a_birth(self):
        """…of a strip of which nobody knows what it was."""
        found = [strip(i, BORN, numbers=(5,)) for i in range(5)]
        for forgotten, is_gone in (agreement.NONE, True), (NEW, False):
            verdict = decide(found + [strip(5, agreement.NONE, [NEW],
                                            forgotten=forgotten)])
            self.assertEqual(is_gone, verdict.is_gone)
        self.assertEqual(5, len(verdict.usable))

    def test_who_prepared_another_settlement_had_looked(self):
        """…whether anything was written in the views before."""
        later = agreement.Generation(9, 1)
        found = [strip(0, OLD, [NEW, later], floor=3),
                 strip(1, OLD), strip(2, OLD), strip(3, OLD)]
        built = strip(4, agreement.NONE, [later], forgotten=NEW)
        verdict = decide(found + [built])
        self.assertEqual((OLD, later.epoch - 1),
                         (verdict.generation, verdict.reach))
        self.assertEqual({'4': later.epoch}, verdict.forgetful([built]))
        self.assertEqual(OLD.epoch, decide(
            [one._replace(nexts=()) for one in found]).reach)

    def test_who_has_given_up_who(self):
        found = [strip(i, OLD) for i in (0, 1)]
        self.assertTrue(decide(found, '01').wait)
        self.assertTrue(agreement.decide(
            found, 4, frozenset('01'), lambda epoch: frozenset('012345'),
            lambda generation: generation == OLD).is_gone)

    def test_nothing_is_nothing(self):
        self.assertTrue(decide([]).is_gone)


class ModelTest(unittest.TestCase):
    """Strips among sheep that die at any step of updates and settlements."""

    def runs(self, rule=agreement.decide, parity=2, seeds=SEEDS, data=4,
             kind=coded_model.Model, **flaws):
        settlements = acknowledged = 0
        for seed in range(seeds) if isinstance(seeds, int) else seeds:
            model = kind(seed, data, parity, data + parity + 2, rule,
                         **flaws)
            try:
                model.run(STEPS)
            except AssertionError as error:
                error.args = ('seed %d: %s' % (seed, error),)
                raise
            settlements += model.settlements
            acknowledged += len(model.acknowledged)
        return settlements, acknowledged

    def test_nothing_acknowledged_is_lost(self):
        settlements, acknowledged = self.runs()
        self.assertGreater(settlements, SEEDS)
        self.assertGreater(acknowledged, SEEDS // 2)

    def test_other_policies(self):
        self.runs(data=2, parity=1, seeds=SEEDS // 4)
        self.runs(data=8, parity=3, seeds=SEEDS // 4)

    def test_as_many_are_lost_as_it_takes(self):
        self.runs(data=2, parity=2)
        self.runs(data=2, parity=4, seeds=SEEDS // 2)
        self.runs(kind=full_model.FullModel, data=2, parity=2)

    def test_more_crash_than_may_be_lost(self):
        for data, parity, seeds in (4, 2, 2), (2, 1, 4), (2, 2, 4):
            self.runs(kind=crash_model.CrashModel, data=data, parity=parity,
                      seeds=SEEDS // seeds)

    def test_more_crash_and_some_have_no_room(self):
        class Full(crash_model.CrashModel, full_model.FullModel):
            pass

        for data, parity in (4, 2), (2, 2):
            self.runs(kind=Full, data=data, parity=parity, seeds=SEEDS // 4)

    def test_more_crash_and_some_have_lost_their_journals(self):
        for data, parity in (2, 1), (2, 2), (4, 2):
            self.runs(kind=spoilt_model.SpoiltModel, data=data,
                      parity=parity, seeds=SEEDS // 4)

    def test_more_crash_and_some_have_lost_disks(self):
        for data, parity in (2, 1), (2, 2), (4, 2):
            self.runs(kind=disk_model.DiskModel, data=data, parity=parity,
                      seeds=SEEDS // 8)

    def test_believing_who_has_lost_its_journal_is_found(self):
        with self.assertRaises(coded_model.Lost):
            self.runs(kind=spoilt_model.SpoiltModel, believes_all=True,
                      data=2, parity=2, seeds=SEEDS // 4)

    def test_all_lose_power_and_some_have_lost_their_last_records(self):
        for data, parity in (2, 1), (2, 2), (4, 2):
            self.runs(kind=torn_model.TornModel, data=data, parity=parity,
                      seeds=SEEDS // 4)

    def test_believing_who_has_lost_its_last_records_is_found(self):
        with self.assertRaises(AssertionError):
            self.runs(kind=torn_model.TornModel, believes_all=True,
                      data=2, parity=2, seeds=SEEDS // 4)

    def test_waiting_for_who_has_forgotten_is_found(self):
        """…all of them being here."""
        class Careful(agreement.Verdict):
            reach = property(lambda self: self.generation.epoch)

        def rule(*arguments):
            return Careful(*agreement.decide(*arguments))

        flaws = {'kind': crash_model.CrashModel, 'data': 2, 'parity': 3}
        with self.assertRaisesRegex(coded_model.Lost, 'for holders of'):
            self.runs(rule, seeds=range(185, 195), **flaws)
        self.runs(seeds=range(185, 195), **flaws)

    def fails(self, change, error):
        def rule(strips, data, present, targets_of):
            return change(agreement.decide(strips, data, present, targets_of),
                          strips)
        self.assertRaises(error, self.runs, rule)

    def test_keeping_too_little_is_found(self):
        self.fails(lambda verdict, strips: verdict._replace(
            kept=frozenset()), coded_model.Lost)

    def test_keeping_too_much_is_found(self):
        self.fails(lambda verdict, strips: verdict._replace(
            kept=frozenset().union(*(s.numbers for s in strips))),
            coded_model.Mixed)

    def test_taking_stale_strips_is_found(self):
        self.fails(lambda verdict, strips: verdict._replace(
            usable=tuple(strips)) if verdict.usable else verdict,
            coded_model.Mixed)

    def test_taking_the_unwritten_for_gone_is_found(self):
        self.fails(lambda verdict, strips: agreement.Verdict(is_gone=True)
                   if verdict.wait else verdict, coded_model.Lost)

    def test_obeying_late_orders_is_found(self):
        with self.assertRaises(AssertionError):
            self.runs(forgets_halts=True)

    def test_a_generation_given_twice_is_found(self):
        with self.assertRaises(coded_model.Lost):
            self.runs(forgets_counts=True, data=2, parity=1)

    def test_believing_only_what_all_remember_is_found(self):
        class Common(coded_model.Model):
            def marks(self, verdict):
                return set.intersection(*(self.sheep[name].marks
                                          for name in self.targets))
        with self.assertRaises(coded_model.Misled):
            self.runs(kind=Common)

    def test_believing_what_was_undone_is_found(self):
        class All(coded_model.Model):
            def marks(self, verdict):
                return set().union(*(self.sheep[told.holder].marks
                                     for told in verdict.usable))
        with self.assertRaises(coded_model.Misled):
            self.runs(kind=All)

    def test_doing_again_what_was_kept_is_found(self):
        class Again(coded_model.Model):
            def commit(self, name, index, new, marks):
                super().commit(name, index, new, marks)
                self.sheep[name].kept = set()
        with self.assertRaises(coded_model.Misled):
            self.runs(kind=Again, data=2, parity=1)

    def test_who_has_no_room_is_left_out(self):
        self.runs(kind=full_model.FullModel, seeds=SEEDS // 2)
        self.runs(kind=full_model.FullModel, data=2, parity=1,
                  seeds=SEEDS // 2)

    def test_leaving_out_without_a_note_is_found(self):
        with self.assertRaises(coded_model.Lost):
            self.runs(kind=full_model.FullModel, forgets_notes=True, data=2,
                      parity=1, seeds=SEEDS // 4)

    def test_what_is_bad_is_made_anew(self):
        self.runs(kind=bad_model.BadModel, seeds=SEEDS // 2)

    def test_making_anew_what_is_needed_is_found(self):
        with self.assertRaisesRegex(coded_model.Lost, 'not settled'):
            self.runs(kind=bad_model.BadModel, builds_at_once=True)

    def test_who_was_away_gets_what_changed(self):
        kept = []

        class Counted(absence_model.AbsenceModel):
            def end(self):
                super().end()
                kept.append(self.kept)

        self.runs(kind=Counted)
        self.assertGreater(sum(kept), SEEDS)
        for data, parity in (2, 1), (8, 3):
            self.runs(kind=Counted, data=data, parity=parity,
                      seeds=SEEDS // 4)

    def test_not_noting_what_changed_is_found(self):
        class Careless(absence_model.AbsenceModel):
            strip = absence_model.Careless

        with self.assertRaises(coded_model.Mixed):
            self.runs(kind=Careless)
