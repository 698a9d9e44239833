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

from sheepdog.tests.unit.cmd.dog import test_dog

FOUND = [{'name': 'vm', 'limits': {'iops': [500, 0], 'bytes': [
    10 << 20, 50 << 20]}, 'waiting': 3, 'delayed': 17,
    'delayed_seconds': 1.5}]


class QosTest(test_dog.DogCase):
    def setUp(self):
        super().setUp()
        self.cluster.answers.update({
            'vdi.limit': {'limits': {'iops': [500, 0]}},
            'vdi.limits': FOUND})

    def told(self):
        found = dict(self.cluster.asked[-1][1])
        found.pop('operation_id', None)
        return found

    def test_set(self):
        self.assertEqual('', self.dog(
            'vdi qos set vm iops=500 write-bytes=10M:50M read-iops=none'))
        self.assertEqual(
            {'name': 'vm', 'clear': False,
             'changes': 'iops=500:0,write-bytes=10485760:52428800,'
             'read-iops=none'}, self.told())
        self.assertEqual({'limits': {'iops': [500, 0]}}, json.loads(
            self.dog('vdi qos set vm iops=500 --json')))

    def test_clear(self):
        self.assertEqual('', self.dog('vdi qos clear vm'))
        self.assertEqual({'name': 'vm', 'clear': True, 'changes': ''},
                         self.told())

    def test_show(self):
        self.assertEqual('''\
  Name         Limit       Rate/s     Burst   Waiting  Delayed
  vm           iops            500        -        3       17
  vm           bytes         10 MB    50 MB        3       17
''', self.dog('vdi qos show vm'))
        self.assertEqual({'name': 'vm'}, self.told())
        self.assertEqual(
            'vm iops 500 0 3 17\nvm bytes 10485760 52428800 3 17\n',
            self.dog('vdi qos show -r'))
        self.assertEqual(FOUND, json.loads(self.dog(
            'vdi qos show --json')))

    def test_refused(self):
        for words in ('set vm', 'set', 'set vm iops', 'set vm iops=',
                      'set vm ops=5', 'set vm iops=0', 'set vm iops=x',
                      'set vm iops=5:0', 'set vm iops=5:', 'set vm bytes=1Z',
                      'set vm iops=5 iops=6', 'set vm iops=1K', 'clear',
                      'show vm vm', 'clear vm vm'):
            self.dog('vdi qos ' + words, code=64)
