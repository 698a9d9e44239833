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

"""Clients that do harm hurt themselves only.

Each attack runs beside a probe: one client that reads and writes a volume,
one request at a time. What others feel is the probe's latency, what the
sheep suffers is its memory; both have generous bounds, since the attacker
and all sheep share the machine. What the machine itself keeps from running
does not last: the probe has several tries, under one attack that goes on.
"""

import pathlib
import select
import subprocess
import sys
import time

from sheepdog.client import nbd_client
from sheepdog.tests.functional import attacker
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

SECONDS = 1.5
TRIES = 20
ALONE_SECONDS = 0.5
P99_MAX_SECONDS = 2.0
MEDIAN_MAX_SECONDS = 0.25
GROWTH_MAX_BYTES = 256 << 20
READY_SECONDS = 60
VOLUME_BYTES = 8 << 20
PIECE = b'probe' * 819 + b'.'


def resident_bytes(sheep) -> int:
    status = pathlib.Path('/proc/%d/status' % sheep.process.pid).read_text()
    for line in status.splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) << 10
    raise AssertionError(status)


def is_fair(latencies) -> bool:
    """What others feel of the attack, sorted, is bearable."""
    return (latencies[len(latencies) * 99 // 100] < P99_MAX_SECONDS
            and latencies[len(latencies) // 2] < MEDIAN_MAX_SECONDS)


class HostileTest(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS
    count = 3

    def setUp(self):
        super().setUp()
        self.sheep = self.cluster.sheep[0]
        self.create('vdi', VOLUME_BYTES)
        self.create('probe', VOLUME_BYTES)
        self.epoch = self.cluster.epoch()
        self.pids = [sheep.process.pid for sheep in self.cluster.sheep]

    def attack(self, name, kind):
        port = (self.sheep.nbd_port if kind == 'nbd' else self.sheep.port)
        process = subprocess.Popen(
            [sys.executable, '-m', attacker.__name__, name, harness.HOST,
             str(port), kind], stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL)
        self.addCleanup(self.end, process)
        found, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
        self.assertTrue(found and process.stdout.readline(), name)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        process.stdout.close()

    def probe(self, volume, seconds):
        """Latencies, sorted."""
        found = []
        until = time.monotonic() + seconds
        number = 0
        while time.monotonic() < until:
            offset = number * len(PIECE) % VOLUME_BYTES
            begin = time.monotonic()
            if number % 2:
                volume.read(offset, len(PIECE))
            else:
                volume.write(offset, PIECE)
            found.append(time.monotonic() - begin)
            number += 1
        return sorted(found)

    def check(self, name, kind):
        # One that is there before, and one that comes in the middle of it.
        with self.sheep.client() as client, client.open('probe') as volume:
            alone = self.probe(volume, ALONE_SECONDS)
            before = resident_bytes(self.sheep)
            process = self.attack(name, kind)
            for _ in range(TRIES):
                beside = self.probe(volume, SECONDS)
                if is_fair(beside):
                    break
            grown = resident_bytes(self.sheep) - before
            with self.sheep.client() as other:
                self.assertEqual('ok', other.cluster.info()['status'])
            nbd = nbd_client.NbdClient(self.sheep.nbd_address, 'vdi')
            nbd.close()
            self.assertIsNone(process.poll(), 'the attacker gave up')
            self.end(process)
            volume.flush()
        numbers = '%s: p99 %.1f ms, median %.1f, alone %.1f; %d MiB more' % (
            name, 1e3 * beside[len(beside) * 99 // 100],
            1e3 * beside[len(beside) // 2],
            1e3 * alone[len(alone) * 99 // 100], grown >> 20)
        self.addDetail('numbers', case.content.text_content(numbers))
        self.assertTrue(is_fair(beside), numbers)
        self.assertLess(grown, GROWTH_MAX_BYTES, numbers)
        # Nobody has died, nobody was thrown out.
        self.assertEqual(self.pids, [sheep.process.pid
                                     for sheep in self.cluster.sheep])
        self.assertEqual(self.epoch, self.cluster.epoch())
        log = (self.sheep.meta / 'sheep.log').read_text(errors='replace')
        self.assertNotIn('Traceback', log)
        # What is on a volume is nobody's business.
        self.assertNotIn('probeprobe', log)
        self.assertLess(len(log), 256 << 10)

    def test_garbage(self):
        self.check('garbage', 'native')

    def test_garbage_nbd(self):
        self.check('garbage', 'nbd')

    def test_giant_lengths(self):
        self.check('giants', 'native')

    def test_giant_lengths_nbd(self):
        self.check('giants', 'nbd')

    def test_half_messages(self):
        self.check('halves', 'native')

    def test_unknown_opcodes(self):
        self.check('opcodes', 'native')

    def test_unknown_options_nbd(self):
        self.check('opcodes', 'nbd')

    def test_answers_not_taken(self):
        self.check('deaf', 'native')

    def test_answers_not_taken_nbd(self):
        self.check('deaf', 'nbd')

    def test_one_byte_at_a_time(self):
        self.check('drip', 'native')

    def test_ten_thousand_connections(self):
        self.check('crowd', 'native')

    def test_ten_thousand_connections_nbd(self):
        self.check('crowd', 'nbd')
