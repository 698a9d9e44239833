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

"""A token bucket. Pure: time is what the caller says.

It fills at ``rate`` a second up to ``burst``. A request may begin when the
bucket has what it needs, or is full; then it takes all it needs, and what is
lacking is a debt. So one that is larger than the bucket gets its turn, too,
and over any length of time no more than ``rate`` times that, ``burst`` and
one request are let through.

Kept is one number only, the time at which the bucket was, or will be, empty.
"""


class Bucket:
    __slots__ = ('rate', 'burst', 'empty_at')

    def __init__(self, rate: float, burst: float, now: float):
        """It is full."""
        self.rate = rate
        self.burst = burst
        self.empty_at = now - burst / rate

    def level(self, now: float) -> float:
        """Less than nothing is a debt."""
        return min(self.burst, (now - self.empty_at) * self.rate)

    def ready_at(self, amount: float) -> float:
        """When that much may begin."""
        return self.empty_at + min(amount, self.burst) / self.rate

    def take(self, now: float, amount: float) -> None:
        # (What has run over since it was full is lost.)
        self.empty_at = max(self.empty_at, now - self.burst
                            / self.rate) + amount / self.rate

    def alter(self, rate: float, burst: float, now: float) -> None:
        """What is in it stays, as far as it has room."""
        level = min(self.level(now), burst)
        self.rate = rate
        self.burst = burst
        self.empty_at = now - level / rate
