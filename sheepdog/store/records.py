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

"""The journal's format: segment headers and records. Pure.

A segment is one 4 KiB page whose first 52 bytes are its header, then
records one behind the other. Numbers are little-endian.

    header     0 8s  b'SHEEPJNL'
               8 u32 FORMAT
              12 u32 state: FREE or LIVE
              16 u64 generation: grows by one with each use of a segment
              24 u64 lowest sequence number that a record here may have
              32 u64 the sequence number that the segment used before ends
                     with
              40 u64 reserved, 0
              48 u32 crc32c of bytes 0-47

    record     0 u32 MAGIC
               4 u32 crc32c of everything from byte 8 to the end of entries
               8 u64 sequence number, growing from record to record
              16 u64 all records up to this number were durable before
              24 u64 object id
              32 u64 the object's birth: the number of what made its file
              40 u32 version (epoch)
              44 u32 offset
              48 u32 length
              52 u32 capacity of the object
              56 u8  kind
              57 u8  flags
              58 u16 0, or of a strip its index + 1
              60 u32 lag: the records up to this one's number less the lag
                     were applied before this one was written
              64     WRITE, INTENT: a checksum table entry for each block
                     WRITE: the data (what the entries are of)
                     HISTORY: a checksum of the event, and the event

Offsets and lengths of WRITE, INTENT and ZERO are whole blocks: a record
never needs the old content of a block, and replaying it twice is the same
as once.

    WRITE    these bytes, here
    INTENT   the object's file was written at this range; entries tell with
             what. The file is synced before anybody relies on it.
    ZERO     this range reads zero
    REMOVE   the object is gone
    ADOPT    the object's content is the file made for ``birth``
    HISTORY  something happened to a strip (see ``store.history``); the
             records with the flag PART before it are part of that: they
             count if it does

CREATE (a flag of WRITE and INTENT), REMOVE and ADOPT make records of the
same object before them void.
"""

import struct
import typing

from crc32c import crc32c

from sheepdog.model import ids
from sheepdog.store import checksums

FORMAT = 1
FREE = 1
LIVE = 2

HEADER_PAGE_BYTES = 4096
_HEADER_MAGIC = b'SHEEPJNL'
_HEADER = struct.Struct('<8sIIQQQQ')
_CRC = struct.Struct('<I')

WRITE = 1
INTENT = 2
ZERO = 3
REMOVE = 4
ADOPT = 5
HISTORY = 6

KIND_NAMES = {WRITE: 'write', INTENT: 'intent', ZERO: 'zero',
              REMOVE: 'remove', ADOPT: 'adopt', HISTORY: 'history'}

CREATE = 0x01
PART = 0x02

MAGIC = 0x524A4853
MAGIC_BYTES = struct.pack('<I', MAGIC)
PREFIX = struct.Struct('<II')
BODY = struct.Struct('<QQQQIIIIBBHI')
BODY_OF_ONE = struct.Struct('<QQQQIIIIBBHII')
"""The body and the entry of a record of one block."""

HEAD_BYTES = PREFIX.size + BODY.size
BLOCK_BYTES = checksums.BLOCK_BYTES

LENGTH_MAX_BYTES = 256 << 20
"""No object is longer, so no record may say so."""

ONE_BLOCK_BYTES = HEAD_BYTES + checksums.ENTRY_BYTES + BLOCK_BYTES
"""A WRITE of one block, the commonest record."""


class Header(typing.NamedTuple):
    state: int
    generation: int
    first: int
    previous: int


class Record(typing.NamedTuple):
    """``data_start``: where the data begin, counted from the record's own
    first byte; ``size``: of the whole record."""

    kind: int
    flags: int
    sequence: int
    synced: int
    oid: int
    birth: int
    version: int
    offset: int
    length: int
    capacity: int
    entries: bytes
    data_start: int
    size: int
    lag: int

    @property
    def applied(self) -> int:
        """Up to this number records were applied when this was written."""
        return self.sequence - self.lag

    @property
    def is_reset(self) -> bool:
        """True where earlier records of the object are void."""
        return self.kind in (REMOVE, ADOPT) or bool(self.flags & CREATE)


def pack_header(header: Header) -> bytes:
    """The header as its whole page."""
    data = _HEADER.pack(_HEADER_MAGIC, FORMAT, *header, 0)
    return (data + _CRC.pack(crc32c(data))).ljust(HEADER_PAGE_BYTES, b'\0')


def unpack_header(page) -> typing.Optional[Header]:
    """The header of a segment, or None where it is not one of ours."""
    if len(page) < _HEADER.size + _CRC.size:
        return None
    crc, = _CRC.unpack_from(page, _HEADER.size)
    if crc32c(bytes(page[:_HEADER.size])) != crc:
        return None
    magic, version, *fields, _reserved = _HEADER.unpack_from(page)
    if magic != _HEADER_MAGIC or version != FORMAT:
        return None
    if fields[0] not in (FREE, LIVE):
        return None
    return Header(*fields)


def entry_bytes(kind: int, length: int) -> int:
    if kind == WRITE or kind == INTENT:
        return length // BLOCK_BYTES * checksums.ENTRY_BYTES
    return _CRC.size if kind == HISTORY else 0


def size_of(kind: int, length: int) -> int:
    """Bytes of a whole record."""
    size = HEAD_BYTES + entry_bytes(kind, length)
    return size + length if kind == WRITE or kind == HISTORY else size


def pack(kind, flags, sequence, synced, oid, birth, version, offset, length,
         capacity, entries=b'', lag=0) -> bytes:
    """A record up to its data; ``entries`` as table bytes."""
    body = BODY.pack(sequence, synced, oid & ids.MASK64, birth, version,
                     offset, length, capacity, kind, flags, oid >> 64,
                     lag) + entries
    return PREFIX.pack(MAGIC, crc32c(body)) + body


def plausible_size(buffer, start: int) -> int:
    """Bytes of the record that seems to begin at ``start``, of which at
    least ``HEAD_BYTES`` are in the buffer; 0 where none does. Nothing but
    the shape was checked."""
    if len(buffer) - start < HEAD_BYTES:
        return 0
    magic, _crc = PREFIX.unpack_from(buffer, start)
    if magic != MAGIC:
        return 0
    fields = BODY.unpack_from(buffer, start + PREFIX.size)
    offset, length, capacity, kind = fields[5], fields[6], fields[7], \
        fields[8]
    if kind not in KIND_NAMES or length > LENGTH_MAX_BYTES:
        return 0
    if kind == HISTORY:
        return size_of(kind, length) if length and not offset else 0
    if length % BLOCK_BYTES or offset % BLOCK_BYTES:
        return 0
    if kind in (WRITE, INTENT, ZERO):
        if not length or offset + length > capacity:
            return 0
    elif length or offset:
        return 0
    return size_of(kind, length)


def unpack(buffer, start: int = 0) -> typing.Optional[Record]:
    """The whole, undamaged record at ``start``, or None."""
    size = plausible_size(buffer, start)
    if not size or start + size > len(buffer):
        return None
    crc, = _CRC.unpack_from(buffer, start + _CRC.size)
    (sequence, synced, oid, birth, version, offset, length, capacity, kind,
     flags, strip, lag) = BODY.unpack_from(buffer, start + PREFIX.size)
    data_start = HEAD_BYTES + entry_bytes(kind, length)
    view = memoryview(buffer)
    if crc32c(view[start + PREFIX.size:start + data_start]) != crc:
        return None
    entries = bytes(view[start + HEAD_BYTES:start + data_start])
    if kind == WRITE:
        data = view[start + data_start:start + size]
        if checksums.entries(data).tobytes() != entries:
            return None
    elif kind == HISTORY:
        if entries != _CRC.pack(crc32c(view[start + data_start:
                                            start + size])):
            return None
    return Record(kind, flags, sequence, synced, strip << 64 | oid, birth,
                  version, offset, length, capacity, entries, data_start,
                  size, lag)
