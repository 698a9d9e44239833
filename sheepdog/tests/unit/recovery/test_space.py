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


"""Tests of sheepdog.recovery.space: objects of a form that their VDI is being
turned from. (Strips, and copies that nobody needs: see the simulator.)"""

from sheepdog.model import ids
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping

VDI = 1
COUNT = 6


class TurnedTest(jumping.Case):
    """A VDI of ``COUNT`` objects is being turned from three copies to 2:1.
    """

    async def asyncSetUp(self):
        self.flock = flock.Flock(3)
        self.flock.form()
        self.flock.make_vdi(VDI)
        await self.flock.settled()
        self.a, self.b, self.c = self.flock.alive()
        for index in range(COUNT):
            await self.a.gateway.write_wait(VDI << 32 | index, 0, b'x',
                                            create=True)
        self.flock.event({'kind': 'vdi-alter', 'changes': [[VDI, 3, 0x11]]})
        self.flock.change_view()
        await self.flock.settled()

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    def tell(self, begin, below, left=(), copied=()):
        self.flock.lock(self.a, VDI)
        self.flock.event({
            'kind': 'vdi-turning', 'vdi_id': VDI, 'form': 1,
            'owner': self.a.cluster.incarnation, 'below': below,
            'left': list(left), 'begin': begin, 'copied': list(copied)})
        self.flock.unlock(self.a, VDI)

    async def left(self, *indexes):
        """…on all sheep that live, and soon."""
        await flock.until(lambda: all(
            [ids.index_of(oid) for oid in sheep.store.oids()]
            == list(indexes) for sheep in self.flock.alive()))
        await self.flock.settled()
        for sheep in self.flock.alive():
            self.assertEqual(list(indexes), [
                ids.index_of(oid) for oid in sheep.store.oids()])
            self.assertEqual([], sheep.store.aside)

    async def test_they_go_at_once(self):
        await self.left(0, 1, 2, 3, 4, 5)
        self.tell(0, 3, left=[1])
        await self.left(1, 3, 4, 5)
        self.tell(3, 5, copied=[1])
        await self.left(5)

    async def test_who_was_away_gives_them_back_later(self):
        self.flock.kill(3)
        self.flock.change_view()
        await self.flock.settled()
        self.tell(0, 4, left=[1])
        await self.left(1, 4, 5)
        self.flock.restart(self.c)
        self.flock.change_view()
        await self.left(1, 4, 5)

    async def test_what_went_is_not_brought_back(self):
        self.flock.lapse(self.c)
        self.tell(0, 4)
        for oid in self.c.store.oids()[4:]:
            del self.c.store.objects[oid]
        self.flock.rejoin(self.c)
        await self.left(4, 5)
