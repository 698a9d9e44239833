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

"""Limits of VDIs, on real sheep, with clients over NBD."""

import threading
import time

from sheepdog.client import nbd_client
from sheepdog.tests.functional import case

MIB = 1 << 20
CLIENTS = 4
SECONDS = 1.0
WARMUP_SECONDS = 0.2
NEAR = 0.2


class Load:
    """Clients that each send one request after the other, until told."""

    def __init__(self, address, name, size, is_write):
        self.done = 0
        self.errors = []
        self._lock = threading.Lock()
        self._is_over = False
        self._threads = [threading.Thread(
            target=self._run, args=(address, name, size, is_write),
            daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, address, name, size, is_write):
        try:
            with nbd_client.NbdClient(address, name) as client:
                while not self._is_over:
                    if is_write:
                        client.write(0, bytes(size))
                    else:
                        client.read(0, size)
                    with self._lock:
                        self.done += 1
        except Exception as exc:
            self.errors.append(exc)

    def pace(self):
        """Requests a second."""
        time.sleep(WARMUP_SECONDS)
        done, began = self.done, time.monotonic()
        time.sleep(SECONDS)
        return (self.done - done) / (time.monotonic() - began)

    def stop(self):
        self._is_over = True
        for thread in self._threads:
            thread.join(30)
        if self.errors:
            raise self.errors[0]


class QosTest(case.ClusterCase):
    count = 2
    copies = 2

    def load(self, size, is_write=True):
        load = Load(self.cluster.sheep[0].nbd_address, 'vm', size, is_write)
        self.addCleanup(lambda: setattr(load, '_is_over', True))
        return load

    def qos(self, *words):
        # (Told to another sheep than the one that is used.)
        return self.cluster.dog('vdi', 'qos', *words,
                                sheep=self.cluster.sheep[1])

    def near(self, wanted, pace):
        self.assertTrue(abs(pace - wanted) <= NEAR * wanted, (pace, wanted))

    def test_an_open_client_is_held_to_them(self):
        self.create('vm', 16 * MIB)
        load = self.load(4096)
        self.qos('set', 'vm', 'iops=60')
        self.near(60, load.pace())
        self.qos('set', 'vm', 'iops=25', 'read-iops=1')
        self.near(25, load.pace())
        self.qos('clear', 'vm')
        self.assertGreater(load.pace(), 100)
        load.stop()
        self.qos('set', 'vm', 'write-bytes=2M')
        load = self.load(128 << 10)
        self.near(16, load.pace())
        load.stop()
        # A longer one than the bucket can hold.
        with nbd_client.NbdClient(self.cluster.sheep[0].nbd_address,
                                  'vm') as client:
            began = time.monotonic()
            client.write(0, bytes(MIB))
            client.flush()
            self.assertLess(time.monotonic() - began, 5)
        shown = self.cluster.dog_json('vdi', 'qos', 'show', 'vm',
                                      sheep=self.cluster.sheep[0])
        self.assertEqual({'write-bytes': [2 * MIB, 0]}, shown[0]['limits'])
        self.assertGreater(shown[0]['delayed'], 10)
