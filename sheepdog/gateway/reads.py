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

"""Reads: from the nearest copy that is whole and not slow, after the changes
they overlap."""

from sheepdog.model import errors
from sheepdog.wire import peer as wire


class Reads:
    """``under_way``: what our own clients asked for."""

    def __init__(self, world, cluster, replica, routes, turns, counters,
                 failures):
        self.world = world
        self.cluster = cluster
        self.replica = replica
        self.routes = routes
        self.turns = turns
        self.counters = counters
        self.failures = failures
        self.under_way = {}
        self.coded = None

    def enter(self, read):
        """A client of ours wants this."""
        self.under_way[read] = None
        self.submit(read)

    def submit(self, read):
        oid = read.oid
        routes = self.routes
        route = routes.known.get(oid) or routes.find(oid)
        if route is None or not self.cluster.serving():
            self.later(read)
            return
        read.route = route
        if route.orderer is not None:
            if read.origin is not None:
                self.end(read, errors.StaleOrder('ordered elsewhere'), b'')
                return
            route.orderer.request(wire.ORDER_READ, 0, route.epoch, oid, 0,
                                  read.offset, read.size, b'', read.answered)
            return
        table = self.turns.table
        if oid not in table:
            # As ``Turns.take`` does it.
            table[oid] = [read]
        elif not self.turns.take(read):
            return
        read.tried = 0
        read.bad = None
        self._next(read)

    def begin(self, read):
        """It is its turn now."""
        if read.done is None:
            self.turns.leave(read)
            return
        if not self.routes.is_current(read.route):
            self.later(read)
            return
        read.tried = 0
        read.bad = None
        self._next(read)

    def _next(self, read):
        """Ask the copy whose turn it is."""
        route = read.route
        if route.code is not None:
            self.coded.read(read)
            return
        link = route.copies[read.tried]
        if link is None:
            self.replica.read(route.epoch, read.oid, route.serial,
                              read.offset, read.size, read)
            return
        link.request(
            wire.READ, 0, route.epoch, read.oid, route.serial, read.offset,
            read.size, b'', read.answered)

    def attempted(self, read, error, data):
        """A copy, or who orders the object, has answered."""
        if read.done is None:
            return
        route = read.route
        if not self.routes.is_current(route):
            self.later(read)
        elif error is None:
            if len(data) == read.size:
                self.end(read, None, data)
            else:
                self.later(read)
        elif route.orderer is not None:
            if error.retry:
                self.later(read)
            else:
                self.end(read, error, b'')
        elif error.retry or isinstance(error, errors.StorageError):
            self._elsewhere(read, error)
        else:
            self.end(read, error, b'')

    def _elsewhere(self, read, error):
        """This copy is bad, not whole, or out of reach: ask the next one."""
        if error.retry:
            read.unsure = True
        else:
            read.bad = error
        read.tried += 1
        if read.tried < read.route.size:
            self._next(read)
        elif read.bad is not None and not read.unsure:
            # Every copy has answered, and none is good.
            self.end(read, read.bad, b'')
        else:
            self.later(read)

    def later(self, read):
        self.turns.leave(read)
        self.routes.forget(read.oid)
        read.attempts += 1
        read.unsure = False
        self.counters['retries'] += 1
        self.world.spawn(self._again(read), 'try a read again')

    async def _again(self, read):
        await self.routes.pause(read.attempts)
        if read.done is not None:
            self.submit(read)

    def end(self, read, error, data=b''):
        self.under_way.pop(read, None)
        if error is not None and read.origin is None:
            self.failures.note(read, error)
        done, read.done = read.done, None
        self.turns.leave(read)
        done(error, data)

    def give_up(self, read):
        """Who asked for it does not wait any more."""
        self.under_way.pop(read, None)
        read.done = None
        if not read.blockers:
            # (Else its turn comes first.)
            self.turns.leave(read)

    def abandon(self, error):
        under_way, self.under_way = self.under_way, {}
        for read in under_way:
            read.abandon(error)
