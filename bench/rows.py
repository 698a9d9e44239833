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

"""The rows of the table: which loads are measured, and how one is."""

import asyncio
import dataclasses
import time

from bench import machine
from bench import native
from bench import nbd

CLIENTS = {'native': native.NativeClient, 'nbd': nbd.NbdClient}
SETTLE_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One load. ``size`` is bytes per request, ``depth`` requests."""

    face: str
    is_random: bool
    is_write: bool
    is_durable: bool
    size: int
    depth: int

    @property
    def name(self) -> str:
        return '%s %s %s %s%s, depth %d' % (
            self.face, 'random' if self.is_random else 'sequential',
            'write' if self.is_write else 'read',
            '%dM' % (self.size >> 20) if self.size >> 20
            else '%dK' % (self.size >> 10),
            ('' if not self.is_write else
             ' durable' if self.is_durable else ' write-back'), self.depth)


def all_rows() -> list:
    rows = []
    for face in CLIENTS:
        for is_write, is_durable in ((True, True), (True, False),
                                     (False, False)):
            rows += [Row(face, True, is_write, is_durable, 4096, depth)
                     for depth in (1, 32)]
        for is_write in (True, False):
            rows += [Row(face, False, is_write, False, 1 << 20, depth)
                     for depth in (1, 4, 32)]
    return rows


async def measure(client, row, pids, seconds, warmup) -> dict:
    """Run one row on an open, filled client. Times are seconds."""
    machine.forget_highest(pids)
    outcome = await client.flood(row).run(
        warmup, seconds, lambda: machine.cpu_seconds(pids))
    settling = machine.cpu_seconds(pids)
    await client.flush()
    await settle(pids)
    settling = machine.cpu_seconds(pids) - settling
    operations = max(outcome.operations, 1)
    latencies = sorted(outcome.latencies) or [0.0]
    return {
        'name': row.name, **dataclasses.asdict(row),
        'operations': outcome.operations, 'seconds': outcome.seconds,
        'iops': outcome.operations / outcome.seconds,
        'bytes_per_second':
            outcome.operations * row.size / outcome.seconds,
        'latency': {
            'p50': percentile(latencies, 50), 'p99': percentile(latencies, 99),
            'max': latencies[-1]},
        'cpu_per_operation': outcome.spent / operations,
        'highest_bytes': max(machine.resident_bytes(pid)[1]
                             for pid in pids),
        # Checkpoints go on a moment after a row ends; not in the above.
        'cpu_settling': settling,
        'client_cpu_per_operation': outcome.own_cpu_seconds / operations}


def percentile(ordered, percent: int) -> float:
    """Of a sorted list: the smallest value that so many do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


async def settle(pids):
    """Wait until the sheep are idle (half a second with nearly no CPU)."""
    until = time.monotonic() + SETTLE_SECONDS
    before = machine.cpu_seconds(pids)
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        now = machine.cpu_seconds(pids)
        if now - before < 0.03:
            return
        before = now
