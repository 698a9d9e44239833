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
import random
import unittest

from sheepdog.testing import image
from sheepdog.testing import loop as loop_module
from sheepdog.testing import world as world_module

PAGE = image.PAGE


class DiskTest(unittest.TestCase):

    def setUp(self):
        self.simulation = world_module.Simulation(self.id())
        self.addCleanup(self.simulation.close)
        self.host = self.simulation.add_host('one', 4 << 20)
        self.start()

    def start(self):
        world = self.host.start()
        self.disk = world.disk

    def run_in(self, coroutine):
        return self.host.run(coroutine)

    def restart_after_power_cut(self):
        self.host.power_cut()
        self.host.power_on()
        self.start()

    def file(self, path='/file', synced=True):
        file = self.disk.open(path, create=True)
        if synced:
            self.run_in(self.disk.sync_directory('/'))
        return file

    def test_against_a_bytearray(self):
        source = random.Random(1)
        file = self.file()
        model = bytearray()
        for _ in range(500):
            offset = source.randrange(5 * PAGE)
            size = source.randrange(3 * PAGE)
            action = source.randrange(4)
            if action == 0:
                data = source.randbytes(size)
                file.pwrite(data, offset)
                if offset > len(model):
                    model.extend(bytes(offset - len(model)))
                model[offset:offset + size] = data
            elif action == 1:
                file.punch(offset, size)
                end = min(offset + size, len(model))
                if end > offset:
                    model[offset:end] = bytes(end - offset)
            elif action == 2 and source.random() < 0.2:
                file.truncate(offset)
                del model[offset:]
                model.extend(bytes(offset - len(model)))
            self.assertEqual(bytes(model[offset:offset + size]),
                             file.pread(size, offset))
            self.assertEqual(len(model), file.size())

    def test_sparse_files_cost_what_is_in_them(self):
        file = self.file()
        file.truncate(16 << 20)
        file.pwrite(b'x', 9 << 20)
        self.assertEqual(PAGE, file.allocated())
        self.assertEqual(4 << 20, self.disk.space('/').total)
        self.assertEqual((4 << 20) - PAGE, self.disk.space('/').free)
        self.assertEqual(PAGE, self.run_in(
            self.disk.used_bytes('/')))
        file.punch(9 << 20, PAGE)
        self.assertEqual(0, file.allocated())
        self.assertEqual(4 << 20, self.disk.space('/').free)

    def test_a_kill_keeps_the_page_cache(self):
        file = self.file(synced=False)
        file.pwrite(b'hello', 0)
        boot_id = self.disk.boot_id
        self.host.kill()
        self.start()
        self.assertEqual(b'hello', self.disk.open('/file').pread(9, 0))
        self.assertEqual(boot_id, self.disk.boot_id)

    def test_the_dead_do_not_write(self):
        file = self.file()
        self.host.kill()
        for call in (lambda: file.pwrite(b'x', 0),
                     lambda: file.pread(1, 0),
                     lambda: self.disk.unlink('/file'),
                     lambda: file.sync_later(None)):
            with self.assertRaises(loop_module.Killed):
                call()
        self.start()
        self.assertEqual(b'', self.disk.open('/file').pread(9, 0))

    def outcomes(self, write, read, count=200):
        """What power cuts leave of what ``write`` did, by chance."""
        found = {}
        for number in range(count):
            path = '/%d' % number
            file = self.file(path)
            file.pwrite(b'a' * PAGE, 0)
            file.set_attribute('version', b'1')
            self.run_in(file.sync())
            write(file)
        self.restart_after_power_cut()
        for number in range(count):
            outcome = read(self.disk.open('/%d' % number))
            found[outcome] = found.get(outcome, 0) + 1
        return found

    def test_unsynced_pages_are_kept_lost_or_torn(self):
        def write(file):
            file.pwrite(b'b' * PAGE, 0)
            file.pwrite(b'c' * PAGE, 0)

        found = self.outcomes(write, lambda file: file.pread(PAGE, 0))
        for letter in b'abc':
            self.assertIn(bytes([letter]) * PAGE, found)
        torn = [data for data in found if len(set(data)) == 2]
        self.assertTrue(torn)
        for data in torn:
            self.assertEqual(1, len(set(data[:image.SECTOR])))

    def test_synced_pages_stay(self):
        def write(file):
            file.pwrite(b'b' * PAGE, 0)
            self.run_in(file.sync())

        found = self.outcomes(write, lambda file: file.pread(PAGE, 0), 50)
        self.assertEqual({b'b' * PAGE: 50}, found)

    def test_a_sync_covers_what_was_written_before_it(self):
        def write(file):
            file.pwrite(b'b' * PAGE, 0)
            future = self.simulation.loop.create_future()
            file.sync_later(future.set_result)
            file.pwrite(b'c' * PAGE, 0)
            self.assertIsNone(self.simulation.run(future))

        found = self.outcomes(write, lambda file: file.pread(PAGE, 0))
        self.assertIn(b'b' * PAGE, found)
        self.assertIn(b'c' * PAGE, found)
        self.assertNotIn(b'a', b''.join(found))

    def test_sizes_and_attributes_keep_their_order(self):
        def write(file):
            file.truncate(2 * PAGE)
            file.set_attribute('version', b'2')

        found = self.outcomes(write, lambda file: (
            file.size(), file.get_attribute('version')))
        self.assertEqual(
            {(PAGE, b'1'), (2 * PAGE, b'1'), (2 * PAGE, b'2')}, set(found))

    def test_holes_may_come_back(self):
        found = self.outcomes(lambda file: file.punch(0, PAGE),
                              lambda file: file.pread(1, 0))
        self.assertEqual({b'a', b'\0'}, set(found))

    def test_after_a_failed_sync_nothing_is_sure(self):
        def write(file):
            file.pwrite(b'b' * PAGE, 0)
            self.host.faults.fails_syncs = True
            with self.assertRaises(OSError):
                self.run_in(file.sync())
            self.host.faults.fails_syncs = False
            # Linux takes the pages for clean now: this proves nothing.
            self.run_in(file.sync())

        found = self.outcomes(write, lambda file: file.pread(1, 0))
        self.assertEqual({b'a', b'b'}, set(found))

    def test_names_are_kept_or_lost_one_by_one(self):
        for number in range(50):
            self.file('/old%d' % number)
        for number in range(50):
            self.disk.open('/new%d' % number, create=True)
            self.disk.unlink('/old%d' % number)
        self.restart_after_power_cut()
        names = self.disk.list('/')
        for prefix in 'new', 'old':
            count = sum(name.startswith(prefix) for name in names)
            self.assertGreater(count, 10)
            self.assertLess(count, 40)

    def test_renames_are_atomic(self):
        for number in range(60):
            self.file('/%d' % number).pwrite(b'old', 0)
            self.file('/%d.new' % number).pwrite(b'new', 0)
            for name in '/%d', '/%d.new':
                self.run_in(self.disk.open(name % number).sync())
        for number in range(60):
            self.disk.rename('/%d.new' % number, '/%d' % number)
        self.restart_after_power_cut()
        found = set()
        for number in range(60):
            content = self.disk.open('/%d' % number).pread(3, 0)
            found.add((content, self.disk.exists('/%d.new' % number)))
        self.assertEqual({(b'old', True), (b'new', False)}, found)

    def test_replaced_files_are_whole_after_any_crash(self):
        async def replace():
            for number in range(1000):
                await self.disk.replace_file('/config', b'%d' % number)
                last[0] = number

        for _ in range(20):
            last = [-1]
            self.host.world.spawn(replace())
            self.simulation.run_for(0.1 * self.simulation.random.random())
            self.restart_after_power_cut()
            if last[0] >= 0:
                content = self.run_in(self.disk.read_file('/config'))
                self.assertIn(int(content), (last[0], last[0] + 1))

    def test_directories_need_a_sync_too(self):
        found = set()
        for number in range(30):
            self.disk.make_directory('/a%d/b' % number)
        self.restart_after_power_cut()
        for number in range(30):
            found.add((self.disk.exists('/a%d' % number),
                       self.disk.exists('/a%d/b' % number)))
        self.assertEqual({(False, False), (True, False), (True, True)},
                         found)

    def test_no_space(self):
        file = self.file()
        with self.assertRaises(OSError) as caught:
            file.pwrite(bytes(5 << 20), 0)
        self.assertEqual(errno.ENOSPC, caught.exception.errno)
        self.assertEqual(4 << 20, file.size())
        file.pwrite(b'x', 0)
        with self.assertRaises(OSError):
            self.file('/other').allocate(PAGE)
        self.disk.unlink('/file')
        self.file('/other').allocate(4 << 20)
        self.assertEqual(0, self.disk.space('/').free)

    def test_faults(self):
        file = self.file()
        self.host.faults.fails_writes = True
        with self.assertRaises(OSError):
            file.pwrite(b'x', 0)
        self.host.faults.fails_writes = False
        self.host.faults.fails_reads = True
        for read in file.pread, lambda *a: self.run_in(file.pread_cold(*a)):
            with self.assertRaises(OSError):
                read(1, 0)
        self.simulation.heal()
        self.assertEqual(b'', file.pread(1, 0))

    def test_past_the_cache(self):
        file = self.file()
        self.run_in(file.write_past_cache(b'x' * PAGE, PAGE))
        self.assertEqual(bytes(PAGE) + b'x' * PAGE, file.pread(3 * PAGE, 0))
        self.host.faults.fails_writes = True
        with self.assertRaises(OSError):
            self.run_in(file.write_past_cache(b'y' * PAGE, PAGE))

    def test_no_attributes_and_read_only(self):
        file = self.file()
        self.host.image.has_attributes = False
        with self.assertRaises(OSError) as caught:
            file.set_attribute('name', b'')
        self.assertEqual(errno.ENOTSUP, caught.exception.errno)
        self.host.image.is_read_only = True
        for call in (lambda: file.pwrite(b'x', 0),
                     lambda: self.disk.open('/other', create=True),
                     lambda: self.disk.make_directory('/d')):
            with self.assertRaises(OSError) as caught:
                call()
            self.assertEqual(errno.EROFS, caught.exception.errno)

    def test_a_slow_disk(self):
        file = self.file()
        begun = self.simulation.loop.time()
        self.run_in(file.sync())
        usual = self.simulation.loop.time() - begun
        self.host.faults.slowness = 1000
        self.run_in(file.sync())
        self.assertGreater(self.simulation.loop.time() - begun, 50 * usual)

    def test_bit_rot(self):
        file = self.file()
        file.pwrite(bytes(2 * PAGE), 0)
        self.host.image.lookup('/file').rot(1, 9)
        self.assertEqual(b'\0\2', file.pread(2, PAGE))

    def test_cold_pages(self):
        file = self.file()
        file.pwrite(b'x', 0)
        self.host.faults.cold_chance = 1
        self.assertIsNone(file.pread_warm(1, 0))
        self.assertEqual(b'x', self.run_in(file.pread_cold(1, 0)))
        self.host.faults.cold_chance = 0
        self.assertEqual(b'x', file.pread_warm(1, 0))

    def test_locks_end_with_their_process(self):
        self.disk.lock('/lock')
        with self.assertRaises(BlockingIOError):
            self.disk.lock('/lock')
        self.host.kill()
        self.start()
        self.disk.lock('/lock').close()
        self.disk.lock('/lock')

    def test_dying_in_the_middle_of_a_write(self):
        sizes = set()
        for number in range(20):
            file = self.file('/%d' % number)
            self.host.process.kill_after(1)
            with self.assertRaises(loop_module.Killed):
                file.pwrite(b'x' * 10000, 0)
            self.start()
            sizes.add(self.disk.open('/%d' % number).size())
        self.assertGreater(len(sizes), 10)
        self.assertLessEqual(max(sizes), 10000)

    def test_dying_at_each_step_of_a_replacement(self):
        async def replace():
            await self.disk.replace_file('/config', b'old')
            self.host.process.kill_after(step)
            await self.disk.replace_file('/config', b'new')

        contents = []
        for step in range(1, 20):
            self.host.world.spawn(replace())
            self.simulation.run_for(1)
            if self.host.is_running:
                break
            self.start()
            contents.append(self.run_in(self.disk.read_file('/config')))
        self.assertGreater(step, 4)
        self.assertEqual({b'old', b'new'}, set(contents))
        self.assertEqual(sorted(contents, reverse=True), contents)

    def test_run(self):
        self.assertEqual(5, self.run_in(self.disk.run(sum, (2, 3))))

    def test_closed_files(self):
        file = self.file()
        file.close()
        with self.assertRaises(OSError):
            file.pwrite(b'x', 0)

    def test_paths(self):
        with self.assertRaises(FileNotFoundError):
            self.disk.open('/no/file', create=True)
        with self.assertRaises(FileNotFoundError):
            self.run_in(self.disk.read_file('/none'))
        self.file('/file')
        with self.assertRaises(NotADirectoryError):
            self.disk.list('/file')
        self.assertFalse(self.disk.exists('/file/below'))

    def test_replacing_is_in_the_order_of_asking(self):
        async def main():
            await asyncio.gather(*(
                self.disk.replace_file('/file', b'%d' % number)
                for number in range(20)))

        self.run_in(main())
        self.assertEqual(b'19', self.run_in(self.disk.read_file('/file')))
        self.assertEqual(['file'], self.disk.list('/'))
