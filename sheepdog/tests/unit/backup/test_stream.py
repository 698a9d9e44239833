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

"""Tests of sheepdog.backup.stream."""

import hashlib
import io
import json
import struct
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.backup import faults
from sheepdog.backup import stream

SIZE = 1 << 22
HEAD = stream.Head('disk', 'monday', 'ab' * 16, SIZE, 22)


@strategies.composite
def pieces(draw):
    found, offset = [], 0
    for _ in range(draw(strategies.integers(0, 6))):
        offset += draw(strategies.integers(0, 9000))
        data = draw(strategies.none() | strategies.binary(min_size=1,
                                                          max_size=40))
        length = len(data) if data else draw(strategies.integers(1, 99999))
        found.append(stream.Piece(offset, length, data))
        offset += length
    return found


def naive(data):
    """As the documentation has it, and no more: (head, pieces)."""
    assert data[:8] == b'SDBACKUP'
    version, length = struct.unpack('<II', data[8:16])
    assert version == 1
    head, place = json.loads(data[16:16 + length]), 16 + length
    digest = hashlib.sha256(data[:place]).digest()
    found = []
    while True:
        assert data[place:place + 32] == digest
        place += 32
        if found and found[-1][0] == 3:
            assert place == len(data)
            return head, found
        kind, size, offset, length = struct.unpack(
            '<IIQQ', data[place:place + 24])
        digest = hashlib.sha256(
            digest + data[place:place + 24 + size]).digest()
        found.append((kind, offset, length,
                      data[place + 24:place + 24 + size]))
        place += 24 + size


def read(data):
    reader = stream.Reader(io.BytesIO(data))
    return reader.head, list(reader.pieces())


class StreamTest(unittest.TestCase):
    @hypothesis.given(pieces())
    def test_against_a_naive_reader(self, wanted):
        data = b''.join(stream.pack(HEAD, wanted))
        self.assertEqual((HEAD, wanted), read(data))
        head, frames = naive(data)
        self.assertEqual(HEAD._asdict(), head)
        self.assertEqual(
            [(1 if piece.data else 2, piece.offset, piece.length,
              piece.data or b'') for piece in wanted]
            + [(3, len(wanted),
                sum(len(piece.data or b'') for piece in wanted), b'')],
            frames)

    @hypothesis.given(pieces(), strategies.data())
    def test_nothing_that_was_changed_is_taken(self, wanted, chance):
        data = b''.join(stream.pack(HEAD, wanted))
        begin = chance.draw(strategies.integers(0, len(data) - 1))
        end = chance.draw(strategies.integers(begin, len(data)))
        instead = chance.draw(strategies.binary(max_size=9))
        hypothesis.assume(data[begin:end] != instead)
        wrong = data[:begin] + instead + data[end:]
        got = []
        with self.assertRaises(faults.Damaged):
            reader = stream.Reader(io.BytesIO(wrong))
            for piece in reader.pieces():
                got.append(piece)
        # What was given out before was right.
        self.assertEqual(wanted[:len(got)], got)

    def test_nothing_out_of_order_is_taken(self):
        wanted = [stream.Piece(place, 4, b'%04d' % place)
                  for place in range(0, 40, 4)]
        parts = list(stream.pack(HEAD, wanted))
        frames = [b''.join(parts[1 + at:4 + at])
                  for at in range(0, len(parts) - 2, 3)]
        self.assertEqual((HEAD, wanted), read(
            parts[0] + b''.join(frames) + parts[-1]))
        for changed in (frames[1:], frames[:-1], frames[::-1],
                        frames[:3] + frames[2:]):
            with self.assertRaises(faults.Damaged):
                read(parts[0] + b''.join(changed) + parts[-1])

    def test_well_made_nonsense_is_not_taken(self):
        for fields in ({'name': ''}, {'size': 0}, {'size': 1 << 60},
                       {'size': '4'}, {'base': 'x'}, {'identity': ''},
                       {'base_size': SIZE + 1}, {'block_size_shift': 9},
                       {'tag': 'x' * 999}, {'size': True}):
            with self.subTest(fields), self.assertRaises(faults.Damaged):
                read(b''.join(stream.pack(HEAD._replace(**fields), ())))
        with self.assertRaisesRegex(faults.Damaged, 'version 7'):
            read(b'SDBACKUP' + struct.pack('<II', 7, 2) + b'{}')
