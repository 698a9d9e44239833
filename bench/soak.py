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

"""Memory under load: ``python -m bench --soak MINUTES``.

One native client goes through loads of all kinds again and again, and what
each sheep has resident is looked at between them. Nothing may grow: what a
sheep has in the last part of the run is compared with what it had when every
load had had its turn.
"""

import time

from bench import machine
from bench import rows

LOADS = tuple(rows.Row('native', *fields) for fields in (
    (True, True, True, 4096, 32),
    (True, True, False, 4096, 32),
    (True, False, False, 4096, 32),
    (False, True, False, 1 << 20, 32),
    (False, False, False, 1 << 20, 32),
    (False, True, True, 1 << 20, 4)))


async def run(client, pids, seconds: float, each_seconds: float = 2.0,
              note=None) -> dict:
    """Load for about so many seconds, in whole rounds of all LOADS.

    :param note: called with each sample (a dict)
    :returns: ``highest_mb``, ``growth_mb`` (see there) and ``samples``: at
        the end of each load, its name, seconds since the beginning, and
        (resident, resident at most) bytes of each sheep
    """
    samples = []
    operations = 0
    machine.forget_highest(pids)
    begin = time.monotonic()
    while not samples or time.monotonic() - begin < seconds:
        for load in LOADS:
            outcome = await client.flood(load).run(0, each_seconds, float)
            operations += outcome.operations
            samples.append({
                'load': load.name, 'seconds': time.monotonic() - begin,
                'resident': [machine.resident_bytes(pid) for pid in pids]})
            if note is not None:
                note(samples[-1])
    return {'seconds': time.monotonic() - begin, 'operations': operations,
            'highest_mb': highest_mb(samples),
            'growth_mb': growth_mb(samples), 'samples': samples}


def highest_mb(samples: list) -> float:
    return max(most for sample in samples
               for _, most in sample['resident']) / 1e6


def growth_mb(samples: list) -> float:
    """Of the sheep that grew most: the most in its last third less that in
    the third before. (In the first one caches fill. Some loads give back
    some MB: where one stands after them is chance, the most is not.)"""
    third = max(1, len(samples) // 3)
    growth = []
    for sheep in range(len(samples[0]['resident'])):
        sizes = [sample['resident'][sheep][0] for sample in samples]
        before = sizes[-2 * third:-third] or sizes[:1]
        growth.append(max(sizes[-third:]) - max(before))
    return max(growth) / 1e6
