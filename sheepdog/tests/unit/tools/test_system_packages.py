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

import contextlib
import io
import pathlib
import tempfile
import unittest
from unittest import mock

from tools import system_packages


class MissingTest(unittest.TestCase):
    def missing(self, script):
        with tempfile.TemporaryDirectory() as directory:
            bindep = pathlib.Path(directory, 'bindep')
            bindep.write_text('#!/bin/sh\n' + script)
            bindep.chmod(0o755)
            return system_packages.missing(['test'], str(bindep))

    def test_all_there(self):
        self.assertEqual([], self.missing('exit 0'))

    def test_some_missing(self):
        self.assertEqual(['fio', 'tgt'],
                         self.missing('echo fio; echo tgt; exit 1'))

    def test_bindep_fails(self):
        with self.assertRaisesRegex(RuntimeError, 'broken'):
            self.missing('echo broken >&2; exit 1')
        with self.assertRaises(RuntimeError):
            self.missing('exit 2')


class InstallTest(unittest.TestCase):
    def test_says_what_to_run_where_it_may_not(self):
        with mock.patch.object(system_packages, 'apt_prefix',
                               return_value=None):
            with contextlib.redirect_stderr(io.StringIO()) as output:
                self.assertFalse(system_packages.install(['fio', 'tgt']))
        self.assertIn('apt-get install -y fio tgt', output.getvalue())
