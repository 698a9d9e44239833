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

import asyncio
import errno
import os
import tempfile
import threading
import unittest
from unittest import mock

from sheepdog.world import disk as disk_module
from sheepdog.world import workers


class DiskTest(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.base = directory.name
        self.disk = disk_module.OsDisk(asyncio.get_running_loop())
        self.addCleanup(self.disk.close)

    def path(self, name='file'):
        return os.path.join(self.base, name)

    def file(self, name='file'):
        file = self.disk.open(self.path(name), create=True)
        self.addCleanup(file.close)
        return file

    async def test_write_and_read(self):
        file = self.file()
        file.pwrite(b'hello', 4)
        self.assertEqual(b'\0\0\0\0hello', file.pread(100, 0))
        self.assertEqual(b'hel', file.pread(3, 4))
        self.assertEqual(b'', file.pread(3, 40))
        self.assertEqual(b'hello', await file.pread_cold(100, 4))
        self.assertEqual(9, file.size())

    async def test_many_buffers_at_once(self):
        file = self.file()
        buffers = [b'%07d,' % i for i in range(3 * disk_module.IOV_MAX + 5)]
        file.pwritev(buffers, 3)
        self.assertEqual(b'\0\0\0' + b''.join(buffers), file.pread(1 << 20,
                                                                   0))

    async def test_past_the_cache(self):
        file = self.file()
        page = 4096
        data = os.urandom(2 * disk_module.BULK_BYTES + 3 * page)
        file.pwrite(b'old' * page, 0)
        file.pwrite(b'end', 5 * page + len(data))
        # (Its memory may begin anywhere.)
        await file.write_past_cache(memoryview(b'x' + data)[1:], 2 * page)
        self.assertEqual((b'old' * page)[:2 * page], file.pread(2 * page, 0))
        self.assertEqual(data, file.pread(len(data), 2 * page))
        self.assertEqual(bytes(3 * page) + b'end',
                         file.pread(4 * page, 2 * page + len(data)))
        file.pwrite(b'odd', 2 * page + 1)
        self.assertEqual(data[:1] + b'odd', file.pread(4, 2 * page))

    async def test_past_the_cache_from_several_files_at_once(self):
        contents = [os.urandom(disk_module.BULK_BYTES) for _ in range(6)]
        files = [self.file('file-%d' % i) for i in range(len(contents))]
        await asyncio.gather(*(file.write_past_cache(data, 0)
                               for file, data in zip(files, contents)))
        for file, data in zip(files, contents):
            self.assertEqual(data, file.pread(len(data), 0))

    async def test_where_the_cache_cannot_be_passed(self):
        data = os.urandom(disk_module.BULK_BYTES)

        def refuse(*_arguments):
            raise OSError(errno.EINVAL, 'no')

        for name, directly in (('refused', refuse),
                               ('short', lambda *_arguments: 8192)):
            file = self.file(name)
            file.pwrite(data[:8192], 4096)
            with mock.patch.object(disk_module, '_write_directly', directly):
                await file.write_past_cache(data, 4096)
            self.assertEqual(data, file.pread(len(data), 4096))
            file.pwrite(b'odd', 1)

    async def test_what_the_device_refuses_past_the_cache(self):
        file = self.disk.open('/dev/full')
        self.addCleanup(file.close)
        with self.assertRaises(OSError) as caught:
            await file.write_past_cache(bytes(8192), 0)
        self.assertEqual(errno.ENOSPC, caught.exception.errno)

    async def test_warm_reads_are_the_same_or_none(self):
        file = self.file()
        data = os.urandom(3 * disk_module.SCRATCH_BYTES)
        file.pwrite(data, 0)
        for size, offset in ((4096, 0), (10, 5), (len(data), 0),
                             (100, len(data) - 10), (5, len(data) + 1)):
            self.assertIn(file.pread_warm(size, offset),
                          (None, data[offset:offset + size]))
        self.assertEqual(data[:4096], file.pread_warm(4096, 0))

    async def test_warm_reads_where_the_file_system_cannot(self):
        with tempfile.TemporaryDirectory(dir='/dev/shm') as directory:
            file = self.disk.open(directory + '/file', create=True)
            file.pwrite(b'hello', 0)
            self.assertEqual(b'hello', file.pread_warm(100, 0))
            self.assertEqual(b'hello', file.pread_warm(100, 0))
            file.close()

    async def test_sync(self):
        file = self.file()
        file.pwrite(b'hello', 0)
        await file.sync()
        done = asyncio.get_running_loop().create_future()
        file.sync_later(done.set_result)
        self.assertIsNone(await done)

    async def test_sync_tells_the_error(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        file = disk_module.OsFile(writing, self.disk._threads)
        done = asyncio.get_running_loop().create_future()
        file.sync_later(done.set_result)
        self.assertEqual(errno.EINVAL, (await done).errno)
        with self.assertRaises(OSError):
            await file.sync()
        file.close()

    async def test_closing_waits_for_what_runs(self):
        file = self.disk.open(self.path(), create=True)
        descriptor = file._fd
        done = asyncio.get_running_loop().create_future()
        file.sync_later(done.set_result)
        file.close()
        os.fstat(descriptor)
        self.assertIsNone(await done)
        with self.assertRaises(OSError):
            os.fstat(descriptor)
        with self.assertRaises(OSError):
            await file.sync()

    async def test_holes(self):
        file = self.file()
        file.pwrite(b'x' * 65536, 0)
        await file.sync()
        before = file.allocated()
        file.punch(4096, 32768)
        self.assertEqual(65536, file.size())
        self.assertEqual(before - 32768, file.allocated())
        self.assertEqual(b'x' * 4096 + bytes(32768),
                         file.pread(4096 + 32768, 0))

    async def test_holes_where_the_file_system_has_none(self):
        file = self.file()
        file.pwrite(b'x' * 10000, 0)
        disk_module.linux._write_zeroes(file._fd, 5000, 10000)
        self.assertEqual(b'x' * 5000 + bytes(5000), file.pread(20000, 0))

    async def test_space(self):
        file = self.file()
        file.allocate(1 << 20)
        self.assertEqual(1 << 20, file.size())
        self.assertGreaterEqual(file.allocated(), 1 << 20)
        space = self.disk.space(self.base)
        self.assertGreater(space.total, space.free)
        self.assertGreater(space.free, 0)

    async def test_used_bytes(self):
        before = await self.disk.used_bytes(self.base)
        file = self.file()
        file.truncate(16 << 20)
        self.assertEqual(before, await self.disk.used_bytes(self.base))
        file.allocate(16 << 20)
        self.assertGreaterEqual(await self.disk.used_bytes(self.base),
                                before + (16 << 20))

    async def test_attributes(self):
        file = self.file()
        self.assertIsNone(file.get_attribute('sheepdog.version'))
        file.set_attribute('sheepdog.version', b'7')
        self.assertEqual(b'7', file.get_attribute('sheepdog.version'))
        self.assertEqual(['user.sheepdog.version'],
                         os.listxattr(self.path()))

    async def test_no_attributes(self):
        # Neither a pipe nor many a file system has them.
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        file = disk_module.OsFile(writing, self.disk._threads)
        with self.assertRaises(OSError) as caught:
            file.set_attribute('name', b'value')
        self.assertIn(caught.exception.errno,
                      (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.EBADF))
        file.close()

    async def test_names(self):
        with self.assertRaises(FileNotFoundError):
            self.disk.open(self.path())
        self.disk.make_directory(self.path('a/b'))
        self.disk.make_directory(self.path('a/b'))
        for name in 'a/y', 'a/x':
            self.file(name)
        self.assertEqual(['b', 'x', 'y'], self.disk.list(self.path('a')))
        self.disk.rename(self.path('a/x'), self.path('a/z'))
        self.disk.unlink(self.path('a/y'))
        await self.disk.sync_directory(self.path('a'))
        self.assertEqual(['b', 'z'], self.disk.list(self.path('a')))
        self.assertTrue(self.disk.exists(self.path('a/z')))
        self.assertFalse(self.disk.exists(self.path('a/x')))
        with self.assertRaises(OSError):
            self.disk.open(self.path('a/z'), read_only=True).pwrite(b'x', 0)

    async def test_replacing_a_file(self):
        with self.assertRaises(FileNotFoundError):
            await self.disk.read_file(self.path())
        await asyncio.gather(*(
            self.disk.replace_file(self.path(), b'%d' % i)
            for i in range(20)))
        self.assertEqual(b'19', await self.disk.read_file(self.path()))
        self.assertEqual(['file'], os.listdir(self.base))

    async def test_replacing_fails_as_a_whole(self):
        os.mkdir(self.path())
        with self.assertRaises(OSError):
            await self.disk.replace_file(self.path(), b'data')
        self.assertEqual(['file'], os.listdir(self.base))

    async def test_lock(self):
        lock = self.disk.lock(self.path('lock'))
        with self.assertRaises(BlockingIOError):
            self.disk.lock(self.path('lock'))
        lock.close()
        self.disk.lock(self.path('lock')).close()

    async def test_run(self):
        self.assertEqual(5, await self.disk.run(sum, (2, 3)))
        with self.assertRaises(ZeroDivisionError):
            await self.disk.run(divmod, 1, 0)

    async def test_boot_id(self):
        other = disk_module.OsDisk(asyncio.get_running_loop())
        self.assertEqual(self.disk.boot_id, other.boot_id)
        self.assertEqual(36, len(self.disk.boot_id))


class WorkersTest(unittest.IsolatedAsyncioTestCase):

    async def test_no_more_threads_than_wanted(self):
        pool = workers.Workers(asyncio.get_running_loop(), 'test', 2)
        self.addCleanup(pool.close)
        names = await asyncio.gather(*(
            pool.run(lambda: threading.current_thread().name)
            for _ in range(20)))
        self.assertLessEqual(set(names), {'test-1', 'test-2'})

    async def test_cancelled_waiter(self):
        pool = workers.Workers(asyncio.get_running_loop(), 'test', 1)
        self.addCleanup(pool.close)
        gate = threading.Event()
        task = asyncio.ensure_future(pool.run(gate.wait))
        await asyncio.sleep(0)
        task.cancel()
        gate.set()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual(1, await pool.run(int, '1'))
