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


"""A cluster whose disks are full: writes fail clearly, all else goes on."""

import os

from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import mounts

OBJECT = 4 << 20
VDI_BYTES = 256 << 20


class FullCase(case.DirectoryCase):

    def setUp(self):
        super().setUp()
        self.cluster = harness.Cluster(
            self.directory, 'local:%s' % (self.directory / 'coordination'))
        for sheep in self.cluster.sheep:
            self.mount(sheep.meta)
        self.addCleanup(self.cluster.end)
        self.addOnException(
            lambda _info: self.attach(self.cluster.logs()))
        self.cluster.start()
        self.cluster.form()

    def data(self, index):
        return bytes([index + 1]) * OBJECT


class TestFull(FullCase):

    def mount(self, directory):
        mounts.mount(self, directory, 'tmpfs', 'size=192m')

    def fill(self, volume):
        """Write until there is no room; how many objects got there."""
        for index in range(VDI_BYTES // OBJECT):
            try:
                volume.write(index * OBJECT, self.data(index), fua=True)
            except errors.NoSpace:
                return index
        self.fail('there is more room than there can be')

    def check(self, count):
        for sheep in self.cluster.sheep:
            with sheep.client() as client:
                with client.open('vdi', read_only=True) as volume:
                    for index in range(count):
                        data = volume.read(index * OBJECT, OBJECT)
                        if data != self.data(index):
                            self.fail('object %d through %r' % (index,
                                                                sheep))

    def test_until_something_is_deleted(self):
        self.cluster.create('small', 16 << 20)
        self.cluster.create('vdi', VDI_BYTES)
        with self.cluster.client() as client:
            with client.open('small') as volume:
                volume.write(0, b'\xaa' * (8 << 20), fua=True)
            with client.open('vdi') as volume:
                count = self.fill(volume)
                self.assertGreater(count, 5)
        self.check(count)
        done = self.cluster.dog('vdi', 'write', 'vdi', '128M', '16M',
                                expect=4, input=b'x' * (16 << 20),
                                text=False)
        self.assertIn(b'dog: ', done.stderr)
        # Restarting all of them is possible, too.
        self.cluster.kill_all()
        self.cluster.make_whole()
        self.check(count)
        self.cluster.dog('vdi', 'delete', 'small')
        harness.wait_until(self.has_room, 60, 'the room of what was deleted')
        self.check(count)

    def has_room(self):
        with self.cluster.client() as client:
            with client.open('vdi') as volume:
                try:
                    volume.write(200 << 20, self.data(50), fua=True)
                except errors.NoSpace:
                    return False
                return volume.read(200 << 20, OBJECT) == self.data(50)


@case.needs('qemu-io', 'mkfs.ext4')
class TestExt4(FullCase):
    """A real file system below the sheep, and a real client above."""

    def mount(self, directory):
        mounts.mount_image(self, directory, 'ext4', 176 << 20)

    def qemu_io(self, *commands, sheep=0):
        """What it says; it goes on after an error."""
        words = [word for command in commands for word in ('-c', command)]
        done = harness.run(
            'qemu-io', '-f', 'raw', *words,
            self.cluster.sheep[sheep].nbd_uri('vdi'), expect=None)
        return done.stdout + done.stderr

    def write(self, first, count):
        """How many objects could be written."""
        said = self.qemu_io(*(
            'write -P %d %d %d' % (index + 1, index * OBJECT, OBJECT)
            for index in range(first, first + count)), 'flush')
        wrote = said.count('wrote %d/%d' % (OBJECT, OBJECT))
        self.assertEqual(count - wrote, said.count(
            'write failed: No space left on device'), said)
        return wrote

    def check_pattern(self, count):
        for sheep in range(3):
            said = self.qemu_io(*(
                'read -P %d %d %d' % (index + 1, index * OBJECT, OBJECT)
                for index in range(count)), sheep=sheep)
            self.assertEqual(count, said.count('read %d/%d' % (
                OBJECT, OBJECT)), said)
            self.assertNotIn('verification failed', said)

    def test_to_the_brim_and_back(self):
        self.cluster.create('old', 64 << 20)
        self.cluster.create('vdi', VDI_BYTES)
        with self.cluster.client() as client, client.open('old') as volume:
            for index in range(6):
                volume.write(index * OBJECT, self.data(index))
        count = self.write(0, VDI_BYTES // OBJECT)
        self.assertGreater(count, 5)
        self.assertLess(count, 40)
        self.check_pattern(count)
        said = harness.run(
            harness.BIN / 'sheepdog-manage', '-a',
            self.cluster.sheep[0].address, 'status', '--why', expect=None,
            env=dict(os.environ,
                     SHEEPDOG_KEY_FILE=str(self.cluster.key_file))).stdout
        for sheep in self.cluster.sheep:
            self.assertIn('the disk of %s is full: ' % sheep.address, said)
        for sheep in self.cluster.sheep:
            # What else there is on these disks takes all the rest.
            mounts.fill(sheep.meta)
        self.check_pattern(count)
        # They start without it, too.
        self.cluster.kill_all()
        for sheep in self.cluster.sheep:
            mounts.fill(sheep.meta)
        self.cluster.make_whole()
        self.check_pattern(count)
        self.cluster.dog('vdi', 'delete', 'old')
        harness.wait_until(
            lambda: all(self.free(sheep) >= 5 * OBJECT
                        for sheep in self.cluster.sheep),
            60, 'the room of what was deleted')
        for sheep in self.cluster.sheep:
            (sheep.meta / 'filler').unlink()
        self.assertEqual(2, self.write(count, 2))
        self.check_pattern(count + 2)
        self.cluster.dog('vdi', 'check', 'vdi')

    def free(self, sheep):
        found = os.statvfs(sheep.meta)
        return found.f_bfree * found.f_frsize
