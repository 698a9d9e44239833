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

"""Which disks a sheep has: META/disks, where there are several.

The set is on record so that a start can tell a disk that is missing from
one that was unplugged, one that was given up from one that is new, and the
disk itself from an old copy of it. A sheep that keeps its objects in META
alone has no such file.
"""

import dataclasses
import json
from typing import Optional

from sheepdog.model import errors
from sheepdog.model import shapes
from sheepdog.store import layout as store_layout
from sheepdog.store import settings as store_settings

FORMAT = 1
NUMBER_MAX = (1 << 63) - 1
_REFUSED = store_settings.StoreRefused


@dataclasses.dataclass(frozen=True)
class Entry:
    """One disk in use. ``id`` stands on the disk, too. ``weight``: its size in
    bytes when it was plugged in. ``is_leaving``: it is being emptied."""

    id: str
    path: str
    weight: int
    is_leaving: bool = False

    RANGES = {'weight': (1, NUMBER_MAX)}


@dataclasses.dataclass(frozen=True)
class Gone:
    """A disk that is not ours any more. ``is_lost``: with what was on it;
    else it was emptied before."""

    id: str
    path: str
    is_lost: bool


@dataclasses.dataclass(frozen=True)
class DiskSet:
    """``node``: the sheep's id. ``run`` counts starts and stands on each
    disk, too. ``has_untold_loss``: a disk was lost, and the cluster was not
    told yet. ``is_told``: it knows how much space there is."""

    node: str
    run: int = 0
    disks: tuple = ()
    gone: tuple = ()
    has_untold_loss: bool = False
    is_told: bool = True
    format: int = FORMAT

    RANGES = {'run': (0, NUMBER_MAX)}

    @property
    def weight(self) -> int:
        """Of the disks that objects are placed on."""
        return sum(one.weight for one in self.disks if not one.is_leaving)

    def entry(self, disk_id: str) -> Optional[Entry]:
        for one in self.disks:
            if one.id == disk_id:
                return one
        return None

    def at(self, path: str) -> Optional[Entry]:
        for one in self.disks:
            if one.path == path:
                return one
        return None

    def is_gone(self, path: str) -> bool:
        return any(one.path == path for one in self.gone)

    @property
    def lost_paths(self) -> list:
        """Where nothing has come in the place of a lost disk."""
        return [one.path for one in self.gone if one.is_lost and one.path]

    def without(self, path: str) -> 'DiskSet':
        """The place of a lost disk stays empty."""
        return dataclasses.replace(self, gone=tuple(
            _without_path(one, path) for one in self.gone))

    def has_lost(self, disk_id: str) -> bool:
        return any(one.id == disk_id and one.is_lost for one in self.gone)

    def plus(self, entry: Entry) -> 'DiskSet':
        """With a disk more, or another entry for one of them."""
        others = tuple(one for one in self.disks if one.id != entry.id)
        return dataclasses.replace(
            self, disks=others + (entry,), is_told=False,
            gone=tuple(_without_path(one, entry.path) for one in self.gone
                       if one.is_lost or one.path != entry.path))

    def minus(self, disk_id: str, is_lost: bool) -> 'DiskSet':
        entry = self.entry(disk_id)
        if entry is None:
            return self
        return dataclasses.replace(
            self, disks=tuple(one for one in self.disks if one != entry),
            gone=self.gone + (Gone(entry.id, entry.path, is_lost),),
            is_told=False,
            has_untold_loss=self.has_untold_loss or is_lost)

    def pack(self) -> bytes:
        return (json.dumps(dataclasses.asdict(self), indent=1) + '\n').encode()


def _without_path(gone: Gone, path: str) -> Gone:
    """A lost disk is never taken again, but another one may come to its
    place."""
    return dataclasses.replace(gone, path='') if gone.path == path else gone


def path_of(meta: str) -> str:
    return meta + '/disks'


async def read(disk, meta: str) -> Optional[DiskSet]:
    """None where there is no such record.

    :raises StoreRefused: it is damaged, or of another version
    """
    path = path_of(meta)
    data = await store_layout.read_file(disk, path)
    if data is None:
        return None
    try:
        fields = json.loads(data)
        found = fields['format']
        if found == FORMAT:
            return _checked(shapes.build(DiskSet, dict(
                fields,
                disks=tuple(shapes.build(Entry, one)
                            for one in fields['disks']),
                gone=tuple(shapes.build(Gone, one)
                           for one in fields['gone']))))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError,
            errors.InvalidParameters):
        raise _REFUSED('%s is not what a sheep writes: put it back from a '
                       'backup, or start with an empty META and empty disks, '
                       'and let the other sheep fill them' % path) from None
    raise _REFUSED('%s is of format %s, this sheep knows %d: run the version '
                   'that wrote it' % (path, found, FORMAT))


def _checked(disks: DiskSet) -> DiskSet:
    """:raises ValueError: two disks have the same name, or it is none"""
    for one in disks.disks:
        one.id.encode()
    for name in ('id', 'path'):
        names = {getattr(one, name) for one in disks.disks}
        if len(names) < len(disks.disks):
            raise ValueError(name)
    return disks


async def write(disk, meta: str, disks: DiskSet) -> None:
    """:raises OSError: the one before stays"""
    await disk.replace_file(path_of(meta), disks.pack())
