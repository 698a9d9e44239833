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

from sheepdog.gateway import orders
from sheepdog.model import errors
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.gateway import case
from sheepdog.wire import peer as wire

VDI = case.VDI


class TestOrders(case.FlockCase):
    """Requests as other gateways send them, and as none should."""

    async def ask(self, opcode, to=None, oid=None, by=None, **fields):
        to = to or self.a
        fields.setdefault('epoch', self.a.replica.epoch)
        if opcode in orders.KIND_OF:
            fields.setdefault('aux', to.gateway.order.serial(VDI) << 8)
        link = (by or self.b).links.data(to.member)
        return await asyncio.wait_for(link.call(
            opcode, oid=self.oid if oid is None else oid, **fields), 5)

    async def test_each_kind(self):
        await self.ask(wire.ORDER_WRITE, token=1, payload=b'abcd',
                       flags=wire.FLAG_CREATE | wire.FLAG_DURABLE)
        await self.ask(wire.ORDER_ZERO, token=2, offset=1,
                       payload=(2).to_bytes(4, 'little'))
        _, _, data = await self.ask(wire.ORDER_READ, aux=4)
        self.assertEqual(data, b'a\0\0d')
        await self.ask(wire.ORDER_FLUSH)
        await self.ask(wire.ORDER_REMOVE, token=3)
        with self.assertRaises(errors.NoObject):
            await self.ask(wire.ORDER_READ, aux=4)
        self.assertEqual(self.a.gateway.turns.table, {})

    async def test_another_epoch(self):
        for opcode in (wire.ORDER_WRITE, wire.ORDER_READ):
            with self.assertRaises(errors.StaleEpoch):
                await self.ask(opcode, epoch=7, payload=b'x')

    async def test_no_lease(self):
        self.a.cluster.lease = False
        with self.assertRaises(errors.NotServing):
            await self.ask(wire.ORDER_WRITE, payload=b'x')
        self.a.cluster.lease = True

    async def test_not_the_one_who_orders(self):
        for opcode in (wire.ORDER_WRITE, wire.ORDER_READ, wire.ORDER_ZERO,
                       wire.ORDER_REMOVE):
            with self.assertRaises(errors.StaleOrder):
                await self.ask(opcode, to=self.c, payload=b'x')
        self.flock.lock(self.c, VDI)
        with self.assertRaises(errors.StaleOrder):
            await self.ask(wire.ORDER_WRITE, payload=b'x')

    async def test_one_that_was_sent_before_the_lock_changed(self):
        """Its gateway has been unlocked by force, and does not know yet."""
        for sheep in self.b, self.c:
            self.flock.lock(sheep, VDI, 'shared')
        old = self.b.gateway.order.serial(VDI) << 8
        await self.ask(wire.ORDER_WRITE, token=1, payload=b'one', aux=old,
                       flags=wire.FLAG_CREATE)
        self.flock.unlock(self.b, VDI, force=True)
        for opcode, payload in ((wire.ORDER_WRITE, b'old'),
                                (wire.ORDER_ZERO, (3).to_bytes(4, 'little')),
                                (wire.ORDER_REMOVE, b'')):
            with self.assertRaises(errors.StaleOrder):
                await self.ask(opcode, token=2, payload=payload, aux=old)
        _, _, data = await self.ask(wire.ORDER_READ, aux=3)
        self.assertEqual(data, b'one')
        await self.ask(wire.ORDER_WRITE, token=3, payload=b'new')
        _, _, data = await self.ask(wire.ORDER_READ, aux=3)
        self.assertEqual(data, b'new')

    async def test_nonsense(self):
        with self.assertRaises(errors.InvalidParameters):
            await self.ask(wire.ORDER_ZERO, payload=b'x')
        self.assertEqual(self.a.gateway.turns.table, {})

    async def test_the_same_write_once_more(self):
        """Sent again, since the answer was lost: it was applied, and
        somebody has written since."""
        flags = wire.FLAG_CREATE
        place = self.b.gateway.changes.complete_below()[0]
        token = place << 48 | 1000
        await self.ask(wire.ORDER_WRITE, token=token, payload=b'one',
                       flags=flags)
        await self.must_write(self.c, b'two')
        await self.ask(wire.ORDER_WRITE, token=token, payload=b'one',
                       flags=flags | wire.FLAG_RETRY)
        await self.assert_at_rest(b'two')

    async def test_a_write_once_more_that_never_came(self):
        await self.ask(wire.ORDER_WRITE, token=1 << 48 | 1000,
                       payload=b'one',
                       flags=wire.FLAG_CREATE | wire.FLAG_RETRY)
        await self.assert_at_rest(b'one')

    async def with_a_fourth(self):
        """All four sheep; the last one has no copy of ``oid``."""
        self.flock.add('10.0.0.4')
        self.flock.change_view()
        await self.flock.settled()
        await self.connect()
        sheep = self.flock.alive()
        self.oid = self.flock.oid_held_by(*sheep[:3])
        return sheep

    async def test_where_the_orderer_has_no_copy(self):
        """It asks a copy whether the write was applied before."""
        a, b, c, d = await self.with_a_fourth()
        self.flock.lock(d, VDI)
        token = self.flock._newest_state().view.members.index(
            b.member) << 48 | 1000
        await self.ask(wire.ORDER_WRITE, to=d, token=token, payload=b'one',
                       flags=wire.FLAG_CREATE)
        await self.must_write(c, b'two')
        await self.ask(wire.ORDER_WRITE, to=d, token=token, payload=b'one',
                       flags=wire.FLAG_RETRY)
        await self.assert_at_rest(b'two')
        await self.ask(wire.ORDER_WRITE, to=d, token=token + 1,
                       payload=b'six', flags=wire.FLAG_RETRY)
        await self.assert_at_rest(b'six')

    async def test_a_doubtful_copy_is_not_asked(self):
        """What it has may yet be taken back."""
        a, b, c, d = await self.with_a_fourth()
        await self.must_write(a, b'old')
        self.flock.lock(d, VDI)
        await self.flock.settled()
        token = self.flock._newest_state().view.members.index(
            b.member) << 48 | 1000
        # It reached A only, by another way.
        a.replica.marks.note(self.oid, token)
        a.store.objects[self.oid].data[:3] = b'new'
        describe = a.recovery.describe

        async def doubtful(oid):
            a.recovery.standing.doubt(oid)
            state = await describe(oid)
            a.recovery.describe = describe
            return state

        a.recovery.describe = doubtful
        await self.ask(wire.ORDER_WRITE, to=d, token=token, payload=b'new',
                       flags=wire.FLAG_RETRY)
        await self.assert_at_rest(b'new')

    async def test_whoever_asked_may_be_gone_when_the_answer_comes(self):
        self.hold(self.a, self.c)
        call = asyncio.ensure_future(self.ask(
            wire.ORDER_WRITE, payload=b'x', flags=wire.FLAG_CREATE))
        await asyncio.sleep(0.01)
        self.fabric.sever(self.b.name)
        with self.assertRaises(errors.Unreachable):
            await call
        self.release(self.a, self.c)
        await flock.until(lambda: not self.a.gateway.turns.table)
        await self.assert_at_rest(b'x')
        self.assertEqual(self.a.server.inflight, 0)
