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

"""Who is much slower than the others, and has been so for a while. Pure.

A latency is an outlier if it is FACTOR times the median of the others, and
above a floor, below which nobody suffers. One such round says nothing: a
disk may be busy for a moment. And if it is so for half of them or more, it
is not they who are odd.
"""

import bisect
from typing import Mapping, Optional

FACTOR = 5
DEMOTE_OF, DEMOTE_ROUNDS = 2, 3
"""Slow if so in so many of the last rounds."""
RIPE_OF, RIPE_ROUNDS = 4, 5
"""Slow for good, likewise."""
WELL_ROUNDS = 5
"""Not slow any more if not once in the last so many rounds."""

_RECENT = (1 << WELL_ROUNDS) - 1


class _Record:
    """``slow`` and ``ripe`` have a bit for each round, the newest lowest;
    ``rounds`` are those in which anything was known."""

    __slots__ = ('slow', 'ripe', 'rounds', 'is_demoted', 'latest')

    def __init__(self):
        self.slow = self.ripe = self.rounds = self.latest = 0
        self.is_demoted = False


class Outliers:
    """Of one kind of latency, in microseconds, round after round."""

    def __init__(self):
        self._records: dict = {}

    def round(self, latencies: Mapping[str, Optional[int]], floor: int,
              ripe_floor: int) -> None:
        """
        :param latencies: by name; None: nothing is known of this round.
            Who is not in it is forgotten
        :param ripe_floor: as ``floor``, for who is slow for good; 0: none is
        """
        known = {name: latency for name, latency in latencies.items()
                 if latency is not None}
        slow = slow_ones(known, floor)
        self._records = {name: self._records.get(name) or _Record()
                         for name in latencies}
        if len(known) < 2:
            return
        for name, latency in known.items():
            self._note(self._records[name], latency, name in slow,
                       0 < ripe_floor <= latency)

    @staticmethod
    def _note(record: _Record, latency: int, is_slow: bool,
              is_much: bool) -> None:
        record.latest = latency
        record.rounds = min(record.rounds + 1, WELL_ROUNDS)
        record.slow = (record.slow << 1 | is_slow) & _RECENT
        record.ripe = (record.ripe << 1 | (is_slow and is_much)) & _RECENT
        if _count(record.slow, DEMOTE_ROUNDS) >= DEMOTE_OF:
            record.is_demoted = True
        elif not record.slow:
            record.is_demoted = False

    def demoted(self) -> list:
        return sorted(name for name, record in self._records.items()
                      if record.is_demoted)

    def ripe(self) -> list:
        """Who is slow for good, the slowest first."""
        return sorted((name for name, record in self._records.items()
                       if _count(record.ripe, RIPE_ROUNDS) >= RIPE_OF),
                      key=lambda name: (-self._records[name].latest, name))

    def is_well(self, name: str) -> bool:
        """It is known not to be slow."""
        record = self._records.get(name)
        return (record is not None and record.rounds == WELL_ROUNDS
                and not record.slow)


def slow_ones(latencies: Mapping[str, int], floor: int) -> set:
    """The outliers of one round; none if they are not a minority (of two,
    one may be)."""
    if len(latencies) < 2:
        return set()
    ordered = sorted(latencies.values())
    # Of an even number of others the upper one of the middle: two of three
    # are not odd.
    middle = (len(ordered) - 1) // 2
    found = set()
    for name, latency in latencies.items():
        place = bisect.bisect_left(ordered, latency)
        median = ordered[middle + (place <= middle)]
        if latency >= max(floor, FACTOR * median):
            found.add(name)
    return found if len(found) <= max(1, middle) else set()


def _count(bits: int, rounds: int) -> int:
    return (bits & ((1 << rounds) - 1)).bit_count()
