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

"""From the name that a client asks for to a volume.

    NAME        the VDI
    NAME@TAG    its snapshot of that tag (or number), read-only
    (nothing)   the default export, where one is set
"""

import asyncio
from typing import Any, Callable, Protocol

from sheepdog.model import errors
from sheepdog.model import inode
from sheepdog.wire import nbd
from sheepdog.world import api

RETRY_SECONDS = 0.1


class Volume(Protocol):
    """What this face uses of ``volume.Volume``."""

    name: str
    vdi_id: int
    size: int
    object_bytes: int
    read_only: bool
    valid: bool
    throttle: Any
    """What holds its requests back, if it has limits (``volume.throttle``);
    those that have waited here are ``is_due``."""

    def submit_read(self, offset: int, length: int, done: Callable,
                    user: Any = None, is_due: bool = False) -> None: ...

    def submit_write(self, offset: int, data: bytes, fua: bool,
                     done: Callable, user: Any = None,
                     is_due: bool = False) -> None: ...

    async def zero(self, offset: int, length: int, fua: bool = False,
                   may_punch: bool = True, user: Any = None,
                   is_due: bool = False) -> None: ...

    async def discard(self, offset: int, length: int, fua: bool = False,
                      is_due: bool = False) -> None: ...

    async def flush(self) -> None: ...

    async def extents(self, offset: int, length: int) -> list: ...

    async def close(self) -> None: ...


class Volumes(Protocol):
    async def open(self, name: str, tag: str = '', snap_id: int = 0,
                   read_only: bool = False,
                   shared: bool = False) -> Any: ...


class Catalogue(Protocol):
    def names(self) -> list: ...

    def find(self, name: str, tag: str = '', snap_id: int = 0) -> Any:
        """An entry: ``name``, ``tag``, ``snap_id``, ``vdi_id``,
        ``snapshot``, ``created``.

        :raises NoVdi, NoTag: there is none
        """

    async def head(self, vdi_id: int) -> Any:
        """``vdi_size`` in bytes.

        :raises NoObject: it was deleted meanwhile
        """


def description_of(vdi_id: int, created: float) -> str:
    """What clients may be told of a VDI. Those of two clusters have the
    same id where they have the same name.

    :param created: in seconds
    """
    return 'Sheepdog VDI %06x, created %.6f' % (vdi_id, created)


class Exports:
    """All that may be exported. Raises the errors of ``volume``."""

    def __init__(self, world: api.World, volumes: Volumes,
                 catalogue: Catalogue, default_export: str, read_only: bool,
                 lock_wait_seconds: float):
        self._world = world
        self._volumes = volumes
        self._catalogue = catalogue
        self._default = default_export
        self._read_only = read_only
        self._lock_wait_seconds = lock_wait_seconds

    def names(self) -> list:
        """What a client that asks for a list is told: no snapshots."""
        return self._catalogue.names()

    def vdi_of(self, name: str) -> str:
        """The name of the VDI that an export is of, or would be."""
        try:
            return self._find(name)[1].name
        except errors.SheepdogError:
            return name or self._default

    def check(self, name: str) -> nbd.Export:
        """As ``describe``, without the size (0): without a look at disks.
        """
        name, entry = self._find(name)
        return self._export(name, entry, 0, entry.snapshot)

    async def describe(self, name: str,
                       read_only: bool = False) -> nbd.Export:
        """An export as it would be opened, without a lock taken.

        :raises NoVdi, NoTag: there is none of that name
        """
        name, entry = self._find(name)
        try:
            head = await self._catalogue.head(entry.vdi_id)
        except errors.NoObject:
            raise errors.NoVdi('VDI %s has just been deleted'
                               % name) from None
        return self._export(name, entry, head.vdi_size,
                            read_only or entry.snapshot)

    async def open(self, name: str, read_only: bool = False):
        """(Volume, Export). Whoever opens it closes it.

        :raises NoVdi, NoTag: there is none of that name
        :raises VdiLocked: another sheep has it open
        """
        clock = self._world.clock
        give_up = clock.monotonic() + self._lock_wait_seconds
        while True:
            canonical, entry = self._find(name)
            try:
                volume = await self._volumes.open(
                    entry.name, tag=entry.tag if entry.snapshot else '',
                    snap_id=entry.snap_id if entry.snapshot else 0,
                    read_only=(read_only or self._read_only or
                               entry.snapshot))
                break
            except errors.SheepdogError as error:
                if not (error.retry or isinstance(error, errors.VdiLocked)):
                    raise
                if clock.monotonic() >= give_up:
                    raise
            await asyncio.sleep(RETRY_SECONDS)
        return volume, self._export(canonical, entry, volume.size,
                                    volume.read_only)

    def _find(self, name: str):
        """(canonical name, the catalogue's entry)"""
        name = name or self._default
        if not name:
            raise errors.NoVdi('there is no default export: name a VDI')
        vdi, _mark, tag = name.rpartition('@')
        try:
            return name, self._catalogue.find(name)
        except errors.NoVdi:
            # A VDI may have the mark in its own name; this one has not.
            if not vdi or not tag:
                raise
        try:
            return name, self._catalogue.find(vdi, tag)
        except errors.NoTag:
            if not tag.isdecimal() or not int(tag):
                raise
        return name, self._catalogue.find(vdi, snap_id=int(tag))

    def _export(self, name: str, entry: Any, size: int,
                read_only: bool) -> nbd.Export:
        # A volume is open on one sheep at a time and shared by all its
        # connections there: a flush covers them all.
        return nbd.Export(
            name, size,
            nbd.export_flags(read_only or self._read_only, can_multi=True),
            description_of(entry.vdi_id, inode.seconds_of(entry.created)))
