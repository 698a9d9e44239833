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

"""Who is live, according to coordination: the last snapshot."""

from typing import Mapping, Optional

from sheepdog.cluster import api
from sheepdog.cluster import incarnations


class Roll:
    """``members``: incarnation → MemberInfo; ``newest``: node → the
    incarnation of it that counts; ``snapshots`` counts them."""

    def __init__(self):
        self._seen: set = set()
        self.snapshots = 0
        self.members: dict = {}
        self.newest: dict = {}
        self.leader: Optional[api.MemberInfo] = None

    def update(self, members: Mapping[str, api.MemberInfo],
               leader: Optional[api.MemberInfo]) -> bool:
        """Returns whether anything changed."""
        self.snapshots += 1
        old_leader, self.leader = self.leader, leader
        if members.keys() == self.members.keys():
            # What a member tells of itself is fixed for an incarnation.
            return leader != old_leader
        self.members = {incarnation: members[incarnation] for incarnation
                        in sorted(members, key=incarnations.age_key)}
        self.newest = incarnations.newest(self.members)
        self._seen.update(self.members)
        return True

    def has_seen(self, incarnation: str) -> bool:
        """It, or a later one of its node, was live once: if it is not
        current now, it is dead."""
        return (incarnation in self._seen or
                incarnations.node_of(incarnation) in self.newest)

    def is_current(self, incarnation: str) -> bool:
        """Live, and the latest of its node: an elder one of the same node
        is dead, whatever coordination still says."""
        node = incarnations.node_of(incarnation)
        return self.newest.get(node) == incarnation

    def current(self) -> list:
        """The incarnations that count, oldest first."""
        return [incarnation for incarnation in self.members
                if self.is_current(incarnation)]
