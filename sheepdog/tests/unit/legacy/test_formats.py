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

"""What the original wrote, taken apart; and whatever it did not write."""

import struct
import unittest

from sheepdog.legacy import formats
from sheepdog.model import ids
from sheepdog.tests.unit.legacy import original

NODE = original.Node('10.0.0.5', 7001, 3, 100, 1 << 40)
REAL = bytes.fromhex('18291d2ebcb0026b040002706c61696e00000000000000000000'
                     '00010016060000a074fc0c000000')
"""META/config of the first node of the real store ``plain``."""


class ConfigTest(unittest.TestCase):
    def test_a_real_one(self):
        self.assertEqual(
            formats.Config(7710919834285713688, formats.AUTO_VNODES, 2,
                           'plain', True, 0, 22, 55775109120),
            formats.read_config(REAL))

    def test_refusals(self):
        for offset, data, word in (
                (30, b'\5', 'version 5'), (30, b'\0\1', 'version 256'),
                (11, b'farm', 'farm'), (8, b'\x40', 'unknown flags'),
                (0, bytes(8), 'never formatted'), (29, b'\x40', '2^64'),
                (29, b'\0', '2^0')):
            with self.subTest(word):
                changed = bytearray(REAL)
                changed[offset:offset + len(data)] = data
                with self.assertRaisesRegex(formats.Refused,
                                            word.replace('^', r'\^')):
                    formats.read_config(bytes(changed))
        for data in b'', REAL[:-1], REAL + b'x':
            with self.assertRaisesRegex(formats.Refused, 'bytes, not 40'):
                formats.read_config(data)

    def test_whose_it_is(self):
        self.assertTrue(formats.is_config(REAL))
        self.assertFalse(formats.is_config(b'{"created": 1}'.ljust(40)))
        self.assertFalse(formats.is_config(REAL[:-1]))


class EpochTest(unittest.TestCase):
    def test_nodes(self):
        data = NODE.record() + struct.pack('<Q', 77)
        self.assertEqual(
            formats.Epoch(5, 77, (formats.Node(
                '10.0.0.5', 7001, 3, 100, 1 << 40, '', 0),)),
            formats.read_epoch(5, data))

    def test_refusals(self):
        time = struct.pack('<Q', 77)
        nowhere = bytearray(NODE.record())
        nowhere[24:40] = bytes(16)
        for data, word in (
                (b'', 'torn'), (time, 'torn'), (NODE.record(), 'torn'),
                (NODE.record()[:-1] + time, 'torn'),
                (NODE.record() * 2 + time, 'twice'),
                (bytes(nowhere) + time, 'without an address')):
            with self.subTest(word), self.assertRaisesRegex(
                    formats.Refused, word):
                formats.read_epoch(1, data)

    def test_ipv6(self):
        record = bytearray(NODE.record())
        record[24:40] = bytes.fromhex('20010db8' + '00' * 11 + '07')
        found = formats.read_epoch(1, bytes(record) + bytes(8))
        self.assertEqual('2001:db8::7', found.nodes[0].host)

    def test_names(self):
        self.assertEqual(12, formats.epoch_of('00000012'))
        for name in 'state', '0000012', 'log.1', '00000012.tmp', '+0000012':
            self.assertIsNone(formats.epoch_of(name))


class NameTest(unittest.TestCase):
    def test_each(self):
        for name, found in (
                ('808f8a8400000000', formats.Name(0x808f8a8400000000)),
                ('008f8a8400000001_5', formats.Name(0x8f8a8400000001, 5)),
                ('008f8a8400000001.12',
                 formats.Name(0x8f8a8400000001, -1, 12)),
                ('008f8a8400000001_5.3',
                 formats.Name(0x8f8a8400000001, 5, 3)),
                ('008f8a8400000001_', None), ('8f8a8400000001', None),
                ('008F8A8400000001', None), ('008f8a8400000001.tmp', None),
                ('lost+found', None)):
            with self.subTest(name):
                self.assertEqual(found, formats.read_name(name))

    def test_the_tree(self):
        for oid, directory in (
                (0x808f8a8400000000, 'meta'), (0x208f8a8489c54041, 'meta'),
                (0x408f8a8400000000, 'meta'), (0x008f8a8400000001, '84'),
                (0x088f8a8500000000, '85')):
            self.assertEqual(directory, formats.tree_directory(oid))
            self.assertTrue(formats.is_tree_directory(directory))
        for name in '.stale', 'metas', '8', '8G', 'META':
            self.assertFalse(formats.is_tree_directory(name))


class HeadTest(unittest.TestCase):
    def test_refusals(self):
        vdi = original.Vdi(0xABCDEF, 'a', 1 << 20, 2, 22, 5)
        oid = ids.vdi_oid(0xABCDEF)
        self.assertEqual('a', formats.read_head(oid, vdi.head()).name)
        for changed, word in (
                ({}, 'that of VDI abcdef'), ({'shift': 9}, '2.9 bytes'),
                ({'name': 'x' * 256}, 'makes no sense')):
            with self.subTest(word):
                other = original.Vdi(0xABCDEF, 'a', 1 << 20, 2, 22, 5)
                vars(other).update(changed)
                with self.assertRaisesRegex(formats.Refused, word):
                    formats.read_head(oid if changed else oid + (1 << 32),
                                      other.head())
        with self.assertRaisesRegex(formats.Refused, 'makes no sense'):
            formats.read_head(oid, vdi.head()[:-1])
