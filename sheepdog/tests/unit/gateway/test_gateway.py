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
import random

from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.testing import checkers
from sheepdog.tests.unit.gateway import case
from sheepdog.wire import peer as wire

BLOCK = case.BLOCK
VDI = case.VDI


class TestGateway(case.FlockCase):

    async def test_extents(self):
        for offset in (0, 4 * BLOCK, 5 * BLOCK):
            await self.must_write(self.a, b'x' * BLOCK, offset)
        for sheep in self.flock.alive():
            self.assertEqual(
                [tuple(e) for e in await sheep.gateway.extents(self.oid)],
                [(0, BLOCK), (4 * BLOCK, 2 * BLOCK)])
            with self.assertRaises(errors.NoObject):
                await sheep.gateway.extents(VDI << 32 | 999)

    async def test_extents_of_a_copy_under_recovery(self):
        await self.must_write(self.a, b'x' * BLOCK)
        self.a.store.objects[self.oid].data[:BLOCK] = bytes(BLOCK)
        self.a.recovery.doubt(self.oid)
        self.assertEqual(
            [tuple(e) for e in await self.a.gateway.extents(self.oid)],
            [(0, BLOCK)])

    async def test_extents_wait_for_a_view(self):
        await self.must_write(self.a, b'x' * BLOCK)
        self.flock.freeze()
        extents = asyncio.ensure_future(self.b.gateway.extents(self.oid))
        await asyncio.sleep(0.02)
        self.assertFalse(extents.done())
        self.flock.change_view()
        self.assertEqual([tuple(e) for e in await extents], [(0, BLOCK)])

    async def test_what_is_complete_is_declared(self):
        await self.must_write(self.b, b'x')
        self.assertEqual(self.c.replica.marks.unstable_objects(), [self.oid])
        await self.b.gateway.declare_now()
        for sheep in self.flock.alive():
            self.assertEqual(sheep.replica.marks.unstable_objects(), [])

    async def test_a_replica_that_we_never_spoke_to_hears_it_too(self):
        await self.must_write(self.b, b'x')
        # Ordered by another, so nothing of ours need ever have gone there.
        link = self.b.links.data(self.c.member)
        link.close()
        self.assertFalse(self.b.links.data(self.c.member).is_ready)
        self.assertEqual(self.c.replica.marks.unstable_objects(), [self.oid])
        await self.b.gateway.declare_now()
        self.assertEqual(self.c.replica.marks.unstable_objects(), [])

    async def test_what_was_declared_in_vain_is_declared_again(self):
        await self.must_write(self.a, b'x')
        gateway = self.a.gateway
        # As if it had come while the others were at another epoch.
        gateway._declared = (gateway.replica.epoch,
                             gateway.changes.complete_below()[1])
        gateway._declare()
        self.assertEqual(self.c.replica.marks.unstable_objects(), [self.oid])
        await gateway.declare_now()
        self.assertEqual(self.c.replica.marks.unstable_objects(), [])

    async def test_what_is_under_way_is_not_declared(self):
        self.hold(self.a, self.c)
        answers = self.write(self.a, b'x')
        await self.must_write_elsewhere()
        await self.b.gateway.declare_now()
        self.a.gateway._declare()
        await asyncio.sleep(0.01)
        self.assertIn(self.oid, self.b.replica.marks.unstable_objects())
        self.release(self.a, self.c)
        self.assertIsNone(await self.done(answers))

    async def must_write_elsewhere(self):
        other = self.flock.oid_held_by(self.b, self.a, self.c)
        self.assertIsNone(await self.done(
            self.write(self.b, b'x', oid=other)))

    async def test_a_late_declaration_counts_for_nothing(self):
        await self.must_write(self.a, b'x')
        link = self.a.links.data(self.b.member)
        link.tell(wire.STABLE, 99, 0 << 48 | 1000)
        await link.call(wire.PING)
        self.assertEqual(self.b.replica.marks.unstable_objects(), [self.oid])

    async def test_what_is_under_way_does_not_survive_a_format(self):
        self.hold(self.a, self.c)
        answers = self.write(self.a, b'x')
        await asyncio.sleep(0.01)
        self.flock.reformat()
        self.flock.make_vdi(VDI)
        self.release(self.a, self.c)
        self.assertIsInstance(await self.done(answers), errors.NotServing)
        await self.flock.settled()
        self.assertEqual([[], [], []], [sheep.store.oids()
                                        for sheep in self.flock.alive()])

    async def test_connections_to_those_who_left_are_closed(self):
        link = self.a.links.data(self.c.member)
        self.flock.kill(3)
        self.flock.change_view()
        self.assertTrue(link.closed)
        self.assertEqual(len(self.a.links.ready()), 1)

    async def test_counters(self):
        await self.must_write(self.a, b'xyz')
        await self.must_read(self.a, 2)
        await self.a.gateway.flush(VDI)
        counters = self.a.gateway.counters
        self.assertEqual(
            [counters[k] for k in ('write', 'bytes_written', 'read',
                                   'bytes_read', 'flush')], [1, 3, 1, 2, 1])

    async def test_futures(self):
        future, done = operation.future()
        done(None, b'x')
        done(errors.NoObject('late'))
        self.assertEqual(await future, b'x')
        future, done = operation.future()
        future.cancel()
        done(None)


class TestHavoc(case.FlockCase):
    """Writers and readers on all sheep at the same blocks, while sheep,
    connections and locks come and go: one order, nothing lost, nothing
    left behind."""

    BLOCKS = 3
    SECONDS = 0.8
    THINK_SECONDS = 0.005
    """Of a client, between two requests: else no time would go by."""

    async def client(self, name, chance, stop):
        while not stop:
            await asyncio.sleep(chance.random() * self.THINK_SECONDS)
            sheep = self.flock.sheep.get(name)
            if sheep is None or not sheep.is_alive:
                continue
            block = chance.randrange(self.BLOCKS)
            self.moment += 1
            op = checkers.Operation(
                checkers.READ if chance.random() < 0.5 else checkers.WRITE,
                self.moment, self.moment, who=name)
            if op.kind == checkers.WRITE:
                self.history[block].append(op)
                call = sheep.gateway.write_wait(
                    self.oid, block * BLOCK,
                    op.value.to_bytes(8, 'little') * (BLOCK // 8),
                    chance.random() < 0.5, create=True)
            else:
                call = sheep.gateway.read_wait(self.oid, block * BLOCK,
                                               BLOCK)
            task = asyncio.ensure_future(call)
            while not task.done():
                await asyncio.wait([task], timeout=0.02)
                if sheep in self.flock.retired:
                    break
            if not task.done():
                task.cancel()
                continue
            try:
                data = task.result()
            except (errors.NoObject, errors.NotServing):
                continue
            if op.kind == checkers.READ:
                op.value = int.from_bytes(data[:8], 'little')
                if data != data[:8] * (BLOCK // 8):
                    op.value = checkers.TORN
                self.history[block].append(op)
            self.moment += 1
            op.end = self.moment
            self.completed += 1

    async def mischief(self, chance):
        flock_ = self.flock
        verb = chance.choice(('kill', 'kill', 'sever', 'lock', 'unlock',
                              'view', 'hold', 'lapse', 'massacre', 'stop'))
        sheep = chance.choice(flock_.alive())
        if verb == 'kill':
            if len(flock_.alive()) > 1:
                flock_.kill(int(sheep.name[-1]))
                await asyncio.sleep(chance.random() * 0.01)
                flock_.change_view()
                await asyncio.sleep(chance.random() * 0.08)
            for old in list(flock_.retired):
                if old.name not in flock_.sheep:
                    flock_.restart(old)
            flock_.change_view()
        elif verb == 'massacre':
            # One after the other, each before the last is whole again.
            for _ in range(6):
                down = [old for old in flock_.retired
                        if old.name not in flock_.sheep]
                if len(flock_.alive()) > 1 and chance.random() < 0.6:
                    flock_.kill(int(chance.choice(flock_.alive()).name[-1]))
                elif down:
                    flock_.restart(down[0])
                flock_.change_view()
                await asyncio.sleep(chance.random() * 0.02)
            for old in list(flock_.retired):
                if old.name not in flock_.sheep:
                    flock_.restart(old)
            flock_.change_view()
        elif verb == 'stop':
            for one in flock_.alive():
                flock_.kill(int(one.name[-1]))
                await asyncio.sleep(chance.random() * 0.003)
            for old in flock_.retired[-3:]:
                flock_.restart(old)
            flock_.change_view(cold=True)
        elif verb == 'sever':
            self.fabric.sever(sheep.name)
        elif verb == 'lock':
            try:
                flock_.lock(sheep, VDI)
            except errors.VdiLocked:
                pass
        elif verb == 'unlock':
            lock = sheep.cluster.state.locks.get(VDI)
            if lock:
                flock_.event({'kind': 'unlock', 'vdi_id': VDI,
                              'owner': lock.owners[0], 'force': True})
        elif verb == 'view':
            flock_.change_view()
        elif verb == 'hold':
            other = chance.choice(flock_.alive())
            self.fabric.hold(sheep.name, other.name)
            await asyncio.sleep(chance.random() * 0.02)
            self.fabric.release(sheep.name, other.name)
        else:
            flock_.lapse(sheep)
            await asyncio.sleep(chance.random() * 0.02)
            flock_.rejoin(sheep)

    async def run_seed(self, seed):
        chance = random.Random(seed)
        self.moment = self.completed = 0
        self.history = [[] for _ in range(self.BLOCKS)]
        stop = []
        clients = [asyncio.ensure_future(self.client(
            '10.0.0.%d' % (n % 3 + 1), random.Random(seed * 100 + n), stop))
            for n in range(9)]
        loop = asyncio.get_running_loop()
        until = loop.time() + self.SECONDS
        while loop.time() < until:
            await asyncio.sleep(chance.random() * 0.08)
            await self.mischief(chance)
        stop.append(True)
        await asyncio.wait_for(asyncio.gather(*clients), 10)
        self.assertTrue(self.completed)
        await self.flock.settled()
        for block, history in enumerate(self.history):
            violation = checkers.first_violation(history)
            self.assertIsNone(violation, 'seed %d, block %d: %s'
                              % (seed, block, violation))
        self.assertEqual(len(self.flock.copies_of(self.oid)), 1)
        for sheep in self.flock.alive():
            self.assertEqual(sheep.gateway.turns.table, {})
            self.assertEqual(sheep.gateway.inflight, 0)

    async def test_one(self):
        await self.run_seed(1)

    async def test_two(self):
        await self.run_seed(2)
