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

"""Images of all formats become VDIs, and VDIs images. QEMU judges."""

import contextlib
import functools
import http.server
import json
import random
import signal
import socketserver
import subprocess
import threading

from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import mounts

SIZE = 96 << 20
ISLANDS = 24
FORMATS = ('raw', 'qcow2', 'vdi', 'vhdx', 'vmdk', 'vpc')


class Files(http.server.SimpleHTTPRequestHandler):

    def log_message(self, *_arguments):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@case.needs('qemu-img', 'qemu-nbd')
class TestImageTransfer(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS

    def setUp(self):
        super().setUp()
        self.raw = self.directory / 'raw'
        chance = random.Random(5)
        with open(self.raw, 'wb') as file:
            file.truncate(SIZE)
            for _ in range(ISLANDS):
                file.seek(chance.randrange(SIZE - (1 << 20)))
                file.write(chance.randbytes(chance.randrange(1, 300000)))
            # Room that is taken, and zero.
            file.seek(SIZE - (8 << 20))
            file.write(bytes(4 << 20))

    def manage(self, *words, expect=0, **options):
        return harness.run(
            harness.BIN / 'sheepdog-manage', '-a',
            self.cluster.running[0].address, '--key-file',
            self.cluster.key_file, *words, expect=expect, **options)

    def image(self, *words):
        return json.loads(self.manage('image', *words, '-f', 'json').stdout)

    def names(self):
        with self.cluster.client() as client:
            return [vdi['name'] for vdi in client.vdis.list()]

    def forget(self, name):
        """As soon as whoever had it open is seen to have left."""
        def is_deleted():
            with contextlib.suppress(errors.VdiLocked):
                with self.cluster.client() as client:
                    client.vdis.delete(name)
                return True
        harness.wait_until(is_deleted, 60, '%s to be closed' % name)

    def convert(self, image_format):
        image = self.directory / ('image.%s' % image_format)
        harness.run('qemu-img', 'convert', '-f', 'raw', '-O', image_format,
                    *(['-o', 'force_size=on'] if image_format == 'vpc'
                      else []), self.raw, image)
        return image

    def assert_same(self, image_format, image):
        harness.run('qemu-img', 'compare', '-f', 'raw', '-F', image_format,
                    self.raw, image)

    def test_all_formats_in_and_out(self):
        for image_format in FORMATS:
            source = self.convert(image_format)
            made = self.image('import', source, 'disk')
            self.assertEqual((SIZE, image_format),
                             (made['size'], made['format']))
            # Zeroes are left out, whether they took room there or not.
            self.assertLess(made['written'], ISLANDS * 450000)
            self.assert_same('raw', self.cluster.sheep[2].nbd_uri('disk'))
            copy = self.directory / 'copy'
            self.image('export', 'disk', copy, '--image-format', image_format)
            self.assert_same(image_format, copy)
            with self.cluster.client() as client:
                used = client.vdis.list('disk')[0]['used']
            self.assertLess(used, SIZE)
            copy.unlink()
            self.forget('disk')

    def test_a_raw_image_is_sparse(self):
        self.image('import', self.raw, 'disk')
        copy = self.directory / 'copy'
        self.image('export', 'disk', copy)
        self.assertEqual(self.raw.read_bytes(), copy.read_bytes())
        self.assertLess(copy.stat().st_blocks * 512, ISLANDS * 450000)
        self.forget('disk')

    def test_onto_strips_or_other_numbers_of_copies(self):
        self.image('import', self.raw, 'disk', '--copies', '2:1')
        self.assert_same('raw', self.cluster.sheep[1].nbd_uri('disk'))
        self.forget('disk')

    def test_from_a_url(self):
        image = self.convert('qcow2')
        server = Server(('127.0.0.1', 0), functools.partial(
            Files, directory=self.directory))
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = 'http://127.0.0.1:%d/' % server.server_port
        made = self.image('import', url + image.name, 'disk')
        self.assertEqual('qcow2', made['format'])
        self.assert_same('raw', self.cluster.sheep[0].nbd_uri('disk'))
        self.forget('disk')
        refused = self.manage('image', 'import', url + 'none', 'disk',
                              expect=1)
        self.assertIn('404', refused.stderr)
        # The file that it names is one of this host.
        self.flat_image('evil', self.raw)
        self.manage('image', 'import', url + 'evil', 'disk', expect=1)
        self.manage('image', 'import', url + 'evil', 'disk',
                    '--image-format', 'vmdk', expect=1)
        self.assertEqual([], self.names())

    def flat_image(self, name, content):
        path = self.directory / name
        path.write_text(
            '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n'
            'createType="monolithicFlat"\n\nRW 1024 FLAT "%s" 0\n'
            % content)
        return path

    def test_what_could_show_other_files_is_refused(self):
        secret = self.directory / 'secret'
        secret.write_bytes(b'secret' * 100000)
        backed = self.directory / 'backed'
        harness.run('qemu-img', 'create', '-f', 'qcow2', '-b', secret, '-F',
                    'raw', backed, '4M')
        outside = self.directory / 'outside'
        harness.run('qemu-img', 'create', '-f', 'qcow2', '-o',
                    'data_file=%s,data_file_raw=on' % (self.directory / 'd'),
                    outside, '4M')
        flat = self.flat_image('flat.vmdk', secret)
        for image, more in (
                (backed, ()), (outside, ()), (flat, ()),
                (backed, ('--image-format', 'qcow2')),
                (outside, ('--image-format', 'qcow2')),
                (flat, ('--image-format', 'vmdk'))):
            self.manage('image', 'import', image, 'disk', *more, expect=1)
        self.assertEqual([], self.names())
        # As a raw disk it is just bytes: who says so gets these.
        self.image('import', backed, 'disk', '--image-format', 'raw')
        with self.cluster.client() as client, client.open(
                'disk', read_only=True) as volume:
            self.assertEqual(b'QFI\xfb', bytes(volume.read(0, 4)))
        self.forget('disk')

    def test_wrong_input(self):
        self.create('taken', 4 << 20)
        there = self.directory / 'there'
        there.write_bytes(b'precious')
        empty = self.directory / 'empty'
        empty.touch()
        for words, code, said in (
                (('import', self.raw, 'taken'), 3, 'taken'),
                (('import', self.directory / 'none', 'disk'), 1,
                 'No such file'),
                (('import', empty, 'disk'), 1, 'empty'),
                (('import', 'gopher://here/x', 'disk'), 1, 'gopher'),
                (('import', self.raw, 'disk', '--image-format', 'word'), 64,
                 'word'),
                (('import', self.raw, 'disk', '--image-format', 'vhdx'), 1,
                 'raw'),
                (('import', self.raw, 'disk', '--copies', '9:9:9'), 64,
                 '9:9:9'),
                (('export', 'none', self.directory / 'x'), 5, 'none'),
                (('export', 'taken', there), 3, '--force'),
                (('export', 'taken', self.directory / 'no' / 'where'), 1,
                 'No such file')):
            refused = self.manage('image', *words, expect=code)
            self.assertIn(said, refused.stderr, words)
        self.assertEqual(['taken'], self.names())
        self.assertEqual(b'precious', there.read_bytes())
        self.image('export', 'taken', there, '--force')
        self.assertEqual(4 << 20, there.stat().st_size)

    def test_who_is_interrupted_leaves_nothing(self):
        harness.take_interrupts(self)
        for number, code in (signal.SIGINT, 130), (signal.SIGTERM, 143):
            self.interrupted(number, code)

    def interrupted(self, number, code):
        big = self.directory / 'big'
        with open(big, 'wb') as file:
            for _ in range(400):
                file.write(random.Random(1).randbytes(1 << 20))
        process = subprocess.Popen(
            [harness.BIN / 'sheepdog-manage', '-a',
             self.cluster.sheep[0].address, '--key-file',
             self.cluster.key_file, 'image', 'import', big, 'disk'],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        harness.wait_until(lambda: 'disk' in self.names(), 60, 'the VDI')
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        self.assertEqual(code, process.returncode, said)
        self.assertEqual([], self.names(), said)

    def test_through_the_death_of_a_sheep(self):
        """The sheep that copies is killed: another one goes on."""
        process = subprocess.Popen(
            [harness.BIN / 'sheepdog-manage',
             *(word for sheep in self.cluster.sheep
               for word in ('-a', sheep.address)),
             '--key-file', self.cluster.key_file, 'image', 'import',
             self.raw, 'disk', '--image-format', 'raw'],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        harness.wait_until(lambda: 'disk' in self.names(), 60, 'the VDI')
        self.cluster.sheep[0].kill()
        _, said = process.communicate(timeout=120)
        self.assertEqual(0, process.returncode, said)
        self.assert_same('raw', self.cluster.sheep[1].nbd_uri('disk'))
        self.forget('disk')

    def test_no_room_for_an_export(self):
        small = mounts.mount(self, self.directory / 'small', 'tmpfs',
                             'size=2M')
        self.image('import', self.raw, 'disk')
        refused = self.manage('image', 'export', 'disk', small / 'copy',
                              expect=4)
        self.assertIn('No space', refused.stderr)
        self.assertEqual([], list(small.iterdir()))
        self.forget('disk')
