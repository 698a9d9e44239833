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

import json
import unittest

from sheepdog.cluster import alteration
from sheepdog.cluster import decisions
from sheepdog.cluster import entries
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.model import view as view_model
from sheepdog.placement import redundancy
from sheepdog.tests.unit.cluster import test_state


OID = ids.data_oid(1, 7)
CODE = 0x11
"""2:1, three strips."""


def entry(vdi_id, name, copies=2, **fields):
    return entries.VdiEntry(vdi_id, name, copies=copies, **fields)


def table(*found):
    return {one.vdi_id: one for one in found}


def plan(vdis, name, *policy):
    return alteration.plan(vdis, name, redundancy.Policy(*policy))


def noted(one, *policy):
    return alteration.noted(one, redundancy.Policy(*policy))


class PlanTest(unittest.TestCase):
    """Who shares objects has no more copies than those."""

    def test_alone(self):
        vdis = table(entry(1, 'a'), entry(2, 'b'))
        self.assertEqual({1: 3}, plan(vdis, 'a', 3))

    def test_snapshots_of_the_same_name(self):
        vdis = table(entry(1, 'a', snapshot=True, tag='s'),
                     entry(2, 'a', parent=1),
                     entry(3, 'a', snapshot=True, deleted=True))
        self.assertEqual({1: 4, 2: 4}, plan(vdis, 'a', 4))
        self.assertEqual({1: 1, 2: 1}, plan(vdis, 'a', 1))

    def test_what_it_was_cloned_from_gets_as_many(self):
        vdis = table(entry(1, 'a', snapshot=True), entry(2, 'a', parent=1),
                     entry(3, 'b', parent=1))
        self.assertEqual({1: 3, 3: 3}, plan(vdis, 'b', 3))
        self.assertEqual({3: 1}, plan(vdis, 'b', 1))

    def test_what_others_were_cloned_from_keeps_what_they_need(self):
        vdis = table(entry(1, 'a', 3, snapshot=True),
                     entry(2, 'a', 3, parent=1), entry(3, 'b', 3, parent=1))
        self.assertEqual({1: 3, 2: 1}, plan(vdis, 'a', 1))

    def test_what_is_deleted_and_needed_goes_with_the_vdi(self):
        vdis = table(entry(1, 'a', deleted=True), entry(2, 'a', parent=1))
        self.assertEqual({1: 3, 2: 3}, plan(vdis, 'a', 3))
        self.assertEqual({1: 1, 2: 1}, plan(vdis, 'a', 1))

    def test_or_has_as_many_as_others_need_of_it(self):
        vdis = table(entry(1, 'a', 2, snapshot=True, deleted=True),
                     entry(2, 'a', 2, parent=1), entry(3, 'b', 2, parent=1))
        self.assertEqual({1: 2, 2: 1}, plan(vdis, 'a', 1))
        self.assertEqual({1: 3, 3: 3}, plan(vdis, 'b', 3))

    def test_what_nobody_needs_any_more_does_not(self):
        vdis = table(entry(1, 'a', deleted=True, reclaimed=True),
                     entry(2, 'a', parent=1),
                     entry(3, 'a', deleted=True))
        self.assertEqual({2: 3}, plan(vdis, 'a', 3))

    def test_what_is_under_way_counts(self):
        vdis = table(entry(1, 'a', 2, snapshot=True, wanted=3),
                     entry(3, 'b', 2, parent=1))
        self.assertEqual({3: 3}, plan(vdis, 'b', 3))

    def test_a_ring_of_parents_ends(self):
        vdis = table(entry(1, 'a', parent=2), entry(2, 'b', parent=1))
        plan(vdis, 'a', 3)


class EntryTest(unittest.TestCase):

    def test_copies_of_earlier_epochs(self):
        one = entry(1, 'a', 3)
        for epoch, copies in ((5, 1), (6, 4)):
            one = alteration.in_force(noted(one, copies), epoch, 0)
        self.assertEqual([3, 3, 1, 4, 4],
                         [one.copies_at(OID, epoch)
                          for epoch in (1, 5, 6, 7, 9)])
        self.assertEqual(one, entries.VdiEntry.from_dict(
            json.loads(json.dumps(one.to_dict()))))

    def test_what_nobody_asks_for_is_forgotten(self):
        one = entry(1, 'a', 2)
        for epoch in range(100):
            one = alteration.in_force(
                noted(one, 2 + epoch % 2 * 2 - 1), epoch, 50)
        self.assertEqual([*range(50, 100)],
                         [until for until, _ in one.earlier])
        for epoch in range(100, 120):
            one = alteration.in_force(
                noted(one, 2 + epoch % 2 * 2 - 1), epoch, 119)
        self.assertEqual(alteration.EARLIER_MIN, len(one.earlier))

    def test_nonsense(self):
        for earlier in ([[1]], [[1, 0]], [[1, 2, 3]], ['ab'], [[1, 99]]):
            with self.assertRaises(errors.InvalidParameters):
                entries.VdiEntry.from_dict(
                    {'vdi_id': 1, 'name': 'a', 'earlier': earlier})

    def test_the_same_number_again_takes_it_back(self):
        one = noted(entry(1, 'a', 2), 3)
        self.assertEqual(3, one.wanted)
        self.assertEqual(0, noted(one, 2).wanted)


class FormTest(unittest.TestCase):
    """Between copies and strips."""

    def turned(self, one, epoch, *policy):
        one = noted(one, *policy)
        self.assertTrue(one.is_turning)
        return alteration.in_force(one, epoch, 0)

    def test_each_form_is_kept_as_it_was_made(self):
        one = alteration.in_force(noted(entry(1, 'a', 2), 3), 4, 0)
        one = self.turned(one, 5, 3, CODE)
        former, now = (ids.data_oid(ids.owner_of(1, form), 7)
                       for form in (0, 1))
        self.assertEqual(now, ids.data_oid(one.owner, 7))
        self.assertEqual((3, CODE), (one.kept(now).copies,
                                     one.kept(now).copy_policy))
        self.assertEqual((3, 0), (one.kept(former).copies,
                                  one.kept(former).copy_policy))
        self.assertEqual([2, 3], [one.copies_at(former, epoch)
                                  for epoch in (4, 5)])
        # The inode goes on, with another number of copies.
        self.assertEqual([2, 3, 2], [one.copies_at(ids.vdi_oid(1), epoch)
                                     for epoch in (4, 5, 6)])
        self.assertEqual(2, one.fewest_at(4))
        self.assertEqual([False] * 3, [one.is_gone(oid) for oid in (
            former, now, ids.vdi_oid(1))])
        self.assertEqual(one, entries.VdiEntry.from_dict(
            json.loads(json.dumps(one.to_dict()))))

    def test_what_is_no_data_object_stays(self):
        """The memory of a virtual machine has no form, and nobody copies
        it."""
        oid = ids.vmstate_oid(1, 0)
        one = alteration.turned(self.turned(entry(1, 'a', 2), 5, 3, CODE), 1)
        two = alteration.turned(self.turned(one, 9, 4, 0), 2)
        for form in (one, two):
            kept = form.kept(oid)
            self.assertEqual((2, 0), (kept.copies, kept.copy_policy))
            self.assertEqual([2, 2], [form.copies_at(oid, epoch)
                                      for epoch in (4, 10)])
            self.assertFalse(form.is_gone(oid))

    def test_what_was_turned(self):
        one = alteration.turned(self.turned(entry(1, 'a', 2), 5, 3, CODE), 1)
        self.assertFalse(one.is_turning)
        former = ids.data_oid(ids.owner_of(1, 0), 7)
        self.assertTrue(one.is_gone(former))
        # What comes with a sheep much later is still known for copies.
        self.assertEqual((2, 0), (one.kept(former).copies,
                                  one.kept(former).copy_policy))
        self.assertFalse(one.is_gone(ids.vdi_oid(1)))
        self.assertFalse(one.is_gone(ids.attribute_oid(1, 5)))
        self.assertFalse(one.is_gone(ids.data_oid(one.owner, 7)))
        with self.assertRaises(errors.InvalidParameters):
            alteration.turned(one, 2)

    def test_a_form_is_never_used_again(self):
        one = entry(1, 'a', 2)
        for number in range(1, limits.FORMS_MAX):
            policy = redundancy.Policy(3, CODE * (number % 2))
            alteration.check(one, policy, 0)
            one = alteration.turned(self.turned(one, number, *policy), number)
        with self.assertRaisesRegex(
                errors.InvalidParameters,
                'VDI a was altered between copies and strips 7 times, as '
                'often as one can be: create another VDI and copy'):
            alteration.check(one, redundancy.Policy(3), 0)
        # (Numbers of copies are another thing.)
        alteration.check(one, redundancy.Policy(3, CODE), 0)

    def test_one_after_the_other(self):
        one = self.turned(entry(1, 'a', 2), 5, 3, CODE)
        with self.assertRaisesRegex(errors.InvalidParameters,
                                    'being turned into 2:1'):
            alteration.check(one, redundancy.Policy(3), 0)

    def test_not_while_it_is_shared(self):
        lock = entries.Lock('shared', ('a.1',))
        alteration.check(entry(1, 'a'), redundancy.Policy(3), 0, lock)
        with self.assertRaisesRegex(errors.VdiLocked, 'close it first'):
            alteration.check(entry(1, 'a'), redundancy.Policy(3, CODE), 0,
                             lock)

    def test_snapshots_keep_theirs(self):
        vdis = table(entry(1, 'a', snapshot=True), entry(2, 'a', parent=1))
        self.assertEqual({2: 3}, plan(vdis, 'a', 3, CODE))

    def test_also_when_the_vdi_gets_another_number_later(self):
        """They cannot be turned."""
        coded = {'snapshot': True, 'copy_policy': CODE}
        vdis = table(entry(1, 'a', 3, **coded), entry(2, 'a', parent=1),
                     entry(3, 'b', parent=1))
        self.assertEqual({2: 4}, plan(vdis, 'a', 4))
        self.assertEqual({3: 4}, plan(vdis, 'b', 4))

    def test_nonsense(self):
        for former in ([[0, 3]], [[8, 3, 0, []]], [[0, 0, 0, []]],
                       [[0, 3, 0x70, []]], [[0, 3, 0, [[1]]]], 'a', [1]):
            with self.assertRaises(errors.InvalidParameters, msg=former):
                entries.VdiEntry.from_dict(
                    {'vdi_id': 1, 'name': 'a', 'former': former})


class ZonesTest(unittest.TestCase):
    view = view_model.View.from_dict(test_state.view(1, test_state.NODES[:3]))

    def check(self, text, is_strict, is_forced):
        alteration.check_zones(self.view, redundancy.parse(text), is_strict,
                               is_forced)

    def test_enough(self):
        self.check('3', True, False)
        self.check('2:1', True, False)

    def test_too_few(self):
        with self.assertRaisesRegex(
                errors.InvalidParameters,
                r'4 copies need as many zones, and there are 3 \(0, 1, 2\): '
                r'start sheep in other zones first, or ask for 3 at most. '
                r'Option -f'):
            self.check('4', False, False)
        self.check('4', False, True)

    def test_too_few_for_strips(self):
        with self.assertRaisesRegex(
                errors.InvalidParameters,
                r'2:2 is 4 strips, which need as many zones, and there are 3 '
                r'.*the missing strips are made'):
            self.check('2:2', False, False)
        self.check('2:2', False, True)
        with self.assertRaisesRegex(errors.InvalidParameters, 'strict'):
            self.check('2:2', True, True)
        for is_forced in (False, True):
            with self.assertRaisesRegex(
                    errors.InvalidParameters,
                    'With fewer than 4 nothing can be written'):
                self.check('4:2', False, is_forced)

    def test_a_strict_cluster_takes_no_force(self):
        with self.assertRaisesRegex(errors.InvalidParameters, 'strict'):
            self.check('4', True, True)


class StateTest(unittest.TestCase):

    def setUp(self):
        self.state = test_state.formatted()
        test_state.put(self.state, test_state.create(5, 'v', copies=2))

    def decide(self, name='v', copies=3, force=False, kind='alter-vdi',
               **more):
        event, result = decisions.decide(
            kind, {'name': name, 'copies': copies, 'force': force, **more},
            self.state)
        test_state.put(self.state, json.loads(json.dumps(event)))
        return result

    def next_epoch(self, epoch=None):
        test_state.put(self.state, {
            'kind': 'epoch', 'view': test_state.view(
                epoch or self.state.epoch + 1, test_state.NODES[:3])})

    def test_in_force_from_the_next_epoch_on(self):
        self.assertEqual({'before': 2, 'policy_before': 0, 'copies': 3,
                          'copy_policy': 0, 'vdis': [5]},
                         self.decide())
        self.assertEqual(2, self.state.vdis[5].copies)
        self.assertTrue(self.state.is_altering)
        # A cold start keeps the epoch, and what was true in it.
        self.next_epoch(1)
        self.assertEqual(2, self.state.vdis[5].copies)
        self.assertTrue(self.state.is_altering)
        self.next_epoch()
        self.assertFalse(self.state.is_altering)
        found = self.state.vdis[5]
        self.assertEqual((3, 0), (found.copies, found.wanted))
        self.assertEqual([2, 3], [found.copies_at(ids.vdi_oid(5), 1),
                                  found.copies_at(ids.data_oid(5, 1), 2)])

    def test_it_is_not_lost_on_the_way(self):
        self.decide()
        other = state_module.State.from_dict(
            json.loads(json.dumps(self.state.to_dict())))
        self.assertTrue(other.is_altering)
        self.assertTrue(self.state.copy().is_altering)
        self.state = other
        self.next_epoch()
        self.assertEqual(3, self.state.vdis[5].copies)

    def test_changed_while_under_way(self):
        self.decide()
        self.assertEqual({'before': 3, 'policy_before': 0, 'copies': 1,
                          'copy_policy': 0, 'vdis': [5]},
                         self.decide(copies=1))
        self.next_epoch()
        self.assertEqual(1, self.state.vdis[5].copies)
        self.decide()
        self.decide(copies=1)
        self.assertFalse(self.state.is_altering)

    def turn(self, **fields):
        """To strips, and the epoch that puts it in force."""
        test_state.put(self.state, test_state.lock(5, 'a.1', **fields))
        self.decide(copy_policy=CODE)
        self.next_epoch()

    def turned(self, owner='a.1', form=1):
        test_state.put(self.state, decisions.decide(
            'turned', {'vdi_id': 5, 'form': form, 'owner': owner},
            self.state)[0])

    def test_turned_by_who_has_it(self):
        self.turn()
        self.assertTrue(self.state.vdis[5].is_turning)
        for owner, form in (('b.1', 1), ('a.1', 0)):
            with self.assertRaises((errors.VdiNotLocked,
                                    errors.InvalidParameters)):
                self.turned(owner, form)
        self.turned()
        self.assertFalse(self.state.vdis[5].is_turning)
        self.assertEqual((3, CODE), (self.state.vdis[5].copies,
                                     self.state.vdis[5].copy_policy))

    def tell(self, below, left=(), owner='a.1', form=1):
        event, _ = decisions.decide(
            'turning', {'vdi_id': 5, 'form': form, 'owner': owner,
                        'below': below, 'left': list(left)}, self.state)
        test_state.put(self.state, event)
        return event['begin'], event['copied']

    def gone(self, form, *indexes):
        return [index for index in indexes if self.state.is_gone(
            ids.data_oid(ids.owner_of(5, form), index))]

    def test_how_often_it_can_be_done(self):
        """As often as is said each time."""
        test_state.put(self.state, test_state.lock(5, 'a.1'))
        for form in range(1, limits.FORMS_MAX):
            result = self.decide(copy_policy=CODE * (form % 2))
            self.assertEqual(limits.FORMS_MAX - 1 - form,
                             result['times_left'])
            self.assertNotIn('times_left', self.decide(
                copies=3, copy_policy=CODE * (not form % 2)))
            self.decide(copy_policy=CODE * (form % 2))
            self.next_epoch()
            self.turned(form=form)
        self.assertEqual(0, result['times_left'])
        with self.assertRaisesRegex(errors.InvalidParameters, '7 times'):
            self.decide(copy_policy=0)

    def test_how_far_it_is(self):
        """What is turned goes at once, and does not come back."""
        self.turn()
        self.assertEqual([], self.gone(0, 0, 9))
        self.assertEqual((0, []), self.tell(4, [1, 2]))
        self.assertEqual([0, 3], self.gone(0, 0, 1, 2, 3, 4, 9))
        self.assertEqual([], self.gone(1, 0, 3, 9))
        self.assertEqual((4, [2]), self.tell(9, [1, 7]))
        indexes = (0, 1, 2, 7, 8, 9)
        self.assertEqual([0, 2, 8], self.gone(0, *indexes))
        entry = self.state.vdis[5]
        self.assertEqual(entry, entries.VdiEntry.from_dict(
            json.loads(json.dumps(entry.to_dict()))))
        for wrong in (
                (8, [1]), (9, [2]), (9, [9]), (9, [7, 1]), (9, [1, 1]),
                (9, [-1]), (9, ['1']), (limits.VDI_OBJECTS_MAX + 1, []),
                (200, range(100, 101 + limits.TURNING_LEFT_MAX))):
            with self.assertRaises(errors.InvalidParameters, msg=wrong):
                self.tell(*wrong)
        for owner, form in (('b.1', 1), ('a.1', 0), ('a.1', 2)):
            with self.assertRaises((errors.VdiNotLocked,
                                    errors.InvalidParameters)):
                self.tell(20, [], owner, form)
        self.assertEqual([0, 2, 8], self.gone(0, *indexes))
        self.turned()
        self.assertEqual(list(indexes), self.gone(0, *indexes))
        self.assertEqual([], self.gone(1, *indexes))
        with self.assertRaises(errors.InvalidParameters):
            self.tell(20)

    def test_what_is_no_event(self):
        self.turn()
        good = {'kind': 'vdi-turning', 'vdi_id': 5, 'form': 1,
                'owner': 'a.1', 'below': 4, 'left': [1], 'begin': 0,
                'copied': []}
        for field, value in (('begin', -1), ('copied', ['1']),
                             ('copied', [3]), ('left', [5]), ('below', -1)):
            with self.assertRaises(errors.InvalidParameters, msg=field):
                test_state.put(self.state, dict(good, **{field: value}))
        test_state.put(self.state, good)

    def test_a_state_of_a_version_before(self):
        self.turn()
        fields = self.state.vdis[5].to_dict()
        fields['former'] = [row[:4] for row in fields['former']]
        self.assertEqual(self.state.vdis[5],
                         entries.VdiEntry.from_dict(fields))

    def test_nobody_shares_it_meanwhile(self):
        self.decide(copy_policy=CODE)
        for _ in range(2):
            with self.assertRaisesRegex(errors.VdiLocked, 'one at a time'):
                test_state.put(self.state, test_state.lock(5, 'a.1',
                                                           'shared'))
            self.next_epoch()
        test_state.put(self.state, test_state.lock(5, 'a.1'))
        self.turned()
        test_state.put(self.state, test_state.unlock(5, 'a.1'))
        test_state.put(self.state, test_state.lock(5, 'a.1', 'shared'))

    def test_who_turns_gives_way(self):
        self.turn(mode='turning')
        event, _ = decisions.decide('lock', {'vdi_id': 5, 'owner': 'b.1'},
                                    self.state)
        self.assertTrue(event['force'])
        test_state.put(self.state, event)
        self.assertEqual(('exclusive', ('b.1',)), self.state.locks[5])
        event, _ = decisions.decide(
            'lock', {'vdi_id': 5, 'owner': 'a.1', 'mode': 'turning'},
            self.state)
        self.assertFalse(event['force'])
        with self.assertRaises(errors.VdiLocked):
            test_state.put(self.state, event)

    def test_deleted_meanwhile(self):
        self.decide()
        test_state.put(self.state, {'kind': 'vdi-delete', 'vdi_id': 5})
        self.next_epoch()
        self.assertFalse(self.state.is_altering)
        with self.assertRaises(errors.NoVdi):
            self.decide()

    def test_refusals(self):
        with self.assertRaises(errors.NoVdi):
            self.decide('w')
        for copies in (0, 32):
            with self.assertRaisesRegex(errors.InvalidParameters, '1 to 31'):
                self.decide(copies=copies)
            with self.assertRaisesRegex(errors.InvalidParameters, '1 to 31'):
                self.decide(copies=copies, kind='alter-default')
        for kind in ('alter-vdi', 'alter-default'):
            with self.assertRaisesRegex(errors.InvalidParameters,
                                        '4 copies need as many zones'):
                self.decide(copies=4, kind=kind)
        self.decide(copies=4, force=True)
        # Fewer are welcome though they are still too many.
        self.decide(copies=5, force=True)
        self.decide(copies=4)

    def test_events_without_sense(self):
        for changes in ([5], [[5]], [['5', 3]], [[5, 'x']], [[5, 0]]):
            with self.assertRaises(errors.InvalidParameters):
                test_state.put(self.state, {'kind': 'vdi-alter',
                                            'changes': changes})
        with self.assertRaises(errors.NoVdi):
            test_state.put(self.state, {'kind': 'vdi-alter',
                                        'changes': [[5, 3], [9, 3]]})
        self.assertFalse(self.state.is_altering)

    def test_again_and_again_without_recovery(self):
        for number in range(alteration.EARLIER_MAX):
            self.decide(copies=1 + number % 2 * 2)
            self.next_epoch()
        with self.assertRaisesRegex(errors.InvalidParameters, 'dog node rec'):
            self.decide(copies=1)
        for incarnation in test_state.NODES[:3]:
            test_state.put(self.state, {
                'kind': 'recovered', 'incarnation': incarnation,
                'epoch': self.state.epoch})
        self.decide(copies=1)

    def test_default(self):
        self.assertEqual({'before': 3, 'policy_before': 0, 'copies': 2,
                          'copy_policy': 0},
                         self.decide(copies=2, kind='alter-default'))
        self.assertEqual(2, self.state.settings.copies)
        self.assertFalse(self.state.is_altering)

    def default(self):
        return self.state.settings.copies, self.state.settings.copy_policy

    def test_default_of_strips(self):
        # The number of strips is that of the policy, whatever was said.
        self.assertEqual({'before': 3, 'policy_before': 0, 'copies': 3,
                          'copy_policy': 0x11},
                         self.decide(copies=9, copy_policy=0x11,
                                     kind='alter-default'))
        self.assertEqual((3, 0x11), self.default())
        for copy_policy in (0x20, 0x31, 0x121, True, '2:1'):
            with self.assertRaises(errors.InvalidParameters):
                self.decide(copies=3, copy_policy=copy_policy,
                            kind='alter-default')
        with self.assertRaisesRegex(errors.InvalidParameters, '2:2'):
            self.decide(copy_policy=0x12, kind='alter-default')
        self.decide(copy_policy=0x12, force=True, kind='alter-default')
        # Fewer strips are welcome though they are still too many.
        self.decide(copy_policy=0x13, force=True, kind='alter-default')
        self.decide(copy_policy=0x12, kind='alter-default')
        self.assertEqual({'before': 4, 'policy_before': 0x12, 'copies': 2,
                          'copy_policy': 0},
                         self.decide(copies=2, kind='alter-default'))
        self.assertEqual((2, 0), self.default())
