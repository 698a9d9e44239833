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
import asyncio
import unittest
import unittest.mock

from sheepdog.testing import scenario


class EndlessSheep:
    """Never lets go of the processor."""

    cluster = None

    def __init__(self, world, membership, settings):
        pass

    async def start(self):
        while True:
            pass


class DeadSheep:

    cluster = None

    def __init__(self, world, membership, settings):
        pass

    async def start(self):
        raise OSError('planned')


class IdleSheep(DeadSheep):

    async def start(self):
        await asyncio.sleep(10000)


class ScenarioTest(unittest.TestCase):

    def test_an_endless_loop_is_a_failure(self):
        limit = unittest.mock.patch.object(scenario, 'PROCESSOR_SECONDS',
                                           0.2)
        with limit:
            result = scenario.run_seed(1, EndlessSheep)
        self.assertIn('endless', result.failures[0])
        self.assertIn('while True', result.failures[0])

    def test_sheep_that_do_not_start_are_a_failure(self):
        result = scenario.run_seed(1, DeadSheep)
        self.assertIn('not ready', result.failures[0])
        self.assertIn('planned', result.failures[0])

    def test_sheep_that_never_get_ready_are_a_failure(self):
        result = scenario.run_seed(1, IdleSheep)
        self.assertIn('not ready', result.failures[0])
        self.assertEqual(32, len(result.digest))

    def test_a_seed_stands_for_one_scenario(self):
        first = scenario.Scenario(3, IdleSheep)
        again = scenario.Scenario(3, IdleSheep)
        self.assertEqual(first.cluster, again.cluster)
        self.assertEqual(first.nemesis, again.nemesis)
        self.assertEqual(first.network, again.network)
