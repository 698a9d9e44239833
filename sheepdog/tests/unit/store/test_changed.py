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

from sheepdog.store import changed

BLOCK = 4096


def blocks_of(ranges):
    return {block for offset, size in ranges
            for block in range(offset // BLOCK, -(-(offset + size) // BLOCK))}


class ChangedTest(unittest.TestCase):

    def test_as_a_set_of_blocks(self):
        chance = random.Random(7)
        for capacity in (16, 256, 512, 513, 1024, 1500):
            for _ in range(40):
                bits = 0
                ranges = []
                for _ in range(chance.randrange(4)):
                    offset = chance.randrange(capacity * BLOCK)
                    size = chance.randint(1, min(
                        chance.choice((1, 5000, 1 << 30)),
                        capacity * BLOCK - offset))
                    ranges.append((offset, size))
                    bits |= changed.bits_of(offset, size)
                self.assertLess(bits, changed.BITS_END)
                wanted = {block % changed.BITS for block in blocks_of(ranges)}
                found = changed.ranges(bits, capacity * BLOCK)
                self.assertEqual(
                    {block for block in range(capacity)
                     if block % changed.BITS in wanted}, blocks_of(found))
                self.assertEqual(sorted(found), found)

    def test_runs_are_joined(self):
        bits = changed.bits_of(0, 1) | changed.bits_of(BLOCK, BLOCK + 1) \
            | changed.bits_of(5 * BLOCK - 1, 1)
        self.assertEqual([(0, 3 * BLOCK), (4 * BLOCK, BLOCK)],
                         changed.ranges(bits, 8 * BLOCK))

    def test_all_and_nothing(self):
        self.assertEqual([(0, 9 * BLOCK)],
                         changed.ranges(changed.ALL, 9 * BLOCK))
        self.assertEqual([], changed.ranges(0, 9 * BLOCK))
        self.assertEqual(changed.ALL,
                         changed.bits_of(77, BLOCK * changed.BITS))
