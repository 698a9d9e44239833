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


"""Tests of sheepdog.volume.turner, on volumes that only pretend. (With real
ones: sim/test_turning.py, and the seeds of ``testing.run --turn``.)"""

import asyncio
import collections
import types

from sheepdog.cluster import alteration
from sheepdog.cluster import entries
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.recovery import throttle
from sheepdog.tests.unit import fabric
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.volume import turner
from sheepdog.volume import turning

LOG = 'sheepdog.volume.turner'


class Volume:
    """``stuck``: index → an error, an Event that it waits for, or None."""

    def __init__(self, entry, count):
        self.valid = True
        self.users = 0
        self.map = types.SimpleNamespace(owners=[entry.vdi_id] * count)
        self.turning = self
        self.entry = entry
        self.stuck = {}
        self.tried = []
        self.is_used = False
        self.is_secure = False

    def former(self):
        return [index for index, owner in enumerate(self.map.owners)
                if owner != self.entry.owner]

    def is_over(self):
        return not self.is_used and not self.former()

    def progress(self, end):
        left = [index for index in self.former() if index < end]
        if self.is_used:
            return 0, ()
        if len(left) > limits.TURNING_LEFT_MAX:
            end = left[limits.TURNING_LEFT_MAX]
        return end, tuple(left[:limits.TURNING_LEFT_MAX])

    async def secure(self):
        self.is_secure = True

    async def turn(self, index, patience):
        self.tried.append((index, patience))
        await asyncio.sleep(0.01)
        stuck = self.stuck.get(index)
        if isinstance(stuck, asyncio.Event):
            await stuck.wait()
        elif stuck is not None:
            if isinstance(stuck, turning.OutOfReach):
                await asyncio.sleep(patience)
            raise stuck
        self.map.owners[index] = self.entry.owner
        self.is_secure = False


class Volumes:
    def __init__(self):
        self.all = {}
        self.closed = []

    def take_forms(self, todo):
        pass

    def to_turn(self, vdi_id):
        return None

    async def open_to_turn(self, entry):
        return self.all[entry.vdi_id]

    async def close_turned(self, volume):
        self.closed.append(volume.entry.vdi_id)


class TurnerTest(jumping.Case):

    async def asyncSetUp(self):
        self.world = fabric.World('10.0.0.1', fabric.Fabric())
        self.turned, self.told = [], []
        member = types.SimpleNamespace(incarnation='i')
        self.state = types.SimpleNamespace(
            vdis={}, locks={},
            settings=types.SimpleNamespace(recovery_enabled=True))
        self.cluster = types.SimpleNamespace(
            state=self.state, serving=lambda: True, incarnation='i',
            view=types.SimpleNamespace(members=(member,)),
            execute=self.execute)
        self.volumes = Volumes()
        self.turner = turner.Turner(self.world, self.cluster, self.volumes,
                                    throttle.Throttle())
        self.a, self.b = self.make(5), self.make(6)
        self.world.spawn(self.turner.run(), 'turn')

    async def asyncTearDown(self):
        await self.world.close()
        self.assertEqual([], self.world.failures)

    def make(self, vdi_id, count=4):
        entry = self.state.vdis[vdi_id] = entries.VdiEntry(
            vdi_id, 'vm%d' % vdi_id, form=1,
            former=(entries.Former(0, 2, 0),))
        volume = self.volumes.all[vdi_id] = Volume(entry, count)
        return volume

    async def execute(self, kind, arguments):
        """What was told to all of ``a`` (5) is in ``told``."""
        vdi_id = arguments['vdi_id']
        entry = self.state.vdis[vdi_id]
        self.assertTrue(self.volumes.all[vdi_id].is_secure)
        if kind == 'turned':
            self.turned.append(vdi_id)
            entry = alteration.turned(entry, arguments['form'])
        else:
            self.assertEqual('turning', kind)
            entry = alteration.turning(
                entry, arguments['form'], arguments['below'],
                tuple(arguments['left']))
            if vdi_id == 5:
                self.told.append((arguments['below'], arguments['left']))
        self.state.vdis[vdi_id] = entry

    def begin(self):
        self.turner.on_view(None, None, False)

    async def wait_turned(self, *vdi_ids):
        await flock.until(lambda: sorted(self.turned) == list(vdi_ids), 600)

    async def test_all(self):
        self.begin()
        await self.wait_turned(5, 6)
        self.assertEqual([0, 1, 2, 3], [index for index, _ in self.a.tried])
        await flock.until(lambda: not self.turner.todo)
        self.assertEqual({}, self.turner.left)
        self.assertEqual({5, 6}, set(self.volumes.closed))
        # Each quarter of it goes when it is copied.
        self.assertEqual([(1, []), (2, []), (3, [])], self.told)

    async def test_how_much_takes_room_twice(self):
        self.assertEqual(256, turner.step_of(1 << 20, 22))
        self.assertEqual(1024, turner.step_of(1 << 20, 20))
        self.assertEqual(3, turner.step_of(9, 22))
        self.a = self.make(5, 10)
        self.begin()
        await self.wait_turned(5, 6)
        self.assertEqual([(3, []), (6, []), (9, [])], self.told)

    async def test_one_that_is_out_of_reach(self):
        """The others, and other VDIs, go on. It is said once, and tried
        again."""
        self.a.stuck[1] = turning.OutOfReach('it is out of reach')
        with self.assertLogs(LOG) as logs:
            self.begin()
            await self.wait_turned(6)
            self.assertLess(asyncio.get_running_loop().time(), 1005)
            await flock.until(lambda: self.a.former() == [1], 60)
            await asyncio.sleep(600)
            self.assertEqual([6], self.turned)
            line, = logs.output
            for text in ('VDI vm5', ids.hex_oid(ids.data_oid(5, 1)),
                         'bytes 4194304 to 8388608', 'it is out of reach',
                         'tried again', 'status --why'):
                self.assertIn(text, line)
            found, = self.turner.facts()
            self.assertEqual(
                ('vm5', 1, 'it is out of reach', '0000000500000001'),
                tuple(found[name] for name in ('name', 'count', 'reason',
                                               'example')))
            self.assertEqual([(1, []), (2, [1]), (3, [1]), (4, [1])],
                             self.told)
            patience = [one for index, one in self.a.tried if index == 1]
            self.assertEqual([5, 10, 20, 40, 60, 60], patience[:6])
            del self.a.stuck[1]
            await self.wait_turned(5, 6)
        self.assertIn('are copied now', logs.output[-1])
        self.assertEqual([], self.turner.facts())

    async def test_many_that_cannot_be_copied(self):
        self.a = self.make(5, 40)
        for index in range(30):
            self.a.stuck[index] = errors.StorageError('no copy is good')
        with self.assertLogs(LOG) as logs:
            self.begin()
            await self.wait_turned(6)
            await asyncio.sleep(100)
        self.assertEqual(list(range(30)), self.a.former())
        self.assertEqual(turner.TOLD_MAX, len(logs.output))
        self.assertIn('dog vdi check vm5', logs.output[0])
        self.assertEqual(30, self.turner.facts()[0]['count'])
        # All of them are tried again, none more often than the others.
        counts = collections.Counter(index for index, _ in self.a.tried)
        times = [counts[index] for index in range(30)]
        self.assertLess(1, min(times))
        self.assertLessEqual(max(times) - min(times), 1)

    async def test_too_many_that_cannot_be_copied(self):
        """What nobody can be told of is not copied: it would take room in
        both forms."""
        self.a = self.make(5, 400)
        for index in range(10, 300):
            self.a.stuck[index] = errors.StorageError('no copy is good')
        with self.assertLogs(LOG):
            self.begin()
            await self.wait_turned(6)
            await asyncio.sleep(60)
            most = limits.TURNING_LEFT_MAX
            self.assertEqual((10 + most, list(range(10, 10 + most))),
                             self.told[-1])
            self.assertEqual(list(range(10, 400)), self.a.former())
            self.a.stuck.clear()
            await self.wait_turned(5, 6)

    async def test_what_cannot_be_written(self):
        """…is waited for, however long, as it may come late; other VDIs are
        turned meanwhile, one object at a time."""
        gate = self.a.stuck[0] = asyncio.Event()
        self.begin()
        await self.wait_turned(6)
        await asyncio.sleep(100)
        self.assertEqual(1, len(self.a.tried))
        gate.set()
        await self.wait_turned(5, 6)

    async def test_not_before_nobody_uses_a_former_one(self):
        self.a.is_used = True
        self.begin()
        await self.wait_turned(6)
        await asyncio.sleep(10)
        self.assertEqual([], self.a.former())
        self.assertEqual([6], self.turned)
        self.a.is_used = False
        await self.wait_turned(5, 6)
