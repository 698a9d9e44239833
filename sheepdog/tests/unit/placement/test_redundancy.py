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

from sheepdog.model import errors
from sheepdog.placement import redundancy


class RedundancyTest(unittest.TestCase):

    def test_copies(self):
        policy = redundancy.parse('3')
        self.assertEqual((3, 0), policy)
        self.assertEqual(3, redundancy.copies_of(*policy))
        self.assertEqual(2, redundancy.losses_of(*policy))
        self.assertEqual('3', redundancy.text_of(*policy))

    def test_erasure_coded(self):
        policy = redundancy.parse('4:2')
        self.assertEqual((6, 0x22), policy)
        self.assertEqual((4, 2), redundancy.strips_of(policy.copy_policy))
        self.assertEqual(6, redundancy.copies_of(3, policy.copy_policy))
        self.assertEqual(2, redundancy.losses_of(*policy))
        self.assertEqual('4:2', redundancy.text_of(*policy))
        self.assertEqual((31, 0x8F), redundancy.parse('16:15'))
        self.assertEqual((3, 0x11), redundancy.parse('2:1'))
        self.assertEqual((1, 0), redundancy.parse('1'))
        self.assertEqual((31, 0), redundancy.parse('31'))

    def test_refused(self):
        for text in ('', '0', '32', '-1', '+3', ' 3', '3.0', 'x', '٣', ':',
                     '4:', ':2', '3:2', '4:0', '4:16', '4:2:1', '32:1',
                     '1_0', '0:1', '4:-2'):
            with self.subTest(text=text):
                with self.assertRaises(errors.InvalidParameters):
                    redundancy.parse(text)

    def test_every_byte_is_a_policy_or_refused(self):
        good = 0
        for byte in range(1, 256):
            try:
                data, parity = redundancy.strips_of(byte)
            except errors.InvalidParameters:
                continue
            good += 1
            self.assertEqual(
                redundancy.Policy(data + parity, byte),
                redundancy.parse('%d:%d' % (data, parity)))
        self.assertEqual(4 * 15, good)
        with self.assertRaises(errors.InvalidParameters):
            redundancy.strips_of(0x122)

    def test_bytes(self):
        self.assertEqual(300, redundancy.bytes_of(100, 3))
        self.assertEqual(150, redundancy.bytes_of(100, 6, 0x22))

    def test_checked(self):
        self.assertEqual((6, 0x22), redundancy.checked(0, 0x22))
        self.assertEqual((5, 0), redundancy.checked(5))
        for copies, policy in ((0, 0), (32, 0), (3, 0x30), (3, 0x20)):
            with self.assertRaises(errors.InvalidParameters):
                redundancy.checked(copies, policy)

    @hypothesis.given(strategies.text(max_size=6))
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_any_text(self, text):
        try:
            policy = redundancy.parse(text)
        except errors.InvalidParameters:
            return
        self.assertEqual(policy,
                         redundancy.parse(redundancy.text_of(*policy)))
