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

"""Was there a moment at which a volume held what a snapshot of it holds?

A write is in force from some moment between those at which it was issued and
acknowledged; who never heard of it cannot tell whether it ever was. So a block
may have held it from when it was issued until a later write of that block was
acknowledged; see ``testing.spans``. Several volumes of one moment are judged
as one.
"""

import dataclasses
import math

from sheepdog.testing import spans

NEVER = math.inf
SHOWN_MAX = 8


@dataclasses.dataclass
class Write:
    """One of a block: ``number`` counts from 1 over all blocks; moments are
    seconds of one clock. ``is_zero``: the block reads as if never written.
    """

    number: int
    block: int
    issued: float
    acknowledged: float = NEVER
    is_zero: bool = False


class Writes:
    """All of a volume. No two of one block are under way at once, but for
    those whose connection was lost: they are not heard of any more, and a
    later one of that block comes after them."""

    def __init__(self):
        self._of_block = {}
        self.count = 0

    def issue(self, block: int, now: float, is_zero: bool = False) -> Write:
        self.count += 1
        write = Write(self.count, block, now, is_zero=is_zero)
        self._of_block.setdefault(block, []).append(write)
        return write

    def of_block(self, block: int) -> list:
        return self._of_block.get(block, [])

    def spans(self, block: int, number: int) -> list:
        """When the block may have held that write (0: zeroes): (since,
        until), the latest first; empty if it is none of its writes."""
        found, until = [], NEVER
        for write in reversed(self.of_block(block)):
            if number == (0 if write.is_zero else write.number):
                found.append((write.issued, until))
            until = min(until, write.acknowledged)
        if not number:
            found.append((-NEVER, until))
        return found

    def judge(self, found: dict, asked: float, answered: float) -> str:
        """What is wrong with a snapshot, '' if nothing.

        :param found: block → number of the write it holds, 0 for none
        :param asked: when the snapshot was asked for
        :param answered: when it was there; ``NEVER``: who knows
        """
        return judge([(self, found)], asked, answered)

    def was_seen(self, found: dict, answered: float) -> None:
        """Nobody may see older data than this in what is made later."""
        for block, number in found.items():
            for write in self.of_block(block):
                if write.number == number:
                    write.acknowledged = min(write.acknowledged, answered)


def judge(volumes: list, asked: float, answered: float) -> str:
    """As ``Writes.judge``, of several made at one moment.

    :param volumes: pairs, the writes of each and what was found
    """
    possible, seen = [(asked, answered)], []
    for writes, found in volumes:
        for block, number in found.items():
            one = _Block(writes, block, number)
            if not one.spans:
                return 'block %d holds write %d, which is none of it' % (
                    block, number)
            possible = spans.common(possible, one.spans)
            if not possible:
                return _contradiction(one, seen, asked, answered)
            seen.append(one)
    return ''


class _Block:
    """One that was found."""

    def __init__(self, writes, block, number):
        self.spans = writes.spans(block, number)
        self._found = writes, block, number

    def __str__(self):
        writes, block, number = self._found
        return 'block %d holds write %d of %s' % (
            block, number, writes.of_block(block)[-SHOWN_MAX:])


def _contradiction(one, seen, asked, answered) -> str:
    if not spans.common(one.spans, [(asked, NEVER)]):
        return ('it was asked for at %.6f, and lacks what was acknowledged '
                'before: %s' % (asked, one))
    if not spans.common(one.spans, [(-NEVER, answered)]):
        return ('it was there at %.6f, and holds what was issued later: %s'
                % (answered, one))
    # (Where blocks have several spans, two alone need not contradict.)
    possible = spans.common(one.spans, [(asked, answered)])
    other = next((each for each in seen
                  if not spans.common(possible, each.spans)),
                 'all that was found before')
    return 'it is of no one moment: %s; %s' % (one, other)
