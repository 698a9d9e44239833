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

"""Brings objects to the disks that they should be on, one at a time.

Copied, synced, then dropped where it was; nobody uses the object meanwhile.
A crash in between leaves two equal copies. What cannot be moved just now (a
full disk, a file that is no object's) stays where it is and is tried again.
"""

import asyncio
import dataclasses
import logging
from typing import Optional

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.store import checksums
from sheepdog.store import rack as rack_module
from sheepdog.store import shelf as shelf_module

LOG = logging.getLogger(__name__)

_BLOCK = checksums.BLOCK_BYTES
CHUNK_BYTES = 256 << 10
RETRY_SECONDS = 2.0
LOOK_BATCH = 32
"""Objects whose place is looked up before others get their turn."""


@dataclasses.dataclass
class Progress:
    """``left``: objects that are to move, as far as it is known;
    ``problem``: why one of them cannot."""

    left: int = 0
    moved: int = 0
    problem: str = ''


class Shifter:
    """``held``: object → calls that wait until its move has ended."""

    def __init__(self, world, rack: rack_module.Rack):
        self.progress = Progress()
        self.held: dict = {}
        self._world = world
        self._rack = rack
        self._task: Optional[asyncio.Task] = None
        self._is_over = False
        self._changes = 0
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Objects may be out of place."""
        self._changes += 1
        if self._task is None or self._task.done():
            self._task = self._world.spawn(self._run(),
                                           'store: move between disks')

    async def stop(self) -> None:
        """Returns when nothing moves any more."""
        self._is_over = True
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def pause(self) -> asyncio.Lock:
        """Nothing moves while it is taken: for changes of the disks."""
        return self._lock

    async def _run(self) -> None:
        while not self._is_over:
            changes = self._changes
            self.progress.problem = ''
            moves = await self._look()
            self.progress.left = len(moves)
            is_done = True
            for oid, source, target in moves:
                if self._is_over or changes != self._changes:
                    break
                is_done = await self._try(oid, source, target) and is_done
                await asyncio.sleep(0)
            if self._is_over or changes != self._changes:
                continue
            if not await self._remove_empty():
                is_done = False
            if is_done and changes == self._changes:
                self.progress.left = 0
                return
            await self._rest()

    async def _rest(self) -> None:
        changes = self._changes
        left = RETRY_SECONDS
        while left > 0 and not self._is_over and changes == self._changes:
            await asyncio.sleep(min(left, 0.2))
            left -= 0.2

    async def _look(self) -> list:
        found = []
        for number, move in enumerate(self._rack.misplaced()):
            if move is not None:
                found.append(move)
            if number % LOOK_BATCH == 0:
                await asyncio.sleep(0)
        return found

    async def _try(self, oid: int, source: shelf_module.Shelf,
                   target: shelf_module.Shelf) -> bool:
        """False: it is still where it was, and should not be."""
        async with self._lock:
            rack = self._rack
            if source.is_gone or target.is_gone \
                    or not source.store.holds(oid) \
                    or rack.wanted(oid) is not target:
                # Another look will tell.
                return True
            if source.is_failing or target.is_failing:
                return False
            waiting = self.held[oid] = []
            try:
                await _move(oid, source, target)
                rack.places[oid] = target
                self.progress.moved += 1
                self.progress.left -= 1
                return True
            except (errors.SheepdogError, OSError) as error:
                if not self.progress.problem:
                    LOG.warning('object %016x stays on %s for now: %s', oid,
                                source.entry.path, error)
                self.progress.problem = str(error)
                rack.places.pop(oid, None)
                return False
            finally:
                del self.held[oid]
                for call in waiting:
                    call()

    async def _remove_empty(self) -> bool:
        is_done = True
        for shelf in list(self._rack.shelves):
            if not shelf.entry.is_leaving:
                continue
            async with self._lock:
                if shelf.is_gone or not shelf.store.is_empty():
                    is_done = False
                    continue
                try:
                    await self._rack.remove(shelf)
                except OSError as error:
                    LOG.error('that %s was unplugged is not on record: %s',
                              shelf.entry.path, error)
        return is_done


async def _move(oid: int, source: shelf_module.Shelf,
                target: shelf_module.Shelf) -> None:
    """:raises SheepdogError: the object is still on ``source``, whole"""
    state = await source.store.describe(oid)
    if state is None:
        return
    if not target.store.holds(oid):
        history = await _history(oid, source)
        lost = await _lost(oid, source.store)
        step = _BLOCK if lost else CHUNK_BYTES
        pieces = []
        for offset, size in await source.store.extents(oid):
            for start in range(offset, offset + size, step):
                if start // _BLOCK not in lost:
                    pieces.append((start, await _read(
                        source.store, oid, start,
                        min(step, offset + size - start))))
        await target.store.adopt(
            oid, state.version, state.capacity, pieces, keep=False,
            lost=[item for item in lost.items() if item[1]],
            history=history)
    if target.is_gone:
        raise target.has_gone()
    if not source.is_gone:
        await _drop(oid, source)


async def _lost(oid: int, store) -> dict:
    """Bad blocks and the checksums that they should have. They stay bad
    (but those that should be zeroes), and are mended where they go."""
    bad = store.bad_blocks().get(oid)
    if not bad:
        return {}
    table = checksums.table_of(await store.table(oid))
    return {block: table[block] for block in bad}


async def _history(oid: int, source: shelf_module.Shelf):
    """Of a strip, else None.

    :raises NotRecovered: it has more than fits into its file
    """
    if ids.strip_of(oid) < 0:
        return None
    history = await source.store.history(oid)
    if history is None or history.open:
        raise errors.NotRecovered('it has updates that are not closed yet')
    return history.moved()


async def _drop(oid: int, source: shelf_module.Shelf) -> None:
    """What cannot be removed from a disk that fails does no harm: the disk
    in the right place counts, and no disk is plugged in or unplugged while
    one fails."""
    try:
        await rack_module.removed(source.store, oid)
    except errors.SheepdogError as error:
        LOG.error('object %016x is still on %s, too: %s', oid,
                  source.entry.path, error)


async def _read(store, oid: int, offset: int, size: int) -> bytes:
    future = asyncio.get_running_loop().create_future()
    store.read(oid, offset, size,
               lambda error, data: future.set_result((error, data)))
    error, data = await future
    if error is not None:
        raise error
    return data
