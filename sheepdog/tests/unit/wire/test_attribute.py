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

import hypothesis
from hypothesis import strategies

from sheepdog.model import errors
from sheepdog.wire import attribute

names = strategies.text('abcä-/ ', max_size=40)
attributes = strategies.builds(
    attribute.Attribute, names, names, strategies.binary(max_size=100),
    names, strategies.integers(0, 2 ** 64 - 1),
    strategies.integers(0, 2 ** 32 - 1))


class AttributeTest(unittest.TestCase):

    @hypothesis.given(attributes, strategies.integers(0, 50))
    @hypothesis.settings(deadline=None, max_examples=60)
    def test_round_trip(self, given, zeroes):
        packed = attribute.pack(given)
        self.assertEqual(given, attribute.unpack(packed))
        self.assertEqual(given, attribute.unpack(packed + bytes(zeroes)))

    @hypothesis.given(attributes, strategies.data())
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_damaged(self, given, data):
        packed = bytearray(attribute.pack(given))
        for _ in range(3):
            packed[data.draw(strategies.integers(0, len(packed) - 1))] = (
                data.draw(strategies.integers(0, 255)))
        del packed[data.draw(strategies.integers(0, len(packed))):]
        try:
            back = attribute.unpack(bytes(packed))
        except errors.InvalidParameters:
            return
        self.assertEqual(back, attribute.unpack(attribute.pack(back)))

    def test_offsets(self):
        packed = attribute.pack(attribute.Attribute(
            'vdi', 'key', b'value', 'tag', 1 << 32 | 2, 3))
        self.assertEqual((b'vdi\0', b'tag\0', b'key\0', b'value'), (
            packed[0:4], packed[256:260], packed[528:532], packed[784:]))
        self.assertEqual((1 << 32 | 2, 3, 5),
                         struct.unpack_from('<QII', packed, 512))

    def test_longest_value(self):
        given = attribute.Attribute('v', 'k', b'x' * 65536)
        self.assertEqual(given, attribute.unpack(attribute.pack(given)))
        with self.assertRaises(errors.InvalidParameters):
            attribute.pack(given._replace(value=b'x' * 65537))

    def test_value_beyond_the_data(self):
        packed = attribute.pack(attribute.Attribute('v', 'k', b'abc'))
        with self.assertRaises(errors.InvalidParameters):
            attribute.unpack(packed[:-1])
