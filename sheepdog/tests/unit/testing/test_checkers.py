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

import itertools
import random
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.testing import checkers
from sheepdog.testing import cuts
from sheepdog.testing import history as history_module

NEVER = checkers.NEVER


def write(value, begin, end=NEVER, durable=NEVER):
    return checkers.Operation(checkers.WRITE, value, begin, end, durable)


def read(value, begin, end=NEVER):
    return checkers.Operation(checkers.READ, value, begin, end)


def brute_force(operations, initial=0):
    """All subsets of the open writes, in all orders."""
    ended = [o for o in operations if o.end != NEVER]
    open_writes = [o for o in operations
                   if o.end == NEVER and o.kind == checkers.WRITE]
    for count in range(len(open_writes) + 1):
        for chosen in itertools.combinations(open_writes, count):
            for order in itertools.permutations(ended + list(chosen)):
                if is_legal(order, initial):
                    return True
    return False


def is_legal(order, initial):
    value = initial
    earliest = NEVER
    for operation in reversed(order):
        if earliest < operation.begin:
            return False
        earliest = min(earliest, operation.end)
        if operation.kind == checkers.WRITE:
            earliest = min(earliest, operation.expires)
            if operation.expires < operation.begin:
                return False
    for operation in order:
        if operation.kind == checkers.WRITE:
            value = operation.value
        elif operation.value != value:
            return False
    return True


def brute_force_with_cut(operations, cut, initial=0):
    """A beginning of a legal order of what began before the cut, with all
    that is durable, then a legal order of the rest."""
    before = [o for o in operations if o.begin < cut]
    after = [o for o in operations if o.begin >= cut]
    ended = [o for o in before if o.end < cut]
    open_writes = [o for o in before
                   if o.end > cut and o.kind == checkers.WRITE]
    for count in range(len(open_writes) + 1):
        for chosen in itertools.combinations(open_writes, count):
            left = [o for o in open_writes if o not in chosen]
            for order in itertools.permutations(ended + list(chosen)):
                if not is_legal(order, initial):
                    continue
                for length in range(len(order) + 1):
                    kept, lost = order[:length], order[length:]
                    if any(o.durable < cut for o in lost):
                        continue
                    values = [initial] + [
                        o.value for o in kept
                        if o.kind == checkers.WRITE]
                    late = [write(o.value, o.begin, o.end) for o in left]
                    # An open write that took effect and was lost may come
                    # again: its sender never knew. If it is answered yet,
                    # it has come again.
                    late += [write(o.value, o.begin, o.end)
                             for o in lost if o in chosen]
                    if brute_force(late + after, values[-1]):
                        return True
    return False


@strategies.composite
def histories(draw, size=6, distinct=True, expiring=False):
    """Operations at distinct moments, as they may come from anywhere."""
    count = draw(strategies.integers(size // 2, size))
    moments = draw(strategies.permutations(range(2 * count)))
    operations = []
    values = 0
    for i in range(count):
        begin, end = sorted(moments[2 * i:2 * i + 2])
        if draw(strategies.integers(0, 4)) == 0:
            end = NEVER
        if draw(strategies.booleans()):
            values += 1
            value = values
            if not distinct and draw(strategies.booleans()):
                value = 0
            operations.append(write(value, begin, end))
            if expiring and draw(strategies.booleans()):
                operations[-1].expires = 0.5 + draw(
                    strategies.integers(begin, 2 * count))
        else:
            value = draw(strategies.integers(0, size // 2))
            operations.append(read(value, begin, end))
    return operations


def random_history(source, size=5):
    """The same with a power cut; most of these are legal."""
    count = source.randrange(2, size + 1)
    moments = list(range(2 * count))
    source.shuffle(moments)
    cut = source.randrange(count // 2, 2 * count) - 0.5
    operations = []
    writes = 0
    for i in range(count):
        begin, end = sorted(moments[2 * i:2 * i + 2])
        if source.random() < (0.5 if begin < cut < end else 0.2):
            end = NEVER
        if source.random() < 0.5:
            writes += 1
            durable = end if source.random() < 0.5 else NEVER
            value = 0 if source.random() < 0.15 else writes
            operations.append(write(value, begin, end, durable))
        else:
            operations.append(read(0, begin, end))
    for operation in operations:
        if operation.kind == checkers.READ:
            operation.value = source.randrange(writes + 1)
    return operations, cut


class LinearizabilityTest(unittest.TestCase):

    def assert_fine(self, *operations):
        self.assertIsNone(checkers.first_violation(operations))

    def assert_wrong(self, *operations):
        violation = checkers.first_violation(operations)
        self.assertIsNotNone(violation)
        self.assertIn('by', str(violation))

    @hypothesis.settings(max_examples=600, deadline=None)
    @hypothesis.given(histories())
    def test_zones_against_brute_force(self, operations):
        self.assertEqual(brute_force(operations),
                         checkers.first_violation(operations) is None)

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(histories(size=5, distinct=False))
    def test_search_against_brute_force(self, operations):
        self.assertEqual(brute_force(operations),
                         checkers.first_violation(operations) is None)

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(histories(size=5, expiring=True))
    def test_expiring_zones_against_brute_force(self, operations):
        self.assertEqual(brute_force(operations),
                         checkers.first_violation(operations) is None)

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(histories(size=5, distinct=False, expiring=True))
    def test_expiring_search_against_brute_force(self, operations):
        # How late one write without an end was taken says nothing to the
        # next: a few go unnoticed.
        found = checkers.first_violation(operations) is not None
        self.assertFalse(found and brute_force(operations))

    def test_cuts_against_brute_force(self):
        source = random.Random(1)
        illegal = missed = 0
        for _ in range(5000):
            operations, cut = random_history(source)
            violation = cuts.first_violation(operations, [cut])
            if brute_force_with_cut(operations, cut):
                self.assertIsNone(violation)
            else:
                illegal += 1
                missed += violation is None
        # What order durable writes were in is not followed to the end.
        self.assertLess(missed, illegal / 200)
        self.assertGreater(illegal, 400)

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(histories())
    def test_zones_against_search(self, operations):
        ended = [o for o in operations
                 if o.kind == checkers.WRITE or o.end != NEVER]
        self.assertEqual(
            checkers._search(ended, 0) is None,
            checkers.first_violation(operations) is None)

    def test_sequential(self):
        self.assert_fine(read(0, 1, 2), write(1, 3, 4), read(1, 5, 6))

    def test_stale_read(self):
        self.assert_wrong(write(1, 1, 2), read(0, 3, 4))

    def test_back_in_time(self):
        self.assert_wrong(write(1, 1, 9), read(1, 2, 3), read(0, 4, 5))

    def test_two_readers_disagree_on_the_order(self):
        self.assert_wrong(write(1, 1, 3), write(2, 2, 4),
                          read(1, 5, 6), read(2, 7, 8), read(1, 9, 10))

    def test_from_the_future(self):
        self.assert_wrong(read(1, 1, 2), write(1, 3, 4))

    def test_from_nowhere(self):
        self.assert_wrong(read(7, 1, 2))

    def test_an_open_write_may_come_late_or_never(self):
        self.assert_fine(write(1, 1), read(0, 2, 3), read(0, 4, 5))
        self.assert_fine(write(1, 1), read(0, 2, 3), read(1, 4, 5))
        self.assert_wrong(write(1, 1), read(1, 2, 3), read(0, 4, 5))

    def test_lost_write(self):
        self.assert_wrong(write(1, 1, 2), write(2, 3, 4), read(1, 5, 6))

    def test_long_histories_are_fast(self):
        operations = []
        for i in range(20000):
            operations.append(write(i + 1, 4 * i, 4 * i + 5.5))
            operations.append(read(i + 1, 4 * i + 1.5, 4 * i + 5.7))
        self.assert_fine(*operations)

    def test_zeroes_again_and_again(self):
        self.assert_fine(write(1, 1, 2), write(0, 3, 4), read(0, 5, 6),
                         write(2, 7, 8), write(0, 9, 10), read(0, 11, 12))
        self.assert_wrong(write(1, 1, 2), write(0, 3, 4), read(1, 5, 6),
                          write(0, 9, 10), read(0, 11, 12))


class ManyZeroesTest(unittest.TestCase):
    """Zeroes make the search for an order long, but not without end."""

    def test_zeroes_of_unknown_outcome(self):
        operations = [write(0, time) for time in range(1, 400, 10)]
        operations += [write(7, 401, 402), read(0, 403, 404),
                       write(8, 405, 406), read(8, 407, 408)]
        self.assertIsNone(checkers.first_violation(operations))
        self.assertIsNotNone(checkers.first_violation(
            operations + [read(7, 409, 410)]))

    def test_writes_of_unknown_outcome_that_nobody_saw(self):
        operations = [write(value, value) for value in range(10, 200)]
        operations += [write(0, 301, 302), write(0, 303, 304),
                       read(0, 305, 306)]
        self.assertIsNone(checkers.first_violation(operations))
        self.assertIsNotNone(checkers.first_violation(
            operations + [write(1, 307, 308), read(2, 309, 310)]))


class LocksTest(unittest.TestCase):
    """Writes under a lock that was lost since."""

    def check(self, *operations):
        checkers.expire(operations)
        return checkers.first_violation(operations)

    def under(self, lock, operation):
        operation.lock = lock
        return operation

    def test_an_open_write_does_not_come_after_the_next_owner(self):
        for value in 1, 0:
            late = [self.under(5, write(value, 1)),
                    self.under(5, write(2, 2, 3)),
                    self.under(7, read(2, 4, 5)), read(2, 6, 7),
                    read(value, 8, 9)]
            self.assertIsNotNone(self.check(*late))
            late[2].lock = 5
            self.assertIsNone(self.check(*late))

    def test_it_comes_before_the_next_owner(self):
        self.assertIsNone(self.check(
            self.under(5, write(1, 1)), read(0, 2, 3),
            self.under(7, read(1, 4, 5)), read(1, 6, 7)))

    def test_a_late_answer(self):
        for value in 1, 2:
            found = self.check(
                self.under(5, write(1, 1, 8)), self.under(7, read(0, 2, 3)),
                self.under(7, write(2, 4, 5)), read(value, 9, 10))
            self.assertEqual(value == 1, found is not None)

    def test_who_has_no_lock_may_read(self):
        self.assertIsNone(self.check(
            self.under(7, read(0, 1, 2)), self.under(5, read(0, 3, 4))))

    def test_an_answer_to_what_was_begun_too_late(self):
        late = self.under(5, write(1, 3, 4))
        before = self.under(7, read(0, 1, 2))
        self.assertIsNotNone(self.check(before, late, read(1, 5, 6)))
        self.assertIsNotNone(self.check(before, late))

    def test_no_answer_of_the_next_owner(self):
        self.assertIsNone(self.check(
            self.under(5, write(1, 1)), self.under(7, read(0, 2)),
            read(0, 3, 4), read(1, 5, 6)))

    def test_under_no_lock(self):
        self.assertIsNone(self.check(
            write(1, 1), self.under(7, read(0, 2, 3)), read(1, 4, 5)))

    def test_it_does_not_outlive_a_power_cut(self):
        operations = [self.under(5, write(1, 1)),
                      self.under(7, read(0, 2, 3)), read(0, 11, 12),
                      read(1, 13, 14)]
        self.assertIsNone(cuts.first_violation(
            operations, [10]))
        checkers.expire(operations)
        self.assertIsNotNone(cuts.first_violation(
            operations, [10]))


class CutsTest(unittest.TestCase):

    def check(self, operations, *moments):
        return cuts.first_violation(operations, moments)

    def test_durable_stays(self):
        self.assertIsNone(self.check(
            [write(1, 1, 2, 2), read(1, 11, 12)], 10))
        self.assertIsNotNone(self.check(
            [write(1, 1, 2, 2), read(0, 11, 12)], 10))

    def test_not_durable_may_be_lost_once(self):
        lost = [write(1, 1, 2, 2), write(2, 3, 4), read(1, 11, 12)]
        self.assertIsNone(self.check(lost, 10))
        self.assertIsNotNone(self.check(lost))
        self.assertIsNotNone(self.check(lost + [read(2, 13, 14)], 10))
        self.assertIsNotNone(self.check(lost + [read(2, 21, 22)], 10, 20))

    def test_a_flush_after_the_cut_is_too_late(self):
        self.assertIsNone(self.check(
            [write(1, 1, 2, 15), read(0, 11, 12)], 10))

    def test_what_was_kept_stays_kept(self):
        self.assertIsNotNone(self.check(
            [write(1, 1, 2, 2), write(2, 3, 4), write(3, 5, 6),
             read(2, 11, 12), read(1, 21, 22)], 10, 20))

    def test_two_cuts(self):
        self.assertIsNone(self.check(
            [write(1, 1, 2, 2), write(2, 3, 4), read(2, 11, 12),
             write(3, 13, 14), read(2, 21, 22)], 10, 20))

    def test_in_flight_at_the_cut(self):
        for value in 0, 1:
            self.assertIsNone(self.check(
                [write(1, 9), read(value, 11, 12)], 10))
        self.assertIsNone(self.check(
            [write(1, 9), read(0, 11, 12), read(1, 13, 14)], 10))
        self.assertIsNone(self.check(
            [write(1, 9), read(0, 11, 12), read(1, 21, 22)], 10, 20))

    def test_zero_again_over_a_durable_write(self):
        operations = [read(0, 1, 2), write(1, 3, 4, 4), write(0, 5, 6)]
        self.assertIsNone(self.check(operations + [read(0, 11, 12)], 10))
        self.assertIsNone(self.check(operations + [read(1, 11, 12)], 10))
        operations.append(write(2, 7, 8, 8))
        self.assertIsNotNone(self.check(operations + [read(0, 11, 12)], 10))

    def test_done_before_the_cut_and_answered_after_it(self):
        # The client of the first write stood still, and its machine was not
        # one of those that lost power.
        self.assertIsNone(self.check(
            [write(1, 1, 12, 12), write(2, 3, 4, 4), read(2, 13, 14)], 10))
        self.assertIsNotNone(self.check(
            [write(1, 1, 12, 12), write(2, 3, 4, 4), read(0, 13, 14)], 10))

    def test_answered_after_the_cut_it_is_there(self):
        for durable in 12, NEVER:
            late = [write(1, 1, 2, 2), write(2, 3, 12, durable)]
            self.assertIsNone(self.check(
                late + [read(1, 10, 11), read(2, 13, 14)], 9))
            self.assertIsNone(self.check(late + [read(2, 10, 11)], 9))
            self.assertIsNotNone(self.check(late + [read(1, 13, 14)], 9))
            # …also where nothing was written before.
            self.assertIsNotNone(self.check(
                late[1:] + [read(0, 13, 14)], 9))

    def test_answered_after_the_cut_it_survives_the_next_one(self):
        late = [write(1, 1, 2, 2), write(2, 3, 12, 12)]
        self.assertIsNone(self.check(late + [read(2, 21, 22)], 9, 20))
        self.assertIsNotNone(self.check(late + [read(1, 21, 22)], 9, 20))
        late[1].durable = NEVER
        self.assertIsNone(self.check(late + [read(1, 21, 22)], 9, 20))
        # The next flush was answered, and then it was under way no more.
        late[1].durable = 15
        self.assertIsNotNone(self.check(late + [read(1, 21, 22)], 9, 20))

    def test_under_way_at_two_cuts(self):
        late = [write(1, 1, 2, 2), write(2, 3, 22, 22)]
        self.assertIsNone(self.check(
            late + [read(1, 11, 12), read(1, 20, 21)], 9, 19))
        self.assertIsNotNone(self.check(
            late + [read(1, 11, 12), read(1, 23, 24)], 9, 19))

    def test_in_flight_it_takes_effect_once(self):
        self.assertIsNotNone(self.check(
            [write(1, 9), read(1, 11, 12), write(2, 13, 14),
             read(2, 15, 16), read(1, 17, 18)], 10))

    def test_what_lies_under_a_durable_write_stays_there(self):
        self.assertIsNotNone(self.check(
            [write(1, 1, 2), write(2, 3, 4, 4), read(1, 11, 12)], 10))
        self.assertIsNone(self.check(
            [write(1, 1, 4), write(2, 3, 5, 5), read(1, 11, 12)], 10))


class HistoryTest(unittest.TestCase):

    def setUp(self):
        self.history = history_module.History()

    def write(self, value, register=0, handle='h', is_durable=False):
        operations = self.history.begin_write('w', [register], value)
        self.history.end_write(operations, handle, is_durable)

    def read(self, value, register=0):
        operations = self.history.begin_read('r', [register])
        self.history.end_read(operations, [value])

    def test_blocks_are_checked_apart(self):
        self.write(1, 0)
        self.write(2, 1)
        self.read(1, 0)
        self.read(1, 1)
        (register, violation), = self.history.check()
        self.assertEqual(1, register)

    def test_torn(self):
        self.read(checkers.TORN)
        self.assertIn('torn', str(self.history.check()[0][1]))

    def test_flush_makes_durable(self):
        self.write(1)
        flushed = self.history.begin_flush('h')
        self.write(2)
        self.history.end_flush('h', flushed)
        self.history.power_cut()
        self.read(1)
        self.assertEqual([], self.history.check())
        self.read(0)
        self.assertEqual(1, len(self.history.check()))

    def test_a_flush_of_another_handle_does_not(self):
        self.write(1)
        self.history.end_flush('i', self.history.begin_flush('i'))
        self.history.power_cut()
        self.read(0)
        self.assertEqual([], self.history.check())

    def test_a_flush_before_the_write_ended_does_not(self):
        operations = self.history.begin_write('w', [0], 1)
        flushed = self.history.begin_flush('h')
        self.history.end_write(operations, 'h', False)
        self.history.end_flush('h', flushed)
        self.history.power_cut()
        self.read(0)
        self.assertEqual([], self.history.check())

    def test_lost_without_a_power_cut(self):
        self.write(1)
        self.read(0)
        self.assertEqual(1, len(self.history.check()))
        self.assertEqual(1, self.history.count(checkers.WRITE))

    def test_agreement(self):
        agreement = checkers.Agreement('epoch')
        agreement.say('one', 1, ('a', 'b'))
        agreement.say('two', 1, ('a', 'b'))
        self.assertEqual([], agreement.violations)
        agreement.say('three', 1, ('a',))
        self.assertIn('three', agreement.violations[0])
        self.assertEqual(('a', 'b'), agreement.get(1))
