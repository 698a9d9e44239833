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

import struct
import unittest

from crc32c import crc32c
import hypothesis
from hypothesis import strategies

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.wire import native
from sheepdog.wire import peer

u16 = strategies.integers(0, 0xFFFF)
u32 = strategies.integers(0, 0xFFFFFFFF)
u64 = strategies.integers(0, 0xFFFFFFFFFFFFFFFF)
opcodes = strategies.integers(0x80, 0xFF)
payloads = strategies.binary(max_size=50)
jsons = strategies.dictionaries(strategies.text(max_size=5), strategies.one_of(
    strategies.integers(-2 ** 63, 2 ** 64 - 1), strategies.text(max_size=5),
    strategies.booleans(), strategies.none(),
    strategies.lists(u32, max_size=3)), max_size=4)


class FrameTest(unittest.TestCase):

    @hypothesis.given(opcodes, u16, u32, u32, u64, u64, u32, u32, payloads,
                      u32)
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_request(self, opcode, flags, epoch, request_id, oid, token,
                     offset, aux, payload, tag):
        buffers = peer.pack_request(opcode, flags, epoch, request_id, oid,
                                    token, offset, aux, payload, tag)
        self.assertEqual(payload, b''.join(buffers[1:]))
        if payload:
            flags |= peer.FLAG_WRITE
        self.assertEqual(
            (peer.VERSION, opcode, flags, epoch, request_id, len(payload),
             oid, token, offset, aux, crc32c(payload), tag),
            peer.HEADER.unpack(buffers[0]))

    @hypothesis.given(opcodes, u32, u32, u32, u64, u64, u32, payloads, u32,
                      u16)
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_response(self, opcode, epoch, request_id, result, oid, value,
                      aux, payload, tag, flags):
        buffers = peer.pack_response(opcode, epoch, request_id, result, oid,
                                     value, aux, payload, tag, flags)
        self.assertEqual(payload, b''.join(buffers[1:]))
        self.assertEqual(
            (peer.VERSION, opcode, flags, epoch, request_id, len(payload),
             oid, value, result, aux, crc32c(payload), tag),
            peer.HEADER.unpack(buffers[0]))

    def test_offsets(self):
        header = peer.pack_request(
            0x90, 0x0A, 3, 4, oid=5, token=6, offset=7, aux=8,
            payload=b'123456789', tag=9)[0]
        self.assertEqual(48, len(header))
        for offset, form, value in (
                (0, '<B', peer.VERSION), (1, '<B', 0x90), (2, '<H', 0x0B),
                (4, '<I', 3), (8, '<I', 4), (12, '<I', 9), (16, '<Q', 5),
                (24, '<Q', 6), (32, '<I', 7), (36, '<I', 8),
                # The check value of CRC-32C, of these nine digits.
                (40, '<I', 0xE3069283), (44, '<I', 9)):
            self.assertEqual((value,),
                             struct.unpack_from(form, header, offset))

    def test_same_framing_as_the_native_protocol(self):
        # One port serves both: what leads there must stand in one place.
        header = peer.pack_request(peer.HELLO, 0, 1, 2, payload=b'abc')[0]
        messages, used, _ = native.split_requests(header + b'abc', 0, 51)
        (fields, payload), = messages
        self.assertEqual((peer.HELLO, 2, 3, b'abc', 51), (
            fields[native.OPCODE], fields[native.ID],
            fields[native.DATA_LENGTH], payload, used))
        self.assertEqual(peer.FLAG_WRITE, native.FLAG_WRITE)

    def test_opcodes_differ_and_are_not_public(self):
        opcodes = [value for name, value in vars(peer).items()
                   if name.isupper() and isinstance(value, int)
                   and not name.startswith(('FLAG_', 'VERSION', 'HEADER'))]
        self.assertEqual(len(opcodes), len(set(opcodes)))
        self.assertGreater(min(opcodes), native.PUBLIC_MAX)

    def test_length(self):
        peer.check_length(limits.CLUSTER_MESSAGE_MAX_BYTES)
        with self.assertRaises(errors.InvalidParameters):
            peer.check_length(limits.CLUSTER_MESSAGE_MAX_BYTES + 1)


class JsonTest(unittest.TestCase):

    @hypothesis.given(jsons)
    @hypothesis.settings(deadline=None, max_examples=60)
    def test_round_trip(self, message):
        packed = peer.pack_json(message)
        self.assertEqual(message, peer.unpack_json(packed))
        self.assertEqual(message, peer.unpack_json(memoryview(packed)))

    @hypothesis.given(strategies.binary(max_size=60))
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_garbage(self, data):
        try:
            self.assertIsInstance(peer.unpack_json(data), dict)
        except errors.InvalidParameters:
            pass

    def test_numbers_beyond_64_bits(self):
        for number in -2 ** 63 - 1, 2 ** 64:
            with self.assertRaises(errors.InvalidParameters):
                peer.unpack_json(peer.pack_json({'a': number}))

    def test_refused(self):
        for data in (b'', b'[]', b'1', b'{', b'\xff', b'{"a":' + b'9' * 5000,
                     b'[' * 100000, b'{"a":' * 100000):
            with self.subTest(data=data[:8]):
                with self.assertRaises(errors.InvalidParameters):
                    peer.unpack_json(data)
