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

"""The small ones: incarnations, roll, decisions, turnstile."""

import asyncio
import unittest

from sheepdog.cluster import decisions
from sheepdog.cluster import incarnations
from sheepdog.cluster import roll as roll_module
from sheepdog.cluster import turnstile
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.placement import redundancy
from sheepdog.testing import world as world_module
from sheepdog.tests.unit.cluster import test_roster
from sheepdog.tests.unit.cluster import test_state


class IncarnationsTest(unittest.TestCase):
    def test_names(self):
        name = incarnations.name('ab', 255)
        self.assertEqual('ab.00000000000000ff', name)
        self.assertEqual('ab', incarnations.node_of(name))

    def test_age(self):
        names = ['b.9', 'a.10', 'c.2', 'a.9']
        self.assertEqual(['c.2', 'a.9', 'b.9', 'a.10'],
                         sorted(names, key=incarnations.age_key))
        self.assertEqual({'a': 'a.10', 'b': 'b.9', 'c': 'c.2'},
                         incarnations.newest(names))


class RollTest(unittest.TestCase):
    def test_roll(self):
        roll = roll_module.Roll()
        info = test_roster.info('a')
        self.assertTrue(roll.update({'a.2': info, 'b.1': info}, None))
        self.assertFalse(roll.update({'a.2': info, 'b.1': info}, None))
        self.assertTrue(roll.update({'a.2': info, 'b.1': info}, info))
        self.assertTrue(roll.update({'a.3': info, 'a.2': info}, info))
        self.assertEqual(['a.2', 'a.3'], list(roll.members))
        self.assertTrue(roll.is_current('a.3'))
        for one in ('a.2', 'b.1', 'c.1'):
            self.assertFalse(roll.is_current(one))
        self.assertEqual(4, roll.snapshots)
        for one, wanted in (('b.1', True), ('a.9', True), ('c.1', False)):
            self.assertEqual(wanted, roll.has_seen(one))


class DecisionsTest(unittest.TestCase):
    def decide(self, kind, fixed_vnodes=False, **arguments):
        state = test_state.formatted(fixed_vnodes=fixed_vnodes)
        test_state.put(state, test_state.create(1, 'a'))
        event, result = decisions.decide(kind, arguments, state)
        test_state.put(state, event)
        return state, result

    def test_lock(self):
        state, result = self.decide('lock', vdi_id=1, owner='a.1')
        self.assertEqual({'serial': 3}, result)
        self.assertEqual({1: 3}, state.fences)
        event, result = decisions.decide(
            'lock', {'vdi_id': 1, 'owner': 'a.1'}, state)
        self.assertEqual({'serial': 3}, result)
        event, result = decisions.decide(
            'unlock', {'vdi_id': 1, 'force': True}, state)
        test_state.put(state, event)
        self.assertEqual({'serial': state.fences[1]}, result)
        self.assertEqual({}, state.locks)

    def test_the_others(self):
        state, _ = self.decide('settings',
                               changes={'recovery_enabled': False})
        self.assertFalse(state.settings.recovery_enabled)
        state, _ = self.decide('recovered', incarnation='a.1', epoch=1)
        self.assertEqual({'a.1': 1}, state.recovered)
        state, _ = self.decide('shutdown')
        self.assertTrue(state.shutdown)

    def test_one_disk_at_a_time_is_done_without(self):
        state = test_state.formatted()
        test_state.put(state, test_state.create(1, 'a'))
        members = [one.incarnation for one in state.view.members]

        def ask(incarnation, lost=True):
            event, result = decisions.decide('forgo', {
                'incarnation': incarnation, 'lost': lost, 'space': 5}, state)
            self.assertEqual(result['granted'], event is not None)
            if event is not None:
                test_state.put(state, event)
            return result['granted']

        def recovered(epoch, *incarnations):
            for one in incarnations:
                test_state.put(state, {'kind': 'recovered', 'epoch': epoch,
                                       'incarnation': one})

        first, second = members[:2]
        recovered(1, *members[2:])
        self.assertFalse(ask(first))
        recovered(1, second)
        for lost in (True, False):
            self.assertTrue(ask(first, lost))
            # What it may have said before does not count.
            recovered(state.epoch, first)
            self.assertFalse(ask(second))
            test_state.put(state, {
                'kind': 'epoch',
                'view': test_state.view(state.epoch + 1, members)})
            recovered(state.epoch, *members)
            # Who leaves does not count as long as it is there.
            self.assertEqual(lost, state.has_recovered())
        self.assertFalse(ask(second))
        test_state.put(state, {
            'kind': 'epoch',
            'view': test_state.view(state.epoch + 1, members[1:])})
        recovered(state.epoch, *members[2:])
        self.assertTrue(ask(second))
        self.assertEqual({first[0]: 5, second[0]: 5}, state.spaces)
        with self.assertRaises(errors.NotServing):
            test_state.put(state, {'kind': 'forgo', 'incarnation': first,
                                   'lost': True, 'space': 5})

    def test_who_has_the_only_copies_keeps_its_disk(self):
        state = test_state.formatted()
        for one in state.view.members:
            test_state.put(state, {'kind': 'recovered', 'epoch': 1,
                                   'incarnation': one.incarnation})
        self.assertTrue(decisions.has_redundancy(state))
        test_state.put(state, test_state.create(1, 'a', copies=1))
        self.assertEqual((None, {'granted': False}), decisions.decide(
            'forgo', {'incarnation': state.view.members[0].incarnation,
                      'lost': True, 'space': 5}, state))

    def test_who_has_one_of_the_last_strips_keeps_its_disk(self):
        for policy, is_enough in ((0x11, True), (0x21, False)):
            state = test_state.formatted()
            self.assertEqual(3, len({member.zone for member
                                     in state.view.members}))
            test_state.put(state, test_state.create(
                1, 'a', copies=sum(redundancy.strips_of(policy)),
                copy_policy=policy))
            self.assertEqual(is_enough, decisions.has_redundancy(state))

    def test_weights(self):
        state, _ = self.decide('reweight', spaces={'a': 5})
        self.assertEqual({'a': 5}, state.spaces)
        state, _ = self.decide('vnodes', True, node='a', started=5, vnodes=9)
        self.assertEqual({'a': (5, 9)}, state.vnodes)
        for arguments in (
                {'kind': 'reweight', 'fixed_vnodes': True, 'spaces': {}},
                {'kind': 'reweight'},
                {'kind': 'reweight', 'spaces': {'a': 'x'}},
                {'kind': 'reweight', 'spaces': {'a': -1}},
                {'kind': 'vnodes', 'node': 'a', 'started': 5, 'vnodes': 9}):
            with self.assertRaises(errors.InvalidParameters):
                self.decide(**arguments)
        for started, vnodes in ((0, 9), (-1, 9), (5, 0),
                                (5, limits.VNODES_MAX + 1), (5, 'x')):
            with self.assertRaises(errors.InvalidParameters):
                self.decide('vnodes', True, node='a', started=started,
                            vnodes=vnodes)

    def test_wrong_arguments(self):
        for kind, arguments in (
                ('lock', {'owner': 'a.1'}), ('lock', {'vdi_id': 1}),
                ('unlock', {'vdi_id': 1}), ('settings', {}),
                ('recovered', {'epoch': 1, 'incarnation': 7})):
            with self.assertRaises(errors.InvalidParameters):
                self.decide(kind, **arguments)

    def test_format(self):
        infos = [test_roster.info('a'), test_roster.info('b', space=3000)]
        settings = decisions.format_settings({'copies': 2}, infos, 5.25)
        self.assertEqual((2, 5 << 32 | 250000000, 2000),
                         (settings.copies, settings.created,
                          settings.reference_space))
        settings = decisions.format_settings({'copy_policy': 0x22}, infos, 5)
        self.assertEqual((6, 0x22), (settings.copies, settings.copy_policy))
        for wrong in ({'copies': 0}, {'copies': 32}, {'copy_policy': 1},
                      {'block_size_shift': 19}, {'block_size_shift': 29},
                      {'fixed_vnodes': True}):
            with self.assertRaises(errors.InvalidParameters):
                decisions.format_settings(wrong, infos, 5.0)


class TurnstileTest(unittest.TestCase):
    def setUp(self):
        self.simulation = world_module.Simulation(1)
        self.addCleanup(self.simulation.close)
        self.host = self.simulation.add_host('n')
        self.turns = turnstile.Turnstile(self.host.start(), 'turns')
        self.log = []

    async def work(self, name, seconds, error=None):
        self.log.append(name + ' in')
        await asyncio.sleep(seconds)
        self.log.append(name + ' out')
        if error is not None:
            raise error
        return name

    def test_one_at_a_time(self):
        async def both():
            return await asyncio.gather(
                self.turns.take(self.work, 'a', 2),
                self.turns.take(self.work, 'b', 1))

        self.assertEqual(['a', 'b'], self.host.run(both()))
        self.assertEqual(['a in', 'a out', 'b in', 'b out'], self.log)

    def test_to_the_end_without_who_asked(self):
        async def hasty():
            await asyncio.wait_for(self.turns.take(self.work, 'a', 2), 1)

        with self.assertRaises(asyncio.TimeoutError):
            self.host.run(hasty())
        self.assertEqual('b', self.host.run(
            self.turns.take(self.work, 'b', 1)))
        self.assertEqual(['a in', 'a out', 'b in', 'b out'], self.log)

    def test_errors(self):
        with self.assertRaises(errors.NoSpace):
            self.host.run(self.turns.take(self.work, 'a', 1,
                                          errors.NoSpace('full')))
        self.assertTrue(self.host.is_running)
        task = self.host.world.spawn(self.turns.take(
            self.work, 'b', 1, AssertionError('broken')))
        self.simulation.run_for(2)
        self.assertFalse(self.host.is_running, 'half a step was made')
        del task
