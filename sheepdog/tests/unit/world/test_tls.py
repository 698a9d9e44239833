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

import asyncio
import contextlib
import os
import random
import socket
import ssl
import tempfile
import time
import unittest
import warnings

from cryptography.hazmat.primitives import serialization
import uvloop

from sheepdog.testing import certificates
from sheepdog.tests.unit.world import test_transport
from sheepdog.world import api
from sheepdog.world import network
from sheepdog.world import tls as tls_module
from sheepdog.world import tls_layer
from sheepdog.world import turn

Lines = test_transport.Lines
LENGTH = test_transport.LENGTH
SECONDS = 60
TRIES = 50


def echo(session, message):
    session.send(message)


def start_tls_on_word(tls):
    """Upgrades behind the message b'tls', echoes all others."""
    def on_message(session, message):
        session.send(message)
        if message == b'tls':
            session.connection.start_tls(tls)
    return on_message


class Client:
    """OpenSSL's own, blocking, over a socket. Each call in a thread."""

    def __init__(self, address, authority=None, files=None):
        self.socket = socket.create_connection(address, SECONDS)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        if authority is not None:
            self.context.load_verify_locations(authority.path)
        if files is not None:
            self.context.load_cert_chain(files.certificate, files.key)

    def secure(self):
        self.socket = self.context.wrap_socket(
            self.socket, suppress_ragged_eofs=False)

    def say(self, message):
        self.socket.sendall(LENGTH.pack(len(message)) + message)

    def hear(self):
        length, = LENGTH.unpack(self.read(LENGTH.size))
        return self.read(length)

    def read(self, length):
        data = b''
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


class TlsCase(unittest.IsolatedAsyncioTestCase):

    def _setupAsyncioRunner(self):
        self._asyncioRunner = asyncio.Runner(
            debug=True, loop_factory=uvloop.new_event_loop)

    async def asyncSetUp(self):
        self.network = network.StreamNetwork(
            turn.Turn(asyncio.get_running_loop()))
        self.addCleanup(self.network.abort_all)
        self.accepted = []
        self.directory = tempfile.TemporaryDirectory(prefix='sheepdog-tls-')
        self.addCleanup(self.directory.cleanup)
        self.authority = certificates.Authority(self.directory.name)
        self.files = self.authority.issue('server')
        self.tls = self.network.tls(self.files)

    def set_seconds(self, name, seconds):
        before = getattr(tls_layer, name)
        self.addCleanup(setattr, tls_layer, name, before)
        setattr(tls_layer, name, seconds)

    @contextlib.asynccontextmanager
    async def client(self, listener, **arguments):
        arguments.setdefault('authority', self.authority)
        client = await asyncio.to_thread(Client, listener.address,
                                         **arguments)
        try:
            yield client
        finally:
            client.socket.close()

    async def upgraded(self, client):
        """After STARTTLS."""
        def talk():
            client.say(b'tls')
            assert client.hear() == b'tls'
            client.secure()
        await asyncio.to_thread(talk)

    async def listen(self, on_message=None, tls=None):
        def factory():
            self.accepted.append(Lines(on_message))
            return self.accepted[-1]

        listener = await self.network.listen(factory, '127.0.0.1', tls=tls)
        self.addAsyncCleanup(listener.close)
        return listener

    async def end_of(self, index=0):
        return await asyncio.wait_for(self.accepted[index].ended,
                                      SECONDS)


class StartTlsTest(TlsCase):
    """A server that upgrades in the middle."""

    async def test_clear_before_and_encrypted_behind(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await self.upgraded(client)
            self.assertEqual('TLSv1.3', client.socket.version())
            self.assertTrue(self.accepted[0].connection.is_encrypted)
            for size in 0, 1, 16 << 10, (16 << 10) + 1, 5 << 20:
                message = os.urandom(size)
                await asyncio.to_thread(client.say, message)
                self.assertEqual(message,
                                 await asyncio.to_thread(client.hear))

    async def test_what_is_sent_at_once_behind_it_is_encrypted(self):
        def on_message(session, message):
            session.send(message)
            session.connection.start_tls(self.tls)
            session.send(b'secret')
            self.assertGreater(session.connection.queued_bytes, 0)

        listener = await self.listen(on_message)
        async with self.client(listener) as client:
            await self.upgraded(client)
            self.assertEqual(b'secret',
                             await asyncio.to_thread(client.hear))

    async def test_bytes_in_clear_behind_it_end_the_connection(self):
        """Injected commands (as in CVE-2021-38084 and many others)."""
        def on_message(session, message):
            if message == b'tls':
                asyncio.get_running_loop().call_soon(
                    session.connection.start_tls, self.tls)

        listener = await self.listen(on_message)
        async with self.client(listener) as client:
            client.socket.sendall(LENGTH.pack(3) + b'tls' +
                                  LENGTH.pack(8) + b'inj')
            self.assertIsInstance(await self.end_of(), ValueError)
        self.assertEqual([b'tls'], self.accepted[0].messages)

    async def test_bytes_in_clear_that_come_later_are_no_handshake(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await asyncio.to_thread(client.say, b'tls')
            await asyncio.to_thread(client.hear)
            await asyncio.to_thread(client.say, b'injected')
            self.assertIsInstance(await self.end_of(), api.TlsFailed)
        self.assertEqual([b'tls'], self.accepted[0].messages)

    async def test_garbage_behind_the_handshake_ends_the_connection(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            plain = client.socket.dup()
            self.addCleanup(plain.close)
            await self.upgraded(client)
            plain.sendall(b'\x17\x03\x03\x00\x40' + os.urandom(64))
            error = await self.end_of()
            self.assertIsInstance(error, ssl.SSLError)
        self.assertEqual([b'tls'], self.accepted[0].messages)

    async def test_garbage_that_begins_like_tls(self):
        listener = await self.listen(echo, tls=self.tls)
        chance = random.Random(7)
        for count in range(30):
            head = b'\x16\x03\x01' if count % 2 else b'\x16'
            async with self.client(listener) as client:
                client.socket.sendall(
                    head + chance.randbytes(chance.randrange(6, 3000)))
                client.socket.shutdown(socket.SHUT_WR)
                self.assertIsInstance(await self.end_of(count),
                                      api.TlsFailed)
            self.assertEqual([], self.accepted[count].messages)

    async def test_paused_while_it_is_upgraded(self):
        def on_message(session, message):
            session.connection.pause_reading()
            session.send(message)
            session.connection.start_tls(self.tls)

        listener = await self.listen(on_message)
        async with self.client(listener) as client:
            await self.upgraded(client)
            await asyncio.to_thread(client.say, b'hello')
            await asyncio.to_thread(client.say, b'again')
            await asyncio.sleep(0.05)
            session = self.accepted[0]
            self.assertEqual([b'tls'], session.messages)
            session.on_message = None
            session.connection.resume_reading()
            await session.wait(3)
            self.assertEqual([b'tls', b'hello', b'again'], session.messages)

    async def test_who_is_paused_keeps_little(self):
        """What a client goes on to send stays with it."""
        def on_message(session, message):
            session.connection.pause_reading()
            session.send(message)
            session.connection.start_tls(self.tls)

        listener = await self.listen(on_message)
        message = os.urandom(32 << 20)
        async with self.client(listener) as client:
            await self.upgraded(client)
            sending = asyncio.create_task(
                asyncio.to_thread(client.say, message))
            await asyncio.sleep(0.1)
            session = self.accepted[0]
            session.on_message = None
            connection = session.connection
            self.assertLess(connection._transport._incoming.pending, 1 << 20)
            self.assertLess(len(connection._buffer), 1 << 20)
            connection.resume_reading()
            await session.wait(2)
            # Not assertEqual: it would print both.
            self.assertIs(message == session.messages[1], True)
            await sending


class EndTest(TlsCase):

    async def test_an_end_with_the_word_for_it_is_orderly(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await self.upgraded(client)
            plain = await asyncio.to_thread(client.socket.unwrap)
            self.assertIsNone(await self.end_of())
            plain.close()

    async def test_a_stream_cut_off_is_an_error(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await self.upgraded(client)
            # Without TLS's word for the end.
            client.socket.shutdown(socket.SHUT_WR)
            self.assertIsInstance(await self.end_of(), tls_layer.Truncated)

    async def test_cut_off_in_the_middle_of_a_message(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await self.upgraded(client)
            await asyncio.to_thread(client.socket.sendall,
                                    LENGTH.pack(100) + b'half')
            client.socket.shutdown(socket.SHUT_WR)
            self.assertIsInstance(await self.end_of(), tls_layer.Truncated)
        self.assertEqual([b'tls'], self.accepted[0].messages)

    async def test_cut_off_in_the_handshake(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await asyncio.to_thread(client.say, b'tls')
            await asyncio.to_thread(client.hear)
            client.socket.shutdown(socket.SHUT_WR)
            self.assertIsInstance(await self.end_of(), api.TlsFailed)

    async def test_an_end_of_file_does_not_spin(self):
        """The client keeps its side open and takes nothing: no turn of the
        loop is spent on it."""
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await self.upgraded(client)
            session = self.accepted[0]
            session.send(bytes(32 << 20))
            await asyncio.sleep(0.05)
            client.socket.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.05)
            # (What was sent may still be encrypted, for a while.)
            for _ in range(TRIES):
                before = time.process_time()
                await asyncio.sleep(0.3)
                spent = time.process_time() - before
                if spent < 0.15:
                    break
            self.assertLess(spent, 0.15)

    async def test_our_end_is_told(self):
        def on_message(session, message):
            start_tls_on_word(self.tls)(session, message)
            if message == b'leave':
                session.connection.close()

        listener = await self.listen(on_message)
        async with self.client(listener) as client:
            await self.upgraded(client)
            await asyncio.to_thread(client.say, b'leave')
            self.assertEqual(b'leave', await asyncio.to_thread(client.hear))
            # Where it is not told, OpenSSL raises.
            self.assertEqual(b'', await asyncio.to_thread(
                client.socket.recv, 1))
            self.assertIsNone(await self.end_of())

    async def test_a_handshake_takes_no_longer_than_allowed(self):
        self.set_seconds('HANDSHAKE_SECONDS', 0.05)
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            await asyncio.to_thread(client.say, b'tls')
            await asyncio.to_thread(client.hear)
            client.socket.sendall(b'\x16\x03\x01')
            error = await self.end_of()
            self.assertIsInstance(error, api.TlsFailed)
            self.assertIn('0.05 s', str(error))


class TrustTest(TlsCase):

    async def test_a_server_of_another_authority(self):
        listener = await self.listen(echo, tls=self.tls)
        with tempfile.TemporaryDirectory() as directory:
            other = self.network.tls(
                certificates.Authority(directory).issue('client'))
            with self.assertRaisesRegex(api.TlsFailed, 'verify failed'):
                await self.network.connect(Lines, *listener.address, SECONDS,
                                           tls=other)
        self.assertIsInstance(await self.end_of(), api.TlsFailed)

    async def test_a_certificate_that_has_expired(self):
        listener = await self.listen(echo, tls=self.network.tls(
            self.authority.issue('old', days=-1)))
        with self.assertRaisesRegex(api.TlsFailed, 'expired'):
            await self.network.connect(Lines, *listener.address, SECONDS,
                                       tls=self.tls)

    async def test_a_client_without_a_certificate(self):
        tls = self.network.tls(self.files._replace(verify_clients=True))
        listener = await self.listen(start_tls_on_word(tls))
        async with self.client(listener) as client:
            # In TLS 1.3 the client hears of it behind its own handshake.
            await self.upgraded(client)
            with self.assertRaisesRegex(ssl.SSLError, 'required'):
                await asyncio.to_thread(client.hear)
            self.assertIsInstance(await self.end_of(), api.TlsFailed)

    async def test_a_client_with_a_certificate(self):
        tls = self.network.tls(self.files._replace(verify_clients=True))
        listener = await self.listen(start_tls_on_word(tls))
        files = self.authority.issue('client')
        async with self.client(listener, files=files) as client:
            await self.upgraded(client)
            await asyncio.to_thread(client.say, b'hello')
            self.assertEqual(b'hello', await asyncio.to_thread(client.hear))

    async def test_a_client_with_a_certificate_of_others(self):
        tls = self.network.tls(self.files._replace(verify_clients=True))
        listener = await self.listen(start_tls_on_word(tls))
        with tempfile.TemporaryDirectory() as directory:
            files = certificates.Authority(directory).issue('client')
            async with self.client(listener, files=files) as client:
                with self.assertRaises(ssl.SSLError):
                    await self.upgraded(client)
                    await asyncio.to_thread(client.hear)
        self.assertIsInstance(await self.end_of(), api.TlsFailed)

    async def test_old_versions_are_refused(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            client.context.set_ciphers('DEFAULT@SECLEVEL=0')
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                client.context.maximum_version = ssl.TLSVersion.TLSv1_1
                client.context.minimum_version = ssl.TLSVersion.TLSv1
            with self.assertRaises(ssl.SSLError):
                await self.upgraded(client)

    async def test_tls_1_2_is_served(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        async with self.client(listener) as client:
            client.context.maximum_version = ssl.TLSVersion.TLSv1_2
            await self.upgraded(client)
            self.assertEqual('TLSv1.2', client.socket.version())
            await asyncio.to_thread(client.say, b'hello')
            self.assertEqual(b'hello', await asyncio.to_thread(client.hear))

    async def test_clear_and_encrypted_on_one_port(self):
        listener = await self.listen(echo, tls=self.tls)
        for tls in self.tls, None:
            client = await self.network.connect(
                Lines, *listener.address, SECONDS, tls=tls)
            client.send(b'hello')
            await client.wait(1)
            self.assertIs(client.connection.is_encrypted, tls is not None)
            self.assertIs(self.accepted[-1].connection.is_encrypted,
                          tls is not None)

    async def test_long_messages_in_clear_on_a_port_that_knows_tls(self):
        listener = await self.listen(echo, tls=self.tls)
        for size in 4095, 100000, 5 << 20:
            client = await self.network.connect(
                Lines, *listener.address, SECONDS)
            message = os.urandom(size)
            client.send(message, b'more')
            await client.wait(2)
            self.assertIs(client.messages == [message, b'more'], True)

    async def test_a_session_hears_of_no_connection_before_it_is_secure(
            self):
        listener = await self.listen(echo)
        sessions = []

        def factory():
            sessions.append(Lines())
            return sessions[0]

        with self.assertRaises(OSError):
            await self.network.connect(factory, *listener.address, 0.2,
                                       tls=self.tls)
        await asyncio.sleep(0.01)
        self.assertIsNone(sessions[0].connection)
        self.assertFalse(sessions[0].ended.done())


class FilesTest(TlsCase):

    async def subject(self, listener):
        async with self.client(listener) as client:
            await self.upgraded(client)
            name = client.socket.getpeercert()['subject'][0][0][1]
        return name

    async def test_a_new_certificate_is_served_without_a_restart(self):
        listener = await self.listen(start_tls_on_word(self.tls))
        self.assertEqual('server', await self.subject(listener))
        new = self.authority.issue('new')
        os.rename(new.key, self.files.key)
        with self.assertLogs(tls_module.LOG, 'ERROR'):
            # The key is the new one's, the certificate is not yet.
            self.assertEqual('server', await self.subject(listener))
        os.rename(new.certificate, self.files.certificate)
        with self.assertLogs(tls_module.LOG, 'INFO') as logs:
            self.assertEqual('new', await self.subject(listener))
        self.assertIn(self.files.certificate, logs.output[0])

    async def test_it_is_not_complained_of_with_each_connection(self):
        os.unlink(self.files.key)
        with self.assertLogs(tls_module.LOG, 'ERROR') as logs:
            for _ in range(3):
                self.tls.server_context()
        self.assertEqual(1, len(logs.output))

    async def refused(self, files, text):
        with self.assertRaisesRegex(tls_module.TlsRefused, text):
            self.network.tls(files)

    async def test_files_that_cannot_be_used(self):
        other = self.authority.issue('other')
        broken = os.path.join(self.directory.name, 'broken.pem')
        with open(broken, 'w') as file:
            file.write('nothing')
        files = self.files
        await self.refused(files._replace(key='/none'), '/none')
        await self.refused(files._replace(key=other.key), 'mismatch')
        await self.refused(files._replace(certificate=broken), 'broken')
        await self.refused(files._replace(authorities=broken), 'broken')
        await self.refused(files._replace(authorities='',
                                          verify_clients=True),
                           'authorities')

    async def test_a_key_with_a_password_asks_nobody(self):
        with open(self.files.key, 'rb') as file:
            key = serialization.load_pem_private_key(file.read(), None)
        with open(self.files.key, 'wb') as file:
            file.write(key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b'secret')))
        await self.refused(self.files, 'password')


class TlsNetwork(network.StreamNetwork):

    files = None

    async def listen(self, *arguments, **named):
        named['tls'] = self.tls(self.files)
        return await super().listen(*arguments, **named)

    async def connect(self, *arguments, **named):
        named['tls'] = self.tls(self.files)
        return await super().connect(*arguments, **named)


class TlsTransportTest(test_transport.UvloopTransportTest):
    """All that is promised of connections holds under TLS."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        directory = tempfile.TemporaryDirectory(prefix='sheepdog-tls-')
        self.addCleanup(directory.cleanup)
        self.network = TlsNetwork(turn.Turn(self.loop))
        self.addCleanup(self.network.abort_all)
        self.network.files = certificates.Authority(
            directory.name).issue('server')


del test_transport.TransportTest, test_transport.UvloopTransportTest
