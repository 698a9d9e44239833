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

from sheepdog.peer import health
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


class HealthTest(case.FlockCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.must_write(self.a, b'old')
        self.clock = self.a.world.clock = Clock()
        self.probed = []
        self.a.store.latency = lambda: 7

        async def probe():
            self.probed.append(True)

        self.a.store.probe = probe
        self.health = health.Health(self.a.world, self.a.cluster,
                                    self.a.store, self.a.links)

    def report(self, slow=(), suspects=(), is_probe=False):
        return self.health.report(slow, suspects, is_probe)

    def look(self, *seconds):
        for passed in seconds:
            self.clock.now += passed
            self.health.look()

    async def test_who_answers_late_is_told_once(self):
        self.hold(self.b, self.a)
        write = self.write(self.a, b'new')
        await flock.turns()
        self.look(0.25, 0.25, 0.25)
        self.assertEqual({'disk': 7, 'space': None, 'late': {
            self.b.cluster.incarnation: 500000}}, self.report())
        self.assertEqual({'disk': 7, 'space': None, 'late': {}},
                         self.report())
        self.release(self.b, self.a)
        await self.done(write)
        self.look(0.25, 0.25)
        self.assertEqual({}, self.report()['late'])

    async def test_other_requests_are_not_late(self):
        """A slow answer to them has its reasons."""
        self.hold(self.b, self.a)
        call = asyncio.ensure_future(self.a.links.data(self.b.member).call(
            health.wire.FLUSH))
        await flock.turns()
        self.look(1.0, 1.0)
        self.assertEqual({}, self.report()['late'])
        self.release(self.b, self.a)
        await call

    async def test_suspects_are_asked(self):
        suspect = self.c.cluster.incarnation
        self.hold(self.c, self.a)
        self.report(suspects=[suspect, self.a.cluster.incarnation, 'gone'])
        await flock.turns()
        self.clock.now += 0.4
        self.report(suspects=[suspect])
        self.release(self.c, self.a)
        await flock.until(lambda: not self.health._probing)
        late = self.report()['late']
        self.assertEqual([suspect], list(late))
        self.assertAlmostEqual(400000, late[suspect], delta=2)

    async def test_the_disk_is_asked(self):
        self.report(is_probe=True)
        await flock.turns()
        self.assertEqual([True], self.probed)
        self.report()
        await flock.turns()
        self.assertEqual([True], self.probed)

    async def test_the_space_is_counted_now_and_then(self):
        self.assertIsNone(self.report()['space'])
        counted = []
        self.a.store.left = 300

        async def used_bytes():
            counted.append(True)
            return 700

        self.a.store.used_bytes = used_bytes
        for _ in range(2):
            self.report(is_probe=True)
            await flock.turns()
        self.assertEqual((700, 290), self.report()['space'])
        self.assertEqual(1, len(counted))
        self.clock.now += health.SPACE_SECONDS
        self.report()
        await flock.turns()
        self.assertEqual(1, len(counted))

        async def fails():
            raise OSError('gone')

        self.a.store.used_bytes = fails
        self.report(is_probe=True)
        await flock.turns()
        self.assertIsNone(self.report()['space'])

    async def test_who_hears_that_it_is_slow_says_which_disk(self):
        self.a.store.latencies = {'/one': 3000, '/two': 700000,
                                  '/idle': None}
        with self.assertLogs('sheepdog.peer.health', 'WARNING') as logs:
            self.report(slow=[self.a.cluster.incarnation])
            self.report(slow=[self.a.cluster.incarnation, 'x'])
        self.assertEqual(1, len(logs.output))
        self.assertIn('/one 3 ms, /two 700 ms, /idle ?', logs.output[0])

    async def test_who_is_slow_is_passed_on_when_it_changes(self):
        heard = []
        self.health.listen(heard.append)
        for slow in ((), ('x',), ('x',), ('x', 'y'), ()):
            self.report(slow=slow)
        self.assertEqual([{'x'}, {'x', 'y'}, set()], heard)
