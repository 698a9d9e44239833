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
import unittest

from sheepdog.cluster import desk as desk_module
from sheepdog.model import errors


class DeskTest(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        self.state = types.SimpleNamespace(created=1, epoch=5)
        self.epoch = None
        self.announced = []
        self.kind = 'vdi-create'
        self.desk = desk_module.Desk(None, self, self.announced.append,
                                     lambda: self.state,
                                     lambda: self.epoch or self.state.epoch)
        task = asyncio.ensure_future(self.desk.run())
        self.addAsyncCleanup(self.stop, task)

    async def stop(self, task):
        task.cancel()
        await asyncio.wait([task])

    async def carry_out(self, kind, arguments):
        self.state.epoch += arguments['meanwhile']
        return {'kind': self.kind}, 'done'

    async def ask(self, meanwhile=0, **later):
        """What comes of it when the state is like that at its turn."""
        asked = asyncio.ensure_future(self.desk.ask(
            'a', self.kind, {'meanwhile': meanwhile}))
        while not self.announced:
            await asyncio.sleep(0)
        announcement = self.announced.pop()
        for name, value in later.items():
            setattr(self.state, name, value)
        try:
            announcement.succeed(announcement.decide(self.state)[1])
        except errors.SheepdogError as error:
            announcement.fail(error)
        return await asked

    async def test_nothing_has_changed(self):
        self.assertEqual('done', await self.ask())

    async def test_it_was_written_in_a_later_epoch_than_it_began(self):
        """All of it: that, who writes it sees to."""
        self.assertEqual('done', await self.ask(meanwhile=1))

    async def test_an_epoch_began_after_it_was_written(self):
        """Asked for again, it is written to the places of now."""
        with self.assertRaisesRegex(errors.NotServing, 'epoch'):
            await self.ask(epoch=6)
        self.assertEqual('done', await self.ask())

    async def test_the_next_epoch_is_announced_but_has_not_come_here(self):
        self.epoch = 4
        with self.assertRaisesRegex(errors.NotServing, 'epoch'):
            await self.ask()

    async def test_what_writes_nothing_new_may_span_epochs(self):
        self.kind = 'vdi-delete'
        self.assertEqual('done', await self.ask(epoch=6))

    async def test_a_format(self):
        with self.assertRaisesRegex(errors.NotServing, 'formatted'):
            await self.ask(created=2)
