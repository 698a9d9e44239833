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

"""sheepdog-manage node activity."""

import json
from unittest import mock

from sheepdog.tests.unit.cmd.dog import test_top as samples
from sheepdog.tests.unit.cmd.manage import test_manage


class ActivityTest(test_manage.ManageCase):

    @mock.patch('time.sleep', lambda seconds: None)
    def test_rows(self):
        answers = iter((samples.answer(samples.node(0)), samples.answer(
            samples.node(0, 50), samples.node(1, error='time is up'))))
        self.cluster.answers['cluster.activity'] = (
            lambda arguments: next(answers))
        rows = {row['Node']: row for row in json.loads(
            self.manage('node activity -f json', code=2))}
        self.assertEqual(50, rows['all']['Active'])
        self.assertAlmostEqual(2.0, rows['127.0.0.1:7000']['Read ms'])
        self.assertEqual('time is up', rows['127.0.0.1:7001']['Error'])
