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

"""A read that a copy does not answer for long is asked of another one, too.

Who orders an object lets no change overlap a read that it has let in: until
that read has ended, every whole copy has the same answer to it. So the
first one counts; of strips, the first d. When the read is tried anew (it has
left its turn), what the second copy was asked before counts no more.

Nothing is noted when a read begins: one looks from time to time, and who is
there for the second time has waited for long.
"""

from sheepdog.wire import peer as wire

HEDGES_MAX = 64
"""At the same time: where all is slow, asking twice makes it slower."""


class Hedge:
    """The second request for a read; calls it with its answer."""

    __slots__ = ('hedging', 'read', 'attempts', 'tried')

    def __init__(self, hedging, read):
        self.hedging = hedging
        self.read = read
        self.attempts = read.attempts
        self.tried = read.tried

    def __call__(self, error, data=b''):
        self.hedging.answered(self, error, data)

    def remote(self, error, value, aux, payload):
        self.hedging.answered(self, error, payload)


class Hedging:
    """``counters``: ``hedged`` and ``hedge_wins`` are counted there."""

    def __init__(self, reads, turns, replica, counters):
        self.reads = reads
        self.turns = turns
        self.replica = replica
        self.counters = counters
        counters.update(hedged=0, hedge_wins=0)
        self._seen = {}
        self._under_way = {}

    def look(self):
        """Again and again."""
        seen, self._seen = self._seen, {}
        slow = []
        for entries in self.turns.table.values():
            for entry in entries:
                if entry.is_change or entry.blockers or entry.done is None:
                    continue
                key = entry.attempts, entry.tried
                self._seen[entry] = key
                if seen.get(entry) == key:
                    slow.append(entry)
        for read in slow:
            if (len(self._under_way) < HEDGES_MAX
                    and read not in self._under_way):
                self._hedge(read)

    def _hedge(self, read):
        """Ask the copy, or strip, that would be next."""
        route = read.route
        copies = route.copies
        if (route.orderer is not None
                or not self.reads.routes.is_current(route)):
            return
        if route.code is not None:
            self._hedge_strips(read)
            return
        if read.tried + 1 >= len(copies):
            return
        hedge = self._under_way[read] = Hedge(self, read)
        self.counters['hedged'] += 1
        link = copies[read.tried + 1]
        if link is None:
            self.replica.read(route.epoch, read.oid, route.serial,
                              read.offset, read.size, hedge)
        else:
            link.request(wire.READ, 0, route.epoch, read.oid, route.serial,
                         read.offset, read.size, b'', hedge.remote)

    def _hedge_strips(self, read):
        def tell(has_won):
            self._under_way.pop(read, None)
            self.counters['hedge_wins'] += has_won

        self._under_way[read] = read.parts
        if read.parts.hedge(tell):
            self.counters['hedged'] += 1
        else:
            del self._under_way[read]

    def answered(self, hedge, error, data):
        read = hedge.read
        self._under_way.pop(read, None)
        if (error is not None or read.done is None
                or read.attempts != hedge.attempts
                or len(data) != read.size
                or not self.reads.routes.is_current(read.route)):
            # The first request, or the next attempt, will have to do.
            return
        self.counters['hedge_wins'] += 1
        self.reads.end(read, None, data)
