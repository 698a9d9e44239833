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


"""A real file system goes into a VDI and comes out of another sheep."""

import json
import shutil
import tempfile

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import images

MARGIN = 1.1


def setUpModule():
    global DIRECTORY
    DIRECTORY = tempfile.mkdtemp(prefix='sheepdog-image-')


def tearDownModule():
    shutil.rmtree(DIRECTORY)


@case.needs('qemu-img', 'mkfs.ext4', 'e2fsck', 'nbdinfo')
class ImageTests:

    ttl = harness.PATIENT_TTL_SECONDS

    def setUp(self):
        super().setUp()
        self.image = images.make_image(DIRECTORY)
        self.allocated = images.allocated_bytes(self.image)
        self.create('disk', images.BYTES)

    def test_in_by_one_sheep_out_by_another(self):
        first, second, third = self.cluster.sheep
        harness.run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw',
                    self.image, first.nbd_uri('disk'))
        copy = self.directory / 'copy'
        harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw',
                    second.nbd_uri('disk'), copy)
        self.assertEqual(images.digest(copy), images.digest(self.image))
        images.check_file_system(copy)
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw',
                    third.nbd_uri('disk'), self.image)
        self.assert_sparse(third, copy)

    def assert_sparse(self, sheep, copy):
        at_most = self.allocated * MARGIN
        uri = sheep.nbd_uri('disk')
        self.assertLessEqual(images.allocated_bytes(uri), at_most)
        self.assertLessEqual(copy.stat().st_blocks * 512, at_most)
        extents = json.loads(harness.run('nbdinfo', '--map', '--json',
                                         uri).stdout)
        self.assertEqual(sum(extent['length'] for extent in extents),
                         images.BYTES)
        self.assertLessEqual(sum(extent['length'] for extent in extents
                                 if not extent['type'] & 2), at_most)
        for one in self.cluster.sheep:
            used = sum(path.stat().st_blocks * 512
                       for path in (one.meta / 'obj').rglob('*')
                       if path.is_file())
            self.assertLess(used, at_most + (16 << 20))


class TestFile(ImageTests, case.ClusterCase):
    driver = 'file'

    def test_dog_writes_and_reads_it(self):
        first, second, third = self.cluster.sheep
        with open(self.image, 'rb') as file:
            self.cluster.dog('vdi', 'write', '-w', 'disk', sheep=first,
                             stdin=file)
        copy = self.directory / 'copy'
        with open(copy, 'wb') as file:
            done = harness.subprocess.run(
                [str(harness.BIN / 'dog'), 'vdi', 'read', 'disk', '-p',
                 str(second.port), '--key-file',
                 str(self.cluster.key_file)], stdout=file, timeout=120)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(images.digest(copy), images.digest(self.image))

    @case.needs('nbdcopy')
    def test_over_several_connections(self):
        first, second, _third = self.cluster.sheep
        harness.run('nbdcopy', '--connections=4', '--requests=32',
                    '--flush', self.image, first.nbd_uri('disk'))
        copy = self.directory / 'copy'
        harness.run('nbdcopy', '--connections=4', second.nbd_uri('disk'),
                    copy)
        self.assertEqual(images.digest(copy), images.digest(self.image))


class TestZookeeper(ImageTests, case.ClusterCase):
    driver = 'zookeeper'


class TestEtcd(ImageTests, case.ClusterCase):
    driver = 'etcd'


class TestRedis(ImageTests, case.ClusterCase):
    driver = 'redis'
