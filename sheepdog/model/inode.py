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

"""The inode: what a VDI object holds, as clients read it.

Offsets are the wire protocol facts' ("The inode"). Only the head (the first
4664 bytes) and the object map are ever looked at by name; the rest of the
object is zero.
"""

import dataclasses
import struct

from sheepdog.model import errors
from sheepdog.model import limits

_HEAD = struct.Struct('<256s256sQQQQQBBBBIIII')
HEAD_BYTES = 4664
"""Head plus the unused array behind it: the object map starts here."""
MAP_OFFSET = 4664
MAP_ENTRY_BYTES = 4
CLIENT_BYTES = MAP_OFFSET + MAP_ENTRY_BYTES * limits.VDI_OBJECTS_MAX
"""What clients read: 4,198,968 bytes."""

TAG_OFFSET = 256
SNAP_CTIME_OFFSET = 520
SIZE_OFFSET = 536
POLICY_OFFSET = 552
COPIES_OFFSET = 554
SNAP_ID_OFFSET = 556


@dataclasses.dataclass
class InodeHead:
    """The named fields; times are seconds << 32 | nanoseconds, sizes bytes."""

    name: str
    tag: str = ''
    create_time: int = 0
    snap_ctime: int = 0
    vm_clock_nsec: int = 0
    vdi_size: int = 0
    vm_state_size: int = 0
    copy_policy: int = 0
    store_policy: int = 0
    nr_copies: int = 3
    block_size_shift: int = limits.OBJECT_SHIFT_DEFAULT
    snap_id: int = 0
    vdi_id: int = 0
    parent_vdi_id: int = 0
    btree_counter: int = 0

    @property
    def object_bytes(self) -> int:
        return 1 << self.block_size_shift

    @property
    def is_snapshot(self) -> bool:
        return self.snap_ctime != 0

    def pack(self) -> bytes:
        """The packed fields, 572 bytes; the head is zero from there on."""
        return _HEAD.pack(
            encode_name(self.name), encode_name(self.tag), self.create_time,
            self.snap_ctime, self.vm_clock_nsec, self.vdi_size,
            self.vm_state_size, self.copy_policy, self.store_policy,
            self.nr_copies, self.block_size_shift, self.snap_id, self.vdi_id,
            self.parent_vdi_id, self.btree_counter)

    @classmethod
    def unpack(cls, data) -> 'InodeHead':
        """Read a head from at least 572 bytes.

        :raises InvalidParameters: when it is too short or a name is not
            terminated text
        """
        if len(data) < _HEAD.size:
            raise errors.InvalidParameters(
                'an inode head has %d bytes, not %d' % (_HEAD.size,
                                                        len(data)))
        name, tag, *rest = _HEAD.unpack_from(data)
        return cls(decode_name(name), decode_name(tag), *rest)


def seconds_of(time: int) -> float:
    """A time as inodes and entries of VDIs have it, in seconds."""
    return (time >> 32) + (time & 0xFFFFFFFF) / 1e9


def encode_name(name: str) -> bytes:
    """A name as a zero-terminated field of 256 bytes.

    :raises InvalidParameters: when it does not fit, or is not text
    """
    try:
        data = name.encode()
    except UnicodeEncodeError:
        raise errors.InvalidParameters(
            'the name %r holds half a character' % name[:40]) from None
    if len(data) >= limits.VDI_NAME_BYTES or b'\0' in data:
        raise errors.InvalidParameters(
            'the name %r is longer than %d bytes or holds a zero byte'
            % (name[:40], limits.VDI_NAME_BYTES - 1))
    return data.ljust(limits.VDI_NAME_BYTES, b'\0')


def decode_name(field) -> str:
    """Text of a zero-terminated field.

    :raises InvalidParameters: not terminated, or not UTF-8
    """
    field = bytes(field)
    end = field.find(b'\0')
    if end < 0:
        raise errors.InvalidParameters('a name is not terminated')
    try:
        return field[:end].decode()
    except UnicodeDecodeError:
        raise errors.InvalidParameters('a name is not UTF-8') from None


def map_offset(index: int) -> int:
    """Where entry ``index`` of the object map stands in the VDI object."""
    return MAP_OFFSET + MAP_ENTRY_BYTES * index
