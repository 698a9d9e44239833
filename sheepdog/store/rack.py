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

"""The disks that a sheep uses: opened, plugged in, unplugged, given up.

The record (``diskset``) is changed on META first, then what it tells of is
done: but for a disk that fails, which is out at once. Until that is on
record ``noted`` does not return, and nothing that was on the disk may be
recovered: a start that found the disk again would take what is on it for
true.
"""

import asyncio
import dataclasses
import logging
from typing import Callable, Iterator, Optional

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.placement import disks as placement
from sheepdog.store import diskset
from sheepdog.store import layout as store_layout
from sheepdog.store import lineup
from sheepdog.store import settings as store_settings
from sheepdog.store import shelf as shelf_module
from sheepdog.store import starting
from sheepdog.store import state as store_state
from sheepdog.store import store as store_module

LOG = logging.getLogger(__name__)

PLACES_MAX = 1 << 16
RETRY_SECONDS = 1.0


class Rack:
    """``shelves``: the disks that are in use. ``places``: object → shelf,
    as far as it was looked up. ``record`` is None where META is the only
    disk. ``on_change()`` is called when the disks are others."""

    def __init__(self, world, settings: store_settings.StoreSettings,
                 counters: store_state.Counters):
        self.record: Optional[diskset.DiskSet] = None
        self.shelves: list = []
        self.places: dict = {}
        self.on_change: Callable[[], None] = lambda: None
        self._world = world
        self._settings = settings
        self._counters = counters
        self._ring = placement.Disks({})
        self._by_id: dict = {}
        self._noting: Optional[asyncio.Task] = None
        self._writing = asyncio.Lock()
        self._meta_lock = None

    # -- where objects are ----------------------------------------------

    def find(self, oid: int) -> shelf_module.Shelf:
        """The disk that has an object, or is to have it."""
        shelf = self.places.get(oid)
        if shelf is None:
            shelf = self.wanted(oid)
            if not shelf.store.holds(oid):
                for other in self.shelves:
                    if other.store.holds(oid):
                        shelf = other
                        break
            if len(self.places) >= PLACES_MAX:
                self.places.clear()
            self.places[oid] = shelf
        return shelf

    def has_meta(self, shelf: shelf_module.Shelf) -> bool:
        return shelf.entry.path == self._settings.meta

    def shown_path(self, shelf: shelf_module.Shelf) -> str:
        """As operators know it."""
        path = shelf.entry.path
        return path + '/obj' if self.has_meta(shelf) else path

    def wanted(self, oid: int) -> shelf_module.Shelf:
        """The disk that should have it."""
        return self._by_id[self._ring.place(ids.object_of(oid))]

    def misplaced(self) -> Iterator[tuple]:
        """(object, disk that has it, disk that should), and None now and
        then in between: others may want their turn. Copes with changes."""
        for shelf in list(self.shelves):
            for oid in shelf.store.oids():
                if shelf.is_gone:
                    break
                yield None
                wanted = self.wanted(oid)
                if wanted is not shelf:
                    yield oid, shelf, wanted

    def _changed(self) -> None:
        self._by_id = {shelf.entry.id: shelf for shelf in self.shelves}
        self._ring = placement.Disks({
            shelf.entry.id: shelf.entry.weight for shelf in self.shelves
            if not shelf.entry.is_leaving})
        self.places.clear()
        self.on_change()

    # -- the start ------------------------------------------------------

    async def open(self) -> None:
        """:raises StoreRefused: something does not fit"""
        settings, disk = self._settings, self._world.disk
        found = await lineup.look(disk, settings)
        if found.disks is None and not found.new:
            store = await store_module.Store.open(
                self._world, self._on(settings.meta), None, self._counters)
            self._take(diskset.Entry(store.node_id, settings.meta, 1), store)
            self._changed()
            return
        try:
            await self._open(found)
        except BaseException:
            for shelf in self.shelves:
                await shelf.store.close()
            raise

    async def _open(self, found: lineup.Found) -> None:
        disk, meta = self._world.disk, self._settings.meta
        record = found.disks
        if record is None or record.at(meta) is None:
            self._meta_lock = store_layout.lock_directory(disk, meta)
        if record is None:
            record = diskset.DiskSet(
                self._world.random.token(starting.NODE_ID_BYTES).hex())
            # So that the disks can be known for ours.
            await diskset.write(disk, meta, record)
        self.record = dataclasses.replace(record, run=record.run + 1)
        for entry in self.record.disks:
            self._take(entry, await self._open_disk(entry.path,
                                                    found.cluster))
        await self._change(lambda record: record)
        self._changed()
        await self._drop_doubles()
        for path in found.new:
            await self.plug(path)

    async def _open_disk(self, path: str, cluster: int):
        assert self.record is not None
        return await store_module.Store.open(
            self._world, self._on(path),
            starting.Owner(self.record.node, self.record.run, cluster),
            self._counters)

    def _on(self, path: str) -> store_settings.StoreSettings:
        return dataclasses.replace(self._settings, meta=path, disks=(),
                                   lost_disks=())

    def _take(self, entry: diskset.Entry, store) -> None:
        self.shelves.append(shelf_module.Shelf(entry, store))

    async def _drop_doubles(self) -> None:
        """A move was cut short: both have the same, the one in the right
        place stays."""
        seen: dict = {}
        for shelf in self.shelves:
            for oid in shelf.store.oids():
                other = seen.setdefault(oid, shelf)
                if other is shelf:
                    continue
                wanted = self.wanted(oid)
                stray = other if wanted is shelf else shelf
                seen[oid] = shelf if wanted is shelf else other
                LOG.info('object %016x is on two disks; dropping that on %s',
                         oid, stray.entry.path)
                await removed(stray.store, oid)

    # -- changes --------------------------------------------------------

    async def plug(self, path: str) -> shelf_module.Shelf:
        """Use another disk from now on.

        :raises StoreRefused: it cannot be used
        :raises OSError: it cannot be put on record
        """
        disk = self._world.disk
        self._refuse_while_failing()
        if path == self._settings.meta + '/obj':
            path = self._settings.meta
        record = self.record
        if record is not None and record.at(path) is not None:
            entry = record.at(path)
            if entry.is_leaving:
                return await self._keep(entry)
            raise store_settings.StoreRefused(
                '%s is plugged in already' % path)
        if record is None:
            record = await self._record_meta()
        lineup.check_new(disk, path, await lineup.identity_at(disk, path),
                         record)
        store = await self._open_disk(path, self.cluster())
        entry = diskset.Entry(store.node_id, path,
                              max(disk.space(path).total, 1))
        try:
            await self._change(lambda record: record.plus(entry))
        except BaseException:
            await store.close()
            raise
        self._take(entry, store)
        LOG.info('disk %s (id %s, %d bytes) is in use', path, entry.id,
                 entry.weight)
        self._changed()
        return self.shelves[-1]

    async def _record_meta(self) -> diskset.DiskSet:
        """META is not the only disk any more."""
        shelf, meta = self.shelves[0], self._settings.meta
        weight = max(self._world.disk.space(meta).total, 1)
        record = diskset.DiskSet(shelf.store.node_id, disks=(
            dataclasses.replace(shelf.entry, weight=weight),))
        await shelf.store.become(record.node, record.run)
        await self._change(lambda _none: record)
        shelf.entry = record.disks[0]
        return record

    async def _keep(self, entry: diskset.Entry) -> shelf_module.Shelf:
        """It was to be unplugged, but has not gone yet."""
        return await self._set_leaving(entry, False)

    async def unplug(self, path: str) -> shelf_module.Shelf:
        """Place nothing on that disk any more; when it is empty it may be
        taken out (``remove``).

        :raises StoreRefused: there is no such disk, or it is the last
        :raises OSError: it cannot be put on record
        """
        self._refuse_while_failing()
        if path == self._settings.meta + '/obj':
            path = self._settings.meta
        entry = self.record.at(path) if self.record is not None else None
        if entry is None:
            raise store_settings.StoreRefused(
                '%s is none of the disks of this sheep%s' % (
                    path, '' if self.record is not None
                    else ': it keeps its objects in META alone'))
        if entry.is_leaving:
            raise store_settings.StoreRefused(
                '%s is being unplugged already' % path)
        if all(one is entry or one.is_leaving for one in self.record.disks):
            raise store_settings.StoreRefused(
                '%s is the last disk: plug another one in first' % path)
        return await self._set_leaving(entry, True)

    async def dismiss(self, path: str) -> None:
        """A lost disk is not to be replaced.

        :raises OSError: it cannot be put on record
        """
        await self._change(lambda record: record.without(path))

    async def _set_leaving(self, entry, is_leaving: bool):
        changed = dataclasses.replace(entry, is_leaving=is_leaving)
        shelf = self._by_id[entry.id]

        def change(record):
            if shelf.is_gone:
                raise store_settings.StoreRefused(
                    'the disk %s fails: it was given up' % entry.path)
            return record.plus(changed)

        await self._change(change)
        shelf.entry = changed
        self._changed()
        return shelf

    async def remove(self, shelf: shelf_module.Shelf) -> None:
        """Take out a disk that is empty.

        :raises OSError: it cannot be put on record
        """
        assert shelf.store.is_empty() and shelf.entry.is_leaving
        self.shelves.remove(shelf)
        self._changed()
        await self._change(
            lambda record: record.minus(shelf.entry.id, is_lost=False))
        await shelf.store.close()
        kept = shelf.store.quarantine.kept
        if kept:
            LOG.warning('%d things in quarantine stay on %s', kept,
                        shelf.entry.path)
        try:
            shelf.store.forget()
        except OSError as error:
            LOG.warning('%s still looks like a disk of a sheep: %s',
                        shelf.entry.path, error)
        if shelf.entry.path != self._settings.meta:
            # (META is locked as long as the sheep runs.)
            shelf.store.unlock()
        LOG.info('disk %s was unplugged', shelf.entry.path)

    def take_out(self, shelf: shelf_module.Shelf,
                 is_known: bool = False) -> set:
        """Give up a disk that fails, at once. Returns the ids of the
        objects whose content is unknown now. ``is_known``: the cluster need
        not be told."""
        assert self.record is not None and len(self.shelves) > 1
        LOG.critical('the disk %s fails: %s; it is given up, and its objects '
                     'are recovered from the other sheep. Replace it',
                     shelf.entry.path, shelf.store.device_error)
        shelf.is_gone = True
        lost = shelf.store.known()
        self.shelves.remove(shelf)
        if all(one.entry.is_leaving for one in self.shelves):
            for one in self.shelves:
                one.entry = dataclasses.replace(one.entry, is_leaving=False)
        self.record = dataclasses.replace(
            self.record.minus(shelf.entry.id, is_lost=True),
            disks=tuple(one.entry for one in self.shelves),
            has_untold_loss=self.record.has_untold_loss or not is_known)
        self._changed()
        if self._noting is None or self._noting.done():
            self._noting = self._world.spawn(self._note(),
                                             'store: note a lost disk')
        shelf.store.abandon()
        return lost

    def _refuse_while_failing(self) -> None:
        for shelf in self.shelves:
            if shelf.is_failing:
                raise store_settings.StoreRefused(
                    'the disk %s fails (%s): wait until it is given up'
                    % (shelf.entry.path, shelf.store.device_error))

    # -- the record -----------------------------------------------------

    def stop_noting(self) -> None:
        """Nothing that was on a lost disk can have been brought back if its
        loss is not on record: the next start may find it again."""
        if self._noting is not None:
            self._noting.cancel()

    async def noted(self) -> None:
        """Returns when META knows of all the disks that were given up."""
        while self._noting is not None and not self._noting.done():
            await asyncio.wait([self._noting])

    async def _note(self) -> None:
        while True:
            try:
                await self._change(lambda record: record)
                return
            except OSError as error:
                LOG.error('cannot note that a disk was given up: %s', error)
            await asyncio.sleep(RETRY_SECONDS)

    async def told(self, record: diskset.DiskSet) -> None:
        """The cluster knows of all that ``record`` has.

        :raises OSError: it will be told again
        """
        await self._change(
            lambda now: dataclasses.replace(now, is_told=True,
                                            has_untold_loss=False)
            if now is record else now)

    async def _change(self, change: Callable) -> None:
        """Put ``change(record)`` on record.

        :raises OSError: the record is as it was
        """
        async with self._writing:
            while True:
                before = self.record
                record = change(before)
                await diskset.write(self._world.disk, self._settings.meta,
                                    record)
                if self.record is before:
                    self.record = record
                    return
                # A disk was lost meanwhile: once more, on top of that.

    # -- the cluster of the objects ---------------------------------------

    def cluster(self) -> int:
        """See ``Store.cluster``."""
        return min((shelf.store.cluster for shelf in self.shelves
                    if shelf.store.cluster), default=0)


async def removed(store, oid: int) -> None:
    """:raises SheepdogError: it is not"""
    future = asyncio.get_running_loop().create_future()
    store.remove(oid, future.set_result)
    error = await future
    if error is not None and not isinstance(error, errors.NoObject):
        raise error
