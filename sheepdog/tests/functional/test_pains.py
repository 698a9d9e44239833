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

"""Pains of servers in Python that only a real one shows."""

import random
import resource
import socket
import time

from sheepdog.client import nbd_client
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import test_hostile
from sheepdog.wire import native
from sheepdog.wire import native_client

IDLE_CLIENTS = 1000
STOP_SECONDS = 30.0
"""However busy the machine is; one that hangs has no end."""

ROUNDS = 150
GROWTH_MAX_BYTES = 24 << 20


class ShutdownTest(case.ClusterCase):
    """A shutdown that hangs on open connections (cpython#104344)."""

    count = 1
    copies = 1

    def connect(self):
        sock = socket.create_connection((harness.HOST, self.sheep.port))
        self.addCleanup(sock.close)
        sock.sendall(b''.join(native_client.pack_get_cluster_default(1)))
        self.assertEqual(native.HEADER_BYTES,
                         len(sock.recv(native.HEADER_BYTES)))

    def setUp(self):
        super().setUp()
        # All these connections are ours.
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))

    def test_a_thousand_idle_clients(self):
        self.sheep = self.cluster.sheep[0]
        self.create('vdi', 8 << 20)
        for _number in range(IDLE_CLIENTS // 2):
            self.connect()
            client = nbd_client.NbdClient(self.sheep.nbd_address, 'vdi')
            self.addCleanup(client.close)
        begin = time.monotonic()
        self.assertEqual(0, self.sheep.terminate(120))
        self.assertLess(time.monotonic() - begin, STOP_SECONDS)


class MemoryTest(case.ClusterCase):
    """Memory that never falls (aiohttp#6762)."""

    ttl = harness.PATIENT_TTL_SECONDS
    count = 1
    copies = 1

    def run_mixed(self, client, chance):
        size = 16 << 20
        for _round in range(ROUNDS):
            length = min(1 << chance.randrange(9, 23), size)
            offset = chance.randrange(0, size - length + 1, 512)
            if chance.random() < 0.5:
                client.write(offset, chance.randbytes(512) * (length // 512))
            else:
                self.assertEqual(length, len(client.read(offset, length)))

    def test_a_run_of_mixed_sizes_stays_flat(self):
        sheep = self.cluster.sheep[0]
        self.create('vdi', 16 << 20)
        chance = random.Random(1)
        sizes = []
        for _run in range(6):
            # Clients come and go, too.
            with nbd_client.NbdClient(sheep.nbd_address, 'vdi') as client:
                self.run_mixed(client, chance)
            sizes.append(test_hostile.resident_bytes(sheep))
        self.assertLess(max(sizes[2:]) - sizes[1], GROWTH_MAX_BYTES, sizes)
