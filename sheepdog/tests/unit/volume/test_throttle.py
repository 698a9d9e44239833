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

from sheepdog.cluster import qos
from sheepdog.model import errors
from sheepdog.tests.unit.volume import case
from sheepdog.volume import throttle

KIB = 1 << 10
MIB = 1 << 20


class World:
    @property
    def clock(self):
        return self

    def monotonic(self):
        return asyncio.get_running_loop().time()


class ThrottleCase(case.jumping.Case):

    async def asyncSetUp(self):
        self.throttle = throttle.Throttle(World())
        self.begun = []
        self.began = self.now()

    def now(self):
        return asyncio.get_running_loop().time()

    def limit(self, share=1.0, **rates):
        self.throttle.set({
            kind.replace('_', '-'): qos.Rate(*rate)
            for kind, rate in rates.items()}, share)

    def submit(self, what, is_write=False, size=4 * KIB, owners=()):
        self.throttle.submit(is_write, size, lambda: self.begun.append(
            (what, self.now() - self.began)), owners)

    async def all_begun(self, count):
        while len(self.begun) < count:
            await asyncio.sleep(0.005)
        return [what for what, _ in self.begun]

    def paces(self, first, last):
        """Begun a second, between two of them."""
        return (last - first) / (self.begun[last][1] - self.begun[first][1])


class ThrottleTest(ThrottleCase):

    async def test_a_pace_after_a_burst(self):
        self.limit(iops=(100, 20))
        for number in range(220):
            self.submit(number)
        self.assertEqual(20, len(self.begun))
        self.assertEqual(list(range(220)), await self.all_begun(220))
        self.assertAlmostEqual(2.0, self.begun[-1][1], delta=0.02)
        self.assertEqual(200, self.throttle.delayed)
        self.assertAlmostEqual(200.0, self.throttle.delayed_seconds, delta=5)

    async def test_one_that_is_larger_than_the_bucket(self):
        self.limit(bytes=(MIB, 64 * KIB))
        for number in range(3):
            self.submit(number, size=4 * MIB)
        await self.all_begun(3)
        self.assertEqual([0, 4, 8], [round(when) for _, when in self.begun])

    async def test_directions_have_their_own(self):
        self.limit(read_iops=(10, 1), write_bytes=(MIB, MIB))
        for number in range(5):
            self.submit('read %d' % number)
            self.submit('write %d' % number, True, MIB // 2)
        await self.all_begun(10)
        when = dict(self.begun)
        self.assertAlmostEqual(0.4, when['read 4'], delta=0.01)
        self.assertAlmostEqual(1.5, when['write 4'], delta=0.01)

    async def test_small_reads_do_not_starve_a_large_write(self):
        self.limit(bytes=(MIB, MIB))
        self.submit('first', size=MIB)
        self.submit('large', True, MIB)
        for number in range(400):
            self.submit(number)
        await self.all_begun(3)
        self.assertEqual(['first', 'large', 0],
                         [what for what, _ in self.begun[:3]])
        self.assertLess(self.begun[1][1], 1.01)

    async def test_a_direction_that_waits_lets_the_other_pass(self):
        self.limit(iops=(1000, 1000), write_iops=(1, 1))
        for number in range(3):
            self.submit('write %d' % number, True)
        for number in range(50):
            self.submit(number)
        self.assertEqual(51, len(self.begun))
        await self.all_begun(53)
        self.assertAlmostEqual(2.0, self.begun[-1][1], delta=0.01)

    async def test_what_brings_no_bytes_pays_for_none(self):
        self.limit(bytes=(MIB, MIB))
        self.submit('all', True, 3 * MIB)
        self.submit('zeroes', True, 0)
        self.assertEqual(2, len(self.begun))

    async def test_other_limits_at_once(self):
        self.limit(iops=(1, 1))
        for number in range(100):
            self.submit(number)
        await asyncio.sleep(1.5)
        self.assertEqual(2, len(self.begun))
        self.limit(iops=(100, 1))
        await self.all_begun(100)
        self.assertAlmostEqual(2.5, self.begun[-1][1], delta=0.05)
        self.limit()
        for number in range(1000):
            self.submit(number)
        self.assertEqual(1100, len(self.begun))

    async def test_ended_limits_let_go(self):
        self.limit(iops=(1, 1))
        for number in range(100):
            self.submit(number)
        self.limit()
        self.assertEqual(100, len(self.begun))
        self.assertEqual(0, self.throttle.waiting)

    async def test_hastened(self):
        self.limit(iops=(10, 5))
        owner = object()
        for number in range(20):
            self.submit(number, number % 3 == 0, owners=(None, owner))
            self.submit('of another', owners=(object(),))
        self.throttle.hasten(owner)
        self.assertEqual(list(range(20)), [
            one for one, _ in self.begun if one != 'of another'])
        # The others have had their burst, no more; and they pay for it.
        self.assertEqual(22, len(self.begun))
        self.assertEqual(18, self.throttle.waiting)
        await self.all_begun(23)
        self.assertAlmostEqual(1.8, self.begun[-1][1], delta=0.01)
        await self.all_begun(40)
        self.assertAlmostEqual(3.5, self.begun[-1][1], delta=0.02)

    async def test_released(self):
        """What fails is not charged."""
        self.limit(iops=(10, 1))
        owner = object()
        self.submit('first')
        for number in range(20):
            self.submit(number, owners=(owner,))
        self.submit('next')
        self.throttle.release(owner)
        self.assertEqual(21, len(self.begun))
        await self.all_begun(22)
        self.assertAlmostEqual(0.1, self.begun[-1][1], delta=0.01)

    async def test_gone_from_within(self):
        """The lock is lost while one begins."""
        self.limit(iops=(10, 1))
        owner = object()
        self.submit('first')
        self.throttle.submit(False, 0, lambda: self.throttle.release(owner),
                             (owner,))
        for number in range(5):
            self.submit(number, owners=(owner,))
        self.submit('next')
        await self.all_begun(7)
        self.assertEqual(['first', 0, 1, 2, 3, 4, 'next'],
                         [one for one, _ in self.begun])
        self.assertAlmostEqual(0.2, self.begun[-1][1], delta=0.01)

    async def test_a_share(self):
        self.limit(share=1 / 4, iops=(400, 1))
        for number in range(101):
            self.submit(number)
        await self.all_begun(101)
        self.assertAlmostEqual(100, self.paces(0, 100), delta=2)

    async def test_asked_from_within(self):
        """An answer comes at once, and the next request with it."""
        self.limit(iops=(100, 10))

        def again():
            self.begun.append((len(self.begun), self.now() - self.began))
            if len(self.begun) < 300:
                self.throttle.submit(False, 0, again)

        self.throttle.submit(False, 0, again)
        await self.all_begun(300)
        self.assertAlmostEqual(2.9, self.begun[-1][1], delta=0.05)

    async def test_any_mixture_keeps_to_all_limits(self):
        chance = random.Random(1)
        self.limit(iops=(200, 10), read_bytes=(2 * MIB, MIB),
                   write_bytes=(MIB, 64 * KIB))
        sizes = {}
        for number in range(600):
            sizes[number] = is_write, size = (
                chance.random() < 0.5, chance.choice((0, 4, 64, 512)) * KIB)
            self.submit(number, is_write, size)
        await self.all_begun(600)
        for is_write, rate, burst in ((True, MIB, 64 * KIB),
                                      (False, 2 * MIB, MIB)):
            done = 0
            for number, when in self.begun:
                if sizes[number][0] is is_write and sizes[number][1]:
                    self.assertLessEqual(
                        done, rate * (when + 0.002) + burst)
                    done += sizes[number][1]
            self.assertEqual(done, sum(
                size for one, size in sizes.values() if one is is_write))


class VolumeTest(case.VolumeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.a, self.b, _ = self.sheep
        self.loop = asyncio.get_running_loop()

    def limit(self, name='vm', **rates):
        self.flock.event({'kind': 'vdi-qos', 'name': name, 'limits': {
            kind.replace('_', '-'): list(rate)
            for kind, rate in rates.items()}})

    async def timed(self, *coroutines):
        began = self.loop.time()
        await asyncio.gather(*coroutines)
        return self.loop.time() - began

    async def test_read_write_and_zero_are_held_to_it(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'x' * 4096)
        self.assertIsNone(volume.throttle)
        self.limit(iops=(10, 1))
        self.assertAlmostEqual(1.9, await self.timed(
            *(volume.read(0, 10) for _ in range(10)),
            *(volume.write(0, b'y') for _ in range(5)),
            *(volume.zero(0, 4096) for _ in range(5))), delta=0.2)
        # None of these waits.
        self.assertLess(await self.timed(
            volume.flush(), volume.read(0, 0), volume.write(0, b''),
            volume.zero(0, 0), volume.extents(0, 4096)), 0.1)
        self.limit()
        self.assertIsNone(volume.throttle)
        self.assertLess(await self.timed(
            *(volume.read(0, 10) for _ in range(100))), 0.1)
        await volume.close()

    async def test_what_is_refused_does_not_wait(self):
        self.limit(iops=(1, 1))
        volume = await self.a.volumes.open('vm')
        await volume.read(0, 1)
        began = self.loop.time()
        with self.assertRaises(errors.InvalidParameters):
            await volume.read(volume.size, 1)
        self.assertLess(self.loop.time() - began, 0.1)

    async def test_a_volume_that_is_opened_later(self):
        self.limit(iops=(10, 1))
        volume = await self.a.volumes.open('vm')
        reader = await self.a.volumes.open('vm', read_only=True)
        self.assertAlmostEqual(1.9, await self.timed(
            *(one.read(0, 1) for one in (volume, reader) * 10)), delta=0.1)

    async def begin(self, volume):
        """Writes of which nearly all wait for long."""
        self.limit(iops=(1, 1))
        tasks = [asyncio.ensure_future(volume.write(0, b'%d' % number))
                 for number in range(20)]
        await asyncio.sleep(0.1)
        return tasks

    async def test_the_last_to_close_waits_for_nobody(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'there')
        tasks = await self.begin(volume)
        self.assertLess(await self.timed(volume.close()), 0.1)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        self.assertEqual(19, sum(isinstance(one, errors.VdiNotLocked)
                                 for one in results))
        self.assertEqual([], self.owners(self.vdi_id))

    async def test_a_reader_that_closes_lifts_them_for_nobody(self):
        volume = await self.a.volumes.open('vm')
        reader = await self.a.volumes.open('vm', read_only=True)
        tasks = await self.begin(volume)
        reading = asyncio.ensure_future(reader.read(0, 1))
        await asyncio.sleep(0.1)
        self.assertEqual(20, volume.throttle.waiting)
        await reader.close()
        self.assertEqual(19, volume.throttle.waiting)
        with self.assertRaises(errors.SheepdogError):
            await reading
        self.limit()
        await asyncio.gather(*tasks)

    async def test_a_user_that_goes_takes_its_own_along(self):
        volume = await self.a.volumes.open('vm')
        self.limit(iops=(1, 1))
        done = []
        for user in 'a', 'b':
            for _ in range(4):
                volume.submit_write(0, b'x', False, done.append, user)
            volume.submit_read(0, 1, lambda error, data: done.append(error),
                               user)
        zeroing = asyncio.ensure_future(volume.zero(0, 4096, user='a'))
        await asyncio.sleep(0.01)
        self.assertEqual(10, volume.throttle.waiting)
        volume.hasten('a')
        self.assertEqual(5, volume.throttle.waiting)
        await zeroing
        self.limit()

    async def test_a_lost_lock_ends_who_waits(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'there')
        tasks = await self.begin(volume)
        self.flock.event({'kind': 'unlock', 'vdi_id': self.vdi_id,
                          'owner': '', 'force': True})
        self.assertLess(await self.timed(asyncio.gather(
            *tasks, return_exceptions=True)), 0.1)
        again = await self.b.volumes.open('vm')
        self.assertEqual(b'0here', await again.read(0, 5))

    async def test_a_snapshot_waits_for_nobody(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'there')
        tasks = await self.begin(volume)
        self.assertLess(await self.timed(self.a.branching.snapshot(
            'vm', 's')), 0.5)
        self.assertFalse(tasks[-1].done())
        # The VDI that goes on has them, its snapshot has none.
        self.assertIsNotNone(volume.throttle)
        self.assertNotEqual(self.vdi_id, volume.vdi_id)
        self.assertEqual([volume.vdi_id], list(self.a.volumes.throttles.by_id))
        snapshot = await self.a.volumes.open('vm', 's', read_only=True)
        self.assertIsNone(snapshot.throttle)
        self.limit()
        await asyncio.gather(*tasks)

    async def test_several_gateways_share_it(self):
        self.limit(iops=(100, 2))
        volumes = [await one.volumes.open('vm', shared=True)
                   for one in (self.a, self.b)]
        self.assertAlmostEqual(1.0, await self.timed(
            *(one.read(0, 1) for one in volumes for _ in range(51))),
            delta=0.05)
        await volumes[0].close()
        self.assertAlmostEqual(0.5, await self.timed(
            *(volumes[1].read(0, 1) for _ in range(51))), delta=0.05)

    async def test_they_go_with_the_vdi(self):
        self.limit(iops=(100, 2))
        self.flock.event({'kind': 'vdi-delete', 'vdi_id': self.vdi_id})
        self.assertEqual({}, self.a.volumes.throttles.by_id)
        await self.create('vm')
        self.assertIsNone((await self.a.volumes.open('vm')).throttle)

    async def test_an_identity_that_is_lost(self):
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'there')
        tasks = await self.begin(volume)
        self.a.volumes.on_lapse()
        self.assertLess(await self.timed(asyncio.gather(
            *tasks, return_exceptions=True)), 0.1)

    async def test_a_first_write_creates_its_object_once(self):
        self.limit(iops=(50, 1))
        volume = await self.a.volumes.open('vm')
        await asyncio.gather(*(volume.write(number * 10, b'%10d' % number)
                               for number in range(20)))
        self.assertEqual(b''.join(b'%10d' % number for number in range(20)),
                         await volume.read(0, 200))
        self.assertEqual(self.vdi_id, await self.entry_on_disk(
            self.vdi_id, 0))
