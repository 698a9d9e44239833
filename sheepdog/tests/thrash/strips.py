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

"""Do the strips that lie on the disks belong together? Looked at in the
files, without asking any sheep."""

import re

from sheepdog.erasure import codec as codecs

OBJECT = re.compile('[0-9a-f]{16}(_[0-9a-f]{1,2})?')
NAME = re.compile(r'([0-9a-f]{16})_([0-9a-f]{1,2})')


def find(directories) -> dict:
    """(Object, index) → files that are such a strip."""
    found = {}
    for directory in directories:
        for path in (directory / 'obj').iterdir():
            match = NAME.fullmatch(path.name)
            if match:
                key = match[1], int(match[2], 16)
                found.setdefault(key, []).append(path)
    return found


def wrong(directories, vdi_id: int, data: int, parity: int,
          object_bytes: int) -> list:
    """What is wrong with the strips of a VDI: a line each; none may be
    missing, and none be there twice."""
    code = codecs.codec_of(data, parity)
    objects = {}
    for (oid, index), paths in find(directories).items():
        if oid[2:8] == '%06x' % vdi_id:
            objects.setdefault(oid, {})[index] = paths
    found = []
    for oid, strips in sorted(objects.items()):
        if sorted(strips) != list(range(data + parity)) or any(
                len(paths) > 1 for paths in strips.values()):
            found.append('object %s has the strips %s' % (oid, sorted(
                (index, len(paths)) for index, paths in strips.items())))
        elif not _fit(strips, code, object_bytes // data):
            found.append('the strips of object %s do not fit: %s' % (
                oid, [str(path) for paths in strips.values()
                      for path in paths]))
    return found


def _fit(strips, code, size) -> bool:
    # (Their checksums are behind the content.)
    contents = {index: path.read_bytes()[:size].ljust(size, b'\0')
                for index, (path,) in strips.items()}
    known = {index: contents[index] for index in range(code.data)}
    others = range(code.data, len(contents))
    return all(contents[index] == content for index, content
               in code.restore(known, others).items())


def files(directories) -> list:
    """All that have an object."""
    return [path for directory in directories
            for path in (directory / 'obj').iterdir()
            if OBJECT.fullmatch(path.name)]


def left(directories, vdi_ids) -> list:
    """Files of these VDIs."""
    wanted = {'%06x' % vdi_id for vdi_id in vdi_ids}
    return [str(path) for directory in directories
            for path in (directory / 'obj').iterdir()
            if path.name[2:8] in wanted]
