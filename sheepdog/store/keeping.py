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

"""What is open of strips outlives the records that tell of it.

Before a segment of the journal is freed, the open updates that it has are
journalled once more. Where that has no room for them they go to a file: an
update may have to wait for one on another sheep, that one for a third here,
so nothing may wait until some are closed. A replay takes the file for older
than all of the journal; so whenever a segment is freed it is written anew,
or goes. What was closed since, of what it has, must be known to be closed
before: the strip's floor is on disk.
"""

import asyncio

from sheepdog.model import errors
from sheepdog.store import history as store_history
from sheepdog.store import layout as store_layout
from sheepdog.store import objects as store_objects
from sheepdog.store import opening
from sheepdog.store import saving
from sheepdog.store import strips as store_strips
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer


class Keeper:
    def __init__(self, disk, layout: store_layout.Layout,
                 objects: store_objects.Objects, opener: opening.Opener,
                 turns: store_turns.Turns, writer: store_writer.Writer,
                 saver: saving.Saver):
        self._disk = disk
        self._layout = layout
        self._objects = objects
        self._opener = opener
        self._turns = turns
        self._writer = writer
        self._saver = saver
        self._may_exist = False
        self._filed = {}
        """Key → numbers that the file has, but those that are known on disk
        to be closed."""
        self._is_closed = False
        self._turn = asyncio.Lock()

    def with_open(self) -> list:
        """Keys of the strips that have open updates. (They stay in
        memory.)"""
        return [oid for oid, obj in self._objects.open.items()
                if obj.history is not None and obj.history.open]

    async def resume(self, histories: dict) -> None:
        """Take up what a start has found open: key → History. (It has put
        them into the file.)

        :raises OSError, SheepdogError: they would not outlive this run
        """
        self._may_exist = self._disk.exists(self._layout.open_path)
        self._filed = {key: set(history.open)
                       for key, history in histories.items()}
        for key in sorted(histories):
            obj = self._opener.get(key)
            if obj is None:
                continue
            await self._turns.take(obj)
            self._turns.give_back(obj)
            if obj.history is None:
                # It would be taken for one of which nothing is open, when
                # it can be opened again.
                raise errors.StorageError(obj.damage)
            obj.history.open = histories[key].open
        await self.outlive(histories)

    async def outlive(self, named) -> None:
        """A segment of the journal is about to be freed that names these
        objects.

        :raises OSError, SheepdogError: something would not outlive it
        """
        async with self._turn:
            if self._is_closed:
                # The file has all.
                return
            await self._forget_closed()
            if await self._repeat([key for key in self.with_open()
                                   if self._may_exist or key in named]):
                await self._drop()
            else:
                await self._write()

    async def close(self) -> None:
        """Nothing is changed any more, and the whole journal is about to
        be freed.

        :raises OSError:
        """
        async with self._turn:
            await self._forget_closed()
            if self.with_open():
                await self._write()
            else:
                await self._drop()
            self._is_closed = True

    async def _forget_closed(self) -> None:
        """What the file has and is closed needs it no more."""
        while True:
            closed = {key: numbers - self._open_numbers(key)
                      for key, numbers in self._filed.items()}
            keys = [key for key, numbers in closed.items() if numbers]
            if not keys:
                return
            await self._saver.save(keys)
            for key in keys:
                self._filed[key] -= closed[key]

    def _open_numbers(self, key: int) -> set:
        obj = self._objects.open.get(key)
        return set() if obj is None or obj.history is None \
            else obj.history.open.keys()

    async def _repeat(self, keys: list) -> bool:
        """Journal the open updates of these strips; False: it has no room.
        (Their turns are not waited for: who has one may wait for room,
        too.)"""
        repeated = [
            (obj, store_strips.Change([], store_history.Repeat(update)))
            for obj in map(self._objects.open.get, keys)
            for _, update in sorted(obj.history.open.items())]
        if not self._writer.has_room_to_repeat(
                sum(change.size() for _, change in repeated)):
            return False
        waiting = []
        for obj, change in repeated:
            done = asyncio.get_running_loop().create_future()
            waiting.append(done)
            self._writer.repeat(obj, change, _teller(done))
        for error in [await done for done in waiting]:
            if error is not None:
                raise error
        return True

    async def _write(self) -> None:
        histories = {key: self._objects.open[key].history
                     for key in self.with_open()}
        filed = {key: set(history.open) for key, history
                 in histories.items()}
        self._may_exist = True
        await self._disk.replace_file(self._layout.open_path,
                                      store_history.pack_open(histories))
        self._filed = filed

    async def _drop(self) -> None:
        if self._may_exist:
            try:
                self._disk.unlink(self._layout.open_path)
            except FileNotFoundError:
                # It was not written, or only its directory was not synced.
                pass
            await self._disk.sync_directory(self._layout.meta)
            self._may_exist = False
            self._filed = {}


def _teller(done: asyncio.Future):
    """(Who waits may have been given up.)"""
    return lambda error: done.done() or done.set_result(error)
