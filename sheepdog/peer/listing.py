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

"""What LIST answers: ids of objects that are here, for who asks.

At each change of the view all members ask each other. Where there are a
thousand of them, with a quarter of a million objects each, nobody could take
in all the lists: so who asks is told only of objects of which it is a target
itself. They are told apart for all that will ask, at once.
"""

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.peer import answers
from sheepdog.placement import moves

KEPT_SECONDS = 3.0
"""How old an answer may be. What comes to be in a view is written by all its
targets, so nobody has to find it in the list of another: but who has lost it
again."""

COPIES_MAX = 2 * limits.COPIES_MAX


class Listing:
    def __init__(self, clock, store, order):
        self._clock = clock
        self._store = store
        self._order = order
        self._shares = {}
        self._view = None
        self._until = 0.0

    def answer(self, incarnation: str, copies: int,
               is_now: bool = False) -> bytes:
        """
        :param incarnation: who asks
        :param copies: the most that any object may have, as far as it
            knows; 0: it wants all ids
        :param is_now: not what was told a moment ago
        :raises InvalidParameters: there are never so many
        """
        if not copies:
            return answers.pack_list(
                ids.objects_of(self._store.oids()))
        if copies > COPIES_MAX:
            raise errors.InvalidParameters('LIST for %d copies' % copies)
        ring = self._order.ring
        now = self._clock.monotonic()
        if ring.view is not self._view or now >= self._until or is_now:
            self._view = ring.view
            self._until = now + KEPT_SECONDS
            self._shares = {}
            self._indexes = {member.incarnation: index for index, member
                             in enumerate(ring.view.members)}
        shares = self._shares.get(copies)
        if shares is None:
            shares = self._shares[copies] = moves.Shares(
                ring, numpy.array(ids.objects_of(self._store.oids()),
                                  dtype=numpy.uint64),
                copies)
        index = self._indexes.get(incarnation)
        return b'' if index is None else answers.pack_list(shares.of(index))
