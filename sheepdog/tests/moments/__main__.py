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

import sys

from sheepdog.tests.functional import ordeal
from sheepdog.tests.moments import files
from sheepdog.tests.moments import run


def main(arguments=None) -> int:
    parser = ordeal.parser(
        'moments', 'Snapshots each second, while sheep are killed.',
        minutes=1, sheep=6)
    parser.add_argument('--policy', action='append',
                        help='of the VDIs: 3, 4:2, 2:1…; may be given again '
                             '(3 and 4:2 unless given)')
    parser.add_argument('--guest', action='append',
                        choices=sorted(run.GUESTS),
                        help='who writes; may be given again (all unless '
                             'given)')
    options = parser.parse_args(arguments)
    tell = ordeal.teller()
    kinds = options.guest or list(run.GUESTS)
    if not files.is_possible() and 'files' in kinds:
        kinds.remove('files')
        tell('no file system: this user may not mount one here')
    tell('seed %d' % options.seed)

    def act(moments):
        moments.go_on(options.minutes * 60)
        moments.judge()
        moments.give_back()

    return ordeal.go_through(
        options, run.Moments(options.seed, options.policy or ('3', '4:2'),
                             kinds, options.sheep, options.coordination,
                             tell), act, tell)


if __name__ == '__main__':
    sys.exit(main())
