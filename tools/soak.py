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

Each batch runs in as many processes as there are processors. The first one
with a failing seed ends the soak; by then each failing seed was run again and
again with fewer faults, chores and clients and in less time, and its output
ends with the shortest story that still fails and the command to replay it.
"""

import argparse
import os
import subprocess
import sys
import time

PROGRAM = 'sheepdog.testing.run'


def soak(minutes, first, batch, run):
    """Run batches of seeds until the time is over or one fails.

    :param run: called with the first and the last seed of each batch,
        returns its exit code
    :returns: (exit code, seeds that passed)
    """
    until = time.monotonic() + minutes * 60
    seed = first
    while True:
        code = run(seed, seed + batch - 1)
        if code:
            return code, seed - first
        seed += batch
        if time.monotonic() >= until:
            return 0, seed - first


def run_batch(first, last):
    print('\nSeeds %d to %d' % (first, last), flush=True)
    return subprocess.call(
        [sys.executable, '-W', 'ignore', '-m', PROGRAM, '--shrink',
         '--remote', '--jobs', str(os.cpu_count() or 1), '--seeds',
         '%d-%d' % (first, last)])


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
