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

"""Going to the background only once there is something to leave running.

The command forks before there are threads or loops. The daemon tells the
command, over a pipe, that it serves or why it cannot; the command prints
that, and ends with the daemon's exit code or 0.
"""

import json
import os
import signal
import sys

from sheepdog.cmd import exits


class Report:
    """How a sheep that starts tells of it; this one is for a foreground."""

    def begin(self) -> None:
        """The process is the one that will serve."""

    def ready(self) -> None:
        """It serves."""

    def failed(self, message: str, exit_code: int) -> None:
        """It does not, and ends."""
        print('sheep: ' + message, file=sys.stderr, flush=True)


class _PipeReport(Report):
    def __init__(self, pipe, keep_stdout):
        self._pipe = pipe
        self._keep_stdout = keep_stdout

    def begin(self):
        self._say({'pid': os.getpid()})

    def ready(self):
        if self._pipe is None:
            return
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            if not (descriptor and self._keep_stdout):
                os.dup2(null, descriptor)
        os.close(null)
        self._say({'ready': True})
        self._close()

    def failed(self, message, exit_code):
        self._say({'message': message, 'exit_code': exit_code})
        self._close()

    def _say(self, words):
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, json.dumps(words).encode() + b'\n')
        except BrokenPipeError:  # the command was interrupted
            pass

    def _close(self):
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def run(serve, keep_stdout=False) -> int:
    """Call ``serve(report)`` in a daemon.

    Returns twice: in the command the exit code for it, when the daemon has
    reported; in the daemon what ``serve`` returned.

    :param keep_stdout: leave stdout and stderr of the daemon as they are
    """
    sys.stdout.flush()
    sys.stderr.flush()
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid:
        os.close(sending)
        os.waitpid(pid, 0)
        with open(receiving, encoding='utf-8') as pipe:
            return _relay(pipe)
    # A session of its own, which it does not lead: it can never come to
    # have a terminal again.
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(receiving)
    os.chdir('/')
    os.umask(0o027)
    report = _PipeReport(sending, keep_stdout)
    report.begin()
    return serve(report)


def _relay(pipe) -> int:
    """In the command: wait for the daemon's word."""
    pid = None
    try:
        for line in pipe:
            words = json.loads(line)
            if words.get('ready'):
                return exits.OK
            if 'exit_code' in words:
                print('sheep: ' + words['message'], file=sys.stderr)
                return words['exit_code']
            pid = words['pid']
    except KeyboardInterrupt:
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        return exits.INTERRUPTED
    print('sheep: it ended while it was starting, and did not say why',
          file=sys.stderr)
    return exits.FAILED
