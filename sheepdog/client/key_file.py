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
"""The file of the cluster's key: who may read it, and when it changes.

Tools and sheep look for it in the same way: where they were told, else
where ``SHEEPDOG_KEY_FILE`` says (tools only), else at ``DEFAULT_PATH`` if
there is one.
"""

import logging
import os
import stat
import tempfile
import time
from typing import Optional

from sheepdog.client import durable
from sheepdog.model import errors
from sheepdog.model import keys

LOG = logging.getLogger(__name__)

DEFAULT_PATH = '/etc/sheepdog/cluster.key'
VARIABLE = 'SHEEPDOG_KEY_FILE'

BYTES_MAX = 16384
COMPLAINT_SECONDS = 60.0
SYSTEM_UID_MAX = 999
"""Whose files root trusts: nobody logs in as a user of the system."""


class KeyFileRefused(errors.AccessRefused):
    """It cannot be used; the text names it, and says what to do."""


def read(path: str) -> keys.Keyring:
    """:raises KeyFileRefused: it cannot be read, others can read it too, it
        is another user's, or no key file
    """
    return _read(path)[0]


def _read(path):
    try:
        with open(path, 'rb') as file:
            status = os.fstat(file.fileno())
            _check(path, status)
            content = file.read(BYTES_MAX)
    except OSError as exc:
        raise KeyFileRefused('cannot read the key file %s: %s' % (
            path, exc.strerror or exc)) from None
    try:
        return keys.unpack(content), _marks(status)
    except errors.InvalidParameters as exc:
        raise KeyFileRefused('the key file %s: %s' % (path, exc)) from None


def _check(path, status):
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileRefused('the key file %s is no file' % path)
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyFileRefused(
            'others than its owner can use the key file %s (mode %04o): '
            'chmod 600 %s' % (path, stat.S_IMODE(status.st_mode), path))
    ours = os.geteuid()
    if status.st_uid not in (0, ours) and not (
            # The user of a sheep on this host, most likely.
            ours == 0 and status.st_uid <= SYSTEM_UID_MAX):
        raise KeyFileRefused(
            'the key file %s belongs to the user of id %d, who could change '
            'it: chown %d %s' % (path, status.st_uid, ours, path))


def _marks(status):
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_ino,
            status.st_size, status.st_mode, status.st_uid)


def write(path: str, ring: keys.Keyring, is_new: bool = False) -> None:
    """Whole or not at all, mode 0600. An existing file's owner stays, if
    we may choose it.

    :param is_new: there must be none
    :raises KeyFileRefused: it is there already
    :raises OSError: it cannot be written
    """
    directory = os.path.dirname(path) or '.'
    # mkstemp makes it 0600 from the beginning.
    handle, temporary = tempfile.mkstemp(prefix='.key-', dir=directory)
    try:
        with open(handle, 'wb') as file:
            file.write(keys.pack(ring))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise KeyFileRefused(
                    '%s is there already: whoever loses a key in use loses '
                    'his way to the cluster; "key rotate" changes keys'
                    % path) from None
            os.unlink(temporary)
        else:
            owner = os.stat(path)
            if owner.st_uid != os.geteuid() and not os.geteuid():
                os.chown(temporary, owner.st_uid, owner.st_gid)
            os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    durable.sync(directory)


class KeyFile:
    """The keys in a file, as it is now: what ``peer.access.KeySource`` and
    ``Client`` take.

    :raises KeyFileRefused: it cannot be used. If that happens later, the
        keys that were last read go on being used, and the log says why.
    """

    is_watched = True

    def __init__(self, path: str):
        self.path = path
        self._ring, self._marks = _read(path)
        self._complained = None

    def keyring(self) -> keys.Keyring:
        try:
            if _marks(os.stat(self.path)) != self._marks:
                before = self._ring
                self._ring, self._marks = _read(self.path)
                if self._ring.ids != before.ids:
                    LOG.info('the cluster keys are now %s',
                             ', '.join(self._ring.ids))
                self._complained = None
        except OSError as exc:
            self._complain('cannot read the key file %s: %s' % (
                self.path, exc.strerror or exc))
        except KeyFileRefused as exc:
            self._complain(exc)
        return self._ring

    def _complain(self, reason):
        now = time.monotonic()
        if self._complained is None or (
                now - self._complained > COMPLAINT_SECONDS):
            self._complained = now
            LOG.error('%s; the keys that were read before (%s) are still in '
                      'use', reason, ', '.join(self._ring.ids))


def find(path: Optional[str] = None) -> Optional[KeyFile]:
    """What a tool uses: the file it was told of ('' for none at all), that
    of the environment, the default.

    :raises KeyFileRefused: there is one, and it cannot be used
    """
    if path is None:
        path = os.environ.get(VARIABLE)
    if path is not None:
        return KeyFile(path) if path else None
    # Without the right to read it, a tool may still have that to the unix
    # socket.
    return KeyFile(DEFAULT_PATH) if os.access(DEFAULT_PATH, os.R_OK) else None
