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
import gc
import unittest

from sheepdog.world import futures


class AwaitedTest(unittest.IsolatedAsyncioTestCase):

    async def test_the_first_end_counts(self):
        awaited = futures.Awaited()
        awaited.succeed(1)
        awaited.succeed(2)
        awaited.fail(OSError())
        self.assertEqual(1, await awaited.future)

    async def test_a_failure_is_raised(self):
        awaited = futures.Awaited()
        awaited.fail(OSError())
        with self.assertRaises(OSError):
            await awaited.future

    async def test_nobody_need_wait(self):
        complaints = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: complaints.append(context))
        gone = futures.Awaited()
        gone.future.cancel()
        gone.fail(OSError())
        futures.Awaited().fail(OSError())
        await asyncio.sleep(0)
        gc.collect()
        self.assertEqual([], complaints)
