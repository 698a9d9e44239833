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
import types

from sheepdog.cluster import leader
from sheepdog.tests.unit import jumping


class PauseTest(jumping.Case):

    async def test_it_ends_when_kicked_in_the_moment_of_its_end(self):
        """Between the kick and the end of the pause lie some turns of the
        loop; in whichever of them it is cancelled, it is."""
        for turns in range(6):
            kicked = asyncio.Event()
            pause = asyncio.ensure_future(leader.Leader._pause(
                types.SimpleNamespace(
                    _kicked=kicked, _pace=types.SimpleNamespace(welcome=60.0),
                    _epochs=types.SimpleNamespace(
                        is_soon_more=lambda: True))))
            for _ in range(3):
                await asyncio.sleep(0)
            kicked.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            if pause.cancel():
                with self.assertRaises(asyncio.CancelledError):
                    await pause
