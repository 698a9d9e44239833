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

"""Tests of sheepdog.model.sizes."""

import unittest

from sheepdog.model import errors
from sheepdog.model import sizes


class SizesTest(unittest.TestCase):
    def test_parse(self):
        for text, value in (
                ('0', 0), ('1', 1), ('512B', 512), ('4K', 4096),
                ('4k', 4096), ('20M', 20 << 20), ('1G', 1 << 30),
                ('2T', 2 << 40), ('1P', 1 << 50), (' 7 ', 7),
                ('9223372036854775807', (1 << 63) - 1)):
            with self.subTest(text):
                self.assertEqual(value, sizes.parse_size(text))

    def test_parse_refused(self):
        for text in ('', 'M', '-1', '1.5G', '1E', '1 G', '1GB', '0x10',
                     '9223372036854775808', '8192P', '\u0663'):
            with self.subTest(text):
                self.assertRaises(errors.InvalidParameters,
                                  sizes.parse_size, text)

    def test_show(self):
        for value, text in (
                (0, '0.0 MB'), (4096, '0.0 MB'), (1 << 19, '0.5 MB'),
                (20 << 20, '20 MB'), (1023 << 20, '1023 MB'),
                (1 << 30, '1.0 GB'), (66 << 30, '66 GB'),
                (3 << 39, '1.5 TB'), (1 << 50, '1.0 PB'),
                (5000 << 50, '5000 PB')):
            with self.subTest(value):
                self.assertEqual(text, sizes.show_size(value))
