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

"""Tests of sheepdog.client.connection."""

import os
import socket
import tempfile
import threading
import time
import unittest

from sheepdog.client import address
from sheepdog.client import connection
from sheepdog.model import errors
from sheepdog.model import keys
from sheepdog.testing import fake_sheep
from sheepdog.wire import peer as wire


RING = keys.Keyring((keys.Key.of(bytes(range(36))),))


SECONDS = 60.0
"""However busy the machine is."""


class ConnectionTest(unittest.TestCase):
    def setUp(self):
        self.sheep = fake_sheep.FakeSheep()
        self.sheep.start()
        self.addCleanup(self.sheep.stop)

    def connect(self, timeout=SECONDS, **keywords):
        keywords.setdefault('connect_timeout', SECONDS)
        opened = connection.Connection.open(
            address.parse_address(self.sheep.address), timeout, **keywords)
        self.addCleanup(opened.close)
        return opened

    def open_volume(self, opened, size=1 << 20):
        opened.ask('vdi.create', {'name': 'v', 'size': size, 'copies': 3,
                                  'block_size_shift': 22})
        return opened.ask('volume.open', {'name': 'v'})['handle']

    def test_hello(self):
        opened = self.connect()
        self.assertEqual('fake.1', opened.incarnation)
        self.assertEqual('tool', self.sheep.greeted[0]['role'])
        self.assertEqual(wire.VERSION, self.sheep.greeted[0]['protocol'])

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'sock')
            with fake_sheep.FakeSheep(path=path):
                opened = connection.Connection.open(
                    address.parse_address('unix:' + path))
                self.assertEqual([], opened.ask('vdi.list', {}))
                opened.close()

    def test_proof(self):
        self.sheep.keyring = RING
        opened = self.connect(keyring=RING)
        self.assertEqual('fake.1', opened.incarnation)
        self.assertEqual([], opened.ask('vdi.list', {}))
        self.assertEqual([RING.current.id], self.sheep.greeted[0]['keys'])
        self.assertIn('proof', self.sheep.greeted[1])

    def test_sealed_data(self):
        self.sheep.keyring = RING
        opened = self.connect(keyring=RING)
        handle = self.open_volume(opened)
        for size in (1, 4096, 1 << 20):
            data = os.urandom(size)
            opened.call(wire.VOLUME_WRITE, handle=handle, payload=data)
            into = bytearray(size)
            opened.call(wire.VOLUME_READ, handle=handle, aux=size,
                        into=memoryview(into))
            self.assertEqual(data, into)

    def test_answers_with_a_wrong_seal(self):
        self.sheep.keyring = RING
        for place in (8, 30, 47, 48, 63):
            with self.subTest(place):
                opened = self.connect(keyring=RING)

                def mangle(opcode, header, payload, place=place):
                    if opcode == wire.ADMIN:
                        header[place] ^= 1
                    return payload

                self.sheep.mangle = mangle
                self.assertRaises(errors.CorruptFrame, opened.ask,
                                  'vdi.list', {})
                self.sheep.mangle = None

    def test_asked_for_a_key_without_one(self):
        self.sheep.keyring = RING
        self.assertRaisesRegex(errors.AccessRefused, '--key-file',
                               self.connect)

    def test_another_key(self):
        self.sheep.keyring = RING
        other = keys.Keyring((keys.Key.of(os.urandom(36)),))
        self.assertRaisesRegex(
            errors.AccessRefused, self.sheep.address + '.*' +
            other.current.id, self.connect, keyring=other)

    def test_another_key_of_the_same_id(self):
        self.sheep.keyring = RING
        other = keys.Keyring((keys.Key(RING.current.id, b'o' * 32),))
        self.assertRaisesRegex(errors.AccessRefused, 'proof is wrong',
                               self.connect, keyring=other)

    def test_a_sheep_that_proves_nothing(self):
        self.assertRaisesRegex(errors.AccessRefused, 'does not prove',
                               self.connect, keyring=RING)

    def test_the_file_of_a_unix_socket_is_proof_enough(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'sock')
            for theirs in (None, RING):
                with fake_sheep.FakeSheep(path=path, keyring=theirs):
                    opened = connection.Connection.open(
                        address.parse_address('unix:' + path), keyring=RING)
                    self.assertEqual([], opened.ask('vdi.list', {}))
                    opened.close()
                os.unlink(path)

    def test_hello_refused(self):
        def refuse(_fields):
            raise errors.VersionMismatch('we speak 0x12')

        self.sheep.hello = refuse
        self.assertRaisesRegex(errors.VersionMismatch, '0x12', self.connect)

    def test_typed_error_with_text(self):
        self.sheep.cluster.answers['vdi.list'] = errors.WaitForFormat('not x')
        opened = self.connect()
        self.assertRaisesRegex(errors.WaitForFormat, '^not x$',
                               opened.ask, 'vdi.list', {})
        # An error is an answer: the connection goes on.
        self.sheep.cluster.answers['vdi.list'] = [1]
        self.assertEqual([1], opened.ask('vdi.list', {}))

    def test_refused(self):
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            port = sock.getsockname()[1]
        self.assertRaisesRegex(
            errors.Unreachable, '127.0.0.1:%d' % port,
            connection.Connection.open, address.Address('127.0.0.1', port))

    def test_no_answer_in_time(self):
        opened = self.connect()
        opened._timeout = 0.2
        self.sheep.mangle = lambda opcode, header, payload: None
        begin = time.monotonic()
        self.assertRaises(connection.NoAnswer, opened.ask, 'vdi.list', {})
        self.assertLess(time.monotonic() - begin, SECONDS / 2)
        self.assertTrue(opened.is_lost)
        self.assertRaises(connection.ConnectionLost,
                          opened.ask, 'vdi.list', {})

    def test_hello_not_answered_in_time(self):
        self.sheep.mangle = lambda opcode, header, payload: None
        self.assertRaises(connection.NoAnswer, self.connect,
                          connect_timeout=0.2)

    def test_broken_while_waiting(self):
        opened = self.connect()
        self.sheep.mangle = lambda opcode, header, payload: None
        call = opened.submit(wire.ADMIN, payload=wire.pack_json(
            {'method': 'vdi.list', 'arguments': {}}))
        self.sheep.break_connections()
        self.assertRaises(connection.ConnectionLost, opened.wait, call)

    def check_distrust(self, mangle, expected=errors.CorruptFrame):
        opened = self.connect()
        self.sheep.mangle = mangle
        self.assertRaises(expected, opened.ask, 'vdi.list', {})
        self.assertTrue(opened.is_lost)
        self.sheep.mangle = None

    def test_answer_with_wrong_fields(self):
        # Offsets of the header: opcode, id, data length, handle, crc, tag.
        for offset in (1, 8, 16, 40, 44):
            def mangle(opcode, header, payload, offset=offset):
                header[offset] ^= 1
                return payload

            with self.subTest(offset=offset):
                self.check_distrust(mangle)

    def test_answer_of_another_version(self):
        def mangle(opcode, header, payload):
            header[0] = 2
            return payload

        self.check_distrust(mangle, errors.VersionMismatch)

    def test_answer_that_was_damaged(self):
        self.check_distrust(lambda opcode, header, payload:
                            payload[:-1] + b'!')

    def test_answer_too_long(self):
        def mangle(opcode, header, payload):
            header[12:16] = b'\xff\xff\xff\xff'
            return payload

        self.check_distrust(mangle, errors.InvalidParameters)

    def test_read_of_wrong_length(self):
        opened = self.connect()
        handle = self.open_volume(opened, 4096)
        self.assertRaises(
            errors.CorruptFrame, opened.call, wire.VOLUME_READ, 0, handle, 0,
            8192, into=memoryview(bytearray(8192)))

    def test_pipelined_answers_go_to_their_calls(self):
        opened = self.connect()
        handle = self.open_volume(opened)
        for index in range(16):
            opened.call(wire.VOLUME_WRITE, 0, handle, index * 4096,
                        payload=bytes([index]) * 4096)
        buffers = [bytearray(4096) for _index in range(16)]
        calls = [opened.submit(wire.VOLUME_READ, 0, handle, index * 4096,
                               4096, into=memoryview(buffers[index]))
                 for index in range(16)]
        for call in reversed(calls):
            opened.wait(call)
        self.assertEqual([bytes([index]) * 4096 for index in range(16)],
                         [bytes(buffer) for buffer in buffers])

    def test_sending_takes_in_answers(self):
        # The fake answers one request before it reads the next. 64 MiB of
        # answers fit into no socket: were they not read while the writes
        # go out, both sides would wait for ever.
        opened = self.connect()
        handle = self.open_volume(opened, 4 << 20)
        reads = [opened.submit(
            wire.VOLUME_READ, 0, handle, 0, 4 << 20,
            into=memoryview(bytearray(4 << 20))) for _index in range(16)]
        write = opened.submit(wire.VOLUME_WRITE, 0, handle, 0,
                              payload=bytes(4 << 20))
        for call in reads + [write]:
            opened.wait(call)

    def test_sending_to_a_deaf_sheep_ends(self):
        opened = self.connect()
        handle = self.open_volume(opened, 4 << 20)
        opened._timeout = 0.3
        self.sheep.is_deaf = True
        opened.submit(wire.VOLUME_FLUSH, 0, handle)
        with self.assertRaises(connection.NoAnswer):
            for _index in range(64):
                opened.call(wire.VOLUME_WRITE, 0, handle, 0,
                            payload=bytes(4 << 20))

    def test_many_threads(self):
        opened = self.connect()
        handle = self.open_volume(opened)
        wrong = []

        def work(index):
            for turn in range(30):
                data = bytes([index, turn]) * 2048
                opened.call(wire.VOLUME_WRITE, 0, handle, index * 4096,
                            payload=data)
                buffer = bytearray(4096)
                opened.call(wire.VOLUME_READ, 0, handle, index * 4096, 4096,
                            into=memoryview(buffer))
                if buffer != data:
                    wrong.append((index, turn))

        threads = [threading.Thread(target=work, args=(index,))
                   for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
            self.assertFalse(thread.is_alive())
        self.assertEqual([], wrong)
