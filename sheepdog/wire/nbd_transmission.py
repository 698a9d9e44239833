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

"""Requests and replies of NBD once an export is chosen, the server's role.

    request, 28 B                       simple reply, 16 B
    0  u32  0x25609513                  0  u32  0x67446698
    4  u16  flags                       4  u32  error
    6  u16  command                     8  u64  cookie
    8  u64  cookie                      data of a READ
    16 u64  offset
    24 u32  length                      chunk of a structured reply, 20 B
    payload of a WRITE                  0  u32  0x668e33ef
                                        4  u16  flags
                                        6  u16  type
                                        8  u64  cookie
                                        16 u32  length of the payload
                                        payload

With structured replies agreed, READ and BLOCK_STATUS are answered by chunks
and errors carry a text; everything else has simple replies all the same,
which are shorter.
"""

import struct
from typing import Callable

from sheepdog.wire import nbd

REQUEST_MAGIC = 0x25609513
SIMPLE_MAGIC = 0x67446698
CHUNK_MAGIC = 0x668E33EF

REQUEST = struct.Struct('>IHHQQI')
SIMPLE = struct.Struct('>IIQ')
CHUNK = struct.Struct('>IHHQI')
DATA_CHUNK = struct.Struct('>IHHQIQ')
"""A chunk with the offset that its data begin with."""

CHUNK_DONE = 1 << 0
"""The last chunk of a reply."""

CHUNK_NONE = 0
CHUNK_OFFSET_DATA = 1
CHUNK_OFFSET_HOLE = 2
CHUNK_BLOCK_STATUS = 5
CHUNK_ERROR = (1 << 15) + 1
CHUNK_ERROR_OFFSET = (1 << 15) + 2

EXTENT = struct.Struct('>II')
_ERROR = struct.Struct('>IH')
_CONTEXT = struct.Struct('>I')

FLAGS_ALLOWED = {
    nbd.CMD_READ: nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_DF,
    nbd.CMD_WRITE: nbd.CMD_FLAG_FUA,
    nbd.CMD_FLUSH: nbd.CMD_FLAG_FUA,
    nbd.CMD_TRIM: nbd.CMD_FLAG_FUA,
    nbd.CMD_WRITE_ZEROES: (nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE |
                           nbd.CMD_FLAG_FAST_ZERO),
    nbd.CMD_BLOCK_STATUS: nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_REQ_ONE,
}
"""Commands that are served, with the flags each one takes. FUA is taken
everywhere: clients are known to set it where it says nothing."""

_unpack_request = REQUEST.unpack_from
_REQUEST_BYTES = REQUEST.size


class RequestReader:
    """Cuts a byte stream into requests.

    Each one is handed to ``take(flags, command, cookie, offset, length,
    data)``; data is bytes, empty but for a WRITE. The payload of a WRITE
    longer than ``PAYLOAD_MAX_BYTES`` goes by unseen, and it is handed over
    with data None (not earlier: clients take an answer to what they are
    still sending for an error of the server's). While ``take`` returns true,
    the next one follows. Nothing is taken after a DISC.
    """

    __slots__ = ('_take', '_drop_bytes', '_dropped', '_is_over',
                 'room_bytes')

    def __init__(self, take: Callable):
        self._take = take
        self._drop_bytes = 0
        self._dropped = None
        """The request whose payload goes by."""
        self._is_over = False
        self.room_bytes = _REQUEST_BYTES
        """Length of the request that is awaited, as far as it is known."""

    def receive(self, buffer, start: int, end: int) -> int:
        """Take what is whole in ``buffer[start:end]``; return the position
        up to which bytes were used.

        :raises Violation: this is not a request
        """
        take = self._take
        position = start
        if self._dropped is not None:
            position += min(self._drop_bytes, end - start)
            self._drop_bytes -= position - start
            if self._drop_bytes:
                return position
            dropped, self._dropped = self._dropped, None
            if not take(*dropped):
                return position
        elif self._is_over:
            return end
        self.room_bytes = _REQUEST_BYTES
        while end - position >= _REQUEST_BYTES:
            magic, flags, command, cookie, offset, length = _unpack_request(
                buffer, position)
            if magic != REQUEST_MAGIC:
                raise nbd.Violation('wrong magic of a request: 0x%x' % magic)
            if command == nbd.CMD_WRITE:
                data_at = position + _REQUEST_BYTES
                if length > nbd.PAYLOAD_MAX_BYTES:
                    self._dropped = (flags, command, cookie, offset, length,
                                     None)
                    self._drop_bytes = length
                    return self.receive(buffer, data_at, end)
                position_after = data_at + length
                if position_after > end:
                    self.room_bytes = _REQUEST_BYTES + length
                    break
                # The one copy: the buffer is used again.
                data = bytes(memoryview(buffer)[data_at:position_after])
                position = position_after
                if not take(flags, command, cookie, offset, length, data):
                    break
            else:
                position += _REQUEST_BYTES
                if command == nbd.CMD_DISC:
                    self._is_over = True
                    take(flags, command, cookie, offset, length, b'')
                    return end
                if not take(flags, command, cookie, offset, length, b''):
                    break
        return position


def simple_reply(cookie: int, error: int = 0) -> bytes:
    return SIMPLE.pack(SIMPLE_MAGIC, error, cookie)


def none_chunk(cookie: int) -> bytes:
    """A success that has nothing (more) to say."""
    return CHUNK.pack(CHUNK_MAGIC, CHUNK_DONE, CHUNK_NONE, cookie, 0)


def error_chunk(cookie: int, error: int, text: str = '') -> bytes:
    encoded = nbd.encode_text(text)
    return b''.join((
        CHUNK.pack(CHUNK_MAGIC, CHUNK_DONE, CHUNK_ERROR, cookie,
                   _ERROR.size + len(encoded)),
        _ERROR.pack(error, len(encoded)), encoded))


def status_chunk(cookie: int, context_id: int, extents) -> bytes:
    """The answer to BLOCK_STATUS.

    :param extents: (length, STATE_*) pairs, at least one, none of length 0
    """
    assert extents
    return b''.join((
        CHUNK.pack(CHUNK_MAGIC, CHUNK_DONE, CHUNK_BLOCK_STATUS, cookie,
                   _CONTEXT.size + EXTENT.size * len(extents)),
        _CONTEXT.pack(context_id),
        *(EXTENT.pack(length, state) for length, state in extents)))


def merge_extents(extents, length: int, extents_max: int) -> list:
    """What ``Volume.extents`` says as (length, STATE_*) pairs: neighbours
    of one kind joined, cut to ``length`` bytes and ``extents_max`` pairs.

    :param length: at most what an extent's 32 bits can say
    """
    merged = []
    for size, is_data in extents:
        size = min(size, length)
        if not size:
            continue
        length -= size
        state = 0 if is_data else nbd.STATE_HOLE | nbd.STATE_ZERO
        if merged and merged[-1][1] == state:
            merged[-1] = (merged[-1][0] + size, state)
        elif len(merged) == extents_max:
            break
        else:
            merged.append((size, state))
    return merged
