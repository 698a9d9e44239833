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
from unittest import mock

import hypothesis
from hypothesis import strategies

from sheepdog.cluster import decisions
from sheepdog.cluster import family
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.unit.cluster import test_state

A, B = test_state.NODES[:2]
put, lock, unlock = test_state.put, test_state.lock, test_state.unlock


class Case(unittest.TestCase):
    def setUp(self):
        self.state = test_state.formatted()
        put(self.state, test_state.create(1, 'vm', copy_policy=0))

    def decide(self, kind, **arguments):
        event, result = decisions.decide(kind, arguments, self.state)
        put(self.state, event, time=5.5)
        return result

    def begin(self, source=1, name='vm', parent=None, owner=A):
        return self.decide(
            'vdi-begin', name=name, source=source, owner=owner, created=3,
            parent=source if parent is None else parent)['vdi_id']

    def commit(self, vdi_id, source=1, snapshot=True, tag='s', serial=None,
               replaces=0, owner=A, resized=None):
        if serial is None:
            serial = self.state.fences.get(source, 0)
        if resized is None:
            resized = self.state.vdis[source].resized
        return self.decide(
            'vdi-commit', vdi_id=vdi_id, source=source, snapshot=snapshot,
            tag=tag, serial=serial, replaces=replaces, owner=owner,
            resized=resized)

    def snapshot(self, tag='s'):
        """(the id of the snapshot, that of the VDI)"""
        source = self.state.lookup('vm').vdi_id
        put(self.state, lock(source, A, 'turning'))
        new = self.begin(source)
        self.commit(new, source, tag=tag)
        return source, new

    def delete(self, vdi_id):
        put(self.state, {'kind': 'vdi-delete', 'vdi_id': vdi_id})


class CommitTest(Case):
    def test_a_vdi_that_is_made_is_no_vdi_yet(self):
        made = self.begin(name='copy')
        self.assertIsNone(self.state.lookup('copy'))
        self.assertEqual((A,), self.state.locks[made].owners)
        for event in ({'kind': 'vdi-delete', 'vdi_id': made},
                      {'kind': 'vdi-resize', 'vdi_id': made},
                      lock(made, B)):
            with self.assertRaises(errors.NoVdi):
                put(self.state, event)

    def test_the_lock_goes_with_its_users(self):
        put(self.state, lock(1, A))
        new = self.begin()
        self.commit(new)
        self.assertNotIn(1, self.state.locks)
        self.assertEqual(('exclusive', (A,)), self.state.locks[new])
        self.assertEqual(self.state.sequence, self.state.fences[1])
        self.assertEqual(self.state.sequence, self.state.fences[new])
        with self.assertRaises(errors.ReadOnly):
            put(self.state, lock(1, B))

    def test_a_lock_taken_for_it_is_freed(self):
        _, new = self.snapshot()
        self.assertEqual({}, self.state.locks)
        entry = self.state.vdis[1]
        self.assertEqual((True, 's', 1, 5 << 32 | 500000000),
                         (entry.snapshot, entry.tag, entry.snap_id,
                          entry.snapped))
        self.assertEqual(new, self.state.lookup('vm').vdi_id)
        self.assertEqual(1, self.state.lookup('vm', 's').vdi_id)

    def test_refused_when_anything_came_between(self):
        cases = {
            'lock': lambda: (put(self.state, unlock(1, force=True)),
                             put(self.state, lock(1, A))),
            'other owner': lambda: (put(self.state, unlock(1, A)),
                                    put(self.state, lock(1, B))),
            'size': lambda: put(self.state, {'kind': 'vdi-resize',
                                             'vdi_id': 1}),
            'copies': lambda: put(self.state, {
                'kind': 'vdi-alter', 'changes': [[1, 2, 0]]}),
            'form': lambda: put(self.state, {
                'kind': 'vdi-alter', 'changes': [[1, 6, 0x22]]})}
        for what, happen in cases.items():
            with self.subTest(what):
                self.setUp()
                put(self.state, lock(1, A))
                serial = self.state.fences[1]
                resized = self.state.vdis[1].resized
                new = self.begin()
                happen()
                before = self.state.to_dict()
                with self.assertRaises(errors.VdiLocked):
                    self.commit(new, serial=serial, resized=resized)
                self.assertEqual(before, self.state.to_dict())

    def test_one_that_replaces_what_it_comes_from(self):
        put(self.state, lock(1, A, 'turning'))
        new = self.begin()
        self.commit(new, snapshot=False, tag='', replaces=1)
        self.assertEqual({}, self.state.locks)
        self.assertTrue(self.state.vdis[1].deleted)
        self.assertFalse(self.state.vdis[1].snapshot)
        self.assertEqual(new, self.state.lookup('vm').vdi_id)
        self.assertEqual([1], self.state.needed())

    def test_what_was_replaced_does_not_grow(self):
        """…who wants that tries it again, with the one in its place."""
        put(self.state, lock(1, A, 'turning'))
        new = self.begin()
        self.commit(new, snapshot=False, tag='', replaces=1)
        before = self.state.to_dict()
        resize = {'kind': 'vdi-resize', 'vdi_id': 1}
        with self.assertRaisesRegex(errors.VdiLocked, 'replaced'):
            put(self.state, resize)
        self.assertEqual(before, self.state.to_dict())
        self.delete(new)
        with self.assertRaises(errors.NoVdi):
            put(self.state, resize)

    def test_nor_that_when_anything_came_between(self):
        cases = {
            'nobody has it': lambda: put(self.state, unlock(1, A)),
            'it was open': lambda: (put(self.state, lock(1, B)),
                                    put(self.state, unlock(1, B))),
            'it is open': lambda: put(self.state, lock(1, B)),
            'size': lambda: put(self.state, {'kind': 'vdi-resize',
                                             'vdi_id': 1}),
            'form': lambda: put(self.state, {
                'kind': 'vdi-alter', 'changes': [[1, 6, 0x22]]})}
        for what, happen in cases.items():
            with self.subTest(what):
                self.setUp()
                put(self.state, lock(1, A, 'turning'))
                serial = self.state.fences[1]
                new = self.begin()
                happen()
                before = self.state.to_dict()
                with self.assertRaises(errors.VdiLocked):
                    self.commit(new, snapshot=False, tag='', replaces=1,
                                serial=serial, resized=0)
                self.assertEqual(before, self.state.to_dict())
        self.setUp()
        source, _ = self.snapshot()
        with self.assertRaises(errors.SheepdogError):
            self.commit(self.begin(source), source, snapshot=False, tag='',
                        replaces=source)

    def test_what_is_altered_then_is_all_that_it_has(self):
        put(self.state, lock(1, A, 'turning'))
        new = self.begin()
        self.commit(new, snapshot=False, tag='', replaces=1)
        self.decide('alter-vdi', name='vm', copies=1)
        self.assertEqual({1: 1, new: 1}, {
            vdi_id: entry.wanted
            for vdi_id, entry in self.state.vdis.items()})

    def test_one_that_former_versions_rolled_back_so(self):
        """Without a lock; it is in the logs of clusters."""
        new = self.begin()
        with self.assertRaises(errors.InvalidParameters):
            self.commit(new, snapshot=False, tag='', replaces=1, serial=0)
        put(self.state, {
            'kind': 'vdi-commit', 'vdi_id': new, 'source': 1, 'owner': A,
            'snapshot': False, 'serial': 0, 'tag': '', 'resized': 0,
            'replaces': 1})
        self.assertEqual(new, self.state.lookup('vm').vdi_id)

    def test_of_one_that_several_sheep_have_open(self):
        put(self.state, lock(1, A, 'shared'))
        serial = self.state.fences[1]
        put(self.state, lock(1, B, 'shared'))
        new = self.begin()
        with self.assertRaises(errors.VdiLocked):
            # B has come since all were held back.
            self.commit(new, serial=serial)
        self.commit(new)
        self.assertEqual(('shared', (A, B)), self.state.locks[new])

    def test_refused_where_who_made_it_lost_it(self):
        put(self.state, lock(1, A))
        new = self.begin()
        put(self.state, unlock(new, force=True))
        with self.assertRaises(errors.NoVdi):
            self.commit(new)

    def test_who_leaves_makes_none(self):
        put(self.state, lock(1, B))
        new = self.begin(owner=B)
        put(self.state, {'kind': 'epoch',
                         'view': test_state.view(2, [A])})
        self.assertTrue(self.state.is_dead(new))
        self.assertEqual({}, self.state.locks)
        with self.assertRaises(errors.NoVdi):
            self.commit(new, owner=B)

    def test_given_up(self):
        new = self.begin(name='copy')
        self.decide('vdi-abort', vdi_id=new, owner=A)
        self.assertTrue(self.state.is_dead(new))
        self.assertEqual({}, self.state.locks)
        with self.assertRaises(errors.NoVdi):
            self.decide('vdi-abort', vdi_id=new, owner=A)
        with self.assertRaises(errors.NoVdi):
            self.decide('vdi-abort', vdi_id=1, owner=A)

    def test_what_was_taken_from_its_maker_is_given_up(self):
        old, _ = self.snapshot()
        new = self.begin(old, 'copy')
        put(self.state, unlock(new, force=True))
        with self.assertRaises(errors.NoVdi):
            self.commit(new, old, snapshot=False)
        self.decide('vdi-abort', vdi_id=new, owner=A)
        self.assertTrue(self.state.is_dead(new))

    def test_a_clone_takes_a_free_name(self):
        old, _ = self.snapshot()
        one, two = (self.begin(old, 'copy') for _ in range(2))
        self.commit(one, old, snapshot=False)
        with self.assertRaises(errors.VdiExists):
            self.commit(two, old, snapshot=False)
        self.assertEqual(one, self.state.lookup('copy').vdi_id)
        self.assertNotIn(one, self.state.locks)

    def test_a_clone_is_of_a_snapshot(self):
        new = self.begin(name='copy')
        with self.assertRaises(errors.InvalidParameters):
            self.commit(new, snapshot=False)
        self.assertIsNone(self.state.lookup('copy'))

    def test_a_clone_of_what_was_deleted_is_none(self):
        old, _ = self.snapshot()
        new = self.begin(old, 'copy')
        self.delete(old)
        with self.assertRaises(errors.NoVdi):
            self.commit(new, old, snapshot=False)

    def test_a_rollback_takes_the_place_of_the_vdi(self):
        old, working = self.snapshot()
        new = self.begin(old)
        put(self.state, lock(working, B))
        with self.assertRaises(errors.VdiLocked):
            self.commit(new, old, snapshot=False, replaces=working)
        put(self.state, unlock(working, B))
        put(self.state, lock(working, B, 'turning'))
        self.commit(new, old, snapshot=False, replaces=working)
        self.assertEqual(new, self.state.lookup('vm').vdi_id)
        self.assertTrue(self.state.is_dead(working))
        self.assertEqual({}, self.state.locks)

    def test_a_rollback_of_what_became_another_is_refused(self):
        old, working = self.snapshot()
        new = self.begin(old)
        self.snapshot('t')
        with self.assertRaises(errors.VdiLocked):
            self.commit(new, old, snapshot=False, replaces=working)

    def test_remembered(self):
        put(self.state, lock(1, A))
        self.begin()
        old, _ = self.snapshot()
        self.delete(old)
        packed = json.loads(json.dumps(self.state.to_dict()))
        again = state_module.State.from_dict(packed)
        self.assertEqual(self.state.to_dict(), again.to_dict())
        self.assertEqual([old], again.needed())


class GroupTest(Case):
    """Several snapshots by one event."""

    def setUp(self):
        super().setUp()
        put(self.state, test_state.create(2, 'other', copy_policy=0))
        for source, owner in ((1, A), (2, B)):
            put(self.state, lock(source, owner))
        self.news = [self.begin(1), self.begin(2, 'other')]

    def part(self, place, **changes):
        source = place + 1
        return dict({'vdi_id': self.news[place], 'source': source,
                     'owner': A, 'snapshot': True, 'tag': 's',
                     'serial': self.state.fences[source], 'resized': 0,
                     'replaces': 0}, **changes)

    def test_all_are_there_at_once(self):
        result = self.decide('vdi-commit-group',
                             commits=[self.part(0), self.part(1)])
        self.assertEqual({'vdis': [
            {'vdi_id': self.news[0], 'snapshot': 1},
            {'vdi_id': self.news[1], 'snapshot': 2}]}, result)
        self.assertEqual([1, 2], [self.state.lookup(name, 's').vdi_id
                                  for name in ('vm', 'other')])
        self.assertEqual([(A,), (B,)], [self.state.locks[new].owners
                                        for new in self.news])
        self.assertEqual(1, len({self.state.vdis[one].snapped
                                 for one in (1, 2)}))

    def test_or_none_is(self):
        before = self.state.to_dict()
        for commits in ([self.part(0), self.part(1, serial=0)],
                        [self.part(0), self.part(1, vdi_id=77)],
                        [self.part(0), self.part(0)],
                        [self.part(0), self.part(1, snapshot=False)],
                        [self.part(0), {}], [], [self.part(0), 1], None):
            with self.assertRaises(errors.SheepdogError):
                self.decide('vdi-commit-group', commits=commits)
            self.assertEqual(before, self.state.to_dict())
        with self.assertRaises(errors.InvalidParameters):
            put(self.state, {'kind': 'vdi-commit-group',
                             'commits': [{'source': 1}]})

    def test_whose_locks_it_changes(self):
        event, _ = decisions.decide('vdi-commit-group', {
            'commits': [self.part(0), self.part(1)]}, self.state)
        self.assertEqual({1, 2, *self.news}, set(family.relocked(event)))


class NeededTest(Case):
    def test_objects_of_a_deleted_vdi_stay_while_others_came_from_it(self):
        one, two = self.snapshot('a')
        two, working = self.snapshot('b')
        self.delete(one)
        data, inode = ids.data_oid(one, 3), ids.vdi_oid(one)
        self.assertFalse(self.state.is_gone(data))
        self.assertFalse(self.state.is_gone(inode))
        self.assertTrue(self.state.is_gone(ids.attribute_oid(one, 3)))
        self.assertTrue(self.state.is_gone(ids.vmstate_oid(one, 3)))
        self.delete(two)
        self.assertEqual([one, two], self.state.needed())
        self.delete(working)
        self.assertEqual([], self.state.needed())
        for oid in (data, inode, ids.data_oid(two, 0)):
            self.assertTrue(self.state.is_gone(oid))

    def test_until_nobody_names_them(self):
        one, _ = self.snapshot()
        with self.assertRaises(errors.InvalidParameters):
            self.decide('vdi-reclaimed', vdi_id=one)
        self.delete(one)
        created = self.state.vdis[one].created
        with self.assertRaises(errors.NoVdi):
            # Asked for in a cluster that was, of an id that came again.
            self.decide('vdi-reclaimed', vdi_id=one, created=created + 1)
        self.assertFalse(self.state.is_dead(one))
        self.decide('vdi-reclaimed', vdi_id=one, created=created)
        self.assertTrue(self.state.is_dead(one))

    def test_who_is_being_made_needs_nothing(self):
        one, working = self.snapshot()
        self.begin(one, 'copy')
        self.delete(working)
        self.delete(one)
        self.assertEqual([], self.state.needed())

    @hypothesis.given(strategies.lists(strategies.tuples(
        strategies.sampled_from(('snapshot', 'clone', 'delete')),
        strategies.integers(0, 50)), max_size=25))
    def test_against_the_twin(self, steps):
        """The twin keeps, of each VDI, the set of those it came from."""
        self.setUp()
        came_from, living = {1: set()}, [1]
        count = 0
        for what, number in steps:
            count += 1
            if what == 'snapshot' and self.state.lookup('vm'):
                old, new = self.snapshot('t%d' % count)
            elif what == 'clone':
                snapshots = [one for one in living
                             if self.state.vdis[one].snapshot]
                if not snapshots:
                    continue
                old = snapshots[number % len(snapshots)]
                new = self.begin(old, 'c%d' % count)
                self.commit(new, old, snapshot=False)
            elif what == 'delete' and living:
                gone = living.pop(number % len(living))
                self.delete(gone)
                continue
            else:
                continue
            came_from[new] = came_from[old] | {old}
            living.append(new)
        wanted = set().union(*(came_from[one] for one in living)) - set(
            living)
        self.assertEqual(sorted(wanted), self.state.needed())


class RelockedTest(unittest.TestCase):
    def test_whose_lock_an_event_may_change(self):
        self.assertEqual((3,), family.relocked(lock(3, A)))
        self.assertEqual((1, 2), family.relocked({
            'kind': 'vdi-commit', 'vdi_id': 2, 'source': 1, 'replaces': 0}))
        self.assertEqual((), family.relocked({'kind': 'epoch'}))


class IdsTest(unittest.TestCase):
    def test_when_all_are_taken_it_says_so(self):
        class Full:
            def __contains__(self, vdi_id):
                return True

        with mock.patch.object(family.limits, 'VDI_IDS_MAX', 16):
            with self.assertRaisesRegex(errors.SystemFailure,
                                        'all VDI ids are taken'):
                family.free_id(Full(), 'vm')
