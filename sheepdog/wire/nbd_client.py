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

"""The client's role of NBD: what tests and benchmarks speak to a server."""

import struct
from typing import NamedTuple

from sheepdog.wire import nbd
from sheepdog.wire import nbd_options as options
from sheepdog.wire import nbd_transmission as transmission

_U16 = struct.Struct('>H')
_U32 = struct.Struct('>I')
_U64 = struct.Struct('>Q')
_EXPORT = struct.Struct('>HQH')
_ERROR = struct.Struct('>IH')
_HOLE = struct.Struct('>QI')


class OptionReply(NamedTuple):
    option: int
    reply_type: int
    payload: bytes


class Chunk(NamedTuple):
    """A reply or a part of one. A simple reply is one Chunk, ``kind``
    CHUNK_OFFSET_DATA for a READ's data and CHUNK_NONE for all else."""

    cookie: int
    is_done: bool
    kind: int
    error: int = 0
    offset: int = 0
    data: bytes = b''
    """Of a READ; of an error, its text."""
    length: int = 0
    """Of a hole."""
    extents: tuple = ()
    """(length, STATE_*) pairs."""


def pack_client_flags(flags: int = options.FLAG_FIXED_NEWSTYLE |
                      options.FLAG_NO_ZEROES) -> bytes:
    return options.CLIENT_FLAGS.pack(flags)


def pack_option(option: int, payload: bytes = b'') -> bytes:
    return options.OPTION.pack(options.OPTION_MAGIC, option,
                               len(payload)) + payload


def pack_info(name: str, wanted=()) -> bytes:
    """The payload of OPT_INFO and OPT_GO."""
    encoded = name.encode()
    return b''.join((_U32.pack(len(encoded)), encoded,
                     _U16.pack(len(wanted)), *map(_U16.pack, wanted)))


def pack_contexts(name: str, queries=(nbd.CONTEXT_ALLOCATION,)) -> bytes:
    """The payload of the two metadata context options."""
    parts = [_U32.pack(len(name.encode())), name.encode(),
             _U32.pack(len(queries))]
    for query in queries:
        parts += [_U32.pack(len(query.encode())), query.encode()]
    return b''.join(parts)


def pack_request(command: int, cookie: int, offset: int = 0, length: int = 0,
                 flags: int = 0) -> bytes:
    """A request; the payload of a WRITE goes behind it."""
    return transmission.REQUEST.pack(transmission.REQUEST_MAGIC, flags,
                                     command, cookie, offset, length)


def unpack_greeting(greeting: bytes) -> int:
    """The handshake flags of a server.

    :raises Violation: it does not speak the newstyle protocol
    """
    if len(greeting) != options.GREETING.size:
        raise nbd.Violation('not the greeting of an NBD server')
    init, option, flags = options.GREETING.unpack(greeting)
    if (init, option) != (options.INIT_MAGIC, options.OPTION_MAGIC):
        raise nbd.Violation('not the greeting of an NBD server')
    return flags


def unpack_option_reply(buffer, start: int, end: int):
    """The option reply at ``start``: (OptionReply or None, position).

    :raises Violation: it is not one
    """
    header = options.REPLY
    if end - start < header.size:
        return None, start
    magic, option, reply_type, length = header.unpack_from(buffer, start)
    if magic != options.REPLY_MAGIC:
        raise nbd.Violation('wrong magic of a reply: 0x%x' % magic)
    behind = start + header.size + length
    if behind > end:
        return None, start
    return OptionReply(option, reply_type,
                       bytes(buffer[start + header.size:behind])), behind


def unpack_export(payload: bytes):
    """(size, transmission flags) of an INFO_EXPORT.

    :raises Violation: it is another kind of information, or none
    """
    if (len(payload) != _EXPORT.size or
            _EXPORT.unpack(payload)[0] != options.INFO_EXPORT):
        raise nbd.Violation('not the description of an export')
    return _EXPORT.unpack(payload)[1:]


class ReplyReader:
    """Cuts a byte stream into replies."""

    def __init__(self):
        self._reads = {}

    def expect(self, cookie: int, length: int) -> None:
        """A READ of that length was sent: only that tells how long a
        simple reply is."""
        self._reads[cookie] = length

    def receive(self, buffer, start: int, end: int):
        """The reply at ``start``: (Chunk or None, position).

        :raises Violation: it is not one
        """
        if end - start < _U32.size:
            return None, start
        magic, = _U32.unpack_from(buffer, start)
        if magic == transmission.SIMPLE_MAGIC:
            return self._simple(buffer, start, end)
        if magic == transmission.CHUNK_MAGIC:
            return self._chunk(buffer, start, end)
        raise nbd.Violation('wrong magic of a reply: 0x%x' % magic)

    def _simple(self, buffer, start: int, end: int):
        header = transmission.SIMPLE
        if end - start < header.size:
            return None, start
        _magic, error, cookie = header.unpack_from(buffer, start)
        length = 0 if error else self._reads.get(cookie, 0)
        behind = start + header.size + length
        if behind > end:
            return None, start
        self._reads.pop(cookie, None)
        kind = (transmission.CHUNK_OFFSET_DATA if length else
                transmission.CHUNK_NONE)
        return Chunk(cookie, True, kind, error,
                     data=bytes(buffer[behind - length:behind])), behind

    def _chunk(self, buffer, start: int, end: int):
        header = transmission.CHUNK
        if end - start < header.size:
            return None, start
        _magic, flags, kind, cookie, length = header.unpack_from(buffer,
                                                                 start)
        behind = start + header.size + length
        if behind > end:
            return None, start
        is_done = bool(flags & transmission.CHUNK_DONE)
        if is_done:
            self._reads.pop(cookie, None)
        payload = bytes(buffer[start + header.size:behind])
        try:
            return _decode_chunk(cookie, is_done, kind, payload), behind
        except struct.error:
            raise nbd.Violation('a chunk of type %d with %d bytes'
                                % (kind, length)) from None


def _decode_chunk(cookie: int, is_done: bool, kind: int,
                  payload: bytes) -> Chunk:
    if kind == transmission.CHUNK_NONE:
        return Chunk(cookie, is_done, kind)
    if kind == transmission.CHUNK_OFFSET_DATA:
        offset, = _U64.unpack_from(payload)
        return Chunk(cookie, is_done, kind, offset=offset, data=payload[8:])
    if kind == transmission.CHUNK_OFFSET_HOLE:
        offset, length = _HOLE.unpack(payload)
        return Chunk(cookie, is_done, kind, offset=offset, length=length)
    if kind == transmission.CHUNK_BLOCK_STATUS:
        _U32.unpack_from(payload)
        return Chunk(cookie, is_done, kind, extents=tuple(
            transmission.EXTENT.iter_unpack(payload[4:])))
    if kind in (transmission.CHUNK_ERROR, transmission.CHUNK_ERROR_OFFSET):
        error, length = _ERROR.unpack_from(payload)
        text = payload[_ERROR.size:_ERROR.size + length]
        offset = 0
        if kind == transmission.CHUNK_ERROR_OFFSET:
            offset, = _U64.unpack_from(payload, _ERROR.size + length)
        return Chunk(cookie, is_done, kind, error, offset, text)
    raise nbd.Violation('an unknown type of chunk: %d' % kind)
