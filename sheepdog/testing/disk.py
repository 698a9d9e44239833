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

"""The simulated disk as one process sees it (``sheepdog.world.api.Disk``).

Every change is a place to die at. Syncs take their time, and fail where
``DiskFaults`` says so; what a process wrote before it was killed stays in
the page cache, what was not synced before a power cut is ``image``'s to
decide.
"""

import asyncio
import dataclasses
import errno
import os
import zlib
from typing import Any, Callable, Optional

from sheepdog.testing import fabric
from sheepdog.testing import image as image_module
from sheepdog.testing import loop as loop_module
from sheepdog.world import api
from sheepdog.world import futures


@dataclasses.dataclass
class DiskFaults:
    """What is wrong with one host's disk just now; changed at any time."""

    sync_seconds: float = 0.0008
    read_seconds: float = 0.0002
    slowness: float = 1.0
    cold_chance: float = 0.05
    """That a page is not in memory."""
    fails_reads: bool = False
    fails_writes: bool = False
    fails_syncs: bool = False


@dataclasses.dataclass
class Mount:
    """A disk of its own, below a path: it fails by itself. (Its room is that
    of the host's other disks.) ``share``: how large it says it is, in parts
    of the host's."""

    faults: DiskFaults
    share: float = 1.0


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class SimFile:
    """See ``api.File``."""

    __slots__ = ('_disk', '_process', '_faults', '_path', '_inode',
                 '_is_read_only', '_is_closed')

    def __init__(self, disk: 'SimDisk', path: str,
                 inode: image_module.Inode, is_read_only: bool):
        self._disk = disk
        self._process = disk.process
        self._faults = disk.faults_of(path)
        self._path = path
        self._inode = inode
        self._is_read_only = is_read_only
        self._is_closed = False

    def pread(self, size: int, offset: int) -> bytes:
        if not self._process.is_alive:
            raise loop_module.Killed()
        if self._is_closed:
            raise _error(errno.EBADF, self._path)
        if self._faults.fails_reads:
            raise _error(errno.EIO, self._path)
        return self._inode.read(size, offset)

    def pread_warm(self, size: int, offset: int) -> Optional[bytes]:
        if self._disk.random.random() < self._faults.cold_chance:
            self.size()
            return None
        return self.pread(size, offset)

    async def pread_cold(self, size: int, offset: int) -> bytes:
        self.size()
        await self._disk.pass_time(self._faults.read_seconds)
        # Closed meanwhile: a real read would still end well.
        if self._faults.fails_reads:
            raise _error(errno.EIO, self._path)
        return self._inode.read(size, offset)

    def pwrite(self, data, offset: int) -> None:
        if type(data) is not bytes:
            data = bytes(data)
        if self._process.is_alive:
            self._check_writable()
        try:
            self._process.operation()
        except loop_module.Killed:
            if self._process.dies_now:
                # In the middle of the call.
                self._inode.write(
                    data[:self._disk.random.randrange(len(data) + 1)],
                    offset)
            raise
        self._disk.note('write', self._path, offset, len(data),
                        zlib.crc32(data))
        self._inode.write(data, offset)

    def pwritev(self, buffers: list, offset: int) -> None:
        self.pwrite(b''.join(buffers), offset)

    async def write_past_cache(self, data, offset: int) -> None:
        self._check_open()
        await self._disk.pass_time(self._faults.read_seconds)
        self.pwrite(data, offset)

    def sync_later(self, done: Callable[[Optional[OSError]], None]) -> None:
        self._check_open()
        self._process.operation()
        disk = self._disk
        disk.note('sync', self._path)
        disk.later(self._faults.sync_seconds, self._synced, done,
                   self._inode.position(), disk.image.boots)

    def _synced(self, done, position: int, boots: int) -> None:
        if self._disk.image.boots != boots:
            return
        error = None
        if self._faults.fails_syncs:
            error = _error(errno.EIO, self._path)
            self._inode.fail_sync(position)
        else:
            self._inode.make_durable(position)
        self._disk.note('synced', self._path, error is None)
        self._disk.call(done, error)

    async def sync(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.sync_later(lambda error: futures.settle(future, error))
        await future

    def truncate(self, size: int) -> None:
        self._check_writable()
        self._process.operation()
        self._disk.note('truncate', self._path, size)
        self._inode.truncate(size)

    def allocate(self, size: int) -> None:
        self._check_writable()
        self._process.operation()
        self._disk.note('allocate', self._path, size)
        self._inode.reserve(size)

    def punch(self, offset: int, size: int) -> None:
        self._check_writable()
        self._process.operation()
        self._disk.note('punch', self._path, offset, size)
        self._inode.punch(offset, size)

    def size(self) -> int:
        self._check_open()
        if not self._process.is_alive:
            raise loop_module.Killed()
        return self._inode.size

    def allocated(self) -> int:
        self._check_open()
        return self._inode.allocated_pages() * image_module.PAGE

    def get_attribute(self, name: str) -> Optional[bytes]:
        self._check_open()
        if not self._disk.image.has_attributes:
            raise _error(errno.ENOTSUP, self._path)
        return self._inode.attributes.get(name)

    def set_attribute(self, name: str, value: bytes) -> None:
        self._check_writable()
        self._process.operation()
        if not self._disk.image.has_attributes:
            raise _error(errno.ENOTSUP, self._path)
        self._disk.note('attribute', self._path, name, value)
        self._inode.set_attribute(name, value)

    def close(self) -> None:
        self._is_closed = True

    def _check_open(self) -> None:
        if self._is_closed:
            raise _error(errno.EBADF, self._path)

    def _check_writable(self) -> None:
        if self._is_closed or self._is_read_only:
            raise _error(errno.EBADF, self._path)
        if self._disk.image.is_read_only:
            raise _error(errno.EROFS, self._path)
        if self._faults.fails_writes:
            raise _error(errno.EIO, self._path)


class SimLock:
    """Held until the process dies, or closes it."""

    def __init__(self, image: image_module.DiskImage, path: str):
        self._image = image
        self._path = path

    def close(self) -> None:
        self._image.locks.pop(self._path, None)


class SimDisk:
    """See ``api.Disk``."""

    file_class = SimFile
    """For tests that plant a bug."""

    def __init__(self, process: loop_module.Process,
                 image: image_module.DiskImage, faults: DiskFaults,
                 random, trace, mounts=None):
        self.process = process
        self.image = image
        self.faults = faults
        self.mounts = mounts or {}
        self.random = random
        self.boot_id = image.boot_id
        self._trace = trace
        self._replacing = asyncio.Lock()

    # For files.

    def mount_of(self, path: str) -> Optional[Mount]:
        """The disk that a path is on; None: the host's first one."""
        for prefix, mount in self.mounts.items():
            if path == prefix or path.startswith(prefix + '/'):
                return mount
        return None

    def faults_of(self, path: str) -> DiskFaults:
        mount = self.mount_of(path)
        return self.faults if mount is None else mount.faults

    def note(self, what: str, *details) -> None:
        self._trace.note(self.image.host, what, *details)

    def later(self, seconds: float, function: Callable, *arguments) -> None:
        """What the kernel does by itself, whoever dies meanwhile."""
        self.process.loop.call_later(self._latency(seconds), function,
                                     *arguments, context=fabric.KERNEL)

    def call(self, function: Callable, *arguments) -> None:
        """The kernel tells the process."""
        self.process.loop.call_soon(
            function, *arguments, context=self.process.context.copy())

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(self._latency(seconds))

    def _latency(self, seconds: float) -> float:
        return (seconds * self.faults.slowness *
                (0.3 + self.random.expovariate(1 / 0.7)))

    # The contract.

    def open(self, path: str, create: bool = False,
             read_only: bool = False) -> SimFile:
        try:
            inode = self.image.lookup(path)
        except FileNotFoundError:
            if not create:
                raise
            self._before_change(path)
            self.note('create', path)
            directory, name = self.image.parent(path)
            inode = image_module.Inode(self.image)
            inode.is_linked = True
            directory.change((name, inode))
        if isinstance(inode, image_module.Directory):
            raise _error(errno.EISDIR, path)
        return self.file_class(self, path, inode, read_only)

    def exists(self, path: str) -> bool:
        try:
            self.image.lookup(path)
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False

    def list(self, path: str) -> list:
        return sorted(self.image.directory(path).entries)

    def make_directory(self, path: str) -> None:
        names = [name for name in path.split('/') if name]
        for count in range(1, len(names) + 1):
            part = '/' + '/'.join(names[:count])
            if not self.exists(part):
                self._before_change(part)
                self.note('mkdir', part)
                directory, name = self.image.parent(part)
                directory.change((name, image_module.Directory()))
        self.image.directory(path)

    def rename(self, old: str, new: str) -> None:
        inode = self.image.lookup(old)
        source, old_name = self.image.parent(old)
        target, new_name = self.image.parent(new)
        self._before_change(old)
        self.note('rename', old, new)
        replaced = target.entries.get(new_name)
        if isinstance(replaced, image_module.Directory):
            raise _error(errno.EISDIR, new)
        if source is target:
            source.change((new_name, inode), (old_name, None))
        else:
            target.change((new_name, inode))
            source.change((old_name, None))
        if replaced is not None and replaced is not inode:
            self.image.unlinked(replaced)

    def link(self, old: str, new: str) -> None:
        inode = self.image.lookup(old)
        if isinstance(inode, image_module.Directory):
            raise _error(errno.EPERM, old)
        if self.exists(new):
            raise _error(errno.EEXIST, new)
        directory, name = self.image.parent(new)
        self._before_change(new)
        self.note('link', old, new)
        directory.change((name, inode))
        inode.more_links += 1

    def unlink(self, path: str) -> None:
        inode = self.image.lookup(path)
        if isinstance(inode, image_module.Directory):
            raise _error(errno.EISDIR, path)
        directory, name = self.image.parent(path)
        self._before_change(path)
        self.note('unlink', path)
        directory.change((name, None))
        self.image.unlinked(inode)

    async def sync_directory(self, path: str) -> None:
        directory = self.image.directory(path)
        self.process.operation()
        self.note('sync-dir', path)
        future = asyncio.get_running_loop().create_future()
        self.later(self.faults.sync_seconds, self._directory_synced,
                   directory, directory.position(), future, path,
                   self.image.boots)
        await future

    def _directory_synced(self, directory, position, future, path, boots):
        if self.image.boots != boots:
            return
        error = None
        if self.faults_of(path).fails_syncs:
            error = _error(errno.EIO, path)
        else:
            directory.make_durable(position)
        self.call(futures.settle, future, error)

    def space(self, path: str) -> api.Space:
        self.image.lookup(path)
        mount = self.mount_of(path)
        share = mount.share if mount is not None else 1.0
        return api.Space(int(self.image.total_pages * share)
                         * image_module.PAGE,
                         self.image.free_pages() * image_module.PAGE)

    async def used_bytes(self, path: str) -> int:
        self.process.operation()
        await self.pass_time(self.faults.read_seconds)
        entries = self.image.directory(path).entries.values()
        return image_module.PAGE * sum(
            entry.allocated_pages() for entry in entries
            if not isinstance(entry, image_module.Directory))

    def lock(self, path: str) -> Any:
        holder = self.image.locks.get(path)
        if holder is not None and holder.is_alive:
            raise BlockingIOError(errno.EWOULDBLOCK,
                                  os.strerror(errno.EWOULDBLOCK), path)
        self.open(path, create=True)
        self.image.locks[path] = self.process
        return SimLock(self.image, path)

    async def read_file(self, path: str) -> bytes:
        file = self.open(path, read_only=True)
        return await file.pread_cold(file.size(), 0)

    async def replace_file(self, path: str, data: bytes) -> None:
        # One at a time, in the order of asking, as the real one.
        async with self._replacing:
            temporary = path + '.new'
            file = self.open(temporary, create=True)
            file.truncate(0)
            file.pwrite(data, 0)
            await file.sync()
            self.rename(temporary, path)
            await self.sync_directory(path.rpartition('/')[0] or '/')

    async def run(self, function: Callable, *arguments) -> Any:
        self.process.operation()
        await self.pass_time(self.faults.read_seconds)
        return function(*arguments)

    def _before_change(self, path: str) -> None:
        if self.image.is_read_only:
            raise _error(errno.EROFS, path)
        if self.faults_of(path).fails_writes:
            raise _error(errno.EIO, path)
        self.process.operation()
