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

"""What cannot be explained is put here, and never deleted but by an operator.

    META/quarantine/NAME         the file, as it was found
    META/quarantine/NAME.json    a note: what it was, why and when

A file is given a second name here, which takes no room; then it may lose its
first. So at no moment it has none, and a crash in between leaves it where it
was, too. NAME is the file's own with a number that no other has.
"""

import json
import logging

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.store import objects as store_objects
from sheepdog.store import state as store_state

LOG = logging.getLogger(__name__)

NOTE = '.json'
NUMBER_BYTES = 8
WHY_CHARACTERS = 400


class Quarantine:
    """``kept``: how many files lie here."""

    def __init__(self, world, directory: str):
        self.directory = directory
        self.on_kept = None
        """Called with the note of what was put here, an object's or not."""
        self._clock = world.clock
        self._disk = world.disk
        self._random = world.random
        self.kept = 0
        if self._disk.exists(directory):
            self.kept = sum(name.endswith(NOTE)
                            for name in self._disk.list(directory))

    async def keep(self, path: str, why: str) -> str:
        """Give the file a name here, durably; returns it. The old one is
        the caller's to take away.

        :raises OSError: it has none here; nothing was changed
        """
        disk, directory = self._disk, self.directory
        if not disk.exists(directory):
            disk.make_directory(directory)
            await disk.sync_directory(directory.rpartition('/')[0])
        number = self._random.token(NUMBER_BYTES).hex()
        name = '%s.%s' % (path.rpartition('/')[2], number)
        note = self._note(path, name, why[:WHY_CHARACTERS])
        target = '%s/%s' % (directory, name)
        # The note first: a file without one would be there without reason.
        await disk.replace_file(target + NOTE, json.dumps(note).encode())
        try:
            disk.link(path, target)
        except OSError:
            disk.unlink(target + NOTE)
            raise
        await disk.sync_directory(directory)
        self.kept += 1
        LOG.error('%s is in quarantine, as %s: %s', path, name, why)
        if self.on_kept is not None:
            self.on_kept(note)
        return name

    def _note(self, path: str, name: str, why: str) -> dict:
        file = self._disk.open(path, read_only=True)
        head = None
        try:
            size, taken = file.size(), file.allocated()
            head = store_objects.unpack_attribute(
                file.get_attribute(store_objects.ATTRIBUTE))
        except OSError as error:
            LOG.warning('%s: %s', path, error)
            size = taken = 0
        finally:
            file.close()
        oid = store_objects.oid_of(path.rpartition('/')[2])
        return {'name': name, 'was': path, 'why': why,
                'when': self._clock.time(),
                'object': None if oid is None else ids.hex_oid(oid),
                'version': None if head is None else head[0],
                'size': size, 'used': taken}

    async def list(self) -> list:
        """The notes, the oldest first."""
        if not self._disk.exists(self.directory):
            return []
        notes = []
        for name in self._disk.list(self.directory):
            if name.endswith(NOTE):
                notes.append(await self._read(name[:-len(NOTE)]))
        return sorted((note for note in notes if note is not None),
                      key=lambda note: (note['when'], note['name']))

    async def note(self, name: str) -> dict:
        """:raises NoObject: nothing of that name is here"""
        note = None
        if '/' not in name and not name.endswith(NOTE):
            note = await self._read(name)
        if note is None:
            raise errors.NoObject('%r is not in quarantine here' % name)
        return note

    async def delete(self, name: str) -> None:
        """For good.

        :raises NoObject: nothing of that name is here
        :raises StorageError: it cannot be deleted
        """
        await self.note(name)
        path = '%s/%s' % (self.directory, name)
        try:
            # The note last: as long as it is there, so may the file be.
            if self._disk.exists(path):
                self._disk.unlink(path)
            await self._disk.sync_directory(self.directory)
            self._disk.unlink(path + NOTE)
        except OSError as error:
            raise store_state.typed(error, path)
        self.kept -= 1
        LOG.warning('%s was deleted from the quarantine', name)

    async def used_bytes(self) -> int:
        """What it takes of the device."""
        if not self._disk.exists(self.directory):
            return 0
        return await self._disk.used_bytes(self.directory)

    async def _read(self, name: str):
        """The note, or None."""
        try:
            data = await self._disk.read_file('%s/%s%s' % (
                self.directory, name, NOTE))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_state.typed(error, name)
        try:
            note = json.loads(data)
            note['name'], note['when'] = str(note['name']), float(
                note['when'])
        except (ValueError, TypeError, KeyError, RecursionError):
            # Written by nobody, or bad: the file itself is there.
            note = {'was': '', 'why': 'the note cannot be read', 'when': 0.0,
                    'object': None, 'version': None, 'size': 0, 'used': 0}
        note['name'] = name
        return note
