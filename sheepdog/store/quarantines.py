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


"""The quarantine of a sheep: that of each of its disks.

As ``quarantine.Quarantine``. What lies on a disk stays there when it is
unplugged.
"""

from sheepdog.model import errors


class Quarantines:
    """:param rack: a ``rack.Rack``"""

    def __init__(self, rack):
        self._rack = rack
        self._on_kept = None

    @property
    def _parts(self) -> list:
        return [shelf.store.quarantine for shelf in self._rack.shelves]

    @property
    def kept(self) -> int:
        return sum(part.kept for part in self._parts)

    @property
    def on_kept(self):
        return self._on_kept

    @on_kept.setter
    def on_kept(self, function) -> None:
        self._on_kept = function
        self.listen()

    def listen(self) -> None:
        """There may be disks that were not there before."""
        for part in self._parts:
            part.on_kept = self._on_kept

    async def list(self) -> list:
        found = []
        for part in self._parts:
            found += await part.list()
        return sorted(found, key=lambda note: (note['when'], note['name']))

    async def note(self, name: str) -> dict:
        return await (await self._with(name)).note(name)

    async def delete(self, name: str) -> None:
        await (await self._with(name)).delete(name)

    async def used_bytes(self) -> int:
        return sum([await part.used_bytes() for part in self._parts])

    async def _with(self, name: str):
        """The part that has it; any, where none has."""
        parts = self._parts
        for part in parts:
            try:
                await part.note(name)
                return part
            except errors.NoObject:
                continue
        return parts[0]
