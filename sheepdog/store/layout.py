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

"""The store's directory: who it is, whose it is, whether it can be used.

    META/store      who this is, and how the last run ended (JSON)
    META/lock       locked while a sheep runs
    META/obj/       the objects
    META/open       open updates of strips, between two runs or where the
                    journal has no room for them
    META/journal/   the journal's segments, where no other place is named
    META/quarantine/  what cannot be explained, where there is any

Everything is looked at before anything is changed: a refusal leaves the
directory as it was.
"""

import dataclasses
import errno
import json
import logging
from typing import Any, Optional

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import shapes
from sheepdog.store import ballast
from sheepdog.store import objects as store_objects
from sheepdog.store import settings as store_settings

LOG = logging.getLogger(__name__)

FORMAT = 1
_PROBE = 'probe'
_REFUSED = store_settings.StoreRefused
EXIT_FULL = 4


@dataclasses.dataclass(frozen=True)
class Identity:
    """``boot_id``: where the last run was. ``clean``: it ended orderly, all
    is on disk. ``power_lost``: the page cache was lost once and nobody has
    said yet that the objects were compared; ``journal_damaged``: records of
    it were lost, and the same; ``journal_torn``: some of its last ones may
    be. ``sync_failed``: the device
    refused a sync, so the page cache may show what the device has not, and
    no sync will tell. ``nosync``: the last run synced nothing.
    ``sequence``, ``generation``:
    no journal has used higher ones before this run began. ``cluster``: the
    creation time of the one that the objects are of, 0 where it was not
    told yet. ``bad``: ``(object id, number)`` of the blocks that were known
    to be bad. ``owner``: the sheep that this is one of several disks of, ''
    where it is the only one; ``run``: how often that one had started then
    (see ``diskset``)."""

    node_id: str
    boot_id: str = ''
    clean: bool = True
    power_lost: bool = False
    journal_damaged: bool = False
    sync_failed: bool = False
    sequence: int = 0
    generation: int = 0
    journal_dir: str = ''
    segment_bytes: int = 0
    cluster: int = 0
    bad: tuple = ()
    owner: str = ''
    run: int = 0
    nosync: bool = False
    journal_torn: bool = False
    format: int = FORMAT

    def checked(self) -> 'Identity':
        """:raises ValueError: a number is none that a journal can have"""
        for number in (self.sequence, self.generation, self.segment_bytes,
                       self.cluster, self.run):
            if not 0 <= number < 1 << 63:
                raise ValueError(number)
        for oid, block in self.bad:
            if not (type(oid) is type(block) is int
                    and 0 <= oid < ids.KEYS_END and 0 <= block < 1 << 32):
                raise ValueError(oid, block)
        return self

    def pack(self) -> bytes:
        fields = dataclasses.asdict(self)
        # Versions that do not know of these read it, too.
        if not self.owner:
            del fields['owner'], fields['run']
        for name in ('bad', 'journal_damaged', 'journal_torn', 'nosync'):
            if not fields[name]:
                del fields[name]
        return (json.dumps(fields, indent=1) + '\n').encode()


@dataclasses.dataclass
class Layout:
    """``identity`` is None before the first run. ``lock`` must be kept."""

    meta: str
    lock: Any
    identity: Optional[Identity]
    journal_dir: str

    @property
    def objects_dir(self) -> str:
        return self.meta + '/obj'

    @property
    def quarantine_dir(self) -> str:
        return self.meta + '/quarantine'

    @property
    def open_path(self) -> str:
        return self.meta + '/open'

    @property
    def identity_path(self) -> str:
        return self.meta + '/store'


def segment_paths(directory: str, node_id: str) -> list:
    """Of the journal. The node's id in the names lets several sheep share
    a device."""
    return ['%s/%s.%d' % (directory, node_id, number) for number in (0, 1)]


async def open_layout(disk, settings: store_settings.StoreSettings) -> Layout:
    """Look at the directory and lock it.

    :raises StoreRefused: it cannot be used
    """
    settings.check()
    meta = settings.meta
    is_new = _check_directory(disk, meta)
    journal_dir = settings.journal_dir or meta + '/journal'
    if is_new:
        _check_room(disk, settings, journal_dir, None)
    lock_path = meta + '/lock'
    was_locked_before = disk.exists(lock_path)
    lock = lock_directory(disk, meta)
    layout = Layout(meta, lock, None, journal_dir)
    try:
        if settings.reserve_bytes:
            ballast.throw(disk, meta)
        layout.identity = await read_identity(disk, meta)
        _check_attributes(disk, meta)
        _check_objects(disk, layout)
        _check_room(disk, settings, journal_dir, layout.identity)
    except BaseException:
        if not was_locked_before:
            disk.unlink(lock_path)
        raise
    return layout


def lock_directory(disk, meta: str) -> Any:
    """Make it, and nobody else's. Keep what is returned.

    :raises StoreRefused: it is somebody's, or cannot be written
    """
    try:
        disk.make_directory(meta)
        return disk.lock(meta + '/lock')
    except BlockingIOError:
        raise _REFUSED('%s is in use by another sheep: stop that one, or '
                       'give this one another directory' % meta)
    except OSError as error:
        raise _unwritable(meta, error)


async def make_directories(disk, layout: Layout) -> None:
    """Make what is missing, durably.

    :raises StoreRefused: they cannot be made
    """
    for path in (layout.objects_dir, layout.journal_dir):
        if disk.exists(path) and layout.identity is not None:
            continue
        try:
            disk.make_directory(path)
        except OSError as error:
            raise _unwritable(layout.meta, error)
        for parent in _parents(path):
            try:
                await disk.sync_directory(parent)
            except PermissionError as error:
                # Not ours to read, so none of ours is new in it.
                LOG.debug('%s', error)


def _parents(path: str) -> list:
    """All directories above, the nearest first."""
    parents = []
    while '/' in path.strip('/'):
        path = path.rstrip('/').rpartition('/')[0]
        parents.append(path)
    parents.append('/' if path.startswith('/') else '.')
    return parents


def _check_directory(disk, meta: str) -> bool:
    """True where it is not there yet."""
    try:
        disk.list(meta)
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        raise _REFUSED('%s is not a directory: name one for the store' % meta)
    except OSError as error:
        raise _REFUSED('%s cannot be read (%s): check its owner and mode'
                       % (meta, error.strerror or error))
    return False


async def read_file(disk, path: str) -> Optional[bytes]:
    """None where there is none.

    :raises StoreRefused: it cannot be read
    """
    try:
        return await disk.read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _REFUSED('%s cannot be read: %s' % (path, error))


async def read_identity(disk, meta: str) -> Optional[Identity]:
    """Of the store in that directory; None where there is none.

    :raises StoreRefused: it cannot be told
    """
    layout = Layout(meta, None, None, '')
    path = layout.identity_path
    data = await read_file(disk, path)
    if data is None:
        if disk.exists(layout.objects_dir) and disk.list(layout.objects_dir):
            raise _REFUSED('%s has objects but %s is missing: put it back, '
                           'or name an empty directory'
                           % (layout.objects_dir, path))
        return None
    try:
        fields = json.loads(data)
        found = fields['format']
        if found == FORMAT:
            return shapes.build(Identity, fields).checked()
    except (ValueError, TypeError, KeyError, RecursionError,
            errors.InvalidParameters):
        raise _REFUSED('%s is not what a sheep writes: put it back from a '
                       'backup, or name an empty directory' % path) from None
    raise _REFUSED('%s is of format %s, this sheep knows %d: run the version '
                   'that wrote it, or name an empty directory'
                   % (layout.meta, found, FORMAT))


def _check_attributes(disk, meta: str) -> None:
    path = '%s/%s' % (meta, _PROBE)
    try:
        file = disk.open(path, create=True)
    except OSError as error:
        raise _unwritable(meta, error)
    try:
        file.set_attribute(store_objects.ATTRIBUTE, b'probe')
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _REFUSED('%s is full: give back some space' % meta,
                           EXIT_FULL)
        raise _REFUSED('the file system of %s has no extended attributes '
                       '(%s): mount it with user_xattr, or use another one'
                       % (meta, error.strerror or error))
    finally:
        file.close()
        disk.unlink(path)


def _check_objects(disk, layout: Layout) -> None:
    try:
        if disk.exists(layout.objects_dir):
            disk.list(layout.objects_dir)
    except OSError as error:
        raise _REFUSED('%s cannot be read (%s): check its owner and mode'
                       % (layout.objects_dir, error.strerror or error))


def _check_room(disk, settings: store_settings.StoreSettings,
                journal_dir: str, identity: Optional[Identity]) -> None:
    if settings.journal_skip:
        return
    if identity is not None and identity.journal_dir == journal_dir \
            and identity.segment_bytes == settings.segment_bytes:
        return
    where = journal_dir
    while not disk.exists(where) and '/' in where.rstrip('/'):
        where = where.rpartition('/')[0] or '/'
    try:
        free = disk.space(where).free
    except OSError as error:
        raise _unwritable(where, error)
    if identity is not None:
        for path in segment_paths(journal_dir, identity.node_id):
            if disk.exists(path):
                # Left by a start that was cut short.
                file = disk.open(path, read_only=True)
                free += file.allocated()
                file.close()
    if free < settings.journal_bytes:
        raise _REFUSED(
            'there is room for %d bytes at %s, its journal needs %d: give '
            'back space, or ask for a smaller journal'
            % (free, journal_dir, settings.journal_bytes), EXIT_FULL)


def _unwritable(path: str, error: OSError) -> store_settings.StoreRefused:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _REFUSED('%s is full: give back some space' % path, EXIT_FULL)
    return _REFUSED('%s cannot be written (%s): check its owner, its mode '
                    'and how it is mounted'
                    % (path, error.strerror or error))
