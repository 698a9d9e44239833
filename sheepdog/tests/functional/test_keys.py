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

"""The cluster's key: replaced while it is in use, refused where it is not
the right one; and what a stranger gets."""

import base64
import json
import os
import pathlib
import shutil
import socket
import unittest

from sheepdog.client import key_file
from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import writers
from sheepdog.wire import native
from sheepdog.wire import peer as wire

SYSTEM = 2
USAGE = 64
SECONDS = 60


class KeyCase(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS
    options = ('-l', 'level=debug')

    def manage(self, *words, expect=0):
        done = harness.run(
            harness.BIN / 'sheepdog-manage', '-a',
            self.cluster.sheep[0].address, *words, expect=expect)
        return done.stdout + done.stderr

    def said(self, sheep) -> str:
        return (sheep.meta / 'sheep.log').read_text(errors='replace')


class TestRotation(KeyCase):
    """Each sheep has a file of its own, as on hosts of their own."""

    def setUp(self):
        super().setUp()
        self.files = []
        for sheep in self.cluster.sheep:
            path = self.directory / ('host-%d.key' % sheep.number)
            shutil.copy(self.cluster.key_file, path)
            os.chmod(path, 0o600)
            self.files.append(path)
            self.restart(sheep, path)
        self.addCleanup(self.restore)

    def restart(self, sheep, path):
        sheep.terminate()
        sheep.key_file = path
        sheep.start()
        sheep.wait_answering()
        self.cluster.wait_whole()

    def restore(self):
        # The next test begins anew: these files go.
        type(self)._discard()

    def give(self, path):
        """As scp does: the content changes in place."""
        path.write_bytes(self.files[0].read_bytes())

    def check(self, expect):
        """Does every sheep accept the newest key?"""
        return json.loads(self.manage(
            'key', 'check', self.files[0], '-f', 'json',
            expect=expect).partition(']')[0] + ']')

    def wait_for_all(self):
        harness.wait_until(
            lambda: harness.run(
                harness.BIN / 'sheepdog-manage', '-a',
                self.cluster.sheep[0].address, 'key', 'check',
                self.files[0], expect=None).returncode == 0,
            SECONDS, 'all to accept the new key')

    def test_while_something_is_written(self):
        old = self.directory / 'old.key'
        shutil.copy(self.files[0], old)
        secrets = [key_file.read(str(old)).current.secret]
        self.create('vdi', 64 << 20)
        second = self.cluster.sheep[1]
        client = self.cluster.client(second)
        self.addCleanup(client.close)
        # The tool, too, has a file that somebody copies to.
        tool = self.directory / 'tool.key'
        shutil.copy(old, tool)
        client._keys = key_file.KeyFile(str(tool))
        writer = self.start_writer(writers.LibraryWriter(
            1, client, 'vdi', blocks=512, fua=False))
        writer.wait_for(50)
        # One host after the other, and writes between: nobody has what all
        # the others have, and they talk to each other all the same.
        self.manage('key', 'rotate', self.files[0])
        secrets.append(key_file.read(str(self.files[0])).current.secret)
        self.assertIn('refused', [row[name] for row in self.check(SYSTEM)
                                  for name in row if name[:3] == 'Key'])
        writer.wait_for(50)
        # One that starts now, and so connects anew, with the old one.
        third = self.cluster.sheep[2]
        self.restart(third, self.files[2])
        writer.wait_for(50)
        for path in (self.files[2], tool, self.files[1]):
            self.give(path)
            writer.wait_for(20)
        self.wait_for_all()
        self.manage('key', 'rotate', '--finish', self.files[0])
        writer.wait_for(20)
        for path in (self.files[1], tool, self.files[2]):
            self.give(path)
            writer.wait_for(20)
        # The old one is of no use any more.
        for sheep in self.cluster.sheep:
            harness.wait_until(
                lambda sheep=sheep: harness.run(
                    harness.BIN / 'dog', 'node', 'list', '-a', sheep.address,
                    '--key-file', old, expect=None).returncode == SYSTEM,
                SECONDS, '%r to refuse the old key' % sheep)
        self.cluster.key_file = self.files[0]
        writer.wait_for(100)
        writer.stop()
        self.assertEqual([], writer.troubles)
        self.cluster.wait_whole()
        writers.check_everywhere(self.cluster, {'vdi': writer.record})
        for sheep in self.cluster.sheep:
            self.assertIn('no cluster connection', self.said(sheep))
        self.assert_nothing_told(secrets)

    def assert_nothing_told(self, secrets):
        """Nothing that was logged, at debug level, has a secret in it."""
        places = [path for place in (self.cluster.directory, self.directory)
                  for path in pathlib.Path(place).rglob('*')
                  if path.suffix in ('.log', '.out') and path.is_file()]
        self.assertGreaterEqual(len(places), 6)
        for path in places:
            content = path.read_bytes()
            if path.name == 'sheep.log':
                self.assertIn(b'debug', content.lower())
            for secret in secrets:
                for shown in (secret, secret.hex().encode(),
                              base64.b64encode(secret)[:40],
                              repr(secret).encode()[2:-1]):
                    self.assertNotIn(shown[:16], content, path)


class TestStrangers(KeyCase):

    def assert_refused(self, *words):
        sheep = self.cluster.sheep[0]
        done = harness.run(harness.BIN / 'dog', 'node', 'list', '-a',
                           sheep.address, *words, expect=SYSTEM)
        self.assertEqual('', done.stdout)
        self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)
        self.assertTrue(done.stderr.startswith('dog: '), done.stderr)
        self.assertIn('no cluster connection', self.said(sheep))
        return done.stderr

    def test_dog_without_a_key(self):
        told = self.assert_refused('--key-file', '')
        self.assertIn('--key-file', told)
        self.assertIn('SHEEPDOG_KEY_FILE', told)

    def test_dog_with_another_key(self):
        told = self.assert_refused('--key-file',
                                   harness.make_key(self.directory))
        self.assertIn('key', told)

    def test_dog_with_a_key_that_others_can_read(self):
        path = self.directory / 'open.key'
        shutil.copy(self.cluster.key_file, path)
        os.chmod(path, 0o644)
        done = harness.run(
            harness.BIN / 'dog', 'node', 'list', '-a',
            self.cluster.sheep[0].address, '--key-file', path, expect=SYSTEM)
        self.assertIn('chmod 600 %s' % path, done.stderr)

    def test_dog_by_the_unix_socket(self):
        done = harness.run(
            harness.BIN / 'dog', 'node', 'list', '-r', '-a',
            self.cluster.sheep[0].meta / 'sock', '--key-file', '')
        self.assertEqual(3, len(done.stdout.splitlines()))

    def connect(self):
        sheep = self.cluster.sheep[0]
        sock = socket.create_connection((harness.HOST, sheep.port), SECONDS)
        self.addCleanup(sock.close)
        return sock

    def test_what_sheep_say_on_a_public_connection(self):
        self.create('vdi', 8 << 20)
        before = self.cluster.epoch()
        for opcode, payload in (
                (wire.ADMIN, wire.pack_json({
                    'method': 'vdi.delete', 'arguments': {'name': 'vdi'}})),
                (wire.MESSAGE, wire.pack_json({'kind': 'probe'})),
                (wire.WRITE, bytes(4096)), (wire.READ, b''),
                (wire.REMOVE, b''), (wire.VOLUME_READ, b''),
                (wire.LIST, b''), (wire.ORDER_WRITE, bytes(4096))):
            with self.subTest(hex(opcode)):
                sock = self.connect()
                for buffer in wire.pack_request(opcode, 0, before, 1, 0x80,
                                                payload=payload):
                    sock.sendall(buffer)
                fields = native.RESPONSE.unpack(sock.recv(
                    native.HEADER_BYTES, socket.MSG_WAITALL))
                self.assertEqual(errors.InvalidParameters.result,
                                 fields[native.RESULT])
        with self.cluster.client() as client:
            self.assertEqual(['vdi'], [vdi['name']
                                       for vdi in client.vdis.list()])
        self.assertEqual(before, self.cluster.epoch())

    def test_a_hello_without_proof_and_what_follows_it(self):
        sheep = self.cluster.sheep[0]
        with sheep.client() as client:
            ours = client.connection().incarnation
        for hello in ({'role': 'tool'},
                      {'role': 'peer', 'incarnation': 'x.1', 'for': ours},
                      {'role': 'tool', 'nonce': '00' * 32,
                       'keys': ['00000000']}):
            sock = self.connect()
            for buffer in wire.pack_request(
                    wire.HELLO, 0, 0, 1, payload=wire.pack_json(
                        dict(hello, protocol=wire.VERSION))):
                sock.sendall(buffer)
            header = sock.recv(wire.HEADER_BYTES, socket.MSG_WAITALL)
            fields = wire.HEADER.unpack(header)
            payload = sock.recv(fields[5], socket.MSG_WAITALL)
            self.assertEqual(errors.AccessRefused.result, fields[8], payload)
            self.assertEqual(b'', sock.recv(1))

    def test_a_sheep_with_another_key(self):
        """It says so, and its store stays as it is."""
        sheep = harness.Sheep(self.directory, 7, self.cluster.sheep[0].url,
                              key_file=harness.make_key(self.directory))
        self.addCleanup(sheep.end)
        sheep.meta.mkdir()
        done = harness.run(*sheep.command(), expect=SYSTEM, seconds=SECONDS)
        self.assertIn('another key', done.stderr)
        self.assertEqual([], list(sheep.meta.iterdir()))
        self.assertTrue(self.cluster.is_whole())

    def test_a_sheep_without_a_key_serves_this_machine_only(self):
        sheep = harness.Sheep(self.directory, 7, 'local:%s' % (
            self.directory / 'coordination'))
        self.addCleanup(sheep.end)
        sheep.meta.mkdir()
        command = sheep.command()
        command[command.index('-b') + 1] = '0.0.0.0'
        done = harness.run(*command, expect=USAGE, seconds=SECONDS)
        self.assertIn('sheepdog-manage key create', done.stderr)
        sheep.start()
        sheep.wait_answering()


if __name__ == '__main__':
    unittest.main()
