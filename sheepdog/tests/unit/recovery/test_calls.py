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

from sheepdog.model import errors
from sheepdog.recovery import calls
from sheepdog.tests.unit import jumping


class TestWaitFor(jumping.Case):

    async def call(self, error):
        await calls.wait_for(
            lambda oid, done: asyncio.get_running_loop().call_soon(
                done, error), 5)

    async def test_outcomes(self):
        await self.call(None)
        # What should go is gone.
        await self.call(errors.NoObject('none'))
        with self.assertRaises(errors.NoSpace):
            await self.call(errors.NoSpace('full'))
