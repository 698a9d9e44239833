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

"""The NBD face and the clients that people have: libnbd, QEMU, fio."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

from sheepdog.tests.interop import nbd_served
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client
from sheepdog.wire import nbd_options

SIZE = 64 << 20
COMMAND_SECONDS = 180
SOON_SECONDS = 60
"""However busy the machine is."""
SYSTEM_PYTHON = '/usr/bin/python3'
"""The one that the distribution's libnbd module is for."""

LIBNBD_PRELUDE = """
import errno, json, nbd, os, random, sys
h = nbd.NBD()
h.add_meta_context('base:allocation')
uri = sys.argv[1]

def fails(expected, function, *arguments):
    try:
        function(*arguments)
    except nbd.Error as error:
        assert error.errnum == expected, error
    else:
        raise AssertionError('it does not fail')
"""


def needs(*programs):
    missing = [name for name in programs if shutil.which(name) is None]
    return unittest.skipIf(missing, 'not installed: %s' % ', '.join(missing))


def has_libnbd():
    return os.path.exists(SYSTEM_PYTHON) and subprocess.run(
        [SYSTEM_PYTHON, '-c', 'import nbd'],
        capture_output=True).returncode == 0


class TestCase(unittest.TestCase):

    settings = {}

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='sheepdog-nbd-')
        self.addCleanup(shutil.rmtree, self.directory)
        self.served = self.make_served(self.path('socket'))
        self.volume = self.served.volumes.create('vdi', SIZE)
        self.served.volumes.create('large', 1 << 40)
        self.served.start()
        self.addCleanup(self.served.stop)
        self.counters = self.served.face.counters

    def make_served(self, unix_path, **settings):
        return nbd_served.ServedFace(unix_path, **self.settings, **settings)

    def path(self, name):
        return os.path.join(self.directory, name)

    def run_command(self, *command, expect=0):
        """Run a command to its end; return what it printed."""
        # nbdsh looks for the Python that its module is for.
        path = '/usr/bin:/bin:' + os.environ['PATH']
        done = subprocess.run(command, capture_output=True, text=True,
                              timeout=COMMAND_SECONDS,
                              env=dict(os.environ, PATH=path))
        self.assertEqual(done.returncode, expect,
                         '%s\n%s%s' % (command, done.stdout, done.stderr))
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def make_image(self, size=SIZE, name='image'):
        """A sparse file with data here and there; return its path."""
        chance = random.Random(5)
        path = self.path(name)
        with open(path, 'wb') as image:
            image.truncate(size)
            for _count in range(20):
                image.seek(chance.randrange(size - (1 << 20)))
                image.write(chance.randbytes(chance.randrange(1, 1 << 20)))
            image.seek(size - 100)
            image.write(b'the end')
        return path

    def assert_same(self, one, other):
        with open(one, 'rb') as file_one, open(other, 'rb') as file_other:
            # Not assertEqual: it would print both.
            self.assertIs(file_one.read() == file_other.read(), True)

    def assert_let_go(self):
        """All volumes are closed soon after the last client left."""
        deadline = time.monotonic() + SOON_SECONDS
        while self.counters.connections_active:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertEqual(self.volume.references, 0)
        self.assertEqual(self.counters.violations, 0)


@needs('nbdinfo')
class TestNbdinfo(TestCase):

    settings = {'lock_wait_seconds': 0.2}

    def info(self, *arguments):
        return json.loads(self.run_command('nbdinfo', '--json', *arguments))

    def test_what_an_export_can_do(self):
        info = self.info(self.served.tcp('vdi'))
        self.assertEqual(info['protocol'], 'newstyle-fixed')
        self.assertIs(info['structured'], True)
        self.assertIs(info['TLS'], False)
        export, = info['exports']
        expected = {
            'export-name': 'vdi', 'export-size': SIZE,
            'contexts': ['base:allocation'], 'is_read_only': False,
            'can_df': True, 'can_fast_zero': True, 'can_flush': True,
            'can_fua': True, 'can_multi_conn': True, 'can_trim': True,
            'can_zero': True, 'can_cache': False, 'block_size_minimum': 1,
            'block_size_preferred': 4096, 'block_size_maximum': 32 << 20}
        self.assertEqual({key: export[key] for key in expected}, expected)
        self.assert_let_go()

    def test_list_over_the_unix_socket(self):
        info = self.info('--list', self.served.unix())
        self.assertEqual([export['export-name']
                          for export in info['exports']], ['large', 'vdi'])
        self.assert_let_go()

    def test_snapshots_are_read_only(self):
        self.served.call(self.served.volumes.snapshot, 'vdi', 'tag')
        export, = self.info(self.served.tcp('vdi@tag'))['exports']
        self.assertTrue(export['is_read_only'])
        self.assertFalse(export['can_trim'])

    def test_map_of_a_large_empty_volume(self):
        extents = json.loads(self.run_command(
            'nbdinfo', '--json', '--map', self.served.tcp('large')))
        self.assertEqual([(extent['length'], extent['type'])
                          for extent in extents], [(1 << 40, 3)])

    def test_unknown_names(self):
        for name in ('none', '', 'vdi@none', 'x' * 4096):
            output = self.run_command('nbdinfo', self.served.tcp(name),
                                      expect=1)
            self.assertIn('No such file', output)
        self.assert_let_go()

    def test_locked_elsewhere(self):
        self.served.volumes.locked['vdi'] = 1 << 30
        self.run_command('nbdinfo', self.served.tcp('vdi'), expect=1)
        self.served.volumes.locked.clear()
        self.run_command('nbdinfo', self.served.tcp('vdi'))


class TestDefaultExport(TestCase):

    settings = {'default_export': 'vdi'}

    @needs('nbdinfo')
    def test_no_name(self):
        self.assertEqual(self.run_command(
            'nbdinfo', '--size', self.served.tcp()).strip(), str(SIZE))


@needs('nbdcopy')
class TestNbdcopy(TestCase):

    def test_there_and_back_over_many_connections(self):
        image = self.make_image()
        many = ('--connections=4', '--threads=4', '--requests=16')
        self.run_command('nbdcopy', *many, '--flush', image,
                         self.served.tcp('vdi'))
        self.assertFalse(self.volume.is_dirty)
        self.run_command('nbdcopy', *many, self.served.unix('vdi'),
                         self.path('back'))
        self.assert_same(image, self.path('back'))
        self.assertGreaterEqual(self.counters.connections, 8)
        self.assertLess(os.stat(self.path('back')).st_blocks * 512, SIZE // 2)
        self.assert_let_go()

    def test_from_volume_to_volume(self):
        image = self.make_image()
        self.served.volumes.create('copy', SIZE)
        self.run_command('nbdcopy', image, self.served.tcp('vdi'))
        self.run_command('nbdcopy', self.served.tcp('vdi'),
                         self.served.tcp('copy'))
        self.run_command('nbdcopy', self.served.tcp('copy'),
                         self.path('back'))
        self.assert_same(image, self.path('back'))

    def test_a_client_killed_in_the_middle(self):
        image = self.make_image()
        for _count in range(5):
            with subprocess.Popen(['nbdcopy', '--allocated', image,
                                   self.served.tcp('vdi')]) as client:
                time.sleep(0.03)
                client.send_signal(signal.SIGKILL)
        self.assert_let_go()


@unittest.skipUnless(has_libnbd(), 'not installed: libnbd for Python')
class TestLibnbd(TestCase):

    def script(self, text, uri=None, opened=True):
        """Run a script with a connected handle ``h``."""
        prelude = LIBNBD_PRELUDE
        if opened:
            prelude += 'h.connect_uri(uri)\n'
        return self.run_command(
            SYSTEM_PYTHON, '-c', prelude + textwrap.dedent(text),
            uri or self.served.tcp('vdi'))

    def test_any_alignment(self):
        self.script("""
            size = h.get_size()
            twin = bytearray(size)
            chance = random.Random(1)
            for count in range(300):
                length = chance.choice((1, 511, 512, 4095, 4097, 100000))
                offset = chance.choice((
                    chance.randrange(size - length), size - length,
                    (4 << 20) - length // 2))
                verb = chance.choice('wwrzn')
                if verb == 'w':
                    data = chance.randbytes(length)
                    h.pwrite(data, offset, chance.choice((0, 1)))
                    twin[offset:offset + length] = data
                elif verb == 'r':
                    assert (h.pread(length, offset) ==
                            twin[offset:offset + length])
                else:
                    h.zero(length, offset, 2 if verb == 'n' else 0)
                    twin[offset:offset + length] = bytes(length)
            h.flush()
            for offset in range(0, size, 8 << 20):
                assert (h.pread(8 << 20, offset) ==
                        twin[offset:offset + (8 << 20)])
            h.shutdown()
            """)
        self.assert_let_go()

    def test_depth(self):
        self.script("""
            done = []
            buffers = []
            for index in range(2000):
                buffer = nbd.Buffer.from_bytearray(
                    bytearray(b'%08d' % index * 64))
                buffers.append(buffer)
                h.aio_pwrite(buffer, index * 512)
            while h.aio_in_flight():
                cookie = h.aio_peek_command_completed()
                if cookie:
                    h.aio_command_completed(cookie)
                else:
                    h.poll(-1)
            for index in range(0, 2000, 77):
                assert h.pread(8, index * 512) == b'%08d' % index
            """, uri=self.served.unix('vdi'))

    def test_old_clients_without_go(self):
        for flags in (0, 1, 2, 3):
            self.script("""
                h.set_handshake_flags(%d)
                h.set_request_structured_replies(False)
                h.connect_uri(uri)
                assert h.get_size() == 64 << 20
                h.pwrite(b'old', 4095)
                assert h.pread(3, 4095) == b'old'
                h.shutdown()
                """ % flags, opened=False)
        self.assert_let_go()

    def test_without_structured_replies(self):
        self.script("""
            h.set_request_structured_replies(False)
            h.connect_uri(uri)
            assert not h.get_structured_replies_negotiated()
            assert not h.can_df()
            assert not h.can_meta_context('base:allocation')
            h.pwrite(b'x' * 100000, 1)
            assert h.pread(100000, 1) == b'x' * 100000
            h.set_strict_mode(0)
            fails(errno.EINVAL, h.pread, 4096, (64 << 20) - 1)
            fails(errno.ENOSPC, h.pwrite, b'xx', (64 << 20) - 1)
            assert h.pread(100000, 1) == b'x' * 100000
            """, opened=False)

    def test_structured_reads(self):
        self.script("""
            h.pwrite(b'x' * 4096, (4 << 20) - 2048)
            for flags in (0, nbd.CMD_FLAG_DF):
                chunks = []
                data = h.pread_structured(
                    6 << 20, 0, lambda data, offset, status, error:
                    chunks.append((offset, len(data), status)), flags)
                assert chunks == [(0, 6 << 20, nbd.READ_DATA)], chunks
                assert data[(4 << 20) - 2048:][:4096] == b'x' * 4096
            """)

    def test_block_status(self):
        self.script("""
            h.pwrite(b'x' * 8192, 5 << 20)
            found = []
            def extent(context, offset, entries, error):
                assert context == 'base:allocation'
                found.extend(entries)
            h.block_status(64 << 20, 0, extent)
            assert found == [5 << 20, 3, 8192, 0,
                             (59 << 20) - 8192, 3], found
            del found[:]
            h.block_status(8193, (5 << 20) - 1, extent,
                           nbd.CMD_FLAG_REQ_ONE)
            assert found == [1, 3], found
            del found[:]
            h.block_status(1, (5 << 20) + 4097, extent)
            assert found == [1, 0], found
            """)

    def test_fua_is_accepted_on_every_command(self):
        self.script("""
            h.set_strict_mode(0)
            fua = nbd.CMD_FLAG_FUA
            h.pwrite(b'x' * 512, 0, fua)
            h.pread(512, 0, fua)
            h.zero(512, 0, fua)
            h.trim(512, 0, fua)
            h.flush(fua)
            h.block_status(512, 0, lambda *_: 0, fua)
            """)
        self.assertFalse(self.volume.is_dirty)

    def test_zero_and_trim_longer_than_a_payload_may_be(self):
        self.script("""
            h.pwrite(b'x' * 4096, 1 << 30)
            for verb in (h.zero, h.trim):
                verb((4 << 30) - 4096, 0)
            assert h.pread(4096, 1 << 30) == bytes(4096)
            """, uri=self.served.tcp('large'))

    def test_fast_zero(self):
        self.script("""
            h.zero(1 << 20, 0, nbd.CMD_FLAG_FAST_ZERO)
            fails(errno.ENOTSUP, h.zero, 1 << 20, 0,
                  nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
            """)

    def test_what_is_not_in_order(self):
        self.script("""
            h.set_strict_mode(0)
            fails(errno.EINVAL, h.cache, 4096, 0)
            fails(errno.EINVAL, h.pread, 33 << 20, 0)
            fails(errno.EINVAL, h.pwrite, bytes(33 << 20), 0)
            fails(errno.ENOSPC, h.zero, 2, (64 << 20) - 1)
            fails(errno.EINVAL, h.trim, 2, (64 << 20) - 1)
            fails(errno.EINVAL, h.pread, 512, 0, nbd.CMD_FLAG_REQ_ONE)
            assert h.pread(5, 0) == bytes(5)
            """)

    def test_the_longest_requests(self):
        self.script("""
            data = os.urandom(1 << 20) * 32
            h.pwrite(data, 7)
            assert h.pread(32 << 20, 7) == data
            """)

    def test_info_then_go_in_option_mode(self):
        self.script("""
            h.set_opt_mode(True)
            h.connect_uri(uri)
            names = []
            h.opt_list(lambda name, description: names.append(name))
            assert names == ['large', 'vdi'], names
            h.set_export_name('none')
            fails(errno.ENOENT, h.opt_info)
            h.set_export_name('large')
            h.opt_info()
            assert h.get_size() == 1 << 40
            contexts = []
            h.opt_list_meta_context(contexts.append)
            assert contexts == ['base:allocation'], contexts
            h.set_export_name('vdi')
            h.opt_go()
            assert h.get_size() == 64 << 20
            assert h.can_meta_context('base:allocation')
            h.shutdown()
            """, opened=False)
        self.assert_let_go()

    def test_read_only(self):
        self.served.call(self.served.volumes.snapshot, 'vdi', 'tag')
        self.script("""
            assert h.is_read_only()
            h.set_strict_mode(0)
            for verb in (lambda: h.pwrite(b'x', 0), lambda: h.zero(1, 0),
                         lambda: h.trim(1, 0)):
                fails(errno.EPERM, verb)
            """, uri=self.served.tcp('vdi@tag'))

    def test_a_lost_lock_closes(self):
        self.served.call(self.volume.lose_lock)
        self.script("""
            fails(errno.ESHUTDOWN, h.pread, 512, 0)
            try:
                h.pread(512, 0)
            except nbd.Error:
                assert h.aio_is_dead() or h.aio_is_closed()
            """)


@needs('nbdsh')
class TestNbdsh(TestCase):

    def test_a_line_of_shell(self):
        self.assertEqual(self.run_command(
            'nbdsh', '-u', self.served.unix('vdi'), '-c',
            'h.pwrite(b"shell", 3); print(h.pread(7, 2))').strip(),
            "bytearray(b'\\x00shell\\x00')")


@needs('qemu-img', 'qemu-io')
class TestQemu(TestCase):

    def test_info(self):
        info = json.loads(self.run_command(
            'qemu-img', 'info', '--output=json', self.served.tcp('vdi')))
        self.assertEqual(info['virtual-size'], SIZE)

    def test_an_image_there_and_back_stays_sparse(self):
        image = self.make_image()
        self.run_command('qemu-img', 'convert', '-n', '-f', 'raw', '-O',
                         'raw', image, self.served.tcp('vdi'))
        self.run_command('qemu-img', 'compare', '-f', 'raw', '-F', 'raw',
                         image, self.served.unix('vdi'))
        extents = json.loads(self.run_command(
            'qemu-img', 'map', '--output=json', '-f', 'raw',
            self.served.tcp('vdi')))
        self.assertEqual(sum(extent['length'] for extent in extents), SIZE)
        data = sum(extent['length'] for extent in extents if extent['data'])
        self.assertLess(data, SIZE // 2)
        self.run_command('qemu-img', 'convert', '-f', 'raw', '-O', 'raw',
                         self.served.tcp('vdi'), self.path('back'))
        self.assert_same(image, self.path('back'))
        self.assert_let_go()

    def test_qcow2_inside(self):
        image = self.make_image(SIZE // 2)
        self.run_command('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2',
                         image, self.served.tcp('vdi'))
        self.run_command('qemu-img', 'check', '-f', 'qcow2',
                         self.served.tcp('vdi'))
        self.run_command('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2',
                         image, self.served.tcp('vdi'))

    def test_io(self):
        output = self.run_command(
            'qemu-io', '-f', 'raw', self.served.tcp('vdi'),
            '-c', 'write -P 7 0 1M', '-c', 'write -f -P 8 512 3k',
            '-c', 'read -P 7 0 512', '-c', 'read -P 8 512 3k',
            '-c', 'write -z 64k 64k', '-c', 'write -z -u 128k 64k',
            '-c', 'discard 192k 64k', '-c', 'flush',
            '-c', 'read -P 0 64k 128k', '-c', 'aio_write -P 9 2M 8M',
            '-c', 'aio_flush', '-c', 'read -P 9 2M 8M', '-c', 'map')
        self.assertNotIn('failed', output)
        self.assertEqual(self.counters.requests_failed, 0)
        self.assert_let_go()

    def test_it_goes_on_where_it_was_after_a_restart(self):
        """Drained on a stop; the same export for who comes back."""
        with subprocess.Popen(
                ['qemu-io', '--image-opts',
                 'driver=raw,file.driver=nbd,file.server.type=unix,'
                 'file.server.path=%s,file.export=vdi,'
                 'file.reconnect-delay=60' % self.served.unix_path],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True) as client:
            client.stdin.write('write -P 5 0 1M\n')
            client.stdin.flush()
            deadline = time.monotonic() + SOON_SECONDS
            while self.counters.bytes_written < 1 << 20:
                self.assertLess(time.monotonic(), deadline)
                self.assertIsNone(client.poll())
                time.sleep(0.01)
            self.served.stop()
            again = nbd_served.ServedFace(self.served.unix_path,
                                          self.served.volumes)
            again.start()
            self.addCleanup(again.stop)
            output, _errors = client.communicate(
                'read -P 5 0 1M\nwrite -P 6 0 1M\nq\n',
                timeout=COMMAND_SECONDS)
            self.assertEqual(client.returncode, 0, output)
        self.assertEqual(again.run(self.volume.read(0, 3)), b'\6\6\6')


@needs('fio')
class TestFio(TestCase):

    def fio(self, *options):
        output = self.run_command(
            'fio', '--name=job', '--ioengine=nbd', '--output-format=json',
            '--verify_state_save=0',
            '--uri=%s' % self.served.tcp('vdi'), *options)
        job, = json.loads(output[output.index('{'):])['jobs']
        self.assertEqual(job['error'], 0)
        return job

    def test_random_writes_are_verified(self):
        self.fio('--rw=randwrite', '--bs=4k', '--iodepth=32', '--size=16m',
                 '--verify=crc32c', '--do_verify=1', '--fsync=64')
        self.assertGreater(self.counters.flushes, 10)
        self.assert_let_go()

    def test_any_size_and_alignment(self):
        self.fio('--rw=randwrite', '--bsrange=1k-256k', '--bs_unaligned',
                 '--iodepth=16', '--size=32m', '--verify=xxhash',
                 '--do_verify=1')
        self.assertEqual(self.counters.requests_refused, 0)


class TestSockets(TestCase):
    """What no well-behaved client does."""

    settings = {'handshake_timeout_seconds': 0.5, 'connections_max': 50}

    def connect(self):
        client = socket.create_connection(self.served.face.address)
        client.settimeout(SOON_SECONDS)
        self.addCleanup(client.close)
        return client

    def until_closed(self, client):
        """Read to the end: what came."""
        data = b''
        while True:
            try:
                piece = client.recv(65536)
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece

    def test_silent_clients_are_closed(self):
        data = self.until_closed(self.connect())
        self.assertEqual(len(data), nbd_options.GREETING.size)

    def test_one_byte_at_a_time_is_no_way_round_the_time_limit(self):
        client = self.connect()
        start = time.monotonic()
        with self.assertRaises(OSError):
            while time.monotonic() < start + SOON_SECONDS:
                client.send(b'\0')
                time.sleep(0.2)

    def test_one_connection_too_many(self):
        clients = [self.connect() for _count in range(60)]
        # One address gets seven eighths of the 50.
        refused = [client for client in clients[44:]
                   if not self.until_closed(client)]
        self.assertEqual(len(refused), 16)
        self.assertEqual(self.counters.connections_refused, 16)
        self.assertEqual(self.counters.connections, 44)

    def test_a_stop_with_clients_that_sit_on_their_sockets(self):
        clients = [self.connect() for _count in range(40)]
        start = time.monotonic()
        self.served.stop(2 * SOON_SECONDS)
        self.assertLess(time.monotonic() - start, SOON_SECONDS)
        for client in clients:
            self.until_closed(client)

    def test_garbage(self):
        chance = random.Random(6)
        for size in (1, 4, 20, 1000, 100000):
            client = self.connect()
            try:
                client.sendall(chance.randbytes(size))
                client.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.until_closed(client)
        self.run_command('nbdinfo', self.served.tcp('vdi'))

    def test_a_reader_that_takes_nothing_bounds_what_is_kept(self):
        client = self.connect()
        client.sendall(nbd_client.pack_client_flags() +
                       nbd_client.pack_option(
                           nbd_options.OPT_GO, nbd_client.pack_info('vdi')))
        client.settimeout(0.5)
        request = nbd_client.pack_request(nbd.CMD_READ, 1, 0, 1 << 20)
        sent = 0
        with self.assertRaises(TimeoutError):
            while sent < 64 << 20:
                sent += client.send(request * 1000)
        # 64 KiB of requests would be 2.3 GB of answers.
        self.assertLess(self.counters.bytes_read, 100 << 20)
        self.run_command('nbdinfo', self.served.tcp('vdi'))


if __name__ == '__main__':
    sys.exit(unittest.main())
