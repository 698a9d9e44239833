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

"""The stream of one snapshot, or of what differs between two. Pure.

A head, frames in order of their offsets, an end. Behind each of them is the
digest of all that came so far: so what is changed, cut out, put elsewhere or
added is noticed at that place, before it is used. The format is described
in doc/source/backup-format.rst.
"""

import hashlib
import json
import struct
from typing import Iterator, NamedTuple

from sheepdog.backup import faults
from sheepdog.model import errors
from sheepdog.model import inode
from sheepdog.model import limits

MAGIC = b'SDBACKUP'
VERSION = 1
DATA, ZERO, END = 1, 2, 3
FRAME_DATA_MAX_BYTES = 4 << 20
HEAD_MAX_BYTES = 1 << 16
DIGEST_BYTES = 32
IDENTITY_DIGITS = 32
SIZE_MAX_BYTES = limits.VDI_OBJECTS_MAX << limits.OBJECT_SHIFT_MAX

_BEGIN = struct.Struct('<8sII')
_FRAME = struct.Struct('<IIQQ')


class Head(NamedTuple):
    """What the stream is of.

    :ivar identity: of the snapshot, see ``records``
    :ivar base: the identity of what it is the difference to; '': of
        nothing, it is whole
    :ivar base_size: bytes
    """

    name: str
    tag: str
    identity: str
    size: int
    block_size_shift: int
    base: str = ''
    base_tag: str = ''
    base_size: int = 0
    snapped: int = 0


class Piece(NamedTuple):
    """``data`` at ``offset``, or zeroes where it is None."""

    offset: int
    length: int
    data: object = None


def pack(head: Head, pieces) -> Iterator[bytes]:
    """The stream, a little at a time.

    :param pieces: in order, none of them overlaps another
    """
    text = json.dumps(head._asdict(), sort_keys=True).encode()
    assert len(text) <= HEAD_MAX_BYTES
    begin = _BEGIN.pack(MAGIC, VERSION, len(text)) + text
    digest = hashlib.sha256(begin).digest()
    yield begin + digest
    count = written = end = 0
    for offset, length, data in pieces:
        assert offset >= end and length
        end = offset + length
        if data is None:
            fields, data = _FRAME.pack(ZERO, 0, offset, length), b''
        else:
            assert len(data) == length <= FRAME_DATA_MAX_BYTES
            fields = _FRAME.pack(DATA, length, offset, length)
            written += length
        digest = _chained(digest, fields, data)
        yield fields
        if data:
            yield data
        yield digest
        count += 1
    assert not count or end <= head.size
    fields = _FRAME.pack(END, 0, count, written)
    yield fields + _chained(digest, fields, b'')


class Reader:
    """Reads a stream.

    :param file: has ``read(size)``, which gives less at its end only
    :ivar head:
    :raises Damaged: it is not one, or not as it was written
    """

    def __init__(self, file):
        self._file = file
        begin = self._take(_BEGIN.size)
        magic, version, length = _BEGIN.unpack(begin)
        if magic != MAGIC:
            raise faults.Damaged('this is no backup of a VDI')
        if version != VERSION:
            raise faults.Damaged(
                'this is a backup of version %d, of which nothing is known '
                'here, only of version %d' % (version, VERSION))
        if length > HEAD_MAX_BYTES:
            raise faults.Damaged('the head of the backup is damaged')
        begin += self._take(length)
        self._digest = hashlib.sha256(begin).digest()
        self._check('the head of the backup')
        self.head = _head_of(begin[_BEGIN.size:])

    def pieces(self) -> Iterator[Piece]:
        """All of them; when this has ended, nothing was missing.

        :raises Damaged:
        """
        count = written = end = 0
        while True:
            fields = self._take(_FRAME.size)
            kind, size, offset, length = _FRAME.unpack(fields)
            what = 'part %d of the backup' % (count + 1)
            if size > FRAME_DATA_MAX_BYTES:
                raise faults.Damaged(what + ' is damaged')
            data = self._take(size)
            self._digest = _chained(self._digest, fields, data)
            self._check(what)
            if kind == END:
                if (offset, length, size) != (count, written, 0):
                    raise faults.Damaged('the end of the backup does not '
                                         'fit what came before')
                if self._file.read(1):
                    raise faults.Damaged('something follows the end of the '
                                         'backup')
                return
            if (kind not in (DATA, ZERO) or offset < end or not length
                    or size != (length if kind == DATA else 0)
                    or offset + length > self.head.size):
                raise faults.Damaged(what + ' makes no sense')
            yield Piece(offset, length, data if kind == DATA else None)
            end = offset + length
            written += size
            count += 1

    def _take(self, size):
        data = self._file.read(size) if size else b''
        if len(data) < size:
            raise faults.Damaged('the backup is cut off: its end is missing')
        return data

    def _check(self, what):
        if self._take(DIGEST_BYTES) != self._digest:
            raise faults.Damaged(what + ' is damaged, or not in its place')


def _chained(digest, fields, data):
    found = hashlib.sha256(digest)
    found.update(fields)
    found.update(data)
    return found.digest()


def _head_of(text: bytes) -> Head:
    try:
        fields = json.loads(text)
        head = Head(**{name: fields[name] for name in Head._fields})
        for name, kind in Head.__annotations__.items():
            if type(getattr(head, name)) is not kind:
                raise TypeError(name)
        check_snapshot(head.name, head.tag, head.size, head.block_size_shift)
        check_identity(head.identity)
        if head.base:
            check_identity(head.base)
        if not 0 <= head.base_size <= head.size:
            raise ValueError('base_size')
    except (ValueError, TypeError, KeyError, RecursionError,
            errors.InvalidParameters) as error:
        raise faults.Damaged('the head of the backup makes no sense: %s'
                             % error) from None
    return head


def check_snapshot(name, tag, size, shift) -> None:
    """:raises ValueError, InvalidParameters: no snapshot is so"""
    inode.encode_name(name)
    inode.encode_name(tag)
    if not (name and 0 < size <= SIZE_MAX_BYTES
            and limits.OBJECT_SHIFT_MIN <= shift <= limits.OBJECT_SHIFT_MAX):
        raise ValueError('size')


def check_identity(text) -> None:
    """:raises ValueError: it is none"""
    if len(text) != IDENTITY_DIGITS or text != bytes.fromhex(text).hex():
        raise ValueError('identity')
