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

"""Is what an absent node held left alone for a while, as it may come back?

Only *when* copies are made anew is decided here: what clients ask for is
made whole at once, and which copy counts is nobody's affair here.

It takes a cluster that was whole, and nothing else that has happened since
but that nodes of one zone went, or came back: no other node has come, gone
or been started anew, weighs other than it did, has lost a disk. So each
object lacks one copy, or strip, at the most; it is left alone if more than
one other may be lost. The time begins with the first absence, and not anew
before the cluster is whole again. So redundancy is lowered for longer, but
by no more than it was, and never for longer than that.
"""

from typing import Optional

from sheepdog.model import view as view_model

SECONDS_MAX = 86400


def missing(state, views) -> tuple:
    """Members, as they were when all was whole, whose zone is the only one
    that anything has happened to since, and who are not here. () where
    nobody is waited for. Pure.

    :param state: ``cluster.state.State``
    :param views: all that are remembered, oldest first
    """
    before = whole_view(state, views)
    if before is None or not _is_whole_but_for_absence(state, before):
        return ()
    members = _keepers(before)
    zones: set = set()
    for then in views:
        if then.epoch <= before.epoch:
            continue
        for node, was in _keepers(then).items():
            member = members.get(node)
            if member is None or _seat(member) != _seat(was):
                return ()
            if member.incarnation != was.incarnation:
                zones.add(member.zone)
        present = {member.node for member in then.members}
        zones.update(member.zone for node, member in members.items()
                     if node not in present)
        if len(zones) > 1 or any(member.node in members
                                 for member in then.members
                                 if not member.vnodes):
            return ()
    here = state.view
    if any(state.recovered.get(member.incarnation, 0) < before.epoch
           for member in here.members
           if member.vnodes and member.zone not in zones):
        # (A cluster that was started anew has the epoch of before.)
        return ()
    present = {member.node for member in here.members}
    return tuple(member for node, member in members.items()
                 if node not in present)


def whole_view(state, views) -> Optional[view_model.View]:
    """The view of the last epoch in which all was whole, if it is still
    remembered."""
    if state.view is None or not state.whole:
        return None
    return next((view for view in views if view.epoch == state.whole), None)


def _is_whole_but_for_absence(state, before) -> bool:
    return (state.whole == state.settled
            and state.view.epoch > before.epoch and not state.hurried
            and not any(epoch >= before.epoch
                        for epoch in state.lost.values()))


def _keepers(view) -> dict:
    return {member.node: member for member in view.members if member.vnodes}


def _seat(member) -> tuple:
    return member.zone, member.vnodes


def is_spare(copies: int, zones: int, needed: int) -> bool:
    """May one more be lost, of an object of which one copy, or strip, is
    missing already?

    :param zones: that there were when all was whole
    :param needed: of those that it takes to read it
    """
    return min(copies, zones) - 1 > needed


class Grace:
    """``postponed``: objects that are left alone here."""

    def __init__(self, world, cluster, order, seconds: float = 0):
        self.seconds = seconds
        self.postponed = 0
        self._clock = world.clock
        self._cluster = cluster
        self._order = order
        self._began: Optional[tuple] = None
        self._looked: tuple = ()
        self._members: tuple = ()
        self._searched: Optional[tuple] = None

    def look(self) -> None:
        """A view has begun, or an event has come."""
        state, views = self._cluster.state, self._cluster.views
        looked = (state.created, state.view, state.whole, state.settled,
                  state.hurried, tuple(state.lost.items()))
        if looked == self._looked:
            return
        self._looked = looked
        self._members = missing(state, views)
        key = state.created, state.whole
        if self._members and (self._began is None
                              or self._began[0] != key):
            now = self._clock.monotonic(), self._clock.time()
            self._began = (key,) + now

    @property
    def is_on(self) -> bool:
        """Somebody is waited for, in the whole cluster."""
        return bool(self._members) and self._left() > 0

    def _left(self) -> float:
        assert self._began is not None
        return self._began[1] + self.seconds - self._clock.monotonic()

    def describe(self) -> Optional[dict]:
        """For operators: who is waited for (``host:port``), until when (in
        seconds since 1970), what is left alone here; None: nothing is."""
        if not self.is_on:
            return None
        return {'nodes': sorted('%s:%d' % member.address
                                for member in self._members),
                'until': self._clock.time() + self._left(),
                'objects': self.postponed}

    def explain(self) -> str:
        return '%d objects are left as they are for %d s at the most, as ' \
            '%s may come back' % (self.postponed, self.seconds, ', '.join(
                '%s:%d' % member.address for member in self._members))

    # -- what is left alone ----------------------------------------------

    def take_out(self, view, wanted: dict, doubtful, has_lost: bool) -> None:
        """Take those out of the objects that are wanted here that can wait.
        (What is doubtful was here, and what was lost here is not coming
        back.)"""
        self.postponed = 0
        if not self.is_on or has_lost:
            return
        before = whole_view(self._cluster.state, self._cluster.views)
        if before is None or before.member(
                self._cluster.incarnation) is None:
            # What we had is what has changed.
            return
        zones = len({member.zone for member in before.members
                     if member.vnodes})
        doubtful = set(doubtful)
        known: dict = {}
        waiting = []
        for oid in wanted:
            kind = oid >> 32
            if kind not in known:
                known[kind] = self._can_wait(oid, before.epoch, view.epoch,
                                             zones)
            if known[kind] and oid not in doubtful:
                waiting.append(oid)
        for oid in waiting:
            del wanted[oid]
        self.postponed = len(waiting)

    def _can_wait(self, oid: int, before: int, now: int,
                  zones: int) -> bool:
        """Of all objects of a kind of a VDI."""
        copies = self._order.copies_at(oid, now)
        code = self._order.code(oid)
        return copies == self._order.copies_at(oid, before) and is_spare(
            copies, zones, code[0] if code is not None else 1)

    def found(self, key: tuple) -> None:
        """All is whole here but for what can wait. ``key``: a view, and what
        else must be the same for that to be so still."""
        self._searched = key

    def is_found(self, key: tuple) -> bool:
        return self.is_on and self.postponed > 0 and self._searched == key
