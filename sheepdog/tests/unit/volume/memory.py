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

"""A gateway in memory, and a cluster of one, for the rooms above."""

import asyncio
import types

from sheepdog.cluster import api
from sheepdog.cluster import decisions
from sheepdog.cluster import state as state_module
from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.model import view as view_model
from sheepdog.tests.unit import flock
from sheepdog.volume import catalogue as catalogue_module
from sheepdog.volume import volumes as volumes_module

BLOCK = limits.BLOCK_BYTES
SHIFT = limits.OBJECT_SHIFT_MIN


class MemoryGateway:
    """As ``gateway.Gateway``; ``durable`` is what a power cut leaves.

    ``gate(verb, oid)`` may return something to await before the operation
    happens; ``refuse(verb, oid)`` an error for it; ``log`` has all changes.
    """

    def __init__(self, world):
        self.world = world
        self.objects = {}
        self.durable = {}
        self.gate = lambda verb, oid: None
        self.refuse = lambda verb, oid: None
        self.log = []
        self.noted = []
        self.declared = 0
        self.abandoned = []
        self.capacities = {}
        self.unflushed = types.SimpleNamespace(
            note_everyone=self.noted.append)

    def capacity(self, oid):
        if oid & ids.VDI_BIT:
            return limits.INODE_CAPACITY_BYTES
        return 1 << self.capacities.get(ids.vdi_of(oid), SHIFT)

    def power_cut(self):
        self.objects = {oid: bytearray(data)
                        for oid, data in self.durable.items()}

    async def _run(self, verb, oid, function):
        gate = self.gate(verb, oid)
        if gate is not None:
            await gate
        await asyncio.sleep(0)
        error = self.refuse(verb, oid)
        if error is not None:
            raise error
        return function()

    def _start(self, coroutine, done, is_read=False):
        async def run():
            try:
                data = await coroutine
            except errors.SheepdogError as exc:
                done(exc, b'') if is_read else done(exc)
            else:
                done(None, data) if is_read else done(None)

        self.world.spawn(run())

    def _change(self, verb, oid, offset, data, durable, create):
        obj = self.objects.get(oid)
        is_new = obj is None
        if is_new:
            if not create:
                raise errors.NoObject('none')
            obj = self.objects[oid] = bytearray(self.capacity(oid))
        if offset + len(data) > len(obj):
            raise errors.InvalidParameters('beyond it')
        obj[offset:offset + len(data)] = data
        self.log.append((verb, oid, offset, len(data), bool(durable)))
        if durable or is_new:
            self.durable[oid] = bytes(obj)

    def write(self, oid, offset, data, done, durable=True, create=False,
              copies=0):
        self._start(self.write_wait(oid, offset, data, durable, create),
                    done)

    async def write_wait(self, oid, offset, data, durable=True,
                         create=False, copies=0):
        data = bytes(data)
        await self._run('write', oid, lambda: self._change(
            'write', oid, offset, data, durable, create))

    async def zero_wait(self, oid, offset, size, durable=True):
        await self._run('zero', oid, lambda: self._change(
            'zero', oid, offset, bytes(size), durable, False))

    async def remove_wait(self, oid, durable=True):
        if self.objects.pop(oid, None) is None:
            raise errors.NoObject('none')

    def _read(self, oid, offset, size):
        obj = self.objects.get(oid)
        if obj is None:
            raise errors.NoObject('none')
        if offset + size > len(obj):
            raise errors.InvalidParameters('beyond it')
        return bytes(obj[offset:offset + size])

    def read(self, oid, offset, size, done):
        self._start(self.read_wait(oid, offset, size), done, True)

    async def read_wait(self, oid, offset, size):
        return await self._run('read', oid,
                               lambda: self._read(oid, offset, size))

    async def extents(self, oid):
        def find():
            obj = self._read(oid, 0, self.capacity(oid))
            found = []
            for offset in range(0, len(obj), BLOCK):
                if any(obj[offset:offset + BLOCK]):
                    if found and sum(found[-1]) == offset:
                        found[-1] = found[-1][0], found[-1][1] + BLOCK
                    else:
                        found.append((offset, BLOCK))
            return found

        return await self._run('extents', oid, find)

    async def flush(self, vdi_id):
        def persist():
            for oid, obj in self.objects.items():
                if ids.vdi_of(oid) == vdi_id:
                    self.durable[oid] = bytes(obj)

        await self._run('flush', vdi_id, persist)

    async def finish(self, vdi_id):
        pass

    async def declare_now(self):
        self.declared += 1

    def abandon_vdi(self, vdi_id, error):
        self.abandoned.append(vdi_id)


class Cluster:
    """One sheep, which is all the cluster; others only hold locks."""

    def __init__(self):
        self.incarnation = 'n1.1'
        self.status = api.Status.OK
        self.reason = ''
        self.state = state_module.State()
        self.operations = None
        self.listeners = []
        self.executed = []
        self.before = None
        view = view_model.View(1, 1, 0.0, tuple(
            view_model.Member('n%d' % n, 'n%d.1' % n, '10.0.0.%d' % n, 7000,
                              n, 1) for n in (1, 2)))
        settings = view_model.ClusterSettings(
            created=1, copies=2, block_size_shift=SHIFT)
        self.event({'kind': 'format', 'settings': settings.to_dict(),
                    'view': view.to_dict()})

    @property
    def view(self):
        return self.state.view

    def serving(self):
        return self.status is api.Status.OK

    def event(self, event):
        self.state.apply(self.state.next_record(1, 0.0, event))
        for listener in self.listeners:
            listener.on_event(event)

    async def execute(self, kind, arguments, operation_id='', timeout=60):
        await asyncio.sleep(0)
        self.executed.append((kind, arguments))
        if self.before is not None:
            self.before(kind)
        if kind in decisions.KINDS:
            event, result = decisions.decide(kind, arguments, self.state)
        else:
            event, result = await self.operations.carry_out(kind, arguments)
        if event is not None:
            self.event(event)
        return result

    def lapse(self):
        self.incarnation = 'n1.2'
        for listener in self.listeners:
            listener.on_lapse()
        view = view_model.View(2, 2, 0.0, (
            self.view.members[1], view_model.Member(
                'n1', 'n1.2', '10.0.0.1', 7000, 1, 1)))
        self.event({'kind': 'epoch', 'view': view.to_dict()})


class House:
    """The rooms, joined: ``gateway``, ``cluster``, ``catalogue``,
    ``volumes``. Make it within a running loop."""

    def __init__(self):
        self.world = flock.World('10.0.0.1', flock.Fabric())
        self.gateway = MemoryGateway(self.world)
        self.cluster = Cluster()
        self.catalogue = catalogue_module.Catalogue(
            self.world, self.cluster, self.gateway)
        self.cluster.operations = self.catalogue
        self.volumes = volumes_module.Volumes(
            self.world, self.cluster, self.gateway, self.catalogue)
        self.cluster.listeners = [self.volumes]

    async def create(self, name='vdi', size=8 << SHIFT, **how):
        vdi = await self.catalogue.create(name, size, **how)
        self.gateway.capacities[vdi['vdi_id']] = vdi['block_size_shift']
        return vdi

    async def close(self):
        await self.world.close()
        return self.world.failures


def future():
    return operation.future()
