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

"""Tokens of writes that outlive the view: what a strip remembers of an
update besides its number.

A token (see ``marks``) names the gateway by its place in the view. A lasting
one has a digest of its incarnation there.
"""

import hashlib

from sheepdog.peer import marks

DIGEST_BYTES = 8


class Tokens:
    """Of the view of the day."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._view = None
        self._digests = []
        self._places = {}

    def _look(self):
        view = self.cluster.view
        if view is not self._view:
            self._view = view
            self._digests = [_digest(member.incarnation)
                             for member in view.members] if view else []
            self._places = {digest: place for place, digest
                            in enumerate(self._digests)}

    def lasting(self, token):
        """0: it is of nobody in the view."""
        self._look()
        place = token >> marks.COUNT_BITS
        if place >= len(self._digests):
            return 0
        return (self._digests[place] << marks.COUNT_BITS
                | token & marks.COUNT_MASK)

    def here(self, lasting):
        """The token of today, or None where its gateway is gone."""
        self._look()
        place = self._places.get(lasting >> marks.COUNT_BITS)
        if place is None:
            return None
        return place << marks.COUNT_BITS | lasting & marks.COUNT_MASK


def _digest(incarnation):
    return int.from_bytes(hashlib.blake2b(
        incarnation.encode(), digest_size=DIGEST_BYTES).digest(), 'little')
