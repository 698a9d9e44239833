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

"""A guest with a file system: ext4 of the kernel, on a loop device, on a
file that is an NBD export behind QEMU's block layer.

What was synced before a snapshot was asked for must be in it, when its
journal was replayed; what was begun later must not.
"""

import contextlib
import os
import pathlib
import random
import shutil
import tempfile
import time

from sheepdog.tests.functional import harness
from sheepdog.tests.moments import cut
from sheepdog.tests.moments import guest

FILE_BYTES_MAX = 96 << 10
KEPT = 60
PAUSE_SECONDS = 0.05
NAME = 'file-%07d'


def content(number: int) -> bytes:
    chance = random.Random(number)
    return chance.randbytes(chance.randrange(1, FILE_BYTES_MAX))


class Files(guest.Guest):

    kind = 'files'
    size = 64 << 20
    shift = 22

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._bridge = None
        self._fuse = None
        self._export = self.directory / 'export'
        self._root = self.directory / 'root'
        self._begun = {}
        self._synced = {}
        self._removed = {}

    def prepare(self):
        """:raises HarnessError: this user may not mount"""
        self._export.mkdir()
        self._root.mkdir()
        self._bridge = guest.Bridge(self.chance.choice(self.cluster.sheep),
                                    self.name, self.directory)
        self._fuse = guest.spawn(self.directory / 'nbdfuse.out', 'nbdfuse',
                                 self._export, self._bridge.uri)
        device = self._export / 'nbd'
        harness.wait_until(device.exists, harness.START_SECONDS,
                           lambda: 'nbdfuse: %s' % harness.tail(
                               self.directory / 'nbdfuse.out'))
        harness.run('mkfs.ext4', '-q', '-F', device)
        harness.run('mount', '-o', 'loop', device, self._root)

    def go(self):
        number = 0
        while not self.is_over:
            number += 1
            self._write(number)
            if number > KEPT:
                old = self.chance.choice(sorted(self._synced.keys()
                                                - self._removed.keys()))
                self._removed[old] = time.monotonic()
                (self._root / (NAME % old)).unlink()
            self.done = number
            time.sleep(self.chance.expovariate(1 / PAUSE_SECONDS))

    def _write(self, number):
        path = self._root / (NAME % number)
        written = path.with_suffix('.new') if number % 3 == 0 else path
        self._begun[number] = time.monotonic()
        with open(written, 'wb') as file:
            file.write(content(number))
            os.fsync(file.fileno())
        if written != path:
            written.rename(path)
        handle = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        self._synced[number] = time.monotonic()

    def stop(self):
        super().stop()
        harness.run('sync', '-f', self._root)

    def end(self):
        super().end()
        if self._root.exists():
            harness.run('umount', '--lazy', self._root, expect=None)
        if self._bridge is not None:
            self._bridge.end()
        if self._fuse is not None:
            harness.run('umount', '--lazy', self._export, expect=None)
            self._fuse.kill()
            self._fuse.wait()

    def look(self, uri_name, sheep):
        """Number → content, of the files that are whole; e2fsck finds
        nothing after the journal was replayed."""
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            image = pathlib.Path(directory) / 'image'
            harness.run('nbdcopy', sheep.nbd_uri(uri_name), image)
            root = pathlib.Path(directory) / 'root'
            root.mkdir()
            with mounted(image, root):
                found = {int(path.name[-7:]): path.read_bytes()
                         for path in root.glob(NAME[:5] + '?' * 7)}
            harness.run('e2fsck', '-f', '-n', image)
        return found

    def judge(self, found, asked, answered):
        for number, data in found.items():
            if self._begun.get(number, cut.NEVER) > answered:
                return 'file %d was begun later' % number
            if number in self._synced and self._synced[number] < asked and (
                    data != content(number)):
                return 'file %d is not what was synced' % number
        for number, synced in self._synced.items():
            if synced < asked and number not in found and (
                    self._removed.get(number, cut.NEVER) > answered):
                return 'file %d is missing' % number
        return ''


@contextlib.contextmanager
def mounted(image, root):
    """Which replays its journal."""
    harness.run('mount', '-o', 'loop', image, root)
    try:
        yield
    finally:
        harness.run('umount', root)


def is_possible() -> bool:
    """Whether this user may mount such a thing here."""
    return (os.geteuid() == 0 and os.path.exists('/dev/fuse')
            and os.path.exists('/dev/loop-control')
            and all(map(shutil.which, ('nbdfuse', 'nbdcopy', 'e2fsck'))))
