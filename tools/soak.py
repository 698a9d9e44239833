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

"""The simulator for as long as one likes: batch after batch of new seeds.

The tests of ``sheepdog/tests/sim`` take their seeds from the environment:
SHEEPDOG_SIM_SEEDS of them, from SHEEPDOG_SIM_FIRST_SEED on. A batch that
fails ends the soak, and its output names the seed.
"""

import argparse
import os
import sys
import time

from tools import run_tests

FIRST_SEED = 'SHEEPDOG_SIM_FIRST_SEED'
SEEDS = 'SHEEPDOG_SIM_SEEDS'
BATCH_MINUTES = 120


def soak(minutes, first, batch, run):
    """Run batches of seeds until the time is over or one fails.

    :param run: called for each batch, returns its exit code
    :returns: (exit code, seeds that passed)
    """
    until = time.monotonic() + minutes * 60
    seed = first
    while True:
        os.environ[FIRST_SEED] = str(seed)
        os.environ[SEEDS] = str(batch)
        print('\nSeeds %d to %d' % (seed, seed + batch - 1), flush=True)
        code = run()
        if code:
            return code, seed - first
        seed += batch
        if time.monotonic() >= until:
            return 0, seed - first


def run_batch():
    suite = run_tests.Suite('sim', './sheepdog/tests/sim', workers=2,
                            minutes=BATCH_MINUTES)
    return run_tests.run_all([suite],
                             run_tests.Runner(total_minutes=BATCH_MINUTES))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--first-seed', type=int,
                        default=int(time.time()) * 1000,
                        help='of the first batch (default: new ones)')
    parser.add_argument('--batch', type=int, default=200,
                        help='seeds at a time (200)')
    options = parser.parse_args(arguments)
    code, passed = soak(options.minutes, options.first_seed, options.batch,
                        run_batch)
    print('\n%d seeds passed' % passed)
    return code


if __name__ == '__main__':
    sys.exit(main())
