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

"""Tests of sheepdog.cmd.images.transfer."""

import random
import unittest

from sheepdog.cmd.images import transfer

GRAIN = transfer.GRAIN_BYTES


class WithoutZeroesTest(unittest.TestCase):

    def naive(self, offset, data):
        """Bytes by place, a grain at a time."""
        found = {}
        for start in range(0, len(data), GRAIN):
            grain = data[start:start + GRAIN]
            if any(grain):
                found.update(enumerate(grain, offset + start))
        return found

    def test_against_a_naive_twin(self):
        chance = random.Random(7)
        for _ in range(60):
            data = bytearray(chance.choice((
                0, 1, GRAIN, chance.randrange(5 * GRAIN))))
            for _ in range(chance.randrange(4)):
                if data:
                    data[chance.randrange(len(data))] = 1
            offset = chance.randrange(1 << 40)
            pieces = list(transfer.without_zeroes(offset, bytes(data)))
            found = {}
            for place, piece in pieces:
                self.assertTrue(len(piece))
                found.update(enumerate(piece, place))
            self.assertEqual(self.naive(offset, data), found)
            # In order, and as few as can be.
            for (one, piece), (other, _) in zip(pieces, pieces[1:]):
                self.assertLess(one + len(piece), other)


class Source:
    """Of ``transfer._data_of_image``: tells a little at a time."""

    has_extents = True

    def __init__(self, extents):
        self.content = extents

    def extents(self, offset, length):
        place = 0
        told = []
        for size, state in self.content:
            if place + size > offset and place < offset + length:
                begin = max(place, offset)
                # The last may reach further than was asked for.
                told.append((place + size - begin, state))
            place += size
        return told[:2]


class DataOfImageTest(unittest.TestCase):

    def test_all_that_is_not_zero(self):
        chance = random.Random(8)
        for _ in range(100):
            extents = [(chance.randrange(1, 1000), chance.randrange(4))
                       for _ in range(chance.randrange(1, 9))]
            size = sum(length for length, _ in extents)
            wanted = set()
            place = 0
            for length, state in extents:
                if not state & 2:
                    wanted.update(range(place, place + length))
                place += length
            found = [byte for start, length in transfer._data_of_image(
                Source(extents), size)
                for byte in range(start, start + length)]
            self.assertEqual(sorted(wanted), found)

    def test_all_of_it_where_that_is_not_told(self):
        source = Source([])
        source.has_extents = False
        self.assertEqual([(0, 77)],
                         list(transfer._data_of_image(source, 77)))

    def test_cut(self):
        one = transfer.PIECE_BYTES
        self.assertEqual(
            [(5, one), (5 + one, 1), (9 * one, 2)],
            list(transfer._cut([(5, one + 1), (9 * one, 2)])))
