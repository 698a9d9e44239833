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

"""dog vdi setattr and getattr against a fake sheep."""

import base64
import json

from sheepdog.model import errors
from sheepdog.tests.unit.cmd.dog import test_dog


class AttributesTest(test_dog.DogCase):
    def setUp(self):
        super().setUp()
        self.cluster.answers.update({
            'vdi.setattr': lambda arguments: {},
            'vdi.getattr': {'value': base64.b64encode(b'v\n').decode()}})

    def told(self):
        found = dict(self.cluster.asked[-1][1])
        found.pop('operation_id')
        return found

    def test_set(self):
        self.assertEqual('', self.dog('vdi setattr vm key value'))
        self.assertEqual(
            {'name': 'vm', 'key': b'key'.hex(), 'exclusive': False,
             'value': base64.b64encode(b'value').decode()}, self.told())
        self.dog('vdi setattr vm key -x', stdin=b'\xff\0')
        self.assertEqual(
            (True, base64.b64encode(b'\xff\0').decode()),
            (self.told()['exclusive'], self.told()['value']))
        self.dog(['vdi', 'setattr', 'vm', 'k\udcff', ''])
        self.assertEqual(('6bff', ''),
                         (self.told()['key'], self.told()['value']))
        self.dog('vdi setattr vm key -d')
        self.assertEqual({'name': 'vm', 'key': b'key'.hex(),
                          'delete': True}, self.told())
        self.assertEqual({}, json.loads(
            self.dog('vdi setattr vm key value --json')))

    def test_too_much_is_noticed(self):
        self.dog('vdi setattr vm key', stdin=b'x' * 70000)
        self.assertEqual(65537, len(base64.b64decode(self.told()['value'])))

    def test_refused(self):
        for words in ('vdi setattr', 'vdi setattr vm', 'vdi getattr vm',
                      'vdi setattr vm k v w', 'vdi setattr vm k -d v',
                      'vdi setattr vm k -dx', 'vdi getattr vm k v'):
            self.dog(words, code=64)
        self.cluster.answers['vdi.setattr'] = errors.VdiExists('there')
        self.dog('vdi setattr vm key value -x', code=3)
        self.assertEqual("dog: the attribute 'key' already exists\n",
                         self.streams.complaint)
        for method in 'setattr', 'getattr':
            self.cluster.answers['vdi.' + method] = errors.NoObject('none')
        for words in 'vdi setattr vm key -d', 'vdi getattr vm key':
            self.dog(words, code=5)
            self.assertEqual("dog: the attribute 'key' is not found\n",
                             self.streams.complaint)
        self.cluster.answers['vdi.getattr'] = errors.NoVdi('no VDI')
        self.dog('vdi getattr vm key', code=5)
        self.cluster.answers['vdi.setattr'] = errors.NoSpace('full')
        self.dog('vdi setattr vm key value', code=4)

    def test_get(self):
        self.assertEqual('v\n', self.dog('vdi getattr vm key'))
        self.assertEqual({'value': 'v\n'}, json.loads(
            self.dog('vdi getattr vm key --json')))
        self.cluster.answers['vdi.getattr'] = {'value': '/w=='}
        self.dog('vdi getattr vm key')
        self.assertEqual(b'\xff', self.streams.output)
        self.assertEqual({'value_base64': '/w=='}, json.loads(
            self.dog('vdi getattr vm key --json')))
