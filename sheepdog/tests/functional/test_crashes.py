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


"""Daemons are killed and suspended, and nothing acknowledged is missing."""

import os
import random
import shutil
import subprocess
import tempfile
import time

from testtools import content

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import images
from sheepdog.tests.functional import ranges
from sheepdog.tests.functional import writers

VDI_BYTES = 64 << 20
SUSPENDED_SECONDS = 2.5 * harness.TTL_SECONDS
SHORT_PATIENCE_SECONDS = 5.0
"""Where a sheep hangs to which somebody writes."""

WRITES = 150
TROUBLE_SECONDS = float(os.environ.get('SHEEPDOG_TROUBLE_SECONDS', 40))
ALL = ('back', 'durable', 'ranges', 'library')
OBJECT_SHIFTS = {'ranges': 20}


def setUpModule():
    global DIRECTORY
    DIRECTORY = tempfile.mkdtemp(prefix='sheepdog-image-')


def tearDownModule():
    shutil.rmtree(DIRECTORY)


class CrashTests:

    def setUp(self):
        super().setUp()
        self.writers = []
        leader = self.cluster.leader()
        self.leader = leader
        self.follower, self.other = self.cluster.others(leader)

    def write_to(self, *sheep, patience=None):
        """Start writers that prefer these sheep in this order: over NBD,
        write-back, durable, and of all kinds; and with the library.

        :param patience: of the first three, with one request, in seconds
        """
        order = list(sheep) + self.cluster.others(*sheep)
        addresses = [one.nbd_address for one in order]
        client = self.cluster.client(*order)
        self.addCleanup(client.close)
        for name, make in (
                ('back', lambda: writers.NbdWriter(
                    1, addresses, 'back')),
                ('durable', lambda: writers.NbdWriter(
                    2, addresses, 'durable', fua=True)),
                ('ranges', lambda: ranges.RangeWriter(
                    3, addresses, 'ranges')),
                ('library', lambda: writers.LibraryWriter(
                    4, client, 'library'))):
            self.create(name, VDI_BYTES, block_size_shift=OBJECT_SHIFTS.get(
                name, 22))
            writer = make()
            if patience is not None:
                writer.patience_seconds = patience
            self.writers.append(self.start_writer(writer))
        self.go_on()

    def go_on(self, count=WRITES):
        """Until everybody has that many more acknowledged."""
        for writer in self.writers:
            writer.wait_for(count)

    def stop_and_check(self, untroubled=('library',)):
        """:param untroubled: whose writes all went well, though perhaps not
            at the first attempt"""
        for writer in self.writers:
            writer.stop()
        self.cluster.wait_whole()
        writers.check_everywhere(self.cluster, {
            writer.name: writer.record for writer in self.writers})
        for writer in self.writers:
            if writer.name in untroubled:
                self.assertEqual(writer.troubles, [], writer.name)

    def test_a_sheep_that_serves_nobody_is_killed(self):
        self.write_to(self.leader)
        self.follower.kill()
        self.go_on()
        self.cluster.wait_whole()
        self.follower.start()
        self.go_on()
        self.cluster.wait_whole()
        self.go_on()
        self.stop_and_check(ALL)

    def test_the_one_that_writes_is_killed(self):
        self.write_to(self.follower)
        self.follower.kill()
        self.go_on()
        self.follower.start()
        self.go_on()
        self.stop_and_check()

    def test_the_leader_is_killed(self):
        self.write_to(self.follower)
        self.leader.kill()
        self.go_on()
        self.assertIn(self.cluster.leader(), [self.follower, self.other])
        self.leader.start()
        self.go_on()
        self.stop_and_check(ALL)

    def test_the_one_that_writes_is_suspended(self):
        self.write_to(self.follower, patience=SHORT_PATIENCE_SECONDS)
        self.follower.suspend()
        time.sleep(SUSPENDED_SECONDS)
        self.go_on()
        self.follower.resume()
        self.go_on()
        self.stop_and_check()

    def test_the_leader_is_suspended(self):
        self.write_to(self.follower)
        self.leader.suspend()
        time.sleep(SUSPENDED_SECONDS)
        self.go_on()
        self.leader.resume()
        self.go_on()
        self.stop_and_check(ALL)

    def test_all_are_killed_at_once(self):
        self.write_to(self.follower)
        epoch = self.cluster.epoch()
        self.cluster.kill_all()
        self.be_patient()
        self.cluster.start()
        self.go_on()
        self.assertEqual(self.cluster.epoch(), epoch)
        self.stop_and_check(untroubled=())

    def is_begun(self):
        """The first objects of the image are there."""
        with self.cluster.client() as client:
            return any(vdi['used'] for vdi in client.vdis.list()
                       if vdi['name'] == 'image')

    @case.needs('qemu-img', 'mkfs.ext4', 'e2fsck')
    def test_one_is_killed_while_an_image_is_copied(self):
        image = images.make_image(DIRECTORY)
        self.create('image', images.BYTES)
        copying = subprocess.Popen(
            ['qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw',
             str(image), self.leader.nbd_uri('image')],
            stderr=subprocess.PIPE, text=True)
        self.addCleanup(copying.kill)
        self.addCleanup(copying.stderr.close)
        harness.wait_until(self.is_begun, 60, 'something to be copied')
        self.other.kill()
        self.other.start()
        code = copying.wait(300)
        self.assertEqual(code, 0, copying.stderr.read())
        self.cluster.wait_whole()
        for sheep in self.cluster.sheep:
            copy = self.directory / ('copy-%d' % sheep.number)
            harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw',
                        sheep.nbd_uri('image'), copy)
            self.assertEqual(images.digest(copy), images.digest(image))
        images.check_file_system(copy)


class TestFile(CrashTests, case.ClusterCase):
    driver = 'file'

    def test_all_are_killed_one_after_the_other(self):
        """Each restart before the next kill, but no wait for recovery."""
        self.write_to(self.follower)
        for sheep in self.cluster.sheep * 2:
            sheep.kill()
            sheep.start()
            sheep.wait_answering()
            self.go_on(20)
        self.stop_and_check()

    def test_any_trouble_in_any_order(self):
        seed = random.SystemRandom().randrange(1 << 32)
        self.addDetail('seed', content.text_content(str(seed)))
        chance = random.Random(seed)
        self.write_to(self.other, patience=SHORT_PATIENCE_SECONDS)
        until = time.monotonic() + TROUBLE_SECONDS
        while time.monotonic() < until:
            trouble = chance.choice(['kill', 'kill', 'suspend', 'all'])
            sheep = chance.choice(self.cluster.sheep)
            if trouble == 'kill':
                sheep.kill()
            elif trouble == 'all':
                self.cluster.kill_all()
            else:
                sheep.suspend()
            time.sleep(chance.expovariate(1 / harness.TTL_SECONDS))
            self.cluster.start()
            self.cluster.wait_whole()
            self.go_on(20)
        self.stop_and_check(untroubled=())


class TestZookeeper(CrashTests, case.ClusterCase):
    driver = 'zookeeper'


class TestEtcd(CrashTests, case.ClusterCase):
    driver = 'etcd'


class TestRedis(CrashTests, case.ClusterCase):
    driver = 'redis'
