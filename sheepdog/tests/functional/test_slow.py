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

"""One sheep is slow: it gets the processor for a part of the time only, and
never so seldom that it would lose its lease. Whoever writes to it is slowed
down, and what waits for it is bounded; nobody else notices."""

import base64
import contextlib
import threading
import time

from sheepdog.client import nbd_client
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import test_hostile
from sheepdog.tests.functional import test_monitoring

SUSPENDED_SECONDS = 0.9
RUNNING_SECONDS = 0.3
"""Of the slow sheep, in turns."""

SECONDS = 8.0
TRIES = 8
"""Of the probe: what the machine itself keeps from running does not last."""

VOLUME_BYTES = 4 << 20
"""One object, and an inode."""
VOLUMES = 24
PIECE = b'slow' * (64 << 8)
PIECES = VOLUME_BYTES // len(PIECE)
OUTSTANDING_MAX = 2000
"""Of the writer: many times what a sheep lets in."""

IN_FLIGHT_MAX = 8 * (1 << 20) // len(PIECE) + 32
"""What one connection may have under way, and the probe's."""
GROWTH_MAX_BYTES = 128 << 20
MEDIAN_MAX_SECONDS = 0.2
NINTH_MAX_SECONDS = 0.6
"""Of the probe, nine of ten. (One that waited for the slow sheep would take
that long every second time.)"""


class DutyCycle:
    """Suspends a sheep again and again, from a thread."""

    def __init__(self, sheep):
        self.sheep = sheep
        self.count = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._end.set()
        self._thread.join()

    def _run(self):
        while not self._end.is_set():
            self.sheep.suspend()
            try:
                self._end.wait(SUSPENDED_SECONDS)
            finally:
                self.sheep.resume()
            self.count += 1
            self._end.wait(RUNNING_SECONDS)


class Flood:
    """Writes as fast as its connection takes it, whatever is unanswered."""

    def __init__(self, address, name):
        self.nbd = nbd_client.NbdClient(address, name, timeout=60.0)
        self.sent = self.answered = 0
        self.failures = []
        self._end = threading.Event()
        self._free = threading.Semaphore(OUTSTANDING_MAX)
        self._threads = [threading.Thread(target=self._guard, args=(one,),
                                          daemon=True)
                         for one in (self._send, self._receive)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Until all that was sent is answered."""
        self._end.set()
        for thread in self._threads:
            thread.join(60.0)
            assert not thread.is_alive(), '%d of %d are answered' % (
                self.answered, self.sent)
        self.nbd.close()

    def _guard(self, function):
        try:
            function()
        except Exception as exc:
            self.failures.append(exc)

    def _send(self):
        while not self._end.is_set():
            if self._free.acquire(timeout=0.1):
                self.sent += 1
                self.nbd.start_write(self.sent % PIECES * len(PIECE), PIECE)

    def _receive(self):
        while not (self._end.is_set() and self.answered == self.sent
                   and not self._threads[0].is_alive()):
            if self.answered == self.sent:
                time.sleep(0.01)
                continue
            reply = self.nbd.next_reply()
            if reply.error:
                self.failures.append(reply)
            self.answered += 1
            self._free.release()


def is_unmoved(latencies) -> bool:
    """Sorted latencies of who has nothing to do with the slow one."""
    return (latencies[len(latencies) // 2] < MEDIAN_MAX_SECONDS
            and latencies[len(latencies) * 9 // 10] < NINTH_MAX_SECONDS)


class TestSlow(test_monitoring.ConfiguredCase):

    configuration = (test_monitoring.ConfiguredCase.configuration
                     + '[slow]\nevict_ms = 0\n')
    """It is to stay, however slow it is."""
    ttl = harness.PATIENT_TTL_SECONDS
    count = 4
    copies = 2

    def places(self):
        """Name of a VDI → ports of the sheep that keep anything of it."""
        found = {}
        with self.cluster.client() as client:
            names = {vdi['vdi_id']: vdi['name']
                     for vdi in client.vdis.list()}
            for one in client.cluster.copies():
                port = int(one['address'].rpartition(':')[2])
                for oid in self.oids(one['answer']):
                    name = names.get((oid >> 32) & 0xFFFFFF)
                    found.setdefault(name, set()).add(port)
        return found

    @staticmethod
    def oids(answer):
        whole = base64.b64decode(answer['whole'])
        return [int.from_bytes(whole[at:at + 8], 'little')
                for at in range(0, len(whole), 8)]

    def prepare(self):
        """(the slow sheep, the flood's gateway, the probe's gateway, names
        of a VDI that is on the slow one and of one that is not)."""
        for number in range(VOLUMES):
            name = 'v%d' % number
            self.create(name, VOLUME_BYTES)
            with self.cluster.client() as client, (
                    client.open(name)) as volume:
                volume.write(0, PIECE)
        places = self.places()
        leader = self.cluster.leader()
        for slow in self.cluster.others(leader):
            others = self.cluster.others(slow, leader)
            on_it = [name for name, ports in places.items()
                     if slow.port in ports and others[0].port in ports]
            elsewhere = [name for name, ports in places.items()
                         if slow.port not in ports]
            if on_it and elsewhere:
                return slow, others[0], others[1], on_it[0], elsewhere[0]
        raise AssertionError('no such volumes: %s' % places)

    def test_a_slow_replica(self):
        slow, gateway, other, on_it, elsewhere = self.prepare()
        epoch = self.cluster.epoch()
        watched = [sheep for sheep in self.cluster.sheep
                   if sheep is not slow]
        in_flight = []
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(other.client())
            volume = stack.enter_context(client.open(elsewhere))
            before = {sheep: test_hostile.resident_bytes(sheep)
                      for sheep in self.cluster.sheep}
            flood = Flood(gateway.nbd_address, on_it)
            cycle = stack.enter_context(DutyCycle(slow))
            flood.start()
            for _ in range(TRIES):
                latencies = self.probe(volume, watched, in_flight)
                if is_unmoved(latencies):
                    break
            grown = {sheep: test_hostile.resident_bytes(sheep) - bytes_
                     for sheep, bytes_ in before.items()}
        flood.stop()
        numbers = ('%d writes, %d turns, at most %d in flight; others: '
                   'median %.1f ms, nine of ten %.1f ms; MiB more: %s' % (
                       flood.answered, cycle.count, max(in_flight),
                       1e3 * latencies[len(latencies) // 2],
                       1e3 * latencies[len(latencies) * 9 // 10],
                       [size >> 20 for size in grown.values()]))
        self.addDetail('numbers', case.content.text_content(numbers))
        # It goes on, slowly, and nothing fails.
        self.assertEqual([], flood.failures)
        self.assertGreater(flood.answered, cycle.count, numbers)
        self.assertEqual(flood.sent, flood.answered, numbers)
        # The flood was really held up, and only as much let in as may be.
        self.assertGreater(max(in_flight), 16, numbers)
        self.assertLess(max(in_flight), IN_FLIGHT_MAX, numbers)
        self.assertLess(max(grown.values()), GROWTH_MAX_BYTES, numbers)
        self.assertTrue(is_unmoved(latencies), numbers)
        # Nobody was thrown out for it.
        self.cluster.wait_whole()
        self.assertEqual(epoch, self.cluster.epoch())

    def probe(self, volume, watched, in_flight):
        """Latencies of who has nothing to do with the slow one, sorted."""
        found = []
        until = time.monotonic() + SECONDS
        scrape_at = 0.0
        while time.monotonic() < until:
            began = time.monotonic()
            volume.write(0, b'probe' * 800)
            volume.read(0, 4000)
            found.append((time.monotonic() - began) / 2)
            if began > scrape_at:
                scrape_at = began + 0.5
                for sheep in watched:
                    page = test_monitoring.scrape(sheep)
                    in_flight += [page['sheepdog_requests_in_flight',],
                                  page['sheepdog_peer_requests_in_flight',]]
        return sorted(found)
