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

"""The disk of one sheep becomes slow: clients wait for it for less than half
a minute, and it is let in again when it is quick."""

import sys
import time

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import slow_sheep

MIB = 1 << 20
OBJECTS = 16
BACK_SECONDS = 30.0
RETURN_SECONDS = 120.0
PROBES = 100
SHARE = 0.9
QUICK_SECONDS = 1.0


class SlowDiskTest(case.ClusterCase):
    """Five sheep, three copies: one can be done without."""

    count = 5

    def setUp(self):
        super().setUp()
        self.create('v', OBJECTS * MIB, block_size_shift=20)
        leader = self.cluster.leader()
        self.sick, self.gateway = self.cluster.others(leader)[:2]
        self.sign = self.sick.meta.with_suffix('.slow')
        command = self.sick.command
        self.sick.command = lambda *more: [
            sys.executable, '-m', 'sheepdog.tests.functional.slow_sheep',
            str(self.sign)] + command(*more)[1:]
        self.sick.terminate()
        self.sick.start()
        self.cluster.wait_whole()

    def remarks(self):
        """Of "dog node list", for the one that is slow."""
        for node in self.cluster.dog_json('node', 'list',
                                          sheep=self.gateway):
            if node['port'] == self.sick.port:
                return node
        raise AssertionError('it is no member')

    def write_and_read(self, volume, numbers):
        """Seconds that each request took."""
        found = []
        for number in numbers:
            at = number % OBJECTS * MIB
            data = bytes([number % 251 + 1]) * 4096
            began = time.monotonic()
            volume.write(at, data, fua=True)
            written = time.monotonic()
            assert volume.read(at, 4096) == data
            found += [written - began, time.monotonic() - written]
        return found

    def test_one_slow_disk(self):
        with (self.gateway.client() as client,
              client.open('v') as volume):
            self.write_and_read(volume, range(2 * OBJECTS))
            self.sign.touch()
            began = time.monotonic()
            slowest = 0.0
            while not self.remarks()['is_evicted']:
                slowest = max([slowest, *self.write_and_read(volume, (
                    int(time.monotonic()),))])
                assert time.monotonic() - began < BACK_SECONDS, (
                    'it is not evicted')
            self.assertGreater(slowest, slow_sheep.SECONDS / 2)
            # All objects once: what was moved, and what was not.
            self.write_and_read(volume, range(OBJECTS))
            found = sorted(self.write_and_read(volume, range(PROBES)))
            seconds = time.monotonic() - began
            self.addDetail('numbers', case.content.text_content(
                'slowest before %.1f s, then p90 %.3f, p99 %.3f; after %.1f '
                's' % (slowest, found[len(found) * 9 // 10],
                       found[len(found) * 99 // 100], seconds)))
            self.assertLess(found[int(len(found) * SHARE)], QUICK_SECONDS)
            # It still serves its own clients.
            with self.sick.client() as other:
                with other.open('v', read_only=True) as same:
                    assert same.read(0, 4096) == volume.read(0, 4096)
            self.sign.unlink()
            harness.wait_until(
                lambda: not self.remarks()['is_evicted'], RETURN_SECONDS,
                'it to be let in again')
            self.cluster.wait_whole()
            self.write_and_read(volume, range(PROBES))
        self.assertNotEqual(0, self.remarks()['vnodes'])
