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

"""Object and VDI ids, and the hash that both names and places come from.

Layout of an object id (u64): bits 0-31 index or key hash, bits 32-55 VDI id,
bits 56-58 form (of data objects), bit 63 VDI object, 62 vmstate, 61
attribute, 60 b-tree node, 59 ledger.

A VDI that is altered between copies and strips gets another *form*: its data
objects other names, so the old and the new one of an index are two objects.
What an inode's map says of an index, its *owner*, is the VDI's id with the
form above it (0: there is no object).
"""

from sheepdog.model import limits

FNV_BASIS = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
MASK64 = (1 << 64) - 1

VDI_BIT = 1 << 63
VMSTATE_BIT = 1 << 62
ATTRIBUTE_BIT = 1 << 61
BTREE_BIT = 1 << 60
LEDGER_BIT = 1 << 59
KIND_BITS = VDI_BIT | VMSTATE_BIT | ATTRIBUTE_BIT | BTREE_BIT | LEDGER_BIT
WHOLE_BITS = VDI_BIT | ATTRIBUTE_BIT
VDI_ID_MASK = limits.VDI_IDS_MAX - 1
VDI_ID_BITS = 24
FORM_MASK = limits.FORMS_MAX - 1
INDEX_MASK = (1 << 32) - 1


def fnv1a(data: bytes, state: int = FNV_BASIS) -> int:
    """FNV-1a, 64 bits."""
    for byte in data:
        state = ((state ^ byte) * FNV_PRIME) & MASK64
    return state


def next_hash(value: int) -> int:
    """Feed the eight bytes of ``value``, lowest first, on from ``value``."""
    return fnv1a(value.to_bytes(8, 'little'), value)


def data_oid(owner: int, index: int) -> int:
    """:param owner: as the inode's map has it: a VDI's id, and the form"""
    return (owner << 32) | index


def owner_of(vdi_id: int, form: int) -> int:
    """What the map of a VDI says of its own objects of that form."""
    return form << VDI_ID_BITS | vdi_id


def owner_in(oid: int) -> int:
    """What the map says of a data object: its VDI's id, and its form."""
    return (oid >> 32) & (FORM_MASK << VDI_ID_BITS | VDI_ID_MASK)


def form_of(oid: int) -> int:
    return (oid >> 56) & FORM_MASK


def is_owned(owner: int, vdi_id: int) -> bool:
    """Does that entry of a map name an object of this VDI's own?"""
    return owner & VDI_ID_MASK == vdi_id


def vdi_oid(vdi_id: int) -> int:
    return VDI_BIT | (vdi_id << 32)


def vmstate_oid(vdi_id: int, index: int) -> int:
    return VMSTATE_BIT | (vdi_id << 32) | index


def attribute_oid(vdi_id: int, key_hash: int) -> int:
    return ATTRIBUTE_BIT | (vdi_id << 32) | (key_hash & 0xFFFFFFFF)


def vdi_of(oid: int) -> int:
    return (oid >> 32) & VDI_ID_MASK


def index_of(oid: int) -> int:
    return oid & INDEX_MASK


def is_data(oid: int) -> bool:
    return not oid & KIND_BITS


def is_whole(oid: int) -> bool:
    """It is kept in whole copies, whatever its VDI's policy."""
    return bool(oid & WHOLE_BITS)


def is_vdi(oid: int) -> bool:
    return bool(oid & VDI_BIT)


def capacity_of(oid: int, block_size_shift: int) -> int:
    """The bytes an object of this kind may hold."""
    if oid & VDI_BIT:
        return limits.INODE_CAPACITY_BYTES
    if oid & ATTRIBUTE_BIT:
        return limits.ATTRIBUTE_CAPACITY_BYTES
    return 1 << block_size_shift


def first_vdi_id(name: str) -> int:
    """Where the search for a free VDI id starts: the name's hash."""
    return fnv1a(name.encode()) & VDI_ID_MASK


def hex_oid(oid: int) -> str:
    return '%016x' % oid


def strip_key(oid: int, index: int) -> int:
    """What a store calls strip ``index`` of an erasure-coded object; no
    object id is as large."""
    return (index + 1) << 64 | oid


KEYS_END = 257 << 64
"""All keys of a store are below: 256 strips are more than any policy has."""


def strip_of(key: int) -> int:
    """The index of a strip by its key; -1 for an object kept whole."""
    return (key >> 64) - 1


def objects_of(keys: list) -> list:
    """The ids of the objects that sorted keys are about, sorted."""
    if not keys or keys[-1] <= MASK64:
        return keys
    return sorted(set(map(object_of, keys)))


def object_of(key: int) -> int:
    """The id of the object that a store's key is about."""
    return key & MASK64
