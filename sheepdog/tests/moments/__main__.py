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

"""``python -m sheepdog.tests.moments``; see the package."""

import argparse
import pathlib
import random
import sys
import time
import traceback

from sheepdog.tests.functional import case
from sheepdog.tests.moments import files
from sheepdog.tests.moments import run

KEPT = pathlib.Path('test-results') / 'moments'


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog='moments', description='Snapshots each second, while sheep are '
                                    'killed.')
    parser.add_argument('--minutes', type=float, default=1.0)
    parser.add_argument('--seed', type=int,
                        default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument('--sheep', type=int, default=6)
    parser.add_argument('--policy', action='append',
                        help='of the VDIs: 3, 4:2, 2:1…; may be given again '
                             '(3 and 4:2 unless given)')
    parser.add_argument('--guest', action='append',
                        choices=sorted(run.GUESTS),
                        help='who writes; may be given again (all unless '
                             'given)')
    parser.add_argument('--coordination', default='zookeeper',
                        choices=sorted(case.SERVERS))
    parser.add_argument('--keep', type=pathlib.Path, default=KEPT,
                        help='where stores and logs go after a failure')
    options = parser.parse_args(arguments)
    begin = time.monotonic()

    def tell(line):
        print('%7.1f s  %s' % (time.monotonic() - begin, line), flush=True)

    kinds = options.guest or list(run.GUESTS)
    if not files.is_possible() and 'files' in kinds:
        kinds.remove('files')
        tell('no file system: this user may not mount one here')
    tell('seed %d' % options.seed)
    with run.Moments(options.seed, options.policy or ('3', '4:2'), kinds,
                     options.sheep, options.coordination, tell) as moments:
        try:
            moments.go_on(options.minutes * 60)
            moments.judge()
            moments.give_back()
        except Exception as exc:
            # Also what nobody expected: without its logs it says little.
            if not isinstance(exc, AssertionError):
                traceback.print_exception(exc)
            tell('FAILED, seed %d: %s' % (options.seed, exc))
            moments.keep(options.keep)
            tell('stores and logs are in %s' % options.keep)
            return 1
    tell('all is well')
    return 0


if __name__ == '__main__':
    sys.exit(main())
