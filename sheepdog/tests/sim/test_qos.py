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

"""Limits of volumes under load and faults, and after a power cut."""

import logging
import unittest

from sheepdog.testing import run
from sheepdog.tests.sim import test_pains

SEEDS = (3, 6, 10)


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class SeedsTest(unittest.TestCase):

    def test_any(self):
        """As ``python -m sheepdog.testing.run --limit --remote``."""
        outcomes = {}
        for seed in SEEDS:
            with self.subTest(seed):
                result = run.run_one(seed, remote=True, limit=True)
                self.assertEqual([], result.failures)
                for what, count in result.outcomes.items():
                    outcomes[what] = outcomes.get(what, 0) + count
        self.assertGreater(outcomes['limit done'], 20)


class QosTest(test_pains.PainCase):

    def limit(self, node, **rates):
        node.run(node.sheep.cluster.execute('qos', {
            'name': 'v', 'changes': rates}))

    def timed(self, node, count):
        """Seconds that so many reads take, of a volume that is opened."""
        async def load():
            volume = await node.sheep.volumes.open('v')
            began = self.simulation.loop.time()
            for _ in range(count):
                await volume.read(0, 512)
            took = self.simulation.loop.time() - began
            await volume.close()
            return took

        return node.run(load())

    def test_they_are_there_after_a_power_cut(self):
        self.limit(self.nodes[0], iops=[10, 1])
        self.assertAlmostEqual(1.9, self.timed(self.nodes[2], 20), delta=0.1)
        for node in self.nodes:
            node.host.power_cut()
        for node in self.nodes:
            node.host.power_on()
            node.start()
        self.wait_for(self.cluster.is_well, 60, 'not well after a power cut')
        self.assertAlmostEqual(1.9, self.timed(self.nodes[1], 20), delta=0.1)
        self.limit(self.nodes[0], iops=None)
        self.assertLess(self.timed(self.nodes[1], 20), 0.5)
        self.assert_in_order()

    def test_whoever_gets_the_lock_waits_for_nobody(self):
        """It is taken away by force while requests wait."""
        self.limit(self.nodes[0], iops=[1, 1])
        first, second = self.nodes[:2]
        answers = []

        async def begin():
            volume = await first.sheep.volumes.open('v')
            for number in range(50):
                volume.submit_write(number * 512, b'x' * 512, True,
                                    answers.append)
            return volume.vdi_id

        vdi_id = first.run(begin())
        self.simulation.run_for(1)
        began = self.simulation.loop.time()
        second.run(second.sheep.cluster.execute('unlock', {
            'vdi_id': vdi_id, 'force': True, 'owner': 'x'}))
        self.assertTrue(self.simulation.run_until(
            lambda: len(answers) == 50, 5))
        other = second.run(second.sheep.volumes.open('v'))
        self.assertLess(self.simulation.loop.time() - began, 5)
        self.assertGreater(sum(one is not None for one in answers), 40)
        second.run(other.close())
        self.assert_in_order()
