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

import unittest
from unittest import mock

from bench import plan


class PlanTest(unittest.TestCase):

    def test_a_small_one(self):
        with mock.patch.multiple(plan, MEMBERS=20, OURS=3, LOST=19,
                                 _CHUNK=1000):
            situation = plan.Situation(300)
            planner = plan.Planner(situation)
            planner.place()
            found = planner.plan()
            self.assertEqual(situation.coming, len(found))
            self.assertTrue(found)
            self.assertTrue(set(found).isdisjoint(situation.ours))
            # Each object is told of to three.
            self.assertGreater(planner.tell(), 2.8 * 8 * len(
                situation.ours))
            self.assertEqual(situation.coming,
                             plan.measure(situation)['coming'])
