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

"""A cluster whose sheep and tools speak under TLS."""

import contextlib
import json
import select
import shutil
import signal
import socket
import ssl
import threading

from sheepdog.client import client as client_module
from sheepdog.client import tls
from sheepdog.model import errors
from sheepdog.testing import certificates
from sheepdog.testing import servers
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.wire import native
from sheepdog.wire import native_client


class Relay:
    """Ends TLS on both sides and passes on what comes."""

    def __init__(self, files, port):
        self._files = files
        self._port = port
        self._sockets = []
        self.passed_on = 0
        self._listener = socket.create_server((harness.HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _context(self, protocol):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(*self._files[:2])
        context.load_verify_locations(self._files.authorities)
        return context

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                ours = self._context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(
                    self._listener.accept()[0], server_side=True)
                theirs = self._context(
                    ssl.PROTOCOL_TLS_CLIENT).wrap_socket(
                        socket.create_connection((harness.HOST,
                                                  self._port)))
                self._sockets += [ours, theirs]
                ours.setblocking(False)
                theirs.setblocking(False)
                while self._pass_on(ours, theirs) and (
                        self._pass_on(theirs, ours)):
                    select.select([ours, theirs], [], [])
                ours.close()
                theirs.close()

    def _pass_on(self, one, other) -> bool:
        """All that is there; False at the end."""
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                data = one.recv(65536)
                if not data:
                    return False
                other.sendall(data)
                self.passed_on += 1
        return True

    def close(self):
        self._listener.close()
        for one in self._sockets:
            one.close()


class TestTls(case.DirectoryCase):

    def setUp(self):
        super().setUp()
        self.pki = self.directory / 'pki'
        self.pki.mkdir()
        self.authority = certificates.Authority(str(self.pki))
        self.client_files = self.authority.issue('client')
        self.server = servers.Files()
        self.server.start()
        self.addCleanup(self.server.close)
        self.cluster = harness.Cluster(self.directory, self.server.option)
        self.addCleanup(self.cluster.end)
        self.addOnException(
            lambda _exc_info: self.attach(self.cluster.logs()))

    def configure(self, *modes):
        """How each sheep takes TLS."""
        for sheep, mode in zip(self.cluster.sheep, modes, strict=True):
            files = self.authority.issue('sheep-%d' % sheep.number)
            path = self.directory / ('sheep-%d.conf' % sheep.number)
            path.write_text(
                '[security]\ntls = %s\ntls_cert = %s\ntls_key = %s\n'
                'tls_ca = %s\n'
                '[nbd]\ntls = offered\ntls_cert = %s\ntls_key = %s\n'
                % (mode, *files[:3], *files[:2]))
            sheep.options = ('--config-file', path)
            sheep.tls = (tls.ClientTls(self.client_files)
                         if mode == 'required' else None)

    def dog(self, *words, **options):
        return self.cluster.dog(*words, '--tls-dir', self.pki, **options)

    def test_required(self):
        self.configure('required', 'required', 'required')
        self.cluster.start()
        self.cluster.form()
        self.cluster.create('vdi', 8 << 20)
        data = b'under TLS' * 100000
        with self.cluster.client(self.cluster.sheep[0]) as client:
            with client.open('vdi') as volume:
                volume.write(4000000, data)
                volume.flush()
        self.cluster.sheep[0].kill()
        self.cluster.wait_whole()
        one, two = self.cluster.sheep[1:]
        with self.cluster.client(one) as client:
            with client.open('vdi') as volume:
                # Not assertEqual: it would print both.
                self.assertIs(True, volume.read(4000000, len(data)) == data)

        self.check_refused(one, two)
        self.check_relay(one)
        self.check_gnutls(one)
        self.check_native(one)
        self.check_nbd(one)
        self.check_renewal(two)

    def check_refused(self, one, two):
        told = self.dog('cluster', 'info', sheep=one)
        self.assertIn('running', told.stdout)
        # In clear, although with the key.
        told = self.cluster.dog('cluster', 'info', sheep=one, expect=None)
        self.assertNotEqual(0, told.returncode)
        self.assertIn('--tls-dir', told.stderr)
        # With a certificate of others.
        other = self.directory / 'other'
        other.mkdir()
        certificates.Authority(str(other)).issue('client')
        shutil.copy(self.authority.path, other / 'ca-cert.pem')
        told = self.cluster.dog('cluster', 'info', '--tls-dir', other,
                                sheep=one, expect=None)
        self.assertNotEqual(0, told.returncode)
        # Without one: TLS 1.3 tells so behind the handshake.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authority.path)
        with socket.create_connection((harness.HOST, two.port), 20) as sock:
            with self.assertRaisesRegex(ssl.SSLError, 'required'):
                with context.wrap_socket(sock) as secure:
                    secure.recv(1)

    def check_gnutls(self, sheep):
        """What is refused is so in the eyes of another TLS, too."""
        if shutil.which('gnutls-cli') is None:
            return
        late = self.authority.issue('late', days=-1)
        other = self.directory / 'another'
        other.mkdir()
        stranger = certificates.Authority(str(other)).issue('stranger')
        good, old = self.client_files, 'NORMAL:-VERS-ALL:+VERS-%s'
        for files, version, is_welcome in (
                (good, 'TLS1.3', True), (good, 'TLS1.2', True),
                (good, 'TLS1.1', False), (good, 'TLS1.0', False),
                # (In TLS 1.3 a client learns of its refusal behind the
                # handshake.)
                (late, 'TLS1.2', False), (None, 'TLS1.2', False),
                (stranger._replace(authorities=good.authorities), 'TLS1.2',
                 False),
                # It is the client who does not believe the sheep.
                (good._replace(authorities=stranger.authorities), 'TLS1.3',
                 False)):
            shown = [] if files is None else [
                '--x509certfile', files.certificate, '--x509keyfile',
                files.key]
            done = harness.run(
                'gnutls-cli', '--priority', old % version, '--x509cafile',
                (files or good).authorities, *shown, '-p', sheep.port,
                harness.HOST, expect=None)
            told = done.stdout + done.stderr
            self.assertEqual(is_welcome, 'Handshake was completed' in told,
                             '%s %s: %s' % (files, version, told))
            self.assertEqual(is_welcome, done.returncode == 0, told)

    def check_relay(self, sheep):
        """Somebody in between has a certificate of the same authority, of
        a stolen laptop, and passes on all that is said."""
        files = self.authority.issue('laptop')
        relay = Relay(files, sheep.port)
        self.addCleanup(relay.close)
        with client_module.Client(
                ['%s:%d' % (harness.HOST, relay.port)], 20, 5.0,
                key_file=str(sheep.key_file), tls=sheep.tls) as client:
            told = self.assertRaises(errors.AccessRefused,
                                     client.cluster.info)
        self.assertIn('proof', str(told))
        self.assertGreater(relay.passed_on, 0)
        # On his own he does not get further either, without the key.
        own = client_module.Client(
            [sheep.address], 20, 5.0, key_file='', tls=tls.ClientTls(files))
        with own as client:
            self.assertRaises(errors.AccessRefused, client.cluster.info)

    def check_native(self, sheep):
        """Who cannot speak TLS is served in clear, on the same port."""
        with socket.create_connection((harness.HOST, sheep.port),
                                      20) as sock:
            sock.sendall(b''.join(native_client.pack_get_vdi_info(1, 'vdi')))
            header = sock.recv(native.HEADER_BYTES, socket.MSG_WAITALL)
        self.assertEqual(0, native.RESPONSE.unpack(header)[native.RESULT])

    def check_nbd(self, sheep):
        if shutil.which('nbdinfo') is not None:
            told = harness.run(
                'nbdinfo', '--size', '%s?tls-certificates=%s' % (
                    sheep.nbd_uri('vdi').replace('nbd:', 'nbds:'),
                    self.pki)).stdout
            self.assertEqual(8 << 20, int(told))

    def check_renewal(self, sheep):
        self.authority.issue('sheep-%d' % sheep.number)
        sheep.process.send_signal(signal.SIGHUP)
        log = sheep.meta / 'sheep.log'
        harness.wait_until(
            lambda: log.read_text().count('is in force') == 2, 60,
            'the new certificate to be in force')
        self.assertIn('running', self.dog('cluster', 'info',
                                          sheep=sheep).stdout)

    def test_what_is_open_is_told(self):
        self.configure('none', 'none', 'none')
        sheep = self.cluster.sheep[0]
        port = harness.free_port()
        sheep.options += ('--nbd', 'host=0.0.0.0,port=%d' % port)
        sheep.start()
        sheep.wait_answering()
        found = json.loads(harness.run(
            harness.BIN / 'sheepdog-manage', '-a', sheep.address,
            '--key-file', self.cluster.key_file, 'status', '-f',
            'json').stdout)
        expected = 'NBD is served to whoever reaches 0.0.0.0:%d' % port
        self.assertIn(expected, str(found['warnings']))
        self.assertIn(expected, (sheep.meta / 'sheep.log').read_text())

    def test_a_cluster_gets_its_certificates_without_a_stop(self):
        """Two rounds: each sheep offers it, then each requires it."""
        self.configure('none', 'none', 'none')
        self.cluster.start()
        self.cluster.form()
        modes = ['none', 'none', 'none']
        for mode in 'offered', 'required':
            for sheep in self.cluster.sheep:
                modes[sheep.number] = mode
                self.configure(*modes)
                sheep.terminate()
                sheep.start()
                sheep.wait_answering()
                self.cluster.wait_whole()
        with self.cluster.sheep[0].client() as client:
            self.assertEqual('ok', client.cluster.info()['status'])
        self.cluster.sheep[1].tls = None
        with self.cluster.sheep[1].client() as client:
            self.assertRaises(errors.AccessRefused, client.cluster.info)
