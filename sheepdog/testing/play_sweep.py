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


"""One play many times: somebody dies at the first step, the second, …

A sweep is a play with one line like ``end a b at any step``. It stands for
``kill a at step 1``, ``kill a at step 2`` and so on until a has no more steps
to make before the cues are over; then for the same with its power cut, and
for b. A step is an operation on disk or network: between two of them nobody
outside can tell when a process died.

    cd sheepdog/tests/sim/plays
    python -m sheepdog.testing.play_sweep sweeps/X.play
"""

import argparse
import itertools
import logging
import pkgutil
import re
import sys
from typing import Callable, Iterator

from sheepdog.testing import play

LINE = re.compile(r'^end (\w+(?: \w+)*) at any step$', re.MULTILINE)
ENDS = ('kill', 'power off')


def victims(text: str) -> list:
    """(how, name): all that the line of a sweep stands for.

    :raises WrongPlay: it has no such line, or several
    """
    lines = LINE.findall(text)
    if len(lines) != 1:
        raise play.WrongPlay('a sweep has one line "end … at any step", '
                             'not %d' % len(lines))
    return list(itertools.product(ENDS, lines[0].split()))


def sweep(text: str, build: Callable, how: str, name: str,
          seed: int = 1, steps=(1, 1)) -> Iterator[play.Outcome]:
    """Its plays, one per step; the last is one that the victim survived.

    :param steps: the first, and the distance to the next
    """
    for step in itertools.count(*steps):
        outcome = play.run(LINE.sub('%s %s at step %d' % (how, name, step),
                                    text), build, seed)
        yield outcome
        if not outcome.has_failed and (
                '%s ends at step' % name not in outcome.log):
            return


def first_failure(text: str, build: Callable, how: str, name: str,
                  seed: int = 1, steps=(1, 1)) -> tuple:
    """(steps made, the outcome that goes otherwise than written or None)."""
    for step, outcome in zip(
            itertools.count(*steps),
            sweep(text, build, how, name, seed, steps)):
        if outcome.has_failed:
            return step, outcome
    return step, None


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('play', nargs='+')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--build', default=play.BUILD,
                        help='what makes a sheep (%(default)s)')
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    build = pkgutil.resolve_name(options.build)
    failed = 0
    for path in options.play:
        with open(path) as file:
            text = file.read()
        for how, name in victims(text):
            step, failure = first_failure(text, build, how, name,
                                          options.seed)
            if failure:
                failed += 1
                print('%s\n%s' % (failure.log, failure.diff()))
            print('%s: %s %s: %d steps' % (path, how, name, step),
                  flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
