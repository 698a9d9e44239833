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

from sheepdog.testing import loop as loop_module


class LoopTest(unittest.TestCase):

    def setUp(self):
        self.loop = loop_module.SimLoop()
        self.addCleanup(self.loop.close)
        self.calls = []

    def process(self, name='p'):
        return loop_module.Process(self.loop, name)

    def start(self, process, coroutine):
        return self.loop.create_task(coroutine,
                                     context=process.context.copy())

    def test_time_jumps(self):
        async def main():
            begun = asyncio.get_running_loop().time()
            await asyncio.sleep(3600)
            return asyncio.get_running_loop().time() - begun

        self.assertEqual(3600, self.loop.run_until_complete(main()))

    def test_equal_deadlines_are_first_in_first_out(self):
        for number in range(100):
            self.loop.call_at(2000.0, self.calls.append, number)
        self.loop.run_for(2000)
        self.assertEqual(list(range(100)), self.calls)

    def test_cancelled_timers_do_not_run(self):
        self.loop.call_later(1, self.calls.append, 1).cancel()
        self.loop.call_soon(self.calls.append, 2).cancel()
        self.loop.run_for(2)
        self.assertEqual([], self.calls)

    def test_sets_of_tasks_are_in_order(self):
        async def sleeper():
            await asyncio.sleep(1)

        async def main():
            tasks = {asyncio.ensure_future(sleeper()) for _ in range(50)}
            names = [task.get_name() for task in tasks]
            done, _ = await asyncio.wait(tasks)
            return names, [task.get_name() for task in done]

        names, done = self.loop.run_until_complete(main())
        self.assertEqual(sorted(names, key=lambda n: int(n[5:])), names)
        self.assertEqual(names, done)

    def test_asyncio_works(self):
        async def main():
            with self.assertRaises(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.sleep(2)
            with self.assertRaises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 1)
            lock = asyncio.Lock()
            async with lock, asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1))
            queue = asyncio.Queue()
            asyncio.get_running_loop().call_later(1, queue.put_nowait, 'x')
            values = await asyncio.gather(
                queue.get(), asyncio.to_thread(int, '7'),
                asyncio.shield(asyncio.sleep(0.1, 'y')))
            return values

        self.assertEqual(['x', 7, 'y'], self.loop.run_until_complete(main()))

    def test_no_clean_up_after_a_kill(self):
        process = self.process()

        async def victim():
            try:
                self.calls.append('begun')
                await asyncio.sleep(10)
                self.calls.append('woken')
            except BaseException:
                self.calls.append('caught')
            finally:
                self.calls.append('cleaned')

        task = self.start(process, victim())
        self.loop.run_for(1)
        process.kill()
        self.loop.run_for(100)
        self.assertEqual(['begun'], self.calls)
        self.assertFalse(task.done())
        self.assertEqual([task], self.loop.pending_tasks(process))

    def test_everything_a_process_begins_is_its_own(self):
        process = self.process()

        async def child():
            await asyncio.sleep(2)
            self.calls.append('child')

        async def parent():
            asyncio.get_running_loop().call_later(
                2, self.calls.append, 'timer')
            asyncio.ensure_future(child())

        self.start(process, parent())
        self.loop.run_for(1)
        process.kill()
        self.loop.run_for(10)
        self.assertEqual([], self.calls)

    def test_waiting_for_another_process_keeps_ones_own(self):
        one = self.process('one')
        other = self.process('other')
        future = self.loop.create_future()

        async def waiter():
            await future
            self.calls.append(loop_module.CURRENT.get().name)
            await asyncio.sleep(1)
            self.calls.append('alive')

        self.start(one, waiter())
        self.loop.run_for(1)
        other.run(future.set_result, None)
        other.kill()
        self.loop.run_for(5)
        self.assertEqual(['one', 'alive'], self.calls)

    def test_a_process_that_dies_in_the_middle(self):
        process = self.process()
        process.on_kill(lambda: self.calls.append('gone'))

        async def main():
            for number in range(10):
                process.operation()
                self.calls.append(number)

        self.start(process, main())
        process.kill_after(3)
        self.loop.run_for(1)
        self.assertEqual([0, 1, 'gone'], self.calls)

    def test_stopped_and_resumed(self):
        process = self.process()

        async def main():
            while True:
                await asyncio.sleep(1)
                self.calls.append(self.loop.time() - begun)

        begun = self.loop.time()
        self.start(process, main())
        self.loop.run_for(2.5)
        process.stop()
        self.loop.run_for(5)
        self.assertEqual([1, 2], self.calls)
        process.resume()
        self.loop.run_for(1.1)
        self.assertEqual([1, 2, 7.5, 8.5], self.calls)

    def test_errors_belong_to_their_process(self):
        process = self.process()
        process.run(self.loop.call_soon, int, 'x')
        self.loop.run_for(1)
        (what, error), = process.errors
        self.assertIsInstance(error, ValueError)

    def test_what_never_ends_is_told(self):
        async def again():
            while True:
                await asyncio.sleep(10)
        with self.assertRaises(loop_module.Stuck):
            self.loop.run_until_complete(again())

    def test_a_deadlock_is_told(self):
        with self.assertRaises(loop_module.Stuck):
            self.loop.run_until_complete(self.loop.create_future())

    def test_an_endless_loop_is_told(self):
        def again():
            self.loop.call_soon(again)

        limit = unittest.mock.patch.object(
            loop_module, 'CALLBACKS_PER_INSTANT_MAX', 1000)
        limit.start()
        self.addCleanup(limit.stop)
        self.loop.run_for(1)
        again()
        with self.assertRaises(loop_module.Stuck):
            self.loop.run_for(1)
