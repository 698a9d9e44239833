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

"""Run seeds: ``python -m sheepdog.testing.run --seeds 1-100``.

Prints a line per seed with its digest; of a failing one also what is wrong,
and with ``--trace`` what happened last. The exit code is 1 when one failed.
"""

import argparse
import concurrent.futures
import functools
import logging
import multiprocessing
import pkgutil
import sys
from typing import Optional

from sheepdog.testing import scenario
from sheepdog.testing import shrink

BUILD = 'sheepdog.cmd.wiring:build_sheep'
"""By name: this room and that of commands do not know each other."""


def seeds_of(text: str) -> list:
    """``7``, ``1-100``, ``3,5,9-12``."""
    seeds = []
    for part in text.split(','):
        first, _, last = part.partition('-')
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def run_one(seed: int, build: str = BUILD, without=(),
            seconds: Optional[float] = None,
            remote: bool = False, slow: bool = False,
            policy: str = '', turn: bool = False,
            branch: bool = False,
            grace: bool = False,
            limit: bool = False) -> scenario.Result:
    """``seconds`` of trouble instead of the usual. ``remote``: see
    ``Scenario.send_clients_away``; ``slow``: ``Scenario.slow_down``;
    ``policy``: erasure coded, in a cluster large enough; ``turn``:
    ``Scenario.turn``; ``branch``: ``Scenario.branch``; ``grace``:
    ``Scenario.have_patience``; ``limit``: ``Scenario.limit``."""
    def change(changed):
        if remote:
            changed.send_clients_away()
        if slow:
            changed.slow_down()
        if policy:
            changed.encode(policy)
        if turn:
            changed.turn()
        if branch:
            changed.branch()
        if grace:
            changed.have_patience()
        if limit:
            changed.limit()
        if seconds is not None:
            changed.trouble_seconds = seconds

    return scenario.run_seed(seed, pkgutil.resolve_name(build), change,
                             without)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=seeds_of, default=seeds_of('1-100'))
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--build', default=BUILD,
                        help='what makes a sheep (%(default)s)')
    parser.add_argument('--without', default='',
                        help='faults, chores and clients to leave out')
    parser.add_argument('--seconds', type=float,
                        help='of trouble')
    parser.add_argument('--remote', action='store_true',
                        help='some clients on hosts of their own')
    parser.add_argument('--slow', action='store_true',
                        help='slow disks and links, and evictions')
    parser.add_argument('--policy', default='',
                        help='D:P: erasure coded volumes')
    parser.add_argument('--turn', action='store_true',
                        help='volumes are turned from copies to strips')
    parser.add_argument('--branch', action='store_true',
                        help='many snapshots and clones')
    parser.add_argument('--grace', action='store_true',
                        help='who is away is waited for')
    parser.add_argument('--limit', action='store_true',
                        help='volumes have limits, and get other ones')
    parser.add_argument('--shrink', action='store_true',
                        help='make a failing seed as small as it goes')
    parser.add_argument('--trace', action='store_true',
                        help='print the last events of a failing seed')
    parser.add_argument('--log', default='CRITICAL',
                        help='level of the log (%(default)s)')
    options = parser.parse_args(arguments)
    logging.basicConfig(level=options.log.upper(),
                        format='%(levelname)s %(name)s %(message)s')
    run = functools.partial(
        run_one, build=options.build, seconds=options.seconds,
        remote=options.remote, slow=options.slow, policy=options.policy,
        turn=options.turn, branch=options.branch, grace=options.grace,
        limit=options.limit,
        without=tuple(filter(None, options.without.split(','))))
    failed = []
    for result in _results(run, options.seeds, options.jobs):
        print(result, flush=True)
        if result.failures:
            failed.append(result.seed)
            if options.trace:
                print(result.trace)
            if options.shrink:
                print(shrunk(result, options.build, options.remote,
                             options.slow, options.policy, options.turn,
                             options.branch, options.grace, options.limit),
                      flush=True)
    if failed:
        print('failed: %s' % ','.join(map(str, failed)))
    return 1 if failed else 0


def shrunk(result: scenario.Result, build: str = BUILD,
           remote: bool = False, slow: bool = False, policy: str = '',
           turn: bool = False, branch: bool = False,
           grace: bool = False, limit: bool = False) -> str:
    """The story of a failing seed, as short as it gets."""
    def run(without, seconds):
        return run_one(result.seed, build, without, seconds, remote, slow,
                       policy, turn, branch, grace, limit)

    return shrink.describe(shrink.shrink(run, result,
                                         scenario.TROUBLE_SECONDS))


def _results(run, seeds, jobs):
    if jobs == 1:
        yield from map(run, seeds)
        return
    with concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=multiprocessing.get_context('spawn'),
            initializer=logging.disable) as pool:
        yield from pool.map(run, seeds)


if __name__ == '__main__':
    sys.exit(main())
