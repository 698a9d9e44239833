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

"""Members that cannot reach each other, though the leader reaches both.

Writes to what both hold wait, and nobody is dead. Each tells the leader
whom it misses; the leader sends away the one that is missed by most, and
lets its node in again after a while, longer each time that it happens.
Pure: the leader brings time and members, and does what comes out.
"""

from typing import Iterable, Optional

from sheepdog.cluster import incarnations

FRESH_SECONDS = 3.0
"""A complaint counts so long; who goes on missing somebody says so each
second."""

SETTLE_SECONDS = 1.5
"""From the first complaint to the last before judgement: it may be over by
itself, and others have theirs to add."""

AWAY_FIRST_SECONDS = 10.0
AWAY_LAST_SECONDS = 300.0
FORGET_SECONDS = 900.0
"""After so long without trouble a node begins anew with the first pause."""


class Complaints:
    def __init__(self):
        self._heard: dict = {}
        self._away: dict = {}

    # Who is missed.

    def note(self, accuser: str, accused: str, now: float) -> None:
        """``accuser`` cannot reach ``accused`` (incarnations)."""
        first, last = self._heard.get((accuser, accused), (now, now))
        if now - last > FRESH_SECONDS:
            first = now
        self._heard[accuser, accused] = first, now

    def verdict(self, members: Iterable[str], leader: str,
                now: float) -> Optional[str]:
        """Who must go, or None.

        :param members: incarnations in the view, oldest first
        """
        members = list(members)
        partners: dict = {one: set() for one in members}
        is_due = False
        for pair, (first, last) in list(self._heard.items()):
            if now - last > FRESH_SECONDS or not partners.keys() >= set(pair):
                del self._heard[pair]
                continue
            is_due = is_due or last - first >= SETTLE_SECONDS
            one, other = pair
            partners[one].add(other)
            partners[other].add(one)
        if not is_due:
            return None
        most = max(len(found) for found in partners.values())
        missed = [one for one in members if len(partners[one]) == most]
        # The youngest of them; the leader only where nobody else will do.
        others = [one for one in missed if one != leader]
        return (others or missed)[-1]

    # Who was sent away.

    def send_away(self, incarnation: str, now: float) -> float:
        """Keep its node out from now on; returns for how many seconds."""
        node = incarnations.node_of(incarnation)
        until, pause = self._away.get(node, (now, 0.0))
        if now - until > FORGET_SECONDS:
            pause = 0.0
        pause = min(max(2 * pause, AWAY_FIRST_SECONDS), AWAY_LAST_SECONDS)
        self._away[node] = now + pause, pause
        self._heard = {pair: times for pair, times in self._heard.items()
                       if incarnation not in pair}
        return pause

    def is_away(self, incarnation: str, now: float) -> bool:
        until, _ = self._away.get(incarnations.node_of(incarnation),
                                  (now, 0.0))
        return now < until

    def is_pending(self, now: float) -> bool:
        """There is somebody to judge, or to let in again."""
        return bool(self._heard) or any(
            now < until + FRESH_SECONDS for until, _ in self._away.values())
