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
import os
import subprocess
import sys
import unittest

from sheepdog.testing import world as world_module

SCRIPT = '''
from sheepdog.tests.unit.testing import test_world
print(test_world.busy_digest(%d))
'''


def busy_digest(seed):
    """The digest of a run in which much happens by chance."""
    with world_module.Simulation(seed) as simulation:
        hosts = [simulation.add_host('n%d' % i) for i in range(3)]

        async def busy(world):
            file = world.disk.open('/file', create=True)
            await world.disk.sync_directory('/')
            while True:
                file.pwrite(world.random.token(5000),
                            world.random.randrange(100000))
                tasks = {world.spawn(asyncio.sleep(
                    world.random.random() / 100)) for _ in range(5)}
                done, _ = await asyncio.wait(
                    tasks, return_when=asyncio.FIRST_COMPLETED)
                world.trace.note(world.host.name, 'first', *(
                    task.get_name() for task in done))
                await file.sync()

        for _ in range(10):
            for host in hosts:
                host.power_cut()
                host.power_on()
                world = host.start()
                world.spawn(busy(world))
            simulation.run_for(0.1)
        return simulation.trace.digest()


class WorldTest(unittest.TestCase):

    def setUp(self):
        self.simulation = world_module.Simulation(self.id())
        self.addCleanup(self.simulation.close)
        self.host = self.simulation.add_host('one')
        self.world = self.host.start()

    def test_replayed_in_another_process(self):
        digests = set()
        for hash_seed in '0', '1', '2':
            digests.add(subprocess.run(
                [sys.executable, '-c', SCRIPT % 7], check=True, text=True,
                stdout=subprocess.PIPE,
                env={**os.environ, 'PYTHONHASHSEED': hash_seed}).stdout)
        self.assertEqual({busy_digest(7) + '\n'}, digests)
        self.assertNotEqual({busy_digest(8) + '\n'}, digests)

    def test_clocks(self):
        other = self.simulation.add_host('two')
        other.start()
        clock = self.world.clock
        self.assertNotEqual(clock.monotonic(), other.clock.monotonic())
        before = clock.monotonic(), clock.time()
        self.host.jump(-3600)
        self.simulation.run_for(10)
        self.assertAlmostEqual(10, clock.monotonic() - before[0])
        self.assertAlmostEqual(-3590, clock.time() - before[1], 3)
        self.host.power_cut()
        self.host.power_on()
        self.assertLess(self.host.clock.monotonic(), 10)

    def test_chance_is_the_seeds(self):
        again = world_module.Simulation(self.id())
        self.addCleanup(again.close)
        world = again.add_host('one').start()
        self.assertEqual(self.world.random.token(8), world.random.token(8))
        self.host.kill()
        after = self.host.start()
        again.hosts['one'].kill()
        self.assertEqual(after.random.random(),
                         again.hosts['one'].start().random.random())

    def test_batched(self):
        calls = []

        async def main():
            self.world.call_batched(note)
            self.world.call_batched(note)

        def note():
            calls.append(1)

        self.world.spawn(main())
        self.simulation.run_for(1)
        self.assertEqual([1], calls)
        # Asked for from outside, it is still the process's.
        self.world.call_batched(note)
        self.host.kill()
        self.simulation.run_for(1)
        self.assertEqual([1], calls)

    def test_errors_of_tasks(self):
        async def fail():
            raise ValueError('planned')

        with self.assertLogs(world_module.LOG, 'ERROR'):
            self.world.spawn(fail(), 'failing')
            self.simulation.run_for(1)
        (process, what, error), = self.simulation.errors()
        self.assertEqual(('one#1', 'task failing', 'planned'),
                         (process, what, str(error)))
        self.assertTrue(self.host.is_running)

    def test_a_broken_invariant_ends_the_process(self):
        async def fail():
            assert False, 'planned'

        with self.assertLogs(world_module.LOG, 'ERROR'):
            self.world.spawn(fail())
            self.simulation.run_for(1)
        self.assertFalse(self.host.is_running)
        self.assertEqual(1, len(self.simulation.errors()))

    def test_fatal(self):
        calls = []

        async def fail():
            try:
                self.world.fatal('planned')
            finally:
                await asyncio.sleep(1)
                calls.append(1)

        with self.assertLogs(world_module.LOG, 'ERROR'):
            self.world.spawn(fail())
            self.simulation.run_for(5)
        self.assertFalse(self.host.is_running)
        self.assertEqual([], calls)
