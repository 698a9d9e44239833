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

"""``python -m sheepdog.tests.scale``; see the package."""

import argparse
import random
import sys

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.scale import crowd


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog='scale', description='Many VDIs, snapshots and clones.')
    parser.add_argument('--vdis', type=int, default=2000)
    parser.add_argument('--chain', type=int, default=500)
    parser.add_argument('--clones', type=int, default=500)
    parser.add_argument('--sheep', type=int, default=3)
    parser.add_argument('--copies', type=int, default=3)
    parser.add_argument('--coordination', default='zookeeper',
                        choices=sorted(case.SERVERS))
    parser.add_argument('--seed', type=int,
                        default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args(arguments)
    print('seed %d' % options.seed, flush=True)
    place = case.Place(options.coordination, options.sheep, options.copies,
                       (), harness.PATIENT_TTL_SECONDS, {})
    try:
        one = crowd.Crowd(place.cluster, options.seed,
                          lambda line: print(line, flush=True))
        one.memory('empty')
        one.create(options.vdis)
        one.branch()
        one.memory('with VDIs')
        one.grow_chain(options.chain)
        one.clone(options.clones)
        one.list()
        one.look()
        one.memory('with all')
        one.remove()
        one.memory('in the end')
        one.judge()
    except BaseException as exc:
        exc.add_note(place.describe()[-20000:])
        raise
    finally:
        place.end()
    return 0


if __name__ == '__main__':
    sys.exit(main())
