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

"""Opening objects: their tables, and whether these can be trusted."""

import errno
import logging
from typing import Optional

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.store import applier as store_applier
from sheepdog.store import checksums
from sheepdog.store import history as store_history
from sheepdog.store import mending
from sheepdog.store import objects as store_objects
from sheepdog.store import state as store_state
from sheepdog.store import syncing
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer
from sheepdog.world import refusals

LOG = logging.getLogger(__name__)

BLOCK_BYTES = checksums.BLOCK_BYTES
_OF_OTHERS = (errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""For these a file cannot be opened though it and its device are well."""


class Opener:
    """``journal`` may be None."""

    def __init__(self, world, objects: store_objects.Objects, journal,
                 turns: store_turns.Turns, syncs: syncing.Syncs,
                 writer: store_writer.Writer, bad: store_applier.BadBlocks,
                 counters: store_state.Counters):
        self._world = world
        self._objects = objects
        self._journal = journal
        self._turns = turns
        self._syncs = syncs
        self._writer = writer
        self._bad = bad
        self._counters = counters
        self._complaints = refusals.Refusals(world.clock, LOG, logging.ERROR)
        self.on_device_error = None
        """Called with what opening failed for, if the device is to blame."""

    def get(self, oid: int) -> Optional[store_objects.Object]:
        """The object, open (or busy being opened), or None where there is
        no such object."""
        obj = self._objects.open.get(oid)
        if obj is not None:
            if not obj.damage or obj.is_busy or obj.parked:
                obj.is_touched = True
                return obj
            # Perhaps it can be opened today.
            self._objects.drop(obj)
        if oid not in self._objects.versions:
            return None
        obj = store_objects.Object(oid)
        obj.exists = True
        self._add(obj)
        self._load(obj)
        return obj

    def get_or_new(self, oid: int) -> store_objects.Object:
        """As ``get``; an object that does not exist gets an entry, for
        somebody to create it at once."""
        obj = self.get(oid)
        if obj is None:
            obj = store_objects.Object(oid)
            self._add(obj)
        return obj

    def _add(self, obj) -> None:
        self._objects.open[obj.oid] = obj
        self._counters.opened += 1
        for other in self._objects.make_room(
                obj, self._writer.batch_number):
            self._syncs.object(other, _ignore)

    def _load(self, obj) -> None:
        """At once where nothing needs the device."""
        try:
            head = self._objects.read_head(obj)
            table = obj.file.pread_warm(_table_bytes(head), head[0])
            if table is not None and crc32c(table) == head[3]:
                self._take(obj, head, table)
        except (OSError, ValueError) as error:
            self._damaged(obj, error)
            return
        if obj.table is not None:
            obj.ready = obj.armed
        else:
            self._turns.occupy(obj)
            self._world.spawn(self._load_slowly(obj, head),
                              'store: open an object')

    async def _load_slowly(self, obj, head) -> None:
        try:
            table = await obj.file.pread_cold(_table_bytes(head), head[0])
            self._take(obj, head, table)
            if crc32c(table) != head[3]:
                LOG.error('object %016x: its checksum table is damaged',
                          obj.oid)
                await self._verify(obj, head[3])
        except (OSError, ValueError) as error:
            self._damaged(obj, error)
        self._turns.release(obj)

    def _take(self, obj, head, table: bytes) -> None:
        """
        :raises OSError: what it knows as a strip cannot be read
        :raises ValueError: that is damaged
        """
        capacity, version, birth, _ = head
        if obj.oid > ids.MASK64:
            obj.history = store_history.unpack_attribute(
                obj.file.get_attribute(store_history.ATTRIBUTE))
            if obj.history is None:
                raise ValueError('%s: what it knows as a strip is damaged'
                                 % self._objects.path(obj.oid))
        journal = self._journal
        is_fresh = journal is not None and (
            obj.oid in journal.current.named
            or obj.oid in journal.other.named)
        obj.take_file(obj.file, capacity, checksums.table_of(table), version,
                      birth, is_fresh)
        # Where the journal names it, its name may not be synced yet.
        obj.is_named = journal is not None and not is_fresh
        if journal is not None and journal.current.named.get(obj.oid):
            obj.armed = journal.generation
        self._objects.versions[obj.oid] = version

    async def _verify(self, obj, crc: int) -> None:
        """The table is not the one that had this checksum."""
        table, wrong = await mending.mend(
            obj.file, obj.table, crc, range(obj.capacity // BLOCK_BYTES))
        if table is not None:
            LOG.warning('object %016x: its checksum table is mended: the '
                        'blocks %s are right', obj.oid, wrong[:20])
            obj.table[:] = table
        elif wrong:
            self._bad.add(obj.oid, wrong)
            self._bad.report(obj.oid)

    def _damaged(self, obj, error) -> None:
        self._complaints.note('object %016x' % obj.oid,
                              'it cannot be used: %s' % error)
        obj.damage = str(error)
        number = error.errno if isinstance(error, OSError) else None
        # (Where the directory is gone as well, so is the device.)
        obj.is_spoilt = number is None or (
            number == errno.ENOENT
            and self._world.disk.exists(self._objects.directory))
        if obj.is_spoilt:
            # As good as bad from its first block on, and counted as such:
            # the device has kept its word for all others.
            self._bad.add(obj.oid, (0,))
        elif number not in _OF_OTHERS:
            self.on_device_error(store_state.typed(
                error, 'object %016x' % obj.oid))

    def report(self, obj) -> None:
        """It is to be looked at by those who know the other copies."""
        self._bad.report(obj.oid)

    def unusable(self, obj) -> errors.StorageError:
        """The error for who asks for an object whose file is. Another copy
        mends what the file itself is spoilt by: have it brought."""
        if not obj.is_spoilt:
            return errors.StorageError(obj.damage)
        self._bad.report(obj.oid)
        return errors.ChecksumError(obj.damage)


def _table_bytes(head: tuple) -> int:
    return head[0] // BLOCK_BYTES * checksums.ENTRY_BYTES


def _ignore(error) -> None:
    """A failed sync is reported where failures of all syncs are."""
