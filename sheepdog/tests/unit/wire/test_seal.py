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

"""Tests of sheepdog.wire.seal: nothing but the next frame is let through."""

import unittest

import hypothesis
from hypothesis import strategies

from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers import modes

from sheepdog.model import errors
from sheepdog.wire import peer as wire
from sheepdog.wire import seal

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))

payloads = strategies.binary(max_size=300)


def naive(key, number, header, payload):
    """The same code, step by step."""
    encryptor = Cipher(algorithms.AES(key), modes.GCM(
        bytes(4) + number.to_bytes(8, 'little'))).encryptor()
    encryptor.authenticate_additional_data(payload)
    encryptor.update(header)
    encryptor.finalize()
    return encryptor.tag


def frames(key, contents):
    """Sealed frames of these payloads, each as (head, payload)."""
    close = seal.sealer(key)
    result = []
    for number, payload in enumerate(contents):
        buffers = wire.pack_request(
            wire.READ, 0, 3, number, 5, 7, 8, 9, payload, 77, True)
        result.append((close(*buffers), payload))
    return result


def check_all(check, those):
    for head, payload in those:
        # In the middle of something, as in a receive buffer.
        check(bytearray(b'xx' + head + payload + b'xx'), 2, payload)


class SealTest(unittest.TestCase):

    @hypothesis.given(strategies.lists(payloads, max_size=5))
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_as_the_naive_twin(self, contents):
        sealed = frames(KEY, contents)
        for number, (head, payload) in enumerate(sealed):
            self.assertEqual(seal.HEAD_BYTES, len(head))
            header = head[:wire.HEADER_BYTES]
            self.assertEqual(naive(KEY, number, header, payload),
                             head[wire.HEADER_BYTES:])
        check_all(seal.opener(KEY), sealed)

    def refuse(self, those, key=KEY):
        """All but the last frame are right."""
        check = seal.opener(key)
        check_all(check, those[:-1])
        with self.assertRaises(errors.CorruptFrame):
            check_all(check, those[-1:])

    def test_each_bit(self):
        (head, payload), = frames(KEY, [b'payload'])
        for bit in range(8 * len(head)):
            changed = bytearray(head)
            changed[bit // 8] ^= 1 << bit % 8
            self.refuse([(bytes(changed), payload)])
        for bit in range(8 * len(payload)):
            changed = bytearray(payload)
            changed[bit // 8] ^= 1 << bit % 8
            self.refuse([(head, bytes(changed))])

    @hypothesis.given(payloads, payloads)
    @hypothesis.settings(deadline=None, max_examples=60)
    def test_another_payload(self, one, two):
        hypothesis.assume(one != two)
        (head, _), = frames(KEY, [one])
        self.refuse([(head, two)])

    def test_repeated_left_out_and_moved(self):
        for those in (frames(KEY, [b'a', b'b', b'c']),
                      frames(KEY, [b'', b'', b''])):
            first, second, third = those
            self.refuse([first, first])
            self.refuse([first, third])
            self.refuse([second])
            self.refuse([first, second, first])

    def test_of_another_direction_or_connection(self):
        self.refuse(frames(OTHER, [b'payload']))
        self.refuse(frames(KEY, [b'payload']), OTHER)

    def test_without_a_seal(self):
        for tail in (bytes(16), b'p' * 16):
            header, payload = wire.pack_request(
                wire.READ, 0, 3, 1, 5, payload=b'p' * 16, tag=77)
            self.refuse([(header + tail, payload)])

    def test_kinds_of_buffers(self):
        close, check = seal.sealer(KEY), seal.opener(KEY)
        data = b'data' * 1024
        for kind in (bytes, bytearray, memoryview):
            header = wire.pack_request(
                wire.READ, 0, 3, 1, 5, payload=data, is_sealed=True)[0]
            head = close(header, kind(data))
            check(memoryview(bytearray(head)), 0, kind(data))
