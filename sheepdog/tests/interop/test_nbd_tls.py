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

"""NBD over TLS and the clients that people have: libnbd, QEMU."""

import dataclasses
import json
import os
import signal
import subprocess
import time
import unittest

from sheepdog.faces.nbd import rules
from sheepdog.testing import certificates
from sheepdog.tests.interop import test_nbd
from sheepdog.wire import nbd_handshake

needs = test_nbd.needs
SIZE = test_nbd.SIZE
TRIES = 50


class TestCase(test_nbd.TestCase):
    """A face with a certificate; each client's files in a directory."""

    tls = nbd_handshake.Tls.REQUIRED
    verify_clients = False

    def make_served(self, unix_path):
        os.mkdir(self.path('pki'))
        self.authority = certificates.Authority(self.path('pki'))
        self.files = self.authority.issue('server')
        return super().make_served(
            unix_path, tls=self.tls, tls_files=self.files._replace(
                verify_clients=self.verify_clients))

    def client_directory(self, authority=None, name=''):
        """What libnbd and QEMU expect: ca-cert.pem, and with a name
        client-cert.pem and client-key.pem."""
        authority = authority or self.authority
        directory = self.path('client-' + name)
        os.mkdir(directory)
        os.link(authority.path, directory + '/ca-cert.pem')
        if name:
            files = authority.issue(name)
            os.link(files.certificate, directory + '/client-cert.pem')
            os.link(files.key, directory + '/client-key.pem')
        return directory

    def other_authority(self):
        os.mkdir(self.path('other'))
        return certificates.Authority(self.path('other'), 'another')

    def nbds(self, directory, name='vdi'):
        return (self.served.tcp(name).replace('nbd:', 'nbds:') +
                '?tls-certificates=' + directory)

    def qemu(self, directory):
        """Arguments by which QEMU's tools find the VDI."""
        host, port = self.served.face.address
        return ('--object', 'tls-creds-x509,id=tls,endpoint=client,dir=%s,'
                'verify-peer=on' % directory,
                '--image-opts', 'driver=raw,file.driver=nbd,'
                'file.server.type=inet,file.server.host=%s,'
                'file.server.port=%d,file.export=vdi,file.tls-creds=tls'
                % (host, port))


@needs('nbdinfo', 'nbdcopy')
class TestLibnbd(TestCase):

    def test_info(self):
        info = json.loads(self.run_command(
            'nbdinfo', '--json', self.nbds(self.client_directory())))
        self.assertIs(info['TLS'], True)
        self.assertIs(info['structured'], True)
        self.assertEqual(info['exports'][0]['contexts'], ['base:allocation'])
        self.assert_let_go()

    def test_list(self):
        info = json.loads(self.run_command(
            'nbdinfo', '--json', '--list',
            self.nbds(self.client_directory(), '')))
        self.assertEqual([export['export-name']
                          for export in info['exports']], ['large', 'vdi'])

    def test_in_clear_nothing_is_told(self):
        for arguments in (['vdi'], ['']):
            output = self.run_command(
                'nbdinfo', self.served.tcp(*arguments), expect=1)
            self.assertNotIn('large', output)
        self.assertEqual(self.counters.reads, 0)
        self.assert_let_go()

    def test_over_the_unix_socket_there_is_no_need(self):
        self.run_command('nbdinfo', self.served.unix('vdi'))

    def test_a_server_of_another_authority(self):
        directory = self.client_directory(self.other_authority())
        self.run_command('nbdinfo', self.nbds(directory), expect=1)
        self.assert_let_go()
        self.assertEqual(self.counters.tls_failed, 1)

    def test_there_and_back_over_many_connections(self):
        image = self.make_image()
        uri = self.nbds(self.client_directory())
        many = ('--connections=4', '--threads=4', '--requests=16')
        self.run_command('nbdcopy', *many, '--flush', image, uri)
        self.assertFalse(self.volume.is_dirty)
        self.run_command('nbdcopy', *many, uri, self.path('back'))
        self.assert_same(image, self.path('back'))
        self.assert_let_go()

    def test_a_client_killed_in_the_middle(self):
        image = self.make_image()
        uri = self.nbds(self.client_directory())
        for _count in range(3):
            with subprocess.Popen(['nbdcopy', '--allocated', image,
                                   uri]) as client:
                time.sleep(0.05)
                client.send_signal(signal.SIGKILL)
        self.assert_let_go()
        # A TLS end of file does not spin.
        for _ in range(TRIES):
            before = time.process_time()
            time.sleep(0.3)
            spent = time.process_time() - before
            if spent < 0.15:
                break
        self.assertLess(spent, 0.15)

    def test_a_new_certificate_without_a_restart(self):
        directory = self.client_directory()
        self.run_command('nbdinfo', self.nbds(directory))
        other = self.other_authority()
        files = other.issue('server')
        os.rename(files.key, self.files.key)
        os.rename(files.certificate, self.files.certificate)
        self.run_command('nbdinfo', self.nbds(directory), expect=1)
        os.unlink(directory + '/ca-cert.pem')
        os.link(other.path, directory + '/ca-cert.pem')
        self.run_command('nbdinfo', self.nbds(directory))


@needs('nbdinfo')
class TestOffered(TestCase):

    tls = nbd_handshake.Tls.OFFERED

    def test_both(self):
        self.run_command('nbdinfo', self.served.tcp('vdi'))
        self.run_command('nbdinfo', self.nbds(self.client_directory()))
        self.assert_let_go()


@needs('nbdinfo', 'qemu-img')
class TestVerifiedClients(TestCase):

    verify_clients = True

    def test_only_with_a_certificate(self):
        good = self.client_directory(name='client')
        self.run_command('nbdinfo', self.nbds(good))
        self.run_command('qemu-img', 'info', *self.qemu(good))
        before = self.counters.tls_failed
        none = self.client_directory()
        self.run_command('nbdinfo', self.nbds(none), expect=1)
        self.run_command('qemu-img', 'info', *self.qemu(none), expect=1)
        # It believes our authority, and shows a certificate of its own.
        wrong = self.client_directory(self.other_authority(), 'wrong')
        os.unlink(wrong + '/ca-cert.pem')
        os.link(self.authority.path, wrong + '/ca-cert.pem')
        self.run_command('nbdinfo', self.nbds(wrong), expect=1)
        # The last one may be gone before we have noticed.
        self.assert_let_go()
        self.assertEqual(self.counters.tls_failed - before, 3)


@needs('nbdinfo', 'qemu-img')
class TestExportsByCertificate(TestCase):

    verify_clients = True

    def test_each_has_its_own(self):
        self.served.face.reload(dataclasses.replace(
            self.served.face.settings, certificate_exports=rules.parse(
                ['one=v*', 'two=other'])))
        one = self.client_directory(name='one')
        two = self.client_directory(name='two')
        three = self.client_directory(name='three')
        self.run_command('nbdinfo', self.nbds(one))
        self.run_command('qemu-img', 'info', *self.qemu(one))
        for directory in two, three:
            self.run_command('nbdinfo', self.nbds(directory), expect=1)
            self.run_command('qemu-img', 'info', *self.qemu(directory),
                             expect=1)
        # Nor are they told of it.
        for directory, count in (one, 1), (two, 0), (three, 0):
            listed = json.loads(self.run_command(
                'nbdinfo', '--list', '--json', self.nbds(directory, '')))
            self.assertEqual(count, len(listed['exports']), listed)
        self.assert_let_go()


@needs('qemu-img', 'qemu-io')
class TestQemu(TestCase):

    def test_an_image_there_and_back(self):
        image = self.make_image()
        qemu = self.qemu(self.client_directory())
        objects, options = qemu[:2], qemu[3]
        self.run_command('qemu-img', 'convert', *objects, '-n', '-f', 'raw',
                         '--target-image-opts', image, options)
        self.run_command('qemu-img', 'convert', *qemu, '-O', 'raw',
                         self.path('back'))
        self.assert_same(image, self.path('back'))
        self.assert_let_go()

    def test_io(self):
        output = self.run_command(
            'qemu-io', *self.qemu(self.client_directory()),
            '-c', 'write -P 7 0 1M', '-c', 'write -f -P 8 512 3k',
            '-c', 'read -P 7 0 512', '-c', 'read -P 8 512 3k',
            '-c', 'write -z 64k 64k', '-c', 'discard 192k 64k',
            '-c', 'flush', '-c', 'aio_write -P 9 2M 8M', '-c', 'aio_flush',
            '-c', 'read -P 9 2M 8M', '-c', 'map')
        self.assertNotIn('failed', output)
        self.assertEqual(self.counters.requests_failed, 0)
        self.assert_let_go()

    def test_in_clear_it_is_refused(self):
        output = self.run_command('qemu-img', 'info',
                                  self.served.tcp('vdi'), expect=1)
        self.assertIn('TLS', output)


if __name__ == '__main__':
    unittest.main()
