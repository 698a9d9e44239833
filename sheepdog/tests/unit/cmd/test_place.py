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

"""Tests of sheepdog.cmd.place."""

import dataclasses
import os
import shutil
import socket
import tempfile
import unittest
from unittest import mock

from sheepdog.cmd import exits
from sheepdog.cmd import place
from sheepdog.conf import settings as settings_module
from sheepdog.faces.metrics import settings as metrics_settings
from sheepdog.faces.nbd import settings as nbd_settings
from sheepdog.model import keys
from sheepdog.peer import access as access_module
from sheepdog.store import settings as store_settings
from sheepdog.testing import certificates
from sheepdog.wire import nbd_handshake


WITH_KEY = access_module.AccessSettings(keys=access_module.StaticKeys(
    keys.Keyring((keys.Key('0000000a', b'k' * 32),))))
OPEN = access_module.AccessSettings(allow_unauthenticated=True)


def settings(journal_dir='', **fields):
    return settings_module.SheepSettings(
        store=store_settings.StoreSettings('/m', journal_dir=journal_dir),
        log=settings_module.LogSettings('/m/sheep.log'), **fields)


class CompleteTest(unittest.TestCase):
    def advertised(self, **fields):
        return place.complete(settings(**fields)).advertised_host

    def test_as_told(self):
        self.assertEqual('192.0.2.1', self.advertised(
            advertised_host='192.0.2.1', host='127.0.0.1'))
        self.assertEqual('192.0.2.1', self.advertised(host='192.0.2.1'))

    def test_names_become_addresses(self):
        self.assertIn(self.advertised(advertised_host='localhost'),
                      ('127.0.0.1', '::1'))

    def test_one_machine(self):
        for url in ('local', 'local:/dir', 'file:///dir'):
            for host in ('', '0.0.0.0', '::'):
                self.assertEqual('127.0.0.1', self.advertised(
                    cluster_url=url, host=host))

    def test_by_the_way_to_the_coordination_service(self):
        for url in ('zookeeper:127.0.0.1:2181', 'etcd3+http://127.0.0.1:1',
                    'redis://:password@127.0.0.1:6379?db=1'):
            self.assertEqual('127.0.0.1', self.advertised(cluster_url=url))

    def test_not_to_be_found_out(self):
        with self.assertRaisesRegex(exits.Stop, '-y') as caught:
            self.advertised(cluster_url='mysql://u:p@h/db')
        self.assertEqual(2, caught.exception.exit_code)

    def test_no_such_name(self):
        with self.assertRaisesRegex(exits.Stop, 'no-such'):
            self.advertised(advertised_host='no-such-host.invalid')

    def test_without_a_key_it_serves_this_machine(self):
        for fields, host in (
                ({}, '127.0.0.1'), ({'host': '127.0.0.2'}, '127.0.0.2'),
                ({'access': WITH_KEY}, ''), ({'access': OPEN}, ''),
                # This one is to be refused, not to be made smaller.
                ({'advertised_host': '192.0.2.1'}, ''),
                ({'host': '0.0.0.0'}, '0.0.0.0')):
            with self.subTest(fields):
                self.assertEqual(host, place.complete(
                    settings(**fields)).host)

    def test_without_a_key_it_serves_nobody_else(self):
        for fields in ({'advertised_host': '192.0.2.1'},
                       {'host': '0.0.0.0'}, {'host': '::'},
                       {'host': '192.0.2.1'},
                       {'host': '127.0.0.1', 'io_host': '192.0.2.1'}):
            with self.subTest(fields):
                complete = place.complete(settings(**fields))
                with self.assertRaisesRegex(
                        exits.Stop, 'sheepdog-manage key create') as caught:
                    place.check_access(complete)
                self.assertEqual(64, caught.exception.exit_code)
                for access in WITH_KEY, OPEN:
                    place.check_access(dataclasses.replace(
                        complete, access=access))
        for fields in {}, {'host': '127.0.0.1'}, {'host': '::1'}:
            place.check_access(place.complete(settings(**fields)))

    def test_zone(self):
        for address, zone in (('127.0.0.1', 16777343),
                              ('10.20.30.40', 0x281e140a),
                              ('::1', 1 << 24)):
            self.assertEqual(zone, place.zone_of(address))
        self.assertEqual(7, place.complete(
            settings(zone=7, host='127.0.0.1')).zone)


class EndpointsTest(unittest.TestCase):
    def test_endpoints(self):
        for url, expected in (
                ('local', []), ('local:/x', []), ('file:///x', []),
                ('zookeeper:h', [('h', 2181)]),
                ('zookeeper:a:1,b:2/cluster,timeout=5000',
                 [('a', 1), ('b', 2)]),
                ('zookeeper:a:1,timeout=5000', [('a', 1)]),
                ('zookeeper://a:1?hosts=b:2', [('a', 1), ('b', 2)]),
                ('etcd:a,b', [('a', 2379), ('b', 2379)]),
                ('etcd3+http://a:1?api_version=v3', [('a', 1)]),
                ('redis:[::1]:7', [('::1', 7)]),
                ('redis://user:pass@a:7/0', [('a', 7)]),
                ('memcached://a', [])):
            with self.subTest(url):
                self.assertEqual(expected, place.endpoints(url))

    def test_one_that_answers_is_enough(self):
        with socket.create_server(('127.0.0.1', 0)) as sock, \
                socket.socket() as closed:
            closed.bind(('127.0.0.1', 0))
            ports = closed.getsockname()[1], sock.getsockname()[1]
            place.check_coordination(settings(
                cluster_url='etcd:127.0.0.1:%d,127.0.0.1:%d' % ports))
            with self.assertRaises(exits.Stop):
                place.check_coordination(settings(
                    cluster_url='etcd:127.0.0.1:%d' % ports[0]))


class DirectoryTest(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.base)

    def refused(self, words, **fields):
        with self.assertRaisesRegex(exits.Stop, words) as caught:
            place.check_directories(settings(**fields))
        self.assertEqual(2, caught.exception.exit_code)

    def test_of_the_journal_must_be_there(self):
        place.check_directories(settings(journal_dir=self.base))
        self.refused('mount', journal_dir=self.base + '/missing')
        self.assertEqual([], os.listdir(self.base))

    def test_of_the_coordination_may_be_made(self):
        place.check_directories(settings(
            cluster_url='local:%s/some/where' % self.base))
        self.assertEqual([], os.listdir(self.base))

    def test_of_the_coordination_is_a_file(self):
        path = self.base + '/file'
        with open(path, 'w'):
            pass
        for below in ('', '/below'):
            self.refused(path + below,
                         cluster_url='local:%s%s' % (path, below))


class PackagesTest(unittest.TestCase):
    def test_notifications(self):
        place.check_packages(settings())
        wanted = settings(notifications=settings_module.NotificationSettings(
            ('log',)))
        with mock.patch.object(place.importlib.util, 'find_spec',
                               return_value=None):
            place.check_packages(settings())
            with self.assertRaisesRegex(exits.Stop, 'pip install'):
                place.check_packages(wanted)


class PortTest(unittest.TestCase):
    def test_ports(self):
        with socket.create_server(('127.0.0.1', 0)) as sock:
            port = sock.getsockname()[1]
            for host in ('127.0.0.1', ''):
                with self.assertRaisesRegex(exits.Stop, str(port)):
                    place.check_ports(settings(host=host, port=port))
        place.check_ports(settings(host='127.0.0.1', port=port))

    def test_metrics_port(self):
        with socket.create_server(('127.0.0.1', 0)) as sock, \
                socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
            free.close()
            metrics = metrics_settings.MetricsSettings(
                '127.0.0.1', sock.getsockname()[1])
            with self.assertRaisesRegex(exits.Stop, 'metrics'):
                place.check_ports(settings(host='127.0.0.1', port=port,
                                           metrics=metrics))

    def test_data_port(self):
        with socket.create_server(('127.0.0.1', 0)) as sock, \
                socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
            free.close()
            with self.assertRaisesRegex(exits.Stop, '-i'):
                place.check_ports(settings(
                    host='127.0.0.1', port=port, io_host='127.0.0.1',
                    io_port=sock.getsockname()[1]))


class CertificatesTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix='sheepdog-test-')
        self.addCleanup(directory.cleanup)
        self.files = certificates.Authority(directory.name).issue('sheep')

    def check(self, files):
        place.check_certificates(settings(nbd=nbd_settings.NbdSettings(
            tls=nbd_handshake.Tls.OFFERED, tls_files=files)))

    def test_good(self):
        self.check(self.files)
        place.check_certificates(settings())
        place.check_certificates(settings(nbd=nbd_settings.NbdSettings()))

    def test_a_file_that_is_not_there(self):
        with self.assertRaisesRegex(exits.Stop, r'\[nbd\] /none') as caught:
            self.check(self.files._replace(key='/none'))
        self.assertEqual(exits.USAGE, caught.exception.exit_code)
        with self.assertRaisesRegex(exits.Stop, r'\[security\] /none'):
            place.check_certificates(settings(
                access=access_module.AccessSettings(
                    tls_files=self.files._replace(key='/none'))))
