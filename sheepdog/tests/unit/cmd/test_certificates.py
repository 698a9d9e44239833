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
import types
import unittest
from unittest import mock

from sheepdog.client import tls
from sheepdog.cmd import certificates
from sheepdog.cmd import keys
from sheepdog.testing import certificates as authorities


class CertificatesTest(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix='sheepdog-test-')
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.files = authorities.Authority(self.directory).issue('client')
        self.configured = None
        patch = mock.patch.object(keys, 'configured',
                                  lambda: self.configured)
        patch.start()
        self.addCleanup(patch.stop)
        patch = mock.patch.dict(os.environ)
        patch.start()
        self.addCleanup(patch.stop)
        os.environ.pop(certificates.VARIABLE, None)

    def test_none(self):
        self.assertIsNone(certificates.tls_for(None))
        os.environ[certificates.VARIABLE] = '/none'
        self.assertIsNone(certificates.tls_for(''))

    def test_a_directory(self):
        self.assertIsInstance(certificates.tls_for(self.directory),
                              tls.ClientTls)
        os.environ[certificates.VARIABLE] = self.directory
        self.assertIsInstance(certificates.tls_for(None), tls.ClientTls)

    def test_a_directory_without(self):
        with self.assertRaisesRegex(tls.TlsRefused, '/none/client-cert.pem'):
            certificates.tls_for('/none')

    def test_the_sheep_s_where_it_speaks_to_none_without(self):
        self.configured = types.SimpleNamespace(
            tls='required', tls_cert=self.files.certificate,
            tls_key=self.files.key, tls_ca=self.files.authorities)
        self.assertIsInstance(certificates.tls_for(None), tls.ClientTls)
        self.configured.tls = 'offered'
        self.assertIsNone(certificates.tls_for(None))
        self.configured.tls = 'required'
        self.configured.tls_key = '/not/readable'
        self.assertIsNone(certificates.tls_for(None))
