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

"""Which copy to follow, when no copy is known to be clean. Pure.

Every acknowledged write of epoch e is on all copies that were targets in e.
So a copy that was a clean target through epoch t, or whose last write is of
epoch v, has every acknowledged write up to max(t, v); and no write later
than the greatest such number of all copies was ever acknowledged, because it
would have needed a copy that has it.

What a read has shown binds, too. A copy that is *apart* (``standing``) since
an epoch has all that was acknowledged, but perhaps not all that was read
since: it counts as one that was there until the epoch before; and among such
ones that reach equally far, that counts which was clean for longest.

Nothing on a copy tells of what was read when all sheep have been down. It
was read of those who stayed: so among equals those are preferred who were
targets for longer since the last write. (Who became one later has followed
those of that time.)

One exception: a power cut takes from a copy what was acknowledged as
write-back and not flushed. So copies that had none are preferred; flushed
writes are on all.
"""

import typing

from sheepdog.recovery import standing


class Candidate(typing.NamedTuple):
    """One copy. ``through`` as ``Standing.through``; ``version`` the epoch
    of its last write, ``bad`` the number of its blocks that do not match
    their checksums, ``uncertain`` those that a power cut left unproved;
    ``place`` is the order among equals (targets first); ``power_lost``: a
    power cut may have taken writes that were not flushed; ``until`` as
    ``past.stayed`` has it; ``apart`` as ``Standing.apart``, which
    ``through`` allows for; ``digest`` tells contents apart; ``is_torn``: it
    may lack what was written last, acknowledged or not."""

    incarnation: str
    exists: bool
    through: int
    version: int
    bad: int
    uncertain: int
    place: int
    power_lost: bool = False
    until: int = 0
    apart: tuple = standing.TOGETHER
    digest: str = ''
    is_torn: bool = False


def choose(candidates):
    """The copy to follow; None when there is none at all.

    A copy that does not exist is a candidate only if it is known through
    some epoch: then its absence is what was acknowledged.
    """
    best = None
    for candidate in candidates:
        if not candidate.exists and not candidate.through:
            continue
        if best is None or _rank(candidate) > _rank(best):
            best = candidate
    return best


def best(candidates):
    """All that nothing but their place tells from the one to follow."""
    found = []
    for candidate in candidates:
        if not candidate.exists and not candidate.through:
            continue
        rank = _rank(candidate)[:-1]
        if not found or rank > _rank(found[0])[:-1]:
            found = [candidate]
        elif rank == _rank(found[0])[:-1]:
            found.append(candidate)
    return found


def weigh(candidates):
    """The candidates as they count when one of them knows that others may
    have been read since an epoch. Then that holds for each that was apart
    by then and does not know it, and for each that cannot tell that it was
    clean then. (A write of a later epoch tells it: it came to a whole copy.)
    """
    missed = [candidate.apart[0] for candidate in candidates
              if candidate.apart[2]]
    last = max(missed, default=standing.NEVER)
    weighed = []
    for candidate in candidates:
        since, serial, is_missed = candidate.apart
        through = candidate.through
        if not is_missed:
            if standing.NEVER < since <= last:
                through = min(through, since - 1)
                is_missed = True
            elif max(through, candidate.version - 1) < last:
                since = min(epoch for epoch in missed if epoch > through)
                serial = standing.UNSURE
                is_missed = True
        weighed.append(candidate._replace(
            through=through, apart=(since, serial, True) if is_missed
            else standing.TOGETHER))
    return weighed


def instead(chosen, missed, candidates):
    """Whom to follow when the best copy may have missed what was read since
    the epoch ``missed``: who was there then, if only it has kept all that
    was acknowledged. (It was started anew since, and does not know it.)

    Who has the same as the best copy was not that one: it has what was not
    read. Nor, among others, who was there for less long, or has a later
    write than another: that write may be such a one, too.

    :param candidates: pairs of a candidate and what ``past.kept`` has of it
    :returns: the candidate to follow, the best one if there is no other;
        None where it cannot be told
    """
    there = [
        candidate._replace(through=kept) for candidate, kept in candidates
        if kept >= missed and candidate.exists and not candidate.through
        and not candidate.power_lost and not candidate.apart[2]
        and candidate.digest != chosen.digest]
    if not there:
        return chosen
    version = min(candidate.version for candidate in there)
    kept = max(candidate.through for candidate in there)
    oldest = [candidate for candidate in there
              if candidate.version == version]
    if (len({candidate.digest for candidate in oldest}) > 1
            or all(candidate.through < kept for candidate in oldest)):
        return None
    return choose(oldest)


def reach_of(candidate):
    """The epoch up to which the copy has every acknowledged write."""
    return max(candidate.through, candidate.version)


def _rank(candidate):
    reach = reach_of(candidate)
    since, serial, _ = candidate.apart
    return (reach, candidate.through >= reach,
            (since if serial >= 0 else standing.NEVER, serial),
            not candidate.power_lost,
            -candidate.bad,
            -candidate.uncertain, candidate.exists, candidate.version,
            candidate.until, not candidate.is_torn, -candidate.place)
