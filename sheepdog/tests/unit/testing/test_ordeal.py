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

import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest

PROGRAM = '''
import os, pathlib, signal, sys
from sheepdog.tests.functional import ordeal

class Ordeal:
    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        print('all is ended')

    def keep(self, directory):
        print('kept in', directory)

options = ordeal.parser('some', '', 1, 3).parse_args(sys.argv[1:])
def act(_):
    %s
sys.exit(ordeal.go_through(options, Ordeal(), act, ordeal.teller()))
'''


class GoThroughTest(unittest.TestCase):
    def run_it(self, act, *words):
        with tempfile.TemporaryDirectory() as directory:
            program = pathlib.Path(directory) / 'program.py'
            program.write_text(textwrap.dedent(PROGRAM) % act)
            return subprocess.run(
                [sys.executable, program, '--seed', '7', *words], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_all_is_well(self):
        done = self.run_it('pass')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn('all is ended', done.stdout)
        self.assertIn('all is well', done.stdout)

    def test_what_fails_is_kept(self):
        done = self.run_it('raise AssertionError("a hole")', '--keep', 'it')
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn('FAILED, seed 7: a hole', done.stdout)
        self.assertLess(done.stdout.index('kept in it'),
                        done.stdout.index('all is ended'))

    def test_what_nobody_expected_tells_where(self):
        done = self.run_it('1 / 0')
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn('ZeroDivisionError', done.stdout)
        self.assertIn('in act', done.stdout)

    def test_told_to_end(self):
        """Nothing of it stays, then either."""
        done = self.run_it('os.kill(os.getpid(), signal.SIGTERM)')
        self.assertEqual(143, done.returncode, done.stdout)
        self.assertIn('all is ended', done.stdout)
        self.assertNotIn('all is well', done.stdout)
