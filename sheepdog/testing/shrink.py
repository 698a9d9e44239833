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

"""Makes a failing seed smaller: what can be left out is not to blame.

Faults, chores and clients each happen by themselves (see ``steps``), so any
of them may be left out, and the time may be cut short. What is tried is
kept when the same kind of failure is still there (delta debugging: big
pieces first, then smaller ones). The result is not the smallest of all,
but nothing of it can be left out alone.
"""

import dataclasses
import re
from typing import Callable, Iterable, Optional

TRIES_MAX = 120
SHARES_OF_TIME = (0.2, 0.4, 0.6, 0.8)

_KINDS = ('history of', 'not well', 'requests without an answer',
          'cannot be read through', 'not handled', 'endless',
          'the clock stands still', 'stopped and left tasks',
          'belongs elsewhere', 'of a deleted VDI', 'of no VDI', 'at rest',
          'the member list of epoch', 'the event at', 'lost its place',
          'does not list', 'was grown', 'object ', 'was made',
          'was deleted')


def kind_of(failure: str) -> str:
    """What two failures must share to be the same."""
    for kind in _KINDS:
        if kind in failure:
            return kind
    return re.sub(r'[0-9.:#]+', '', failure.partition('\n')[0])


@dataclasses.dataclass
class Smaller:
    """``without``: what is left out; ``seconds`` of trouble."""

    without: frozenset
    seconds: float
    result: object
    tries: int = 0

    def command(self) -> str:
        """How to run it again."""
        words = ['python -m sheepdog.testing.run --trace',
                 '--seeds %d' % self.result.seed,
                 '--seconds %g' % self.seconds]
        if self.without:
            words.append('--without %s' % ','.join(sorted(self.without)))
        return ' '.join(words)


def shrink(run: Callable, result, seconds: float,
           tries_max: int = TRIES_MAX) -> Smaller:
    """
    :param run: ``run(without, seconds)`` → ``scenario.Result``
    :param result: the failing one of the whole seed
    """
    return _Shrinker(run, result, seconds, tries_max).shrink()


class _Shrinker:

    def __init__(self, run, result, seconds: float, tries_max: int):
        self._run = run
        self._kinds = {kind_of(failure) for failure in result.failures}
        self._tries_max = tries_max
        self._best = Smaller(frozenset(), seconds, result)

    def shrink(self) -> Smaller:
        whole = self._best.seconds
        for share in SHARES_OF_TIME:
            if self._try(self._best.without, whole * share):
                break
        size = len(self._left())
        while size:
            for piece in _pieces(self._left(), size):
                self._try(self._best.without | piece, self._best.seconds)
            size //= 2
        return self._best

    def _left(self) -> list:
        """What there is to leave out, the last first: it is the least
        likely to matter."""
        return [part for part in reversed(self._best.result.parts)
                if part not in self._best.without]

    def _try(self, without: frozenset, seconds: float) -> bool:
        if self._best.tries >= self._tries_max:
            return False
        self._best.tries += 1
        result = self._run(without, seconds)
        if self._kinds.isdisjoint(map(kind_of, result.failures)):
            return False
        self._best = Smaller(without, seconds, result, self._best.tries)
        return True


def _pieces(parts: list, size: int) -> Iterable[frozenset]:
    for start in range(0, len(parts), size):
        yield frozenset(parts[start:start + size])


def describe(smaller: Smaller, events: int = 60,
             who: Optional[str] = None) -> str:
    """For people: what is left, what is wrong, what happened last."""
    result = smaller.result
    left = ['%s %s' % (label, kind) for label, kind in result.parts.items()
            if label not in smaller.without]
    lines = ['after %d runs, %d things left out:' % (
        smaller.tries, len(smaller.without)),
        'left are: %s' % ', '.join(left), str(result),
        'the last of what happened:']
    lines += result.trace.splitlines()[-events:]
    lines += ['', 'again: %s' % smaller.command()]
    return '\n'.join(lines)
