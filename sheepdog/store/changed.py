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

"""Which blocks of a strip may have changed, as the bits of a number. Pure.

Bit n stands for block n, for block n + BITS, and so on: strips of the usual
size (4 MiB objects, of 4:2 and more) have one bit for each block. Larger
ones have bits that stand for several: what is said to have changed may be
more than what has.
"""

from sheepdog.store import checksums

BITS = 512
BITS_END = 1 << BITS
ALL = BITS_END - 1
BITS_BYTES = BITS // 8
_BLOCK = checksums.BLOCK_BYTES


def bits_of(offset: int, size: int) -> int:
    """The blocks of a range; ``size`` is not 0."""
    first = offset // _BLOCK
    count = (offset + size - 1) // _BLOCK - first + 1
    if count == 1:
        return 1 << first % BITS
    if count >= BITS:
        return ALL
    bits = (1 << count) - 1 << first % BITS
    return bits if bits < BITS_END else bits % BITS_END | bits >> BITS


def ranges(bits: int, capacity: int) -> list:
    """``(offset, size)`` of each run of blocks, in order.

    :param capacity: of the strip, in bytes
    """
    return [(first * _BLOCK, count * _BLOCK)
            for first, count in checksums.runs(
                block for block in range(capacity // _BLOCK)
                if bits >> block % BITS & 1)]
