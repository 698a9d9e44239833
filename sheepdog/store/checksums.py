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

"""The checksum of a 4 KiB block, and tables of them. Pure.

An entry is crc32c(block) ^ crc32c(zeroes): 0 stands for a block of zeroes,
so a fresh, sparse table is right. A block that is not zero but whose
entry would be 0 (one in 2^32) gets the entry ``COLLISION``: 0 always means
zeroes, and extents may rely on it. Tables are u32, little-endian, on disk
and in memory.
"""

import array
import hashlib
import sys

from crc32c import crc32c

from sheepdog.model import limits

BLOCK_BYTES = limits.BLOCK_BYTES
ENTRY_BYTES = 4
DIGEST_BYTES = 8
ZERO_BLOCK = bytes(BLOCK_BYTES)
ZERO_CRC = crc32c(ZERO_BLOCK)
COLLISION = 0xFFFFFFFF

if sys.byteorder != 'little':
    raise ImportError('the store needs a little-endian machine')


def entry(block) -> int:
    """The table entry of one block of 4096 bytes."""
    value = crc32c(block) ^ ZERO_CRC
    # (Views are compared byte by byte.)
    if value or bytes(block) == ZERO_BLOCK:
        return value
    return COLLISION


def entries(data) -> array.array:
    """The entries of whole blocks."""
    view = memoryview(data)
    values = array.array('I', [
        crc32c(view[start:start + BLOCK_BYTES]) ^ ZERO_CRC
        for start in range(0, len(view), BLOCK_BYTES)])
    if 0 in values:
        for index, value in enumerate(values):
            start = index * BLOCK_BYTES
            if not value and bytes(
                    view[start:start + BLOCK_BYTES]) != ZERO_BLOCK:
                values[index] = COLLISION
    return values


def mismatches(data, table, first: int) -> list:
    """Numbers of the blocks in ``data`` (whole blocks, the first one is
    number ``first``) that are not what ``table`` says."""
    expected = table[first:first + len(data) // BLOCK_BYTES]
    found = entries(data)
    if memoryview(found) == expected:
        return []
    return [first + index for index, value in enumerate(found)
            if value != expected[index]]


def new_table(blocks: int):
    """A table of that many zero blocks, as a memoryview of u32."""
    return memoryview(bytearray(ENTRY_BYTES * blocks)).cast('I')


def table_of(data):
    """A changeable table from its bytes."""
    return memoryview(bytearray(data)).cast('I')


def digest(table) -> bytes:
    return hashlib.blake2b(table, digest_size=DIGEST_BYTES).digest()


def runs(numbers) -> list:
    """(first, count) of consecutive numbers in a sorted iterable."""
    result = []
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            result.append((first, last - first + 1))
        first = last = number
    if first is not None:
        result.append((first, last - first + 1))
    return result


def data_runs(table) -> list:
    """(first block, count) of the runs that are not zero."""
    return runs(index for index, value in enumerate(table) if value)
