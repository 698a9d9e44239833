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

"""The room's face: objects, durable and verified.

Calls with ``done`` are made in the loop and answer in the loop, perhaps
before they return, exactly once. An error is one of
``sheepdog.model.errors``: NoObject, InvalidParameters, NoSpace,
ChecksumError, StorageError.
"""

import asyncio
import dataclasses
import logging
from typing import Callable, Optional

from sheepdog.model import errors
from sheepdog.store import adopting
from sheepdog.store import applier as store_applier
from sheepdog.store import checkpoint as store_checkpoint
from sheepdog.store import checksums
from sheepdog.store import history as store_history
from sheepdog.store import intake as store_intake
from sheepdog.store import keeping
from sheepdog.store import layout as store_layout
from sheepdog.store import opening
from sheepdog.store import pulse as store_pulse
from sheepdog.store import reader as store_reader
from sheepdog.store import saving
from sheepdog.store import setting_aside
from sheepdog.store import settings as store_settings
from sheepdog.store import settling
from sheepdog.store import space
from sheepdog.store import starting
from sheepdog.store import state as store_state
from sheepdog.store import strips as store_strips
from sheepdog.store import syncing
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer
from sheepdog.world import api
from sheepdog.world import refusals

LOG = logging.getLogger(__name__)

StoreRefused = store_settings.StoreRefused
StoreSettings = store_settings.StoreSettings
ObjectState = store_state.ObjectState

_BLOCK = checksums.BLOCK_BYTES
RETRY_SECONDS = 1.0
WriteDone = Callable[[Optional[Exception]], None]
ReadDone = Callable[[Optional[Exception], Optional[bytes]], None]


class Store:
    """Made by ``open``. ``power_lost``: the page cache was lost since the
    objects were last known to be equal to their copies; ``journal_damaged``:
    and the journal has lost records; ``journal_torn``: or perhaps the last
    ones. All of that stays true, over restarts too, until
    ``power_loss_handled``."""

    def __init__(self, world, started: starting.Started,
                 settings: store_settings.StoreSettings):
        self.counters = started.counters
        self.node_id = started.identity.node_id
        self.power_lost = started.identity.power_lost
        self.journal_damaged = started.identity.journal_damaged
        self.journal_torn = started.identity.journal_torn
        self._world = world
        self._settings = settings
        self._layout = started.layout
        self._identity = started.identity
        self._identity_lock = asyncio.Lock()
        self._is_closing = False
        self.device_error = None
        """The first error of the device, for ever."""
        self._on_failing = None
        self._uncertain = started.uncertain
        self._take_number = started.take_number
        counters = self.counters
        journal = self._journal = started.journal
        objects = self._objects = started.objects
        self._bad = store_applier.BadBlocks(counters)
        for oid, blocks in started.bad.items():
            self._bad.add(oid, blocks)
        self._bad.on_change = self._note_bad
        self._is_noting_bad = False
        self._open = objects.open
        pulse = self._pulse = store_pulse.Pulse(world.clock.monotonic)
        if journal is not None:
            journal.pulse = pulse
        turns = self._turns = store_turns.Turns(objects)
        syncs = self._syncs = syncing.Syncs(
            world, objects.directory, settings.nosync, counters)
        reserve = self._reserve = space.Reserve(
            world.disk, objects.directory, settings.reserve_bytes)
        applier = store_applier.Applier(world.disk, objects, syncs,
                                        self._bad, self._uncertain, reserve)
        writer = self._writer = store_writer.Writer(
            world, journal, turns, syncs, applier, reserve, counters)
        writer.take_number = started.take_number
        syncs.on_failure = writer.fail
        writer.on_failed = self._note_failure
        writer.on_device_error = self._device_failed
        writer.settler = settling.Settler(
            world, objects, journal, turns, applier, writer, counters)
        opener = self._opener = opening.Opener(
            world, objects, journal, turns, syncs, writer, self._bad,
            counters)
        opener.on_device_error = self._device_failed
        reader = self._reader = store_reader.Reader(
            world, objects, opener, turns, writer, self._bad, counters,
            pulse)
        reader.on_device_error = self._device_failed
        self._intake = store_intake.Intake(world, objects, opener, turns,
                                           writer, reader, reserve)
        self._adopter = adopting.Adopter(
            world.disk, objects, opener, turns, writer, syncs, self._bad,
            reserve, started.take_number, started.quarantine,
            self._write_bad)
        self._setter = setting_aside.Setter(
            objects, opener, turns, writer, started.quarantine)
        self.quarantine = started.quarantine
        """What could not be explained; see ``quarantine``."""
        self._strips = store_strips.Strips(
            world, objects, opener, turns, writer, reader, reserve)
        self._saver = saving.Saver(world.disk, objects, syncs)
        self._keeper = keeping.Keeper(world.disk, started.layout, objects,
                                      opener, turns, writer, self._saver)
        self._checkpoint = None
        self._regular = None
        if journal is not None:
            self._checkpoint = store_checkpoint.Checkpoint(
                world, journal, writer, self._saver, counters,
                self._keeper)
            writer.on_full = self._checkpoint.start
            self._regular = world.spawn(
                self._checkpoint.run_regularly(settings.checkpoint_seconds),
                'store: regular checkpoints')

    @classmethod
    async def open(cls, world, settings: store_settings.StoreSettings,
                   owner: Optional[starting.Owner] = None,
                   counters: Optional[store_state.Counters] = None
                   ) -> 'Store':
        """Lock the directory, replay the journal.

        :param owner: whose disk it is, where that has several; these may
            also count together
        :raises StoreRefused: it cannot be used as things stand
        """
        started = await starting.start(world, settings, owner, counters)
        store = cls(world, started, settings)
        await store._take_up(started.histories)
        await store._look_at_bad()
        return store

    async def _take_up(self, histories: dict) -> None:
        """:raises StoreRefused: what is open of strips cannot be kept"""
        try:
            await self._keeper.resume(histories)
        except (OSError, errors.SheepdogError) as error:
            raise StoreRefused('open updates of strips cannot be kept: %s'
                               % error)

    async def close(self) -> None:
        """Bring everything to disk and leave a mark that it is."""
        self._is_closing = self._strips.is_closing = True
        if self._regular is not None:
            self._regular.cancel()
        await self._synced()
        try:
            await self._keeper.close()
            if self._journal is None:
                await self._saver.save([oid for oid, obj in self._open.items()
                                        if obj.is_dirty])
            if self._checkpoint is not None and self._writer.failed is None:
                await self._checkpoint.free_all()
            if self._writer.failed is not None:
                raise self._writer.failed
            await self._write_identity(clean=not self._settings.nosync,
                                       sequence=self._sequence(),
                                       bad=self._bad.pairs())
        except (OSError, errors.SheepdogError) as error:
            # The next start replays the journal.
            LOG.error('the store was not closed cleanly: %s', error)
        self._release()

    def _release(self) -> None:
        self._objects.close()
        if self._journal is not None:
            self._journal.close()

    def abandon(self) -> None:
        """The device is given up: what is under way ends with an error."""
        self._is_closing = True
        if self._regular is not None:
            self._regular.cancel()
        if self._checkpoint is not None:
            self._checkpoint.give_up()
        self._writer.fail(self.device_error or errors.StorageError(
            '%s was given up' % self._layout.meta))
        self._world.spawn(self._release_when_idle(),
                          'store: let go of a disk')

    async def _release_when_idle(self) -> None:
        """So that it can be unmounted."""
        while not self._writer.is_idle() or self._turns.busy or any(
                obj.is_syncing for obj in self._open.values()):
            await asyncio.sleep(RETRY_SECONDS)
        self._release()
        self.unlock()

    def forget(self) -> None:
        """Behind ``close``, of a store without objects: the directory is
        nobody's any more.

        :raises OSError: it still looks as if
        """
        disk = self._world.disk
        journal_dir = self._identity.journal_dir
        if journal_dir:
            for path in store_layout.segment_paths(journal_dir,
                                                   self.node_id):
                disk.unlink(path)
        disk.unlink(self._layout.identity_path)

    def unlock(self) -> None:
        """Behind ``close``: another sheep may use the directory, or it may
        be unmounted."""
        self._layout.lock.close()

    async def become(self, node: str, run: int) -> None:
        """From now on it is one of that sheep's disks (see ``diskset``).

        :raises OSError: it cannot be written
        """
        await self._write_identity(owner=node, run=run)

    # The hot path.

    def write(self, oid: int, version: int, offset: int, data: bytes,
              done: WriteDone, durable: bool = True,
              capacity: int = 0) -> None:
        """Write ``data``; the object's version becomes at least
        ``version``. Where there is no such object one of ``capacity`` zero
        bytes is made, or, with 0, it is a NoObject.

        Acknowledged means: durable; without ``durable`` it survives the
        death of this process, and a power cut after the next ``sync``. The
        write that creates an object is always durable.
        """
        obj = self._open.get(oid)
        counters = self.counters
        counters.writes += 1
        counters.written_bytes += len(data)
        journal = self._journal
        if obj is not None and journal is not None \
                and obj.ready == journal.generation \
                and len(data) == _BLOCK and not offset % _BLOCK \
                and not self._is_closing and self._writer.write_block(
                    obj, version, offset, data, done, durable):
            return
        if self._is_closing:
            done(errors.ShuttingDown('the store is closing'))
            return
        self._intake.write(oid, version, offset, data, done, durable,
                           capacity)

    def read(self, oid: int, offset: int, size: int, done: ReadDone) -> None:
        """Read verified bytes; sees all writes accepted before."""
        self._reader.read(oid, offset, size, done)

    def zero(self, oid: int, version: int, offset: int, size: int,
             done: WriteDone, durable: bool = True) -> None:
        """Make a range read zero and give its blocks back. A ``write`` in
        all else."""
        self.counters.zeroes += 1
        if self._is_closing:
            done(errors.ShuttingDown('the store is closing'))
            return
        self._intake.zero(oid, version, offset, size, done, durable)

    def remove(self, oid: int, done: WriteDone,
               durable: bool = True) -> None:
        """NoObject where there is none. Possible on a full disk too."""
        self.counters.removes += 1
        if self._is_closing:
            done(errors.ShuttingDown('the store is closing'))
            return
        self._intake.remove(oid, done, durable)

    def sync(self, done: WriteDone) -> None:
        """Everything accepted so far is durable."""
        self._writer.sync(done)

    # Strips of coded objects; ``key`` is ``ids.strip_key``.

    def update(self, key: int, version: int, number: int, birth: tuple,
               offset: int, size: int, data, done: WriteDone,
               capacity: int = 0, token: int = 0,
               is_known: bool = False) -> None:
        """Write ``data`` (None: zeroes), keeping what was there until the
        update of that ``number`` is closed, and with it ``token``.
        Acknowledged means durable. Where it is open already, or
        ``is_known`` to be in the strip, nothing is done. With ``capacity``
        (of the strip) one that does not exist is made; it is of the
        generation ``birth`` then."""
        self.counters.writes += 1
        self.counters.written_bytes += size
        if self._is_closing:
            done(errors.ShuttingDown('the store is closing'))
            return
        self._strips.update(key, version, number, birth, offset, size, data,
                            done, capacity, token, is_known)

    def close_updates(self, key: int, below: int) -> None:
        """All targets have the updates below: forget what they replaced."""
        obj = self._open.get(key)
        if obj is not None and obj.history is not None \
                and obj.history.close(below):
            obj.is_dirty = True

    def generation(self, key: int) -> tuple:
        """Of a strip that is open; of none where there is none."""
        obj = self._open.get(key)
        if obj is None or obj.history is None:
            return store_history.NONE
        return obj.history.generation

    def with_open(self) -> list:
        """Keys of the strips that have open updates."""
        return self._keeper.with_open()

    async def history(self, key: int) -> Optional[store_history.History]:
        """What a strip knows besides its bytes, when all that was accepted
        before is done; None where there is none (or it is damaged). Not to
        be changed."""
        obj = await self._take(key)
        if obj is None:
            return None
        try:
            return None if obj.damage else obj.history
        finally:
            self._turns.give_back(obj)

    async def align(self, key: int, generation: tuple, kept) -> None:
        """Roll back the open updates but those of ``kept``; the strip is
        then as that generation begins (NONE: it is not said to be).

        :raises NoObject, StorageError:
        """
        await self._strips.align(key, generation, kept)

    async def settle(self, key: int, generation: tuple) -> None:
        """That generation begins; nothing is open.

        :raises NoObject, StorageError:
        """
        await self._strips.settle(key, generation)

    async def doom(self, key: int, epoch: int, check: Callable) -> None:
        """Note durably that the strip may be removed from here on: as if
        there had been no object, in that epoch. Until it is settled nothing
        is written to it.

        :param check: called when no other change can come between; raises
            what forbids it
        :raises SheepdogError: NoObject, or it is not done
        """
        await self._strips.doom(key, epoch, check)

    # Not hot.

    def version(self, oid: int) -> Optional[int]:
        """The epoch of the last write, or None where there is no such
        object (-1: its file is damaged)."""
        return self._objects.version(oid)

    def oids(self) -> list:
        """The ids of all objects, sorted."""
        return sorted(self._objects.versions)

    def holds(self, oid: int) -> bool:
        """The object is here, or being made or removed here."""
        return oid in self._objects.versions or oid in self._open

    def known(self) -> set:
        """All of which ``holds`` is true."""
        return set(self._objects.versions).union(self._open)

    def is_empty(self) -> bool:
        """Nothing is here, nor being made."""
        return not self._objects.versions and not self._turns.busy

    async def describe(self, oid: int) -> Optional[store_state.ObjectState]:
        """None where there is no such object. A damaged one has capacity 0
        and is not whole."""
        obj = await self._take(oid)
        if obj is None:
            return None
        try:
            if obj.damage:
                return store_state.ObjectState(
                    max(obj.version, 0), 0, bytes(checksums.DIGEST_BYTES),
                    False, 0)
            return store_state.ObjectState(
                obj.version, obj.capacity, checksums.digest(obj.table),
                oid not in self._bad, self._uncertain.get(oid, 0))
        finally:
            self._turns.give_back(obj)

    async def table(self, oid: int) -> bytes:
        """A u32 (little-endian) for each block, 0 for a zero block.

        :raises NoObject, StorageError:
        """
        obj = await self._take_usable(oid)
        try:
            return bytes(obj.table)
        finally:
            self._turns.give_back(obj)

    async def extents(self, oid: int) -> list:
        """(offset, size) of what is not zero, merged.

        :raises NoObject, StorageError:
        """
        obj = await self._take_usable(oid)
        try:
            blocks = {index for index, value in enumerate(obj.table)
                      if value}
            blocks.update(self._bad.of(oid))
            return [(first * _BLOCK, count * _BLOCK)
                    for first, count in checksums.runs(sorted(blocks))]
        finally:
            self._turns.give_back(obj)

    async def adopt(self, oid: int, version: int, capacity: int,
                    pieces: list, keep: bool, zeros=(), lost=(),
                    history=None) -> None:
        """Replace the content: ``pieces`` (offset, data) and ``zeros``
        (offset, size) over the present content (``keep``), or over zeroes.
        Atomic and durable; makes the object where there is none.
        ``history``: of a strip, with nothing open.

        :param lost: (block, its checksum) of what nobody can read: these
            blocks are bad then, until somebody comes who has them
        :raises SheepdogError: the old content stays
        """
        if self._is_closing:
            raise errors.ShuttingDown('the store is closing')
        self.counters.adopts += 1
        await self._adopter.adopt(oid, version, capacity, pieces, keep,
                                  list(zeros), list(lost), history)

    def check_room(self, oid: int, content: int, capacity: int,
                   keeps_all: bool = False,
                   is_new: Optional[bool] = None) -> None:
        """Before a copy is fetched that is to be adopted.

        :param content: bytes of its blocks that are no holes
        :param keeps_all: a new copy may take nothing of the reserve
        :param is_new: nothing goes for it; None: look
        :raises NoSpace: there is no room for it
        """
        self._adopter.check_room(oid, content, capacity, keeps_all, is_new)

    def room(self) -> int:
        """Bytes that writes may take; 0 or less: none."""
        return self._reserve.room()

    @property
    def reserve_bytes(self) -> int:
        """What is kept from writes."""
        return self._settings.reserve_bytes

    async def set_aside(self, oid: int, why: str, remove: bool = False,
                        digest: Optional[bytes] = None) -> bool:
        """Keep what the object holds in quarantine; ``remove``: it is not
        an object any more then, durably.

        :param digest: only if it is still this one
        :returns: False: there is no such object, or it has changed
        :raises SheepdogError: it could not be kept, nor was it removed
        """
        if self._is_closing:
            raise errors.ShuttingDown('the store is closing')
        return await self._setter.set_aside(oid, why, remove, digest)

    @property
    def failure(self) -> str:
        """Why no more is written, or the device is not to be trusted; ''
        while all is well."""
        return str(self._writer.failed or self.device_error or '')

    @property
    def is_full(self) -> bool:
        """Only the reserve is left: what takes more space is refused."""
        self._reserve.look()
        return self._reserve.is_low

    def bad_blocks(self) -> dict:
        """Object id → sorted numbers of blocks found to be wrong."""
        return {oid: self._bad.of(oid) for oid in sorted(self._bad.blocks)}

    def when_damaged(self, function: Callable[[int], None]) -> None:
        """Have ``function(oid)`` called when a request finds an object with
        wrong bytes."""
        self._bad.on_damage = function

    def gauges(self) -> store_state.Gauges:
        """How it stands, for monitoring; costs next to nothing."""
        journal = self._journal
        return store_state.Gauges(
            objects=len(self._objects.versions),
            open_objects=len(self._open),
            bad_objects=len(self._bad.blocks),
            free_bytes=self.space().free,
            is_full=self._reserve.is_low,
            has_failed=self._writer.failed is not None,
            journal_bytes=2 * journal.segment_bytes if journal else 0,
            journal_used_bytes=journal.used_bytes if journal else 0,
            is_checkpointing=journal is not None
            and not journal.other.is_free)

    def watch_syncs(self, observe: Callable[[float, int], None]) -> None:
        """Have ``observe(seconds, records)`` called behind each sync of the
        journal: what it took, how many records it made durable."""
        if self._journal is not None:
            self._journal.watch(self._world.clock.monotonic, observe)

    def latency(self) -> Optional[int]:
        """Microseconds that the device has taken since the last call; see
        ``pulse.Pulse.take``."""
        return self._pulse.take()

    async def probe(self) -> None:
        """Ask the device for something, if nobody else has since the last
        call of ``latency``."""
        if not self._pulse.is_idle or self._is_closing:
            return
        number = self._pulse.begin()
        try:
            await self._write_identity()
        except OSError as error:
            LOG.warning('%s: %s', self._layout.meta, error)
        finally:
            self._pulse.end(number, store_pulse.SYNC)

    def when_failing(self, function: Callable[[], None]) -> None:
        """Have ``function`` called once, at the first error of the device
        (not: that it is full). ``device_error`` says which."""
        self._on_failing = function

    async def look(self) -> None:
        """A device that has gone is perhaps not asked for anything: is it
        there?"""
        directory = self._objects.directory
        try:
            await self._world.disk.sync_directory(directory)
        except OSError as error:
            if not store_state.is_full(error) and not self._is_closing:
                self._device_failed(store_state.typed(error, directory))

    def _device_failed(self, error: errors.SheepdogError) -> None:
        if self.device_error is None and not isinstance(error, errors.NoSpace):
            self.device_error = error
            if self._on_failing is not None:
                self._on_failing()

    def space(self) -> api.Space:
        return self._world.disk.space(self._objects.directory)

    async def used_bytes(self) -> int:
        """What the objects take of the device."""
        return await self._world.disk.used_bytes(self._objects.directory)

    @property
    def cluster(self) -> int:
        """The creation time of the cluster whose objects these are; 0 where
        ``set_cluster`` was never called."""
        return self._identity.cluster

    async def set_cluster(self, created: int) -> None:
        """From now on the objects are that cluster's.

        :raises SheepdogError: it cannot be written
        """
        try:
            await self._write_identity(cluster=created)
        except OSError as error:
            raise store_state.typed(error, self._layout.meta)

    async def power_loss_handled(self) -> None:
        """The objects were compared with their copies.

        :raises SheepdogError: it will be asked for again after a restart
        """
        if self.power_lost or self.journal_damaged or self.journal_torn:
            self.power_lost = self.journal_damaged = False
            self.journal_torn = False
            try:
                await self._write_identity(power_lost=False,
                                           journal_damaged=False,
                                           journal_torn=False)
            except OSError as error:
                raise store_state.typed(error, self._layout.meta)

    async def _take(self, oid: int):
        """The object when all before is applied, for us alone; or None.
        """
        self._writer.flush()
        obj = self._opener.get(oid)
        if obj is None:
            return None
        await self._turns.take(obj)
        if not obj.exists:
            self._turns.give_back(obj)
            return None
        return obj

    async def _take_usable(self, oid: int):
        obj = await self._take(oid)
        if obj is None:
            raise errors.NoObject('object %016x' % oid)
        if obj.damage:
            self._turns.give_back(obj)
            raise errors.StorageError(obj.damage)
        return obj

    async def _synced(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.sync(future.set_result)
        await future

    def _note_failure(self) -> None:
        self._world.spawn(self._write_failure(), 'store: note a failure')

    async def _write_failure(self) -> None:
        """For the next start, if the device lets us."""
        complaints = refusals.Refusals(self._world.clock, LOG, logging.ERROR)
        while not self._is_closing:
            try:
                await self._write_identity(sync_failed=True, power_lost=True)
                return
            except OSError as error:
                complaints.note(self._layout.meta,
                                'cannot note the failure: %s' % error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _look_at_bad(self) -> None:
        """What the last run knew to be bad, and still is."""
        loop = asyncio.get_running_loop()
        for oid, block in self._identity.bad:
            future = loop.create_future()
            self._reader.read(
                oid, block * _BLOCK, _BLOCK,
                lambda error, data, future=future: future.set_result(error))
            error = await future
            LOG.debug('object %016x, block %d: %s', oid, block, error)

    def _note_bad(self) -> None:
        """For the next start: somebody else's copy may be needed until
        ours is good."""
        if not self._is_noting_bad and not self._is_closing:
            self._is_noting_bad = True
            self._world.spawn(self._note_bad_now(),
                              'store: note the bad blocks')

    async def _note_bad_now(self) -> None:
        self._is_noting_bad = False
        try:
            await self._write_bad()
        except OSError as error:
            LOG.error('cannot note the bad blocks: %s', error)

    async def _write_bad(self) -> None:
        """:raises OSError:"""
        await self._write_identity(bad=self._bad.pairs())

    def _sequence(self) -> int:
        if self._journal is None:
            return self._take_number()
        return self._journal.sequence

    async def _write_identity(self, **changes) -> None:
        async with self._identity_lock:
            identity = dataclasses.replace(self._identity, **changes)
            await self._world.disk.replace_file(self._layout.identity_path,
                                                identity.pack())
            self._identity = identity
