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

"""Was there one moment at which all blocks of a snapshot held what they hold?

A block may have held a value in one or several spans of time: (since, until),
both ends included. There was such a moment if some span of each block and
the time in which the snapshot was made have one in common. Pure.
"""

from typing import Callable, Iterable

from sheepdog.testing import checkers


def common(some: list, others: list) -> list:
    """The spans in which both may have been, the earliest first. (Those that
    overlap become one: else there would be more with each block.)"""
    found: list = []
    for since, until in sorted(
            (max(since, low), min(until, high)) for since, until in some
            for low, high in others if max(since, low) <= min(until, high)):
        if found and since <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], until)
        else:
            found.append((since, until))
    return found


def of_value(writes: Iterable[checkers.Operation], value: int,
             may_be_lost: Callable) -> list:
    """When a block may have held a value, after writes of clients who did
    not wait for each other. (Zeroes are what it began with, and may be
    those of several writes.)

    :param may_be_lost: whether a write that was acknowledged may be
        forgotten
    """
    ended = [one for one in writes
             if one.end != checkers.NEVER and not may_be_lost(one)]
    found = [(one.begin, min((other.end for other in ended
                              if one.end < other.begin),
                             default=checkers.NEVER))
             for one in writes if one.value == value]
    if value == checkers.ZERO:
        found.append((-checkers.NEVER, min((one.end for one in ended),
                                           default=checkers.NEVER)))
    return found
