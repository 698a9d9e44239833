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

"""What it takes to make copies whole again: four sheep, two copies.

A sheep is away for a moment in which a little was written, returns, and
moves only that. Then it is lost, and what it had is copied among the others:
once while nobody uses them, and, when it has come back, once more while a
client reads, and how long its reads take. (Where sheep stand on the ring goes
by their ports: that are some more objects or some less. So what it costs is
said of so many as they would be if all had the same.)
"""

import asyncio
import signal
import time

from bench import cluster as cluster_module
from bench import machine
from bench import native
from bench import rows

SHEEP = 4
COPIES = 2
OBJECTS = 284
"""Of 4 MiB: 142 copies on each sheep, as where the C original was measured.
"""
OBJECT_BYTES = 4 << 20
LOST = OBJECTS * COPIES // SHEEP
NAME = 'bench-recovery'
QUIET_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
_READS = rows.Row('native', True, False, False, 4096, 1)


async def measure(cluster) -> dict:
    """Seconds, CPU seconds of all sheep, bytes that they wrote to disk."""
    cluster.create(NAME, OBJECTS * OBJECT_BYTES)
    client = await native.NativeClient.open(
        cluster_module.HOST, cluster.sheep[0].port, NAME)
    await client.fill()
    await rows.settle(cluster.pids)
    quiet = await client.flood(_READS).run(0.5, QUIET_SECONDS, lambda: 0.0)
    away = await _absence(cluster, client)
    away['quiet_read_p50'] = _median(quiet.latencies)
    await rows.settle(cluster.pids)
    alone = await _loss(cluster, None)
    cluster.sheep[-1].start()
    await asyncio.to_thread(_wait_members, cluster, SHEEP)
    await asyncio.to_thread(cluster.wait_whole)
    await rows.settle(cluster.pids)
    lost = await _loss(cluster, client)
    await client.close()
    return {'objects': LOST, 'rejoin': away, 'loss': lost,
            'loss_alone': alone}


async def _absence(cluster, client) -> dict:
    """One goes in order, something is written, it comes again. (Before it
    has been away for long, nothing was copied for it.)"""
    victim = cluster.sheep[-1]
    await asyncio.to_thread(victim.send_signal, signal.SIGTERM)
    await asyncio.to_thread(_wait_members, cluster, SHEEP - 1)
    # What the others made whole meanwhile is not what is asked here.
    await asyncio.to_thread(cluster.wait_whole, SHEEP - 1)
    row = rows.Row('native', False, True, True, 4096, 8)
    changes = await client.flood(row).run(0.0, 0.3, lambda: 0.0)
    await rows.settle(cluster.pids)
    before = _written(cluster.pids)
    spent = machine.cpu_seconds(cluster.pids)
    victim.start()
    begin = time.monotonic()
    await asyncio.to_thread(_wait_members, cluster, SHEEP)
    joined = time.monotonic()
    await asyncio.to_thread(cluster.wait_whole)
    end = time.monotonic()
    pids = cluster.pids
    return {'start': joined - begin, 'seconds': end - joined,
            'cpu': machine.cpu_seconds(pids) - spent,
            'changed': changes.operations * row.size,
            'written': _written(pids) - before}


async def _loss(cluster, client) -> dict:
    """kill -9, and it does not come again. ``client`` reads meanwhile."""
    if client is not None:
        load = client.flood(_READS)
        load.start()
        await load.sleep(0.5)
    victim = cluster.sheep[-1]
    victim.send_signal(signal.SIGKILL)
    pids = cluster.pids
    await asyncio.to_thread(_wait_members, cluster, SHEEP - 1)
    if client is not None:
        load.begin()
    moved = _moved(cluster)
    begin, spent = time.monotonic(), machine.cpu_seconds(pids)
    before = _written(pids)
    await asyncio.to_thread(cluster.wait_whole, SHEEP - 1)
    seconds = time.monotonic() - begin
    spent = machine.cpu_seconds(pids) - spent
    latencies = []
    if client is not None:
        latencies = load.end().latencies
        await load.stop()
    objects = (_moved(cluster) - moved) / OBJECT_BYTES
    share = LOST / max(1.0, objects)
    return {'objects': objects, 'seconds': seconds * share,
            'cpu': spent * share, 'written': _written(pids) - before,
            'reads': len(latencies), 'read_p50': _median(latencies)}


def _moved(cluster) -> int:
    return sum(sheep.moved_bytes() for sheep in cluster.running)


def _wait_members(cluster, count):
    cluster_module.wait_until(
        lambda: all(sheep.members() == count for sheep in cluster.running),
        PATIENCE_SECONDS, 'an epoch of %d' % count)


def _written(pids) -> int:
    """Bytes that processes have had written to disks so far."""
    total = 0
    for pid in pids:
        with open('/proc/%d/io' % pid) as file:
            total += int(dict(line.split(': ') for line in file)[
                'write_bytes'])
    return total


def _median(latencies) -> float:
    return rows.percentile(sorted(latencies) or [0.0], 50)
