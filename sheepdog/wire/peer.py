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

"""The protocol between sheep, and between a sheep and its own tools.

It shares framing with the native protocol (48-byte header, little-endian,
``opcode`` at byte 1, ``id`` at 8, ``data_length`` at 12), so that one port
serves both: a connection starts out public and becomes a cluster connection
by HELLO (``wire.hello``). Over TCP its frames are sealed from then on, if a
key was proved (``wire.seal``). Everything here is versioned by ``VERSION``
and apart from the public opcodes (0x80 and above).

    offset  request                     response
    0  u8   VERSION                     VERSION
    1  u8   opcode                      opcode
    2  u16  flags                       flags
    4  u32  epoch                       epoch of the answering sheep
    8  u32  id                          id, echoed
    12 u32  data_length                 data_length
    16 u64  oid, or volume handle       oid, or handle, echoed
    24 u64  token, or volume offset     value (by opcode)
    32 u32  offset in the object        result code
    36 u32  aux (by opcode)             aux (by opcode)
    40 u32  CRC-32C of the payload      CRC-32C of the payload
    44 u32  tag of the connection       tag of the connection

A request carries ``data_length`` payload bytes exactly when ``flags`` has
WRITE; a response always carries ``data_length`` bytes. The tag is agreed in
HELLO: a frame that reaches the wrong connection is noticed. In a sealed frame
the CRC is zero, and 16 bytes are between header and payload.
"""

import json
import math
import struct

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import limits

VERSION = 0x11
HEADER = struct.Struct('<BBHIIIQQIIII')
HEADER_BYTES = HEADER.size

FLAG_WRITE = 0x01
FLAG_DURABLE = 0x02
"""Answer when it is on disk; without it, from the page cache."""
FLAG_CREATE = 0x04
"""Create the object where it does not exist (aux of the capacity below)."""
FLAG_RETRY = 0x08
"""Sent before, perhaps by another way: look whether it was applied."""
FLAG_RECOVERY = 0x10
"""READ for recovery: as the replica has it, whole or not."""

HELLO = 0x80
"""JSON both ways, see ``wire.hello``. The only one allowed on a public
connection."""
MESSAGE = 0x81
"""JSON both ways: cluster messages between sheep."""
ADMIN = 0x82
"""JSON both ways: {"method": NAME, "arguments": {…}} → {"result": …}. On an
error the result code is set and the payload is {"error": text}."""
PING = 0x83
"""Answered at once: who owes a long answer is alive."""

# Between gateways and replicas. aux of WRITE, ZERO, REMOVE: log2 of the
# capacity (8 bits) | lock serial (24 bits) << 8; token: index of the origin
# in the view << 48 | its count of writes.
WRITE = 0x90
READ = 0x91
"""token = lock serial, aux = bytes wanted → data."""
ZERO = 0x92
"""Make [offset, offset + u32 payload) zero, giving blocks back."""
REMOVE = 0x93
FLUSH = 0x94
"""Sync what this sheep has acknowledged; no object."""
STABLE = 0x95
"""token = all writes of that origin below this count are everywhere. Not
answered."""
STATE = 0x96
"""→ JSON description of the replica (see recovery)."""
TABLE = 0x97
"""→ its block checksum table."""
LIST = 0x98
"""→ u64 ids of the objects held; with aux (copies), only of those of which
who asks is a target, were there so many copies; offset 0: as they were a
moment ago, 1: now."""
RECOVER = 0x99
"""Make your replica of this object whole now, then answer."""
EXTENTS = 0x9A
"""→ u32 pairs (offset, length) of blocks that are not zero."""
ALIGN = 0x9C
"""Make your copy equal to mine, who settles what all follow; answer when it
is, durably. It is not read before all are."""
DOUBT = 0x9B
"""This replica took a write that others refused: make it like theirs before
it is read again."""
SUSPECT = 0x9D
"""JSON {"why": text}: this copy was compared with the others, and is the
wrong one. Set it aside and make it anew; answered when it is read no more."""
CLIENTS_WAIT = 0x9E
"""token = for how long clients of who says so do, in microseconds << 32 | how
long they do usually, 0 where that is not known. Not answered."""

# Strips of coded objects (see ``wire.strips``).
STRIP_WRITE = 0xB0
STRIP_READ = 0xB1
STRIP_REMOVE = 0xB2
STRIP_EXTENTS = 0xB3
STRIP_STABLE = 0xB4
"""oid = the VDI's object, token = all updates of the VDI with smaller numbers
are on all targets."""
STRIP_STATE = 0xB5
"""Settling an object (see ``recovery.settlement``); JSON both ways, as the
three that follow."""
STRIP_ALIGN = 0xB6
STRIP_BUILD = 0xB7
STRIP_SETTLE = 0xB8
STRIP_RECOVER = 0xB9
"""To an object's first target: settle it, then answer."""
STRIP_DOOM = 0xBA
"""STRIP_REMOVE is to follow; answered with the strip's generation when that
is noted durably."""

# Between gateways: the same operations, to the one who orders them. Of
# changes aux = the copies that an object is made with | lock serial << 8.
ORDER_WRITE = 0xA0
ORDER_READ = 0xA1
ORDER_ZERO = 0xA2
ORDER_REMOVE = 0xA3
ORDER_FLUSH = 0xA4

# Volumes, for the client library: handle from ADMIN volume.open; token is
# the 64-bit volume offset, aux the length (READ, ZERO). FLAG_DURABLE on
# WRITE and ZERO is FUA.
VOLUME_READ = 0xD0
VOLUME_WRITE = 0xD1
VOLUME_ZERO = 0xD2
VOLUME_FLUSH = 0xD3


def pack_request(opcode, flags, epoch, request_id, oid=0, token=0, offset=0,
                 aux=0, payload=b'', tag=0, is_sealed=False) -> list:
    """A request as buffers to send: header, and payload where there is one.
    """
    if payload:
        return [HEADER.pack(VERSION, opcode, flags | FLAG_WRITE, epoch,
                            request_id, len(payload), oid, token, offset,
                            aux, 0 if is_sealed else crc32c(payload), tag),
                payload]
    return [HEADER.pack(VERSION, opcode, flags, epoch, request_id, 0, oid,
                        token, offset, aux, 0, tag)]


def pack_response(opcode, epoch, request_id, result, oid=0, value=0, aux=0,
                  payload=b'', tag=0, flags=0, is_sealed=False) -> list:
    """A response as buffers to send."""
    if payload:
        return [HEADER.pack(VERSION, opcode, flags, epoch, request_id,
                            len(payload), oid, value, result, aux,
                            0 if is_sealed else crc32c(payload), tag),
                payload]
    return [HEADER.pack(VERSION, opcode, flags, epoch, request_id, 0, oid,
                        value, result, aux, 0, tag)]


def pack_json(message) -> bytes:
    return json.dumps(message, separators=(',', ':')).encode()


def _integer(text) -> int:
    number = int(text)
    if not -1 << 63 <= number < 1 << 64:
        raise ValueError('a number of more than 64 bits')
    return number


def _float(text) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError('not a number')
    return number


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float,
                            parse_constant=_float)
"""Numbers are of 64 bits, and numbers."""


def unpack_json(payload) -> dict:
    """:raises InvalidParameters: it is not a JSON object"""
    try:
        message = _DECODER.decode(str(payload, 'utf-8'))
    except (ValueError, RecursionError):
        raise errors.InvalidParameters('the message is not JSON') from None
    if not isinstance(message, dict):
        raise errors.InvalidParameters('the message is not a JSON object')
    return message


def check_length(data_length: int) -> None:
    """:raises InvalidParameters: the frame is longer than any may be"""
    if data_length > limits.CLUSTER_MESSAGE_MAX_BYTES:
        raise errors.InvalidParameters(
            'a payload of %d bytes is over the limit of %d'
            % (data_length, limits.CLUSTER_MESSAGE_MAX_BYTES))
