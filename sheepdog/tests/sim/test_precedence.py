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

"""Guest I/O stalls during recovery: clients and recovery use the same disks.
"""

import statistics
import unittest
from unittest import mock

from sheepdog.testing import disk as disk_module
from sheepdog.tests.sim import test_pains

BYTES_PER_SECOND = 8 << 20


class SharedDisks:
    """Whoever asks a host's disk for something stands behind those who have
    asked before, and a sync takes as long as all that was written since the
    last one."""

    def __init__(self, case):
        self._free_at = {}
        self._dirty = {}
        disk = disk_module.SimDisk
        self._note, self._pass_time = disk.note, disk.pass_time
        for name in ('note', 'later', 'pass_time'):
            patch = mock.patch.object(disk, name, self._method(name))
            patch.start()
            case.addCleanup(patch.stop)

    def _method(self, name):
        function = getattr(self, name)
        return lambda disk, *arguments: function(disk, *arguments)

    def _turn(self, disk):
        """Seconds until it is ours, and all that is dirty is written."""
        host, now = disk.image.host, disk.process.loop.time()
        free_at = max(now, self._free_at.get(host, 0.0)) + (
            self._dirty.pop(host, 0) / BYTES_PER_SECOND)
        self._free_at[host] = free_at
        return free_at - now

    def note(self, disk, what, *details):
        if what == 'write':
            host = disk.image.host
            self._dirty[host] = self._dirty.get(host, 0) + details[2]
        self._note(disk, what, *details)

    def later(self, disk, seconds, function, *arguments):
        disk.process.loop.call_later(
            self._turn(disk) + seconds, function, *arguments,
            context=disk_module.fabric.KERNEL)

    async def pass_time(self, disk, seconds):
        await self._pass_time(disk, seconds + self._turn(disk))


class PrecedenceTest(test_pains.SlowCase):

    VOLUME_BYTES = 96 << 20
    WRITERS = 2
    ENDS_SECONDS = 20.0
    P99_SECONDS = 0.5
    """An object is written in the quarter of that."""
    REQUESTS = 40
    """Answered in a second."""

    def setUp(self):
        super().setUp()
        SharedDisks(self)
        self.gateway.run(self.fill())

    async def fill(self):
        volume = await self.gateway.sheep.volumes.open('big')
        for offset in range(0, volume.size, 1 << 20):
            await volume.write(offset, b'0123456789abcdef' * 65536)
        await volume.flush()
        await volume.close()

    def has_recovered(self):
        return all(node.sheep.cluster.state.has_recovered()
                   for node in self.nodes if node.is_running)

    def lose_one(self):
        """Seconds until all is whole again, and what requests took
        meanwhile."""
        self.begin(self.gateway)
        self.simulation.run_for(20)
        quiet = [latency for _, latency in self.latencies]
        lost = self.nodes[-1]
        lost.host.kill()
        self.wait_for(lambda: len(
            self.gateway.sheep.cluster.view.members) < self.count, 30,
            'not missed')
        self.simulation.run_for(0.2)
        self.latencies.clear()
        began = self.simulation.loop.time()
        self.wait_for(self.has_recovered, self.ENDS_SECONDS,
                      'recovery does not end')
        seconds = self.simulation.loop.time() - began
        busy = [latency for _, latency in self.latencies]
        self.end()
        lost.start()
        self.wait_for(self.cluster.is_well, 120, 'not well')
        self.assert_in_order()
        return quiet, busy, seconds

    def p99_of(self, latencies):
        return sorted(latencies)[len(latencies) * 99 // 100]

    def test_recovery_steps_back(self):
        quiet, busy, seconds = self.lose_one()
        self.assertLess(statistics.median(busy),
                        3 * statistics.median(quiet))
        self.assertLess(self.p99_of(busy), self.P99_SECONDS)
        self.assertGreater(len(busy) / seconds, self.REQUESTS)

    def test_it_need_not(self):
        """It is soon over, and meanwhile clients wait for long."""
        for node in self.nodes:
            node.sheep.precedence.is_enabled = False
        _, busy, seconds = self.lose_one()
        self.assertGreater(self.p99_of(busy), self.P99_SECONDS)
        self.assertLess(seconds, 3)


class CodedTest(PrecedenceTest):
    """Strips are rebuilt by all at once, whoever settles the object."""

    count = 7
    policy = '4:2'
    P99_SECONDS = 0.4


if __name__ == '__main__':
    unittest.main()
