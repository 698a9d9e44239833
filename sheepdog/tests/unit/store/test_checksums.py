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

from crc32c import crc32c

from sheepdog.store import checksums

BLOCK = checksums.BLOCK_BYTES


def block_with_crc(wanted: int) -> bytes:
    """A block that is not zero, of a crc of one's choice: the crc is linear
    in the last 32 bits."""
    base = b'a guest may do this'.ljust(BLOCK - 4, b'.')
    columns = []
    zero = crc32c(base + bytes(4))
    for bit in range(32):
        columns.append(crc32c(base + (1 << bit).to_bytes(4, 'little')) ^ zero)
    # Gauss: which bits make up the difference.
    rows = [(columns[bit], 1 << bit) for bit in range(32)]
    difference, answer = wanted ^ zero, 0
    for position in range(31, -1, -1):
        pivot = next((row for row in rows if row[0] >> position & 1), None)
        if pivot is None:
            continue
        rows = [(row[0] ^ pivot[0], row[1] ^ pivot[1])
                if row[0] >> position & 1 else row
                for row in rows if row is not pivot]
        if difference >> position & 1:
            difference ^= pivot[0]
            answer ^= pivot[1]
    block = base + answer.to_bytes(4, 'little')
    assert crc32c(block) == wanted
    return block


class ChecksumsTest(unittest.TestCase):
    def test_zero_means_zeroes_and_nothing_else(self):
        self.assertEqual(0, checksums.entry(bytes(BLOCK)))
        twin = block_with_crc(checksums.ZERO_CRC)
        self.assertEqual(checksums.COLLISION, checksums.entry(twin))
        data = bytes(BLOCK) + twin + b'x' * BLOCK
        self.assertEqual(
            [0, checksums.COLLISION, checksums.entry(b'x' * BLOCK)],
            list(checksums.entries(data)))
        table = checksums.table_of(checksums.entries(data))
        self.assertEqual([], checksums.mismatches(data, table, 0))
        self.assertEqual([(1, 2)], checksums.data_runs(table))

    def test_mismatches_are_numbered_from_the_first_block(self):
        data = random.Random(1).randbytes(5 * BLOCK)
        table = checksums.new_table(9)
        table[3:8] = memoryview(checksums.entries(data))
        self.assertEqual([], checksums.mismatches(data, table, 3))
        broken = bytearray(data)
        broken[BLOCK] ^= 1
        broken[5 * BLOCK - 1] ^= 128
        self.assertEqual([4, 7], checksums.mismatches(broken, table, 3))

    def test_digest_tells_tables_apart(self):
        table = checksums.new_table(4)
        before = checksums.digest(table)
        table[2] = 1
        self.assertNotEqual(before, checksums.digest(table))
        self.assertEqual(checksums.DIGEST_BYTES, len(before))

    def test_runs(self):
        self.assertEqual([], checksums.runs([]))
        self.assertEqual([(1, 1), (3, 3), (9, 1)],
                         checksums.runs([1, 3, 4, 5, 9]))

    def test_table_from_bytes_is_a_copy(self):
        data = bytes(8)
        table = checksums.table_of(data)
        table[0] = 7
        self.assertEqual(bytes(8), data)
        self.assertEqual(b'\7' + bytes(7), bytes(table))
