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

"""Volumes in memory: what the faces stand on, without a cluster below.

They keep the contract of ``sheepdog.volume`` (its suite runs on both) and
fail, stall or disappear when told to.
"""

import asyncio
import collections
from typing import Any, Callable, NamedTuple, Optional

from sheepdog.model import errors
from sheepdog.model import limits

CALLS_KEPT = 10000
_ZEROES = bytes(limits.BLOCK_BYTES)


class Call(NamedTuple):
    """What a volume was asked; ``verb`` is the method's name, 'fill' for a
    ``zero`` that may not punch."""

    verb: str
    offset: int
    length: int
    fua: bool


class MemoryVolume:
    """See ``volume.Volume``. Objects of zeroes are not kept."""

    def __init__(self, name: str, size: int, object_bytes: int = 4 << 20,
                 vdi_id: int = 1, read_only: bool = False):
        self.name = name
        self.vdi_id = vdi_id
        self.snap_id = 0
        self.size = size
        self.object_bytes = object_bytes
        self.read_only = read_only
        self.valid = True
        self.on_resize: list[Callable] = []
        self.calls = collections.deque(maxlen=CALLS_KEPT)
        self.is_dirty = False
        """There are writes that no flush has covered."""
        self.references = 0
        self.completes_later = False
        """``done`` is called in a later turn of the loop, as it is when
        other sheep have a say; else before the call returns."""
        self._objects: dict[int, bytearray] = {}
        self._failures: dict[str, list[Exception]] = {}
        self._held: Optional[list] = None
        self._released: Optional[asyncio.Event] = None
        self.throttle: Any = None

    # Faults.

    def fail(self, verb: str, error: Exception, times: int = 1) -> None:
        """Let the next calls of that verb (read, write, zero, discard,
        flush, extents) end with an error."""
        self._failures.setdefault(verb, []).extend([error] * times)

    def hold(self) -> None:
        """Let nothing complete before ``release``."""
        if self._held is None:
            self._held = []
            self._released = asyncio.Event()

    def release(self) -> None:
        held, self._held = self._held or [], None
        if self._released is not None:
            self._released.set()
        for complete, arguments in held:
            complete(*arguments)

    @property
    def held_count(self) -> int:
        """Reads and writes under way behind a ``hold``."""
        return len(self._held or [])

    def lose_lock(self) -> None:
        """Another sheep has it now."""
        self.valid = False

    # The contract.

    def submit_read(self, offset: int, length: int, done: Callable,
                    user: Any = None, is_due: bool = False) -> None:
        self.calls.append(Call('read', offset, length, False))
        try:
            self._check('read', offset, length)
            data = self._pieces(offset, length)
        except errors.SheepdogError as error:
            self._complete(done, error, None)
        else:
            self._complete(done, None,
                           data[0] if len(data) == 1 else data or b'')

    def submit_write(self, offset: int, data: bytes, fua: bool,
                     done: Callable, user: Any = None,
                     is_due: bool = False) -> None:
        self.calls.append(Call('write', offset, len(data), fua))
        try:
            self._check('write', offset, len(data))
            self._put(offset, data)
        except errors.SheepdogError as error:
            self._complete(done, error)
        else:
            self.is_dirty = self.is_dirty or not fua
            self._complete(done, None)

    async def read(self, offset: int, length: int) -> bytes:
        data = await self._call(self.submit_read, offset, length)
        return b''.join(data) if isinstance(data, list) else data

    async def write(self, offset: int, data: bytes,
                    fua: bool = False) -> None:
        await self._call(self.submit_write, offset, data, fua)

    async def zero(self, offset: int, length: int, fua: bool = False,
                   may_punch: bool = True, user: Any = None,
                   is_due: bool = False) -> None:
        self.calls.append(Call('zero' if may_punch else 'fill', offset,
                               length, fua))
        await self._pass()
        self._check('zero', offset, length)
        self._wipe(offset, length)
        self.is_dirty = self.is_dirty or not fua

    async def discard(self, offset: int, length: int, fua: bool = False,
                      is_due: bool = False) -> None:
        self.calls.append(Call('discard', offset, length, fua))
        await self._pass()
        self._check('discard', offset, length)
        # Whole blocks go, ragged ends stay.
        block = limits.BLOCK_BYTES
        start = -(-offset // block) * block
        end = (offset + length) // block * block
        if end > start:
            self._wipe(start, end - start)
        self.is_dirty = self.is_dirty or not fua

    async def flush(self) -> None:
        self.calls.append(Call('flush', 0, 0, False))
        await self._pass()
        self._check('flush', 0, 0)
        self.is_dirty = False

    async def extents(self, offset: int, length: int) -> list:
        self.calls.append(Call('extents', offset, length, False))
        await self._pass()
        self._check('extents', offset, length)
        found = []
        for index, start, size in self._spans(offset, length):
            if index not in self._objects:
                found.append((size, False))
                continue
            end = start + size
            while start < end:
                size = min(limits.BLOCK_BYTES - start % limits.BLOCK_BYTES,
                           end - start)
                found.append((size, self._is_data(index, start)))
                start += size
        return found

    async def close(self) -> None:
        assert self.references > 0, 'closed more often than opened'
        self.references -= 1

    def grow(self, size: int) -> None:
        self.size = size
        for function in self.on_resize:
            function(size)

    # Content.

    def _spans(self, offset: int, length: int):
        """(object index, offset in it, size) for each object touched."""
        end = offset + length
        while offset < end:
            index, start = divmod(offset, self.object_bytes)
            size = min(self.object_bytes - start, end - offset)
            yield index, start, size
            offset += size

    def _pieces(self, offset: int, length: int) -> list:
        return [bytes(memoryview(self._objects[index])[start:start + size])
                if index in self._objects else bytes(size)
                for index, start, size in self._spans(offset, length)]

    def _put(self, offset: int, data: bytes) -> None:
        position = 0
        for index, start, size in self._spans(offset, len(data)):
            if index not in self._objects:
                self._objects[index] = bytearray(self.object_bytes)
            self._objects[index][start:start + size] = memoryview(data)[
                position:position + size]
            position += size

    def _wipe(self, offset: int, length: int) -> None:
        for index, start, size in self._spans(offset, length):
            if size == self.object_bytes:
                self._objects.pop(index, None)
            elif index in self._objects:
                self._objects[index][start:start + size] = bytes(size)

    def _is_data(self, index: int, start: int) -> bool:
        block = start - start % limits.BLOCK_BYTES
        content = self._objects[index][block:block + limits.BLOCK_BYTES]
        return content != _ZEROES[:len(content)]

    # How calls end.

    def _check(self, verb: str, offset: int, length: int) -> None:
        if self._failures.get(verb):
            raise self._failures[verb].pop(0)
        if not self.valid:
            raise errors.VdiLocked('the lock on %s is lost' % self.name)
        if self.read_only and verb in ('write', 'zero', 'discard'):
            raise errors.ReadOnly('%s is read-only' % self.name)
        if offset < 0 or length < 0 or offset + length > self.size:
            raise errors.InvalidParameters(
                'bytes %d to %d of a volume of %d'
                % (offset, offset + length, self.size))

    def _complete(self, done: Callable, *arguments) -> None:
        if self._held is not None:
            self._held.append((done, arguments))
        elif self.completes_later:
            asyncio.get_running_loop().call_soon(done, *arguments)
        else:
            done(*arguments)

    async def _pass(self) -> None:
        if self._held is not None:
            await self._released.wait()
        elif self.completes_later:
            await asyncio.sleep(0)

    async def _call(self, submit: Callable, *arguments):
        future = asyncio.get_running_loop().create_future()

        def done(error, data=None):
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(data)

        submit(*arguments, done)
        return await future


class MemoryVolumes:
    """See ``volume.Volumes``: all there are, one MemoryVolume per name (or
    per name and tag), shared by whoever opens it."""

    def __init__(self):
        self.volumes: dict[tuple[str, str], MemoryVolume] = {}
        self.locked: dict[str, int] = {}
        """How often a name is still refused, as locked by another sheep."""

    def create(self, name: str, size: int,
               object_bytes: int = 4 << 20) -> MemoryVolume:
        if (name, '') in self.volumes:
            raise errors.VdiExists('%s is there already' % name)
        volume = MemoryVolume(name, size, object_bytes,
                              vdi_id=len(self.volumes) + 1)
        self.volumes[name, ''] = volume
        return volume

    def snapshot(self, name: str, tag: str) -> MemoryVolume:
        """Keep what the volume holds now under a tag, read-only."""
        origin = self.find(name)
        copy = MemoryVolume(name, origin.size, origin.object_bytes,
                            vdi_id=len(self.volumes) + 1, read_only=True)
        copy.snap_id = 1 + sum(other == name and bool(its_tag)
                               for other, its_tag in self.volumes)
        copy._objects = {index: bytearray(data)
                         for index, data in origin._objects.items()}
        self.volumes[name, tag] = copy
        return copy

    def find(self, name: str, tag: str = '',
             snap_id: int = 0) -> MemoryVolume:
        for (its_name, its_tag), volume in self.volumes.items():
            if its_name == name and (volume.snap_id == snap_id if snap_id
                                     else its_tag == tag):
                return volume
        if tag or snap_id:
            raise errors.NoTag('%s has no snapshot %s'
                               % (name, tag or snap_id))
        raise errors.NoVdi('there is no VDI %s' % name)

    async def open(self, name: str, tag: str = '', snap_id: int = 0,
                   read_only: bool = False,
                   shared: bool = False) -> MemoryVolume:
        await asyncio.sleep(0)
        volume = self.find(name, tag, snap_id)
        if read_only and not volume.read_only:
            # A view of its own, which needs no lock.
            content = volume._objects
            volume = MemoryVolume(name, volume.size, volume.object_bytes,
                                  volume.vdi_id, read_only=True)
            volume._objects = content
        elif volume.read_only and not read_only:
            raise errors.ReadOnly('%s is a snapshot' % name)
        elif self.locked.get(name) and not read_only:
            self.locked[name] -= 1
            raise errors.VdiLocked('%s is locked by another sheep' % name)
        volume.references += 1
        return volume


class Entry(NamedTuple):
    """As much of the catalogue's as is used."""

    name: str
    tag: str
    snap_id: int
    vdi_id: int
    snapshot: bool
    created: int = 0


class Head(NamedTuple):
    """Of an inode."""

    vdi_size: int
    object_bytes: int


class MemoryCatalogue:
    """See ``volume.Catalogue``."""

    def __init__(self, volumes: MemoryVolumes):
        self._volumes = volumes

    def names(self) -> list:
        return sorted(name for name, tag in self._volumes.volumes if not tag)

    async def create(self, name: str, size: int, copies: int = 0,
                     copy_policy: int = 0,
                     block_size_shift: int = 0) -> dict:
        shift = block_size_shift or limits.OBJECT_SHIFT_DEFAULT
        self._volumes.create(name, size, 1 << shift)
        return (await self.list(name))[0]

    async def delete(self, name: str, tag: str = '',
                     snap_id: int = 0) -> None:
        self._volumes.find(name, tag)
        del self._volumes.volumes[name, tag]

    async def resize(self, name: str, size: int) -> None:
        self._volumes.find(name).grow(size)

    def find(self, name: str, tag: str = '', snap_id: int = 0) -> Entry:
        volume = self._volumes.find(name, tag, snap_id)
        return next(Entry(volume.name, its_tag, volume.snap_id,
                          volume.vdi_id, bool(its_tag))
                    for (_name, its_tag), other
                    in self._volumes.volumes.items() if other is volume)

    async def head(self, vdi_id: int) -> Head:
        await asyncio.sleep(0)
        for volume in self._volumes.volumes.values():
            if volume.vdi_id == vdi_id:
                return Head(volume.size, volume.object_bytes)
        raise errors.NoObject('there is no VDI of id %06x' % vdi_id)

    async def list(self, name: str = '') -> list:
        return [{'name': volume.name, 'tag': tag, 'snapshot': bool(tag),
                 'snap_id': volume.snap_id, 'vdi_id': volume.vdi_id,
                 'size': volume.size}
                for (_name, tag), volume in sorted(
                    self._volumes.volumes.items())
                if name in ('', volume.name)]
