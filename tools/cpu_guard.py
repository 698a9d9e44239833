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
counts is not seconds. An operation costs what any three processes pay that
send the same bytes and are woken as often, and beyond it what our own code
does. The first depends on kernel, processor and load (one read at a time
costs three times as much where the processors fall asleep in between): it is
measured in the same moment, on ``bench.standin``. The second goes with the
speed of the interpreter, and is counted in turns of a plain Python loop of
the same moment. So

    allowed = MARGIN × (stand-in now + own work as recorded × turn now)

``cpu_limits.json`` holds the own work of each load, in turns; ``--record``
measures anew and prints what could stand there.

Beside the loads, what a sheep of a thousand computes when one is lost: in
turns alone, with a wider margin, for much of it is numpy's.

What a busy machine adds even so (cold caches, more switches) only ever adds:
so a load passes as soon as one of its tries stays below what is allowed, and
has failed when time is up and none has. Tries beside which others had much of
the processors prove less: where there were no quieter ones, half as much
again is let pass.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Callable

import uvloop

from bench import cluster as cluster_module
from bench import flood
from bench import machine
from bench import native
from bench import plan
from bench import rows
from bench import standin

LIMITS = pathlib.Path(__file__).with_name('cpu_limits.json')
TRY_SECONDS = 0.7
STANDIN_SECONDS = 0.3
WARMUP_SECONDS = 0.15
PLAN_OBJECTS = 1 << 14
PLAN_MARGIN = 2.0
PLAN_TRIES = 12
TOTAL_SECONDS = 100.0
"""Most of it is needed only where the machine is very busy: else 20."""
RECORD_ROUNDS = 9
MARGIN = 1.2
"""What costs 30 % more must fail."""
VDI_BYTES = 64 << 20
OTHERS_SHARE = 0.3
"""Of all processors; from there on a try counts as disturbed. (The kernel's
own threads, which write for us, have up to half of that.)"""
DISTURBED_FACTOR = 1.5
QUIET_TRIES = 2
"""So many quiet tries are believed."""


@dataclasses.dataclass(frozen=True)
class Try:
    """CPU time per operation, in turns of the calibration loop."""

    sheep: float
    standin: float
    is_quiet: bool

    def over(self, own_work: float) -> float:
        """By what it exceeds what was recorded; 1.0 is none of it."""
        return self.sheep / (self.standin + own_work)


class Found:
    """What the tries of one load have shown."""

    def __init__(self, own_work: float):
        self._own_work = own_work
        self.best = None
        self.lowest = float('inf')
        self.quiet_tries = 0

    def take(self, one: Try):
        over = one.over(self._own_work)
        if over < self.lowest:
            self.lowest, self.best = over, one
        self.quiet_tries += one.is_quiet

    def allowed(self, one: Try) -> float:
        """In turns, what the sheep may cost in the moment of this try."""
        return MARGIN * (one.standin + self._own_work)

    @property
    def is_well(self) -> bool:
        return self.lowest <= MARGIN

    @property
    def is_too_much(self) -> bool:
        if self.quiet_tries >= QUIET_TRIES:
            return not self.is_well
        return self.lowest > MARGIN * DISTURBED_FACTOR


class Pair:
    """The sheep and their stand-in, each with a client."""

    def __init__(self, client, pids, stand_in):
        self._client = client
        self._pids = pids
        self._stand_in = stand_in

    async def measure(self, row) -> Try:
        mine = [*self._pids, *self._stand_in.pids, os.getpid()]
        turns = [machine.calibrate(2)]
        begin, others = time.monotonic(), _others_seconds(mine)
        least = [await _cost(self._stand_in, row, self._stand_in.pids,
                             STANDIN_SECONDS)]
        sheep = await _cost(self._client, row, self._pids, TRY_SECONDS)
        least.append(await _cost(self._stand_in, row, self._stand_in.pids,
                                 STANDIN_SECONDS))
        others = _others_seconds(mine) - others
        whole = (time.monotonic() - begin) * os.cpu_count()
        turns.append(machine.calibrate(2))
        turn = statistics.mean(turns)
        return Try(sheep / turn, statistics.mean(least) / turn,
                   others < OTHERS_SHARE * whole)


async def _cost(client, row, pids, seconds) -> float:
    """CPU seconds per operation."""
    outcome = await client.flood(row).run(
        WARMUP_SECONDS, seconds, lambda: machine.cpu_seconds(pids))
    return outcome.spent / max(1, outcome.operations)


def _others_seconds(pids) -> float:
    return machine.busy_seconds() - machine.cpu_seconds(pids)


async def open_client(cluster) -> native.NativeClient:
    name = 'guard'
    cluster.create(name, VDI_BYTES)
    client = await native.NativeClient.open(
        cluster_module.HOST, cluster.sheep[0].port, name)
    await client.fill()
    await rows.settle(cluster.pids)
    return client


async def judge(pair, recorded: dict, is_time_up: Callable) -> dict:
    """Row name → ``Found``, when all hold or time is up."""
    found = {name: Found(work) for name, work in recorded.items()}
    wanted = rows_named(recorded)
    while wanted and not is_time_up():
        for row in list(wanted):
            found[row.name].take(await pair.measure(row))
            if found[row.name].is_well:
                wanted.remove(row)
    return found


def plan_turns(most: float) -> float:
    """Of the plan, in turns: the first try below ``most``, or the least."""
    situation = plan.Situation(PLAN_OBJECTS)
    least = float('inf')
    for _ in range(PLAN_TRIES):
        turn = machine.calibrate(2)
        least = min(least, plan.measure(situation)['cpu'] / turn)
        if least <= most:
            break
    return least


def judge_plan(recorded: float) -> int:
    """Print a line; 1 if it is over what is allowed."""
    allowed = PLAN_MARGIN * recorded
    turns = plan_turns(allowed)
    print('%-46s %9s %9.0f %9.0f  %s' % (
        'the plan, 1,000 members', '', allowed, turns,
        'ok' if turns <= allowed else 'TOO MUCH'))
    return int(turns > allowed)


async def record(pair, names) -> dict:
    """Row name → the sheep's own work in turns, the median of some tries."""
    tries = {name: [] for name in names}
    for _ in range(RECORD_ROUNDS):
        for row in rows_named(names):
            one = await pair.measure(row)
            tries[row.name].append(one.sheep - one.standin)
    return {name: statistics.median(works) for name, works in tries.items()}


def rows_named(names) -> list:
    return [row for row in rows.all_rows() if row.name in names]


def report(found: dict) -> int:
    """Print a table; how many are over what is allowed."""
    over = 0
    print('%-46s %9s %9s %9s' % ('', 'stand-in', 'allowed', 'sheep'))
    for name, one in found.items():
        verdict = 'ok'
        if one.is_too_much:
            over += 1
            verdict = 'TOO MUCH: +%.0f %%' % (100 * (one.lowest - 1))
        elif not one.is_well:
            verdict = 'the machine was too busy to tell'
        best = one.best or Try(0.0, 0.0, False)
        print('%-46s %9.1f %9.1f %9.1f  %s' % (
            name, best.standin, one.allowed(best), best.sheep, verdict))
    if over:
        print('CPU time per operation, in turns of a plain Python loop. '
              'Profile it (python -m bench --profile DIR); if it is the '
              'price of something wanted, say so in the commit and record '
              'anew (python -m tools.cpu_guard --record).')
    return over


async def run(cluster, directory, is_recording: bool) -> int:
    """The exit code."""
    limits = json.loads(LIMITS.read_text())
    recorded = limits['own_work']
    until = time.monotonic() + TOTAL_SECONDS
    stand_in = standin.StandIn(directory)
    try:
        await stand_in.start()
        client = await open_client(cluster)
        pair = Pair(client, cluster.pids, stand_in)
        if is_recording:
            works = await record(pair, recorded)
            print(json.dumps({name: round(work, 1)
                              for name, work in works.items()}, indent=4))
            print('"plan": %.0f' % plan_turns(0.0))
            found = {}
        else:
            found = await judge(pair, recorded,
                                lambda: time.monotonic() >= until)
        await client.close()
    finally:
        stand_in.stop()
    if is_recording:
        return 0
    return 1 if report(found) + judge_plan(limits['plan']) else 0


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--record', action='store_true',
                        help="measure, and print the loads' own work")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix='sheepdog-cpu-') as directory:
        path = pathlib.Path(directory)
        try:
            with cluster_module.Cluster(path) as cluster:
                cluster.start()
                cluster.form()
                return uvloop.run(run(cluster, path, options.record))
        except flood.BenchError as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == '__main__':
    sys.exit(main())
