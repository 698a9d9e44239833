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

"""The native client of the benchmark: does to data objects what QEMU does.

It locks a VDI by name, reads the inode, creates the objects that are not
there (the object first, then its entry in the inode), and then writes and
reads them in place.
"""

import itertools
import os
import random
import struct

from bench import flood
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.wire import native
from sheepdog.wire import native_client as client

# id, data_length and result: all that is looked at in an answer.
_ANSWER = struct.Struct('<8xIII')
_PATTERN_LENGTH = 8192


class NativeClient:
    """A VDI, opened over one connection."""

    def __init__(self, link):
        self.vdi_id = 0
        self.object_bytes = 0
        self.objects = 0
        self.link = link
        self._inode = b''
        self._ids = itertools.count(1)

    @classmethod
    async def open(cls, host: str, port: int, name: str) -> 'NativeClient':
        """Connect, lock the VDI, read its inode.

        :raises BenchError, SheepdogError: it did not work
        """
        self = cls(await flood.Link.open(host, port))
        try:
            await self._lock(name)
        except BaseException:
            self.link.close()
            raise
        return self

    async def _lock(self, name):
        answer = client.read_vdi_answer(
            (await self.call(client.pack_lock_vdi, name))[0])
        self.vdi_id = answer.vdi_id
        self._inode = await self.read(ids.vdi_oid(answer.vdi_id), 0,
                                      inode.CLIENT_BYTES)
        head = inode.InodeHead.unpack(self._inode)
        self.object_bytes = head.object_bytes
        self.objects = -(-head.vdi_size // head.object_bytes)

    async def call(self, pack, *arguments, **options) -> tuple:
        """One request, alone under way: (fields, payload)."""
        request_id = next(self._ids)
        self.link.send(*pack(request_id, *arguments, **options))
        header = await self.link.receive(native.HEADER_BYTES)
        fields = native.RESPONSE.unpack(header)
        payload = b''
        if fields[native.DATA_LENGTH]:
            payload = await self.link.receive(fields[native.DATA_LENGTH])
        if fields[native.ID] != request_id:
            raise flood.BenchError('an answer to request %d, not to %d'
                                   % (fields[native.ID], request_id))
        return fields, payload

    async def read(self, oid: int, offset: int, size: int) -> bytes:
        fields, payload = await self.call(client.pack_read, oid, offset, size)
        return client.read_data(fields, payload, size)

    async def fill(self):
        """Write every object in full, so that what follows is in place."""
        data = os.urandom(self.object_bytes)
        for index in range(self.objects):
            oid = ids.data_oid(self.vdi_id, index)
            at = inode.map_offset(index)
            owner, = struct.unpack_from('<I', self._inode, at)
            if owner == self.vdi_id:
                pack = client.pack_write
            else:
                pack = client.pack_create
            fields, _ = await self.call(pack, oid, 0, data)
            client.check_response(fields)
            if owner != self.vdi_id:
                fields, _ = await self.call(
                    client.pack_write, ids.vdi_oid(self.vdi_id), at,
                    struct.pack('<I', self.vdi_id))
                client.check_response(fields)
        await self.flush()

    async def flush(self):
        fields, _ = await self.call(client.pack_flush, self.vdi_id)
        client.check_response(fields)

    async def close(self):
        fields, _ = await self.call(client.pack_release_vdi, self.vdi_id)
        client.check_response(fields)
        self.link.close()

    def flood(self, row, seed: int = 1) -> flood.Flood:
        """The load that ``row`` describes (see ``bench.rows``)."""
        places = itertools.cycle(self._places(row, seed))
        size, pack = row.size, native.REQUEST.pack
        if row.is_write:
            flags = native.FLAG_WRITE | (
                native.FLAG_DIRECT if row.is_durable else native.FLAG_CACHE)
            data = itertools.cycle([os.urandom(size) for _ in range(8)])
            opcode, expected = native.WRITE_OBJ, 0

            def make(slot):
                oid, offset = next(places)
                return (pack(1, opcode, flags, 0, slot, size, oid, 0, 0, 0,
                             0, 0, 0, offset, 0), next(data))
        else:
            opcode, expected = native.READ_OBJ, size

            def make(slot):
                oid, offset = next(places)
                return (pack(1, opcode, 0, 0, slot, size, oid, 0, 0, 0, 0,
                             0, 0, offset, 0),)
        return flood.Flood(self.link, make, parser(expected), row.depth)

    def _places(self, row, seed):
        per_object = self.object_bytes // row.size
        count = per_object * self.objects
        if row.is_random:
            chance = random.Random(seed)
            numbers = [chance.randrange(count)
                       for _ in range(_PATTERN_LENGTH)]
        else:
            numbers = range(count)
        return [(ids.data_oid(self.vdi_id, number // per_object),
                 number % per_object * row.size) for number in numbers]


def parser(expected: int):
    """``Flood``'s parse, for answers with ``expected`` bytes each."""
    unpack_from = _ANSWER.unpack_from

    def parse(view, start, end, done):
        slot = 0
        while end - start >= 48:
            slot, length, result = unpack_from(view, start)
            if result or length != expected:
                raise flood.BenchError(
                    'answered with %d bytes and: %s'
                    % (length, type(errors.from_result(result)).__name__
                       if result else 'success'))
            start += 48 + length
            if start > end:
                break
            done.append(slot)
        return start, slot

    return parse
