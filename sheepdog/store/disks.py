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

"""The room's face: the objects of one sheep, on one disk or on several.

Each disk is a ``store.Store`` of its own, with its journal and its object
files; what happens to one does not concern the others (``rack``). With one
disk the calls of the hot path are that store's own.

An object is on one disk. While it moves to another (``shifting``) it is
held: what is asked for it waits. A disk that is given up is out at once:
what is under way there ends as NotRecovered, whatever has become of it, and
what was there is unknown here until recovery has brought it back.
"""

import asyncio
import functools
import logging
from typing import Any, Callable, Optional

from sheepdog.model import errors
from sheepdog.store import quarantines
from sheepdog.store import rack as rack_module
from sheepdog.store import settings as store_settings
from sheepdog.store import shelf as shelf_module
from sheepdog.store import shifting
from sheepdog.store import state as store_state
from sheepdog.world import api

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 10.0

Changed = shelf_module.Changed
Fetched = shelf_module.Fetched


class Disks:
    """Made by ``open``. Its calls are ``store.Store``'s, unless something
    else is said. ``losses`` counts the disks given up since the start."""

    write: Callable
    read: Callable
    zero: Callable
    remove: Callable
    sync: Callable
    update: Callable

    def __init__(self, world, rack: rack_module.Rack,
                 counters: store_state.Counters):
        self.counters = counters
        self.losses = 0
        self.latencies: dict = {}
        self._world = world
        self._rack = rack
        self._shifter = shifting.Shifter(world, rack)
        self._places = rack.places
        self._held = self._shifter.held
        self._on_failing: Optional[Callable[[], None]] = None
        self._on_damage: Optional[Callable[[int], None]] = None
        self._observe: Optional[Callable[[float, int], None]] = None
        self._is_closing = False
        self._is_settling = False
        self._watching: Optional[asyncio.Task] = None
        self.quarantine = quarantines.Quarantines(rack)
        rack.on_change = self._bind
        self._bind()

    @classmethod
    async def open(cls, world,
                   settings: store_settings.StoreSettings) -> 'Disks':
        """
        :raises StoreRefused: the disks cannot be used as things stand
        """
        settings.check()
        counters = store_state.Counters()
        rack = rack_module.Rack(world, settings, counters)
        await rack.open()
        self = cls(world, rack, counters)
        if rack.record is not None:
            self._disks_changed()
        return self

    async def close(self) -> None:
        self._is_closing = True
        await self._shifter.stop()
        if self._watching is not None:
            self._watching.cancel()
        self._rack.stop_noting()
        for shelf in self._rack.shelves:
            await shelf.store.close()

    def _bind(self) -> None:
        """Point the calls of the hot path to where they go."""
        shelves = self._rack.shelves
        one: Any = shelves[0].store if len(shelves) == 1 else None
        # (A move ends before its disk goes, so nothing is held then.)
        self.write = one.write if one else self._write
        self.read = one.read if one else self._read
        self.zero = one.zero if one else self._zero
        self.remove = one.remove if one else self._remove
        self.sync = one.sync if one else self._sync
        self.update = one.update if one else self._update
        for shelf in shelves:
            self._listen(shelf.store)
        self.quarantine.listen()

    def _listen(self, store) -> None:
        store.when_failing(self._failing)
        if self._on_damage is not None:
            store.when_damaged(self._on_damage)
        if self._observe is not None:
            store.watch_syncs(self._observe)

    # -- the hot path, with several disks -------------------------------

    def _write(self, oid: int, version: int, offset: int, data: bytes, done,
               durable: bool = True, capacity: int = 0) -> None:
        if oid in self._held:
            self._hold(oid, 'write', oid, version, offset, data, done,
                       durable, capacity)
            return
        shelf = self._places.get(oid) or self._rack.find(oid)
        shelf.store.write(oid, version, offset, data, Changed(shelf, done),
                          durable, capacity)

    def _read(self, oid: int, offset: int, size: int, done) -> None:
        if oid in self._held:
            self._hold(oid, 'read', oid, offset, size, done)
            return
        shelf = self._places.get(oid) or self._rack.find(oid)
        shelf.store.read(oid, offset, size, Fetched(shelf, done))

    def _zero(self, oid: int, version: int, offset: int, size: int, done,
              durable: bool = True) -> None:
        if oid in self._held:
            self._hold(oid, 'zero', oid, version, offset, size, done,
                       durable)
            return
        shelf = self._places.get(oid) or self._rack.find(oid)
        shelf.store.zero(oid, version, offset, size, Changed(shelf, done),
                         durable)

    def _remove(self, oid: int, done, durable: bool = True) -> None:
        if oid in self._held:
            self._hold(oid, 'remove', oid, done, durable)
            return
        shelf = self._places.get(oid) or self._rack.find(oid)
        shelf.store.remove(oid, Changed(shelf, done), durable)

    def _update(self, key: int, version: int, number: int, birth: tuple,
                offset: int, size: int, data, done, capacity: int = 0,
                token: int = 0, is_known: bool = False) -> None:
        if key in self._held:
            self._hold(key, 'update', key, version, number, birth, offset,
                       size, data, done, capacity, token, is_known)
            return
        shelf = self._places.get(key) or self._rack.find(key)
        shelf.store.update(key, version, number, birth, offset, size, data,
                           Changed(shelf, done), capacity, token, is_known)

    def _hold(self, oid: int, name: str, *arguments) -> None:
        # By its name: when it is over there may be one disk only.
        self._held[oid].append(lambda: getattr(self, name)(*arguments))

    def _sync(self, done) -> None:
        waiting = list(self._held.values())
        if not waiting:
            self._sync_all(done)
            return
        passed = shelf_module.Synced(len(waiting),
                                     lambda _error: self._sync_all(done))
        for calls in waiting:
            calls.append(functools.partial(passed.one, None))

    def _sync_all(self, done) -> None:
        shelves = list(self._rack.shelves)
        synced = shelf_module.Synced(len(shelves), done)
        for shelf in shelves:
            shelf.store.sync(synced.of(shelf))

    # -- one object -----------------------------------------------------

    def version(self, oid: int) -> Optional[int]:
        version = self._rack.find(oid).store.version(oid)
        if version is None and oid in self._held:
            # The one disk has it no more, or the other one not yet.
            version = max(filter(
                lambda found: found is not None,
                (store.version(oid) for store in self._stores)),
                default=None)
        return version

    async def describe(self, oid: int) -> Optional[store_state.ObjectState]:
        return await self._ask(oid, 'describe', oid)

    async def table(self, oid: int) -> bytes:
        return await self._ask(oid, 'table', oid)

    async def extents(self, oid: int) -> list:
        return await self._ask(oid, 'extents', oid)

    async def adopt(self, oid: int, version: int, capacity: int,
                    pieces: list, keep: bool, zeros=(), lost=(),
                    history=None) -> None:
        await self._ask(oid, 'adopt', oid, version, capacity, pieces, keep,
                        zeros, lost, history)

    def close_updates(self, key: int, below: int) -> None:
        self._rack.find(key).store.close_updates(key, below)

    def generation(self, key: int) -> tuple:
        return self._rack.find(key).store.generation(key)

    def with_open(self) -> list:
        return [key for store in self._stores for key in store.with_open()]

    async def history(self, key: int):
        return await self._ask(key, 'history', key)

    async def align(self, key: int, generation: tuple, kept) -> None:
        await self._ask(key, 'align', key, generation, kept)

    async def settle(self, key: int, generation: tuple) -> None:
        await self._ask(key, 'settle', key, generation)

    def check_room(self, oid: int, content: int, capacity: int,
                   keeps_all: bool = False,
                   is_new: Optional[bool] = None) -> None:
        self._rack.find(oid).store.check_room(oid, content, capacity,
                                              keeps_all, is_new)

    async def set_aside(self, oid: int, why: str, remove: bool = False,
                        digest: Optional[bytes] = None) -> bool:
        return await self._ask(oid, 'set_aside', oid, why, remove, digest)

    async def _ask(self, oid: int, name: str, *arguments) -> Any:
        while oid in self._held:
            woken = asyncio.get_running_loop().create_future()
            self._held[oid].append(functools.partial(_wake, woken))
            await woken
        shelf = self._rack.find(oid)
        try:
            result = await getattr(shelf.store, name)(*arguments)
        except errors.SheepdogError:
            if shelf.is_gone:
                raise shelf.has_gone() from None
            raise
        if shelf.is_gone:
            raise shelf.has_gone()
        return result

    async def doom(self, key: int, epoch: int, check: Callable) -> None:
        await self._ask(key, 'doom', key, epoch, check)

    # -- all of them ----------------------------------------------------

    @property
    def _stores(self) -> list:
        return [shelf.store for shelf in self._rack.shelves]

    @property
    def node_id(self) -> str:
        record = self._rack.record
        return record.node if record else self._stores[0].node_id

    def oids(self) -> list:
        if len(self._rack.shelves) == 1:
            return self._stores[0].oids()
        return sorted(set().union(*(store.oids()
                                    for store in self._stores)))

    def bad_blocks(self) -> dict:
        found = {}
        for store in self._stores:
            found.update(store.bad_blocks())
        return dict(sorted(found.items()))

    @property
    def failure(self) -> str:
        return '; '.join(filter(None, (store.failure
                                       for store in self._stores)))

    @property
    def device_error(self) -> Optional[Exception]:
        """Of a disk that was not given up."""
        for store in self._stores:
            if store.device_error is not None:
                return store.device_error
        return None

    @property
    def is_full(self) -> bool:
        """One of them is."""
        return any(store.is_full for store in self._stores)

    def gauges(self) -> store_state.Gauges:
        """Sums; what is true of one is true."""
        found = [store.gauges() for store in self._stores]
        if len(found) == 1:
            return found[0]
        return store_state.Gauges(*(
            any(values) if isinstance(values[0], bool) else sum(values)
            for values in zip(*found)))

    def room(self) -> float:
        """Bytes that writes may take on all disks together."""
        return sum(max(store.room(), 0) for store in self._stores)

    @property
    def reserve_bytes(self) -> int:
        return sum(store.reserve_bytes for store in self._stores)

    def space(self) -> api.Space:
        found = [store.space() for store in self._stores]
        return api.Space(sum(one.total for one in found),
                         sum(one.free for one in found))

    async def used_bytes(self) -> int:
        return sum([await store.used_bytes() for store in self._stores])

    def weight(self) -> int:
        """Bytes that this sheep's share of all objects follows."""
        record = self._rack.record
        return record.weight if record else self.space().total

    @property
    def power_lost(self) -> bool:
        return any(store.power_lost for store in self._stores)

    @property
    def journal_damaged(self) -> bool:
        return any(store.journal_damaged for store in self._stores)

    @property
    def journal_torn(self) -> bool:
        return any(store.journal_torn for store in self._stores)

    async def power_loss_handled(self) -> None:
        for store in self._stores:
            await store.power_loss_handled()

    @property
    def cluster(self) -> int:
        return self._rack.cluster()

    async def set_cluster(self, created: int) -> None:
        for store in self._stores:
            await store.set_cluster(created)

    def when_damaged(self, function: Callable[[int], None]) -> None:
        self._on_damage = function
        for store in self._stores:
            store.when_damaged(function)

    def watch_syncs(self, observe: Callable[[float, int], None]) -> None:
        self._observe = observe
        for store in self._stores:
            store.watch_syncs(observe)

    def latency(self) -> Optional[int]:
        """As ``store.Store.latency``, of the slowest disk; ``latencies``
        then has each one's, by its path."""
        self.latencies = {
            self._rack.shown_path(shelf): shelf.store.latency()
            for shelf in self._rack.shelves}
        return max((one for one in self.latencies.values()
                    if one is not None), default=None)

    async def probe(self) -> None:
        await asyncio.gather(*(store.probe() for store in self._stores))

    # -- disks that fail ------------------------------------------------

    def when_failing(self, function: Callable[[], None]) -> None:
        """Have ``function`` called at the first error of each disk (not:
        that it is full)."""
        self._on_failing = function

    def _failing(self) -> None:
        if self._on_failing is not None and not self._is_closing:
            self._on_failing()

    def can_do_without(self) -> bool:
        """The disks that fail can be given up: others are left, and META is
        not on one of them."""
        if self._is_settling:
            return False
        failing = [shelf for shelf in self._rack.shelves
                   if shelf.is_failing]
        return (self._rack.record is not None and bool(failing)
                and len(failing) < len(self._rack.shelves)
                and not any(self._rack.has_meta(shelf)
                            for shelf in failing))

    def weight_left(self) -> int:
        """``weight`` when the disks that fail are given up."""
        left = [shelf.entry for shelf in self._rack.shelves
                if not shelf.is_failing]
        return sum(one.weight for one in left
                   if not one.is_leaving
                   or all(other.is_leaving for other in left))

    def give_up(self, is_known: bool = False) -> set:
        """Give up the disks that fail. Returns the ids of the objects that
        are unknown here now. ``is_known``: to the cluster, already."""
        lost: set = set()
        for shelf in list(self._rack.shelves):
            if shelf.is_failing:
                self.losses += 1
                lost |= self._rack.take_out(shelf, is_known)
        self._shifter.start()
        return lost

    async def noted(self) -> None:
        """Returns when a start would know what was given up: before that,
        nothing that was there may be brought back."""
        await self._rack.noted()

    @property
    def has_untold_loss(self) -> bool:
        """A disk was given up, and the cluster does not know."""
        record = self._rack.record
        return record is not None and record.has_untold_loss

    @property
    def news(self) -> Any:
        """What the cluster is to be told of, for ``told``; None: it knows
        all."""
        record = self._rack.record
        return None if record is None or record.is_told else record

    async def told(self, news: Any) -> None:
        """
        :raises OSError: it cannot be put on record; tell it again
        """
        await self._rack.told(news)

    async def _watch(self) -> None:
        """A disk that is gone is perhaps not asked for anything."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for store in self._stores:
                await store.look()

    # -- changes --------------------------------------------------------

    async def plug(self, path: str) -> None:
        """Use another disk from now on; objects move to it.

        :raises StoreRefused: it cannot be used
        :raises OSError: it cannot be put on record
        """
        async with self._shifter.pause():
            await self._rack.plug(path)
            # What was under way on the only disk is not told by which disk
            # it was taken.
            self._is_settling = True
            settled = asyncio.get_running_loop().create_future()
            self._sync_all(settled.set_result)
            await settled
            self._is_settling = False
        self._disks_changed()

    async def unplug(self, path: str) -> None:
        """Move its objects to the other disks, then take it out; returns
        when that has begun. Of a lost disk: nothing will replace it.

        :raises StoreRefused: there is no such disk, or it is the last
        :raises OSError: it cannot be put on record
        """
        if path in self.lost_paths() and path not in self.paths():
            await self._rack.dismiss(path)
            return
        async with self._shifter.pause():
            await self._rack.unplug(path)
        self._disks_changed()

    def _disks_changed(self) -> None:
        self._shifter.start()
        if self._watching is None:
            self._watching = self._world.spawn(self._watch(),
                                               'store: watch the disks')

    async def disks(self) -> list:
        """A dict for each disk: ``path``, ``id``, ``total``, ``used`` and
        ``free`` (bytes), ``objects``, ``state`` ('in use', 'leaving',
        'failing'), ``problem``: why, or why its objects do not move."""
        found = []
        for shelf in self._rack.shelves:
            store, entry = shelf.store, shelf.entry
            try:
                used, free = await store.used_bytes(), store.space().free
            except OSError:
                used = free = 0
            state = ('failing' if shelf.is_failing else
                     'leaving' if entry.is_leaving else 'in use')
            found.append({
                'id': store.node_id, 'path': self._rack.shown_path(shelf),
                'total': used + free, 'used': used, 'free': free,
                'objects': store.gauges().objects, 'state': state,
                'problem': store.failure or (
                    self._shifter.progress.problem
                    if entry.is_leaving else '')})
        return found

    def lost_paths(self) -> list:
        """Of the disks that were given up, and not replaced."""
        record = self._rack.record
        return record.lost_paths if record else []

    def paths(self) -> list:
        """Of the disks in use."""
        return [shelf.entry.path for shelf in self._rack.shelves]

    @property
    def shifting(self) -> shifting.Progress:
        """Of the moves between disks."""
        return self._shifter.progress


def _wake(future) -> None:
    if not future.done():
        future.set_result(None)
