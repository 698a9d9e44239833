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

"""A store in memory, for unit tests of the rooms above it."""

import asyncio
import hashlib
import mmap

from crc32c import crc32c
import numpy

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.store import state as store_state
from sheepdog.world import api

BLOCK = limits.BLOCK_BYTES
ZERO_CRC = crc32c(bytes(BLOCK))


class _Object:
    def __init__(self, capacity):
        # (The 16 MiB of an inode take no memory where nothing is written.)
        self.data = mmap.mmap(-1, capacity, mmap.MAP_PRIVATE)
        self.version = 0
        self.rotten = set()
        self.lost = {}

    @property
    def content(self):
        """The data without the zero blocks at its end."""
        blocks = numpy.frombuffer(self.data, numpy.uint64).reshape(
            -1, BLOCK // 8).any(axis=1).nonzero()[0]
        return self.data[:BLOCK * (int(blocks[-1]) + 1)] if len(
            blocks) else b''

    def forget(self, blocks):
        """These have been overwritten."""
        self.rotten.difference_update(blocks)
        for block in blocks:
            self.lost.pop(block, None)


class MemoryQuarantine:
    """As ``store.quarantine.Quarantine``."""

    def __init__(self):
        self.notes = []
        self.on_kept = None

    @property
    def kept(self):
        return len(self.notes)

    def add(self, name, **note):
        self.notes.append(dict({
            'name': name, 'was': '/obj/x', 'why': 'so', 'when': 5.0,
            'object': None, 'version': None, 'size': 1, 'used': 4096},
            **note))

    async def list(self):
        return list(self.notes)

    async def used_bytes(self):
        return 4096 * self.kept

    async def delete(self, name):
        left = [note for note in self.notes if note['name'] != name]
        if len(left) == self.kept:
            raise errors.NoObject('none')
        self.notes = left


class MemoryStore:
    """As ``store.Store``. ``durable`` is what a power cut leaves;
    ``refuse(verb, oid)`` may return an error for an operation;
    ``is_slow`` keeps what is to be answered in ``waiting``."""

    def __init__(self):
        self.objects = {}
        self.durable = {}
        self.refuse = lambda verb, oid: None
        self.is_slow = False
        self.waiting = []
        self.log = []
        self.adopted = []
        self.aside = []
        self.quarantine = MemoryQuarantine()
        self.cluster = 0
        self.power_lost = False
        self.journal_damaged = self.journal_torn = False
        self.has_untold_loss = False
        self.device_error = None
        self._on_damage = None
        self.left = 1 << 40

    async def noted(self):
        pass

    def lost_paths(self):
        return []

    def power_cut(self):
        self.power_lost = True
        self.objects = {}
        for oid, (version, data, capacity) in self.durable.items():
            obj = self.objects[oid] = _Object(capacity)
            obj.version = version
            obj.data[:len(data)] = data

    def _persist(self, oid):
        obj = self.objects.get(oid)
        if obj is None:
            self.durable.pop(oid, None)
        else:
            self.durable[oid] = obj.version, obj.content, len(obj.data)

    def _answer(self, done, *results):
        if self.is_slow:
            self.waiting.append((done, results))
        else:
            asyncio.get_running_loop().call_soon(done, *results)

    def go_on(self):
        self.is_slow = False
        waiting, self.waiting = self.waiting, []
        for done, results in waiting:
            done(*results)

    def _change(self, verb, oid, version, offset, data, done, durable,
                capacity=0):
        error = self.refuse(verb, oid)
        obj = self.objects.get(oid)
        if error is None and obj is None and not capacity:
            error = errors.NoObject('none')
        if error is None and offset + len(data) > (
                len(obj.data) if obj else capacity):
            error = errors.InvalidParameters('beyond it')
        if error is not None:
            done(error)
            return
        is_new = obj is None
        if is_new:
            obj = self.objects[oid] = _Object(capacity)
        blocks = set(range(offset // BLOCK,
                           -(-(offset + len(data)) // BLOCK)))
        ragged = {b for b in blocks & obj.rotten if not (
            offset <= b * BLOCK and (b + 1) * BLOCK <= offset + len(data))}
        if ragged:
            self._report(oid)
            done(errors.ChecksumError('block %d' % min(ragged)))
            return
        obj.forget(blocks)
        obj.data[offset:offset + len(data)] = data
        obj.version = max(version, obj.version)
        self.log.append((verb, oid, offset, len(data), bool(durable)))
        if durable or is_new:
            self._persist(oid)
        self._answer(done, None)

    def write(self, oid, version, offset, data, done, durable=True,
              capacity=0):
        self._change('write', oid, version, offset, data, done, durable,
                     capacity)

    def zero(self, oid, version, offset, size, done, durable=True):
        self._change('zero', oid, version, offset, bytes(size), done,
                     durable)

    def remove(self, oid, done, durable=True):
        error = self.refuse('remove', oid)
        if error is None and oid not in self.objects:
            error = errors.NoObject('none')
        if error is None:
            del self.objects[oid]
            self.durable.pop(oid, None)
            self.log.append(('remove', oid, 0, 0, bool(durable)))
        self._answer(done, error)

    def read(self, oid, offset, size, done):
        error = self.refuse('read', oid)
        obj = self.objects.get(oid)
        if error is None and obj is None:
            error = errors.NoObject('none')
        if error is None and offset + size > len(obj.data):
            error = errors.InvalidParameters('beyond it')
        if error is None and obj.rotten & set(range(
                offset // BLOCK, -(-(offset + size) // BLOCK))):
            error = errors.ChecksumError('rotten')
            self._report(oid)
        if error is not None:
            done(error, None)
            return
        self._answer(done, None, bytes(obj.data[offset:offset + size]))

    def sync(self, done):
        error = self.refuse('sync', 0)
        if error is None:
            for oid in list(self.objects):
                self._persist(oid)
            self.log.append(('sync', 0, 0, 0, True))
        self._answer(done, error)

    def version(self, oid):
        obj = self.objects.get(oid)
        return None if obj is None else obj.version

    def oids(self):
        return sorted(self.objects)

    async def describe(self, oid):
        await asyncio.sleep(0)
        obj = self.objects.get(oid)
        if obj is None:
            return None
        return store_state.ObjectState(
            obj.version, len(obj.data),
            hashlib.blake2b(obj.content, digest_size=8).digest(),
            not obj.rotten, 0)

    async def table(self, oid):
        await asyncio.sleep(0)
        obj = self.objects.get(oid)
        if obj is None:
            raise errors.NoObject('none')
        return b''.join(
            obj.lost.get(o // BLOCK, crc32c(bytes(
                obj.data[o:o + BLOCK])) ^ ZERO_CRC).to_bytes(4, 'little')
            for o in range(0, len(obj.data), BLOCK))

    async def extents(self, oid):
        table = await self.table(oid)
        found = []
        for index in range(len(table) // 4):
            if any(table[4 * index:4 * index + 4]):
                if found and sum(found[-1]) == index * BLOCK:
                    found[-1] = found[-1][0], found[-1][1] + BLOCK
                else:
                    found.append((index * BLOCK, BLOCK))
        return found

    def check_room(self, oid, content, capacity, keeps_all=False):
        error = self.refuse('adopt', oid)
        if error is not None:
            raise error
        if keeps_all and oid not in self.objects and self.left < content:
            raise errors.NoSpace('full')

    def room(self):
        return self.left

    reserve_bytes = 10

    def space(self):
        return api.Space(1 << 40, self.left)

    async def used_bytes(self):
        return (1 << 40) - self.left

    async def adopt(self, oid, version, capacity, pieces, keep, zeros=(),
                    lost=()):
        error = self.refuse('adopt', oid)
        if error is not None:
            raise error
        await asyncio.sleep(0)
        obj = self.objects.get(oid)
        new = _Object(capacity)
        if keep and obj is not None:
            content = obj.content
            new.data[:len(content)] = content
            new.rotten = set(obj.rotten)
            new.lost = dict(obj.lost)
        for offset, data in list(pieces) + [(o, bytes(s)) for o, s in zeros]:
            new.data[offset:offset + len(data)] = data
            new.forget(range(offset // BLOCK,
                             -(-(offset + len(data)) // BLOCK)))
        new.lost.update(lost)
        new.rotten.update(new.lost)
        new.version = version
        self.objects[oid] = new
        self.adopted.append((oid, [(o, len(d)) for o, d in pieces],
                             list(zeros), keep))
        self._persist(oid)

    async def set_aside(self, oid, why, remove=False, digest=None):
        state = await self.describe(oid)
        if state is None or digest is not None and digest != state.digest:
            return False
        error = self.refuse('set_aside', oid)
        if error is not None:
            raise error
        self.aside.append((oid, bytes(self.objects[oid].data), why))
        if remove:
            del self.objects[oid]
            self.durable.pop(oid, None)
        return True

    def with_open(self):
        return []

    def bad_blocks(self):
        return {oid: sorted(obj.rotten)
                for oid, obj in sorted(self.objects.items()) if obj.rotten}

    def when_damaged(self, function):
        self._on_damage = function

    def _report(self, oid):
        if self._on_damage is not None:
            self._on_damage(oid)

    async def set_cluster(self, created):
        await asyncio.sleep(0)
        self.cluster = created

    async def power_loss_handled(self):
        self.power_lost = False
