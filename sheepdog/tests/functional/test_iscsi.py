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


"""tgt serves VDIs over iSCSI, by its own native client.

libiscsi's programs, and QEMU with libiscsi, write and read them; the same
bytes are then seen over NBD, and the other way round.
"""

import random
import shutil
import subprocess

from sheepdog.client import nbd_client
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import images
from sheepdog.tests.functional import tgt

VDI_BYTES = 64 << 20


def has_qemu_iscsi():
    if shutil.which('qemu-img') is None:
        return False
    told = subprocess.run(['qemu-img', '--help'], capture_output=True,
                          text=True).stdout
    return 'iscsi' in told.rpartition('Supported formats:')[2].split()


@case.needs('tgtd', 'tgtadm', 'iscsi-ls', 'iscsi-inq', 'iscsi-perf',
            'qemu-img', 'qemu-io')
class IscsiTests:

    ttl = harness.PATIENT_TTL_SECONDS

    def setUp(self):
        super().setUp()
        if not has_qemu_iscsi():
            self.skipTest('QEMU has no iSCSI here: qemu-block-extra')
        self.create('lun', VDI_BYTES)
        self.tgt = tgt.Tgt(self.directory)
        self.addCleanup(self.tgt.stop)
        self.tgt.start()
        self.addOnException(lambda _info: self.attach(
            {'tgtd.out': harness.tail(self.tgt.output)}))

    def test_over_the_unix_socket(self):
        sheep = self.cluster.sheep[0]
        self.check_all('unix:%s:lun' % (sheep.meta / 'sock'))

    def test_over_tcp(self):
        sheep = self.cluster.sheep[1]
        self.check_all('tcp:%s:%d:lun' % (harness.HOST, sheep.port))

    def check_all(self, store):
        image = self.make_image()
        other = self.cluster.sheep[2]
        url = self.tgt.export(1, store)
        self.check_what_it_is(url)
        harness.run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw',
                    image, url)
        self.qemu_io(url, 'write -P 0x5a 1M 64k', 'write -P 0xa5 4095k 2k',
                     'flush', 'read -P 0x5a 1M 64k')
        expected = bytearray(image.read_bytes())
        expected[1 << 20:(1 << 20) + (64 << 10)] = b'\x5a' * (64 << 10)
        expected[4095 << 10:4097 << 10] = b'\xa5' * (2 << 10)
        image.write_bytes(expected)
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', url,
                    image)
        harness.run('iscsi-perf', '-t', '1', '-m', '16', '-r', url)
        # While tgt has it, others may look, but not write.
        with other.client() as client:
            with client.open('lun', read_only=True) as volume:
                if volume.read(0, VDI_BYTES) != expected:
                    self.fail('%r reads something else' % other)
        with self.assertRaises(nbd_client.NbdRefused):
            nbd_client.NbdClient(other.nbd_address, 'lun')
        self.tgt.remove(1)
        self.wait_unlocked()
        copy = self.directory / 'copy'
        harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw',
                    other.nbd_uri('lun'), copy)
        self.assertEqual(images.digest(copy), images.digest(image))
        # The other way round.
        with nbd_client.NbdClient(other.nbd_address, 'lun') as client:
            client.write(5 << 20, b'from NBD' * 512, fua=True)
            client.write(VDI_BYTES - 4096, b'\x77' * 4096, fua=True)
        url = self.tgt.export(1, store)
        self.qemu_io(url, 'read -P 0x77 %d 4096' % (VDI_BYTES - 4096))
        harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', url,
                    copy)
        self.assertEqual(copy.read_bytes()[5 << 20:][:4096],
                         b'from NBD' * 512)

    def make_image(self):
        path = self.directory / 'image'
        chance = random.Random(7)
        with open(path, 'wb') as image:
            image.truncate(VDI_BYTES)
            for _count in range(12):
                image.seek(chance.randrange(VDI_BYTES - (1 << 20)))
                image.write(chance.randbytes(chance.randrange(1 << 20)))
        return path

    def check_what_it_is(self, url):
        portal = url.rpartition('/iqn')[0]
        listed = harness.run('iscsi-ls', '-s', portal + '/').stdout
        self.assertRegex(listed, r'Lun:1 +Type:DIRECT_ACCESS')
        told = harness.run('iscsi-inq', url).stdout
        self.assertIn('Peripheral Device Type:DIRECT_ACCESS', told)
        told = harness.run('iscsi-readcapacity16', url).stdout
        self.assertIn('Total size:%d' % VDI_BYTES, told)

    def qemu_io(self, url, *commands):
        words = []
        for command in commands:
            words += ['-c', command]
        done = harness.run('qemu-io', '-f', 'raw', *words, url)
        self.assertNotIn('failed', done.stdout + done.stderr)

    def wait_unlocked(self):
        def is_free():
            with self.cluster.client() as client:
                return not client.vdis.locks()
        harness.wait_until(is_free, 60, 'tgt to give its lock back')


class TestFile(IscsiTests, case.ClusterCase):
    driver = 'file'


class TestZookeeper(IscsiTests, case.ClusterCase):
    driver = 'zookeeper'


class TestEtcd(IscsiTests, case.ClusterCase):
    driver = 'etcd'


class TestRedis(IscsiTests, case.ClusterCase):
    driver = 'redis'
