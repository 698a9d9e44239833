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
"""Tests of sheepdog.cmd.manage.key, and of how tools find a key."""

import json
import os
import stat
import tempfile
import unittest
from unittest import mock

from sheepdog import client
from sheepdog.client import key_file
from sheepdog.cmd import certificates
from sheepdog.cmd import exits
from sheepdog.cmd import keys as keys_module
from sheepdog.testing import fake_sheep
from sheepdog.tests.unit.cmd.manage import test_manage


class KeyTest(test_manage.ManageCase):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.enterContext(
            tempfile.TemporaryDirectory()), 'cluster.key')

    def manage(self, words, code=0):
        return super().manage(' '.join(words), code)

    def listed(self):
        return [(row['Id'], row['State']) for row in json.loads(
            self.manage(['key', 'list', self.path, '-f', 'json']))]

    def secrets(self):
        return [key.secret.hex() for key in key_file.read(self.path).keys]

    def test_created(self):
        told = self.manage(['key', 'create', self.path])
        (key_id, state), = self.listed()
        self.assertEqual('current', state)
        self.assertIn(key_id, told)
        self.assertIn(self.path, told)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))
        # Never over one that is there.
        self.manage(['key', 'create', self.path], exits.EXISTS)
        self.assertEqual([(key_id, 'current')], self.listed())

    def test_replaced(self):
        self.manage(['key', 'create', self.path])
        (old, _), = self.listed()
        told = self.manage(['key', 'rotate', self.path])
        self.assertIn('--finish', told)
        (new, first), (kept, second) = self.listed()
        self.assertEqual((old, 'current', 'accepted'), (kept, first, second))
        told += self.manage(['key', 'rotate', '--finish', self.path])
        self.assertEqual([(new, 'current')], self.listed())
        # Again: nothing changes.
        self.manage(['key', 'rotate', '--finish', self.path])
        self.assertEqual([(new, 'current')], self.listed())

    def test_secrets_are_not_told(self):
        told = self.manage(['key', 'create', self.path])
        told += self.manage(['key', 'rotate', self.path])
        for form in ('table', 'json', 'value', 'yaml', 'csv'):
            told += self.manage(['key', 'list', self.path, '-f', form])
        for secret in self.secrets():
            self.assertNotIn(secret[:16], told)

    def test_what_cannot_be_done(self):
        self.manage(['key', 'list', self.path], exits.SYSTEM)
        self.manage(['key', 'rotate', self.path], exits.SYSTEM)
        self.manage(['key', 'create', '/no/such/place'], exits.SYSTEM)
        self.manage(['key', 'create', self.path])
        os.chmod(self.path, 0o644)
        self.manage(['key', 'rotate', self.path], exits.SYSTEM)

    def test_whether_all_have_it(self):
        self.manage(['key', 'create', self.path])
        old = key_file.read(self.path)
        self.manage(['key', 'rotate', self.path])
        new = key_file.read(self.path)
        with fake_sheep.FakeSheep(keyring=new) as one, (
                fake_sheep.FakeSheep(keyring=old)) as other:
            nodes = [dict(zip(('host', 'port'), address.split(':')),
                          id=number) for number, address in enumerate(
                              (one.address, other.address,
                               '127.0.0.1:1'))]
            for node in nodes:
                node['port'] = int(node['port'])
            for sheep in one, other:
                sheep.cluster.answers.update(
                    {'node.list': nodes, 'node.status': {}})
            told = self.manage(
                ['-a', other.address, 'key', 'check', self.path, '-f',
                 'json'], exits.SYSTEM)
            answers = [row['Key %s' % new.current.id]
                       for row in json.loads(told)]
            self.assertEqual(['accepted', 'refused'], answers[:2])
            self.assertIn('no answer', answers[2])
            other.keyring = new
            del nodes[2]
            self.manage(['-a', other.address, 'key', 'check', self.path])
            # Under TLS, where that is what the cluster speaks.
            with mock.patch.object(client, 'Client') as made:
                made.return_value.__enter__.return_value.nodes.list = (
                    lambda: nodes)
                with mock.patch.object(certificates, 'tls_for',
                                       lambda directory: 'T' + directory):
                    self.manage(['--tls-dir', '/d', 'key', 'check',
                                 self.path])
            self.assertEqual({'T/d'}, {call.kwargs['tls']
                                       for call in made.call_args_list})
            self.assertEqual(3, made.call_count)


class PathTest(unittest.TestCase):
    def setUp(self):
        keys_module.configured.cache_clear()
        self.addCleanup(keys_module.configured.cache_clear)

    def test_which_goes_first(self):
        with tempfile.TemporaryDirectory() as directory, (
                mock.patch.dict(os.environ)):
            config = os.path.join(directory, 'sheepdog.conf')
            configured = os.path.join(directory, 'configured.key')
            with open(config, 'w') as file:
                file.write('[security]\nkey_file = %s\n' % configured)
            os.environ.pop(key_file.VARIABLE, None)
            with mock.patch.object(keys_module, 'CONFIG_FILE',
                                   directory + '/none'):
                self.assertIsNone(keys_module.path_for(None))
            keys_module.configured.cache_clear()
            with mock.patch.object(keys_module, 'CONFIG_FILE', config):
                # This user may not read it, or it is not there.
                self.assertIsNone(keys_module.path_for(None))
                with open(configured, 'w'):
                    pass
                self.assertEqual(configured, keys_module.path_for(None))
                os.environ[key_file.VARIABLE] = '/of/the/environment'
                self.assertEqual('/of/the/environment',
                                 keys_module.path_for(None))
                self.assertEqual('/told', keys_module.path_for('/told'))
                self.assertEqual('', keys_module.path_for(''))
