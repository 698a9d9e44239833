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
