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

"""Fails when the sheep have come to need more CPU time per operation.

    python -m tools.cpu_guard [--record]

Three sheep on this machine under the loads of ``bench``, a moment each. What
counts is not seconds but the CPU time of all sheep per operation over that
of one turn of a plain Python loop, taken right before and behind: a slow or
busy machine slows both. What a busy machine adds even so (cold caches, more
switches) only ever adds: so a load passes as soon as one of its tries stays
below its limit, and has failed when time is up and none has. Tries beside
which others had much of the processors prove less: where there were no
quieter ones, half as much again is let pass.

The limits stand in ``cpu_limits.json``; ``--record`` measures anew and
prints what could stand there.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

import uvloop

from bench import cluster as cluster_module
from bench import flood
from bench import machine
from bench import native
from bench import rows

LIMITS = pathlib.Path(__file__).with_name('cpu_limits.json')
TRY_SECONDS = 0.7
WARMUP_SECONDS = 0.15
TOTAL_SECONDS = 90.0
"""Most of it is needed only where the machine is very busy: else 20."""
RECORD_ROUNDS = 8
MARGIN = 1.2
"""Of a limit, over the lowest that was measured on a quiet machine. What
costs 30 % more must fail."""
VDI_BYTES = 64 << 20
OTHERS_SHARE = 0.3
"""Of all processors; from there on a try counts as disturbed. (The kernel's
own threads, which write for us, have up to half of that.)"""
DISTURBED_FACTOR = 1.5
QUIET_TRIES = 2
"""So many quiet tries are believed."""


class Found:
    """What the tries of one load have shown; ratios in turns of the
    calibration loop."""

    def __init__(self):
        self.lowest = float('inf')
        self.quiet_tries = 0

    def take(self, ratio: float, is_quiet: bool):
        self.lowest = min(self.lowest, ratio)
        self.quiet_tries += is_quiet

    def most(self, limit: float) -> float:
        """The limit that holds after these tries."""
        if self.quiet_tries >= QUIET_TRIES:
            return limit
        return limit * DISTURBED_FACTOR


async def measure(client, row, pids) -> tuple:
    """(CPU time per operation in turns of the calibration loop, whether
    others left us the machine)."""
    before = machine.calibrate(2)
    others = _others_seconds(pids)
    outcome = await client.flood(row).run(
        WARMUP_SECONDS, TRY_SECONDS, lambda: machine.cpu_seconds(pids))
    others = _others_seconds(pids) - others
    behind = machine.calibrate(2)
    whole = (WARMUP_SECONDS + outcome.seconds) * os.cpu_count()
    return (outcome.spent / max(1, outcome.operations)
            * 2 / (before + behind), others < OTHERS_SHARE * whole)


def _others_seconds(pids) -> float:
    return machine.busy_seconds() - machine.cpu_seconds(
        [*pids, os.getpid()])


async def open_client(cluster) -> native.NativeClient:
    name = 'guard'
    cluster.create(name, VDI_BYTES)
    client = await native.NativeClient.open(
        cluster_module.HOST, cluster.sheep[0].port, name)
    await client.fill()
    await rows.settle(cluster.pids)
    return client


async def judge(cluster, limits: dict, until: float) -> dict:
    """Row name → ``Found``, when all hold or time is up."""
    client = await open_client(cluster)
    found = {name: Found() for name in limits}
    wanted = [row for row in rows.all_rows() if row.name in limits]
    while wanted and time.monotonic() < until:
        for row in list(wanted):
            found[row.name].take(*await measure(client, row, cluster.pids))
            if found[row.name].lowest <= limits[row.name]:
                wanted.remove(row)
    await client.close()
    return found


async def record(cluster, names) -> dict:
    """Row name → the lowest ratio of several tries."""
    client = await open_client(cluster)
    found = {name: Found() for name in names}
    for _ in range(RECORD_ROUNDS):
        for row in rows.all_rows():
            if row.name in names:
                found[row.name].take(*await measure(client, row,
                                                    cluster.pids))
    await client.close()
    return {name: one.lowest for name, one in found.items()}


def report(found: dict, limits: dict) -> int:
    """Print a table; how many are over their limit."""
    over = 0
    print('%-46s %10s %10s' % ('', 'measured', 'limit'))
    for name, limit in limits.items():
        lowest = found[name].lowest
        verdict = 'ok'
        if lowest > found[name].most(limit):
            over += 1
            verdict = 'TOO MUCH: +%.0f %%' % (100 * (lowest / limit - 1))
        elif lowest > limit:
            verdict = 'the machine was too busy to tell'
        print('%-46s %10.1f %10.1f  %s' % (name, lowest, limit, verdict))
    if over:
        print('CPU time per operation, in turns of a plain Python loop. '
              'Profile it (python -m bench --profile DIR); if it is the '
              'price of something wanted, say so in the commit and record '
              'new limits (python -m tools.cpu_guard --record).')
    return over


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--record', action='store_true',
                        help='measure, and print limits')
    options = parser.parse_args(arguments)
    limits = json.loads(LIMITS.read_text())['limits']
    until = time.monotonic() + TOTAL_SECONDS
    with tempfile.TemporaryDirectory(prefix='sheepdog-cpu-') as directory:
        try:
            with cluster_module.Cluster(pathlib.Path(directory)) as cluster:
                cluster.start()
                cluster.form()
                if options.record:
                    lowest = uvloop.run(record(cluster, limits))
                    print(json.dumps({
                        name: round(MARGIN * found, 1)
                        for name, found in lowest.items()}, indent=4))
                    return 0
                found = uvloop.run(judge(cluster, limits, until))
        except flood.BenchError as error:
            print(error, file=sys.stderr)
            return 1
    return 1 if report(found, limits) else 0


if __name__ == '__main__':
    sys.exit(main())
