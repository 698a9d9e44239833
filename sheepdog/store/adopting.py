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

"""Replacing an object's whole content, in one step.

The new content is built beside the object, under a name of its own, and
synced; then a record in the journal says that it counts; then it takes the
object's name. A crash before the record is durable leaves the old content,
one behind it the new (replay gives it its name).
"""

import asyncio
import logging
from typing import Optional

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.store import applier as store_applier
from sheepdog.store import checksums
from sheepdog.store import objects as store_objects
from sheepdog.store import opening
from sheepdog.store import operations
from sheepdog.store import quarantine as store_quarantine
from sheepdog.store import records
from sheepdog.store import space
from sheepdog.store import state as store_state
from sheepdog.store import syncing
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer

LOG = logging.getLogger(__name__)

_BLOCK = checksums.BLOCK_BYTES
COPY_CHUNK_BYTES = 256 << 10
PAST_CACHE_BYTES = 64 << 10
"""From here on a piece goes to the disk past the page cache: to copy it into
pages that were not in use before is most of what recovery would cost."""


def path_of_new(path: str, birth: int) -> str:
    """Where the content of that birth lies until it has its name."""
    return '%s.%016x' % (path, birth)


def oid_of_new(name: str):
    """(object id, birth) of such a name, or None."""
    stem, _, suffix = name.partition('.')
    oid = store_objects.oid_of(stem)
    birth = store_objects.oid_of(suffix) if '_' not in suffix else None
    return None if oid is None or birth is None else (oid, birth)


class Adopter:
    def __init__(self, disk, objects: store_objects.Objects,
                 opener: opening.Opener, turns: store_turns.Turns,
                 writer: store_writer.Writer, syncs: syncing.Syncs,
                 bad: store_applier.BadBlocks, reserve: space.Reserve,
                 take_number, quarantine: store_quarantine.Quarantine,
                 write_bad):
        """``write_bad()`` brings the list of bad blocks to disk."""
        self._disk = disk
        self._objects = objects
        self._opener = opener
        self._turns = turns
        self._writer = writer
        self._syncs = syncs
        self._bad = bad
        self._reserve = reserve
        self._take_number = take_number
        self._quarantine = quarantine
        self._write_bad = write_bad

    def check_room(self, oid: int, content: int, capacity: int,
                   keeps_all: bool = False,
                   is_new: Optional[bool] = None) -> None:
        """See ``Store.check_room``."""
        self._reserve.check_room(
            content + store_objects.file_bytes(capacity) - capacity,
            self._is_new(oid) if is_new is None else is_new, keeps_all)

    def _is_new(self, oid: int) -> bool:
        """Nothing goes for it. (Of a coded object a sheep keeps one strip:
        another one goes when the new one counts.)"""
        keys = [oid]
        if ids.strip_of(oid) >= 0:
            keys = [ids.strip_key(ids.object_of(oid), index)
                    for index in range(limits.STRIPS_MAX)]
        return all(self._objects.version(key) is None for key in keys)

    async def adopt(self, oid: int, version: int, capacity: int,
                    pieces: list, keep: bool, zeros: list,
                    lost: list, history=None) -> None:
        """See ``Store.adopt``."""
        _check(capacity, pieces, zeros, lost)
        obj = self._opener.get_or_new(oid)
        await self._turns.take(obj)
        try:
            if pieces or keep or lost:
                self.check_room(oid, _content_bytes(
                    obj.table if keep and obj.exists and not obj.damage
                    else (), capacity, pieces, zeros), capacity)
            else:
                # Next to nothing.
                self._reserve.check_room(0, False, False)
            self._writer.flush()
            birth = self._take_number()
            path = path_of_new(self._objects.path(oid), birth)
            try:
                await self._keep_damaged(obj)
                if lost:
                    # Before they are: a restart must not take them for
                    # good, or others would drop their copies.
                    self._bad.coming[oid] = [block for block, _ in lost]
                    await self._write_bad()
                file, table = await self._build(
                    path, obj, version, capacity, birth, pieces, keep, zeros,
                    lost)
                if history is not None:
                    history.sequence = birth
                    store_objects.save_history(file, history)
                    await file.sync()
            except OSError as error:
                self._discard(path)
                typed = store_state.typed(error, path)
                self._writer.on_device_error(typed)
                raise typed
            except BaseException:
                # (Given up by the caller, too.)
                self._discard(path)
                raise
        except BaseException:
            self._bad.coming.pop(oid, None)
            self._turns.give_back(obj)
            raise
        replaced = _blocks_of(pieces, zeros)
        still_bad = [block for block in self._bad.of(oid)
                     if keep and block not in replaced]
        still_bad += [block for block, _ in lost]
        # From here on the journal decides: not to be given up half-way.
        done = asyncio.get_running_loop().create_future()

        def finish(error):
            self._bad.coming.pop(oid, None)
            if not done.done():
                done.set_result(error)

        op = operations.Operation(records.ADOPT, obj, version, 0, 0,
                                  (path, file, table, still_bad, history),
                                  finish, True,
                                  capacity)
        op.birth = birth
        self._turns.park_first(obj, self._writer.start, [op])
        self._turns.give_back(obj)
        error = await done
        if error is None:
            error = await self._sync_names()
        elif self._writer.failed is None:
            # It is not in the journal.
            file.close()
            self._discard(path)
        if error is not None:
            raise error

    async def _keep_damaged(self, obj) -> None:
        """Nobody knows what is in a file that cannot be used."""
        if obj.damage:
            try:
                await self._quarantine.keep(self._objects.path(obj.oid),
                                            obj.damage)
            except FileNotFoundError:
                # That is its damage.
                LOG.debug('object %016x has no file', obj.oid)

    async def _sync_names(self):
        done = asyncio.get_running_loop().create_future()
        self._syncs.directory(done.set_result)
        error = await done
        return None if error is None else store_state.typed(
            error, self._objects.directory)

    async def _build(self, path, obj, version, capacity, birth, pieces, keep,
                     zeros, lost) -> tuple:
        """The new file, durable but for its place: (file, table)."""
        file = self._disk.open(path, create=True)
        try:
            table = checksums.new_table(capacity // _BLOCK)
            file.truncate(store_objects.file_bytes(capacity))
            if keep and obj.exists:
                await self._copy(obj, file, table, capacity)
            for offset, data in pieces:
                await _put(file, table, offset, data)
            for offset, size in zeros:
                _clear(file, table, offset, size)
            for block, entry in lost:
                # Zeroes with the checksum of something else.
                file.punch(block * _BLOCK, _BLOCK)
                table[block] = entry
            store_objects.prepare(file, capacity, table, version, birth)
            await file.sync()
            error = await self._sync_names()
            if error is not None:
                raise error
        except BaseException:
            file.close()
            raise
        return file, table

    async def _copy(self, obj, file, table, capacity: int) -> None:
        """Take over the present content, bad blocks with their entries:
        they stay bad."""
        if obj.damage:
            raise errors.StorageError(obj.damage)
        blocks = min(capacity, obj.capacity) // _BLOCK
        table[:blocks] = obj.table[:blocks]
        for first, count in checksums.data_runs(table[:blocks]):
            end = (first + count) * _BLOCK
            for offset in range(first * _BLOCK, end, COPY_CHUNK_BYTES):
                store_objects.write_content(
                    file, await obj.file.pread_cold(
                        min(COPY_CHUNK_BYTES, end - offset), offset), offset)

    def _discard(self, path: str) -> None:
        try:
            self._disk.unlink(path)
        except OSError as error:
            LOG.warning('%s is left behind: %s', path, error)


def _check(capacity: int, pieces: list, zeros: list, lost: list) -> None:
    if capacity <= 0 or capacity % _BLOCK:
        raise errors.InvalidParameters(
            'no object has a capacity of %d bytes' % capacity)
    ranges = [(offset, len(data)) for offset, data in pieces] + list(zeros)
    ranges += [(block * _BLOCK, _BLOCK) for block, entry in lost if entry]
    if len(ranges) != len(pieces) + len(zeros) + len(lost):
        raise errors.InvalidParameters('zeroes are never lost')
    for offset, size in ranges:
        if offset < 0 or size < 0 or offset + size > capacity:
            raise errors.InvalidParameters(
                '%d bytes from %d are not within an object of %d bytes'
                % (size, offset, capacity))


def _content_bytes(table, capacity: int, pieces: list, zeros: list) -> int:
    """Of the blocks that are no holes, when all that is over a content with
    this table."""
    blocks = bytearray(map(bool, table[:capacity // _BLOCK]))
    blocks.extend(bytes(capacity // _BLOCK - len(blocks)))
    for offset, data in pieces:
        low, high = offset // _BLOCK, -(-(offset + len(data)) // _BLOCK)
        blocks[low:high] = b'\1' * (high - low)
    for offset, size in zeros:
        low, high = -(-offset // _BLOCK), (offset + size) // _BLOCK
        if low < high:
            blocks[low:high] = bytes(high - low)
    return blocks.count(1) * _BLOCK


def _blocks_of(pieces: list, zeros: list) -> set:
    """All that these touch; a bad block is never touched in part only."""
    found = set()
    for offset, size in [(offset, len(data)) for offset, data in pieces
                         if data] + list(zeros):
        found.update(range(offset // _BLOCK, -(-(offset + size) // _BLOCK)))
    return found


async def _put(file, table, offset: int, data) -> None:
    """``_patch``, by the cheapest way."""
    if (len(data) < PAST_CACHE_BYTES or offset % _BLOCK
            or len(data) % _BLOCK):
        _patch(file, table, offset, data)
        await asyncio.sleep(0)
        return
    await file.write_past_cache(data, offset)
    low = offset // _BLOCK
    table[low:low + len(data) // _BLOCK] = memoryview(
        checksums.entries(data))


def _patch(file, table, offset: int, data) -> None:
    """Write any range of a file that nobody else sees yet."""
    if not data:
        return
    low = offset // _BLOCK * _BLOCK
    end = offset + len(data)
    high = -(-end // _BLOCK) * _BLOCK
    if low != offset or high != end:
        old = file.pread(high - low, low)
        for block in {low // _BLOCK, high // _BLOCK - 1}:
            start = block * _BLOCK - low
            if checksums.entry(old[start:start + _BLOCK]) != table[block]:
                raise errors.ChecksumError(
                    'block %d is bad and covered in part only' % block)
        data = b''.join((old[:offset - low], data, old[end - low:]))
    store_objects.write_content(file, data, low)
    table[low // _BLOCK:high // _BLOCK] = memoryview(checksums.entries(data))


def _clear(file, table, offset: int, size: int) -> None:
    low = -(-offset // _BLOCK) * _BLOCK
    high = (offset + size) // _BLOCK * _BLOCK
    if low >= high:
        _patch(file, table, offset, bytes(size))
        return
    _patch(file, table, offset, bytes(low - offset))
    _patch(file, table, high, bytes(offset + size - high))
    file.punch(low, high - low)
    table[low // _BLOCK:high // _BLOCK] = checksums.new_table(
        (high - low) // _BLOCK)
