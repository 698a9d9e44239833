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

"""Files of the operating system.

Short calls that end in the page cache are made in the loop: at 2 to 5 µs
each they cost less than handing them to a thread. What may wait for the
device goes to threads: syncs, cold reads, and small files as a whole.
"""

import asyncio
import errno
import fcntl
import mmap
import os
from typing import Any, Callable, Optional

from sheepdog.world import api
from sheepdog.world import futures
from sheepdog.world import linux
from sheepdog.world import workers

IOV_MAX = 1024
"""Buffers that one ``pwritev`` takes (Linux)."""

SCRATCH_BYTES = 1 << 20
"""Reads up to this long share one buffer to be read into."""

SYNC_THREADS = 4
READ_THREADS = 8
BULK_THREADS = 2

BULK_BYTES = 1 << 20
"""Written at once past the page cache; each thread has a buffer as long."""
BUFFERED_BYTES = 64 << 10
"""Where that cannot be, at once into it (see ``store.objects``)."""

_NO_NOWAIT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_NO_DIRECT = (errno.EOPNOTSUPP, errno.EINVAL)


class _Threads:
    """What the files of one disk share."""

    __slots__ = ('syncs', 'reads', 'ordered', 'bulk', 'aligned', 'scratch')

    def __init__(self, loop: asyncio.AbstractEventLoop):
        # Apart, so that no read waits behind syncs.
        self.syncs = workers.Workers(loop, 'sync', SYNC_THREADS)
        self.reads = workers.Workers(loop, 'read', READ_THREADS)
        # One thread: replacing a file twice ends with the later content.
        self.ordered = workers.Workers(loop, 'replace', 1)
        # Nor a sync behind long writes.
        self.bulk = workers.Workers(loop, 'bulk', BULK_THREADS)
        self.aligned = []
        self.scratch = memoryview(bytearray(SCRATCH_BYTES))


class OsFile:
    """See ``api.File``."""

    __slots__ = ('_fd', '_threads', '_busy', '_is_closed', '_can_nowait')

    def __init__(self, fd: int, threads: _Threads):
        self._fd = fd
        self._threads = threads
        # Calls under way in threads: until they end the descriptor's number
        # must not go to another file.
        self._busy = 0
        self._is_closed = False
        self._can_nowait = True

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) == size:
            return data
        return _read_on(self._fd, size, offset, data)

    def pread_warm(self, size: int, offset: int) -> Optional[bytes]:
        if not self._can_nowait:
            return self.pread(size, offset)
        if size <= SCRATCH_BYTES:
            view = self._threads.scratch[:size]
        else:
            view = memoryview(bytearray(size))
        try:
            count = os.preadv(self._fd, (view,), offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NO_NOWAIT:
                raise
            # tmpfs cannot, and need not: its pages are always in memory.
            self._can_nowait = False
            return self.pread(size, offset)
        if count < size:
            if offset + count < self.size():
                return None
            return bytes(view[:count])
        return bytes(view)

    async def pread_cold(self, size: int, offset: int) -> bytes:
        return await self._run(self._threads.reads, _read_all, size, offset)

    def pwrite(self, data, offset: int) -> None:
        count = os.pwrite(self._fd, data, offset)
        if count != len(data):
            view = memoryview(data).cast('B')
            while count < len(view):
                count += os.pwrite(self._fd, view[count:], offset + count)

    def pwritev(self, buffers: list, offset: int) -> None:
        for first in range(0, len(buffers), IOV_MAX):
            chunk = buffers[first:first + IOV_MAX]
            wanted = sum(map(len, chunk))
            count = os.pwritev(self._fd, chunk, offset)
            if count != wanted:
                # Short: the disk is nearly full. What is left goes the slow
                # way, which ends with the reason.
                self.pwrite(b''.join(chunk)[count:], offset + count)
            offset += wanted

    async def write_past_cache(self, data, offset: int) -> None:
        await self._run(self._threads.bulk, _write_past_cache, data, offset,
                        self._threads.aligned)

    def sync_later(self, done: Callable[[Optional[OSError]], None]) -> None:
        self._begin()

        def finish(error, result):
            self._end()
            done(error)

        self._threads.syncs.submit(os.fdatasync, (self._fd,), finish)

    async def sync(self) -> None:
        await self._run(self._threads.syncs, os.fdatasync)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._fd, 0, size)

    def punch(self, offset: int, size: int) -> None:
        linux.punch_hole(self._fd, offset, size)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def allocated(self) -> int:
        return os.fstat(self._fd).st_blocks * 512

    def get_attribute(self, name: str) -> Optional[bytes]:
        try:
            return os.getxattr(self._fd, 'user.' + name)
        except OSError as error:
            if error.errno == errno.ENODATA:
                return None
            raise

    def set_attribute(self, name: str, value: bytes) -> None:
        os.setxattr(self._fd, 'user.' + name, value)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if not self._busy:
            self._let_go()

    def _let_go(self) -> None:
        fd = self._fd
        # Whoever uses it still must not meet another file of that number.
        self._fd = -1
        os.close(fd)

    async def _run(self, pool: workers.Workers, function, *arguments):
        # Not ``pool.run``: when the caller is cancelled the thread goes on.
        self._begin()
        future = asyncio.get_running_loop().create_future()

        def finish(error, result):
            self._end()
            futures.settle(future, error, result)

        pool.submit(function, (self._fd,) + arguments, finish)
        return await future

    def _begin(self) -> None:
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._busy += 1

    def _end(self) -> None:
        self._busy -= 1
        if self._is_closed and not self._busy:
            self._let_go()


def _read_all(fd: int, size: int, offset: int) -> bytes:
    return _read_on(fd, size, offset, os.pread(fd, size, offset))


def _read_on(fd: int, size: int, offset: int, data: bytes) -> bytes:
    """Go on after a short read, to the end of the file."""
    while len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _write_past_cache(fd: int, data, offset: int, aligned: list) -> None:
    """``aligned``: buffers that no thread uses just now."""
    view = memoryview(data)
    done = 0
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        try:
            done = _write_directly(fd, view, offset, aligned)
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    except OSError as error:
        if error.errno not in _NO_DIRECT:
            raise
    # What is left: the file system cannot, or the disk is nearly full.
    while done < len(view):
        done += os.pwrite(fd, view[done:done + BUFFERED_BYTES],
                          offset + done)


def _write_directly(fd: int, view, offset: int, aligned: list) -> int:
    """How much was written."""
    try:
        buffer = aligned.pop()
    except IndexError:
        # Memory of its own begins with a page, as the device wants it.
        buffer = memoryview(mmap.mmap(-1, BULK_BYTES))
    try:
        for start in range(0, len(view), BULK_BYTES):
            piece = view[start:start + BULK_BYTES]
            buffer[:len(piece)] = piece
            count = os.pwrite(fd, buffer[:len(piece)], offset + start)
            if count != len(piece):
                return start + count
        return len(view)
    finally:
        aligned.append(buffer)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _used_bytes(path: str) -> int:
    used = 0
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                if entry.is_file(follow_symlinks=False):
                    used += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
    return used


def _read_file(path: str) -> bytes:
    with open(path, 'rb') as file:
        return file.read()


def _replace_file(path: str, data: bytes) -> None:
    temporary = path + '.new'
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view):]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
    _sync_directory(os.path.dirname(path) or '.')


class OsDisk:
    """See ``api.Disk``."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._threads = _Threads(loop)
        with open('/proc/sys/kernel/random/boot_id') as file:
            self.boot_id = file.read().strip()

    def open(self, path: str, create: bool = False,
             read_only: bool = False) -> OsFile:
        flags = os.O_RDONLY if read_only else os.O_RDWR
        if create:
            flags |= os.O_CREAT
        return OsFile(os.open(path, flags, 0o600), self._threads)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def list(self, path: str) -> list:
        return sorted(os.listdir(path))

    def make_directory(self, path: str) -> None:
        os.makedirs(path, mode=0o750, exist_ok=True)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def link(self, old: str, new: str) -> None:
        os.link(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    async def sync_directory(self, path: str) -> None:
        await self._threads.syncs.run(_sync_directory, path)

    def space(self, path: str) -> api.Space:
        status = os.statvfs(path)
        return api.Space(status.f_blocks * status.f_frsize,
                         status.f_bavail * status.f_frsize)

    async def used_bytes(self, path: str) -> int:
        return await self._threads.reads.run(_used_bytes, path)

    def lock(self, path: str) -> Any:
        # flock, not lockf: it also excludes a second taker in this process,
        # survives other descriptors of the same file being closed, and a
        # killed process loses it.
        file = open(path, 'ab')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise
        return file

    async def read_file(self, path: str) -> bytes:
        return await self._threads.ordered.run(_read_file, path)

    async def replace_file(self, path: str, data: bytes) -> None:
        await self._threads.ordered.run(_replace_file, path, data)

    async def run(self, function: Callable, *arguments) -> Any:
        return await self._threads.reads.run(function, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.syncs.close()
        self._threads.reads.close()
        self._threads.ordered.close()
        self._threads.bulk.close()
