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
import textwrap
import time
import unittest
from unittest import mock

from tools import results
from tools import run_tests


class RunTestsTest(unittest.TestCase):
    """The runner against small trees of tests that misbehave."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.suite_path = self.root / 'suite'
        self.suite_path.mkdir()
        (self.suite_path / '__init__.py').touch()
        patch = mock.patch.object(run_tests, 'STRAGGLER_SECONDS', 0.5)
        patch.start()
        self.addCleanup(patch.stop)

    def write(self, body, name='test_it.py'):
        (self.suite_path / name).write_text(
            'import os, subprocess, time, unittest\n'
            'class It(unittest.TestCase):\n'
            + textwrap.indent(textwrap.dedent(body), '    '))

    def run_suite(self, minutes=1.0):
        suite = run_tests.Suite('suite', './suite', workers=1,
                                minutes=minutes)
        runner = run_tests.Runner(self.root, self.root / 'results')
        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.code = run_tests.run_all([suite], runner)
        self.output = output.getvalue()
        return self.output.splitlines()[-1]

    def test_passes(self):
        self.write('''
            def test_good(self): pass
            @unittest.skip('not here')
            def test_not(self): pass
            @unittest.expectedFailure
            def test_known(self): self.fail()
            ''')
        self.assertEqual('2 passed, 0 failed, 1 skipped', self.run_suite())
        self.assertEqual(0, self.code)
        self.assertIn('skipped: not here', self.output)
        self.assertEqual('2 passed, 0 failed, 1 skipped\n',
                         (self.root / 'results/summary').read_text())

    def test_failures(self):
        self.write('''
            def test_good(self): pass
            def test_bad(self): self.fail('what went wrong')
            def test_error(self): 1 / 0
            @unittest.expectedFailure
            def test_surprise(self): pass
            ''')
        self.assertEqual('1 passed, 3 failed, 0 skipped', self.run_suite())
        self.assertEqual(1, self.code)
        # When it fails, and again where one looks first.
        self.assertEqual(2, self.output.count('Error: what went wrong'))
        self.assertIn('=== FAILED: suite.test_it.It.test_bad', self.output)
        self.assertIn('\nFAILED: suite.test_it.It.test_bad\n',
                      self.output[-1000:])
        log = (self.root / 'results/suite.log').read_text()
        self.assertIn('what went wrong', log)

    def test_only_the_log_has_what_passing_tests_print(self):
        self.write('''
            def test_loud(self): print('chatter', flush=True)
            def test_complains(self): os.write(2, b'complaint')
            ''')
        self.assertEqual('2 passed, 0 failed, 0 skipped', self.run_suite())
        self.assertNotIn('chatter', self.output)
        self.assertNotIn('complaint', self.output)
        log = (self.root / 'results/suite.log').read_text()
        self.assertIn('complaint', log)
        self.assertIn('test_loud ... ok', log)

    def test_no_tests(self):
        self.assertEqual('0 passed, 0 failed, 0 skipped', self.run_suite())
        self.assertEqual(1, self.code)

    def test_all_skipped_is_no_success(self):
        self.write('''
            @unittest.skip('not here')
            def test_not(self): pass
            ''')
        self.assertEqual('0 passed, 0 failed, 1 skipped', self.run_suite())
        self.assertEqual(1, self.code)

    def test_import_error(self):
        self.write('def test_good(self): pass')
        (self.suite_path / 'test_other.py').write_text('import no_such\n')
        self.assertEqual('1 passed, 1 failed, 0 skipped', self.run_suite())
        self.assertIn("No module named 'no_such'", self.output)

    def test_worker_dies(self):
        # Exit code 0, as a test of a daemon's fork may do by mistake.
        self.write('''
            def test_a(self): pass
            def test_b_dies(self): os._exit(0)
            def test_c_never_runs(self): pass
            ''')
        self.assertEqual('1 passed, 1 failed, 0 skipped', self.run_suite())
        self.assertIn('test_b_dies ... FAILED (it never ended)', self.output)

    def test_hangs(self):
        self.write('''
            def test_a(self): pass
            def test_b_hangs(self): time.sleep(600)
            ''')
        # (More time only where the machine needs that to begin.)
        for seconds in 3, 10, 60:
            told = self.run_suite(minutes=seconds / 60)
            if not told.startswith('0 passed'):
                break
        # The first test's result is kept; the second and the suite failed.
        self.assertEqual('1 passed, 2 failed, 0 skipped', told)

    def test_leaves_a_process_behind(self):
        self.write('''
            def test_leaves(self):
                child = subprocess.Popen(
                    ['sleep', '600'], start_new_session=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                with open('pid', 'w') as file:
                    file.write(str(child.pid))
                child.returncode = 0
            ''')
        self.assertEqual('1 passed, 1 failed, 0 skipped', self.run_suite())
        pid = int((self.root / 'pid').read_text())
        self.assertIn('left behind: %d sleep 600' % pid, self.output)
        # It was killed: if it is still dying, or a zombie of whoever
        # inherits it, it has no memory any more.
        until = time.monotonic() + 60
        while self.is_alive(pid) and time.monotonic() < until:
            time.sleep(0.01)
        self.assertFalse(self.is_alive(pid))

    @staticmethod
    def is_alive(pid):
        try:
            return bool(pathlib.Path('/proc/%d/cmdline' % pid).read_bytes())
        except OSError:
            return False

    def test_no_time_left(self):
        self.write('def test_good(self): pass')
        suite = run_tests.Suite('suite', './suite', workers=1, minutes=1)
        runner = run_tests.Runner(self.root, self.root / 'results',
                                  total_minutes=0)
        with contextlib.redirect_stdout(io.StringIO()):
            count = suite.run(runner)
        self.assertEqual(results.Count(failed=1), count)


class CheckTest(unittest.TestCase):
    def run_check(self, *command):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        runner = run_tests.Runner(results=pathlib.Path(directory.name))
        with contextlib.redirect_stdout(io.StringIO()) as output:
            count = run_tests.Check('check', command).run(runner)
        self.output = output.getvalue()
        return count

    def test_counts_as_one_test(self):
        self.assertEqual(results.Count(passed=1), self.run_check('true'))
        self.assertEqual(results.Count(failed=1), self.run_check('false'))

    def test_says_what_it_found(self):
        self.run_check('echo', 'all is well')
        self.assertIn('all is well', self.output)
        self.run_check('sh', '-c', 'echo a hole >&2; exit 3')
        self.assertIn('a hole', self.output)


class LastingTest(unittest.TestCase):
    """A minute to end, besides the one to three that it goes on."""

    def told(self, total_minutes):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        runner = run_tests.Runner(results=pathlib.Path(directory.name),
                                  total_minutes=total_minutes)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            run_tests.Lasting('lasting', ('echo', 'told:'), minutes=4).run(
                runner)
        return output.getvalue().strip()

    def test_as_long_as_there_is_time(self):
        self.assertEqual('told: --minutes 3.0', self.told(57))
        self.assertEqual('told: --minutes 2.0', self.told(3))

    def test_the_least(self):
        self.assertEqual('told: --minutes 1.0', self.told(1.5))


class MainTest(unittest.TestCase):
    def test_unknown_suite(self):
        with contextlib.redirect_stderr(io.StringIO()) as output:
            with self.assertRaises(SystemExit) as raised:
                run_tests.main(['unit', 'nonsense'])
        self.assertEqual(2, raised.exception.code)
        self.assertIn('nonsense', output.getvalue())

    def test_the_suites_fit_the_time(self):
        # Those that run real time-outs come last: they must get their turn.
        quick = sum(suite.minutes for suite in run_tests.SUITES
                    if suite.name not in (
                        'functional', 'interop', 'thrash'))
        self.assertLess(quick, run_tests.TOTAL_MINUTES)
