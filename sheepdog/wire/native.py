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

"""The native protocol, that QEMU and tgt speak: the server's role, no I/O.

A message is a header of 48 bytes, little-endian, and a payload. A request
carries its ``data_length`` bytes of payload only with flag WRITE (without
it, ``data_length`` is the bytes wanted); a response always carries them.

A server splits what it received with ``split_requests`` and gets each
header as one tuple, ``fields``, in the form for objects (see ``REQUEST``):
objects need no second unpacking, and the rare requests about VDIs are read
from the same tuple by ``parse_vdi``. The client's role is in
``native_client``.

What is wrong in one request is ``InvalidParameters`` or ``VersionMismatch``:
answer it and go on. ``Unframeable`` means that nobody knows where the next
message begins: close the connection.
"""

import struct
from typing import NamedTuple

from sheepdog.model import errors
from sheepdog.model import inode
from sheepdog.model import limits

VERSIONS = (1, 2)
"""``proto_ver`` of clients. 2 allows answers to reads to leave out zeroes,
which a server need not do, and ours does not."""

HEADER_BYTES = 48

REQUEST = struct.Struct('<BBHIIIQQBBBBIII')
"""proto_ver opcode flags epoch id data_length · oid cow_oid copies
copy_policy ec_index (unused) tgt_epoch offset (unused): a request for an
object. Covers all 48 bytes, so that any request goes through it unharmed."""

VDI_REQUEST = struct.Struct('<BBHIIIQIBBBBII8x')
"""… vdi_size base_vdi_id copies copy_policy store_policy block_size_shift
snapid type"""

RESPONSE = struct.Struct('<BBHIIIIIQQQ')
"""proto_ver opcode flags epoch id data_length · result, and the rest by
form. Covers all 48 bytes."""

OBJECT_RESPONSE = struct.Struct('<BBHIIIIB3xQ16x')
"""… result copies offset"""

VDI_RESPONSE = struct.Struct('<BBHIIII4xIIBB14x')
"""… result vdi_id attr_id copies block_size_shift"""

CLUSTER_DEFAULT_RESPONSE = struct.Struct('<BBHIIIIBBB25x')
"""… result nr_copies copy_policy block_size_shift"""

# Where the fields of ``REQUEST`` and ``RESPONSE`` stand in their tuples.
OPCODE, FLAGS, EPOCH, ID, DATA_LENGTH = 1, 2, 3, 4, 5
OID, COW_OID, COPIES, COPY_POLICY, TGT_EPOCH, OFFSET = 6, 7, 8, 9, 12, 13
RESULT = 6

CREATE_AND_WRITE_OBJ = 0x01
READ_OBJ = 0x02
WRITE_OBJ = 0x03
REMOVE_OBJ = 0x04
DISCARD_OBJ = 0x05
NEW_VDI = 0x11
LOCK_VDI = 0x12
RELEASE_VDI = 0x13
GET_VDI_INFO = 0x14
READ_VDIS = 0x15
FLUSH_VDI = 0x16
DEL_VDI = 0x17
GET_CLUSTER_DEFAULT = 0x18

OPCODE_NAMES = {
    CREATE_AND_WRITE_OBJ: 'CREATE_AND_WRITE_OBJ', READ_OBJ: 'READ_OBJ',
    WRITE_OBJ: 'WRITE_OBJ', REMOVE_OBJ: 'REMOVE_OBJ',
    DISCARD_OBJ: 'DISCARD_OBJ', NEW_VDI: 'NEW_VDI', LOCK_VDI: 'LOCK_VDI',
    RELEASE_VDI: 'RELEASE_VDI', GET_VDI_INFO: 'GET_VDI_INFO',
    READ_VDIS: 'READ_VDIS', FLUSH_VDI: 'FLUSH_VDI', DEL_VDI: 'DEL_VDI',
    GET_CLUSTER_DEFAULT: 'GET_CLUSTER_DEFAULT',
}
PUBLIC_MAX = 0x7F

FLAG_WRITE = 0x01
"""A payload follows the request."""
FLAG_COW = 0x02
FLAG_CACHE = 0x04
"""Write-back: durable at the next FLUSH_VDI."""
FLAG_DIRECT = 0x08
"""Durable when acknowledged."""
FLAG_PIGGYBACK = 0x10
FLAG_TGT = 0x20
FLAG_FWD = 0x40

LOCK_NORMAL = 0
LOCK_SHARED = 1

VDI_BITMAP_BYTES = limits.VDI_IDS_MAX // 8

_NAME_BYTES = limits.VDI_NAME_BYTES
_NAME_AND_TAG_BYTES = limits.VDI_NAME_BYTES + limits.VDI_TAG_BYTES


class Unframeable(Exception):
    """A header that promises more than any message may have."""


# --- framing -----------------------------------------------------------------

_UNLIMITED = 1 << 62


def split_requests(buffer, start: int, end: int,
                   budget: int = _UNLIMITED) -> tuple:
    """The whole requests in ``buffer[start:end]``: (requests, used, room).

    No more than bring or ask for ``budget`` bytes, but at least one.

    Each request is (``fields``, payload); payloads are copies, ``b''``
    where there is none. ``used`` is the position behind the last whole
    request, ``room`` the bytes that the next one takes in all, 0 when not
    even its header is there.

    :raises Unframeable: a payload would be over the limit
    """
    return _split(REQUEST.unpack_from, 0, buffer, start, end, budget)


def split_responses(buffer, start: int, end: int) -> tuple:
    """As ``split_requests``, with the fields of ``RESPONSE``."""
    return _split(RESPONSE.unpack_from, FLAG_WRITE, buffer, start, end,
                  _UNLIMITED)


def _split(unpack_from, always, buffer, start, end, budget):
    # ``always`` FLAG_WRITE: data_length counts whatever the flags say.
    messages = []
    room = 0
    limit = limits.FRAME_PAYLOAD_MAX_BYTES
    with memoryview(buffer) as view:
        while end - start >= 48:
            fields = unpack_from(buffer, start)
            stop = start + 48
            if (fields[2] | always) & 1 and fields[5]:
                length = fields[5]
                if length > limit:
                    raise Unframeable(
                        'a payload of %d bytes is over the limit of %d'
                        % (length, limit))
                body = stop
                stop += length
                if stop > end:
                    room = stop - start
                    break
                messages.append((fields, bytes(view[body:stop])))
            else:
                messages.append((fields, b''))
            start = stop
            budget -= fields[5]
            if budget <= 0:
                break
    return messages, start, room


# --- server: reading requests ------------------------------------------------

def check_object(fields: tuple, payload: bytes) -> None:
    """Is the request for an object well formed, by its opcode?

    The object, the range and the right to write it are for others to check.

    :raises InvalidParameters: the payload is missing, not wanted, or the
        bytes wanted are none or too many; or the opcode is not an object's
    :raises VersionMismatch: a protocol version that we do not know
    """
    opcode = fields[1]
    if opcode == READ_OBJ:
        good = (not payload
                and 0 < fields[5] <= limits.FRAME_PAYLOAD_MAX_BYTES)
    elif opcode == WRITE_OBJ or opcode == CREATE_AND_WRITE_OBJ:
        good = payload
    else:
        good = not payload and opcode in (REMOVE_OBJ, DISCARD_OBJ, FLUSH_VDI)
    if not good:
        _refuse(fields, payload)
    if fields[0] not in VERSIONS:
        _refuse_version(fields)


class VdiRequest(NamedTuple):
    """A request about VDIs. ``name`` and ``tag`` are text; fields that its
    opcode does not use are whatever the client sent."""

    opcode: int
    flags: int
    id: int
    name: str
    tag: str
    vdi_size: int
    base_vdi_id: int
    copies: int
    copy_policy: int
    store_policy: int
    block_size_shift: int
    snap_id: int
    lock_type: int


_NAMED = {
    NEW_VDI: (_NAME_BYTES,),
    LOCK_VDI: (_NAME_AND_TAG_BYTES, _NAME_BYTES),
    GET_VDI_INFO: (_NAME_AND_TAG_BYTES, _NAME_BYTES),
    DEL_VDI: (_NAME_AND_TAG_BYTES, _NAME_BYTES),
}


def parse_vdi(fields: tuple, payload: bytes) -> VdiRequest:
    """The request about VDIs that ``fields`` and ``payload`` make up.

    :raises InvalidParameters: wrong length of the payload, a name that is
        not terminated or not UTF-8, an opcode that is not a VDI's
    :raises VersionMismatch: a protocol version that we do not know
    """
    opcode = fields[1]
    # tgt gives its locks back without saying which version it speaks.
    if fields[0] not in VERSIONS and not (
            fields[0] == 0 and opcode == RELEASE_VDI):
        _refuse_version(fields)
    name = tag = ''
    if opcode in _NAMED:
        if len(payload) not in _NAMED[opcode]:
            _refuse(fields, payload)
        name = inode.decode_name(payload[:_NAME_BYTES])
        if len(payload) > _NAME_BYTES:
            tag = inode.decode_name(payload[_NAME_BYTES:])
    elif opcode == RELEASE_VDI:
        # Some clients name the VDI here as well; its id is what counts.
        if len(payload) > _NAME_AND_TAG_BYTES:
            _refuse(fields, payload)
    elif opcode == READ_VDIS:
        if payload or fields[5] not in (0, VDI_BITMAP_BYTES):
            _refuse(fields, payload)
    elif payload or opcode != GET_CLUSTER_DEFAULT:
        _refuse(fields, payload)
    (_, opcode, flags, _, request_id, _, vdi_size, base_vdi_id, copies,
     copy_policy, store_policy, block_size_shift, snap_id,
     lock_type) = VDI_REQUEST.unpack(REQUEST.pack(*fields))
    return VdiRequest(opcode, flags, request_id, name, tag, vdi_size,
                      base_vdi_id, copies, copy_policy, store_policy,
                      block_size_shift, snap_id, lock_type)


def _refuse(fields, payload):
    opcode = fields[1]
    if opcode not in OPCODE_NAMES:
        raise errors.InvalidParameters('there is no opcode 0x%02x' % opcode)
    raise errors.InvalidParameters(
        '%s: wrong length (data_length %d, payload of %d bytes)'
        % (OPCODE_NAMES[opcode], fields[5], len(payload)))


def _refuse_version(fields):
    raise errors.VersionMismatch(
        'protocol version %d is none of %s' % (fields[0], VERSIONS))


# --- server: writing responses -----------------------------------------------
# All take the request's ``fields`` and echo version, opcode and id. Each
# returns the header; ``length`` bytes of payload are the caller's to send.

def pack_response(fields: tuple, result: int = 0, epoch: int = 0,
                  length: int = 0, copies: int = 0) -> bytes:
    """The answer to a request for an object; and to any that failed."""
    return OBJECT_RESPONSE.pack(fields[0], fields[1], 0, epoch, fields[4],
                                length, result, copies, 0)


def pack_error(fields: tuple, error: BaseException, epoch: int = 0) -> bytes:
    """The answer to any request that failed with ``error``."""
    return pack_response(fields, errors.public_result(error), epoch)


def pack_vdi_response(fields: tuple, epoch: int = 0, length: int = 0,
                      vdi_id: int = 0, attr_id: int = 0, copies: int = 0,
                      block_size_shift: int = 0) -> bytes:
    return VDI_RESPONSE.pack(fields[0], fields[1], 0, epoch, fields[4],
                             length, 0, vdi_id, attr_id, copies,
                             block_size_shift)


def pack_cluster_default(fields: tuple, copies: int, copy_policy: int,
                         block_size_shift: int, epoch: int = 0) -> bytes:
    return CLUSTER_DEFAULT_RESPONSE.pack(
        fields[0], fields[1], 0, epoch, fields[4], 0, 0, copies, copy_policy,
        block_size_shift)


def pack_vdi_bitmap(vdi_ids) -> bytes:
    """The payload of READ_VDIS: one bit for each id in use."""
    bitmap = bytearray(VDI_BITMAP_BYTES)
    for vdi_id in vdi_ids:
        bitmap[vdi_id >> 3] |= 1 << (vdi_id & 7)
    return bytes(bitmap)
