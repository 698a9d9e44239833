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

from sheepdog.cluster import address
from sheepdog.model import errors


def parse(text, ttl=4.0):
    return address.parse(text, ttl, '/run/x')


class AddressTest(unittest.TestCase):
    def test_local(self):
        self.assertEqual(address.Address(
            'file', ('file:///run/x?timeout=4',), 'sheepdog', 4.0),
            parse('local'))
        self.assertEqual(('file:///a/b%20c?timeout=5',),
                         parse('local:/a/b c', 4.5).urls)

    def test_zookeeper(self):
        found = parse('zookeeper:a:2181,b,[::1]:2183/lab-1,timeout=2500')
        self.assertEqual('zookeeper', found.driver)
        self.assertEqual(('zookeeper://a:2181?hosts=b%3A2181&'
                          'hosts=%5B%3A%3A1%5D%3A2183&timeout=3',),
                         found.urls)
        self.assertEqual(('lab-1', 2.5), (found.cluster, found.ttl))

    def test_etcd(self):
        self.assertEqual(
            tuple('etcd3+http://%s?api_version=v3&timeout=1&'
                  'membership_timeout=4&lock_timeout=4' % host
                  for host in ('a:2379', 'b:99')),
            parse('etcd:a,b:99').urls)

    def test_redis(self):
        self.assertEqual(
            ('redis://a:6379?socket_timeout=2&timeout=6&'
             'membership_timeout=6&lock_timeout=6',),
            parse('redis:a', 6.0).urls)

    def test_urls_are_completed(self):
        found = parse('etcd3+https://h:1?ca_cert=/x&membership_timeout=9&'
                      'cluster=two')
        self.assertEqual(('etcd', 9.0, 'two'),
                         (found.driver, found.ttl, found.cluster))
        self.assertEqual(
            ('etcd3+https://h:1?ca_cert=%2Fx&api_version=v3&timeout=3&'
             'membership_timeout=9&lock_timeout=9',), found.urls)
        found = parse('zookeeper://u:p@h:1?timeout=7')
        self.assertEqual(('zookeeper://u:p@h:1?timeout=7',), found.urls)
        self.assertEqual(7.0, found.ttl)
        self.assertEqual('coordination at zookeeper://h:1', found.place)
        found = parse('redis://h:1?sentinel=s')
        self.assertIn('sentinel=s&socket_timeout=1', found.urls[0])

    def test_what_is_not_understood(self):
        for text, reason in (
                ('', 'unknown coordination'),
                ('corosync', 'unknown coordination'),
                ('zookeeper', 'expected HOST:PORT'),
                ('zookeeper:', 'expected HOST:PORT'),
                ('zookeeper:a:0', 'expected HOST:PORT'),
                ('zookeeper:a:99999', 'expected HOST:PORT'),
                ('etcd:a:b', 'expected HOST:PORT'),
                ('etcd:a,', 'expected HOST:PORT'),
                ('redis:a,b', 'not one service'),
                ('redis:a/', 'no name of a cluster'),
                ('redis:a/b/c', 'no name of a cluster'),
                ('zookeeper:a,timeout=soon', 'milliseconds'),
                ('zookeeper:a,timeout=0', 'milliseconds'),
                ('redis://a?membership_timeout=-1', 'no seconds'),
                ('local:x', 'from the root')):
            with self.subTest(text):
                with self.assertRaisesRegex(errors.InvalidParameters,
                                            reason):
                    parse(text)
