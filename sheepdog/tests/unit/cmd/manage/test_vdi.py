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

"""sheepdog-manage vdi: what dog has under other names."""

import base64

from sheepdog.model import errors
from sheepdog.tests.unit.cmd.dog import test_objects as samples
from sheepdog.tests.unit.cmd.manage import test_manage


class PlacesTest(test_manage.ManageCase):
    def setUp(self):
        super().setUp()
        self.cluster.answers['vdi.object'] = samples.FOUND

    def test_location(self):
        self.assertEqual(
            [('127.0.0.1:7000', 'has', 1), ('127.0.0.1:7001', 'has', 0),
             ('127.0.0.1:7002', 'lacks', 2)],
            [(row['Node'], row['State'], row['Place'])
             for row in self.rows('vdi location test --index 0')])
        self.assertEqual(0, self.asked('vdi.object')[0]['index'])
        self.cluster.answers['vdi.object'] = dict(samples.FOUND, nodes=[
            dict(samples.address(7000), error='time is up')])
        self.assertIn('unknown', self.manage('vdi location test', code=2))

    def test_track(self):
        rows = self.rows('vdi track test --snapshot s1')
        self.assertEqual([1, 2], [row['Epoch'] for row in rows])
        # They are all in one zone.
        self.assertEqual(1, len(rows[0]['Nodes']))
        self.assertEqual(('s1', -1), tuple(
            self.asked('vdi.object')[0][key] for key in ('tag', 'index')))


class AttributeTest(test_manage.ManageCase):
    def setUp(self):
        super().setUp()
        self.cluster.answers.update({
            'vdi.setattr': lambda arguments: {},
            'vdi.attributes': {'keys': [b'k'.hex(), 'ff']},
            'vdi.getattr': {'value': base64.b64encode(b'v').decode()}})

    def test_all(self):
        self.assertEqual(['k', '\\xff'], [
            row['Key'] for row in self.rows('vdi attribute list vm')])
        self.assertEqual('v', self.manage('vdi attribute show vm k'))
        self.manage('vdi attribute set vm k value --exclusive')
        self.manage('vdi attribute set vm k')
        self.manage('vdi attribute delete vm k')
        self.assertEqual([True, False, None], [
            one.get('exclusive') for one in self.asked('vdi.setattr')])
        self.cluster.answers['vdi.setattr'] = errors.VdiExists('there')
        self.manage('vdi attribute set vm k v --exclusive', code=3)
