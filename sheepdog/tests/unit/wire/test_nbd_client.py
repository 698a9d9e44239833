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

"""The client's role, where the server's tests do not reach."""

import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as client
from sheepdog.wire import nbd_transmission as wire


class TestHandshake(unittest.TestCase):

    def test_another_greeting(self):
        for greeting in (b'', b'SSH-2.0-OpenSSH_9.2\r', bytes(18)):
            with self.assertRaises(nbd.Violation):
                client.unpack_greeting(greeting)

    def test_another_reply(self):
        with self.assertRaises(nbd.Violation):
            client.unpack_option_reply(bytes(20), 0, 20)

    def test_another_kind_of_information(self):
        for payload in (b'', b'\0\3' + bytes(10), bytes(11)):
            with self.assertRaises(nbd.Violation):
                client.unpack_export(payload)

    @hypothesis.settings(deadline=None, max_examples=100)
    @hypothesis.given(strategies.binary(max_size=60))
    def test_garbage_is_a_violation_or_a_reply(self, garbage):
        try:
            client.unpack_option_reply(garbage, 0, len(garbage))
        except nbd.Violation:
            pass


class TestChunks(unittest.TestCase):

    def chunk(self, kind, payload):
        stream = wire.CHUNK.pack(wire.CHUNK_MAGIC, 0, kind, 1,
                                 len(payload)) + payload
        return client.ReplyReader().receive(stream, 0, len(stream))[0]

    def test_hole(self):
        chunk = self.chunk(wire.CHUNK_OFFSET_HOLE,
                           (1 << 33).to_bytes(8, 'big') + b'\0\0\x10\0')
        self.assertEqual((chunk.offset, chunk.length, chunk.is_done),
                         (1 << 33, 4096, False))

    def test_error_with_offset(self):
        chunk = self.chunk(wire.CHUNK_ERROR_OFFSET,
                           b'\0\0\0\5\0\2no' + (77).to_bytes(8, 'big'))
        self.assertEqual((chunk.error, chunk.data, chunk.offset),
                         (nbd.EIO, b'no', 77))

    def test_chunks_too_short_for_what_they_are(self):
        for kind in (wire.CHUNK_OFFSET_DATA, wire.CHUNK_OFFSET_HOLE,
                     wire.CHUNK_BLOCK_STATUS, wire.CHUNK_ERROR,
                     wire.CHUNK_ERROR_OFFSET, 99):
            with self.assertRaises(nbd.Violation):
                self.chunk(kind, b'x')
