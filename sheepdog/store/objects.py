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

"""Object files and the open ones among them.

A file holds the object's ``capacity`` bytes, sparse, and behind them its
checksum table, 4 bytes for each 4 KiB block: so the capacity follows from
the file's size. The extended attribute ``sheepdog.version`` holds three
hexadecimal numbers: version.birth.crc32c-of-the-table. Their width never
changes and the table's room is taken at creation: neither needs space
later, on a full disk.

While an object is open its table in memory is the true one; the file's is
brought up by ``save_table``. Until then the journal can reproduce it.
"""

import logging
import re
from typing import Optional

from crc32c import crc32c

from sheepdog.model import ids
from sheepdog.store import checksums
from sheepdog.store import history as store_history
from sheepdog.store import state as store_state

LOG = logging.getLogger(__name__)

ATTRIBUTE = 'sheepdog.version'
BLOCK_BYTES = checksums.BLOCK_BYTES
_FILE_BLOCK_BYTES = BLOCK_BYTES + checksums.ENTRY_BYTES
_ATTRIBUTE = re.compile(rb'[0-9a-f]{8}\.[0-9a-f]{16}\.[0-9a-f]{8}')
_NAME = re.compile(r'([0-9a-f]{16})(?:_([0-9]|[12][0-9]|30))?')

UNKNOWN_VERSION = -1

PIECE_BYTES = 64 << 10
"""The kernel keeps what one call writes in folios as large, and a 4 KiB
write into a folio costs in proportion to it: 2 µs at 64 KiB, 7 to 45 at
4 MiB (ext4, Linux 6.18). Writing 1 MiB in pieces costs 35 µs more than at
once."""


def file_bytes(capacity: int) -> int:
    """Size of the file of an object."""
    return capacity // BLOCK_BYTES * _FILE_BLOCK_BYTES


def capacity_of(size: int) -> int:
    """The capacity of an object by the size of its file; 0 where no object
    has such a file."""
    blocks, rest = divmod(size, _FILE_BLOCK_BYTES)
    return 0 if rest else blocks * BLOCK_BYTES


def pack_attribute(version: int, birth: int, table) -> bytes:
    return b'%08x.%016x.%08x' % (version, birth, crc32c(table))


def unpack_attribute(value: Optional[bytes]):
    """(version, birth, crc of the table), or None where it is not ours."""
    # Just as ``pack_attribute`` writes it: int() takes signs and spaces.
    if value is None or not _ATTRIBUTE.fullmatch(value):
        return None
    version, birth, crc = value.split(b'.')
    return int(version, 16), int(birth, 16), int(crc, 16)


def name_of(oid: int) -> str:
    """``oid`` may be the key of a strip (``ids.strip_key``), as everywhere
    in the store."""
    if oid > ids.MASK64:
        return '%016x_%d' % (ids.object_of(oid), ids.strip_of(oid))
    return '%016x' % oid


def oid_of(name: str) -> Optional[int]:
    """The object of that file name, or None where it is no object's."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    oid, strip = match.groups()
    if strip is None:
        return int(oid, 16)
    return ids.strip_key(int(oid, 16), int(strip))


class Object:
    """One open object, or one that is about to be made.

    ``ready`` is the journal's generation while writes may be applied at
    once; ``armed`` the one whose durable records name the object; ``batch``
    the last batch of the writer that has a write to it. ``is_busy``: an
    operation is under way that later ones must wait for, in ``parked``.
    ``fresh`` flags blocks whose last content is in the journal and perhaps
    not yet on disk in the file; ``settling`` those that a running sync
    covers. ``is_unsynced``: the file has content that the journal has not.
    ``is_named``: its directory entry is durable. ``damage``: why the file
    cannot be used; ``is_spoilt``: for what the file is, not for what the
    device or the system says of it. ``low``, ``high``: the bytes that the
    operations under way and parked are about. ``history``: of a strip, else
    None.
    """

    __slots__ = (
        'oid', 'file', 'capacity', 'table', 'version', 'birth', 'ready',
        'armed', 'batch', 'is_busy', 'parked', 'is_dirty', 'is_touched',
        'fresh', 'settling', 'is_unsynced', 'is_named', 'is_syncing',
        'sync_waiters', 'damage', 'is_spoilt', 'exists', 'low', 'high',
        'history', 'updating', 'joined')

    def __init__(self, oid: int):
        self.oid = oid
        self.file = None
        self.capacity = 0
        self.table = None
        self.version = 0
        self.birth = 0
        self.ready = 0
        self.armed = 0
        self.batch = 0
        self.is_busy = False
        self.parked = None
        self.is_dirty = False
        self.is_touched = True
        self.fresh = None
        self.settling = None
        self.is_unsynced = False
        self.is_named = False
        self.is_syncing = False
        self.sync_waiters = None
        self.damage = ''
        self.is_spoilt = False
        self.exists = False
        self.low = self.high = 0
        self.updating = None
        self.joined = 0
        self.history = None

    def take_file(self, file, capacity: int, table, version: int,
                  birth: int, is_fresh: bool) -> None:
        """Stand for this file from now on."""
        self.exists = True
        self.file = file
        self.capacity = capacity
        self.table = table
        self.version = version
        self.birth = birth
        blocks = capacity // BLOCK_BYTES
        self.fresh = bytearray(b'\1' * blocks if is_fresh else blocks)
        self.settling = None
        self.is_dirty = False
        self.is_unsynced = False
        self.damage = ''

    def drop_file(self) -> None:
        """Stand for an object that does not exist."""
        file = self.file
        self.exists = False
        self.file = None
        self.capacity = 0
        self.table = None
        self.version = 0
        self.fresh = self.settling = None
        self.history = None
        self.is_dirty = self.is_unsynced = False
        self.damage = ''
        if file is not None:
            file.close()

    def is_fresh(self, first: int, end: int) -> bool:
        """True where a block of [first, end) may be in the journal only."""
        if 1 in self.fresh[first:end]:
            return True
        return self.settling is not None and 1 in self.settling[first:end]

    def mark(self, first: int, end: int) -> None:
        self.fresh[first:end] = b'\1' * (end - first)

    def save_table(self) -> None:
        """Bring the file's table and version up to ours.

        :raises OSError: some of it may be written
        """
        self.is_dirty = False
        try:
            self.file.pwrite(self.table.cast('B'), self.capacity)
            self.file.set_attribute(ATTRIBUTE, pack_attribute(
                self.version, self.birth, self.table))
            if self.history is not None:
                save_history(self.file, self.history)
        except OSError:
            self.is_dirty = True
            raise


class Objects:
    """The objects of one directory; the open ones, at most ``limit``.

    ``open`` maps object ids to open objects. ``versions`` has an entry for
    each object that exists, open or not.
    """

    def __init__(self, disk, directory: str, limit: int,
                 counters: store_state.Counters):
        self.open = {}
        self.versions = {}
        self.directory = directory
        self._disk = disk
        self._limit = limit
        self._counters = counters

    def path(self, oid: int) -> str:
        return '%s/%s' % (self.directory, name_of(oid))

    def create(self, obj: Object, capacity: int, version: int,
               birth: int) -> None:
        """Make the object's file, all zero. What stands in its place is
        not an object any more.

        :raises OSError: there is no file of it
        """
        file = self._disk.open(self.path(obj.oid), create=True)
        try:
            table = checksums.new_table(capacity // BLOCK_BYTES)
            prepare(file, capacity, table, version, birth)
            history = None
            if obj.oid > ids.MASK64:
                history = store_history.History()
                save_history(file, history)
        except OSError:
            file.close()
            self._disk.unlink(self.path(obj.oid))
            raise
        obj.take_file(file, capacity, table, version, birth, False)
        obj.is_named = False
        obj.history = history
        self.versions[obj.oid] = version

    def remove(self, obj: Object) -> None:
        """:raises OSError: it is still there"""
        try:
            self._disk.unlink(self.path(obj.oid))
        except FileNotFoundError:
            LOG.warning('%s was not there any more', self.path(obj.oid))
        obj.drop_file()
        self.versions.pop(obj.oid, None)

    def read_head(self, obj: Object):
        """Open the file of an object that exists; what it says of itself:
        (capacity, version, birth, crc of the table).

        :raises OSError: it cannot be opened or read
        :raises ValueError: it is no object's file
        """
        if obj.file is None:
            obj.file = self._disk.open(self.path(obj.oid))
        capacity = capacity_of(obj.file.size())
        head = unpack_attribute(obj.file.get_attribute(ATTRIBUTE))
        if not capacity or head is None:
            raise ValueError('%s is not a whole object file'
                             % self.path(obj.oid))
        return (capacity,) + head

    def version(self, oid: int) -> Optional[int]:
        """None: there is no such object; UNKNOWN_VERSION: its file does
        not tell."""
        obj = self.open.get(oid)
        if obj is not None and obj.table is not None:
            return obj.version
        version = self.versions.get(oid)
        if version == UNKNOWN_VERSION:
            version = self._read_version(oid)
            self.versions[oid] = version
        return version

    def make_room(self, newest: Object, batch: int) -> list:
        """Close what was not used lately, until the limit is kept, but
        not ``newest`` nor what ``batch`` writes to; returns objects that
        must be synced before they can be closed."""
        unsynced = []
        tries = 2 * len(self.open)
        while len(self.open) > self._limit and tries:
            tries -= 1
            oid = next(iter(self.open))
            obj = self.open.pop(oid)
            if obj.is_touched or obj.is_busy or obj.parked \
                    or obj.is_syncing or obj.is_unsynced \
                    or obj.batch == batch or obj is newest \
                    or obj.history is not None and obj.history.open:
                # A second chance, at the end of the queue.
                obj.is_touched = False
                self.open[oid] = obj
                if obj.is_unsynced and not obj.is_syncing:
                    unsynced.append(obj)
                continue
            if not self._close(obj):
                self.open[oid] = obj
        return unsynced

    def forget(self, obj: Object) -> None:
        """Drop what stands for an object that does not exist."""
        if self.open.get(obj.oid) is obj:
            del self.open[obj.oid]

    def drop(self, obj: Object) -> None:
        """Close an object that could not be used."""
        self.forget(obj)
        if obj.file is not None:
            obj.file.close()

    def close(self) -> None:
        """Close all files, saving nothing."""
        for obj in self.open.values():
            if obj.file is not None:
                obj.file.close()
        self.open.clear()

    def _close(self, obj: Object) -> bool:
        if obj.is_dirty:
            try:
                obj.save_table()
            except OSError as error:
                LOG.error('%s: cannot save the checksum table: %s',
                          self.path(obj.oid), error)
                return False
        if obj.table is not None:
            self.versions[obj.oid] = obj.version
        if obj.file is not None:
            obj.file.close()
        self._counters.evicted += 1
        return True

    def _read_version(self, oid: int) -> int:
        try:
            file = self._disk.open(self.path(oid), read_only=True)
        except OSError:
            return UNKNOWN_VERSION
        try:
            head = unpack_attribute(file.get_attribute(ATTRIBUTE))
        except OSError:
            head = None
        finally:
            file.close()
        return UNKNOWN_VERSION if head is None else head[0]


def write_content(file, data, offset: int) -> None:
    """Write any length, in pieces that small writes later on can afford.

    :raises OSError: some of it may be written
    """
    size = len(data)
    if size <= PIECE_BYTES:
        file.pwrite(data, offset)
        return
    view = memoryview(data)
    for start in range(0, size, PIECE_BYTES):
        file.pwrite(view[start:start + PIECE_BYTES], offset + start)


def save_history(file, history: store_history.History) -> None:
    """:raises OSError:"""
    file.set_attribute(store_history.ATTRIBUTE,
                       store_history.pack_attribute(history))


def prepare(file, capacity: int, table, version: int, birth: int) -> None:
    """Make an empty file an object's: size, table, attribute.

    :raises OSError: it is unusable
    """
    file.truncate(file_bytes(capacity))
    # Also where it is all zero: this takes the room for it.
    file.pwrite(table.cast('B'), capacity)
    file.set_attribute(ATTRIBUTE, pack_attribute(version, birth, table))
