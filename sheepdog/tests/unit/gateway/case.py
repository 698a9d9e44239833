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

"""What the tests of the gateway share."""

import asyncio
from unittest import mock

from sheepdog.recovery import recovery
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.wire import peer as wire

BLOCK = flock.BLOCK
VDI = 1


class FlockCase(jumping.Case):
    """Sheep ``a``, ``b``, ``c``: targets of ``oid``, in this order (so that
    ``a`` orders it while nobody has locked the VDI)."""

    copies = 3
    is_strict = False

    async def asyncSetUp(self):
        patch = mock.patch.object(recovery, 'PAUSE_SECONDS', 0.005)
        patch.start()
        self.addCleanup(patch.stop)
        self.flock = flock.Flock(3, self.copies)
        self.fabric = self.flock.fabric
        self.flock.options['strict'] = self.is_strict
        self.flock.form()
        self.flock.make_vdi(VDI)
        await self.flock.settled()
        self.a, self.b, self.c = self.flock.alive()
        self.oid = self.flock.oid_held_by(
            *(self.a, self.b, self.c)[:self.copies])
        await self.connect()

    async def connect(self):
        """All links are up: what is held is held behind the greeting."""
        for one in self.flock.alive():
            for member in one.cluster.view.members:
                if member.incarnation != one.cluster.incarnation:
                    await one.links.data(member).call(wire.PING)

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    def hold(self, source, target):
        self.fabric.hold(source.name, target.name)

    def release(self, source, target):
        self.fabric.release(source.name, target.name)

    def write(self, sheep, data, offset=0, oid=None, **how):
        """Returns the list of what ``done`` is called with."""
        answers = []
        how.setdefault('create', True)
        sheep.gateway.write(self.oid if oid is None else oid, offset, data,
                            answers.append, **how)
        return answers

    def read(self, sheep, offset=0, size=BLOCK, oid=None):
        answers = []
        sheep.gateway.read(self.oid if oid is None else oid, offset, size,
                           lambda *answer: answers.append(answer))
        return answers

    async def done(self, *all_answers):
        """Each is answered, once."""
        await flock.until(lambda: all(all_answers))
        await flock.turns()
        for answers in all_answers:
            self.assertEqual(len(answers), 1)
        if len(all_answers) == 1:
            return all_answers[0][0]
        return [answers[0] for answers in all_answers]

    async def must_write(self, sheep, data, offset=0, **how):
        self.assertIsNone(await self.done(
            self.write(sheep, data, offset, **how)))

    async def must_read(self, sheep, size=BLOCK, offset=0):
        error, data = await self.done(self.read(sheep, offset, size))
        self.assertIsNone(error)
        return data

    def content(self, sheep, size=1, offset=0):
        obj = sheep.store.objects.get(self.oid)
        return None if obj is None else bytes(obj.data[offset:offset + size])

    async def assert_at_rest(self, data):
        """All copies hold the data, and nothing is left of it all."""
        await self.flock.settled()
        self.assertEqual([self.content(s, len(data))
                          for s in self.flock.targets(self.oid)],
                         [data] * self.copies)
        await asyncio.sleep(0)
        for sheep in self.flock.alive():
            self.assertEqual(sheep.gateway.turns.table, {})
            self.assertEqual(sheep.gateway.inflight, 0)
