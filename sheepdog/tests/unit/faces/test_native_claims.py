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


"""Tests of sheepdog.faces.native.claims."""

import asyncio
import types
from unittest import mock

from sheepdog.faces.native import claims
from sheepdog.model import errors
from sheepdog.tests.unit import jumping

VDI = 0x7C2B25


class FakeVolumes:
    """As ``volumes.Volumes``, for one sheep alone."""

    def __init__(self):
        self.claimed = set()
        self.on_follow = []

    async def claim(self, vdi_id, shared):
        self.claimed.add(vdi_id)

    async def release(self, vdi_id):
        if vdi_id not in self.claimed:
            raise errors.VdiNotLocked('not locked')
        self.claimed.remove(vdi_id)

    def is_claimed(self, vdi_id):
        return vdi_id in self.claimed


class FakeWorld:
    """Its clock is moved by hand."""

    def __init__(self):
        self.now = 0.0
        self.clock = types.SimpleNamespace(monotonic=lambda: self.now)
        self.tasks = []

    def spawn(self, coroutine, name=''):
        self.tasks.append(asyncio.ensure_future(coroutine))


class FakeSession:

    def __init__(self):
        self.used = {}


class ClaimsTest(jumping.Case):

    def setUp(self):
        self.world = FakeWorld()
        self.volumes = FakeVolumes()
        self.claims = claims.Claims(self.world, self.volumes)
        # The pauses of the watch: a turn of the loop each.
        sleep = asyncio.sleep
        patched = mock.patch.object(claims.asyncio, 'sleep',
                                    lambda _seconds: sleep(0))
        patched.start()
        self.addCleanup(patched.stop)

    def session(self):
        return FakeSession()

    async def turns(self):
        for _turn in range(10):
            await asyncio.sleep(0)

    async def test_taken_and_given_back(self):
        session = self.session()
        await self.claims.lock(session, VDI, False)
        self.assertTrue(self.volumes.is_claimed(VDI))
        await self.claims.unlock(VDI)
        self.assertFalse(self.volumes.is_claimed(VDI))
        with self.assertRaises(errors.VdiNotLocked):
            await self.claims.unlock(VDI)
        await self.turns()
        self.assertTrue(all(task.done() for task in self.world.tasks))

    async def test_alone_while_another_is_connected(self):
        user = self.session()
        await self.claims.lock(self.session(), VDI, False)
        self.claims.use(user, VDI)
        with self.assertRaises(errors.VdiLocked):
            await self.claims.lock(self.session(), VDI, False)
        self.claims.forget(user)
        await self.claims.lock(self.session(), VDI, False)
        # It was locked twice, by one after the other: once is enough.
        await self.claims.unlock(VDI)
        self.assertFalse(self.volumes.is_claimed(VDI))

    async def test_shared_until_the_last_gives_it_back(self):
        for _client in range(3):
            await self.claims.lock(self.session(), VDI, True)
        for _client in range(2):
            await self.claims.unlock(VDI)
            self.assertTrue(self.volumes.is_claimed(VDI))
        await self.claims.unlock(VDI)
        self.assertFalse(self.volumes.is_claimed(VDI))

    async def test_clients_that_went_without_a_word(self):
        user = self.session()
        for _client in range(2):
            await self.claims.lock(self.session(), VDI, True)
        self.claims.use(user, VDI)
        await self.turns()
        self.world.now += claims.IDLE_SECONDS + 1
        await self.turns()
        self.assertTrue(self.volumes.is_claimed(VDI))
        self.claims.forget(user)
        self.world.now += claims.IDLE_SECONDS + 1
        await self.turns()
        self.assertFalse(self.volumes.is_claimed(VDI))

    async def test_lost_and_taken_anew(self):
        await self.claims.lock(self.session(), VDI, True)
        self.volumes.claimed.clear()
        await self.claims.lock(self.session(), VDI, True)
        await self.claims.unlock(VDI)
        self.assertFalse(self.volumes.is_claimed(VDI))
        await self.turns()
        self.assertTrue(all(task.done() for task in self.world.tasks))
