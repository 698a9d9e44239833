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


"""A real file system in an image, to keep in VDIs."""

import functools
import hashlib
import json
import os
import pathlib
import random
import shutil

from sheepdog.tests.functional import harness

BYTES = 512 << 20
CONTENT_MAX_BYTES = 96 << 20
PIECE_BYTES = 1 << 20


def make_content(directory):
    """Real files of many sizes: what Python is installed with, a large file
    that does not compress, a sparse one, links."""
    directory = pathlib.Path(directory)
    library = pathlib.Path(os.__file__).parent
    copied = 0
    for source in sorted(library.rglob('*.py')):
        target = directory / 'library' / source.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        copied += source.stat().st_size
        if copied > CONTENT_MAX_BYTES:
            break
    (directory / 'random').write_bytes(random.Random(1).randbytes(24 << 20))
    with open(directory / 'sparse', 'wb') as sparse:
        for start in range(0, 200 << 20, 20 << 20):
            sparse.seek(start)
            sparse.write(b'an island')
    (directory / 'link').symlink_to('library/os.py')


@functools.lru_cache(maxsize=1)
def make_image(directory) -> pathlib.Path:
    """An ext4 image in ``directory``, made once."""
    directory = pathlib.Path(directory)
    content, image = directory / 'content', directory / 'image'
    content.mkdir()
    make_content(content)
    with open(image, 'wb') as file:
        file.truncate(BYTES)
    harness.run('mkfs.ext4', '-q', '-F', '-d', content, image)
    check_file_system(image)
    return image


def check_file_system(image):
    """:raises HarnessError: e2fsck finds something to repair"""
    harness.run('e2fsck', '-f', '-n', image)


def digest(path) -> str:
    """Of all its bytes."""
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()


def allocated_bytes(uri) -> int:
    """How much of an image qemu-img finds not to be zero."""
    return sum(extent['length'] for extent in map_of(uri)
               if extent['data'] and not extent['zero'])


def map_of(uri) -> list:
    return json.loads(harness.run(
        'qemu-img', 'map', '--output=json', '-f', 'raw', uri).stdout)
