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

"""``python -m sheepdog.tests.thrash``; see the package."""

import argparse
import pathlib
import random
import sys
import time
import traceback

from sheepdog.tests.functional import case
from sheepdog.tests.thrash import run

KEPT = pathlib.Path('test-results') / 'thrash'


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog='thrash', description='Real sheep under load and trouble.')
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--seed', type=int,
                        default=random.SystemRandom().randrange(1 << 32),
                        help='of troubles and users; what they meet is a '
                             'matter of real time, and differs each time')
    parser.add_argument('--sheep', type=int, default=7)
    parser.add_argument('--copies', type=int, default=3)
    parser.add_argument('--coordination', default='zookeeper',
                        choices=sorted(case.SERVERS))
    parser.add_argument('--keep', type=pathlib.Path, default=KEPT,
                        help='where stores and logs go after a failure')
    options = parser.parse_args(arguments)
    begin = time.monotonic()

    def tell(line):
        print('%7.1f s  %s' % (time.monotonic() - begin, line), flush=True)

    tell('seed %d, %d sheep, %d copies, %s' % (
        options.seed, options.sheep, options.copies, options.coordination))
    with run.Thrash(options.seed, options.sheep, options.copies,
                    options.coordination, tell) as thrash:
        try:
            thrash.go_on(options.minutes * 60)
        except Exception as exc:
            # Also what nobody expected: without its logs it says little.
            if not isinstance(exc, AssertionError):
                traceback.print_exception(exc)
            tell('FAILED, seed %d: %s' % (options.seed, exc))
            thrash.keep(options.keep)
            tell('stores and logs are in %s' % options.keep)
            return 1
    tell('all is well')
    return 0


if __name__ == '__main__':
    sys.exit(main())
