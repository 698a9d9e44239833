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


"""Plays that nobody wrote: what goes wrong at which message is drawn.

    python -m sheepdog.testing.play_random --seeds 1-100

Clients work, a sheep joins, and up to four cues kill, cut off or suspend
somebody the moment a certain message passes. In the end all is mended, and
then all must be well, hold what was written, and be equal. Of a play that
goes otherwise a shorter one is printed that does, too.
"""

import argparse
import logging
import pkgutil
import random
import sys
from typing import Callable

from sheepdog.testing import play
from sheepdog.testing import run

KINDS = (
    'survey', 'prepare', 'prepare', 'commit', 'commit', 'sync', 'sync',
    'vdi-create', 'vdi-resize', 'lock', 'execute', 'write', 'write',
    'order-write', 'state', 'align', 'recovered', 'events', 'flush', 'hello')

ACTIONS = (
    'kill {one}', 'kill {other}', 'cut {one} - {other}',
    'cut {one} -> {other}', 'cut {other} -> {one}', 'suspend {one}',
    'suspend {other}', 'cut {one} and coordination', 'power off {one}',
    'coordination forgets {one}', 'kill all', 'power off all')

FAULTS = ('kill a', 'kill b', 'suspend b', 'cut a and coordination',
          'cut b - c', 'wait 0.1 s', 'wait 0.1 s')

BEGIN = '''four sheep a b c d, 3 copies
format a b c
a: create v
expect a: create v: done
b: open v
expect b: open v: done
b: write 1 to v
'''

MIDDLE = '''start d
b: create w
c: resize v to 8 MiB
b: write 2 to v
b: write 3 to v at 1
wait 0.3 s
a: create x
b: write 4 to v at 2
%s
wait 14 s
%s
b: close v
wait 3 s
'''

END = '''no more cues
mend everything
start all
expect well: a b c d
c: break the lock of v
wait 1 s
c: open v
expect c: open v: done
c: write 9 to v
expect c: write 9 to v: done
c: read v at 1
c: read v at 2
d: read v
expect d: read v: 9
expect copies are equal
'''


def compose(seed: int) -> str:
    """The text of a play."""
    source = random.Random('%s/play' % seed)
    cues = [_cue(source) for _ in range(source.choice((1, 2, 3, 4)))]
    return BEGIN + ''.join(cues) + MIDDLE % (
        source.choice(FAULTS), source.choice(FAULTS)) + END


def _cue(source: random.Random) -> str:
    how = source.choice(('sends', 'answers'))
    one, other = source.sample('abcd', 2)
    if source.random() < 0.6:
        # Most of what is said is between the leader and the others.
        other = source.choice('bcd')
        one = 'a'
        if how == 'answers':
            one, other = other, one
    return 'when %s %s %s%s: %s\n' % (
        one, how, source.choice(KINDS),
        source.choice(('', '', ' to ' + other)),
        source.choice(ACTIONS).format(one=one, other=other))


def play_one(seed: int, build: Callable) -> play.Outcome:
    return play.run(compose(seed), build, seed)


def shorten(text: str, build: Callable, seed: int) -> str:
    """Leave out lines between the beginning and the end for as long as it
    still goes otherwise at the same line."""
    expected = _first_difference(play.run(text, build, seed))
    lines = text.splitlines()
    first = len(BEGIN.splitlines())
    last = len(lines) - len(END.splitlines()) - 1
    for number in range(last, first - 1, -1):
        fewer = lines[:number] + lines[number + 1:]
        try:
            outcome = play.run('\n'.join(fewer), build, seed)
            if (outcome.has_failed and
                    _first_difference(outcome) == expected):
                lines = fewer
        except play.WrongPlay:
            pass
    return '\n'.join(lines)


def _first_difference(outcome: play.Outcome) -> str:
    """The line that did not come true; '' if all did, but something else
    was wrong."""
    for written, went in zip(outcome.text.splitlines(),
                             outcome.went.splitlines()):
        if written != went:
            return written
    return ''


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=run.seeds_of,
                        default=run.seeds_of('1-100'))
    parser.add_argument('--build', default=play.BUILD,
                        help='what makes a sheep (%(default)s)')
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    build = pkgutil.resolve_name(options.build)
    failed = []
    for seed in options.seeds:
        outcome = play_one(seed, build)
        print('seed %d %s' % (seed, 'goes otherwise:' if outcome.has_failed
                              else 'is well'), flush=True)
        if outcome.has_failed:
            failed.append(seed)
            print(outcome.diff())
            print('A shorter one, also with seed %d:\n%s' % (
                seed, shorten(outcome.text, build, seed)))
    if failed:
        print('failed: %s' % ','.join(map(str, failed)))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
