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

"""Which past views may have seen writes that nobody who is here knows.

An acknowledged write of an epoch is on all copies of that epoch. So as long
as one of the sheep that held them then is in the view now, with its disk,
the write is known: either its copy has it, or it never was. Where not one of
them is here, nothing may be concluded from those that are: what they say of
the object may be old, and that they do not have it may mean nothing. Then
who is missing must be waited for (or be given up by an operator).

A sheep that could not make its copy whole, for want of room, is here but
does not count: the others may have gone on without it, and though nothing of
that was acknowledged, it may have been read. ``behind`` has, by node, since
which epoch that is so.

Where the best copy has missed what was read (``standing``), that is not
enough: whoever held the object since then, and is not here, may have been
read. (Who is here was asked: none of them was clean for longer.)

A sheep that has lost a disk is here, but with what it had until then only
in part: ``lost`` has the node and the epoch of each such loss. Likewise one
that is ``spoilt``: it cannot tell what its copy is, or was. But it is waited
for others only if these may know more: where none is missing, it is as it is.

Pure. ``views`` are the remembered views, oldest first.
"""

NOTHING: dict = {}

UNTOLD = 'may be known only to'
"""In a reason: missing sheep must be waited for, nothing else helps."""


def untold(views, current, first, holders, behind=NOTHING, lost=NOTHING,
           spoilt=()):
    """The newest view from epoch ``first`` on, before the current one, of
    whose holders of an object (``holders(view)``: members) none is here; or
    None. ``lost``: of those who do not have the object now; ``spoilt``: nodes.
    """
    for view in _between(views, current, first):
        # (Where all were behind, nobody wrote.)
        witnesses = [m for m in holders(view)
                     if behind.get(m.node, view.epoch + 1) > view.epoch]
        present = _present(view, current, lost)
        here = [m.node for m in witnesses if m.node in present]
        is_unheard = len(here) < len(witnesses)
        if witnesses and (not here or is_unheard and all(
                node in spoilt for node in here)):
            return view
    return None


def unheard(views, current, first, holders, lost=NOTHING):
    """The newest view from epoch ``first`` on, before the current one, with
    a holder of an object that is not here now; or None."""
    for view in _between(views, current, first):
        present = _present(view, current, lost)
        if any(member.node not in present for member in holders(view)):
            return view
    return None


def hidden(views, current, first, copies, lost=NOTHING, spoilt=()):
    """The newest view from epoch ``first`` on in which an object of as few
    copies as there were then (``copies(view)``) may have been held only by
    sheep that are not here now (and so is in nobody's list); or None. Those
    that are ``spoilt`` may lack it in theirs.

    Copies lie in different zones, so that needs missing sheep in as many
    zones as there were copies.
    """
    for view in _between(views, current, first):
        present = _present(view, current, lost)
        zones = {m.zone for m in view.members if m.vnodes}
        gone = {m.zone for m in view.members
                if m.vnodes and m.node not in present}
        if gone:
            gone |= {m.zone for m in view.members
                     if m.vnodes and m.node in spoilt}
        if gone and len(gone) >= min(copies(view), len(zones)):
            return view
    return None


def stayed(views, current, first, holders):
    """Node → the epoch up to which it was a holder of an object in all views
    from its first one on, of those from epoch ``first`` on, before the
    current one. Who was started anew had left, unless all were: that was a
    full stop, and the epoch is that of before.
    """
    until = {}
    holding = {}
    gone = set()
    before = set()
    for view in reversed(_between(views, current, first)):
        living = {member.incarnation for member in view.members}
        is_cold = living.isdisjoint(before)
        present = {member.node: member.incarnation
                   for member in holders(view)}
        for node, incarnation in holding.items():
            if node not in present or (
                    present[node] != incarnation and not is_cold):
                gone.add(node)
        for node, incarnation in present.items():
            if node not in gone:
                holding[node] = incarnation
                until[node] = view.epoch
        before = living
    return until


def kept(views, current, whole, holders, lost=NOTHING):
    """Node → the epoch up to which its copy has all that was acknowledged,
    whoever was started anew since: it held the object in all views since
    the one of the epoch ``whole``, when every copy was, and nothing is
    acknowledged that is not on all. (But a power cut may have taken what
    was not flushed.)
    """
    for view in views:
        if view.epoch == whole:
            nodes = {member.node for member in holders(view)}
            return {node: epoch for node, epoch
                    in stayed(views, current, whole, holders).items()
                    if node in nodes and node not in lost}
    return {}


def missing(view, current, lost=NOTHING):
    """``host:port`` of the members of a view that are not here now, or not
    with all they had."""
    present = _present(view, current, NOTHING)
    whole = _present(view, current, lost)
    return ['%s:%d' % m.address if m.node not in present
            else 'a lost disk of %s:%d' % m.address
            for m in view.members if m.node not in whole]


def _present(view, current, lost):
    """The nodes that are here with all they had in ``view``."""
    return {member.node for member in current.members
            if lost.get(member.node, -1) < view.epoch}


def _between(views, current, first):
    return [view for view in reversed(views)
            if first <= view.epoch < current.epoch]
