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

"""Targets: backups, which come back from anywhere."""

import hashlib
import io
import struct

from fuzz import registry
from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.backup import stream

HEAD = stream.Head('disk', 'monday', 'ab' * 16, 4 << 20, 22)


def stream_seeds():
    yield b''.join(stream.pack(HEAD, ()))
    yield b''.join(stream.pack(
        HEAD._replace(base='cd' * 16, base_size=1 << 20), (
            stream.Piece(0, 5, b'hello'), stream.Piece(4096, 1 << 20),
            stream.Piece(2 << 20, 3, b'end'))))


def repair_stream(data):
    """Puts the right digest behind each part."""
    if len(data) < 16:
        return data
    place = 16 + int.from_bytes(data[12:16], 'little')
    found, digest = data[:place], hashlib.sha256(data[:place]).digest()
    while True:
        found += digest
        place += 32
        fields = data[place:place + 24]
        if len(fields) < 24:
            return found + fields
        size, = struct.unpack_from('<I', fields, 4)
        fields = data[place:place + 24 + size]
        found += fields
        digest = hashlib.sha256(digest + fields).digest()
        place += len(fields)


@registry.target('backup-stream', (faults.Damaged,),
                 ('sheepdog.backup.stream',), stream_seeds,
                 repair=repair_stream)
def run_stream(data):
    reader = stream.Reader(io.BytesIO(data))
    assert 0 < reader.head.size <= stream.SIZE_MAX_BYTES
    end = 0
    for offset, length, content in reader.pieces():
        assert end <= offset < offset + length <= reader.head.size
        assert content is None or len(content) == length
        end = offset + length


IMAGE = documents.Image('ab' * 16, 3 << 30, 22, ('cd' * 32, '', 'ef' * 32))
VDI = documents.Vdi('disk', 'monday', 1, 7, 'ab' * 16, '', 3 << 30, 22, 3, 0,
                    1000, 2000, 'cd' * 32)


def sealed_seeds():
    yield documents.pack_image(IMAGE)
    yield documents.pack_manifest(documents.Manifest('all', 5, (), {}))
    yield documents.pack_manifest(documents.Manifest('all', 5, (
        VDI, VDI._replace(identity='cd' * 16, parent=VDI.identity)),
        {'disk': 'cd' * 16}))


def repair_sealed(data):
    """Puts the right digest before it."""
    text = data.partition(b'\n')[2]
    return documents.digest_of(text).hex().encode() + b'\n' + text


@registry.target('backup-documents', (faults.Damaged,),
                 ('sheepdog.backup.documents',), sealed_seeds,
                 repair=repair_sealed)
def run_sealed(data):
    for unpack, pack in ((documents.unpack_image, documents.pack_image),
                         (documents.unpack_manifest,
                          documents.pack_manifest)):
        try:
            found = unpack(data)
        except faults.Damaged:
            continue
        assert unpack(pack(found)) == found
        return
    raise faults.Damaged('neither')


def chunk_seeds():
    for content in b'', b'x' * 5000, bytes(range(256)) * 16:
        yield documents.digest_of(content) + documents.pack_chunk(content)


@registry.target('backup-chunk', (faults.Damaged,), (), chunk_seeds)
def run_chunk(data):
    found = documents.unpack_chunk(data[:32], data[32:])
    assert documents.digest_of(found) == data[:32]
