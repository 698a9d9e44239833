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

"""The client's role of the native protocol: what tests and benchmarks speak.

Requests are built with the ``pack_…`` functions; answers are split off by
``native.split_responses`` and read with the ``read_…`` functions.
"""

from typing import NamedTuple

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.wire import native

VERSION = 1

_pack = native.REQUEST.pack
_WRITE = native.FLAG_WRITE


# Requests: the buffers to send, which are the header, and the payload if any.

def pack_read(request_id: int, oid: int, offset: int, size: int) -> list:
    return [_pack(VERSION, native.READ_OBJ, 0, 0, request_id, size, oid, 0,
                  0, 0, 0, 0, 0, offset, 0)]


def pack_write(request_id: int, oid: int, offset: int, data: bytes,
               flags: int = native.FLAG_DIRECT) -> list:
    return [_pack(VERSION, native.WRITE_OBJ, flags | _WRITE, 0, request_id,
                  len(data), oid, 0, 0, 0, 0, 0, 0, offset, 0), data]


def pack_create(request_id: int, oid: int, offset: int, data: bytes,
                flags: int = native.FLAG_DIRECT, copies: int = 0,
                copy_policy: int = 0, cow_oid: int = 0) -> list:
    """CREATE_AND_WRITE_OBJ; with ``cow_oid``, from a copy of that."""
    flags |= _WRITE | (native.FLAG_COW if cow_oid else 0)
    return [_pack(VERSION, native.CREATE_AND_WRITE_OBJ, flags, 0, request_id,
                  len(data), oid, cow_oid, copies, copy_policy, 0, 0, 0,
                  offset, 0), data]


def pack_remove(request_id: int, oid: int) -> list:
    return _bare(native.REMOVE_OBJ, request_id, oid)


def pack_discard(request_id: int, oid: int) -> list:
    return _bare(native.DISCARD_OBJ, request_id, oid)


def pack_flush(request_id: int, vdi_id: int) -> list:
    return _bare(native.FLUSH_VDI, request_id, ids.vdi_oid(vdi_id))


def _bare(opcode, request_id, oid):
    return [_pack(VERSION, opcode, 0, 0, request_id, 0, oid, 0, 0, 0, 0, 0,
                  0, 0, 0)]


def pack_new_vdi(request_id: int, name: str, size: int, base_vdi_id: int = 0,
                 copies: int = 0, copy_policy: int = 0,
                 store_policy: int = 0, block_size_shift: int = 0,
                 snapshot: bool = False) -> list:
    """A new VDI; with ``base_vdi_id`` a clone of it, or its snapshot."""
    return _pack_vdi(native.NEW_VDI, request_id, inode.encode_name(name), size,
                     base_vdi_id, copies, copy_policy, store_policy,
                     block_size_shift, int(snapshot))


def pack_lock_vdi(request_id: int, name: str, tag: str = '',
                  snap_id: int = 0,
                  lock_type: int = native.LOCK_NORMAL) -> list:
    return _pack_vdi(native.LOCK_VDI, request_id, _name_and_tag(name, tag),
                     snap_id=snap_id, lock_type=lock_type)


def pack_get_vdi_info(request_id: int, name: str, tag: str = '',
                      snap_id: int = 0) -> list:
    return _pack_vdi(native.GET_VDI_INFO, request_id, _name_and_tag(name, tag),
                     snap_id=snap_id)


def pack_del_vdi(request_id: int, name: str, tag: str = '',
                 snap_id: int = 0) -> list:
    return _pack_vdi(native.DEL_VDI, request_id, _name_and_tag(name, tag),
                     snap_id=snap_id)


def pack_release_vdi(request_id: int, vdi_id: int,
                     lock_type: int = native.LOCK_NORMAL) -> list:
    return _pack_vdi(native.RELEASE_VDI, request_id, base_vdi_id=vdi_id,
                     lock_type=lock_type)


def pack_read_vdis(request_id: int) -> list:
    return _pack_vdi(native.READ_VDIS, request_id,
                     wanted=native.VDI_BITMAP_BYTES)


def pack_get_cluster_default(request_id: int) -> list:
    return _pack_vdi(native.GET_CLUSTER_DEFAULT, request_id)


def _name_and_tag(name, tag):
    return inode.encode_name(name) + inode.encode_name(tag)


def _pack_vdi(opcode, request_id, payload=b'', size=0, base_vdi_id=0,
              copies=0, copy_policy=0, store_policy=0, block_size_shift=0,
              snap_id=0, lock_type=native.LOCK_NORMAL, wanted=0):
    header = native.VDI_REQUEST.pack(
        VERSION, opcode, _WRITE if payload else 0, 0, request_id,
        len(payload) or wanted, size, base_vdi_id, copies, copy_policy,
        store_policy, block_size_shift, snap_id, lock_type)
    return [header, payload] if payload else [header]


# Answers.

class VdiAnswer(NamedTuple):
    vdi_id: int
    attr_id: int
    copies: int
    block_size_shift: int


class ClusterDefault(NamedTuple):
    copies: int
    copy_policy: int
    block_size_shift: int


def check_response(fields: tuple) -> None:
    """:raises SheepdogError: what the result code stands for"""
    if fields[native.RESULT]:
        raise errors.from_result(fields[native.RESULT])


def read_data(fields: tuple, payload: bytes, size: int) -> bytes:
    """The answer to a read of ``size`` bytes.

    :raises SheepdogError: what the result code stands for; CorruptFrame
        when it is not as many bytes as were asked for
    """
    check_response(fields)
    if len(payload) != size:
        raise errors.CorruptFrame('a read of %d bytes was answered with %d'
                                  % (size, len(payload)))
    return payload


def read_vdi_answer(fields: tuple) -> VdiAnswer:
    """:raises SheepdogError: what the result code stands for"""
    check_response(fields)
    return VdiAnswer(*_reread(native.VDI_RESPONSE, fields))


def read_cluster_default(fields: tuple) -> ClusterDefault:
    """:raises SheepdogError: what the result code stands for"""
    check_response(fields)
    return ClusterDefault(*_reread(native.CLUSTER_DEFAULT_RESPONSE, fields))


def _reread(form, fields):
    """What follows the result in a response of this form."""
    return form.unpack(native.RESPONSE.pack(*fields))[native.RESULT + 1:]


def read_vdi_bitmap(payload: bytes) -> list:
    """The ids in use, in order, of an answer to READ_VDIS.

    :raises CorruptFrame: it has not the right length
    """
    if len(payload) != native.VDI_BITMAP_BYTES:
        raise errors.CorruptFrame('a VDI bitmap has %d bytes, not %d'
                                  % (native.VDI_BITMAP_BYTES, len(payload)))
    return [position * 8 + bit for position, byte in enumerate(payload)
            if byte for bit in range(8) if byte >> bit & 1]
