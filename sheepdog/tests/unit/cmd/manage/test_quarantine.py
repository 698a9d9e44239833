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

"""sheepdog-manage quarantine, against a fake sheep."""

from sheepdog.model import errors
from sheepdog.tests.unit.cmd.manage import test_manage

NODES = [
    {'host': '10.0.0.1', 'port': 7000, 'kept': 1, 'used_bytes': 8192,
     'notes': [{'name': '00000001.ab', 'was': '/m/obj/00000001',
                'why': 'so', 'when': 5.0, 'object': '00000001',
                'version': 3, 'size': 4096, 'used': 8192}]},
    {'host': '10.0.0.2', 'port': 7000, 'kept': 0, 'used_bytes': 0,
     'notes': []}]


class QuarantineTest(test_manage.ManageCase):
    def setUp(self):
        super().setUp()
        self.cluster.answers.update({
            'cluster.quarantine': NODES, 'cluster.quarantine-delete': {},
            'cluster.quarantine-add': {}})

    def test_list(self):
        row, = self.rows('quarantine list')
        self.assertEqual(
            {'Name': '00000001.ab', 'Node': '10.0.0.1:7000',
             'Object': '00000001', 'When': 5.0, 'Used': 8192, 'Why': 'so'},
            row)

    def test_list_of_one_that_is_silent(self):
        self.cluster.answers['cluster.quarantine'] = NODES + [
            {'host': '10.0.0.3', 'port': 7000, 'error': 'away'}]
        self.manage('quarantine list', code=2)
        self.assertIn('10.0.0.3:7000 does not tell: away',
                      self.streams.complaint)

    def test_show(self):
        shown = self.rows('quarantine show 00000001.ab')
        self.assertEqual('/m/obj/00000001', shown['was'])
        self.assertEqual(3, shown['version'])
        self.manage('quarantine show other', code=5)

    def test_delete_wants_to_be_sure(self):
        self.manage('quarantine delete 00000001.ab', code=64)
        self.assertEqual([], self.asked('cluster.quarantine-delete'))
        self.manage('quarantine delete --force 00000001.ab 2.cd')
        self.assertEqual(['00000001.ab', '2.cd'], [
            one['name'] for one in self.asked('cluster.quarantine-delete')])
        self.cluster.answers['cluster.quarantine-delete'] = (
            errors.NoObject('none'))
        self.manage('quarantine delete --force x', code=5)

    def test_add(self):
        self.manage('quarantine add 0000000100000000 10.0.0.1:7000')
        self.assertEqual(
            [{'object': '0000000100000000', 'node': '10.0.0.1:7000'}],
            self.asked('cluster.quarantine-add'))
