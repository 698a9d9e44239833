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

"""Counting by size."""

import bisect
import math


class Histogram:
    """``bounds``: the upper ends of its buckets, ascending; one more, for
    all the rest, is behind them."""

    __slots__ = ('bounds', 'counts', 'sum')

    def __init__(self, bounds):
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def buckets(self) -> list:
        """(upper end as text, how many are not above it), as Prometheus
        wants them."""
        result = []
        total = 0
        for bound, count in zip(self.bounds + (math.inf,), self.counts):
            total += count
            result.append(('+Inf' if bound == math.inf else repr(bound),
                           total))
        return result
