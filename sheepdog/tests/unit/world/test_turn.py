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

from sheepdog.world import turn as turn_module


class TurnTest(unittest.IsolatedAsyncioTestCase):

    def setUp(self):
        self.calls = []

    async def asyncSetUp(self):
        self.loop = asyncio.get_running_loop()
        self.turn = turn_module.Turn(self.loop)

    def note(self):
        self.calls.append('note')

    async def test_once_per_turn_however_often_asked(self):
        for _ in range(3):
            self.turn.call_batched(self.note)
        self.assertEqual([], self.calls)
        await asyncio.sleep(0)
        self.assertEqual(['note'], self.calls)
        self.turn.call_batched(self.note)
        await asyncio.sleep(0)
        self.assertEqual(['note', 'note'], self.calls)

    async def test_outputs_follow_all_functions(self):
        def flush():
            self.calls.append('flush')

        def first():
            self.calls.append('first')
            self.turn.call_batched(second)

        def second():
            self.calls.append('second')

        self.turn.flush_later(flush)
        self.turn.call_batched(first)
        await asyncio.sleep(0)
        self.assertEqual(['first', 'second', 'flush'], self.calls)

    async def test_asked_for_by_itself_is_the_next_turn(self):
        def again():
            self.calls.append('again')
            if len(self.calls) < 3:
                self.turn.call_batched(again)

        self.turn.call_batched(again)
        await asyncio.sleep(0)
        self.assertEqual(1, len(self.calls))
        for _ in range(10):
            await asyncio.sleep(0)
        self.assertEqual(3, len(self.calls))

    async def test_a_failing_one_stops_no_other(self):
        reported = []
        self.loop.set_exception_handler(
            lambda loop, context: reported.append(context['exception']))

        def fail():
            raise ValueError('planned')

        self.turn.call_batched(fail)
        self.turn.call_batched(self.note)
        await asyncio.sleep(0)
        self.assertEqual(['note'], self.calls)
        self.assertEqual('planned', str(reported[0]))
