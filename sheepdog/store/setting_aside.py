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

"""Setting an object aside: what it holds goes to the quarantine."""

import asyncio
from typing import Optional

from sheepdog.store import checksums
from sheepdog.store import objects as store_objects
from sheepdog.store import opening
from sheepdog.store import operations
from sheepdog.store import quarantine as store_quarantine
from sheepdog.store import records
from sheepdog.store import state as store_state
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer


class Setter:
    def __init__(self, objects: store_objects.Objects,
                 opener: opening.Opener, turns: store_turns.Turns,
                 writer: store_writer.Writer,
                 quarantine: store_quarantine.Quarantine):
        self._objects = objects
        self._opener = opener
        self._turns = turns
        self._writer = writer
        self._quarantine = quarantine

    async def set_aside(self, oid: int, why: str, remove: bool,
                        digest: Optional[bytes]) -> bool:
        """See ``Store.set_aside``."""
        self._writer.flush()
        obj = self._opener.get(oid)
        if obj is None:
            return False
        await self._turns.take(obj)
        try:
            if not obj.exists or digest is not None and (
                    obj.damage or checksums.digest(obj.table) != digest):
                return False
            path = self._objects.path(oid)
            try:
                await self._bring_to_disk(obj)
                await self._quarantine.keep(path, why)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise store_state.typed(error, path)
            removed = self._begin_removal(obj) if remove else None
        finally:
            self._turns.give_back(obj)
        if removed is not None:
            error = await removed
            if error is not None:
                raise error
        return True

    @staticmethod
    async def _bring_to_disk(obj) -> None:
        """What the journal had for it must be in the file itself."""
        if not obj.damage:
            if obj.is_dirty:
                obj.save_table()
            await obj.file.sync()

    def _begin_removal(self, obj) -> asyncio.Future:
        """First of all that waits for the object."""
        done = asyncio.get_running_loop().create_future()

        def finish(error):
            if not done.done():
                done.set_result(error)

        self._turns.park_first(obj, self._writer.start, [
            operations.Operation(records.REMOVE, obj, 0, 0, 0, None, finish,
                                 True, 0)])
        return done
