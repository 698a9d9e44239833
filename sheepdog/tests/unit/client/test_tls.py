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

import contextlib
import os
import select
import socket
import ssl
import tempfile
import threading
import unittest

from sheepdog.client import tls
from sheepdog.testing import certificates

SECONDS = 20


class TlsCase(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix='sheepdog-tls-')
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.authority = certificates.Authority(self.directory)
        self.files = self.authority.issue('client')
        server = self.authority.issue('server')
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(server.certificate, server.key)
        self.context.load_verify_locations(self.authority.path)
        self.context.verify_mode = ssl.CERT_REQUIRED

    def serve(self, function):
        """A server in a thread: ``function(secure socket)``, once."""
        listener = socket.create_server(('127.0.0.1', 0))
        listener.settimeout(SECONDS)

        def run():
            with listener, contextlib.suppress(OSError):
                plain, _address = listener.accept()
                plain.settimeout(SECONDS)
                with self.context.wrap_socket(
                        plain, server_side=True) as secure:
                    function(secure)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join, SECONDS)
        return listener.getsockname()

    def connect(self, address, files=None):
        sock = socket.create_connection(address, SECONDS)
        self.addCleanup(sock.close)
        secure = tls.TlsSocket(sock, tls.context_of(files or self.files),
                               'the server')
        secure.setblocking(False)
        self.addCleanup(secure.close)
        return secure

    def send(self, secure, data):
        view = memoryview(data)
        while view:
            try:
                view = view[secure.sendmsg([view[:10], view[10:]]):]
            except BlockingIOError:
                select.select([], [secure], [], SECONDS)

    def receive(self, secure, length):
        view = memoryview(bytearray(length))
        got = 0
        while got < length:
            try:
                count = secure.recv_into(view[got:])
            except BlockingIOError:
                select.select([secure], [], [], SECONDS)
            else:
                if not count:
                    break
                got += count
        return bytes(view[:got])


class TlsSocketTest(TlsCase):

    def test_there_and_back(self):
        def echo(secure):
            while True:
                data = secure.recv(100000)
                if not data:
                    break
                secure.sendall(data)

        secure = self.connect(self.serve(echo))
        for size in 1, 100, 16385, 100000:
            data = os.urandom(size)
            self.send(secure, data)
            self.assertEqual(data, self.receive(secure, size))

    def test_both_directions_at_once(self):
        """One thread reads while another one writes."""
        size = 16 << 20
        data = os.urandom(1 << 20) * 16

        def both(secure):
            writer = threading.Thread(target=secure.sendall, args=(data,))
            # OpenSSL's own socket must not be used by two threads.
            received = 0
            while received < 1 << 20:
                received += len(secure.recv(1 << 16))
            writer.start()
            writer.join()
            while received < size:
                received += len(secure.recv(1 << 16))
            secure.sendall(b'done')

        secure = self.connect(self.serve(both))
        writer = threading.Thread(target=self.send, args=(secure, data))
        writer.start()
        answer = self.receive(secure, size + 4)
        writer.join(SECONDS)
        self.assertIs(answer == data + b'done', True)

    def test_a_piece_that_was_refused_is_not_sent_twice(self):
        taken = threading.Event()
        got = []

        def slow(secure):
            taken.wait(SECONDS)
            while True:
                piece = secure.recv(1 << 16)
                if not piece:
                    break
                got.append(piece)
                if sum(map(len, got)) == 8 << 20:
                    secure.sendall(b'all')

        secure = self.connect(self.serve(slow))
        data = os.urandom(8 << 20)
        view = memoryview(data)
        with self.assertRaises(BlockingIOError):
            while True:
                view = view[secure.sendmsg([view]):]
        with self.assertRaises(BlockingIOError):
            secure.sendmsg([view])
        taken.set()
        self.send(secure, view)
        self.assertEqual(b'all', self.receive(secure, 3))
        self.assertIs(b''.join(got) == data, True)

    def test_the_end(self):
        secure = self.connect(self.serve(lambda secure: secure.unwrap()))
        self.assertEqual(b'', self.receive(secure, 1))

    def test_a_server_of_another_authority(self):
        with tempfile.TemporaryDirectory() as directory:
            files = certificates.Authority(directory).issue('client')
            with self.assertRaisesRegex(tls.TlsRefused, 'the server shows'):
                self.connect(self.serve(lambda secure: None), files)

    def test_no_tls_there(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            thread = threading.Thread(
                target=lambda: listener.accept()[0].close())
            thread.start()
            with self.assertRaises(OSError):
                self.connect(listener.getsockname())
            thread.join()


class FilesTest(TlsCase):

    def test_names_in_a_directory(self):
        files = tls.files_in('/d')
        self.assertEqual(('/d/client-cert.pem', '/d/client-key.pem',
                          '/d/ca-cert.pem', False), files)
        tls.context_of(tls.files_in(self.directory))

    def test_files_that_cannot_be_used(self):
        other = self.authority.issue('other')
        for files, text in (
                (self.files._replace(key='/none'), '/none cannot be read'),
                (self.files._replace(key=other.key), 'mismatch'),
                (self.files._replace(authorities=other.key), 'together')):
            with self.assertRaisesRegex(tls.TlsRefused, text):
                tls.context_of(files)
