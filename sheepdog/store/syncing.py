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

"""Syncs of object files and of their directory, shared by all who wait.

Whoever asks while a sync runs waits for the next one, which all share.
"""

from typing import Callable, Optional

from sheepdog.store import objects as store_objects
from sheepdog.store import state as store_state

Waiter = Callable[[Optional[OSError]], None]


class Syncs:
    def __init__(self, world, directory: str, nosync: bool,
                 counters: store_state.Counters):
        self._world = world
        self._directory = directory
        self._nosync = nosync
        self._counters = counters
        self._directory_waiters = None
        self.on_failure = None
        """Called with the error when the device refuses a sync: what was
        written since the last one may be lost, and no later sync tells."""
        self.unsynced = {}
        """Objects whose files have content that the journal has not."""

    def object(self, obj: store_objects.Object, waiter: Waiter) -> None:
        """Make durable what the object's file and its name are now."""
        if self._nosync:
            if obj.fresh is not None:
                obj.fresh = bytearray(len(obj.fresh))
            self.forget(obj)
            waiter(None)
            return
        if obj.is_syncing:
            if obj.sync_waiters is None:
                obj.sync_waiters = []
            obj.sync_waiters.append((obj.file, waiter))
            return
        self._start(obj, [waiter])

    def directory(self, waiter: Waiter) -> None:
        """Make durable what names are there now."""
        if self._nosync:
            waiter(None)
        elif self._directory_waiters is not None:
            self._directory_waiters.append(waiter)
        else:
            self._directory_waiters = []
            self._world.spawn(self._sync_directory([waiter]),
                              'store: sync a directory')

    def mark(self, obj: store_objects.Object) -> None:
        """The object's file got content that the journal has not."""
        obj.is_unsynced = True
        self.unsynced[obj.oid] = obj

    def forget(self, obj: store_objects.Object) -> None:
        """Nothing of the object waits for a sync."""
        obj.is_unsynced = False
        if self.unsynced.get(obj.oid) is obj:
            del self.unsynced[obj.oid]

    def _start(self, obj, waiters) -> None:
        obj.is_syncing = True
        file = obj.file
        if not waiters or file is None:
            self._landed(obj, None, waiters, None)
            return
        if obj.fresh is not None:
            # (None: it is being opened just now.)
            obj.settling = obj.fresh
            obj.fresh = bytearray(len(obj.settling))
        # It stays in ``unsynced`` until the sync has ended.
        obj.is_unsynced = False
        self._counters.object_syncs += 1
        is_named = obj.is_named

        def landed(error):
            if error is None and not is_named:
                self.directory(
                    lambda error: self._landed(obj, file, waiters, error))
            else:
                self._landed(obj, file, waiters, error)

        file.sync_later(landed)

    def _landed(self, obj, file, waiters, error) -> None:
        obj.is_syncing = False
        if error is not None:
            self.on_failure(store_state.typed(
                error, 'sync of object %016x' % obj.oid))
        if obj.file is file and file is not None:
            if error is None:
                obj.is_named = True
                if not obj.is_unsynced:
                    self.forget(obj)
            else:
                for block, flag in enumerate(obj.settling or b''):
                    if flag:
                        obj.fresh[block] = 1
                self.mark(obj)
            obj.settling = None
        following = obj.sync_waiters
        obj.sync_waiters = None
        if following is not None:
            self._start(obj, [waiter for wanted, waiter in following
                              if wanted is obj.file])
            for wanted, waiter in following:
                if wanted is not obj.file:
                    # Removed or replaced since: what they wrote must not
                    # come back without being whole.
                    self.directory(waiter)
        for waiter in waiters:
            waiter(error)

    async def _sync_directory(self, waiters) -> None:
        error = None
        self._counters.directory_syncs += 1
        try:
            await self._world.disk.sync_directory(self._directory)
        except OSError as caught:
            error = caught
            self.on_failure(store_state.typed(error, self._directory))
        following = self._directory_waiters
        self._directory_waiters = None
        if following:
            self._directory_waiters = []
            self._world.spawn(self._sync_directory(following),
                              'store: sync a directory')
        for waiter in waiters:
            waiter(error)
