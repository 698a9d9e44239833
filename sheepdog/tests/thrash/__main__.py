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

import sys

from sheepdog.tests.functional import ordeal
from sheepdog.tests.thrash import run


def main(arguments=None) -> int:
    parser = ordeal.parser('thrash', 'Real sheep under load and trouble.',
                           minutes=60, sheep=7)
    parser.add_argument('--copies', type=int, default=3)
    options = parser.parse_args(arguments)
    tell = ordeal.teller()
    tell('seed %d, %d sheep, %d copies, %s' % (
        options.seed, options.sheep, options.copies, options.coordination))
    return ordeal.go_through(
        options, run.Thrash(options.seed, options.sheep, options.copies,
                            options.coordination, tell),
        lambda thrash: thrash.go_on(options.minutes * 60), tell)


if __name__ == '__main__':
    sys.exit(main())
