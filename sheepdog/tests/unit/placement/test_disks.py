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

import collections
import fractions
import random
import unittest

from sheepdog.model import ids
from sheepdog.placement import disks
from sheepdog.placement import ring

OIDS = [ids.data_oid(vdi_id, index)
        for vdi_id in (1, 0x7c2b25) for index in range(2000)]


def twin(weights, oid):
    """The definition, without a logarithm: each disk draws a number between
    0 and 1 and takes the root of its weight; the highest wins. Compared as
    fractions, for whole weights."""
    whole = 1
    for weight in weights.values():
        whole *= weight
    best = None
    for disk in sorted(weights):
        drawn = ids.next_hash(ids.next_hash(
            ids.next_hash(ids.fnv1a(disk.encode()))
            ^ ring.object_hash(oid))) >> 11
        power = fractions.Fraction(2 * drawn + 1, 1 << 54) ** (
            whole // weights[disk])
        if best is None or power > best[0]:
            best = power, disk
    return best[1]


class DisksTest(unittest.TestCase):

    def test_as_the_definition_says(self):
        source = random.Random('disks')
        for _ in range(20):
            weights = {'%016x' % source.getrandbits(64):
                       source.choice((1, 2, 3, 5))
                       for _ in range(source.randrange(1, 5))}
            found = disks.Disks(weights)
            for oid in source.sample(OIDS, 30):
                self.assertEqual(twin(weights, oid), found.place(oid))

    def test_none(self):
        self.assertIsNone(disks.Disks({}).place(1))

    def test_the_order_of_the_disks_does_not_matter(self):
        one = disks.Disks({'a': 5 << 40, 'b': 3 << 40, 'c': 1 << 40})
        other = disks.Disks({'c': 1 << 40, 'b': 3 << 40, 'a': 5 << 40})
        for oid in OIDS:
            self.assertEqual(one.place(oid), other.place(oid))

    def test_shares_follow_the_weights(self):
        weights = {'a': 100, 'b': 200, 'c': 400, 'd': 50}
        found = collections.Counter(map(disks.Disks(weights).place, OIDS))
        for disk, weight in weights.items():
            wanted = len(OIDS) * weight / sum(weights.values())
            self.assertLess(abs(found[disk] - wanted), 5 * wanted ** 0.5)

    def test_only_what_must_moves(self):
        weights = {'a': 100, 'b': 200, 'c': 400}
        few = disks.Disks(weights)
        many = disks.Disks(dict(weights, d=300))
        moved = [oid for oid in OIDS if few.place(oid) != many.place(oid)]
        self.assertEqual({'d'}, set(map(many.place, moved)))
        self.assertEqual({'a', 'b', 'c'}, set(map(few.place, moved)))
        wanted = len(OIDS) * 0.3
        self.assertLess(abs(len(moved) - wanted), 5 * wanted ** 0.5)
