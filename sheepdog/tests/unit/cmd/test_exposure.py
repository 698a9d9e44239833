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

import os
import tempfile
import unittest

from sheepdog.cmd import exposure
from sheepdog.conf import settings as settings_module
from sheepdog.faces.metrics import settings as metrics_settings
from sheepdog.faces.nbd import settings as nbd_settings
from sheepdog.model import networks
from sheepdog.model import pem
from sheepdog.peer import access as access_module
from sheepdog.store import settings as store_settings
from sheepdog.wire import nbd_handshake

FILES = pem.TlsFiles('/cert', '/key', '/ca', True)
HOST = '192.0.2.1'


def told(host='127.0.0.1', advertised_host='127.0.0.1', nbd=None,
         metrics=None, **access):
    return exposure.warnings(settings(host, advertised_host, nbd, metrics,
                                      **access))


def settings(host, advertised_host, nbd=None, metrics=None, **access):
    return settings_module.SheepSettings(
        store=store_settings.StoreSettings('/m'),
        log=settings_module.LogSettings('/m/sheep.log'), host=host,
        advertised_host=advertised_host, nbd=nbd, metrics=metrics,
        access=access_module.AccessSettings(**access))


class ExposureTest(unittest.TestCase):

    def check(self, texts, *expected):
        """Each of them is found in one, in order, and there are no more."""
        self.assertEqual(len(expected), len(texts), texts)
        for text, words in zip(texts, expected):
            self.assertIn(words, text)

    def test_this_machine_alone(self):
        self.assertEqual([], told())
        self.assertEqual([], told(host='::1', advertised_host='::1',
                                  allow_unauthenticated=True,
                                  nbd=nbd_settings.NbdSettings()))

    def test_unauthenticated(self):
        self.check(told(HOST, HOST, allow_unauthenticated=True,
                        tls_files=FILES), HOST + ':7000')
        self.check(told('', '127.0.0.1', allow_unauthenticated=True,
                        tls_files=FILES), 'all addresses:7000')

    def test_unencrypted_across_hosts(self):
        self.check(told(HOST, HOST), 'security] tls')
        self.check(told('', HOST), 'security] tls')
        self.check(told(HOST, HOST, tls_files=FILES, is_tls_required=False),
                   'security] tls')
        self.assertEqual([], told(HOST, HOST, tls_files=FILES))

    def test_public_networks(self):
        self.check(told(public_networks=networks.parse(['10.1.0.0/24'])),
                   '10.1.0.0/24')
        self.check(told(public_networks=networks.parse(
            ['10.1.0.0/24', '10.0.0.0/8', '::/0'])), '10.1.0.0/24',
            '10.0.0.0/8, ::/0 is wide')

    def nbd(self, **fields):
        return told(nbd=nbd_settings.NbdSettings(**fields))

    def test_nbd(self):
        some = networks.parse(['10.0.0.0/8'])
        required = {'tls': nbd_handshake.Tls.REQUIRED, 'tls_files': FILES}
        for host in HOST, '0.0.0.0', '', '::':
            self.check(self.nbd(host=host), 'whoever reaches', '[nbd] tls')
        self.check(self.nbd(host=HOST, networks=some), '[nbd] tls')
        self.check(self.nbd(host=HOST, networks=some,
                            tls=nbd_handshake.Tls.OFFERED, tls_files=FILES),
                   '[nbd] tls')
        self.check(self.nbd(host=HOST, **{
            **required, 'tls_files': FILES._replace(verify_clients=False)}),
            'whoever reaches')
        self.assertEqual([], self.nbd(host=HOST, **required))
        self.assertEqual([], self.nbd(host=HOST, networks=some, **{
            **required, 'tls_files': FILES._replace(verify_clients=False)}))
        for host in '127.0.0.1', '::1', 'localhost':
            self.assertEqual([], self.nbd(host=host))
        self.assertEqual([], self.nbd(host=HOST, port=None,
                                      unix_path='/run/nbd'))

    def test_metrics(self):
        for host, count in ((HOST, 1), ('127.0.0.1', 0)):
            self.assertEqual(count, len(told(
                metrics=metrics_settings.MetricsSettings(host=host,
                                                         port=9770))))

    def test_keys_that_others_can_read(self):
        with tempfile.NamedTemporaryFile() as key:
            files = FILES._replace(key=key.name)
            mine = settings('127.0.0.1', '127.0.0.1', tls_files=files,
                            nbd=nbd_settings.NbdSettings(
                                tls=nbd_handshake.Tls.OFFERED,
                                tls_files=files))
            for mode, found in ((0o600, []), (0o640, []),
                                (0o644, [(key.name, 0o644)])):
                os.chmod(key.name, mode)
                self.assertEqual(found, exposure.loose_files(mine))
            self.check(exposure.warnings(mine, found),
                       'chmod 600 ' + key.name)
        self.assertEqual([], exposure.loose_files(mine))
