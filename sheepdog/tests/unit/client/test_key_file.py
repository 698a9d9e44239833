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

"""Tests of sheepdog.client.key_file."""

import os
import pathlib
import shutil
import stat
import tempfile
import unittest
from unittest import mock

from sheepdog.client import key_file
from sheepdog.model import keys


def ring(*numbers):
    return keys.Keyring(tuple(keys.Key.of(bytes([number]) * 36)
                              for number in numbers))


class KeyFileTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = str(self.directory / 'cluster.key')

    def write(self, *numbers):
        key_file.write(self.path, ring(*numbers),
                       is_new=not os.path.exists(self.path))

    def refused(self, *words):
        with self.assertRaises(key_file.KeyFileRefused) as caught:
            key_file.read(self.path)
        for word in words + (self.path,):
            self.assertIn(word, str(caught.exception))

    def test_written_and_read(self):
        self.write(1)
        self.write(2, 1)
        self.assertEqual(ring(2, 1).ids, key_file.read(self.path).ids)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))
        self.assertEqual(['cluster.key'], os.listdir(self.directory))

    def test_a_new_one_replaces_none(self):
        self.write(1)
        with self.assertRaisesRegex(key_file.KeyFileRefused, self.path):
            key_file.write(self.path, ring(2), is_new=True)
        self.assertEqual(ring(1).ids, key_file.read(self.path).ids)
        self.assertEqual(['cluster.key'], os.listdir(self.directory))

    def test_others_could_read_it(self):
        self.write(1)
        for mode in (0o640, 0o604, 0o620, 0o602, 0o610, 0o777):
            os.chmod(self.path, mode)
            self.refused('chmod 600', '%04o' % mode)
        os.chmod(self.path, 0o400)
        key_file.read(self.path)

    def test_another_owner(self):
        self.write(1)
        if os.geteuid():
            self.skipTest('only root gives files away')
        os.chown(self.path, 12345, -1)
        self.refused('12345', 'chown 0')
        # The user of the sheep, for the tools of root.
        os.chown(self.path, 107, -1)
        key_file.read(self.path)
        key_file.write(self.path, ring(2, 1))
        self.assertEqual(107, os.stat(self.path).st_uid)
        with mock.patch.object(os, 'geteuid', lambda: 1000):
            self.refused('107', 'chown 1000')

    def test_what_is_no_key(self):
        self.refused('No such file')
        pathlib.Path(self.path).write_bytes(b'something else: 0123\n')
        os.chmod(self.path, 0o600)
        self.refused('line 1')
        os.unlink(self.path)
        os.mkdir(self.path, 0o700)
        self.refused()

    def test_it_changes(self):
        self.write(1)
        found = key_file.KeyFile(self.path)
        self.assertEqual(ring(1), found.keyring())
        self.write(2, 1)
        self.assertEqual(ring(2, 1).ids, found.keyring().ids)

    def test_what_cannot_be_read_later_changes_nothing(self):
        self.write(1)
        found = key_file.KeyFile(self.path)
        for break_it in (lambda: os.chmod(self.path, 0o644),
                         lambda: pathlib.Path(self.path).write_text('x'),
                         lambda: os.unlink(self.path)):
            break_it()
            found._complained = None
            with self.assertLogs(key_file.LOG, 'ERROR') as logs:
                for _time in range(3):
                    self.assertEqual(ring(1).ids, found.keyring().ids)
            self.assertEqual(1, len(logs.output))
            self.assertIn(self.path, logs.output[0])
        self.write(3)
        self.assertEqual(ring(3).ids, found.keyring().ids)

    def test_where_it_is_looked_for(self):
        self.write(1)
        default = str(self.directory / 'default.key')
        with mock.patch.object(key_file, 'DEFAULT_PATH', default), (
                mock.patch.dict(os.environ)):
            os.environ.pop(key_file.VARIABLE, None)
            self.assertIsNone(key_file.find())
            key_file.write(default, ring(2), is_new=True)
            self.assertEqual(default, key_file.find().path)
            os.environ[key_file.VARIABLE] = self.path
            self.assertEqual(self.path, key_file.find().path)
            self.assertEqual(default, key_file.find(default).path)
            self.assertIsNone(key_file.find(''))
            os.environ[key_file.VARIABLE] = ''
            self.assertIsNone(key_file.find())
            os.environ[key_file.VARIABLE] = '/no/such/file'
            with self.assertRaisesRegex(key_file.KeyFileRefused, '/no/such'):
                key_file.find()
