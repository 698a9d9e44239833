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

"""Which writes a replica has applied that may not be everywhere yet.

Each write carries a token: its origin (the gateway that a client asked) and
the origin's count. Origins declare from time to time below which count all
their writes are on all copies. What is above is *unstable*: when whoever
orders an object changes, its unstable objects are made equal before anyone
reads them. The tokens also tell whether a write that is tried again by
another way was applied before.
"""

COUNT_BITS = 48
COUNT_MASK = (1 << COUNT_BITS) - 1
PRUNE_EVERY = 256
"""Writes to one object between two looks at which of its marks may go."""

KEPT_PER_OBJECT = 16384
"""No more than this of one object: far more than can be under way."""

SWEEP_MIN = 64
SWEEP_SHARE = 8
"""Each declaration looks at so many objects, or this fraction of all."""


class Marks:
    """Tokens by object. Origins are indexes into the members of the view;
    ``renumber`` carries them over into the next view."""

    def __init__(self):
        self._tokens = {}
        self._kept = {}
        self._stable = {}
        self._unswept = []

    def note(self, oid, token):
        """A write was accepted (the hot path)."""
        tokens = self._tokens.get(oid)
        if tokens is None:
            self._tokens[oid] = [token]
            return
        tokens.append(token)
        if not len(tokens) % PRUNE_EVERY:
            self._prune(oid, tokens)

    def _prune(self, oid, tokens):
        live = self._live(tokens)
        if len(live) >= KEPT_PER_OBJECT:
            # An origin whose declarations do not reach us must not make
            # this grow: the oldest half goes, the others still are a mark.
            live = live[KEPT_PER_OBJECT // 2:]
        # (Where all are stable, the next sweep takes the object out.)
        self._tokens[oid] = live

    def _live(self, tokens):
        stable = self._stable
        return [t for t in tokens
                if (t & COUNT_MASK) >= stable.get(t >> COUNT_BITS, 0)]

    def declare_stable(self, origin, count):
        """All writes of ``origin`` below ``count`` are on all copies."""
        if count > self._stable.get(origin, 0):
            self._stable[origin] = count
            self._sweep()

    def _sweep(self):
        """Forget some of the objects that are stable altogether."""
        if not self._unswept:
            self._unswept = list(self._tokens)
        unswept = self._unswept
        for _ in range(max(SWEEP_MIN, len(self._tokens) // SWEEP_SHARE)):
            if not unswept:
                return
            oid = unswept.pop()
            tokens = self._tokens.get(oid)
            if tokens is not None and not self._live(tokens):
                del self._tokens[oid]
                self._kept.pop(oid, None)

    def unstable(self, oid):
        """Tokens of writes that may not be everywhere, oldest first."""
        tokens = self._tokens.get(oid)
        return self._live(tokens) if tokens else []

    def origins(self, oid):
        """The set of the origins of its unstable writes."""
        return {token >> COUNT_BITS for token in self.unstable(oid)}

    def unstable_objects(self):
        """Ids of all objects with such writes, sorted."""
        return sorted(oid for oid, tokens in self._tokens.items()
                      if self._live(tokens))

    def replace(self, oid, tokens, is_settled=False):
        """The object's content, and so its history, comes from another
        replica now. ``is_settled``: it is the same everywhere."""
        self._kept.pop(oid, None)
        if tokens and is_settled:
            self._kept[oid] = frozenset(tokens)
        if tokens:
            self._tokens[oid] = list(tokens)
        else:
            self._tokens.pop(oid, None)

    def forget(self, oid, token):
        """The store refused that write after all."""
        tokens = self._tokens.get(oid)
        if tokens and token in tokens:
            tokens.remove(token)
            if not tokens:
                del self._tokens[oid]

    def was_kept(self, oid, token):
        """That write is in all strips since they were settled."""
        return token in self._kept.get(oid, ())

    def has(self, oid, token):
        return token in self._tokens.get(oid, ())

    def renumber(self, numbers):
        """Origins have new indexes: ``numbers`` maps old to new; those not
        in it are gone, and their tokens with them."""
        def moved(tokens):
            return [(numbers[t >> COUNT_BITS] << COUNT_BITS)
                    | (t & COUNT_MASK)
                    for t in self._live(tokens) if t >> COUNT_BITS in numbers]

        pairs = [(oid, moved(tokens)) for oid, tokens in self._tokens.items()]
        self._tokens = {oid: tokens for oid, tokens in pairs if tokens}
        self._kept = {oid: frozenset(moved(tokens)) for oid, tokens
                      in self._kept.items() if oid in self._tokens}
        self._stable = {numbers[o]: c for o, c in self._stable.items()
                        if o in numbers}

    def clear(self):
        self._tokens.clear()
        self._kept.clear()
        self._stable.clear()
