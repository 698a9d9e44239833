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

"""How long is long: seconds, reckoned from one."""

import dataclasses

TRANSFER_ENTRIES_PER_SECOND = 5000


@dataclasses.dataclass(frozen=True)
class Pace:
    """``ttl``: seconds after which coordination drops who is silent."""

    ttl: float

    @property
    def call(self) -> float:
        """For one small message and its answer."""
        return max(0.5, 0.4 * self.ttl)

    @property
    def welcome(self) -> float:
        """For a newcomer to answer before the next epoch is made."""
        return min(0.2, self.call)

    @property
    def farewell(self) -> float:
        """For a last word to whom coordination dropped."""
        return min(0.3, self.call)

    def transfer(self, entries: int) -> float:
        """For a whole state of so many entries (VDIs, members)."""
        return self.call + entries / TRANSFER_ENTRIES_PER_SECOND

    @property
    def patience(self) -> float:
        """Who is dead leaves coordination within the TTL and a poll. Who is
        still there after this is alive, and out of reach."""
        return 1.5 * self.ttl + 1

    @property
    def grace(self) -> float:
        """For the answers to a new leader's first survey."""
        return self.call

    @property
    def hold(self) -> float:
        """Until a joiner that failed is tried again."""
        return 2 * self.ttl

    @property
    def patrol(self) -> float:
        """Between two pings of an idle leader."""
        return max(0.5, 0.5 * self.ttl)
