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

"""What the C original (1.0) wrote on its disks, taken apart. Pure.

Whatever the bytes, they are what is documented or ``Refused`` says why not.
"""

import ipaddress
import re
import struct
from typing import NamedTuple, Optional

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits

_CONFIG = struct.Struct('<QHB16sBBBHQ')
CONFIG_BYTES = _CONFIG.size
_RECORD = struct.Struct('<24x16sH16sHxxxxHxxIQ')
RECORD_BYTES = _RECORD.size
_TIME = struct.Struct('<Q')
VERSION = 6
EPOCH_MAX = 99999999
STORES = ('plain', 'tree')

STRICT, DISK_MODE, AUTO_VNODES, LOCKS, RECYCLE, AVOID_FULL = (
    1, 2, 4, 8, 16, 32)
_KNOWN_FLAGS = 63

_EPOCH_NAME = re.compile('[0-9]{8}')
_OBJECT_NAME = re.compile(r'([0-9a-f]{16})(?:_([0-9]{1,3}))?(?:\.([0-9]+))?')
_IPV4_FRONT = bytes(12)


class Refused(Exception):
    """This cannot be taken over as it is; nothing was changed. The text
    says what to do. ``exit_code`` as everywhere: 2 something is wrong with
    it, 4 there is no room, 5 something is missing."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


class Config(NamedTuple):
    """``created``: seconds << 32 | nanoseconds; ``space`` in bytes."""

    created: int
    flags: int
    copies: int
    store: str
    clean: bool
    copy_policy: int
    block_size_shift: int
    space: int


class Node(NamedTuple):
    """A record of an epoch."""

    host: str
    port: int
    zone: int
    vnodes: int
    space: int
    data_host: str
    data_port: int

    @property
    def address(self) -> str:
        return '%s:%d' % (self.host, self.port)


class Epoch(NamedTuple):
    """``time`` in seconds since 1970."""

    number: int
    time: int
    nodes: tuple


class Name(NamedTuple):
    """Of an object's file. ``strip``: -1 where it is no strip; ``stale``:
    the epoch of a copy that was replaced, else -1."""

    oid: int
    strip: int = -1
    stale: int = -1


def is_config(data: bytes) -> bool:
    """Could this META/config be the original's? (Ours is JSON.)"""
    return len(data) == CONFIG_BYTES and not data.lstrip().startswith(b'{')


def read_config(data: bytes) -> Config:
    """:raises Refused: it is none, or of another version"""
    if len(data) != CONFIG_BYTES:
        raise Refused('config has %d bytes, not %d: this is no store of '
                      'Sheepdog 1.0, or it is torn'
                      % (len(data), CONFIG_BYTES))
    (created, flags, copies, name, clean, copy_policy, shift, version,
     space) = _CONFIG.unpack(data)
    if version != VERSION:
        raise Refused('the store has format version %d, only %d (Sheepdog '
                      '1.0) can be taken over: upgrade it with the original '
                      'first' % (version, VERSION))
    store = name.partition(b'\0')[0]
    if store not in [one.encode() for one in STORES]:
        raise Refused('the store driver %r is unknown, only %s can be taken '
                      'over' % (store[:16], ' and '.join(STORES)))
    if flags & ~_KNOWN_FLAGS:
        raise Refused('config has unknown flags (%#x)' % flags)
    if not created:
        raise Refused('the store was never formatted: start a sheep with an '
                      'empty directory instead')
    if not limits.OBJECT_SHIFT_MIN <= shift <= limits.OBJECT_SHIFT_MAX:
        raise Refused('config names objects of 2^%d bytes' % shift)
    return Config(created, flags, copies, store.decode(), bool(clean),
                  copy_policy, shift, space)


def checked_config(config: Config) -> Config:
    """Of what came another way.

    :raises ValueError: there is no such
    """
    try:
        return read_config(_CONFIG.pack(
            config.created, config.flags, config.copies,
            config.store.encode(), config.clean, config.copy_policy,
            config.block_size_shift, VERSION, config.space))
    except (struct.error, Refused) as error:
        raise ValueError(error) from None


def checked_epoch(epoch: Epoch) -> Epoch:
    """Of what came another way.

    :raises ValueError: there is no such
    """
    try:
        return read_epoch(epoch.number, b''.join(
            _RECORD.pack(_packed(node.host), node.port,
                         _packed(node.data_host), node.data_port,
                         node.vnodes, node.zone, node.space)
            for node in epoch.nodes) + _TIME.pack(epoch.time))
    except (struct.error, Refused) as error:
        raise ValueError(error) from None


def epoch_of(name: str) -> Optional[int]:
    """The number of an epoch by the name of its file; None: it is none."""
    return int(name) if _EPOCH_NAME.fullmatch(name) else None


def read_epoch(number: int, data: bytes) -> Epoch:
    """:raises Refused: it is torn, or no epoch's record"""
    count, rest = divmod(len(data) - _TIME.size, RECORD_BYTES)
    if count < 1 or rest or not 0 < number <= EPOCH_MAX:
        raise Refused('epoch/%08d has %d bytes: it is torn'
                      % (number, len(data)))
    nodes = tuple(_node(number, *record) for record in _RECORD.iter_unpack(
        data[:count * RECORD_BYTES]))
    if len({(node.host, node.port) for node in nodes}) != count:
        raise Refused('epoch/%08d names a node twice' % number)
    return Epoch(number, _TIME.unpack_from(data, count * RECORD_BYTES)[0],
                 nodes)


def _node(number, address, port, data_address, data_port, vnodes, zone,
          space) -> Node:
    host = _host(address)
    if not host or not port:
        raise Refused('epoch/%08d names a node without an address' % number)
    return Node(host, port, zone, vnodes, space, _host(data_address),
                data_port)


def _host(address: bytes) -> str:
    """'' where there is none."""
    if address.startswith(_IPV4_FRONT):
        last = address[12:]
        return str(ipaddress.IPv4Address(last)) if last != bytes(4) else ''
    return str(ipaddress.IPv6Address(address))


def _packed(host: str) -> bytes:
    if not host:
        return bytes(16)
    return ipaddress.ip_address(host).packed.rjust(16, b'\0')


def read_name(name: str) -> Optional[Name]:
    """None where it is the name of no object's file."""
    match = _OBJECT_NAME.fullmatch(name)
    if match is None:
        return None
    oid, strip, stale = match.groups()
    return Name(int(oid, 16), -1 if strip is None else int(strip),
                -1 if stale is None else int(stale))


def is_tree_directory(name: str) -> bool:
    """Below the place of objects, one that the driver ``tree`` makes."""
    return name == 'meta' or re.fullmatch('[0-9a-f]{2}', name) is not None


def tree_directory(oid: int) -> str:
    """Where the driver ``tree`` keeps an object."""
    if oid & (ids.VDI_BIT | ids.VMSTATE_BIT | ids.ATTRIBUTE_BIT):
        return 'meta'
    return '%02x' % (oid >> 32 & 0xff)


def read_head(oid: int, data: bytes) -> inode.InodeHead:
    """The head of a VDI's object.

    :raises Refused: it is no inode, or that of another VDI
    """
    vdi_id = ids.vdi_of(oid)
    try:
        head = inode.InodeHead.unpack(data)
    except errors.InvalidParameters as error:
        raise Refused('the inode of VDI %06x makes no sense: %s'
                      % (vdi_id, error)) from None
    if head.vdi_id != vdi_id or oid != ids.vdi_oid(vdi_id):
        raise Refused('the inode of VDI %06x is that of VDI %06x'
                      % (vdi_id, head.vdi_id))
    shift = head.block_size_shift
    if not limits.OBJECT_SHIFT_MIN <= shift <= limits.OBJECT_SHIFT_MAX:
        raise Refused('the inode of VDI %06x names objects of 2^%d bytes'
                      % (vdi_id, shift))
    return head
