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

import hypothesis
from hypothesis import strategies

from sheepdog.cluster import entries
from sheepdog.cluster import state as state_module
from sheepdog.model import errors

NODES = ('a.1', 'b.1', 'c.1', 'c.2')


def view(epoch, incarnations):
    return {'epoch': epoch, 'term': 1, 'time': 0.0, 'members': [
        {'node': one[0], 'incarnation': one, 'host': '10.0.0.1',
         'port': 7000 + number, 'zone': number, 'vnodes': 128}
        for number, one in enumerate(incarnations)]}


def formatted(**settings):
    state = state_module.State()
    put(state, {'kind': 'format', 'settings': dict(settings, created=7),
                'view': view(1, NODES[:3])})
    return state


def put(state, event, operation='', result=None, time=0.0):
    state.apply(state.next_record(1, time, event, operation, result))


def create(vdi_id, name, **fields):
    return {'kind': 'vdi-create',
            'entry': dict(fields, vdi_id=vdi_id, name=name)}


def lock(vdi_id, owner, mode='exclusive'):
    return {'kind': 'lock', 'vdi_id': vdi_id, 'mode': mode, 'owner': owner}


def unlock(vdi_id, owner='', force=False):
    return {'kind': 'unlock', 'vdi_id': vdi_id, 'owner': owner,
            'force': force}


class Twin:
    """The same, dumbly: every question is answered from all that was."""

    def __init__(self):
        self.history = []

    def living(self):
        for _, event in reversed(self.history):
            if event['kind'] in ('format', 'epoch'):
                return [member['incarnation']
                        for member in event['view']['members']]

    def entries(self):
        return {event['entry']['vdi_id']: event['entry']
                for _, event in self.history
                if event['kind'] == 'vdi-create'}

    def deleted(self):
        return {event['vdi_id'] for _, event in self.history
                if event['kind'] == 'vdi-delete'}

    def lock_of(self, vdi_id):
        """(mode, owners, sequence of the last change)."""
        mode, owners, changed = '', [], None
        for sequence, event in self.history:
            before = mode, list(owners)
            kind = event['kind']
            if kind in ('format', 'epoch'):
                living = [member['incarnation']
                          for member in event['view']['members']]
                owners = [one for one in owners if one in living]
            elif event.get('vdi_id') != vdi_id:
                continue
            elif kind == 'lock' and not (
                    event['owner'] in owners and event['mode'] == mode):
                owners = [one for one in owners if one != event['owner']
                          and not (mode == 'turning' != event['mode'])]
                mode = event['mode']
                owners.append(event['owner'])
            elif kind == 'unlock':
                owners = [] if event['force'] else [
                    one for one in owners if one != event['owner']]
            elif kind == 'vdi-delete':
                owners = []
            if before != (mode, owners):
                changed = sequence
        return mode, owners, changed

    def allows(self, event):
        kind = event['kind']
        if kind == 'vdi-create':
            entry = event['entry']
            return entry['vdi_id'] not in self.entries() and not any(
                other['name'] == entry['name'] and
                vdi_id not in self.deleted()
                for vdi_id, other in self.entries().items())
        if kind == 'epoch':
            return True
        vdi_id = event['vdi_id']
        is_there = vdi_id in self.entries() and (
            vdi_id not in self.deleted())
        mode, owners, _ = self.lock_of(vdi_id)
        if kind == 'vdi-delete':
            return is_there and (not owners or mode == 'turning')
        if kind == 'unlock':
            return bool(owners) and (event['force'] or
                                     event['owner'] in owners)
        others = [one for one in owners if one != event['owner']]
        if mode == 'turning' != event['mode']:
            others = []
        return is_there and event['owner'] in self.living() and not (
            others and {mode, event['mode']} != {'shared'})


ids = strategies.integers(1, 3)
owners = strategies.sampled_from(NODES)
events = strategies.one_of(
    strategies.builds(create, ids, strategies.sampled_from('xyz')),
    strategies.builds(lambda vdi_id: {'kind': 'vdi-delete',
                                      'vdi_id': vdi_id}, ids),
    strategies.builds(lock, ids, owners,
                      strategies.sampled_from(entries.LOCK_MODES)),
    strategies.builds(unlock, ids, owners, strategies.booleans()),
    strategies.builds(lambda members: {
        'kind': 'epoch', 'view': members},
        strategies.lists(owners, min_size=1, max_size=3, unique=True)))


class TwinTest(unittest.TestCase):
    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(strategies.lists(events, max_size=30))
    def test_against_the_twin(self, events):
        state, twin = formatted(), Twin()
        twin.history.append((1, {'kind': 'format',
                                 'view': view(1, NODES[:3])}))
        for event in events:
            if event['kind'] == 'epoch':
                event = dict(event, view=view(state.epoch + 1,
                                              event['view']))
            before = json.dumps(state.to_dict())
            try:
                put(state, event)
            except errors.SheepdogError:
                self.assertFalse(twin.allows(event), event)
                self.assertEqual(before, json.dumps(state.to_dict()))
                continue
            self.assertTrue(twin.allows(event), event)
            twin.history.append((state.sequence, event))
        for vdi_id in range(1, 4):
            mode, owners, changed = twin.lock_of(vdi_id)
            self.assertEqual(changed, state.fences.get(vdi_id))
            found = state.locks.get(vdi_id)
            self.assertEqual((mode, tuple(owners)) if owners else None,
                             found and tuple(found))
        for name in 'xyz':
            wanted = [vdi_id for vdi_id, entry in twin.entries().items()
                      if entry['name'] == name and
                      vdi_id not in twin.deleted()]
            found = state.lookup(name)
            self.assertEqual(wanted, [found.vdi_id] if found else [])
        # Packed and unpacked, copied and changed: still the same.
        fields = json.loads(json.dumps(state.to_dict()))
        other = state_module.State.from_dict(fields)
        self.assertEqual(fields, json.loads(json.dumps(other.to_dict())))
        put(state.copy(), {'kind': 'epoch',
                           'view': view(state.epoch, NODES[3:])})
        self.assertEqual(fields, json.loads(json.dumps(state.to_dict())))


class StateTest(unittest.TestCase):
    def test_nothing_before_format(self):
        with self.assertRaises(errors.WaitForFormat):
            put(state_module.State(), create(1, 'a'))

    def test_unknown_events_and_settings(self):
        state = formatted()
        for event in ({'kind': 'dance'},
                      {'kind': 'settings', 'changes': {'moon': 1}},
                      {'kind': 'settings', 'changes': {'created': 1}}):
            with self.assertRaises(errors.InvalidParameters):
                put(state, event)
        self.assertEqual(1, state.sequence)

    def test_settings(self):
        state = formatted()
        put(state, {'kind': 'settings', 'changes': {'copies': 2}})
        self.assertEqual((2, 7), (state.settings.copies, state.created))

    def test_order_is_kept(self):
        state = formatted()
        record = state.next_record(1, 0.0, {'kind': 'resume'})
        for wrong in (record._replace(sequence=3),
                      record._replace(sequence=1), record._replace(term=0)):
            with self.assertRaises(AssertionError):
                state.apply(wrong)
        state.apply(record)
        self.assertEqual((1, 2), state.position)

    def test_lookup_of_snapshots(self):
        state = formatted()
        put(state, create(1, 'a', snapshot=True, tag='old', snap_id=1))
        put(state, create(2, 'a', snapshot=True, tag='new', snap_id=2))
        put(state, create(3, 'a'))
        self.assertEqual(3, state.lookup('a').vdi_id)
        self.assertEqual(1, state.lookup('a', 'old').vdi_id)
        self.assertEqual(2, state.lookup('a', snap_id=2).vdi_id)
        self.assertIsNone(state.lookup('a', 'old', 2))
        self.assertIsNone(state.lookup('b'))

    def test_ids_of_deleted_vdis(self):
        """They are used once, also where the original used them again."""
        for recycles in (False, True):
            state = formatted(recycle_ids=recycles)
            put(state, create(1, 'a'))
            put(state, {'kind': 'vdi-delete', 'vdi_id': 1})
            self.assertIsNone(state.lookup('a'))
            with self.assertRaises(errors.VdiExists):
                put(state, create(1, 'b'))
            put(state, create(2, 'a'))
            self.assertEqual(2, state.lookup('a').vdi_id)

    def test_deleting_what_is_locked(self):
        state = formatted()
        put(state, create(1, 'a'))
        put(state, lock(1, 'a.1'))
        with self.assertRaises(errors.VdiLocked):
            put(state, {'kind': 'vdi-delete', 'vdi_id': 1, 'owner': 'b.1'})
        put(state, {'kind': 'vdi-delete', 'vdi_id': 1, 'owner': 'a.1'})
        self.assertEqual({}, state.locks)

    def test_who_holds_a_lock_is_said(self):
        state = formatted()
        put(state, create(1, 'a'))
        put(state, lock(1, 'b.1'))
        with self.assertRaisesRegex(errors.VdiLocked, '10.0.0.1:7001'):
            put(state, lock(1, 'a.1'))

    def test_recovered(self):
        state = formatted()
        for number, one in enumerate(NODES[:3]):
            self.assertFalse(state.has_recovered())
            put(state, {'kind': 'recovered', 'incarnation': one,
                        'epoch': 1})
            put(state, {'kind': 'recovered', 'incarnation': one,
                        'epoch': 0})
        self.assertTrue(state.has_recovered())
        with self.assertRaises(errors.NotServing):
            put(state, {'kind': 'recovered', 'incarnation': 'c.2',
                        'epoch': 1})
        put(state, {'kind': 'epoch', 'view': view(2, NODES[:2])})
        self.assertEqual({'a.1': 1, 'b.1': 1}, state.recovered)
        self.assertFalse(state.has_recovered())

    def test_weights(self):
        state = formatted()
        put(state, {'kind': 'weights', 'spaces': {'a': 5, 'b': 6},
                    'vnodes': {}})
        put(state, {'kind': 'weights', 'spaces': {'b': 7},
                    'vnodes': {'c': [64, 65]}})
        self.assertEqual({'a': 5, 'b': 7}, state.spaces)
        self.assertEqual({'c': (64, 65)}, state.vnodes)
        again = state_module.State.from_dict(
            json.loads(json.dumps(state.to_dict())))
        self.assertEqual(state.__dict__, again.__dict__)
        for spaces, vnodes in (({'a': 'x'}, {}), ({}, {'a': 7}),
                               ({}, {'a': [1, 0]}), ({}, {'a': [1, 1 << 20]}),
                               ({}, {'a': [1]}), ({}, {'a': ['1', 1]})):
            with self.assertRaises(errors.InvalidParameters):
                put(state, {'kind': 'weights', 'spaces': spaces,
                            'vnodes': vnodes})
        self.assertEqual({'a': 5, 'b': 7}, state.spaces)
        put(state, {'kind': 'format', 'settings': {'created': 8},
                    'view': view(2, NODES[:1])})
        self.assertEqual(({}, {}), (state.spaces, state.vnodes))

    def test_what_is_begun_by_force_is_settled_but_not_whole(self):
        state = formatted()
        self.assertEqual((1, 1), (state.settled, state.whole))
        put(state, {'kind': 'epoch', 'view': view(9, NODES[:2])})
        self.assertEqual((9, 1), (state.settled, state.whole))
        for one in NODES[:2]:
            put(state, {'kind': 'recovered', 'incarnation': one, 'epoch': 9})
        self.assertEqual((9, 9), (state.settled, state.whole))
        fields = state.to_dict()
        self.assertEqual(9, state_module.State.from_dict(fields).whole)
        del fields['whole']
        self.assertEqual(0, state_module.State.from_dict(fields).whole)
        put(state, {'kind': 'format', 'settings': {'created': 8},
                    'view': view(10, NODES[:1])})
        self.assertEqual((10, 10), (state.settled, state.whole))

    def test_who_is_not_waited_for(self):
        state = formatted()

        def recovered(epoch, *nodes):
            for one in nodes:
                put(state, {'kind': 'recovered', 'incarnation': one,
                            'epoch': epoch})

        recovered(1, *NODES[:3])
        # Nobody is away.
        put(state, {'kind': 'hurry', 'incarnation': ''})
        self.assertFalse(state.hurried)
        put(state, {'kind': 'epoch', 'view': view(2, NODES[:2])})
        self.assertFalse(state.hurried)
        put(state, {'kind': 'hurry', 'incarnation': ''})
        self.assertTrue(state.hurried)
        put(state, {'kind': 'epoch', 'view': view(3, NODES[:3])})
        self.assertTrue(state_module.State.from_dict(
            json.loads(json.dumps(state.to_dict()))).hurried)
        recovered(3, *NODES[:3])
        self.assertFalse(state.hurried)
        # One that says so before it goes.
        put(state, {'kind': 'hurry', 'incarnation': NODES[2]})
        put(state, {'kind': 'hurry', 'incarnation': 'stranger'})
        self.assertEqual({NODES[2]}, state_module.State.from_dict(
            json.loads(json.dumps(state.to_dict()))).departing)
        self.assertFalse(state.hurried)
        put(state, {'kind': 'epoch', 'view': view(4, NODES[:2])})
        self.assertEqual((True, frozenset()), (state.hurried,
                                               state.departing))
        put(state, {'kind': 'epoch', 'view': view(5, NODES[:3])})
        recovered(5, *NODES[:3])
        # One that goes with a disk that fails.
        put(state, {'kind': 'forgo', 'incarnation': NODES[2], 'space': 0,
                    'lost': False})
        put(state, {'kind': 'epoch', 'view': view(6, NODES[:2])})
        self.assertTrue(state.hurried)
        put(state, {'kind': 'format', 'settings': {'created': 8},
                    'view': view(10, NODES[:1])})
        self.assertFalse(state.hurried)

    def test_a_lost_disk_is_remembered_until_a_later_epoch_is_settled(self):
        state = formatted()
        nodes = {member.incarnation: member.node
                 for member in state.view.members}

        def recovered(epoch):
            for one in NODES[:3]:
                put(state, {'kind': 'recovered', 'incarnation': one,
                            'epoch': epoch})

        recovered(1)
        node = nodes[NODES[0]]
        put(state, {'kind': 'disks', 'node': node, 'space': 5,
                    'lost': False})
        self.assertEqual(({node: 5}, {}), (state.spaces, state.lost))
        self.assertFalse(state.wants_epoch())
        put(state, {'kind': 'disks', 'node': node, 'space': 4,
                    'lost': True})
        self.assertEqual({node: 1}, state.lost)
        self.assertTrue(state.wants_epoch())
        # What it may have said before does not count.
        recovered(1)
        self.assertFalse(state.has_recovered())
        put(state, {'kind': 'epoch', 'view': view(2, NODES[:3])})
        self.assertFalse(state.wants_epoch())
        self.assertEqual({node: 1}, state_module.State.from_dict(
            json.loads(json.dumps(state.to_dict()))).lost)
        recovered(2)
        self.assertTrue(state.has_recovered())
        self.assertEqual(({node: 4}, {}), (state.spaces, state.lost))
        with self.assertRaises(errors.NotServing):
            put(state, {'kind': 'disks', 'node': 'x', 'space': 4,
                        'lost': True})

    def test_shutdown_ends_with_the_next_start(self):
        state = formatted()
        put(state, {'kind': 'shutdown'})
        self.assertTrue(state.shutdown)
        put(state, {'kind': 'epoch', 'view': view(1, NODES[:3])})
        self.assertFalse(state.shutdown)

    def test_format_forgets(self):
        state = formatted()
        put(state, create(1, 'a'))
        put(state, lock(1, 'a.1'), 'operation', 5)
        put(state, {'kind': 'format', 'settings': {'created': 8},
                    'view': view(2, NODES[:1])})
        self.assertEqual(({}, {}, {}), (state.vdis, state.locks,
                                        state.fences))
        self.assertIsNone(state.lookup('a'))
        self.assertEqual(5, state.operations['operation'].result)

    def test_operations_are_remembered_for_a_time(self):
        state = formatted()
        seconds = state_module.OPERATION_SECONDS
        count = state_module.OPERATIONS_MIN

        def some(number, time):
            for _ in range(number):
                put(state, {'kind': 'resume'}, str(state.sequence), None,
                    time)

        some(2 * count, 0.0)
        self.assertEqual(2 * count, len(state.operations))
        # A clock that goes back is no younger.
        some(1, -1e6)
        self.assertEqual(2 * count + 1, len(state.operations))
        some(1, seconds + 1)
        self.assertEqual(count, len(state.operations))
        self.assertIn(str(state.sequence - 1), state.operations)
