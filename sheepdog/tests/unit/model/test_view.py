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

import dataclasses
import json
import unittest

from sheepdog.model import view


def member(number, **fields):
    return view.Member('n%d' % number, 'n%d.100' % number, '10.0.0.1',
                       7000 + number, number, 128, **fields)


class ViewTest(unittest.TestCase):

    def setUp(self):
        self.view = view.View(3, 7, 1.5, (
            member(0), member(1, space=10 ** 12),
            member(2, data_host='192.0.2.1', data_port=7100)))

    def test_round_trip_through_json(self):
        text = json.dumps(self.view.to_dict())
        back = view.View.from_dict(json.loads(text))
        self.assertEqual(self.view, back)
        self.assertEqual(hash(self.view), hash(back))

    def test_finding_members(self):
        self.assertIs(self.view.members[1], self.view.member('n1.100'))
        self.assertIsNone(self.view.member('n1.101'))
        self.assertIs(self.view.members[2], self.view.node('n2'))
        self.assertIsNone(self.view.node('n2.100'))

    def test_addresses(self):
        self.assertEqual(('10.0.0.1', 7001),
                         self.view.members[1].data_address)
        self.assertEqual(('10.0.0.1', 7002), self.view.members[2].address)
        self.assertEqual(('192.0.2.1', 7100),
                         self.view.members[2].data_address)

    def test_views_do_not_change(self):
        with self.assertRaises(dataclasses.FrozenInstanceError):
            self.view.epoch = 4
        with self.assertRaises(dataclasses.FrozenInstanceError):
            self.view.members[0].port = 1


class ClusterSettingsTest(unittest.TestCase):

    def test_round_trip_through_json(self):
        settings = view.ClusterSettings(5 << 32 | 6, copies=2, strict=True)
        self.assertEqual(settings, view.ClusterSettings.from_dict(
            json.loads(json.dumps(settings.to_dict()))))
