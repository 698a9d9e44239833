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


"""A real image in a volume of 4:2 over six sheep, of which any two go."""

import random
import shutil
import subprocess
import tempfile

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import images
from sheepdog.tests.functional import test_recovery

SECONDS = 60
MIB = 1 << 20


def setUpModule():
    global DIRECTORY
    DIRECTORY = tempfile.mkdtemp(prefix='sheepdog-image-')


def tearDownModule():
    shutil.rmtree(DIRECTORY)


@case.needs('qemu-img', 'mkfs.ext4', 'e2fsck', 'nbdcopy')
class CodedImageTest(test_recovery.RecoveryCase):

    count = 6
    ttl = harness.PATIENT_TTL_SECONDS

    def setUp(self):
        super().setUp()
        self.image = images.make_image(DIRECTORY)

    def test_two_go_at_once_for_good_and_two_more(self):
        first, second, third, fourth, fifth, sixth = self.cluster.sheep
        self.cluster.dog('vdi', 'create', 'disk', images.BYTES, '-c', '4:2')
        self.addCleanup(self._delete, 'disk')
        self.copy_in(first, lambda: self.kill_at_once(fifth, sixth))
        self.assert_same(second)
        self.wait_recovered()
        self.assert_same(third)
        # Empty ones take their places.
        for sheep in (fifth, sixth):
            shutil.rmtree(sheep.meta)
        self.cluster.start()
        self.wait_recovered()
        self.kill_at_once(second, third)
        self.assert_same(fifth)
        self.wait_recovered()
        copy = self.directory / 'copy'
        harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw',
                    sixth.nbd_uri('disk'), copy)
        self.assertEqual(images.digest(copy), images.digest(self.image))
        images.check_file_system(copy)

    def copy_in(self, sheep, in_the_middle):
        """The image is written, and ``in_the_middle`` is called."""
        strips = sheep.meta / 'obj'
        copying = subprocess.Popen(
            ['nbdcopy', '--flush', self.image, sheep.nbd_uri('disk')],
            stderr=subprocess.PIPE)
        self.addCleanup(copying.kill)
        harness.wait_until(
            lambda: len(list(strips.glob('*_*'))) > 5, SECONDS,
            lambda: 'strips in %s' % strips)
        self.assertIsNone(copying.poll(), 'it should be in the middle')
        in_the_middle()
        _, complaint = copying.communicate(timeout=3 * SECONDS)
        self.assertEqual(0, copying.returncode, complaint)

    @staticmethod
    def kill_at_once(*sheep):
        for one in sheep:
            one.process.kill()
        for one in sheep:
            one.process.wait()

    def assert_same(self, sheep):
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw',
                    sheep.nbd_uri('disk'), self.image)


class ShortAbsenceTest(test_recovery.RecoveryCase):
    """One of six goes for a moment, while a little is written."""

    count = 6
    size = 64 * MIB
    share = 0.05
    step = 128 << 10

    def setUp(self):
        super().setUp()
        self.chance = random.Random(4)
        self.content = bytearray(self.chance.randbytes(self.size))
        self.writer, *_, self.absent = self.cluster.sheep
        self.cluster.dog('vdi', 'create', 'disk', self.size, '-c', '4:2')
        self.addCleanup(self._delete, 'disk')
        self.write(range(0, self.size, self.step))
        self.wait_recovered()

    def write(self, places):
        with self.writer.client() as client, client.open('disk') as volume:
            for start in places:
                volume.write(start, self.content[start:start + self.step])
            volume.flush()

    def check(self):
        with (self.absent.client() as client,
              client.open('disk', read_only=True) as volume):
            for start in range(0, self.size, MIB):
                self.assertEqual(self.content[start:start + MIB],
                                 volume.read(start, MIB))
        self.cluster.dog('vdi', 'check', 'disk')

    def test_only_what_was_written_is_moved(self):
        for leave in self.absent.terminate, self.absent.kill:
            leave()
            places = [place * self.step for place in self.chance.sample(
                range(self.size // self.step),
                int(self.size * self.share) // self.step)]
            for start in places:
                self.content[start:start + self.step] = \
                    self.chance.randbytes(self.step)
            self.write(places)
            self.absent.start()
            self.absent.wait_answering()
            self.wait_recovered()
            # It has a quarter of it, which takes four others to tell. (And
            # inodes are moved.)
            self.assertLess(self.progress(self.absent)['moved_bytes'],
                            1.5 * len(places) * self.step + MIB)
            self.check()
