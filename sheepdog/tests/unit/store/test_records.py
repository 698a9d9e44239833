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

import unittest

import crc32c
import hypothesis
from hypothesis import strategies as st

from sheepdog.store import checksums
from sheepdog.store import records

BLOCK = 4096
U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
SETTINGS = hypothesis.settings(deadline=None, max_examples=60)


@st.composite
def packed(draw):
    """(fields, the record as bytes)"""
    kind = draw(st.sampled_from(sorted(records.KIND_NAMES)))
    offset = length = 0
    data = b''
    if kind in (records.WRITE, records.INTENT, records.ZERO):
        offset = BLOCK * draw(st.integers(0, 1000))
        length = BLOCK * draw(st.integers(1, 4))
    capacity = offset + length + BLOCK * draw(st.integers(0, 9))
    if length:
        seed = draw(st.binary(min_size=1, max_size=32))
        data = (seed * (length // len(seed) + 1))[:length]
    entries = b'' if kind == records.ZERO or not length \
        else checksums.entries(data).tobytes()
    if kind == records.HISTORY:
        data = draw(st.binary(min_size=1, max_size=100))
        length = len(data)
        entries = crc32c.crc32c(data).to_bytes(4, 'little')
    flags = draw(st.sampled_from((0, records.CREATE, records.PART)))
    key = draw(U64) | draw(st.integers(0, 31)) << 64
    fields = (kind, flags, draw(U64), draw(U64), key, draw(U64),
              draw(U32), offset, length, capacity, entries)
    record = records.pack(*fields)
    return fields, record + data if kind in (
        records.WRITE, records.HISTORY) else record


class RecordTest(unittest.TestCase):
    @SETTINGS
    @hypothesis.given(packed(), st.binary(max_size=100), st.binary())
    def test_round_trip_anywhere_in_a_buffer(self, record, before, after):
        fields, data = record
        found = records.unpack(before + data + after, len(before))
        self.assertEqual(fields, tuple(found)[:11])
        self.assertEqual(len(data), found.size)
        self.assertEqual(len(data), records.size_of(fields[0], fields[8]))
        if found.kind in (records.WRITE, records.HISTORY):
            self.assertEqual(fields[8], found.size - found.data_start)

    @SETTINGS
    @hypothesis.given(packed(), st.data())
    def test_no_flipped_bit_is_missed(self, record, data):
        _, packed_bytes = record
        bit = data.draw(st.integers(0, 8 * len(packed_bytes) - 1))
        broken = bytearray(packed_bytes)
        broken[bit // 8] ^= 1 << bit % 8
        self.assertIsNone(records.unpack(broken))

    @SETTINGS
    @hypothesis.given(packed(), st.data())
    def test_no_torn_record_passes(self, record, data):
        _, packed_bytes = record
        size = data.draw(st.integers(0, len(packed_bytes) - 1))
        self.assertIsNone(records.unpack(packed_bytes[:size]))
        torn = packed_bytes[:size] + bytes(len(packed_bytes) - size)
        if torn != packed_bytes:
            self.assertIsNone(records.unpack(torn))

    @SETTINGS
    @hypothesis.given(st.binary(max_size=200))
    def test_garbage_is_no_record(self, data):
        self.assertIsNone(records.unpack(data))
        self.assertIsNone(records.unpack(records.MAGIC_BYTES + data))

    def test_a_block_packs_as_any_record(self):
        data = b'x' * BLOCK
        entry = checksums.entry(data)
        packed = records.pack(
            records.WRITE, 1, 2, 3, 4, 5, 6, 3 * BLOCK, BLOCK, 9 * BLOCK,
            entry.to_bytes(4, 'little'), 7)
        self.assertEqual(
            packed[records.PREFIX.size:],
            records.BODY_OF_ONE.pack(2, 3, 4, 5, 6, 3 * BLOCK, BLOCK,
                                     9 * BLOCK, records.WRITE, 1, 0, 7,
                                     entry))
        self.assertEqual(records.ONE_BLOCK_BYTES,
                         records.size_of(records.WRITE, BLOCK))

    def test_what_makes_earlier_records_void(self):
        def record(kind, flags, length):
            return records.unpack(records.pack(
                kind, flags, 1, 0, 1, 1, 1, 0, length, length,
                bytes(records.entry_bytes(kind, length))))

        self.assertTrue(record(records.REMOVE, 0, 0).is_reset)
        self.assertTrue(record(records.ADOPT, 0, 0).is_reset)
        self.assertTrue(record(records.INTENT, records.CREATE, BLOCK)
                        .is_reset)
        self.assertFalse(record(records.INTENT, 0, BLOCK).is_reset)
        self.assertFalse(record(records.ZERO, 0, BLOCK).is_reset)


class HeaderTest(unittest.TestCase):
    @SETTINGS
    @hypothesis.given(st.builds(
        records.Header, st.sampled_from((records.FREE, records.LIVE)), U64,
        U64, U64))
    def test_round_trip(self, header):
        page = records.pack_header(header)
        self.assertEqual(records.HEADER_PAGE_BYTES, len(page))
        self.assertEqual(header, records.unpack_header(page))

    @SETTINGS
    @hypothesis.given(st.integers(0, 52 * 8 - 1))
    def test_no_flipped_bit_is_missed(self, bit):
        page = bytearray(records.pack_header(
            records.Header(records.LIVE, 7, 8, 9)))
        page[bit // 8] ^= 1 << bit % 8
        self.assertIsNone(records.unpack_header(page))

    def test_nothing_is_no_header(self):
        self.assertIsNone(records.unpack_header(bytes(4096)))
        self.assertIsNone(records.unpack_header(b''))
