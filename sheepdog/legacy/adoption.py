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

"""Taking one store over: what a plan says, written as a store of ours.

The original's directory is only read. The new one has a record from before
its first object until all is durable (META/upgrade), and no sheep starts on
it meanwhile; so it may be killed at any moment, and is gone on with, or
thrown away, as one likes.
"""

import asyncio
import json
import logging
from typing import Callable, NamedTuple, Optional

import numpy

from sheepdog.cluster import ledger as ledger_module
from sheepdog.legacy import contents
from sheepdog.legacy import formats
from sheepdog.legacy import plan as plan_module
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.store import checksums
from sheepdog.store import disks as disks_module
from sheepdog.store import diskset
from sheepdog.store import layout as store_layout
from sheepdog.store import settings as store_settings

LOG = logging.getLogger(__name__)

KIND = 'sheepdog-upgrade'
FORMAT = 1
AT_ONCE = 4
CHUNK_BYTES = 1 << 20
_BLOCK = checksums.BLOCK_BYTES
_REFUSED = formats.Refused
_STALE_SCAN = ('it has changed since, or is another one: scan all stores '
               'once more, and make the plan anew')


class Record(NamedTuple):
    """META/upgrade. ``meta``, ``disks``: where the original's store is;
    ``plan`` has that one store."""

    is_done: bool
    meta: str
    disks: tuple
    plan: plan_module.Plan

    def pack(self) -> bytes:
        return json.dumps({
            'kind': KIND, 'format': FORMAT, 'is_done': self.is_done,
            'meta': self.meta, 'disks': list(self.disks),
            'plan': self.plan.to_dict()}).encode()

    @property
    def store(self) -> plan_module.Store:
        return self.plan.stores[0]


def record_path(meta: str) -> str:
    return meta + '/upgrade'


def unpack_record(data: bytes) -> Record:
    """:raises Refused: it is none"""
    try:
        fields = json.loads(data)
        if fields['kind'] != KIND or fields['format'] != FORMAT:
            raise ValueError(fields['kind'])
        record = Record(bool(fields['is_done']), str(fields['meta']),
                        tuple(map(str, fields['disks'])),
                        plan_module.from_dict(fields['plan']))
        if len(record.plan.stores) != 1:
            raise ValueError(len(record.plan.stores))
        return record
    except (ValueError, TypeError, KeyError, AttributeError, IndexError,
            RecursionError, AssertionError, errors.SheepdogError):
        raise _REFUSED('the record of an upgrade is damaged: empty the new '
                       'directory, and begin again from the old one'
                       ) from None


async def read_record(disk, meta: str) -> Optional[Record]:
    """None: no upgrade was begun there.

    :raises Refused: it is damaged
    """
    try:
        return unpack_record(await disk.read_file(record_path(meta)))
    except (FileNotFoundError, NotADirectoryError):
        return None


class Outcome(NamedTuple):
    """``moved``: objects that were written now, of ``count``; ``size``: the
    bytes of all that are no holes, by what the old files take."""

    address: str
    node: str
    count: int
    moved: int
    size: int
    is_done: bool


class Adoption:
    """:param settings: ``StoreSettings`` of the new store
    :param directory: the old one
    :param on_progress: called with (objects done, objects)
    """

    def __init__(self, world, directory: contents.Directory,
                 old_disks: tuple, settings: store_settings.StoreSettings,
                 plan: plan_module.Plan,
                 on_progress: Callable = lambda done, count: None):
        self._world = world
        self._disk = world.disk
        self._directory = directory
        self._old_disks = old_disks
        self._settings = settings
        self._plan = plan
        self._on_progress = on_progress
        self._scan: contents.Scan
        self._record: Record
        self._done = 0
        self._moved = 0

    @classmethod
    async def unfinished(cls, world, settings: store_settings.StoreSettings,
                         on_progress: Callable = lambda done, count: None):
        """What was begun in that directory; None: nothing, or it is done.

        :raises Refused: its record is damaged
        """
        record = await read_record(world.disk, settings.meta)
        if record is None or record.is_done:
            return None
        return cls(world, contents.Directory(
            world.disk, record.meta, record.disks), record.disks, settings,
            record.plan, on_progress)

    async def look(self) -> Outcome:
        """What would be done.

        :raises Refused: it cannot be
        """
        meta = self._settings.meta
        self._check_apart()
        self._scan = await self._directory.scan()
        store = self._plan.of(self._scan.fingerprint)
        if store is None:
            raise _REFUSED('%s is none of the stores of this plan: %s'
                           % (self._directory.meta, _STALE_SCAN))
        found = await read_record(self._disk, meta)
        self._record = Record(
            False, self._directory.meta, self._old_disks,
            self._plan._replace(stores=(store,)))
        if found is None:
            self._check_empty()
        elif found.plan != self._record.plan:
            raise _REFUSED('%s has the upgrade of another store, or by '
                           'another plan: name an empty directory' % meta)
        if found is None or not found.is_done:
            self._check_room(store, found is not None)
        return Outcome('%s' % store.address, store.node, store.count, 0,
                       self._scan.used, found is not None and found.is_done)

    def _check_apart(self) -> None:
        old = (self._directory.meta, *self._old_disks)
        for one in (self._settings.meta, *self._settings.disks):
            for other in old:
                if (one + '/').startswith(other + '/') or (
                        other + '/').startswith(one + '/'):
                    raise _REFUSED(
                        '%s and %s are not apart: the old store stays as it '
                        'is, name another directory for the new one'
                        % (other, one), 64)

    def _check_empty(self) -> None:
        for path in (self._settings.meta, *self._settings.disks):
            try:
                names = self._disk.list(path)
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                raise _REFUSED('%s is no directory' % path) from None
            # ('upgrade.new': a kill before there was a record.)
            if set(names) - {'lost+found', 'upgrade.new'}:
                raise _REFUSED('%s is not empty: name an empty directory for '
                               'the new store' % path)

    def _check_room(self, store: plan_module.Store, is_begun: bool) -> None:
        if is_begun:
            # What is there already is not needed once more; the store
            # itself tells when it is full.
            return
        needed = self._scan.used + self._settings.journal_bytes
        needed += self._settings.reserve_bytes
        # The checksums, and that no file begins where another one ends.
        needed += self._scan.used // 512 + store.count * 2 * _BLOCK
        free = 0
        for path in self._settings.disks or (self._settings.meta,):
            free += self._disk.space(self._above(path)).free
        if free < needed:
            raise _REFUSED(
                'there is room for %d bytes at %s, the copy of %s needs %d: '
                'name another place, or more disks'
                % (free, ', '.join(self._settings.disks
                                   or (self._settings.meta,)),
                   self._directory.meta, needed), 4)

    def _above(self, path: str) -> str:
        """It, or what is there above it."""
        while not self._disk.exists(path) and path.strip('/.'):
            path = _parent(path)
        return path

    async def run(self) -> Outcome:
        """May be run again, however it ended.

        :raises Refused: it cannot be done, or not to its end
        """
        outcome = await self.look()
        if outcome.is_done:
            return outcome
        try:
            await self._run()
        except store_settings.StoreRefused as error:
            raise _REFUSED(str(error), error.exit_code) from None
        except errors.NoSpace as error:
            raise _REFUSED('%s is full (%s): give it room, then go on with '
                           'the same command' % (self._settings.meta, error),
                           4) from None
        except (errors.SheepdogError, OSError) as error:
            raise _REFUSED('%s: %s; the same command goes on from here'
                           % (self._settings.meta, error)) from None
        return outcome._replace(moved=self._moved, is_done=True)

    async def _run(self) -> None:
        disk, meta = self._disk, self._settings.meta
        above = self._above(meta)
        disk.make_directory(meta)
        place = meta
        while place != above:
            place = _parent(place)
            await disk.sync_directory(place)
        await disk.replace_file(record_path(meta), self._record.pack())
        await self._write_identity()
        store = await disks_module.Disks.open(self._world, self._settings)
        try:
            await self._fill(store)
            await store.set_cluster(self._plan.settings.created)
        finally:
            await store.close()
        await self._write_state()
        await disk.replace_file(record_path(meta), self._record._replace(
            is_done=True).pack())
        LOG.info('%s was taken over into %s: %d objects',
                 self._directory.meta, meta, self._record.store.count)

    async def _write_identity(self) -> None:
        """Who this is the plan says: the others' states name it, too."""
        meta, node = self._settings.meta, self._record.store.node
        if self._settings.disks:
            if await diskset.read(self._disk, meta) is None:
                await diskset.write(self._disk, meta, diskset.DiskSet(node))
        elif await store_layout.read_identity(self._disk, meta) is None:
            await self._disk.replace_file(
                store_layout.Layout(meta, None, None, '').identity_path,
                store_layout.Identity(
                    node, boot_id=self._disk.boot_id,
                    cluster=self._plan.settings.created).pack())

    async def _fill(self, store) -> None:
        oids = iter(contents.members(self._record.store.runs))

        async def work():
            for oid in oids:
                await self._adopt(store, oid)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _adopt(self, store, oid: int) -> None:
        if store.version(oid) is None:
            size, data = await self._content(oid)
            await store.adopt(oid, self._plan.view.epoch, size,
                              pieces_of(data), False)
            self._moved += 1
        self._done += 1
        self._on_progress(self._done, self._record.store.count)

    async def _content(self, oid: int) -> tuple:
        """(capacity here, bytes)."""
        if ids.is_vdi(oid):
            return (ids.capacity_of(oid, 0), clean_inode(
                await self._directory.read(oid, inode.CLIENT_BYTES)))
        size = self._directory.objects[oid].size
        return size, await self._directory.read(oid, size)

    async def _write_state(self) -> None:
        """Now it is a member that was there at the end."""
        try:
            ledger = await ledger_module.Ledger.open(self._world,
                                                     self._settings.meta)
        except ledger_module.LedgerRefused as error:
            raise _REFUSED(str(error)) from None
        try:
            await ledger.install(self._plan.state(), list(self._plan.views))
        finally:
            await ledger.close()


def _parent(path: str) -> str:
    return path.rstrip('/').rpartition('/')[0] or '/'


def clean_inode(data: bytes) -> bytes:
    """Without what has no meaning here (and might come to have one)."""
    head = inode.InodeHead.unpack(data).pack()
    return head.ljust(inode.HEAD_BYTES, b'\0') + data[inode.MAP_OFFSET:]


def pieces_of(data) -> list:
    """(offset, bytes) of all blocks that are not zero."""
    padded = bytes(data) + bytes(-len(data) % _BLOCK)
    blocks = numpy.frombuffer(padded, numpy.uint64).reshape(
        -1, _BLOCK // 8).any(axis=1)
    found = []
    for first, count in checksums.runs(numpy.flatnonzero(blocks).tolist()):
        end = (first + count) * _BLOCK
        for offset in range(first * _BLOCK, end, CHUNK_BYTES):
            found.append((offset,
                          padded[offset:min(offset + CHUNK_BYTES, end)]))
    return found
