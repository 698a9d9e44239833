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

"""The file with the process id, kept locked while the process lives."""

import fcntl
import os

from sheepdog.cmd import exits


class Pidfile:
    """Take it before forking, ``write`` it in the process that stays.

    :raises Stop: it cannot be written, or another process has it
    """

    def __init__(self, path):
        self.path = path
        is_new = not os.path.exists(path)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                                 0o644)
        except OSError as exc:
            raise exits.Stop(
                'cannot write the pidfile %s: %s; choose another place with '
                '-P' % (path, exc.strerror), exits.SYSTEM) from None
        self._is_new = is_new
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode('ascii', 'replace')
            os.close(self._file)
            raise exits.Stop(
                'the pidfile %s belongs to a sheep that runs (process %s)'
                % (path, holder.strip() or 'unknown'),
                exits.SYSTEM) from None

    def write(self):
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b'%d\n' % os.getpid(), 0)
        self._is_new = True

    def remove(self):
        """Undo: as we found it, or gone when we have written it."""
        if self._is_new:
            try:
                os.unlink(self.path)
            except OSError:  # somebody was faster
                pass
        os.close(self._file)
