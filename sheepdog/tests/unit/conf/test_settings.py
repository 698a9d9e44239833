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

"""Tests of sheepdog.conf.settings."""

import os
import tempfile
import unittest
from unittest import mock

from sheepdog.client import key_file
from sheepdog.conf import config
from sheepdog.conf import settings
from sheepdog.model import keys
from sheepdog.wire import nbd_handshake


class SettingsTest(unittest.TestCase):
    def build(self, **options):
        """Options are named ``name`` or ``group__name``."""
        conf = config.new_config([])
        for name, value in {'meta': '/m', **options}.items():
            group, _, name = name.rpartition('__')
            config.override(conf, group, name, value)
        return settings.build(conf)

    def test_defaults(self):
        built = self.build()
        self.assertEqual('/m', built.meta)
        self.assertEqual('/m/sock', built.socket_path)
        self.assertEqual('/m/sheep.log', built.log.path)
        self.assertEqual((), built.store.disks)
        self.assertEqual(('', 7000, '', -1), (
            built.host, built.port, built.advertised_host, built.zone))
        self.assertEqual(-1, built.vnodes)
        self.assertIsNone(built.nbd)
        self.assertEqual(('', 0), (built.io_host, built.io_port))

    def test_everything(self):
        built = self.build(
            bindaddr='1.2.3.4', myaddr='5.6.7.8', port='7001', zone='9',
            nosync='true', vnodes='7', pidfile='/p', foreground='true',
            cluster__url='redis:h:1', cluster__ttl_seconds='2.5',
            io__host='9.9.9.9', io__port='7009', journal__size='64M',
            journal__dir='/j', recovery__max='3', recovery__interval='50',
            log__dir='/l', log__level='debug', log__format='json',
            log__destination='syslog')
        self.assertEqual(('1.2.3.4', '5.6.7.8', 7001, 9), (
            built.host, built.advertised_host, built.port, built.zone))
        self.assertEqual((64 << 20, '/j', True), (
            built.store.journal_bytes, built.store.journal_dir,
            built.store.nosync))
        self.assertEqual(('redis:h:1', 2.5), (built.cluster_url,
                                              built.ttl_seconds))
        self.assertEqual(('9.9.9.9', 7009), (built.io_host, built.io_port))
        self.assertEqual((3, 50), (built.recovery_max,
                                   built.recovery_interval_ms))
        self.assertEqual(
            settings.LogSettings('/l/sheep.log', 'debug', 'json', 'syslog'),
            built.log)
        self.assertEqual((7, '/p', True), (built.vnodes, built.pidfile,
                                           built.foreground))

    def test_gateway_has_no_vnodes(self):
        built = self.build(gateway='true')
        self.assertTrue(built.gateway)
        self.assertEqual(0, built.vnodes)

    def test_paths_are_absolute(self):
        built = self.build(meta='m', journal__dir='j', log__dir='l',
                           pidfile='p', nbd__enabled='true', nbd__path='n',
                           cluster__url='local:c')
        for path, name in (
                (built.meta, 'm'), (built.store.journal_dir, 'j'),
                (built.log.path, 'l/sheep.log'), (built.pidfile, 'p'),
                (built.nbd.unix_path, 'n'),
                (built.cluster_url.removeprefix('local:'), 'c')):
            self.assertEqual(os.path.join(os.getcwd(), name), path)

    def test_nbd(self):
        built = self.build(nbd__enabled='true', nbd__host='::1',
                           nbd__port='10810', nbd__default_export='v',
                           nbd__read_only='true')
        self.assertEqual(('::1', 10810, '', 'v', True), (
            built.nbd.host, built.nbd.port, built.nbd.unix_path,
            built.nbd.default_export, built.nbd.read_only))
        built = self.build(nbd__enabled='true', nbd__port='-1',
                           nbd__path='/n')
        self.assertIsNone(built.nbd.port)

    def test_metrics(self):
        self.assertIsNone(self.build().metrics)
        for listen, host, port in (('127.0.0.1:9770', '127.0.0.1', 9770),
                                   ('[::1]:0', '::1', 0),
                                   ('metrics.example:80', 'metrics.example',
                                    80)):
            built = self.build(metrics__listen=listen).metrics
            self.assertEqual((host, port), (built.host, built.port))

    def notify(self, **options):
        return self.build(**{'oslo_messaging_notifications__' + name: value
                             for name, value in options.items()})

    def test_notifications(self):
        self.assertIsNone(self.build().notifications)
        self.assertIsNone(self.notify(driver=['noop']).notifications)
        url = 'rabbit://u:secret@h:5672/'
        built = self.notify(driver=['messagingv2', 'log'], topics='a,b',
                            transport_url=url).notifications
        self.assertEqual((('messagingv2', 'log'), url, ('a', 'b'), ()), (
            built.drivers, built.transport_url, built.topics, built.files))
        self.assertNotIn('secret', repr(built))

    def test_notifications_refused(self):
        for options, named in (
                ({'driver': ['pigeon']}, 'driver: there is no pigeon'),
                ({'driver': ['messagingv2']}, 'transport_url'),
                ({'driver': ['messaging'], 'transport_url': 'h:secret'},
                 'transport_url'),
                ({'driver': ['log'], 'topics': ''}, 'topics')):
            with self.subTest(options):
                with self.assertRaisesRegex(config.ConfigRefused,
                                            named) as caught:
                    self.notify(**options)
                self.assertNotIn('secret', str(caught.exception))

    def test_secrets_are_not_shown(self):
        conf = config.new_config([])
        config.override(conf, 'oslo_messaging_notifications',
                        'transport_url', 'rabbit://u:secret@h/')
        shown = {option.name: settings.shown(option, value)
                 for _, option, value, _ in config.values(conf)}
        self.assertEqual('***', shown['transport_url'])
        self.assertNotIn('secret', str(shown))

    def test_metrics_refused(self):
        for listen in ('9770', ':9770', '127.0.0.1', '127.0.0.1:',
                       '127.0.0.1:x', '127.0.0.1:65536', '::1:9770',
                       '[::1]', 'a b:1', 'http://h:1'):
            with self.subTest(listen):
                with self.assertRaisesRegex(config.ConfigRefused,
                                            'metrics.listen'):
                    self.build(metrics__listen=listen)

    def test_nbd_over_tls(self):
        built = self.build(nbd__enabled='true', nbd__tls='required',
                           nbd__tls_cert='/c', nbd__tls_key='k',
                           nbd__tls_ca='/a', nbd__verify_clients='true')
        self.assertEqual(nbd_handshake.Tls.REQUIRED, built.nbd.tls)
        self.assertEqual(('/c', os.path.abspath('k'), '/a', True),
                         built.nbd.tls_files)
        built = self.build(nbd__enabled='true', nbd__tls='offered',
                           nbd__tls_cert='/c', nbd__tls_key='/k')
        self.assertEqual(('/c', '/k', '', False), built.nbd.tls_files)

    def test_nbd_exports_by_certificate(self):
        tls = {'nbd__enabled': 'true', 'nbd__tls': 'required',
               'nbd__tls_cert': '/c', 'nbd__tls_key': '/k',
               'nbd__tls_ca': '/a', 'nbd__verify_clients': 'true'}
        self.assertEqual((), self.build(**tls).nbd.certificate_exports)
        built = self.build(nbd__certificate_exports='a=x-*,*=y', **tls)
        self.assertEqual((('a', 'x-*'), ('*', 'y')),
                         built.nbd.certificate_exports)
        for wrong in (dict(tls, nbd__certificate_exports='vdi'),
                      dict(tls, nbd__certificate_exports='a=b',
                           nbd__verify_clients='false')):
            with self.assertRaisesRegex(config.ConfigRefused,
                                        'nbd.certificate_exports'):
                self.build(**wrong)

    def test_tls_between_sheep(self):
        self.assertIsNone(self.build().access.tls_files)
        files = {'security__tls_cert': '/c', 'security__tls_key': '/k',
                 'security__tls_ca': 'a'}
        for mode in 'offered', 'required':
            access = self.build(security__tls=mode, **files).access
            self.assertEqual(('/c', '/k', os.path.abspath('a'), True),
                             access.tls_files)
            self.assertIs(mode == 'required', access.is_tls_required)
        for name in files:
            with self.assertRaisesRegex(config.ConfigRefused,
                                        name.replace('__', '.')):
                self.build(security__tls='required', **{**files, name: ''})

    def test_who_may_connect(self):
        default = self.build()
        self.assertEqual((0, os.geteuid()), default.access.trusted_uids)
        self.assertEqual((), default.access.public_networks)
        self.assertFalse(default.access.allow_unauthenticated)
        self.assertEqual(0o600, default.socket_mode)
        built = self.build(security__trusted_uids='107,64055',
                           security__public_networks='10.1.0.0/24,::1')
        self.assertEqual((0, os.geteuid(), 107, 64055),
                         built.access.trusted_uids)
        self.assertEqual(0o666, built.socket_mode)
        self.assertEqual(['10.1.0.0/24', '::1/128'],
                         list(map(str, built.access.public_networks)))
        for option, value in (('public_networks', '10.1.0.0/33'),
                              ('public_networks', '10.1.0.1/24'),
                              ('trusted_uids', 'root'),
                              ('trusted_uids', '-1')):
            with self.subTest(value), self.assertRaisesRegex(
                    config.ConfigRefused, 'security.' + option):
                self.build(**{'security__' + option: value})

    def test_the_key_of_the_cluster(self):
        ring = keys.Keyring((keys.Key('0000000a', b'k' * 32),))
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'cluster.key')
            with mock.patch.object(key_file, 'DEFAULT_PATH', path):
                self.assertIsNone(self.build().access.keys)
                with self.assertRaisesRegex(config.ConfigRefused,
                                            'security.key_file.*' + path):
                    self.build(security__key_file=path)
                key_file.write(path, ring, is_new=True)
                for options in {}, {'security__key_file': path}:
                    built = self.build(**options)
                    self.assertEqual(['0000000a'],
                                     built.access.keys.keyring().ids)
                    self.assertNotIn('kkkk', repr(built))
                # One that is there and cannot be used is not passed over.
                os.chmod(path, 0o640)
                with self.assertRaisesRegex(config.ConfigRefused,
                                            'chmod 600 ' + path):
                    self.build()

    def test_nbd_is_for_this_machine_unless_told(self):
        built = self.build(nbd__enabled='true')
        self.assertEqual('127.0.0.1', built.nbd.host)
        self.assertEqual(((), ()), (built.nbd.networks,
                                    built.nbd.read_only_networks))
        built = self.build(nbd__enabled='true', nbd__networks='10.0.0.0/8,::1',
                           nbd__read_only_networks='192.0.2.1')
        self.assertEqual(['10.0.0.0/8', '::1/128'],
                         [str(network) for network in built.nbd.networks])
        self.assertEqual(['192.0.2.1/32'], [
            str(network) for network in built.nbd.read_only_networks])

    def test_refused(self):
        for options, named in (
                ({'meta': ''}, 'META'), ({'directio': 'true'}, 'directio'),
                ({'vnodes': '0'}, 'vnodes'), ({'port': '0'}, 'port'),
                ({'gateway': 'true', 'vnodes': '3'}, 'vnodes'),
                ({'journal__size': '1K'}, 'journal'),
                ({'cluster__url': 'carrier-pigeon:x'}, 'cluster.url'),
                ({'cluster__url': 'redis:a,b'}, 'cluster.url'),
                ({'io__host': 'x', 'io__port': '0'}, 'io.port'),
                ({'nbd__enabled': 'true', 'nbd__port': '-1'}, 'nbd'),
                ({'nbd__enabled': 'true', 'nbd__tls': 'offered'},
                 'nbd.tls_cert'),
                ({'nbd__enabled': 'true', 'nbd__tls': 'offered',
                  'nbd__tls_cert': '/c'}, 'nbd.tls_key'),
                ({'nbd__enabled': 'true', 'nbd__verify_clients': 'true'},
                 'nbd.verify_clients'),
                ({'nbd__enabled': 'true', 'nbd__verify_clients': 'true',
                  'nbd__tls': 'required', 'nbd__tls_cert': '/c',
                  'nbd__tls_key': '/k'}, 'nbd.tls_ca'),
                ({'nbd__enabled': 'true', 'nbd__networks': '10.0.0.1/8'},
                 'nbd.networks.*10.0.0.1/8')):
            with self.subTest(options):
                with self.assertRaisesRegex(config.ConfigRefused, named):
                    self.build(**options)

    def test_settings_are_frozen(self):
        built = self.build()
        with self.assertRaises(AttributeError):
            built.port = 1
