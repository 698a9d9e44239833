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

from sheepdog.cluster import decisions
from sheepdog.cluster import qos
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.tests.unit.cluster import test_state


def event(name='vm', **limits):
    return {'kind': 'vdi-qos', 'name': name, 'limits': {
        kind.replace('_', '-'): rate for kind, rate in limits.items()}}


class QosTest(unittest.TestCase):

    def test_checked(self):
        self.assertEqual(
            {'iops': (5, 0), 'write-bytes': (65536, 70000)},
            qos.checked({'write-bytes': [65536, 70000], 'iops': [5, 0]}))
        self.assertEqual(['iops', 'write-bytes'], list(qos.checked(
            {'write-bytes': [65536, 70000], 'iops': [5, 0]})))
        for wrong in (None, [], {'iops': 5}, {'iops': [5]}, {'iops': [0, 0]},
                      {'iops': [5, -1]}, {'iops': [5.0, 0]}, {5: [5, 0]},
                      {'iops': [True, 0]}, {'ops': [5, 0]},
                      {'bytes': [65535, 0]}, {'iops': ['5', 0]},
                      {'iops': [10 ** 10, 0]}, {'bytes': [1 << 51, 0]},
                      {'iops': None}):
            with self.subTest(wrong):
                self.assertRaises(errors.InvalidParameters, qos.checked,
                                  wrong)

    def test_how_many_at_once(self):
        self.assertEqual(7, qos.Rate(100, 7).size())
        self.assertEqual(10, qos.Rate(100).size())
        self.assertEqual(1, qos.Rate(3).size())

    def test_nobody_undoes_what_another_has_set(self):
        known = qos.checked({'iops': [5, 6], 'bytes': [65536, 0]})
        self.assertEqual(
            {'iops': [5, 6], 'read-iops': [7, 0]},
            qos.decide(known, 'vm', {'bytes': None,
                                     'read-iops': [7, 0]})['limits'])
        self.assertEqual({}, qos.decide({}, 'vm', {})['limits'])
        for wrong in None, {'no': None}, {'iops': [0, 0]}:
            self.assertRaises(errors.InvalidParameters, qos.decide, known,
                              'vm', wrong)

    def test_changes_of_tools(self):
        self.assertEqual(
            {'iops': [500, 0], 'bytes': None},
            qos.parse_changes('iops=500:0,bytes=none'))
        self.assertEqual({}, qos.parse_changes(''))
        for wrong in ('iops', 'iops=', 'iops=5:', 'iops=-5:0', 'iops=x',
                      'iops=5:0,', 'iops=' + '9' * 20, 'iops=²:0'):
            with self.subTest(wrong):
                self.assertRaises(errors.InvalidParameters,
                                  qos.parse_changes, wrong)


class StateTest(unittest.TestCase):

    def setUp(self):
        self.state = test_state.formatted()
        test_state.put(self.state, test_state.create(1, 'vm'))
        test_state.put(self.state, event(iops=[5, 0]))

    def test_kept(self):
        again = state_module.State.from_dict(json.loads(json.dumps(
            self.state.to_dict())))
        self.assertEqual({'vm': {'iops': (5, 0)}}, again.qos)
        copied = self.state.copy()
        test_state.put(copied, event(iops=[6, 0]))
        self.assertEqual({'vm': {'iops': (5, 0)}}, self.state.qos)
        test_state.put(copied, event())
        self.assertEqual({}, copied.qos)
        # A state of a version that knew of none.
        before = self.state.to_dict()
        del before['qos']
        self.assertEqual({}, state_module.State.from_dict(before).qos)

    def test_nonsense(self):
        for wrong in event('none', iops=[5, 0]), event(iops=[0, 0]):
            with self.assertRaises(errors.SheepdogError):
                test_state.put(self.state, wrong)
        self.assertEqual({'vm': {'iops': (5, 0)}}, self.state.qos)
        for wrong in {'vm': 5}, {'vm': {'iops': [0, 0]}}, [5], 7:
            with self.assertRaises(errors.InvalidParameters):
                state_module.State.from_dict(
                    dict(self.state.to_dict(), qos=wrong))

    def test_they_go_with_the_name(self):
        test_state.put(self.state, {'kind': 'vdi-delete', 'vdi_id': 1})
        self.assertEqual({}, self.state.qos)
        test_state.put(self.state, test_state.create(2, 'vm'))
        test_state.put(self.state, event(iops=[6, 0]))
        test_state.put(self.state, {
            'kind': 'format', 'settings': {'created': 8},
            'view': test_state.view(1, test_state.NODES[:3])})
        self.assertEqual({}, self.state.qos)

    def test_decided(self):
        found, result = decisions.decide('qos', {
            'name': 'vm', 'changes': {'bytes': [65536, 0]}}, self.state)
        self.assertEqual({'iops': [5, 0], 'bytes': [65536, 0]},
                         result['limits'])
        test_state.put(self.state, found)
        found, result = decisions.decide('qos', {
            'name': 'vm', 'changes': {}, 'clear': True}, self.state)
        self.assertEqual({}, result['limits'])
        with self.assertRaises(errors.NoVdi):
            decisions.decide('qos', {'name': 'none', 'changes': {}},
                             self.state)
