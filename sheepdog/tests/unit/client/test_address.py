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

"""Tests of sheepdog.client.address."""

import unittest

from sheepdog.client import address
from sheepdog.model import errors


class ParseTest(unittest.TestCase):
    def test_forms(self):
        for text, host, port, path in (
                ('one', 'one', 7000, ''),
                ('one:7001', 'one', 7001, ''),
                (':7001', 'localhost', 7001, ''),
                ('10.0.0.1', '10.0.0.1', 7000, ''),
                ('[::1]:7002', '::1', 7002, ''),
                ('[::1]', '::1', 7000, ''),
                ('fe80::1', 'fe80::1', 7000, ''),
                ('unix:/run/sock', '', 0, '/run/sock'),
                ('/run/sock', '', 0, '/run/sock'),
                (('one', 7003), 'one', 7003, '')):
            with self.subTest(text):
                self.assertEqual(address.Address(host, port, path),
                                 address.parse_address(text))

    def test_default_port(self):
        self.assertEqual(9, address.parse_address('one', 9).port)

    def test_refused(self):
        for text in ('one:x', 'one:0', 'one:65536', '[::1', 'unix:',
                     '[::1]x', 'one:-1', 'one:\u0663'):
            with self.subTest(text):
                self.assertRaises(errors.InvalidParameters,
                                  address.parse_address, text)

    def test_text_round_trip(self):
        for text in ('one:7001', '[::1]:7002', 'unix:/run/sock'):
            self.assertEqual(text, str(address.parse_address(text)))
