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

from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import mounts

OBJECT = 4 << 20
VDI_BYTES = 256 << 20


class TestFull(case.DirectoryCase):

    def setUp(self):
        super().setUp()
        self.cluster = harness.Cluster(
            self.directory, 'local:%s' % (self.directory / 'coordination'))
        for sheep in self.cluster.sheep:
            mounts.mount(self, sheep.meta, 'tmpfs', 'size=192m')
        self.addCleanup(self.cluster.end)
        self.addOnException(
            lambda _info: self.attach(self.cluster.logs()))
        self.cluster.start()
        self.cluster.form()

    def fill(self, volume):
        """Write until there is no room; how many objects got there."""
        for index in range(VDI_BYTES // OBJECT):
            try:
                volume.write(index * OBJECT, self.data(index), fua=True)
            except errors.NoSpace:
                return index
        self.fail('there is more room than there can be')

    def data(self, index):
        return bytes([index + 1]) * OBJECT

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
