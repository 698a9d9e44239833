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

import json

from sheepdog.store import store as store_module
from sheepdog.testing import world as sim
from sheepdog.tests.unit.store import case


class RefusalTest(case.StoreCase):
    """Each refusal names the path, and leaves everything as it was."""

    def names(self) -> list:
        return [(path, inode.read(inode.size, 0))
                for path, inode in self.host.image.files()]

    def assert_refused(self, exit_code: int, *words, **changes) -> None:
        before = self.names()
        with self.assertRaises(store_module.StoreRefused) as caught:
            self.open(**changes)
        self.assertEqual(exit_code, caught.exception.exit_code)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertEqual(before, [
            entry for entry in self.names() if entry[0] != '/meta/lock'])

    def put(self, path: str, data: bytes) -> None:
        self.host.start()
        self.host.world.disk.open(path, create=True).pwrite(data, 0)

    def make(self) -> None:
        self.open()
        self.write(1, 0, b'x')
        self.close()
        # The lock is no longer held, its file stays.
        directory = self.host.image.directory('/meta')
        directory.change(('lock', None))

    def test_not_a_directory(self):
        self.put('/meta', b'a file')
        self.assert_refused(2, '/meta', 'not a directory')

    def test_in_use(self):
        self.open()
        with self.assertRaises(store_module.StoreRefused) as caught:
            self.open()
        self.assertIn('in use by another sheep', str(caught.exception))
        self.assertEqual(2, caught.exception.exit_code)

    def test_read_only(self):
        self.make()
        self.host.image.is_read_only = True
        self.assert_refused(2, '/meta', 'written')

    def test_no_extended_attributes(self):
        self.host.make_durable_directory('/meta')
        self.host.image.has_attributes = False
        self.assert_refused(2, '/meta', 'extended attributes')

    def test_no_room_for_the_journal(self):
        self.host = self.simulation.add_host('small', 1 << 19)
        self.assert_refused(4, '/meta', 'journal')
        self.assertFalse(self.host.world.disk.exists('/meta'))

    def test_a_newer_format(self):
        self.make()
        inode = self.host.image.lookup('/meta/store')
        fields = json.loads(inode.read(inode.size, 0))
        fields['format'] = 2
        inode.truncate(0)
        inode.write(json.dumps(fields).encode(), 0)
        self.assert_refused(2, '/meta', 'format 2')

    def test_an_identity_that_is_none(self):
        self.make()
        self.host.image.lookup('/meta/store').write(b'?', 0)
        self.assert_refused(2, '/meta/store')

    def test_objects_without_an_identity(self):
        self.make()
        self.host.image.directory('/meta').change(('store', None))
        self.assert_refused(2, '/meta/store', 'missing')

    def test_settings_out_of_range(self):
        for changes in ({'journal_bytes': 1000}, {'directio': True},
                        {'open_objects_max': 0},
                        {'checkpoint_seconds': 0.0}):
            with self.subTest(changes=changes):
                self.assert_refused(2, **changes)


class FirstStartTest(case.StoreCase):
    def test_cut_short_anywhere(self):
        for operations in range(1, 40):
            with self.subTest(operations=operations):
                self.simulation = sim.Simulation(operations)
                self.addCleanup(self.simulation.close)
                self.host = self.simulation.add_host('n1', 4 << 20)
                world = self.host.start()
                self.host.process.kill_after(operations)
                task = world.spawn(store_module.Store.open(
                    world, self.settings))
                self.simulation.run_until(
                    lambda: not self.host.is_running or task.done(), 60)
                self.crash(power=operations % 2 == 0)
                # Room for one journal: nothing may be left of the first.
                self.open()
                self.write(1, 0, b'x')
                self.crash()
                self.open()
                self.assertEqual(b'x', self.read(1, 0, 1))
