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

"""What the cluster room needs from others, and what it tells them.

``Membership`` is a plug point (tooz, or the simulator's); ``Courier`` is
the peer room's; ``Operations`` is the volume room's; ``ClusterListener``
are all who act on a change.
"""

import dataclasses
import enum
from typing import Collection, Mapping, Optional, Protocol

from sheepdog.model import shapes
from sheepdog.model import view as view_model


class Status(enum.Enum):
    """Where this sheep stands."""

    STARTING = 'starting'            # no answer from coordination yet
    WAIT_FOR_FORMAT = 'wait-format'  # the cluster has no epoch
    WAIT_FOR_JOIN = 'wait-join'      # cold start, members are missing; or
    #                                  this sheep is not in a view yet
    FROZEN = 'frozen'                # a next epoch is prepared
    OK = 'ok'
    LAPSED = 'lapsed'                # the lease is gone, a new identity comes
    REFUSED = 'refused'              # may not join; ``reason`` says why
    SHUTDOWN = 'shutdown'


@dataclasses.dataclass(frozen=True)
class MemberInfo:
    """What a sheep tells of itself through coordination (capabilities).

    ``vnodes`` -1: weighted by ``space`` (bytes); 0: a gateway; else fixed.
    ``created`` is the creation time of the cluster its store belongs to, 0
    when its store is new.
    """

    node: str
    incarnation: str
    host: str
    port: int
    zone: int
    space: int
    vnodes: int = -1
    data_host: str = ''
    data_port: int = 0
    protocol: int = 0
    created: int = 0

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> 'MemberInfo':
        """:raises InvalidParameters:"""
        return shapes.build(cls, fields)


class MembershipListener(Protocol):
    """Called in the loop."""

    def on_members(self, members: Mapping[str, MemberInfo],
                   leader: Optional[MemberInfo]) -> None:
        """A heartbeat's snapshot: live incarnations, and who leads."""

    def on_lapse(self, reason: str) -> None:
        """This identity is dead for ever; ``incarnation`` is or will be a
        new one."""

    def on_leader(self, term: int) -> None:
        """We claimed ``term``; 0: we lead no more."""


class Membership(Protocol):
    incarnation: str

    def start(self, info: MemberInfo, listener: MembershipListener,
              min_term: int) -> None:
        """Join with ``info`` (its incarnation is filled in here, anew for
        each identity)."""

    async def stop(self) -> None:
        """Leave in order: the others notice at once."""

    def lease_valid(self) -> bool:
        """Cheap: asked for every request."""

    def lease_seconds(self) -> float:
        """What is left of the lease, for monitoring; 0 without one."""

    def note_term(self, term: int) -> None:
        """A term seen elsewhere: never claim one as low; if we lead a lower
        one, stop leading."""

    def fence(self, incarnation: str) -> None:
        """Make that identity lapse at its next heartbeat."""


class Courier(Protocol):
    async def call(self, member: MemberInfo, message: dict,
                   timeout: float) -> dict:
        """Deliver to ``Cluster.handle`` of exactly that incarnation.

        :raises SheepdogError: Unreachable, or what the other side raised
        """


class Operations(Protocol):
    async def carry_out(self, kind: str, arguments: dict) -> tuple:
        """On the leader, one at a time: do the I/O of an exclusive
        operation, idempotently (it may be done again by another leader);
        for a new VDI all of it within one epoch, the one in which it ends.

        Returns ``(event, result)``: the event (JSON, ``{"kind": …}``, or
        None) is announced to all members in the total order, applied by
        ``State.apply`` everywhere, and then ``result`` (JSON) goes to who
        asked.

        :raises SheepdogError: the operation failed; nothing is announced
        """


class Health(Protocol):
    def report(self, slow: Collection[str], suspects: Collection[str],
               is_probe: bool) -> dict:
        """What was measured since the last call (see
        ``messages.checked_report``). ``slow`` are the incarnations that are
        to be read last; the ``suspects`` are asked how long they take, and
        our own disk where ``is_probe``, for the next report."""


class ClusterListener(Protocol):
    """Called in the loop, synchronously, in the total order.

    Listeners hear in the order in which they were added, lower rooms first;
    of a lapse and a shutdown in the opposite order: who uses a room must
    know before that room ends what it has under way.
    """

    def on_freeze(self) -> None:
        """Serving stops: an epoch is prepared, or the lease is gone."""

    def on_view(self, old: Optional[view_model.View],
                new: view_model.View, cold: bool) -> None:
        """A view begins. ``cold``: every member is back from a full stop;
        ``new`` then has the epoch of before."""

    def on_event(self, event: dict) -> None:
        """Applied to the state already."""

    def on_lapse(self) -> None:
        """Our identity is dead: all that was in memory of it is void."""

    def on_shutdown(self) -> None:
        """The cluster shuts down in order."""
