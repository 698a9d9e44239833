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

"""Standard streams in memory, and a time zone to print times in."""

import io
import os
import time


class Streams:
    """Stands for ``sys`` where a command reads and writes."""

    def __init__(self, stdin=b'', is_terminal=False):
        self.stdin = _Text(stdin, is_terminal)
        self.stdout = _Text()
        self.stderr = _Text(is_terminal=is_terminal)

    @property
    def output(self) -> bytes:
        self.stdout.flush()
        return self.stdout.buffer.getvalue()

    @property
    def text(self) -> str:
        return self.output.decode(errors='replace')

    @property
    def complaint(self) -> str:
        self.stderr.flush()
        return self.stderr.buffer.getvalue().decode()


class _Text(io.TextIOWrapper):
    def __init__(self, data=b'', is_terminal=False):
        super().__init__(io.BytesIO(data), encoding='utf-8',
                         write_through=True)
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


def use_utc(test):
    """Local time is UTC until the test is over."""
    before = os.environ.get('TZ')

    def restore():
        if before is None:
            os.environ.pop('TZ', None)
        else:
            os.environ['TZ'] = before
        time.tzset()

    os.environ['TZ'] = 'UTC'
    time.tzset()
    test.addCleanup(restore)
