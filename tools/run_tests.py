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

"""Run the suites and say how it went, in one last line.

``run_tests.py [SUITE…]``: all suites by default. What a suite prints is in
``test-results/SUITE.log``; shown is what failed, once when it does and once
more at the end. The last line is ``N passed, N failed, N skipped``, summed
over all suites. A check (pep8, layers, …) counts as one test. A suite that
crashes, hangs past its time or leaves processes behind has failed, whatever
its tests say. The exit code is 0 only if something passed and nothing failed.
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

from tools import results

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'test-results'
SUMMARY = 'summary'
BIN = pathlib.Path(sys.executable).parent

# All together, so that the run fits the hour that CI gives it.
TOTAL_MINUTES = 57

# Marks the processes of a suite, whoever their parent is by now.
MARK = 'SHEEPDOG_TEST_RUN'
STRAGGLER_SECONDS = 5

# Of what a failure says: the end tells most.
LAST_LINES = 60
MOST_SAID = 6000
MOST_NAMED = 40


@dataclasses.dataclass(frozen=True)
class Check:
    """A command that is one test: it passes if it exits with 0."""

    name: str
    command: tuple
    minutes: float = 3

    def run(self, runner):
        with runner.open_log(self.name) as log:
            code = runner.run(self.name, self._told(runner), self.minutes,
                              log)
        if code:
            runner.complain(self.name, code)
            return results.Count(failed=1)
        print(runner.last_words(self.name))
        return results.Count(passed=1)

    def _told(self, _runner):
        """The command with what depends on the run so far."""
        return self.command


@dataclasses.dataclass(frozen=True)
class Lasting(Check):
    """A check that goes on for as long as ``--minutes`` says, and needs some
    time more to end: as much of it as there is time for, but for a least."""

    least: float = 1
    most: float = 3

    def _told(self, runner):
        ending = self.minutes - self.most
        minutes = max(self.least,
                      min(self.most, runner.minutes_left() - ending))
        return *self.command, '--minutes', '%.1f' % minutes


@dataclasses.dataclass(frozen=True)
class Suite:
    """A folder of tests, run by stestr in ``workers`` processes."""

    name: str
    path: str
    workers: int
    minutes: float

    def run(self, runner):
        if not any((runner.root / self.path).rglob('test_*.py')):
            print('no tests yet')
            return results.Count()
        repository = runner.results / self.name
        shutil.rmtree(repository, ignore_errors=True)
        repository.mkdir(parents=True)
        with runner.open_log(self.name) as log:
            report = results.Report(log)
            code = runner.run(self.name, (
                'stestr', '--repo-url', str(repository),
                '--test-path', self.path, '--top-dir', '.',
                'run', '--subunit', '--concurrency', str(self.workers)),
                self.minutes, log, report)
        runner.failures += report.failures
        # Not one of the tests: a module that cannot be imported, a worker
        # that dies before its first test, a suite that hangs.
        if code:
            report.count.failed += 1
            runner.complain(self.name, code)
        return report.count


CHECKS = (
    Check('pep8', ('flake8',)),
    Check('layers', ('lint-imports', '--no-logo', '--no-cache')),
    Check('bandit', ('bandit', '--quiet', '--configfile', '.bandit.yaml',
                     '--recursive', 'sheepdog', 'tools')),
    Check('audit', (sys.executable, '-m', 'tools.audit'), minutes=0.5),
    Check('docs', ('sphinx-build', '-q', '-W', '--keep-going', '-E',
                   '-b', 'html', 'doc/source', 'doc/build/html')),
)
SUITES = CHECKS + (
    Suite('unit', './sheepdog/tests/unit', workers=2, minutes=8),
    Suite('contract', './sheepdog/tests/contract', workers=2, minutes=5),
    # Their time is simulated, so it is no matter how many share a core; and
    # who is through first leaves no core idle.
    Suite('sim', './sheepdog/tests/sim', workers=4, minutes=28),
    # Real clusters wait for leases and time-outs: two at once leave a
    # machine of two cores no more busy than one does at its busiest.
    Suite('functional', './sheepdog/tests/functional', workers=2,
          minutes=25),
    # CPU time per operation, against limits.
    Check('cpu', (sys.executable, '-m', 'tools.cpu_guard'), minutes=3),
    Suite('interop', './sheepdog/tests/interop', workers=1, minutes=10),
    # Real sheep in trouble.
    Lasting('thrash', (sys.executable, '-m', 'sheepdog.tests.thrash'),
            minutes=10),
)


def marked_processes(mark):
    """``{pid: command line}`` of the processes with ``mark`` in their
    environment."""
    found = {}
    wanted = ('%s=%s' % (MARK, mark)).encode()
    for entry in pathlib.Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / 'environ').read_bytes().split(b'\0'):
                words = (entry / 'cmdline').read_bytes().split(b'\0')
                # A zombie has neither; it is its parent's business.
                if any(words):
                    found[int(entry.name)] = b' '.join(words).decode(
                        errors='replace').strip()
        except OSError:
            continue
    return found


class Runner:
    """Runs commands under a time limit, and nothing of them stays."""

    def __init__(self, root=ROOT, results=RESULTS,
                 total_minutes=TOTAL_MINUTES):
        self.root = root
        self.results = results
        self.deadline = time.monotonic() + total_minutes * 60
        self.failures = []
        """``(name, what it said)``."""

    def minutes_left(self) -> float:
        return (self.deadline - time.monotonic()) / 60

    def open_log(self, name):
        self.results.mkdir(parents=True, exist_ok=True)
        return self._log_of(name).open('w', errors='replace')

    def complain(self, name, code):
        """Note that ``name`` failed as a whole, with its last words."""
        said = self.last_words(name)
        print(said, flush=True)
        self.failures.append(('%s, exit code %d' % (name, code), said))

    def last_words(self, name):
        lines = self._log_of(name).read_text(errors='replace').splitlines()
        return '\n'.join(lines[-LAST_LINES:])

    def _log_of(self, name):
        return self.results / ('%s.log' % name)

    def run(self, name, command, minutes, log, report=None):
        """Exit code of ``command``; not 0 if it hung or left processes.

        What it prints goes to ``log``; ``report`` reads its standard output,
        if given.
        """
        mark = uuid.uuid4().hex
        environment = dict(os.environ, **{MARK: mark})
        environment['PATH'] = '%s:%s' % (BIN, environment.get('PATH', ''))
        seconds = 60 * min(minutes, self.minutes_left())
        if seconds <= 0:
            self._say(log, 'no time left for it')
            return 1
        process = subprocess.Popen(command, cwd=self.root, env=environment,
                                   stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE if report else log,
                                   stderr=log,
                                   start_new_session=True)
        if report:
            reader = threading.Thread(target=report.read, daemon=True,
                                      args=(process.stdout,))
            reader.start()
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._say(log, 'stopped after %d s: %s' % (seconds, (
                'more than it may take' if seconds == 60 * minutes
                else 'no time is left for all suites together')))
            code = 1
        except KeyboardInterrupt:
            self.sweep(process, mark, log)
            raise
        code = self.sweep(process, mark, log) or code
        if report:
            # Nobody is left who could hold the other end of the pipe.
            reader.join()
            process.stdout.close()
        return code

    @staticmethod
    def _say(log, line):
        log.write(line + '\n')
        log.flush()

    def sweep(self, process, mark, log):
        """End what is left of a suite; 1 if it had ended itself and
        processes of it stayed."""
        hung = process.poll() is None
        if hung:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=STRAGGLER_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        until = time.monotonic() + STRAGGLER_SECONDS
        left = marked_processes(mark)
        while left and time.monotonic() < until:
            time.sleep(0.1)
            left = marked_processes(mark)
        for pid, command_line in sorted(left.items()):
            self._say(log, 'left behind: %d %s' % (pid, command_line))
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return 1 if left and not hung else 0


def run_all(suites, runner):
    """Run suites in order, print a table and the last line; exit code."""
    total = results.Count()
    rows = []
    for suite in suites:
        print('\n=== %s' % suite.name, flush=True)
        start = time.monotonic()
        count = suite.run(runner)
        rows.append('%-12s %5d s  %s' % (
            suite.name, time.monotonic() - start, count))
        total += count
        sys.stdout.flush()
    for name, said in runner.failures:
        print('\n=== FAILED: %s\n%s' % (name, said[-MOST_SAID:]))
    # Once more their names, where one looks first.
    print()
    for name, _ in runner.failures[:MOST_NAMED]:
        print('FAILED: %s' % name)
    print('\n' + '\n'.join(rows))
    print(total, flush=True)
    runner.results.mkdir(parents=True, exist_ok=True)
    (runner.results / SUMMARY).write_text('%s\n' % total)
    return 0 if total.passed and not total.failed else 1


def main(arguments=None):
    names = [suite.name for suite in SUITES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('suites', nargs='*', metavar='SUITE',
                        help='one of: %s' % ' '.join(names))
    chosen = parser.parse_args(arguments).suites or names
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        parser.error('no such suite: %s' % ' '.join(unknown))
    return run_all([suite for suite in SUITES if suite.name in chosen],
                   Runner())


if __name__ == '__main__':
    sys.exit(main())
