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

import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.model import ids
from sheepdog.model import limits

vdi_ids = strategies.integers(0, limits.VDI_IDS_MAX - 1)
indexes = strategies.integers(0, 0xFFFFFFFF)


class HashTest(unittest.TestCase):

    def test_published_vectors(self):
        # From the authors' reference page for FNV-1a, 64 bits.
        for data, expected in ((b'', 0xCBF29CE484222325),
                               (b'a', 0xAF63DC4C8601EC8C),
                               (b'foobar', 0x85944171F73967E8)):
            self.assertEqual(expected, ids.fnv1a(data))

    @hypothesis.given(strategies.binary(max_size=40),
                      strategies.integers(0, 40))
    @hypothesis.settings(deadline=None)
    def test_goes_on_from_a_state(self, data, cut):
        self.assertEqual(ids.fnv1a(data),
                         ids.fnv1a(data[cut:], ids.fnv1a(data[:cut])))

    def test_next_hash_feeds_the_lowest_byte_first(self):
        state = 0x0102030405060708
        for byte in (8, 7, 6, 5, 4, 3, 2, 1):
            state = (state ^ byte) * 0x100000001B3 % 2 ** 64
        self.assertEqual(state, ids.next_hash(0x0102030405060708))

    def test_first_vdi_id(self):
        # As listed by the original for VDIs of these names.
        self.assertEqual(0x7C2B25, ids.first_vdi_id('test'))
        self.assertEqual(ids.fnv1a('ä'.encode()) % 2 ** 24,
                         ids.first_vdi_id('ä'))


class ObjectIdTest(unittest.TestCase):

    def test_as_written(self):
        self.assertEqual('007c2b2500000003',
                         ids.hex_oid(ids.data_oid(0x7C2B25, 3)))
        self.assertEqual('807c2b2600000000',
                         ids.hex_oid(ids.vdi_oid(0x7C2B26)))
        self.assertEqual('407c2b2600000001',
                         ids.hex_oid(ids.vmstate_oid(0x7C2B26, 1)))
        self.assertEqual('207c2b26deadbeef',
                         ids.hex_oid(ids.attribute_oid(0x7C2B26,
                                                       0x1DEADBEEF)))

    @hypothesis.given(vdi_ids, indexes)
    @hypothesis.settings(deadline=None)
    def test_parts_come_back(self, vdi_id, index):
        for make in (ids.data_oid, ids.vmstate_oid, ids.attribute_oid):
            oid = make(vdi_id, index)
            self.assertEqual((vdi_id, index),
                             (ids.vdi_of(oid), ids.index_of(oid)))
            self.assertFalse(ids.is_vdi(oid))
            self.assertEqual(make is ids.data_oid, ids.is_data(oid))
        oid = ids.vdi_oid(vdi_id)
        self.assertEqual(vdi_id, ids.vdi_of(oid))
        self.assertTrue(ids.is_vdi(oid))
        self.assertFalse(ids.is_data(oid))

    def test_every_kind_bit_makes_it_no_data(self):
        for bit in range(59, 64):
            self.assertFalse(ids.is_data(ids.data_oid(1, 1) | 1 << bit))

    def test_capacity(self):
        self.assertEqual(1 << 24, ids.capacity_of(ids.vdi_oid(1), 22))
        self.assertEqual(1 << 20, ids.capacity_of(ids.data_oid(1, 1), 20))
        self.assertEqual(1 << 22, ids.capacity_of(ids.vmstate_oid(1, 1), 22))
        # An attribute: 784 bytes of head, and a value of 64 KiB.
        self.assertGreaterEqual(
            ids.capacity_of(ids.attribute_oid(1, 1), 22), 784 + 65536)
