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
from sheepdog.peer import answers
from sheepdog.peer import replica as replica_module
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.wire import peer as wire

BLOCK = flock.BLOCK
VDI = 1


class Guard:
    """Says what the test says."""

    def __init__(self):
        self.active = self.inherits = False
        self.needed = set()
        self.hastened = []
        self.doubted = []
        self.gate = None
        self.error = None
        self.repairable = False

    def needs(self, oid):
        return oid in self.needed

    async def ensure(self, oid):
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.needed.discard(oid)

    ensure_for = ensure_read = ensure

    def hasten(self, oid):
        self.hastened.append(oid)

    def doubt(self, oid, is_missed=False):
        self.doubted.append(oid)

    def is_repairable(self, oid):
        return self.repairable

    async def describe(self, oid):
        return {'oid': oid}


class ReplicaCase(jumping.Case):
    """One of three sheep; what the others would say is said by hand."""

    async def asyncSetUp(self):
        self.flock = flock.Flock(3)
        self.flock.form()
        self.flock.make_vdi(VDI)
        await self.flock.settled()
        self.sheep = self.flock[1]
        self.replica = self.sheep.replica
        self.store = self.sheep.store
        self.guard = self.replica.guard = Guard()
        self.oid = self.flock.oid_held_by(*self.flock.alive())
        self.count = 0

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    def aux(self, serial=None):
        if serial is None:
            serial = self.sheep.order.serial(VDI)
        return flock.SHIFT | serial << 8

    def write(self, data=b'x', epoch=1, oid=None, serial=None, token=None,
              offset=0, durable=True, create=True):
        self.count += 1
        answers = flock.Answers()
        self.replica.write(
            epoch, oid or self.oid, token or 1 << 48 | self.count,
            self.aux(serial), offset, data, durable, create, answers)
        return answers

    def read(self, epoch=1, serial=0, raw=False, size=1, offset=0):
        answers = flock.Answers()
        self.replica.read(epoch, self.oid, serial, offset, size, answers,
                          raw)
        return answers

    async def done(self, answers):
        await flock.until(lambda: answers)
        await flock.turns()
        self.assertEqual(len(answers), 1)
        return answers[0]

    async def refused(self, answers, error):
        self.assertIsInstance((await self.done(answers))[0], error)


class TestChecks(ReplicaCase):

    async def test_what_is_right_passes(self):
        self.assertEqual(await self.done(self.write(b'abc')), (None,))
        self.assertEqual(await self.done(self.read(size=3)),
                         (None, b'abc'))

    async def test_another_epoch(self):
        await self.done(self.write())
        for epoch in (0, 2):
            await self.refused(self.write(epoch=epoch), errors.StaleEpoch)
            await self.refused(self.read(epoch=epoch), errors.StaleEpoch)
            await self.refused(self.read(epoch=epoch, raw=True),
                               errors.StaleEpoch)

    async def test_no_lease(self):
        self.sheep.cluster.lease = False
        await self.refused(self.write(), errors.NotServing)
        await self.refused(self.read(), errors.NotServing)
        await self.refused(self.read(raw=True), errors.NotServing)
        self.assertEqual(self.store.log, [])

    async def test_another_lock(self):
        await self.done(self.write())
        self.flock.lock(self.flock[2], VDI)
        serial = self.sheep.order.serial(VDI)
        self.assertGreater(serial, 0)
        await self.refused(self.write(serial=0), errors.StaleOrder)
        await self.refused(self.read(serial=0), errors.StaleOrder)
        self.assertEqual(await self.done(self.write(serial=serial)),
                         (None,))
        # Recovery reads what is there, whoever orders.
        self.assertEqual(await self.done(self.read(raw=True)), (None, b'x'))

    async def test_frozen(self):
        self.flock.freeze()
        await self.refused(self.write(), errors.NotServing)
        await self.refused(self.read(), errors.NotServing)

    async def test_an_epoch_that_was_given_up(self):
        self.flock.freeze()
        for sheep in self.flock.alive():
            sheep.cluster.status = flock.api.Status.OK
        self.flock.event({'kind': 'resume'})
        self.assertEqual(await self.done(self.write()), (None,))

    async def test_zero_and_remove_are_checked_likewise(self):
        await self.done(self.write(b'abc'))
        for epoch, aux, error in ((2, self.aux(), errors.StaleEpoch),
                                  (1, self.aux(9), errors.StaleOrder)):
            for call, extra in ((self.replica.zero, (0, 1, True)),
                                (self.replica.remove, (True,))):
                answers = flock.Answers()
                call(epoch, self.oid, 5, aux, *extra, answers)
                await self.refused(answers, error)
        answers = flock.Answers()
        self.replica.zero(1, self.oid, 5, self.aux(), 1, 1, True, answers)
        self.assertEqual(await self.done(answers), (None,))
        self.assertEqual(await self.done(self.read(size=3)),
                         (None, b'a\0c'))
        answers = flock.Answers()
        self.replica.remove(1, self.oid, 6, self.aux(), True, answers)
        self.assertEqual(await self.done(answers), (None,))
        await self.refused(self.read(), errors.NoObject)

    async def test_only_what_may_be_is_created(self):
        await self.refused(self.write(create=False), errors.NoObject)
        self.assertEqual(self.replica.marks.unstable_objects(), [])
        await self.done(self.write())
        self.assertEqual(await self.done(self.write(create=False)), (None,))


class TestRecovering(ReplicaCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.done(self.write(b'old'))
        self.guard.active = True
        self.guard.needed.add(self.oid)
        self.guard.gate = asyncio.Event()

    async def test_a_read_goes_elsewhere(self):
        await self.refused(self.read(), errors.NotRecovered)
        self.assertEqual(self.guard.hastened, [self.oid])
        self.assertEqual(await self.done(self.read(raw=True)),
                         (None, b'o'))

    async def test_a_write_waits(self):
        answers = self.write(b'new')
        await asyncio.sleep(0.01)
        self.assertEqual(answers, [])
        self.assertNotIn(1 << 48 | self.count,
                         self.replica.marks.unstable(self.oid))
        self.guard.gate.set()
        self.assertEqual(await self.done(answers), (None,))
        self.assertEqual(bytes(self.store.objects[self.oid].data[:3]),
                         b'new')

    async def test_what_waited_is_checked_again(self):
        answers = self.write(b'new')
        await asyncio.sleep(0.01)
        self.flock.lock(self.flock[2], VDI)
        self.guard.gate.set()
        await self.refused(answers, errors.StaleOrder)
        self.assertEqual(bytes(self.store.objects[self.oid].data[:3]),
                         b'old')

    async def test_nothing_comes_of_what_was_sent_again_elsewhere(self):
        answers = self.write(b'new')
        await asyncio.sleep(0.01)
        answers.is_void = True
        self.guard.gate.set()
        await self.refused(answers, errors.Unreachable)
        self.assertEqual(bytes(self.store.objects[self.oid].data[:3]),
                         b'old')

    async def test_recovery_fails(self):
        self.guard.error = errors.NotRecovered('not now')
        self.guard.gate.set()
        await self.refused(self.write(b'new'), errors.NotRecovered)

    async def test_other_objects_are_not_held_up(self):
        self.assertEqual(await self.done(self.write(oid=self.oid + 1)),
                         (None,))


class TestMarksOfWrites(ReplicaCase):

    async def test_accepted_is_marked(self):
        self.store.is_slow = True
        answers = self.write(token=77)
        self.assertTrue(self.replica.marks.has(self.oid, 77))
        self.store.go_on()
        self.assertEqual(await self.done(answers), (None,))
        self.assertTrue(self.replica.marks.has(self.oid, 77))

    async def test_refused_is_not(self):
        self.store.refuse = lambda verb, oid: errors.NoSpace('full')
        await self.refused(self.write(token=77), errors.NoSpace)
        self.assertFalse(self.replica.marks.has(self.oid, 77))

    async def test_a_bad_block_may_be_tried_again(self):
        self.store.refuse = lambda verb, oid: errors.ChecksumError('bad')
        self.guard.repairable = True
        await self.refused(self.write(token=77), errors.NotRecovered)
        self.guard.repairable = False
        await self.refused(self.write(token=77), errors.ChecksumError)
        self.assertFalse(self.replica.marks.has(self.oid, 77))

    async def test_a_failing_device_that_is_left(self):
        """The others have copies of all: they are asked instead."""
        self.store.refuse = lambda verb, oid: errors.StorageError('EIO')
        for is_leaving, wanted in ((False, errors.StorageError),
                                   (True, errors.NotServing)):
            self.replica.is_leaving = is_leaving
            await self.refused(self.write(), wanted)
            self.assertIsInstance(await self.flush(), wanted)
            self.assertEqual(self.replica.marks.unstable_objects(), [])

    async def flush(self):
        future = asyncio.get_running_loop().create_future()
        self.replica.flush(future.set_result)
        return await future

    async def test_doubt_only_what_was_applied(self):
        await self.done(self.write(token=77))
        self.replica.doubt_if_applied(self.oid, 78)
        self.assertEqual(self.guard.doubted, [])
        self.replica.doubt_if_applied(self.oid, 77)
        self.assertEqual(self.guard.doubted, [self.oid])


class TestChangesOfOrder(ReplicaCase):
    """Which copies are doubtful, when who orders them changes."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        a, b, c = self.flock.alive()
        self.ours = self.flock.oid_held_by(a, b, c)
        self.theirs = self.flock.oid_held_by(b, a, c)
        for oid in (self.ours, self.theirs):
            await self.done(self.write(oid=oid))

    async def test_a_lock_by_somebody_else(self):
        self.flock.lock(self.flock[3], VDI)
        self.assertEqual(self.guard.doubted,
                         sorted([self.ours, self.theirs]))

    async def test_a_lock_by_who_orders_anyway(self):
        self.flock.lock(self.flock[2], VDI)
        self.assertEqual(self.guard.doubted, [self.ours])
        self.guard.doubted.clear()
        self.flock.unlock(self.flock[2], VDI)
        self.assertEqual(self.guard.doubted, [self.ours])

    async def test_a_shared_lock(self):
        self.flock.lock(self.flock[3], VDI, 'shared')
        self.assertEqual(self.guard.doubted, [])

    async def test_another_vdi(self):
        self.flock.make_vdi(2)
        self.flock.lock(self.flock[3], 2)
        self.assertEqual(self.guard.doubted, [])

    async def test_what_is_stable(self):
        self.replica.marks.declare_stable(1, self.count + 1)
        self.flock.lock(self.flock[3], VDI)
        self.assertEqual(self.guard.doubted, [])

    async def test_a_view_without_who_ordered(self):
        self.flock.kill(2)
        self.flock.change_view()
        self.assertIn(self.theirs, self.guard.doubted)

    async def test_a_view_without_the_gateway_of_a_write(self):
        """It may be brought to its end by who orders, or not."""
        self.replica.marks.clear()
        await self.done(self.write(oid=self.ours, token=2 << 48 | 5))
        self.flock.kill(3)
        self.flock.change_view()
        self.assertEqual(self.guard.doubted, [self.ours])
        self.assertEqual(self.replica.marks.unstable_objects(), [])

    async def test_a_view_with_all_of_them(self):
        self.flock.add('10.0.0.4')
        before = {oid: self.flock.orderer(oid).name
                  for oid in (self.ours, self.theirs)}
        self.flock.change_view()
        changed = [oid for oid, name in sorted(before.items())
                   if self.flock.orderer(oid).name != name]
        self.assertEqual(self.guard.doubted, changed)

    async def test_a_lock_and_a_view(self):
        self.flock.lock(self.flock[2], VDI)
        self.guard.doubted.clear()
        self.flock.kill(2)
        self.flock.change_view()
        # The owner ordered both, and the first target does now.
        self.assertEqual(self.guard.doubted,
                         sorted([self.ours, self.theirs]))

    async def test_indexes_of_origins_move(self):
        await self.done(self.write(oid=self.ours, token=2 << 48 | 9))
        self.flock.kill(2)
        self.flock.change_view()
        self.assertIn(1 << 48 | 9, self.replica.marks.unstable(self.ours))

    async def test_a_lapse_forgets(self):
        self.replica.on_lapse()
        self.assertEqual(self.replica.marks.unstable_objects(), [])
        self.assertEqual(self.replica.epoch, replica_module.NEVER)


class TestFromTheWire(ReplicaCase):

    async def ask(self, opcode, **fields):
        link = self.flock[2].links.data(self.sheep.member)
        fields.setdefault('epoch', 1)
        fields.setdefault('oid', self.oid)
        return await asyncio.wait_for(link.call(opcode, **fields), 5)

    async def test_each_opcode(self):
        await self.ask(wire.WRITE, token=1, aux=self.aux(), payload=b'abcd',
                       flags=wire.FLAG_CREATE | wire.FLAG_DURABLE)
        await self.ask(wire.ZERO, token=2, aux=self.aux(), offset=1,
                       payload=(2).to_bytes(4, 'little'))
        _, _, data = await self.ask(wire.READ, token=0, aux=4)
        self.assertEqual(data, b'a\0\0d')
        _, _, listed = await self.ask(wire.LIST)
        self.assertEqual(answers.unpack_list(listed).tolist(), [self.oid])
        _, _, table = await self.ask(wire.TABLE)
        self.assertEqual(table, await self.store.table(self.oid))
        _, _, extents = await self.ask(wire.EXTENTS)
        self.assertEqual(answers.unpack_extents(extents),
                         [(0, BLOCK)])
        _, _, state = await self.ask(wire.STATE)
        self.assertEqual(wire.unpack_json(state), {'oid': self.oid})
        await self.ask(wire.FLUSH)
        await self.ask(wire.RECOVER)
        await self.ask(wire.DOUBT, token=2)
        self.assertEqual(self.guard.doubted, [self.oid])
        await self.ask(wire.REMOVE, token=3, aux=self.aux())
        self.assertEqual(self.store.oids(), [])
        counters = self.replica.counters
        self.assertEqual((counters['write'], counters['read'],
                          counters['remove'], counters['flush']),
                         (2, 1, 1, 1))

    async def test_another_epoch(self):
        for opcode in (wire.LIST, wire.TABLE, wire.EXTENTS, wire.STATE,
                       wire.RECOVER, wire.DOUBT, wire.READ, wire.WRITE,
                       wire.REMOVE):
            with self.subTest(hex(opcode)), self.assertRaises(
                    errors.StaleEpoch):
                await self.ask(opcode, epoch=7)

    async def test_the_epoch_changes_while_something_is_looked_up(self):
        table = self.store.table

        async def change_first(oid):
            found = await table(oid)
            self.flock.change_view()
            return found

        await self.done(self.write())
        self.store.table = change_first
        with self.assertRaises(errors.StaleEpoch):
            await self.ask(wire.TABLE)

    async def test_extents_of_a_copy_that_is_not_whole(self):
        await self.done(self.write())
        self.guard.active = True
        self.guard.needed.add(self.oid)
        self.guard.gate = asyncio.Event()
        call = asyncio.ensure_future(self.ask(wire.EXTENTS))
        await asyncio.sleep(0.01)
        self.assertFalse(call.done())
        self.guard.gate.set()
        await call

    async def test_a_write_that_was_sent_again_meanwhile(self):
        """It waited for the copy to be whole, and its connection is over:
        the newer one may have brought more behind it."""
        await self.done(self.write())
        before = (await self.store.table(self.oid))
        self.guard.active = True
        self.guard.needed.add(self.oid)
        self.guard.gate = asyncio.Event()
        link = self.flock[2].links.data(self.sheep.member)
        answers = []
        link.request(wire.WRITE, 0, 1, self.oid, 1 << 48 | 9, 0, self.aux(),
                     b'late', lambda *answer: answers.append(answer))
        await asyncio.sleep(0.01)
        link.close()
        await flock.until(lambda: answers)
        await flock.turns()
        self.guard.gate.set()
        await flock.turns()
        self.assertEqual(await self.store.table(self.oid), before)

    async def test_nonsense(self):
        with self.assertRaises(errors.InvalidParameters):
            await self.ask(wire.ZERO, aux=self.aux(), payload=b'12345')
        with self.assertRaises(errors.NoObject):
            await self.ask(wire.TABLE)

    async def test_declarations(self):
        await self.done(self.write(token=1 << 48 | 5))
        link = self.flock[2].links.data(self.sheep.member)
        await self.ask(wire.PING)
        for epoch, count, left in ((7, 6, 1), (1, 5, 1), (1, 6, 0)):
            link.tell(wire.STABLE, epoch, 1 << 48 | count)
            await self.ask(wire.PING)
            self.assertEqual(len(self.replica.marks.unstable(self.oid)),
                             left)
        self.assertEqual(self.sheep.server.inflight, 0)
