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

"""How long an epoch change after a death takes, and a start."""

import asyncio
import signal
import time

from bench import cluster as cluster_module
from bench import rows

_WRITES = rows.Row('native', True, True, True, 4096, 1)
SURVIVORS = cluster_module.Cluster.COPIES - 1
PATIENCE_SECONDS = 60.0


async def kill_round(cluster, client, victim, name: str) -> dict:
    """kill -9 one sheep under durable writes through another, and bring it
    back. All results are seconds.

    :param client: an open client at a sheep that is not ``victim``
    :param name: a VDI, to see by whether a sheep serves
    """
    load = client.flood(_WRITES)
    load.start()
    await load.sleep(1.0)
    load.begin()
    begin = time.monotonic()
    victim.send_signal(signal.SIGKILL)
    epoch_change = await asyncio.to_thread(_wait_for_survivors, cluster,
                                           victim, begin)
    await load.sleep(1.0)
    longest = max(load.end().latencies, default=0.0)
    await load.stop()
    start = await asyncio.to_thread(start_again, victim, name)
    begin = time.monotonic()
    await asyncio.to_thread(cluster.wait_whole)
    return {'epoch_change': epoch_change, 'longest_write': longest,
            'start': start, 'recovery': time.monotonic() - begin}


async def stop_round(cluster, victim, name: str) -> dict:
    """Stop one sheep in order, and bring it back; seconds."""
    begin = time.monotonic()
    await asyncio.to_thread(victim.send_signal, signal.SIGTERM)
    stop = time.monotonic() - begin
    epoch_change = await asyncio.to_thread(_wait_for_survivors, cluster,
                                           victim, begin)
    start = await asyncio.to_thread(start_again, victim, name)
    await asyncio.to_thread(cluster.wait_whole)
    return {'stop': stop, 'epoch_change': epoch_change, 'start': start}


def start_again(sheep, name: str) -> float:
    """Seconds from exec to serving a VDI of that name."""
    begin = time.monotonic()
    sheep.start()
    sheep.wait(lambda: sheep.is_serving(name), 'serve')
    return time.monotonic() - begin


def _wait_for_survivors(cluster, victim, begin) -> float:
    survivors = [sheep for sheep in cluster.sheep if sheep is not victim]

    def is_done():
        return all(sheep.members() == SURVIVORS for sheep in survivors)
    cluster_module.wait_until(is_done, PATIENCE_SECONDS, 'an epoch of %d'
                              % SURVIVORS)
    return time.monotonic() - begin
