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
import subprocess
import sys
import textwrap
import time
import unittest

from sheepdog.world import real


class RunTest(unittest.TestCase):

    def test_result(self):
        async def main(world):
            return type(asyncio.get_running_loop()).__module__

        self.assertEqual('uvloop', real.run(main))

    def test_clock(self):
        async def main(world):
            before = world.clock.monotonic()
            await asyncio.sleep(0.02)
            self.assertGreaterEqual(world.clock.monotonic() - before, 0.019)
            self.assertLess(abs(world.clock.time() - time.time()), 5)

        real.run(main)

    def test_random(self):
        async def main(world):
            self.assertEqual(16, len(world.random.token(16)))
            self.assertLess(world.random.randrange(10), 10)
            return world.random.random()

        self.assertNotEqual(real.run(main), real.run(main))

    def test_what_a_task_raises_is_logged(self):
        async def fail():
            raise ValueError('planned')

        async def main(world):
            task = world.spawn(fail(), 'failing')
            self.assertEqual('failing', task.get_name())
            await asyncio.sleep(0.01)
            self.assertFalse(world._tasks)

        with self.assertLogs(real.LOG, 'ERROR') as logs:
            real.run(main)
        self.assertIn('planned', logs.output[0])

    def test_the_end_cancels_what_still_runs(self):
        ended = []

        async def endless():
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(True)

        async def main(world):
            world.spawn(endless())
            await asyncio.sleep(0)

        real.run(main)
        self.assertEqual([True], ended)


class FatalTest(unittest.TestCase):

    def exit_of(self, body):
        script = textwrap.dedent('''
            import asyncio
            from sheepdog.world import real

            def broken():
                assert False, 'planned'

            async def broken_task():
                broken()

            async def main(world):
            %s
                await asyncio.sleep(5)

            real.run(main)
        ''') % textwrap.indent(textwrap.dedent(body), '    ')
        result = subprocess.run([sys.executable, '-c', script],
                                capture_output=True, text=True, timeout=60)
        return result.returncode, result.stderr

    def test_fatal(self):
        code, errors = self.exit_of('world.fatal("planned")')
        self.assertEqual(real.EXIT_SOFTWARE, code)
        self.assertIn('planned', errors)

    def test_a_broken_invariant_in_a_task(self):
        code, errors = self.exit_of('world.spawn(broken_task())')
        self.assertEqual(real.EXIT_SOFTWARE, code)
        self.assertIn('planned', errors)

    def test_a_broken_invariant_at_the_end_of_a_turn(self):
        code, errors = self.exit_of('world.call_batched(broken)')
        self.assertEqual(real.EXIT_SOFTWARE, code)
        self.assertIn('planned', errors)
