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

"""What a stream of test results says: logged as it comes, and counted.

Most of what tests print is what they provoke: daemons that complain, bugs
planted to be found. It would bury what matters. So a suite's whole output
goes to a log file; the terminal shows how far it is, what was skipped, and
what failed.
"""

import dataclasses
import time

import subunit
import testtools

SHOWN = {'success': 'ok', 'xfail': 'ok (fails as expected)', 'skip': 'skipped',
         'fail': 'FAILED', 'uxsuccess': 'FAILED (it passed, unexpectedly)'}
PROGRESS_SECONDS = 30.0


@dataclasses.dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Count(self.passed + other.passed, self.failed + other.failed,
                     self.skipped + other.skipped)

    def __str__(self):
        return '%d passed, %d failed, %d skipped' % (
            self.passed, self.failed, self.skipped)


class Chatter(testtools.StreamResult):
    """Logs what the tests print beside their results."""

    def __init__(self, log):
        super().__init__()
        self._log = log

    def status(self, test_id=None, file_bytes=None, **_):
        if test_id is None and file_bytes:
            self._log.write(bytes(file_bytes).decode(errors='replace'))


class Report:
    """Reads one subunit stream (version 2) and writes text to ``log``."""

    def __init__(self, log):
        self.count = Count()
        self.failures = []
        """``(test id, what it says)``."""
        self._log = log
        self._shown_at = time.monotonic()

    def on_test(self, test):
        """Called for each test when it ends, or at the stream's end if it
        did not."""
        status = test['status']
        if test['id'] is None or status == 'exists':
            return
        if status in ('success', 'xfail'):
            self.count.passed += 1
        elif status == 'skip':
            self.count.skipped += 1
        else:
            self.count.failed += 1
        self._tell(test)
        self._show_progress()

    def _tell(self, test):
        begin, end = (test['timestamps'] + [None, None])[:2]
        took = ('%6.2f s' % (end - begin).total_seconds()
                if begin and end else ' ' * 8)
        shown = SHOWN.get(test['status'], 'FAILED (it never ended)')
        details = test['details']
        if test['status'] == 'skip' and 'reason' in details:
            shown += ': ' + details['reason'].as_text().strip()
        line = '%s %s ... %s' % (took, test['id'], shown)
        self._log.write(line + '\n')
        if test['status'] == 'skip':
            print(line, flush=True)
        if shown.startswith('FAILED'):
            said = '\n'.join(
                '--- %s\n%s' % (name, content.as_text().rstrip())
                for name, content in sorted(details.items())
                if content.content_type.type == 'text')
            self._log.write(said + '\n')
            print('%s\n%s' % (line, said), flush=True)
            self.failures.append((test['id'], said))
        self._log.flush()

    def _show_progress(self):
        now = time.monotonic()
        if now - self._shown_at >= PROGRESS_SECONDS:
            self._shown_at = now
            print('so far: %s' % self.count, flush=True)

    def read(self, stream):
        """Follow ``stream`` to its end."""
        case = subunit.ByteStreamToStreamResult(stream,
                                                non_subunit_name='output')
        result = testtools.CopyStreamResult(
            [testtools.StreamToDict(self.on_test), Chatter(self._log)])
        result.startTestRun()
        try:
            case.run(result)
        finally:
            result.stopTestRun()
