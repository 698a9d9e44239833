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
acknowledged; who never heard of it cannot tell whether it ever was. So there
is such a moment if every write that the snapshot has was issued before the
first one that it lacks was acknowledged, and if that can have been while the
snapshot was made.
"""

import bisect
import dataclasses
import math

NEVER = math.inf


@dataclasses.dataclass
class Write:
    """One of a block: ``number`` counts from 1 over all blocks; moments are
    seconds of one clock."""

    number: int
    block: int
    issued: float
    acknowledged: float = NEVER


class Writes:
    """All of a volume. No two of one block are under way at once, but for
    those whose connection was lost: they are not heard of any more, and a
    later one of that block comes after them."""

    def __init__(self):
        self._of_block = {}
        self.count = 0

    def issue(self, block: int, now: float) -> Write:
        self.count += 1
        write = Write(self.count, block, now)
        self._of_block.setdefault(block, []).append(write)
        return write

    def of_block(self, block: int) -> list:
        return self._of_block.get(block, [])

    def judge(self, found: dict, asked: float, answered: float) -> str:
        """What is wrong with a snapshot, '' if nothing.

        :param found: block → number of the write it holds, 0 for none
        :param asked: when the snapshot was asked for
        :param answered: when it was there; ``NEVER``: who knows
        """
        last, first = None, None
        for block, number in found.items():
            writes = self._of_block.get(block, [])
            place = bisect.bisect_left(writes, number,
                                       key=lambda write: write.number)
            if number:
                if place == len(writes) or writes[place].number != number:
                    return 'block %d holds write %d, which is none of it' % (
                        block, number)
                if last is None or writes[place].issued > last.issued:
                    last = writes[place]
                place += 1
            for write in writes[place:]:
                if first is None or write.acknowledged < first.acknowledged:
                    first = write
        return _verdict(last, first, asked, answered)


def _verdict(last, first, asked, answered):
    """
    :param last: issued last of those that it has, or None
    :param first: acknowledged first of those that it lacks, or None
    """
    if last is not None and last.issued > answered:
        return ('it was there at %.6f, and holds what was issued later: %s'
                % (answered, last))
    if first is not None and first.acknowledged < asked:
        return ('it was asked for at %.6f, and lacks what was acknowledged '
                'before: %s' % (asked, first))
    if last is not None and first is not None and (
            last.issued > first.acknowledged):
        return 'it is of no one moment: it holds %s, but not %s' % (last,
                                                                    first)
    return ''
