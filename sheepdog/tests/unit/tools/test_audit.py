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

"""Tests of tools.audit, and that bandit is not blind."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from packaging import version

from tools import audit

ROOT = pathlib.Path(__file__).resolve().parents[4]
BANDIT = pathlib.Path(sys.executable).parent / 'bandit'


class AuditTest(unittest.TestCase):

    def test_a_version_with_a_hole(self):
        known = audit.advisories(
            '# comment\n\nJinja2 3.1.6 CVE-1 a reason of some words\n')
        for pin, count in (('3.1.5', 1), ('3.1.6', 0), ('4.0', 0)):
            found = audit.holes(known, audit.pinned(
                'jinja2==%s # BSD\nother==1\n' % pin), 'here')
            self.assertEqual(count, len(found), pin)
        found = audit.holes(known, {'jinja2': version.Version('3.0')}, 'here')
        self.assertIn('here: jinja2 3.0 has CVE-1 (a reason of some words)',
                      found[0])

    def test_each_line_says_why(self):
        known = audit.advisories(audit.ADVISORIES.read_text())
        self.assertTrue(known)
        for one in known:
            self.assertRegex(one.number, r'CVE-\d+-\d+|GHSA-|#\d+')

    def run_main(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            return audit.main(arguments), output.getvalue()

    def test_ours_have_none(self):
        code, output = self.run_main()
        self.assertEqual(0, code, output)

    def test_holes_are_a_failure(self):
        with mock.patch.object(audit, 'installed', lambda: {
                'redis': version.Version('4.0')}):
            code, output = self.run_main()
        self.assertEqual(1, code)
        self.assertIn('CVE-2023-28859', output)

    def run_online(self, code, stdout, stderr=''):
        answer = subprocess.CompletedProcess((), code, stdout, stderr)
        with mock.patch.object(audit.importlib.util, 'find_spec'), \
                mock.patch.object(audit.subprocess, 'run',
                                  lambda *_, **__: answer):
            return self.run_main('--online')

    def test_a_service_out_of_reach_is_said(self):
        code, output = self.run_online(1, '', 'ConnectionError')
        self.assertEqual(0, code)
        self.assertIn('cannot be reached', output)

    def test_what_the_service_says(self):
        code, output = self.run_online(1, json.dumps({'dependencies': [
            {'name': 'good', 'version': '1.0', 'vulns': []},
            {'name': 'bad', 'version': '2.0', 'vulns': [
                {'id': 'CVE-7', 'fix_versions': ['2.1']}]}]}))
        self.assertEqual(1, code)
        self.assertIn('bad 2.0 has CVE-7; from 2.1 on', output)
        self.assertIn('asked for 2 packages: 1 holes', output)

    def test_what_the_service_does_not_know_is_said(self):
        """A mirror without advisories is no proof that there are none."""
        code, output = self.run_online(0, json.dumps({'dependencies': [
            {'name': 'one', 'skip_reason': 'not found'},
            {'name': 'two', 'skip_reason': 'not found'}]}))
        self.assertEqual(0, code)
        self.assertIn('asked for 0 packages', output)
        self.assertIn('does not know 2 others', output)
        self.assertIn('one two', output)


class BanditTest(unittest.TestCase):

    def run_bandit(self, path, text):
        """Also below a directory whose name is among those left out."""
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory) / 'tests' / 'checkout'
            file = root / path
            file.parent.mkdir(parents=True)
            file.write_text(text)
            return subprocess.run(
                [BANDIT, '--quiet', '--configfile', ROOT / '.bandit.yaml',
                 '--recursive', 'sheepdog'], cwd=root, capture_output=True,
                text=True)

    def test_it_sees_what_it_should(self):
        for code in ('import subprocess\n'
                     'subprocess.call("ls " + x, shell=True)\n',
                     'import pickle\npickle.loads(x)\n',
                     'import hashlib\nhashlib.md5(x)\n', 'exec(x)\n',
                     'import random\nrandom.random()\n',
                     'import os\nos.chmod(x, 0o777)\n'):
            with self.subTest(code):
                done = self.run_bandit('sheepdog/store/x.py', code)
                self.assertEqual(1, done.returncode, done.stdout)

    def test_what_is_let_pass(self):
        done = self.run_bandit('sheepdog/store/x.py', 'assert x\n')
        self.assertEqual(0, done.returncode, done.stdout)
