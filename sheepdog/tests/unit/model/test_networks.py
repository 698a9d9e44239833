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

from sheepdog.model import networks


class NetworksTest(unittest.TestCase):

    def test_parse(self):
        self.assertEqual(
            ['10.0.0.0/8', '192.0.2.1/32', '2001:db8::/32'],
            [str(network) for network in networks.parse(
                ['10.0.0.0/8', ' 192.0.2.1 ', '2001:db8::/32', ''])])

    def test_what_is_no_network_is_named(self):
        for text in '10.0.0.1/8', 'localhost', '10.0.0.0/33', '10.0.0':
            with self.assertRaisesRegex(ValueError, text):
                networks.parse(['10.0.0.0/8', text])

    def test_contain(self):
        some = networks.parse(['10.0.0.0/8', '2001:db8::/32', 'fe80::/10'])
        for host in ('10.255.255.255', '2001:db8::1', '::ffff:10.0.0.1',
                     'fe80::1%eth0'):
            self.assertTrue(networks.contain(some, host), host)
        for host in '11.0.0.0', '2001:db9::1', '', 'example.org', '::1':
            self.assertFalse(networks.contain(some, host), host)
        self.assertFalse(networks.contain((), '10.0.0.1'))

    def test_loopback(self):
        for host in '127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1':
            self.assertTrue(networks.is_loopback(host), host)
        for host in '128.0.0.1', '::', '', 'localhost':
            self.assertFalse(networks.is_loopback(host), host)
