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

"""Whole stripes to strips, and strips to what is missing of them.

Strips are raw bytes. pyeclib (liberasurecode, ISA-L) wants 80 bytes of
header before each, which do not depend on the content: they are taken from
an encoding of zeroes, and never leave this file.

The code is Cauchy Reed-Solomon over GF(256), polynomial 0x11D: parity row r
has the coefficients 1 / ((d + r) xor i) for data strips i. Stores rely on
that for ever; a test compares it with the plain definition.

Calls hold the interpreter, a megabyte for half a millisecond: keep pieces
small. pyeclib takes ``bytes`` only and ends the process over anything else,
hence the conversions.
"""

import functools

import numpy
from pyeclib import ec_iface

from sheepdog.erasure import stripes

PIECE_BYTES = 64 << 10
"""Encoded at once: what stays in the processor's cache and in the memory
that malloc keeps is done ten times as fast as a megabyte."""

_HEADER_BYTES = 80
_HEADS_KEPT = 64


@functools.lru_cache(maxsize=None)
def codec_of(data: int, parity: int) -> 'Codec':
    """The one ``Codec`` of a policy."""
    return Codec(data, parity)


class Codec:
    """:param data: d, the strips that hold the object's bytes
    :param parity: p, the strips computed of them
    """

    def __init__(self, data: int, parity: int):
        assert data in (2, 4, 8, 16) and 1 <= parity <= 15
        self.data = data
        self.parity = parity
        self.strips = data + parity
        self.unit_bytes = stripes.STRIPE_BYTES // data
        self._driver = ec_iface.ECDriver(k=data, m=parity,
                                         ec_type='isa_l_rs_cauchy')
        self._heads = functools.lru_cache(maxsize=_HEADS_KEPT)(
            self._make_heads)

    def encode(self, payload) -> list:
        """The bytes of all strips, of whole stripes."""
        return [b''.join(pieces) for pieces in self.encode_pieces(payload)]

    def encode_pieces(self, payload) -> list:
        """As ``encode``; each strip's bytes as buffers, one behind the
        other: who puts something before them need not copy them twice."""
        size = len(payload)
        assert size and not size % stripes.STRIPE_BYTES
        view = memoryview(payload)
        return list(zip(*(self._encode(view[start:start + PIECE_BYTES])
                          for start in range(0, size, PIECE_BYTES))))

    def _encode(self, payload) -> list:
        by_strip = bytes(self._turned(payload, (-1, self.data)))
        length = len(by_strip) // self.data
        view = memoryview(by_strip)
        strips = [view[start:start + length]
                  for start in range(0, len(by_strip), length)]
        strips += [memoryview(fragment)[_HEADER_BYTES:] for fragment in
                   self._driver.encode(by_strip)[self.data:]]
        return strips

    def join(self, strips) -> bytes:
        """The stripes of the d data strips, given in order."""
        assert len(strips) == self.data
        return bytes(self._turned(b''.join(strips), (self.data, -1)))

    def restore(self, strips: dict, wanted) -> dict:
        """Index → bytes of the ``wanted`` strips.

        :param strips: index → bytes, at least d of them, of one length,
            which is a multiple of ``unit_bytes``
        """
        missing = [index for index in wanted if index not in strips]
        found = {index: strips[index] for index in wanted
                 if index in strips}
        if not missing:
            return found
        assert len(strips) >= self.data, 'too few strips'
        sources = sorted(strips)[:self.data]
        length = len(strips[sources[0]])
        assert length and not length % self.unit_bytes
        heads = self._heads(length)
        fragments = []
        for index in sources:
            assert len(strips[index]) == length
            fragments.append(b''.join((heads[index], strips[index])))
        for index, fragment in zip(missing, self._driver.reconstruct(
                fragments, missing)):
            found[index] = fragment[_HEADER_BYTES:]
        return found

    def decode(self, strips: dict) -> bytes:
        """The stripes, of any d strips (index → bytes)."""
        restored = self.restore(strips, range(self.data))
        return self.join([restored[i] for i in range(self.data)])

    def _turned(self, content, shape):
        """Units by stripe to units by strip, or back."""
        if len(content) == stripes.STRIPE_BYTES:
            return content
        units = numpy.frombuffer(content, numpy.uint8).reshape(
            shape + (self.unit_bytes,))
        return units.transpose(1, 0, 2).tobytes()

    def _make_heads(self, length):
        return [fragment[:_HEADER_BYTES] for fragment in
                self._driver.encode(bytes(length * self.data))]
