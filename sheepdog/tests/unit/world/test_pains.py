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

"""What Python, asyncio and tooz are known to do to programs like this one.

One test for each row: the trap, and that it does not shut here. (The pains of
storage itself are played, those of NBD stand with the NBD face.)
"""

import ast
import asyncio
import gc
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import unittest

from fuzz import peer as frames
from sheepdog.model import errors
from sheepdog.tests.unit.world import test_crowd
from sheepdog.volume import object_map
from sheepdog.wire import native
from sheepdog.wire import native_client
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client
from sheepdog.wire import nbd_transmission
from sheepdog.wire import peer as wire
from sheepdog.world import network
from sheepdog.world import transport
from sheepdog.world import turn

ROOT = pathlib.Path(__file__).resolve().parents[3]
TESTS = ('tests', 'testing')


def calls():
    """(file, dotted name, call) of each call in the daemon and its tools."""
    for path in sorted(ROOT.rglob('*.py')):
        name = path.relative_to(ROOT)
        if name.parts[0] in TESTS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield str(name), ast.unparse(node.func), node


class DescriptorTest(unittest.TestCase):
    """A socket's descriptor closed twice: one client's bytes go to another
    (uvloop#645, #738)."""

    def test_uvloop_is_one_with_the_fix(self):
        installed = importlib.metadata.version('uvloop')
        self.assertGreaterEqual(
            tuple(map(int, installed.split('.')[:2])), (0, 23))
        required = (ROOT.parent / 'requirements.txt').read_text()
        self.assertIn('uvloop>=0.23.0', required)

    def test_no_connection_is_made_of_a_socket_of_ours(self):
        for name, function, call in calls():
            if function.endswith(('.create_connection', '.create_server',
                                  '.create_unix_server',
                                  '.create_unix_connection')):
                self.assertNotIn('sock', [keyword.arg for keyword
                                          in call.keywords], name)

    def test_a_frame_of_another_connection_is_noticed(self):
        frame = b''.join(wire.pack_request(
            wire.WRITE, 0, 1, 1, frames.OID, payload=b'data',
            tag=frames.TAG))
        self.assertEqual(1, len(frames._Session().feed(frame, len(frame))))
        other = b''.join(wire.pack_request(
            wire.WRITE, 0, 1, 1, frames.OID, payload=b'data',
            tag=frames.TAG + 1))
        damaged = frame[:-1] + b'?'
        for wrong in (other, damaged):
            session = frames._Session()
            with self.assertRaises(errors.CorruptFrame):
                session.feed(wrong, len(wrong))
            self.assertEqual([], session.taken)


class ReusedBufferTest(unittest.IsolatedAsyncioTestCase):
    """A buffer handed to a transport and reused corrupts the wire (cpython
    PR#31871). The receive buffer is the one that is reused: nothing that
    lives on may look into it."""

    def check(self, data, read, found):
        """``read(buffer)`` takes the messages, then the buffer is poisoned.
        """
        buffer = bytearray(data)
        read(buffer)
        before = [bytes(payload) for payload in found()]
        buffer[:] = b'\xa5' * len(buffer)
        self.assertTrue(before)
        self.assertEqual(before, [bytes(payload) for payload in found()])

    def test_native_requests(self):
        taken = []
        self.check(b''.join(native_client.pack_write(1, 5, 0, b'payload')),
                   lambda buffer: taken.extend(native.split_requests(
                       buffer, 0, len(buffer))[0]),
                   lambda: [payload for _, payload in taken])

    def test_peer_frames(self):
        session = frames._Session()
        self.check(b''.join(wire.pack_request(
            wire.WRITE, 0, 1, 1, frames.OID, payload=b'payload',
            tag=frames.TAG)),
            lambda buffer: session.session.received(buffer, 0, len(buffer)),
            lambda: [request[-1] for request in session.taken])

    def test_nbd_requests(self):
        taken = []

        def take(*request):
            taken.append(request)
            return True

        reader = nbd_transmission.RequestReader(take)
        self.check(nbd_client.pack_request(nbd.CMD_WRITE, 1, 0, 7)
                   + b'payload',
                   lambda buffer: reader.receive(buffer, 0, len(buffer)),
                   lambda: [request[-1] for request in taken])

    async def test_what_was_sent_is_not_what_comes_in(self):
        """Over a real socket, each byte that is released poisoned."""
        class Poisoned(transport.StreamConnection):
            def _deliver(self):
                super()._deliver()
                self._buffer[:self._start] = b'\xa5' * self._start
                if not self._end:
                    self._buffer[:] = b'\xa5' * len(self._buffer)

        class Echo(test_crowd.Frames):
            def received(self, buffer, start, end):
                used = super().received(buffer, start, end)
                self.connection.send(bytes(buffer[start:used]))
                return used

        streams = network.StreamNetwork(
            turn.Turn(asyncio.get_running_loop()))
        self.addCleanup(streams.abort_all)
        original = transport.StreamConnection
        transport.StreamConnection = Poisoned
        self.addCleanup(setattr, transport, 'StreamConnection', original)
        listener = await streams.listen(Echo, host='127.0.0.1')
        self.addAsyncCleanup(listener.close)
        reader, writer = await asyncio.open_connection(*listener.address)
        for number in range(50):
            message = bytes([number + 1]) * (number * 997 + 1)
            data = len(message).to_bytes(4, 'big') + message
            writer.write(data)
            echoed = (await reader.readexactly(len(data) + 2))
            self.assertEqual(b'ok' + data, echoed)
        writer.close()


class BackPressureTest(test_crowd.CrowdCase):
    """No back pressure in ``writelines``, write after loss (cpython#127655,
    #136234): output is bounded in bytes by ourselves."""

    async def test_who_takes_no_answers_is_not_read(self):
        class Generous(test_crowd.Frames):
            def received(self, buffer, start, end):
                while end - start >= 4:
                    start += 4
                    self.taken.append(4)
                    self.connection.send(bytes(100_000))
                return start

        listener = await self.network.listen(self.generous(Generous),
                                             host='127.0.0.1')
        self.addAsyncCleanup(listener.close)
        self.address = listener.address
        client, session = await self.connect()
        loop = asyncio.get_running_loop()
        sending = loop.create_task(loop.sock_sendall(client, bytes(1 << 20)))
        await self.until(lambda: session.connection.is_paused)
        await asyncio.sleep(0.5)
        taken = len(session.taken)
        # One batch of requests may go beyond the mark.
        batch = transport.BUFFER_USUAL_BYTES // 4 * 100_000
        self.assertLess(session.connection.queued_bytes,
                        transport.OUTPUT_HIGH_BYTES + batch)
        await asyncio.sleep(0.5)
        self.assertEqual(taken, len(session.taken))
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    def generous(self, kind):
        def session():
            self.sessions.append(kind())
            return self.sessions[-1]
        return session

    async def test_what_is_sent_after_the_loss_goes_nowhere(self):
        client, session = await self.connect()
        client.close()
        await self.until(lambda: session.is_gone)
        session.connection.send(b'x' * 100)
        await asyncio.sleep(0.05)
        self.assertEqual(0, session.connection.queued_bytes)
        self.assertEqual([], session.connection._out)


class GarbageTest(unittest.TestCase):
    """Pauses of the garbage collector with millions of objects
    (sglang#30693)."""

    def test_what_is_there_at_the_start_is_frozen(self):
        done = subprocess.run(
            [sys.executable, '-c',
             'import gc\n'
             'from sheepdog.world import garbage\n'
             'before = gc.get_threshold()\n'
             'garbage.settle()\n'
             'print(gc.get_freeze_count() > 1000, len(gc.get_objects()) <'
             ' 1000, gc.get_threshold() > before)'],
            capture_output=True, text=True, check=True, cwd=ROOT.parent)
        self.assertEqual('True True True', done.stdout.strip())

    def test_a_sheep_does_so_when_it_has_started(self):
        text = (ROOT / 'cmd' / 'production.py').read_text()
        self.assertRegex(text, r'super\(\)\.start\(\)\n\s+garbage\.settle')

    def test_a_map_of_a_million_objects_is_one(self):
        class Gateway:
            world = None

        before = len(gc.get_objects())
        found = object_map.ObjectMap(Gateway(), 7, 7, True)
        found.extend(1 << 20)
        self.assertLess(len(gc.get_objects()) - before, 50)


class CoordinationTest(unittest.TestCase):
    """tooz's lock heartbeat says True after expiry (etcd3gw), and nobody
    listens to the session (zk): the lease is our own."""

    def test_no_lock_of_tooz_tells_who_we_are(self):
        for name, function, _call in calls():
            if name.startswith('cluster/tooz_'):
                self.assertFalse(re.search(r'lock.*\.heartbeat$|'
                                           r'\.is_still_owner$|\.acquired$',
                                           function), function)

    def test_the_lease_is_a_time_of_ours(self):
        path = ROOT / 'cluster' / 'membership.py'
        self.assertIn('return self._now() < self._lease.lease_until',
                      path.read_text())


class ForkTest(unittest.TestCase):
    """fork in a threaded process (cpython#100228)."""

    def test_only_the_command_forks_before_there_is_a_thread(self):
        forks = {name for name, function, _call in calls()
                 if function.endswith(('os.fork', 'os.forkpty'))
                 or 'multiprocessing' in function}
        self.assertEqual({'cmd/background.py'}, forks)

    def test_nobody_asks_for_code_between_fork_and_exec(self):
        for name, _function, call in calls():
            self.assertNotIn('preexec_fn', [keyword.arg for keyword
                                            in call.keywords], name)
