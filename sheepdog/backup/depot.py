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

"""Where cluster snapshots are kept: a directory, or what fsspec reaches.

A file is there whole, or not at all: on disks by renaming, in object stores
by themselves. Nothing is ever removed.
"""

import contextlib
import os
import tempfile
import uuid

from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.client import durable

ATOMIC = frozenset((
    'abfs', 'abfss', 'adl', 'az', 'gcs', 'gs', 'memory', 'oci', 'oss', 's3',
    's3a', 'swift'))
"""Of fsspec's protocols: what is put is there whole or not at all."""

FILE_BYTES_MAX = 512 << 20
"""Images of the largest volumes, and manifests, are never longer."""

_EXTRAS = {'s3': 's3fs', 's3a': 's3fs', 'gs': 'gcsfs', 'gcs': 'gcsfs',
           'az': 'adlfs', 'abfs': 'adlfs', 'abfss': 'adlfs',
           'swift': 'swiftspec', 'sftp': 'paramiko'}


def open_depot(place: str, create: bool = False):
    """
    :param place: a directory, or a URL as fsspec knows it
    :param create: make a new one where there is nothing
    :raises BackupError: there is none, or it is out of reach
    """
    scheme, has_scheme, rest = place.partition('://')
    if has_scheme and scheme != 'file':
        depot = Remote(place)
    else:
        depot = Directory(rest if has_scheme else place)
    try:
        marker = depot.read(documents.MARKER_PATH)
    except faults.NotThere:
        if not create:
            raise faults.NotThere('there are no cluster snapshots at %s'
                                  % place) from None
        with contextlib.suppress(faults.Exists):
            depot.create(documents.MARKER_PATH, documents.MARKER)
        marker = depot.read(documents.MARKER_PATH)
    if marker != documents.MARKER:
        raise faults.BackupError('%s: kept in a way that is not known here'
                                 % place)
    return depot


class Directory:
    """On a file system of this host."""

    def __init__(self, path):
        self._path = os.path.abspath(path)

    def read(self, path, most=FILE_BYTES_MAX) -> bytes:
        """
        :raises NotThere:
        :raises Damaged: it is longer than that
        """
        with _told(path), open(self._at(path), 'rb') as file:
            # (It makes room for as much as the file says that it has.)
            if os.fstat(file.fileno()).st_size > most:
                raise faults.Damaged('%s is too long: damaged' % path)
            return file.read(most)

    def exists(self, path) -> bool:
        return os.path.exists(self._at(path))

    def write(self, path, data) -> None:
        """Durable when it returns."""
        self._put(path, data, os.replace)

    def create(self, path, data) -> None:
        """:raises Exists: there is one already"""
        self._put(path, data, os.link)

    def names(self, folder) -> list:
        with _told(folder):
            try:
                return sorted(os.listdir(self._at(folder)))
            except FileNotFoundError:
                return []

    def _at(self, path):
        return os.path.join(self._path, path)

    def _put(self, path, data, place):
        with _told(path):
            target = self._at(path)
            folder = os.path.dirname(target)
            is_new = not os.path.isdir(folder)
            os.makedirs(folder, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=folder, prefix='.part-')
            try:
                with open(descriptor, 'wb') as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                place(draft, target)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft)
            durable.sync(folder)
            while is_new and folder != os.path.dirname(self._path):
                folder = os.path.dirname(folder)
                durable.sync(folder)


class Remote:
    """Anything that fsspec knows."""

    def __init__(self, url):
        # It takes longer to import than most commands run.
        import fsspec
        scheme = url.partition('://')[0]
        try:
            self._files, self._root = fsspec.url_to_fs(
                url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            needed = _EXTRAS.get(scheme)
            raise faults.BackupError('%s: %s%s' % (
                url, error, needed and '; install the Python package %s'
                % needed or '')) from None
        self._is_atomic = scheme in ATOMIC

    def read(self, path, most=FILE_BYTES_MAX) -> bytes:
        """As above; what is too long is only seen when it is here."""
        with _told(path):
            data = self._files.cat_file(self._at(path))
            if len(data) > most:
                raise faults.Damaged('%s is too long: damaged' % path)
            return data

    def exists(self, path) -> bool:
        with _told(path):
            return self._files.exists(self._at(path))

    def write(self, path, data) -> None:
        with _told(path):
            self._make_folder(path)
            if self._is_atomic:
                self._files.pipe_file(self._at(path), data)
                return
            draft = self._draft(path, data)
            self._files.mv(draft, self._at(path))

    def create(self, path, data) -> None:
        """Where the store itself cannot tell whether there is one already,
        somebody else may be as quick: what is there then is one of both.

        :raises Exists:
        """
        with _told(path):
            self._make_folder(path)
            if self._is_atomic:
                self._files.pipe_file(self._at(path), data, mode='create')
                return
            draft = self._draft(path, data)
            if self._files.exists(self._at(path)):
                self._files.rm_file(draft)
                raise FileExistsError(path)
            self._files.mv(draft, self._at(path))

    def names(self, folder) -> list:
        with _told(folder):
            try:
                found = self._files.ls(self._at(folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted(one.rstrip('/').rpartition('/')[2]
                          for one in found)

    def _at(self, path):
        return '%s/%s' % (self._root.rstrip('/'), path)

    def _make_folder(self, path):
        if not self._is_atomic:
            self._files.makedirs(self._at(path).rpartition('/')[0],
                                 exist_ok=True)

    def _draft(self, path, data):
        draft = '%s.%s.part' % (self._at(path), uuid.uuid4().hex)
        self._files.pipe_file(draft, data)
        return draft


@contextlib.contextmanager
def _told(path):
    """Errors of whatever is behind it, as ours."""
    try:
        yield
    except faults.BackupError:
        raise
    except FileNotFoundError:
        raise faults.NotThere('%s is not there' % path) from None
    except FileExistsError:
        raise faults.Exists('%s is there already' % path) from None
    except Exception as error:
        # Each library that fsspec goes by has errors of its own.
        raise faults.BackupError('%s: %s' % (
            path, str(error) or type(error).__name__)) from error
