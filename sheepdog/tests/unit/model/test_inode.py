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

import struct
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.model import errors
from sheepdog.model import inode

names = strategies.text(max_size=60).filter(
    lambda text: '\0' not in text
    and not any(0xD800 <= ord(char) < 0xE000 for char in text))
u8 = strategies.integers(0, 0xFF)
u32 = strategies.integers(0, 0xFFFFFFFF)
u64 = strategies.integers(0, 0xFFFFFFFFFFFFFFFF)
heads = strategies.builds(
    inode.InodeHead, names, names, u64, u64, u64, u64, u64, u8, u8, u8, u8,
    u32, u32, u32, u32)


class HeadTest(unittest.TestCase):

    @hypothesis.given(heads)
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_round_trip(self, head):
        packed = head.pack()
        self.assertEqual(572, len(packed))
        self.assertEqual(head, inode.InodeHead.unpack(packed))
        self.assertEqual(head, inode.InodeHead.unpack(
            bytearray(packed) + bytes(100)))

    @hypothesis.given(strategies.binary(max_size=700))
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_garbage(self, data):
        try:
            head = inode.InodeHead.unpack(data)
        except errors.InvalidParameters:
            return
        self.assertEqual(head, inode.InodeHead.unpack(head.pack()))

    def test_offsets(self):
        packed = inode.InodeHead(
            'name', 'tag', create_time=1, snap_ctime=2, vm_clock_nsec=3,
            vdi_size=4, vm_state_size=5, copy_policy=6, store_policy=7,
            nr_copies=8, block_size_shift=9, snap_id=10, vdi_id=11,
            parent_vdi_id=12, btree_counter=13).pack()
        self.assertEqual(b'name\0', packed[0:5])
        self.assertEqual(b'tag\0', packed[256:260])
        for offset, form, value in (
                (512, '<Q', 1), (520, '<Q', 2), (528, '<Q', 3),
                (536, '<Q', 4), (544, '<Q', 5), (552, '<B', 6),
                (553, '<B', 7), (554, '<B', 8), (555, '<B', 9),
                (556, '<I', 10), (560, '<I', 11), (564, '<I', 12),
                (568, '<I', 13)):
            self.assertEqual((value,),
                             struct.unpack_from(form, packed, offset))
        self.assertEqual(536, inode.SIZE_OFFSET)

    def test_map(self):
        self.assertEqual(4664, inode.map_offset(0))
        self.assertEqual(4672, inode.map_offset(2))
        self.assertEqual(4198968, inode.CLIENT_BYTES)
        self.assertEqual(inode.CLIENT_BYTES, inode.map_offset(1 << 20))

    def test_what_it_tells(self):
        head = inode.InodeHead('x', block_size_shift=20)
        self.assertEqual(1 << 20, head.object_bytes)
        self.assertFalse(head.is_snapshot)
        head.snap_ctime = 1
        self.assertTrue(head.is_snapshot)


class NameTest(unittest.TestCase):

    def test_fits_with_its_zero(self):
        self.assertEqual(b'x' * 255 + b'\0', inode.encode_name('x' * 255))
        self.assertEqual('x' * 255, inode.decode_name(
            inode.encode_name('x' * 255)))

    def test_refused(self):
        for name in ('x' * 256, 'ä' * 128, 'a\0b', '\ud800'):
            with self.subTest(name=name[:3]):
                with self.assertRaises(errors.InvalidParameters):
                    inode.encode_name(name)

    def test_refused_fields(self):
        for field in (b'', b'x' * 256, b'\xff\0', b'\xc3\0'):
            with self.subTest(field=field[:3]):
                with self.assertRaises(errors.InvalidParameters):
                    inode.decode_name(field)

    def test_what_follows_the_zero_does_not_matter(self):
        self.assertEqual('a', inode.decode_name(memoryview(b'a\0\xff')))
