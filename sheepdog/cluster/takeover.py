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

"""What a new leader finds, and what it may therefore do. Pure functions.

Why a single standing member is enough to go on: no epoch without it can
have been decided while it stands (its lease would have to be over), and no
event either (it would have had to acknowledge). So it knows everything that
was decided, a prepared epoch included.

Why a cold start needs all members of the highest epoch: each epoch keeps at
least one standing member of the one before, who has it on disk as prepared.
Following the chain, the members of the highest epoch that anybody present
knows of are all present only if there is no higher one.
"""

from typing import Iterable, NamedTuple, Optional

from sheepdog.cluster import incarnations
from sheepdog.cluster import messages


class Warm(NamedTuple):
    """The cluster runs: ``best`` knows all that was decided; ``prepared``
    (held by ``holder``) counts as decided too."""

    best: messages.Answer
    standing: tuple
    prepared: Optional[messages.Prepared]
    holder: str


class Cold(NamedTuple):
    """Nobody stands. ``best`` is the most advanced answer of the cluster
    ``created``; ``pending`` are prepared epochs that perhaps were decided,
    each with the incarnation that can tell its members."""

    created: int
    best: Optional[messages.Answer]
    pending: tuple


def examine(answers: Iterable[messages.Answer], own: str):
    """→ Warm, or a list of Cold, one for each cluster whose stores are
    here (one with ``created`` 0, if all are blank).

    :param own: our incarnation: among equals we ask ourselves
    """
    answers = sorted(answers, key=lambda answer: answer.incarnation)
    standing = tuple(answer for answer in answers if answer.standing)
    if standing:
        return _warm(standing, own)
    created = sorted({created_of(answer) for answer in answers})
    groups = [_cold(one, [answer for answer in answers
                          if created_of(answer) == one], own)
              for one in created if one]
    return groups or [Cold(0, None, ())]


def created_of(answer: messages.Answer) -> int:
    """The cluster its store belongs to, or was about to; 0 if blank."""
    if answer.created:
        return answer.created
    return answer.prepared.created if answer.prepared else 0


def clusters_of(answer: messages.Answer) -> tuple:
    """The clusters that it may be a member of: besides its store's, one
    that took its place, as far as it knows."""
    prepared = answer.prepared
    return (created_of(answer),
            prepared.created if prepared is not None else 0)


def _most_advanced(answers: Iterable[messages.Answer],
                   own: str) -> Optional[messages.Answer]:
    return max(answers, default=None, key=lambda answer: (
        answer.position, answer.incarnation == own, answer.incarnation))


def _warm(standing: tuple, own: str) -> Warm:
    best = _most_advanced(standing, own)
    pending = _pending(standing, best.position)
    if not pending:
        return Warm(best, standing, None, '')
    prepared, holder = pending[-1]
    return Warm(best, standing, prepared, holder)


def _cold(created: int, answers: list, own: str) -> Cold:
    best = _most_advanced(
        (answer for answer in answers if answer.epoch), own)
    return Cold(created, best, _pending(
        answers, best.position if best else (0, 0)))


def _pending(answers: Iterable[messages.Answer], position: tuple) -> tuple:
    """((prepared, holder), …), the one that counts most last."""
    found = {}
    for answer in answers:
        prepared = answer.prepared
        if prepared is not None and prepared.is_pending(position):
            found[prepared.key] = (prepared, answer.incarnation)
    return tuple(found[key] for key in sorted(found))


def needed(prepared: messages.Prepared,
           answers: Iterable[messages.Answer]) -> tuple:
    """The members that must be asked before it is known whether a pending
    epoch was decided: all, unless one of them has not agreed to it."""
    nodes = {member.node for member in prepared.view.members}
    place = prepared.term, prepared.sequence
    for answer in answers:
        agreed = (answer.position >= place or
                  answer.prepared is not None and
                  answer.prepared.key >= prepared.key)
        if incarnations.node_of(answer.incarnation) in nodes and not agreed:
            return ()
    return prepared.view.members


def missing(nodes: Iterable, present: Iterable[str]) -> list:
    """The members (in order, each node once) whose node is not present."""
    present = set(present)
    result = {}
    for member in nodes:
        if member.node not in present:
            result.setdefault(member.node, member)
    return list(result.values())
