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

"""What guests have in common: a thread that writes to one VDI."""

import random
import subprocess
import threading

from sheepdog.client import nbd_client
from sheepdog.tests.functional import harness

JOIN_SECONDS = 120.0
PAUSE_SECONDS = 0.1
PIECE_BYTES = 1 << 20
READ_SECONDS = 120.0


class Guest:
    """``crash``: what ended it, if not we; ``done`` counts its writes.

    :param directory: for what it needs of its own
    """

    kind = ''
    size = 0
    shift = 22

    def __init__(self, cluster, name, directory, seed):
        self.cluster = cluster
        self.name = name
        self.directory = directory / name.replace(':', '-')
        self.directory.mkdir()
        self.chance = random.Random(seed)
        self.crash = None
        self.done = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name=name)

    @property
    def is_over(self) -> bool:
        return self._is_over.is_set()

    def prepare(self):
        """The VDI is there; nothing has gone wrong yet."""

    def start(self):
        self._thread.start()

    def _run(self):
        try:
            self.go()
        except BaseException as exc:
            self.crash = exc

    def go(self):
        """Until ``is_over``."""
        raise NotImplementedError

    def tell_to_stop(self):
        self._is_over.set()

    def stop(self):
        """:raises AssertionError: it hangs; what it crashed with"""
        self.tell_to_stop()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            raise AssertionError('%s hangs' % self.name)
        if self.crash is not None:
            raise self.crash

    def end(self):
        """However it stands: leave nothing behind."""
        self._is_over.set()

    def look(self, uri_name, sheep):
        """What there is in the VDI, or in a snapshot of it: something that
        can be compared, and that ``judge`` takes.

        :param uri_name: as an export is called: VDI or VDI@TAG
        """
        raise NotImplementedError

    def judge(self, found, asked, answered) -> str:
        """What is wrong with a snapshot, or ''; see ``cut``."""
        raise NotImplementedError

    def read_blocks(self, uri_name, sheep, count, size):
        """Yield (number, content) of the first blocks."""
        with nbd_client.NbdClient(sheep.nbd_address, uri_name,
                                  READ_SECONDS) as client:
            for start in range(0, count * size, PIECE_BYTES):
                length = min(PIECE_BYTES, count * size - start)
                data = bytes(client.read(start, length))
                for at in range(0, length, size):
                    yield (start + at) // size, data[at:at + size]


class Bridge:
    """QEMU's block layer between a guest and a sheep: it connects again
    when that one comes back, and asks again what was not answered."""

    RECONNECT_SECONDS = 600

    def __init__(self, sheep, name, directory):
        self.socket = directory / 'bridge.sock'
        self._process = spawn(
            directory / 'qemu-nbd.out', 'qemu-nbd', '--persistent',
            '--shared=8', '--discard=unmap',
            '--socket=%s' % self.socket, '--image-opts',
            'driver=raw,file.driver=nbd,file.server.type=inet,'
            'file.server.host=%s,file.server.port=%d,file.export=%s,'
            'file.reconnect-delay=%d' % (*sheep.nbd_address, name,
                                         self.RECONNECT_SECONDS))
        harness.wait_until(self.socket.exists, harness.START_SECONDS,
                           'qemu-nbd to listen')

    @property
    def uri(self) -> str:
        return 'nbd+unix:///?socket=%s' % self.socket

    def end(self):
        self._process.kill()
        self._process.wait()


def spawn(output, *command):
    """A process that goes on; what it says goes to a file."""
    with open(output, 'ab') as file:
        return subprocess.Popen([str(word) for word in command],
                                stdin=subprocess.DEVNULL, stdout=file,
                                stderr=file)
