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

"""Real sheep, started and stopped; and what one asks of them."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

from bench import flood
from sheepdog.client import client as client_module
from sheepdog.client import key_file
from sheepdog.model import errors
from sheepdog.model import keys
from sheepdog.testing import servers
from sheepdog.wire import native
from sheepdog.wire import native_client

HOST = '127.0.0.1'
START_SECONDS = 120.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.005
RECOVERY_POLL_SECONDS = 0.02
"""Asking takes sheep's time, too, which is measured."""
_SCRATCH = bytearray(1 << 20)


def free_port() -> int:
    return servers.free_ports(1)[0]


def wait_until(condition, seconds: float, what: str,
               pause: float = POLL_SECONDS) -> float:
    """Poll until ``condition()`` is true; how many seconds it took.

    :raises BenchError: it never was
    """
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise flood.BenchError('waited %d s for %s' % (seconds, what))
        time.sleep(pause)
    return time.monotonic() - begin


class Sheep:
    """One daemon; each in a zone of its own."""

    def __init__(self, directory: pathlib.Path, number: int, options=(),
                 profile=''):
        self.number = number
        self.key_file = str(directory / 'cluster.key')
        self.port = free_port()
        self.nbd_port = free_port()
        self.process = None
        self._admin = None
        self._meta = directory / ('sheep-%d' % number)
        self._output = directory / ('sheep-%d.out' % number)
        sheep = str(pathlib.Path(sys.executable).parent / 'sheep')
        self.command = [
            sheep, '-f', '-b', HOST, '-y', HOST, '-p', str(self.port),
            '-c', 'local:%s' % (directory / 'coordination'),
            '-z', str(number + 1),
            '--nbd', 'host=%s,port=%d' % (HOST, self.nbd_port),
            '--key-file', self.key_file, *options, str(self._meta)]
        if profile:
            self.command[:0] = [
                sys.executable, '-m', 'cProfile', '-o',
                os.path.join(profile, 'sheep-%d.prof' % number)]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def read_journal(self):
        for path in (self._meta / 'journal').glob('*'):
            with open(path, 'rb', buffering=0) as file:
                while file.readinto(_SCRATCH):
                    pass

    def start(self):
        with open(self._output, 'ab') as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output)

    def wait(self, condition, what: str) -> float:
        """``wait_until``, as long as the daemon lives."""
        def check():
            if self.process.poll() is not None:
                raise flood.BenchError(
                    '%s\nexited with %d:\n%s' % (
                        ' '.join(self.command), self.process.returncode,
                        self._output.read_text(errors='replace')[-2000:]))
            return condition()
        return wait_until(check, START_SECONDS,
                          'sheep %d to %s' % (self.number, what))

    def send_signal(self, number, seconds: float = STOP_SECONDS):
        """Signal it, and wait until it is gone."""
        if not self.is_running:
            return
        self.process.send_signal(number)
        self.wait_gone(seconds)

    def wait_gone(self, seconds: float = STOP_SECONDS):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            print('sheep %d did not stop within %d s' % (self.number,
                                                         seconds))

    def is_answering(self) -> bool:
        """Does it answer a native client, whatever it says?"""
        return self._ask(native_client.pack_get_cluster_default(1)) is not None

    def is_serving(self, name: str) -> bool:
        """Does it find a VDI of that name?"""
        fields = self._ask(native_client.pack_get_vdi_info(1, name))
        return fields is not None and not fields[native.RESULT]

    def _ask(self, buffers):
        with contextlib.suppress(OSError):
            with socket.create_connection((HOST, self.port), 5) as sock:
                sock.sendall(b''.join(buffers))
                header = sock.recv(native.HEADER_BYTES, socket.MSG_WAITALL)
            if len(header) == native.HEADER_BYTES:
                return native.RESPONSE.unpack(header)
        return None

    def admin(self, timeout: float = 30.0) -> client_module.Client:
        return client_module.Client([(HOST, self.port)], timeout, 5.0,
                                    key_file=self.key_file)

    def close(self):
        """What was opened to ask it."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _call(self, method):
        """The answer, or None. Over one connection: to prove the key each
        time would cost the sheep more than the answer."""
        if self._admin is None:
            self._admin = self.admin(5.0)
        try:
            return self._admin.call(method)
        except errors.SheepdogError:
            self.close()
            return None

    def members(self) -> int:
        """How many members the current epoch has, as this sheep serves it;
        0 when it does not."""
        info = self._call('cluster.info')
        if info is None:
            return 0
        if info['status'] != 'ok' or not info['epochs']:
            return 0
        return len(info['epochs'][0]['members'])

    def has_recovered(self) -> bool:
        """Nothing is left to be made whole here."""
        progress = self._call('node.progress')
        return progress is not None and progress['is_whole']

    def moved_bytes(self) -> int:
        """What recovery has brought here since its start."""
        return self._call('node.progress')['moved_bytes']


class Cluster:
    """All of them; a context manager that leaves no process behind."""

    COPIES = 3

    def __init__(self, directory: pathlib.Path, options=(), profile='',
                 count=COPIES, copies=COPIES):
        self._make_key(directory)
        self._copies = copies
        self.sheep = [Sheep(directory, number, options, profile)
                      for number in range(count)]

    def _make_key(self, directory):
        """As clusters have it that are in use."""
        key = keys.Key.of(os.urandom(keys.ID_BYTES + keys.SECRET_BYTES))
        key_file.write(str(directory / 'cluster.key'),
                       keys.Keyring((key,)), is_new=True)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        for sheep in self.sheep:
            sheep.close()
            if sheep.is_running:
                sheep.process.terminate()
        for sheep in self.sheep:
            # A second signal would cut the stop short.
            if sheep.process is not None:
                sheep.wait_gone()

    @property
    def running(self) -> list:
        return [sheep for sheep in self.sheep if sheep.is_running]

    @property
    def pids(self) -> list:
        return [sheep.pid for sheep in self.running]

    def start(self) -> list:
        """Start one after the other, on empty stores; for each the seconds
        from exec to its first answer."""
        times = []
        for sheep in self.sheep:
            begin = time.monotonic()
            sheep.start()
            sheep.wait(sheep.is_answering, 'answer')
            times.append(time.monotonic() - begin)
        return times

    def form(self):
        with self.sheep[0].admin() as admin:
            admin.cluster.format(copies=self._copies)
        self.wait_whole()

    def warm_journals(self):
        """Have them in the page cache, as those of sheep are that are up
        for a while. A new one grows by 4 KiB with each such write, and the
        first touch of a page may cost what a guest of another machine is
        charged for getting it: 2.8 µs where this was measured."""
        for sheep in self.sheep:
            sheep.read_journal()

    def create(self, name: str, size: int, copies: int = 0,
               copy_policy: int = 0):
        """As the cluster was formatted, where nothing else is said."""
        with self.sheep[0].admin() as admin:
            admin.vdis.create(name, size, copies, copy_policy)

    def wait_whole(self, count=0) -> float:
        """Until all (``count`` of them) are in the epoch and nothing is
        being recovered."""
        return wait_until(lambda: self._is_whole(count or len(self.sheep)),
                          120.0, 'the cluster to be whole',
                          RECOVERY_POLL_SECONDS)

    def _is_whole(self, count):
        running = self.running
        return (sum(sheep.members() == count for sheep in running) >= count
                and all(sheep.has_recovered() for sheep in running))
