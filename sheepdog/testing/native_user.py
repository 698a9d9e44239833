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

"""A client of the native protocol on a host of its own, as QEMU's driver.

It locks a VDI by name, keeps the inode itself, creates the objects that are
not there (the object first, then its entry in the inode) and works on them
over several connections.
"""

import asyncio
import struct

from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.testing import line
from sheepdog.wire import native
from sheepdog.wire import native_client

CONNECT_SECONDS = 3.0
_ENTRY = struct.Struct('<I')


class NativeLine(line.Line):

    def received(self, buffer, start: int, end: int) -> int:
        answers, used, self.room_bytes = native.split_responses(
            buffer, start, end)
        for fields, payload in answers:
            self.answered(fields[native.ID], None, (fields, payload))
        return used

    async def call(self, pack, *arguments, **options) -> tuple:
        """One request, as ``wire.native.pack_…`` makes it: the fields and
        the payload of its answer.

        :raises SheepdogError: what the answer says, or there is none
        """
        number, future = self.expect()
        self.connection.send(*pack(number, *arguments, **options))
        fields, payload = await future
        native_client.check_response(fields)
        return fields, payload


class NativeVolume(line.Lines):
    """A VDI, as much of it as ``workload`` asks of a Volume."""

    def __init__(self, lines: list, random):
        super().__init__(lines, random)
        self.size = 0
        self.vdi_id = 0
        self._object_bytes = 0
        self._owners = {}
        """Of the objects that are there: index → VDI id."""
        self._creating = {}

    @classmethod
    async def open(cls, world, host: str, port: int, name: str, count: int,
                   random) -> 'NativeVolume':
        """Over ``count`` connections, under the lock.

        :raises OSError: it cannot be connected to
        :raises SheepdogError: another one has it
        """
        self = cls([], random)
        try:
            for _ in range(count):
                self.lines.append(await world.network.connect(
                    NativeLine, host, port, CONNECT_SECONDS))
            await self._lock(name)
        except BaseException:
            self.hang_up()
            raise
        return self

    async def _lock(self, name: str) -> None:
        fields, _ = await self.lines[0].call(native_client.pack_lock_vdi, name)
        self.vdi_id = native_client.read_vdi_answer(fields).vdi_id
        oid = ids.vdi_oid(self.vdi_id)
        _, data = await self.lines[0].call(native_client.pack_read, oid, 0,
                                           inode.HEAD_BYTES)
        head = inode.InodeHead.unpack(data)
        self.size = head.vdi_size
        self._object_bytes = head.object_bytes
        count = -(-head.vdi_size // head.object_bytes)
        _, data = await self.lines[0].call(
            native_client.pack_read, oid, inode.MAP_OFFSET,
            count * inode.MAP_ENTRY_BYTES)
        self._owners = {
            index: owner for index, (owner,) in
            enumerate(_ENTRY.iter_unpack(data)) if owner}

    def _pieces(self, offset: int, length: int):
        """(index, offset in the object, position, bytes) of each."""
        position = 0
        while position < length:
            index, start = divmod(offset + position, self._object_bytes)
            size = min(length - position, self._object_bytes - start)
            yield index, start, position, size
            position += size

    async def read(self, offset: int, length: int) -> bytes:
        parts = []
        for index, start, _, size in self._pieces(offset, length):
            if not await self._is_there(index):
                parts.append(bytes(size))
                continue
            _, data = await self.pick().call(
                native_client.pack_read,
                ids.data_oid(self._owners[index], index), start, size)
            parts.append(data)
        return b''.join(parts)

    async def _is_there(self, index: int) -> bool:
        """Nobody tells a client that its lock was taken away, and that
        there may be more than it knows of."""
        if index not in self._owners:
            _, data = await self.pick().call(
                native_client.pack_read, ids.vdi_oid(self.vdi_id),
                inode.map_offset(index), inode.MAP_ENTRY_BYTES)
            owner, = _ENTRY.unpack(data)
            if owner:
                self._owners[index] = owner
        return index in self._owners

    async def write(self, offset: int, data: bytes, fua: bool) -> None:
        flags = native.FLAG_DIRECT if fua else native.FLAG_CACHE
        for index, start, position, size in self._pieces(offset, len(data)):
            piece = data[position:position + size]
            while index in self._creating:
                await asyncio.wait([self._creating[index]])
            if index in self._owners:
                await self.pick().call(
                    native_client.pack_write, ids.data_oid(self.vdi_id, index),
                    start, piece, flags)
            else:
                await self._create(index, start, piece, flags)

    async def _create(self, index: int, start: int, piece: bytes,
                      flags: int) -> None:
        creating = asyncio.get_running_loop().create_future()
        self._creating[index] = creating
        try:
            await self.pick().call(
                native_client.pack_create,
                ids.data_oid(self.vdi_id, index), start, piece, flags)
            await self.pick().call(
                native_client.pack_write, ids.vdi_oid(self.vdi_id),
                inode.map_offset(index), _ENTRY.pack(self.vdi_id), flags)
            self._owners[index] = self.vdi_id
        finally:
            del self._creating[index]
            creating.set_result(None)

    async def zero(self, offset: int, length: int, fua: bool) -> None:
        """The protocol gives back whole objects only."""
        await self.write(offset, bytes(length), fua)

    async def flush(self) -> None:
        """All that was written to the VDI through this sheep."""
        await self.pick().call(native_client.pack_flush, self.vdi_id)

    async def close(self) -> None:
        try:
            if self.valid and self._random.random() < 0.7:
                await self.lines[0].call(native_client.pack_release_vdi,
                                         self.vdi_id)
        finally:
            self.hang_up()
