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

"""Which bytes of an object are where in its strips. Pure arithmetic.

With d = 4, a stripe of 4096 bytes has four units of 1024. Bytes 5000 to 9000
of an object lie in the stripes 1 and 2, which are the bytes 1024 to 3072 of
every strip.
"""

from typing import NamedTuple

STRIPE_BYTES = 4096


class Span(NamedTuple):
    """Whole stripes of an object, as byte offsets."""

    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low


def strip_bytes(capacity: int, data: int) -> int:
    """The length of each strip of an object of ``capacity`` bytes."""
    assert not capacity % STRIPE_BYTES
    return capacity // data


def cover(offset: int, size: int) -> Span:
    """The stripes that a range touches."""
    return Span(offset // STRIPE_BYTES * STRIPE_BYTES,
                -(-(offset + size) // STRIPE_BYTES) * STRIPE_BYTES)


def inside(offset: int, size: int) -> Span:
    """The stripes that lie within a range; ``low`` == ``high`` where there
    is none."""
    low = -(-offset // STRIPE_BYTES) * STRIPE_BYTES
    high = (offset + size) // STRIPE_BYTES * STRIPE_BYTES
    return Span(low, max(low, high))


def in_strip(span: Span, data: int) -> tuple:
    """(offset, size) of the span in every strip."""
    return span.low // data, (span.high - span.low) // data


def in_object(offset: int, size: int, data: int) -> Span:
    """The stripes whose units are in that range of a strip."""
    unit = STRIPE_BYTES // data
    return Span(offset // unit * STRIPE_BYTES,
                -(-(offset + size) // unit) * STRIPE_BYTES)


def ragged(offset: int, size: int) -> list:
    """The spans (none, one or two, of one stripe each) that a range touches
    but does not cover: who writes it must read these first."""
    span = cover(offset, size)
    if span.low == span.high:
        return []
    spans = []
    if offset > span.low:
        spans.append(Span(span.low, span.low + STRIPE_BYTES))
    if offset + size < span.high:
        last = Span(span.high - STRIPE_BYTES, span.high)
        if not spans or spans[0] != last:
            spans.append(last)
    return spans


def pieces(offset: int, size: int, most: int, is_zero: bool) -> list:
    """A range as (offset, size) of pieces of at most ``most`` bytes (whole
    stripes), no two in one stripe but at the ends; of zeroes, what lies in
    whole stripes and what does not, apart."""
    end = offset + size
    cuts = {offset, end}
    cuts.update(range((offset // most + 1) * most, end, most))
    if is_zero:
        middle = inside(offset, size)
        if middle.low < middle.high:
            cuts.update(middle)
    cuts = sorted(cuts)
    return [(low, high - low) for low, high in zip(cuts, cuts[1:])]


def completed(offset: int, data, edges: dict) -> bytes:
    """Whole stripes: ``data`` at ``offset``, and around it what was there.

    :param edges: the content of each span of ``ragged``
    """
    span = cover(offset, len(data))
    pieces = [data]
    if offset > span.low:
        first = edges[Span(span.low, span.low + STRIPE_BYTES)]
        pieces.insert(0, first[:offset - span.low])
    end = offset + len(data)
    if end < span.high:
        last = edges[Span(span.high - STRIPE_BYTES, span.high)]
        pieces.append(last[end - span.high:])
    return b''.join(pieces)


def units_of(offset: int, size: int, data: int) -> list:
    """The data strips that a range touches, sorted: a short read asks only
    those."""
    unit = STRIPE_BYTES // data
    first = offset // unit
    count = -(-(offset + size) // unit) - first
    if count >= data:
        return list(range(data))
    return sorted((first + i) % data for i in range(count))


def by_blocks(span: Span, data: int) -> list:
    """The span in pieces of which each strip has one block, or a part."""
    block = STRIPE_BYTES * data
    bounds = sorted({span.low, span.high, *range(
        span.low // block * block + block, span.high, block)})
    return [Span(low, high) for low, high in zip(bounds, bounds[1:])]
