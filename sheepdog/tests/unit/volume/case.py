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

"""What the tests of volumes share."""

import asyncio

from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.volume import branching
from sheepdog.volume import catalogue
from sheepdog.volume import shrinking
from sheepdog.volume import volumes

BLOCK = flock.BLOCK
SHIFT = 20
OBJECT = 1 << SHIFT


class Recorder:
    """A gateway that tells what goes through it. ``log``: (verb, oid,
    offset, length, durable); ``refuse(verb, oid)`` may return an error;
    ``gates``: (verb, oid) → an Event that it waits for first."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.log = []
        self.refuse = lambda verb, oid: None
        self.gates = {}

    def __getattr__(self, name):
        return getattr(self.gateway, name)

    async def _pass(self, verb, oid):
        gate = self.gates.get((verb, oid))
        if gate is not None:
            await gate.wait()
        error = self.refuse(verb, oid)
        if error is not None:
            raise error

    def write(self, oid, offset, data, done, durable=True, create=False,
              copies=0):
        self.log.append(('write', oid, offset, len(data), durable))
        self.gateway.write(oid, offset, data, done, durable, create, copies)

    async def write_wait(self, oid, offset, data, durable=True, create=False,
                         copies=0):
        self.log.append(('write', oid, offset, len(data), durable))
        await self._pass('write', oid)
        await self.gateway.write_wait(oid, offset, data, durable, create,
                                      copies)

    async def read_wait(self, oid, offset, size):
        self.log.append(('read', oid, offset, size, None))
        await self._pass('read', oid)
        return await self.gateway.read_wait(oid, offset, size)

    async def zero_wait(self, oid, offset, size, durable=True):
        self.log.append(('zero', oid, offset, size, durable))
        await self._pass('zero', oid)
        await self.gateway.zero_wait(oid, offset, size, durable)

    async def flush(self, vdi_id):
        self.log.append(('flush', ids.vdi_oid(vdi_id), 0, 0, None))
        await self._pass('flush', ids.vdi_oid(vdi_id))
        await self.gateway.flush(vdi_id)

    def writes(self, oid):
        """(offset, length, durable) of those to an object."""
        return [entry[2:] for entry in self.log
                if entry[:2] == ('write', oid)]


class VolumeCase(jumping.Case):
    """``sheep``: of a flock; each has ``recorder``, ``catalogue``,
    ``volumes``, ``branching`` and ``shrinking``. The first one leads."""

    count = 3
    copies = 3

    async def asyncSetUp(self):
        self.flock = flock.Flock(self.count, self.copies)
        self.flock.carry_out = self.carry_out
        self.sheep = self.flock.alive()
        for one in self.sheep:
            one.recorder = Recorder(one.gateway)
            one.catalogue = catalogue.Catalogue(one.world, one.cluster,
                                                one.recorder)
            one.volumes = volumes.Volumes(one.world, one.cluster,
                                          one.recorder, one.catalogue)
            one.branching = branching.Branching(
                one.world, one.cluster, one.recorder, one.catalogue,
                one.volumes)
            one.shrinking = shrinking.Shrinking(one.branching)
            one.cluster.listeners += [one.volumes, one.branching.standstill]
            one.branching.standstill.ask = one.volumes.copies.ask = (
                self.ask_other)
        self.flock.form()
        self.flock.event({'kind': 'settings',
                          'changes': {'block_size_shift': SHIFT}})
        await self.flock.settled()

    async def asyncTearDown(self):
        self.assertEqual(await self.flock.close(), [])

    async def carry_out(self, kind, arguments):
        return await self.sheep[0].catalogue.carry_out(kind, arguments)

    async def ask_other(self, member, method, arguments, timeout):
        """As one sheep asks another."""
        other, = [one for one in self.sheep
                  if one.cluster.incarnation == member.incarnation]
        return await {
            'vdi.hold': other.branching.standstill.hold,
            'vdi.make_own': other.volumes.copies.make_own_here,
        }[method](**arguments)

    async def create(self, name='vm', size=4 * OBJECT, sheep=None):
        made = await (sheep or self.sheep[0]).catalogue.create(
            name, size, block_size_shift=SHIFT)
        return made['vdi_id']

    async def entry_on_disk(self, vdi_id, index):
        """The owner of an object, as the inode has it."""
        return int.from_bytes(await self.sheep[0].gateway.read_wait(
            ids.vdi_oid(vdi_id), inode.map_offset(index), 4), 'little')

    def owners(self, vdi_id):
        lock = self.sheep[0].cluster.state.locks.get(vdi_id)
        return list(lock.owners) if lock else []


async def within(coroutine, seconds=5):
    return await asyncio.wait_for(coroutine, seconds)
