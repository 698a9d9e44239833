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


"""Small, read-only and strange file systems, where this user may mount."""

import contextlib
import hashlib
import os
import pathlib
import subprocess
import unittest

from sheepdog.tests.functional import harness


def mount(test, directory, kind, options=''):
    """Mount a new file system at ``directory`` for the length of a test;
    skips where that is not allowed."""
    directory = pathlib.Path(directory)
    directory.mkdir(exist_ok=True)
    words = ['mount', '-t', kind, kind, str(directory)]
    if options:
        words[1:1] = ['-o', options]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise unittest.SkipTest('this user may not mount: %s'
                                % done.stderr.strip())
    test.addCleanup(harness.run, 'umount', '--lazy', directory)
    return directory


def mount_image(test, directory, kind, size):
    """Mount a new file system of so many bytes, in a file beside the
    directory; skips where there are no loop devices."""
    directory = pathlib.Path(directory)
    directory.mkdir(exist_ok=True)
    image = directory.with_suffix('.img')
    with open(image, 'wb') as file:
        file.truncate(size)
    harness.run('mkfs.%s' % kind, '-q', image)
    done = subprocess.run(['mount', '-o', 'loop', str(image),
                           str(directory)], capture_output=True, text=True)
    if done.returncode:
        raise unittest.SkipTest('no file system on a loop device: %s'
                                % done.stderr.strip())
    test.addCleanup(harness.run, 'umount', '--lazy', directory)
    return directory


def remount(directory, options):
    harness.run('mount', '-o', 'remount,' + options, directory)


def fill(directory) -> pathlib.Path:
    """Use up all the room there is; the file that has it."""
    path = pathlib.Path(directory) / 'filler'
    with open(path, 'wb', buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return path


def picture(directory) -> dict:
    """All that is in a directory: names, kinds, contents, attributes."""
    found = {}
    for path in sorted(pathlib.Path(directory).rglob('*')):
        status = path.lstat()
        seen = [oct(status.st_mode)]
        if path.is_file():
            seen += [status.st_size,
                     hashlib.sha256(path.read_bytes()).hexdigest()]
            with contextlib.suppress(OSError):
                seen += [(name, os.getxattr(path, name))
                         for name in sorted(os.listxattr(path))]
        found[str(path.relative_to(directory))] = seen
    return found
