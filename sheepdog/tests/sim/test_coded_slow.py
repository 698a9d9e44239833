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

"""One slow sheep does not slow coded volumes down for long."""

import unittest

from sheepdog.model import ids
from sheepdog.tests.sim import test_coded
from sheepdog.tests.sim import test_pains


class SlowTest(test_coded.CodedCase):

    SLOW_SECONDS = 3.0

    def setUp(self):
        super().setUp()
        self.create()
        self.volume = self.open()
        self.write(self.volume, 0, self.chance.randbytes(test_coded.SIZE))
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        found = self.strips(ids.data_oid(vdi_id, 0))
        self.slow = next(node for index, (node, _, _) in sorted(found.items())
                         if node is not self.node)
        self.simulation.fabric.slow(self.node.host.name, self.slow.host.name,
                                    self.SLOW_SECONDS)
        self.counters = self.node.sheep.gateway.counters

    def seconds_to_read(self):
        clock = self.simulation.loop.time
        began = clock()
        data = self.node.run(self.volume.read(0, 8192))
        self.assertEqual(self.content[:8192], data)
        return clock() - began

    def test_one_strip_more_is_asked_for(self):
        self.assertLess(self.seconds_to_read(), 1.5)
        self.assertEqual(1, self.counters['hedged'])
        self.assertEqual(1, self.counters['hedge_wins'])
        # What comes in the end is for nobody.
        self.simulation.run_for(2 * self.SLOW_SECONDS)
        self.check(self.volume)

    def test_who_is_slow_is_read_last(self):
        self.node.sheep.gateway.demote(frozenset(
            [self.slow.sheep.cluster.incarnation]))
        self.assertLess(self.seconds_to_read(), 0.1)
        self.assertEqual(0, self.counters['hedged'])

    def test_not_more_than_there_are(self):
        """Too many are slow: the read takes as long as they do."""
        for node in self.cluster.nodes.values():
            if node is not self.node:
                self.simulation.fabric.slow(
                    self.node.host.name, node.host.name, self.SLOW_SECONDS)
        self.assertGreater(self.seconds_to_read(), 2.5)
        self.assertEqual(0, self.counters['hedge_wins'])


class SlowDiskTest(test_pains.SlowCase):
    """A write needs all strips, so only an eviction helps it."""

    count = 7
    policy = '4:2'

    def test_it_is_evicted_and_comes_back_where_it_is_missed(self):
        sick, *lost = self.nodes[2:5]
        self.begin(self.gateway)
        quiet = self.p99(5)
        usual = len(self.latencies)
        self.slow_disk(sick, self.DISK_SECONDS)
        self.latencies.clear()
        self.simulation.run_for(5)
        self.assertLess(len(self.latencies), usual / 10)
        self.simulation.run_for(self.BACK_SECONDS - 5)
        self.assertTrue(self.is_evicted(sick), self.cluster.explain())
        self.assertLess(self.p99(10), self.P99_MAX_SECONDS, quiet)
        # What it has is out of date; the others can lose two for good.
        for node in lost:
            node.host.kill()
            self.cluster.take_out(node)
        self.wait_for(lambda: not self.is_evicted(sick), 60, 'it stays away')
        sick.host.faults.slowness = 1.0
        self.assert_back(sick)


if __name__ == '__main__':
    unittest.main()
