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

import random
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.erasure import codec
from sheepdog.erasure import stripes

CAPACITY = 8 * stripes.STRIPE_BYTES
offsets = strategies.integers(0, CAPACITY - 1)
sizes = strategies.integers(1, CAPACITY)
widths = strategies.sampled_from((2, 4, 8, 16))


def byte_places(offset, size, data):
    """(strip, offset in it) of each byte of a range, one by one."""
    unit = stripes.STRIPE_BYTES // data
    for position in range(offset, offset + size):
        stripe, rest = divmod(position, stripes.STRIPE_BYTES)
        index, within = divmod(rest, unit)
        yield index, stripe * unit + within


class StripesTest(unittest.TestCase):

    @hypothesis.given(offsets, sizes, widths)
    def test_by_blocks(self, offset, size, data):
        span = stripes.cover(offset, min(size, CAPACITY - offset))
        pieces = stripes.by_blocks(span, data)
        self.assertEqual([span.low] + [piece.high for piece in pieces],
                         [piece.low for piece in pieces] + [span.high])
        for piece in pieces:
            low, size = stripes.in_strip(piece, data)
            self.assertEqual(low // 4096, (low + size - 1) // 4096)

    @hypothesis.given(offsets, sizes, widths)
    def test_places_of_bytes(self, offset, size, data):
        size = min(size, CAPACITY - offset)
        places = list(byte_places(offset, size, data))
        span = stripes.cover(offset, size)
        low, length = stripes.in_strip(span, data)
        self.assertTrue(all(low <= at < low + length for _, at in places))
        self.assertEqual(sorted({index for index, _ in places}),
                         stripes.units_of(offset, size, data))
        self.assertEqual(span, stripes.in_object(
            min(at for _, at in places),
            max(at for _, at in places) - min(at for _, at in places) + 1,
            data))

    @hypothesis.given(offsets, sizes)
    def test_ragged_ends(self, offset, size):
        size = min(size, CAPACITY - offset)
        touched = {position // stripes.STRIPE_BYTES
                   for position in (offset, offset + size - 1)}
        whole = {stripe for stripe in touched
                 if offset <= stripe * stripes.STRIPE_BYTES
                 and (stripe + 1) * stripes.STRIPE_BYTES <= offset + size}
        self.assertEqual(sorted(touched - whole), [
            span.low // stripes.STRIPE_BYTES
            for span in stripes.ragged(offset, size)])
        inside = stripes.inside(offset, size)
        cover = stripes.cover(offset, size)
        self.assertEqual(cover.size - inside.size if inside.size
                         else cover.size,
                         stripes.STRIPE_BYTES * (len(
                             stripes.ragged(offset, size))
                             if inside.size else
                             cover.size // stripes.STRIPE_BYTES))

    @hypothesis.given(offsets, sizes, strategies.integers(0, 1000))
    def test_completed_is_written_over_what_was_there(self, offset, size,
                                                      seed):
        chance = random.Random(seed)
        size = min(size, CAPACITY - offset)
        content = bytearray(chance.randbytes(CAPACITY))
        data = chance.randbytes(size)
        edges = {span: bytes(content[span.low:span.high])
                 for span in stripes.ragged(offset, size)}
        content[offset:offset + size] = data
        span = stripes.cover(offset, size)
        self.assertEqual(content[span.low:span.high],
                         stripes.completed(offset, data, edges))

    def test_nothing_is_in_no_stripe(self):
        self.assertEqual([], stripes.ragged(4096, 0))
        self.assertEqual([], stripes.units_of(4096, 0, 4))
        self.assertEqual(0, stripes.inside(100, 50).size)

    @hypothesis.given(offsets, sizes, widths, strategies.integers(0, 1000))
    @hypothesis.settings(deadline=None, max_examples=50)
    def test_a_range_is_read_from_strips(self, offset, size, data, seed):
        chance = random.Random(seed)
        size = min(size, CAPACITY - offset)
        content = chance.randbytes(CAPACITY)
        code = codec.codec_of(data, 2)
        strips = code.encode(content)
        for (index, at), byte in zip(byte_places(offset, size, data),
                                     content[offset:]):
            self.assertEqual(byte, strips[index][at])
        span = stripes.cover(offset, size)
        low, length = stripes.in_strip(span, data)
        read = code.join([strip[low:low + length]
                          for strip in strips[:data]])
        self.assertEqual(content[offset:offset + size],
                         read[offset - span.low:][:size])


class PiecesTest(unittest.TestCase):

    def test_they_are_the_range(self):
        chance = random.Random(3)
        for _ in range(500):
            offset = chance.randrange(1 << 21)
            size = chance.choice((1, 4096, chance.randrange(1, 1 << 21)))
            is_zero = chance.random() < 0.5
            most = 256 << 10
            found = stripes.pieces(offset, size, most, is_zero)
            end = offset
            for low, length in found:
                self.assertEqual(end, low)
                self.assertLess(0, length)
                self.assertLessEqual(stripes.cover(low, length).size, most)
                end += length
            self.assertEqual(offset + size, end)
            ragged = [stripes.ragged(*piece) for piece in found]
            self.assertLessEqual(sum(map(bool, ragged)), 2)
            if is_zero:
                # What is ragged is less than a stripe.
                self.assertLess(sum(size for (_, size), edges
                                    in zip(found, ragged) if edges), 8192)

    def test_a_short_one_is_one(self):
        self.assertEqual([(5, 9000)],
                         stripes.pieces(5, 9000, 1 << 18, False))
        self.assertEqual([(5, 4091), (4096, 4096), (8192, 813)],
                         stripes.pieces(5, 9000, 1 << 18, True))
