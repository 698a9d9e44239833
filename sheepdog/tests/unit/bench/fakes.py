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

"""Small servers in memory, to point the load generators at."""

import asyncio
import collections
import contextlib
import struct

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.wire import native


class NativeServer(asyncio.Protocol):
    """One VDI, ``vm``; objects are created by writing, as clients do.

    :ivar seen: how many requests of each (opcode, flags) there were
    """

    VDI_ID = 0x7C2B25
    SHIFT = 20

    def __init__(self, objects=2, fail_after=None):
        head = inode.InodeHead('vm', vdi_size=objects << self.SHIFT,
                               block_size_shift=self.SHIFT,
                               vdi_id=self.VDI_ID)
        self.objects = {ids.vdi_oid(self.VDI_ID): bytearray(
            head.pack().ljust(inode.CLIENT_BYTES, b'\0'))}
        self.seen = collections.Counter()
        self.is_locked = False
        self.transport = None
        self._left = fail_after
        self._buffer = bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self._buffer += data
        requests, used, _ = native.split_requests(self._buffer, 0,
                                                  len(self._buffer))
        del self._buffer[:used]
        # Out of order on purpose: clients must go by the id.
        for fields, payload in reversed(requests):
            try:
                answer = self.answer(fields, payload)
            except errors.SheepdogError as error:
                answer = [native.pack_error(fields, error)]
            self.transport.writelines(answer)

    def answer(self, fields, payload):
        opcode = fields[native.OPCODE]
        self.seen[opcode, fields[native.FLAGS]] += 1
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise errors.StorageError('enough')
        if opcode in (native.LOCK_VDI, native.RELEASE_VDI):
            request = native.parse_vdi(fields, payload)
            if opcode == native.LOCK_VDI and request.name != 'vm':
                raise errors.NoVdi(request.name)
            self.is_locked = opcode == native.LOCK_VDI
            return [native.pack_vdi_response(
                fields, vdi_id=self.VDI_ID, block_size_shift=self.SHIFT)]
        native.check_object(fields, payload)
        if opcode == native.FLUSH_VDI:
            return [native.pack_response(fields)]
        oid, offset = fields[native.OID], fields[native.OFFSET]
        if opcode == native.CREATE_AND_WRITE_OBJ:
            self.objects[oid] = bytearray(1 << self.SHIFT)
        elif oid not in self.objects:
            raise errors.NoObject('%x' % oid)
        content = self.objects[oid]
        if opcode == native.READ_OBJ:
            data = bytes(content[offset:offset + fields[native.DATA_LENGTH]])
            return [native.pack_response(fields, length=len(data)), data]
        assert offset + len(payload) <= len(content)
        content[offset:offset + len(payload)] = payload
        return [native.pack_response(fields)]


async def serve_nbd(reader, writer, size, commands):
    """The handler of an NBD server with one export, ``vm``.

    :param commands: a Counter of (command, flags)
    """
    content = bytearray(size)
    writer.write(b'NBDMAGICIHAVEOPT\0\3')
    with contextlib.suppress(asyncio.IncompleteReadError,
                             ConnectionResetError):
        await reader.readexactly(4)
        _, option, length = struct.unpack('>8sII',
                                          await reader.readexactly(16))
        payload = await reader.readexactly(length)
        name = payload[4:4 + int.from_bytes(payload[:4])]
        if name != b'vm':
            writer.write(struct.pack('>QIII', 0x3E889045565A9, option,
                                     0x80000006, 0))
            return
        writer.write(struct.pack('>QIIIHQH', 0x3E889045565A9, option, 3, 12,
                                 0, size, 0x2D))
        writer.write(struct.pack('>QIII', 0x3E889045565A9, option, 1, 0))
        while True:
            _, flags, command, cookie, offset, length = struct.unpack(
                '>IHHQQI', await reader.readexactly(28))
            commands[command, flags] += 1
            if command == 2:
                return
            if command == 1:
                content[offset:offset + length] = (
                    await reader.readexactly(length))
            error = 0 if offset + length <= size else 22
            writer.write(struct.pack('>IIQ', 0x67446698, error, cookie))
            if command == 0:
                writer.write(bytes(content[offset:offset + length]))
