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

"""Changing object files, with their tables and versions.

What is here is called for operations that may be applied: their object is
named by the durable journal.
"""

import logging
from typing import Optional

from sheepdog.store import checksums
from sheepdog.store import objects as store_objects
from sheepdog.store import operations
from sheepdog.store import records
from sheepdog.store import space
from sheepdog.store import syncing

LOG = logging.getLogger(__name__)

BLOCK_BYTES = checksums.BLOCK_BYTES


class BadBlocks:
    """Blocks whose content is known to be wrong: object id → numbers.

    ``on_damage`` is called with the id of an object that a client's request
    has found to be damaged, ``on_change`` when there are others than before.
    ``coming``: object id → numbers of those that an adoption will bring.
    """

    def __init__(self, counters):
        self.blocks = {}
        self.coming = {}
        self.on_damage = None
        self.on_change = lambda: None
        self._counters = counters

    def __contains__(self, oid: int) -> bool:
        return oid in self.blocks

    def add(self, oid: int, numbers) -> None:
        if numbers:
            known = self.blocks.setdefault(oid, set())
            before = len(known)
            known.update(numbers)
            if len(known) != before:
                self._counters.bad_blocks += len(known) - before
                self.on_change()

    def report(self, oid: int) -> None:
        if self.on_damage is not None:
            self.on_damage(oid)

    def mend(self, oid: int, first: int, end: int) -> None:
        """Blocks [first, end) were overwritten."""
        found = self.blocks.get(oid)
        if found is not None:
            before = len(found)
            found.difference_update(range(first, end))
            self._counters.mended_blocks += before - len(found)
            if not found:
                del self.blocks[oid]
            if len(found) != before:
                self.on_change()

    def forget(self, oid: int) -> None:
        if self.blocks.pop(oid, None):
            self.on_change()

    def replace(self, oid: int, numbers: list) -> None:
        """The content is another one, and has these."""
        before = self.blocks.pop(oid, set())
        if numbers:
            self.blocks[oid] = set(numbers)
        self._counters.mended_blocks += len(before.difference(numbers))
        self._counters.bad_blocks += len(set(numbers) - before)
        if before.symmetric_difference(numbers):
            self.on_change()

    def of(self, oid: int) -> list:
        return sorted(self.blocks.get(oid, ()))

    def pairs(self) -> tuple:
        """``(object id, number)`` of each, also of those that come."""
        return tuple((oid, block)
                     for oid in sorted({*self.blocks, *self.coming})
                     for block in sorted({*self.blocks.get(oid, ()),
                                          *self.coming.get(oid, ())}))


class Applier:
    def __init__(self, disk, objects: store_objects.Objects,
                 syncs: syncing.Syncs, bad: BadBlocks, uncertain: dict,
                 reserve: space.Reserve):
        self._disk = disk
        self._objects = objects
        self._syncs = syncs
        self.bad = bad
        self._uncertain = uncertain
        self._reserve = reserve

    def apply(self, op: operations.Operation) -> Optional[OSError]:
        """Do it; an error means that the blocks concerned have their old or
        their new content, and the table is unchanged."""
        obj = op.obj
        kind = op.kind
        try:
            if kind == records.WRITE or kind == records.INTENT:
                if not op.is_applied:
                    if op.flags & records.CREATE:
                        self._objects.create(obj, op.capacity, op.version,
                                             op.birth)
                    store_objects.write_content(obj.file, op.data, op.offset)
            elif kind == records.ZERO:
                obj.file.punch(op.offset, op.size)
            elif kind == records.REMOVE:
                self._remove(obj)
                return None
            elif kind == records.HISTORY:
                if not op.is_applied:
                    self._change(obj, op)
                return None
            else:
                self._adopt(obj, op)
                return None
        except OSError as error:
            return error
        first = op.offset // BLOCK_BYTES
        end = first + op.size // BLOCK_BYTES
        if kind == records.ZERO:
            obj.table[first:end] = checksums.new_table(end - first)
        else:
            obj.table[first:end] = memoryview(op.entries)
        if kind == records.INTENT:
            self._reserve.used(op.size)
            self._syncs.mark(obj)
        else:
            obj.mark(first, end)
        if op.version > obj.version:
            obj.version = op.version
        obj.is_dirty = True
        if obj.oid in self.bad:
            self.bad.mend(obj.oid, first, end)
        return None

    def undo_create(self, obj: store_objects.Object) -> None:
        """Leave nothing of an object whose first write failed."""
        if obj.exists:
            self._remove(obj)

    def _remove(self, obj: store_objects.Object) -> None:
        if obj.oid in self._objects.versions:
            self._objects.remove(obj)
        self.bad.forget(obj.oid)
        self._forget(obj)

    def _change(self, obj, op: operations.Operation) -> None:
        """``op.data`` is a ``strips.Change``."""
        change = op.data
        if op.flags & records.CREATE:
            self._objects.create(obj, op.capacity, op.version, op.birth)
        # (Also where only a part of it gets into the file.)
        obj.history.note(change.event, change.sequence)
        for part in change.parts:
            first = part.offset // BLOCK_BYTES
            end = first + part.size // BLOCK_BYTES
            if part.data is None:
                obj.file.punch(part.offset, part.size)
                obj.table[first:end] = checksums.new_table(end - first)
            else:
                store_objects.write_content(obj.file, part.data, part.offset)
                obj.table[first:end] = memoryview(part.entries)
            obj.mark(first, end)
            if obj.oid in self.bad:
                self.bad.mend(obj.oid, first, end)
        obj.history.apply(change.event, change.sequence)
        if op.version > obj.version:
            obj.version = op.version
        obj.is_dirty = True

    def _adopt(self, obj, op: operations.Operation) -> None:
        """``op.data`` is (path, file, table, numbers of its bad blocks,
        history) of the new content, all of it on disk."""
        path, file, table, bad, history = op.data
        self._disk.rename(path, self._objects.path(obj.oid))
        obj.drop_file()
        self.bad.replace(obj.oid, bad)
        self._forget(obj)
        obj.take_file(file, op.capacity, table, op.version, op.birth, False)
        obj.is_named = False
        obj.history = history
        self._objects.versions[obj.oid] = op.version

    def _forget(self, obj) -> None:
        self._syncs.forget(obj)
        self._uncertain.pop(obj.oid, None)
