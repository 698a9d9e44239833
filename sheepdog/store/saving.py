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


"""Objects are brought up to date on disk: table, version and history saved,
the file synced; a few at a time."""

import asyncio
import collections

from sheepdog.store import objects as store_objects
from sheepdog.store import syncing

SYNCS_AT_ONCE = 4


class Saver:
    def __init__(self, disk, objects: store_objects.Objects,
                 syncs: syncing.Syncs):
        self._disk = disk
        self._objects = objects
        self._syncs = syncs

    async def save(self, oids: list) -> None:
        """:raises OSError: not all of it is done"""
        running = collections.deque()
        try:
            for oid in oids:
                future = self._begin(oid)
                if future is None:
                    continue
                running.append(future)
                if len(running) >= SYNCS_AT_ONCE:
                    await _outcome(running.popleft())
            while running:
                await _outcome(running.popleft())
        finally:
            for future in running:
                future.cancel()

    async def save_names(self) -> None:
        """:raises OSError:"""
        future = asyncio.get_running_loop().create_future()
        self._syncs.directory(_Resolve(future))
        await _outcome(future)

    def _begin(self, oid: int):
        """A future of an error or None; None where there is nothing to do.
        """
        obj = self._objects.open.get(oid)
        future = asyncio.get_running_loop().create_future()
        if obj is None or obj.file is None:
            if oid not in self._objects.versions:
                return None
            # Closed since: its table was saved then.
            file = self._disk.open(self._objects.path(oid))
            file.sync_later(_Resolve(future))
            file.close()
            return future
        if obj.is_dirty:
            obj.save_table()
        self._syncs.object(obj, _Resolve(future))
        return future


class _Resolve:
    """A waiter for a sync that fills a future, unless it was given up."""

    __slots__ = ('_future',)

    def __init__(self, future: asyncio.Future):
        self._future = future

    def __call__(self, error) -> None:
        if not self._future.done():
            self._future.set_result(error)


async def _outcome(future: asyncio.Future) -> None:
    error = await future
    if error is not None:
        raise error
