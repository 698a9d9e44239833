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

"""Tests of sheepdog.cluster.attributes, and of what the state has of them.
"""

import base64
import json
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.cluster import attributes
from sheepdog.cluster import decisions
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.tests.unit.cluster import test_state

KEY = b'key'.hex()


def value(data=b'value'):
    return base64.b64encode(data).decode()


class CheckTest(unittest.TestCase):

    def test_any_bytes(self):
        for key in b'k', b'\xff\n', b'k' * 255:
            attributes.check(key.hex(), value(bytes(range(256))))
        attributes.check(KEY, value(b'x' * 65536))
        attributes.check(KEY, '')
        attributes.check(KEY, None)

    def test_refused(self):
        for key in ('', 'k', 'AB', '6 1', b'\0'.hex(), b'a\0b'.hex(), None,
                    7, ('61' * 256)):
            with self.subTest(key):
                self.assertRaises(errors.InvalidParameters,
                                  attributes.check, key, None)
        for data in '%', 7, b'x', [], value(b'x' * 65537):
            with self.subTest(data):
                self.assertRaises(errors.InvalidParameters,
                                  attributes.check, KEY, data)


class AttributesTest(unittest.TestCase):

    def test_one_does_not_change_another(self):
        one = attributes.NONE.changed('vm', KEY, value())
        two = one.changed('vm', KEY, value(b'else'))
        self.assertEqual(value(), one.get('vm', KEY))
        self.assertEqual(value(b'else'), two.get('vm', KEY))
        self.assertIsNone(attributes.NONE.get('vm', KEY))
        self.assertIsNone(two.get('other', KEY))
        self.assertEqual([KEY], two.keys('vm'))
        self.assertEqual([], two.without('vm').keys('vm'))

    def test_decide(self):
        def decide(known, data, is_exclusive=False):
            return attributes.decide(known, 'vm', KEY, data, is_exclusive)

        one = attributes.NONE.changed('vm', KEY, value())
        self.assertEqual({'kind': 'vdi-attribute', 'name': 'vm', 'key': KEY,
                          'value': value()},
                         decide(attributes.NONE, value(), True))
        self.assertRaises(errors.VdiExists, decide, one, value(), True)
        self.assertEqual(value(b'2'), decide(one, value(b'2'))['value'])
        self.assertIsNone(decide(one, None)['value'])
        self.assertRaises(errors.NoObject, decide, attributes.NONE, None)
        self.assertRaises(errors.InvalidParameters, decide, one, 'x')

    def test_there_is_an_end(self):
        known = attributes.NONE
        for number in range(126):
            known = known.changed('vm', '%04x' % (number + 257),
                                  value(b'x' * 65536))
        self.assertLess(known.bytes, limits.ATTRIBUTES_MAX_BYTES)
        with self.assertRaises(errors.NoSpace):
            for number in range(3):
                event = attributes.decide(
                    known, 'vm2', '%02x' % (number + 1),
                    value(b'x' * 65536), False)
                known = known.changed(event['name'], event['key'],
                                      event['value'])
        # What is there may become less all the same.
        attributes.decide(known, 'vm', '0101', value(b'less'), False)
        attributes.decide(known, 'vm', '0101', None, False)

    @hypothesis.given(strategies.lists(strategies.tuples(
        strategies.sampled_from('ab'), strategies.binary(
            min_size=1, max_size=2).filter(lambda key: b'\0' not in key),
        strategies.none() | strategies.binary(max_size=9))))
    def test_as_a_plain_table(self, changes):
        known, table = attributes.NONE, {}
        for name, key, data in changes:
            known = known.changed(name, key.hex(),
                                  None if data is None else value(data))
            table.pop((name, key), None)
            if data is not None:
                table[name, key] = data
        again = attributes.Attributes.from_dict(
            json.loads(json.dumps(known.to_dict())))
        self.assertEqual(known.bytes, again.bytes)
        self.assertEqual(bool(known.bytes), bool(table))
        for (name, key), data in table.items():
            self.assertEqual(value(data), again.get(name, key.hex()))
        self.assertEqual(
            {name: sorted(key.hex() for one, key in table if one == name)
             for name in 'ab'}, {name: again.keys(name) for name in 'ab'})


class StateTest(unittest.TestCase):

    def setUp(self):
        self.state = test_state.formatted()

    def set(self, name='a', data=value(), **arguments):
        event, _result = decisions.decide('attribute', {
            'action': 'set', 'name': name, 'key': KEY, 'value': data,
            **arguments}, self.state)
        test_state.put(self.state, event)

    def create(self, *arguments, **fields):
        test_state.put(self.state, test_state.create(*arguments, **fields))

    def event(self, kind, **fields):
        test_state.put(self.state, dict(fields, kind=kind))

    def ask(self, action='get', name='a'):
        event, result = decisions.decide('attribute', {
            'action': action, 'name': name, 'key': KEY}, self.state)
        self.assertIsNone(event)
        return result

    def test_its_life(self):
        self.create(1, 'a')
        self.assertRaises(errors.NoObject, self.ask)
        self.set(exclusive=True)
        self.assertRaises(errors.VdiExists, self.set, exclusive=True)
        self.assertEqual({'value': value()}, self.ask())
        self.assertEqual({'keys': [KEY]}, self.ask('list'))
        again = state_module.State.from_dict(
            json.loads(json.dumps(self.state.to_dict())))
        self.assertEqual(self.state.to_dict(), again.to_dict())
        self.assertEqual(value(), again.attributes.get('a', KEY))
        self.event('vdi-delete', vdi_id=1)
        self.assertRaises(errors.NoVdi, self.ask)
        self.create(2, 'a')
        self.assertEqual({'keys': []}, self.ask('list'))
        self.set()
        self.set(data=None)
        self.assertRaises(errors.NoObject, self.set, data=None)

    def test_it_is_of_the_name(self):
        """A snapshot gives the working VDI another id."""
        self.create(1, 'a')
        self.set()
        self.create(7, 'a', snapshot=True, tag='s')
        self.event('vdi-delete', vdi_id=7)
        self.assertEqual({'value': value()}, self.ask())
        test_state.put(self.state, {
            'kind': 'format', 'settings': {'created': 8},
            'view': test_state.view(1, test_state.NODES[:3])})
        self.assertEqual(0, self.state.attributes.bytes)

    def test_refused(self):
        self.create(1, 'a')
        for arguments in ({'action': 'paint'}, {'action': 'set'},
                          {'action': 'set', 'key': 'x'},
                          {'action': 'get', 'key': 7}):
            self.assertRaises(
                errors.InvalidParameters, decisions.decide, 'attribute',
                {'name': 'a', **arguments}, self.state)
        self.assertRaises(errors.NoVdi, self.event, 'vdi-attribute',
                          name='b', key=KEY, value=value())
        self.assertRaises(errors.InvalidParameters, self.event,
                          'vdi-attribute', name='a', key=KEY, value=7)
        fields = self.state.to_dict()
        for wrong in ({'a': {KEY: None}}, {'a': {'x': ''}}, [], {'a': 7}):
            self.assertRaises(errors.InvalidParameters,
                              state_module.State.from_dict,
                              dict(fields, attributes=wrong))
