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

"""What stands in a store of cluster snapshots. Pure.

A *chunk* is up to 1 MiB of a volume under the name of its digest, compressed.
An *index* is a chunk, too: the digests of 1024 chunks. An *image* says which
indices make up one snapshot of a VDI; a *manifest* which snapshots make up a
cluster's. Images and manifests are *sealed*: JSON behind a line with its
digest. All is described in doc/source/backup-format.rst.
"""

import hashlib
import json
from typing import NamedTuple
from urllib import parse

import zstandard

from sheepdog.backup import faults
from sheepdog.backup import stream
from sheepdog.model import errors
from sheepdog.model import limits

CHUNK_BYTES = 1 << 20
"""Objects are never smaller."""

PACKED_BYTES_MAX = CHUNK_BYTES + (1 << 16)
"""What cannot be compressed grows a little."""

INDEX_CHUNKS = 1024
SPAN_BYTES = CHUNK_BYTES * INDEX_CHUNKS
"""What one index is about."""

DIGEST_BYTES = 32
TIME_MAX = 1 << 32
"""Seconds since 1970 that can be shown everywhere."""

ZEROES = bytes(DIGEST_BYTES)
"""Stands in an index for a chunk of zeroes: there is none."""

MARKER = b'sheepdog cluster snapshots, version 1\n'
MARKER_PATH = 'sheepdog-backup'
SNAPSHOTS = 'snapshots'
_ENDING = '.json'
_IMAGE, _MANIFEST = 'sheepdog image', 'sheepdog cluster snapshot'
_LEVEL = 3


class Image(NamedTuple):
    """Of one snapshot. ``indices``: for each GiB a digest in hexadecimal
    digits; '': all zero."""

    identity: str
    size: int
    block_size_shift: int
    indices: tuple


class Vdi(NamedTuple):
    """A snapshot of a VDI, in a manifest. ``parent``: the identity of the
    one that it followed, '': none of these; ``image``: the digest of that
    file. Times are seconds since 1970."""

    name: str
    tag: str
    snap_id: int
    vdi_id: int
    identity: str
    parent: str
    size: int
    block_size_shift: int
    copies: int
    copy_policy: int
    created: int
    snapped: int
    image: str


class Manifest(NamedTuple):
    """``vdis``: each behind its parent; ``heads``: the identity of what each
    VDI held, by name."""

    tag: str
    time: int
    vdis: tuple
    heads: dict


def digest_of(data) -> bytes:
    return hashlib.sha256(data).digest()


def chunk_path(digest: bytes) -> str:
    name = digest.hex()
    return 'chunks/%s/%s' % (name[:2], name)


def pack_chunk(data) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(data)


def unpack_chunk(digest: bytes, data: bytes) -> bytes:
    """:raises Damaged: it is not what its name says"""
    found = None
    try:
        size = zstandard.get_frame_parameters(data).content_size
        # It would make room for any size that is written there.
        if size <= CHUNK_BYTES or size == zstandard.CONTENTSIZE_UNKNOWN:
            found = zstandard.ZstdDecompressor().decompress(
                data, max_output_size=CHUNK_BYTES, allow_extra_data=False)
    except zstandard.ZstdError:
        pass
    if found is None or digest_of(found) != digest:
        raise faults.Damaged('the chunk %s is damaged' % digest.hex())
    return found


def image_path(identity: str) -> str:
    return 'images/%s%s' % (identity, _ENDING)


def pack_image(image: Image) -> bytes:
    return _seal(_IMAGE, image._asdict())


def unpack_image(data: bytes) -> Image:
    """:raises Damaged:"""
    fields = _unseal(_IMAGE, data)
    try:
        image = _build(Image, fields)._replace(
            indices=tuple(fields['indices']))
        stream.check_identity(image.identity)
        stream.check_snapshot('-', '', image.size, image.block_size_shift)
        if len(image.indices) != -(-image.size // SPAN_BYTES):
            raise ValueError('indices')
        for digest in image.indices:
            if digest:
                check_digest(digest)
    except _NONSENSE as error:
        raise faults.Damaged('an image makes no sense: %s' % error) from None
    return image


def manifest_path(tag: str) -> str:
    """:raises Damaged: no tag is so"""
    name = parse.quote(tag, safe='').replace('.', '%2E')
    if not tag or len(name) > 200:
        raise faults.BackupError("'%s' is no tag for a cluster snapshot: "
                                 "too short, or too long" % tag[:40])
    return '%s/%s%s' % (SNAPSHOTS, name, _ENDING)


def tag_of(name: str) -> str:
    """By the name of the manifest's file; '': it is none."""
    stem, is_one, rest = name.partition(_ENDING)
    return parse.unquote(stem) if is_one and not rest else ''


def pack_manifest(manifest: Manifest) -> bytes:
    return _seal(_MANIFEST, dict(
        manifest._asdict(),
        vdis=[vdi._asdict() for vdi in manifest.vdis]))


def unpack_manifest(data: bytes) -> Manifest:
    """:raises Damaged:"""
    fields = _unseal(_MANIFEST, data)
    try:
        vdis = tuple(_build(Vdi, one) for one in fields['vdis'])
        manifest = _build(Manifest, fields)._replace(vdis=vdis)
        _check(manifest)
    except _NONSENSE as error:
        raise faults.Damaged('a cluster snapshot makes no sense: %s'
                             % error) from None
    return manifest


def _check(manifest):
    known = set()
    if not 0 <= manifest.time <= TIME_MAX:
        raise ValueError('time')
    for vdi in manifest.vdis:
        stream.check_identity(vdi.identity)
        stream.check_snapshot(vdi.name, vdi.tag, vdi.size,
                              vdi.block_size_shift)
        check_digest(vdi.image)
        if vdi.identity in known or vdi.parent not in known | {''}:
            raise ValueError('order')
        if not (0 <= vdi.copies <= limits.COPIES_MAX
                and 0 <= vdi.copy_policy <= 255):
            raise ValueError('copies')
        if not (0 <= vdi.created <= TIME_MAX
                and 0 <= vdi.snapped <= TIME_MAX):
            raise ValueError('time')
        known.add(vdi.identity)
    for name, identity in manifest.heads.items():
        stream.check_snapshot(name, '', 1, limits.OBJECT_SHIFT_DEFAULT)
        if identity not in known:
            raise ValueError('heads')


def check_digest(text) -> None:
    """:raises ValueError: it is none"""
    if len(text) != 2 * DIGEST_BYTES or text != bytes.fromhex(text).hex():
        raise ValueError('digest')


_NONSENSE = (ValueError, TypeError, KeyError, AttributeError,
             RecursionError, errors.InvalidParameters)


def _build(cls, fields):
    """A tuple of these types out of what JSON says."""
    found = cls(**{name: fields[name] for name in cls._fields})
    for name, kind in cls.__annotations__.items():
        value = getattr(found, name)
        if type(value) is not (list if kind is tuple else kind):
            raise TypeError(name)
    return found


def _seal(what, fields) -> bytes:
    text = json.dumps(dict(fields, format=what, version=1), sort_keys=True,
                      indent=1).encode() + b'\n'
    return digest_of(text).hex().encode() + b'\n' + text


def _unseal(what, data) -> dict:
    seal, _, text = data.partition(b'\n')
    if seal != digest_of(text).hex().encode():
        raise faults.Damaged('%s: its digest does not fit: damaged' % what)
    try:
        fields = json.loads(text)
        found = fields['format'], fields['version']
    except _NONSENSE:
        found = None
    if found != (what, 1):
        raise faults.Damaged('this is no %s of version 1' % what)
    return fields
