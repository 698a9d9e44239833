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

"""File systems on loop devices, that can be made to fail or be filled."""

import contextlib
import fcntl
import os
import pathlib
import struct

from sheepdog.tests.functional import harness

EXT4_SHUTDOWN = 0x8004587d
"""From then on ext4 answers everything with EIO. (linux/fs/ext4/ext4.h)"""
NO_LOG_FLUSH = 2
"""What is in its journal is lost as well."""
BUSY_SECONDS = 60.0
FILL_STEPS = (16 << 20, 1 << 20, 64 << 10, 4 << 10)


class LoopDisk:
    """A file system of its own, ``image``, mounted on ``directory``.

    :param sheep: whose it is; None: of several
    """

    def __init__(self, image: pathlib.Path, directory: pathlib.Path,
                 size: int, sheep=None):
        self.image = image
        self.directory = directory
        self.size = size
        self.sheep = sheep
        self.is_mounted = False
        self._filler = directory / 'filler'
        self.make()
        directory.mkdir(parents=True, exist_ok=True)

    def __repr__(self):
        return '%s of %r' % (self.directory.name, self.sheep)

    @property
    def is_meta(self) -> bool:
        """Else it is one of several disks, META lies elsewhere."""
        return self.sheep is not None and self.directory == self.sheep.meta

    def make(self):
        """An empty one."""
        self.image.unlink(missing_ok=True)
        with open(self.image, 'wb') as file:
            file.truncate(self.size)
        harness.run('mkfs.ext4', '-q', '-F', self.image)

    def mount(self):
        """:raises HarnessError: this user may not, or there are no more
        loop devices"""
        harness.run('mount', '-o', 'loop', self.image, self.directory)
        self.is_mounted = True

    def unmount(self):
        """When nobody uses it any more.

        :raises HarnessError: that did not come
        """
        if self.is_mounted:
            harness.wait_until(
                lambda: not harness.run('umount', self.directory,
                                        expect=None).returncode,
                BUSY_SECONDS, lambda: '%s to be used by nobody, but by %s' % (
                    self.directory, self._open_files()))
            self.is_mounted = False

    def _open_files(self):
        """Process and path of each that lies there."""
        found = []
        for link in pathlib.Path('/proc').glob('[0-9]*/fd/*'):
            with contextlib.suppress(OSError):
                path = os.readlink(link)
                if path.startswith('%s/' % self.directory):
                    found.append((int(link.parts[2]), path))
        return found

    def end(self):
        """However it stands."""
        if self.is_mounted:
            with contextlib.suppress(OSError):
                # Nobody waits for what is of no use any more to be written.
                self.pull()
            harness.run('umount', '--lazy', self.directory, expect=None)
            self.is_mounted = False

    def pull(self):
        """All it does from now on is fail."""
        handle = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_SHUTDOWN,
                        struct.pack('I', NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def fill(self):
        with open(self._filler, 'wb', buffering=0) as file:
            size = 0
            for step in FILL_STEPS:
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), size, step)
                        size += step

    @property
    def is_filled(self) -> bool:
        return self._filler.exists()

    def free(self):
        self._filler.unlink(missing_ok=True)
