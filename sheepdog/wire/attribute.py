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

"""The content of a VDI attribute object: a key and its value.

    offset 0 name[256] · 256 tag[256] · 512 u64 ctime · 520 u32 snap_id ·
    524 u32 value_len · 528 key[256] · 784 value, up to 65,536 bytes
"""

import struct
from typing import NamedTuple

from sheepdog.model import errors
from sheepdog.model import inode

_HEAD = struct.Struct('<256s256sQII256s')
HEAD_BYTES = _HEAD.size
VALUE_MAX_BYTES = 65536


class Attribute(NamedTuple):
    """``ctime`` is seconds << 32 | nanoseconds, of the snapshot meant."""

    name: str
    key: str
    value: bytes
    tag: str = ''
    ctime: int = 0
    snap_id: int = 0


def pack(attribute: Attribute) -> bytes:
    """The object's content; what follows the value is zero.

    :raises InvalidParameters: the value or a name is too long
    """
    if len(attribute.value) > VALUE_MAX_BYTES:
        raise errors.InvalidParameters(
            'a value of %d bytes is over the limit of %d'
            % (len(attribute.value), VALUE_MAX_BYTES))
    return _HEAD.pack(
        inode.encode_name(attribute.name), inode.encode_name(attribute.tag),
        attribute.ctime, attribute.snap_id, len(attribute.value),
        inode.encode_name(attribute.key)) + attribute.value


def unpack(data: bytes) -> Attribute:
    """Read one, from at least its head and value.

    :raises InvalidParameters: it is too short, or a name is not terminated
        text
    """
    if len(data) < HEAD_BYTES:
        raise errors.InvalidParameters('an attribute has at least %d bytes, '
                                       'not %d' % (HEAD_BYTES, len(data)))
    name, tag, ctime, snap_id, length, key = _HEAD.unpack_from(data)
    if length > min(len(data) - HEAD_BYTES, VALUE_MAX_BYTES):
        raise errors.InvalidParameters(
            'an attribute says its value has %d bytes' % length)
    return Attribute(
        inode.decode_name(name), inode.decode_name(key),
        bytes(data[HEAD_BYTES:HEAD_BYTES + length]), inode.decode_name(tag),
        ctime, snap_id)
