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
import collections
import types
import unittest

from sheepdog.cluster import desk
from sheepdog.cluster import leader
from sheepdog.model import errors
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


class AnnounceTest(unittest.IsolatedAsyncioTestCase):
    """A change, and what is refused for its sake, in one message."""

    async def asyncSetUp(self):
        self.heard = asyncio.Event()
        self.error = None

        async def announce(_records):
            await self.heard.wait()
            if self.error is not None:
                raise self.error

        def change(_state):
            return {'kind': 'some'}, 'done'

        def refuse(_state):
            raise errors.NoVdi('it is a snapshot now')

        self.leader = types.SimpleNamespace(
            _queue=collections.deque(
                desk.Announcement(name, decide) for name, decide in (
                    ('a', change), ('b', refuse))),
            _sequencer=types.SimpleNamespace(
                state=types.SimpleNamespace(operations={}), standing=set(),
                add=lambda *_: 'a record', announce=announce),
            _epochs=types.SimpleNamespace(is_due=False))
        self.asked = list(self.leader._queue)

    async def announce(self):
        running = asyncio.ensure_future(
            leader.Leader._announce(self.leader))
        for _ in range(5):
            await asyncio.sleep(0)
        self.assertEqual([False, False], [
            one.future.done() for one in self.asked])
        self.heard.set()
        await asyncio.wait([running])
        return running

    async def test_refused_when_all_have_heard_of_what_came_before(self):
        (await self.announce()).result()
        self.assertEqual('done', await self.asked[0].future)
        with self.assertRaises(errors.NoVdi):
            await self.asked[1].future

    async def test_it_is_not_known_whether_they_have(self):
        """…then the next leader is asked, who may not know of it."""
        self.error = errors.NotServing('the lease is gone')
        running = await self.announce()
        self.assertIs(self.error, running.exception())
        for one in self.asked:
            with self.assertRaises(errors.NotServing):
                await one.future
