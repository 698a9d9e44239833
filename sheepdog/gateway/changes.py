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

"""Writes, zeroes and removals: one order, all copies, never abandoned.

Every change that this sheep orders has a place among the turns of its object
until it ends, over all attempts. What overlaps it waits, so no two
overlapping changes run at once and no read sees one half done.
"""

import asyncio
import logging

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.peer import answers
from sheepdog.peer import marks
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

ORDER_OF = {wire.WRITE: wire.ORDER_WRITE, wire.ZERO: wire.ORDER_ZERO,
            wire.REMOVE: wire.ORDER_REMOVE}

GIVEN_UP_SECONDS = 30.0
"""Longer than any member of the view may take to hear of an event."""


def _may_be_there(change, error):
    """All refuse it now; has one of them taken it in an earlier attempt?"""
    return bool(change.attempts) and isinstance(
        error, (errors.NoSpace, errors.StorageError))


class Changes:
    """``mine``: the changes that our own clients asked for, by count,
    oldest first; ``turns`` have those that we order."""

    def __init__(self, world, cluster, replica, routes, turns, unflushed,
                 counters, failures):
        self.world = world
        self.cluster = cluster
        self.replica = replica
        self.routes = routes
        self.turns = turns
        self.unflushed = unflushed
        self.counters = counters
        self.failures = failures
        self.mine = {}
        self.coded = None
        """A ``coded.Coded``: for what is kept in strips."""
        self._count = 0
        self._index = 0
        self._places = {}

    @property
    def count(self):
        """Of the last change that was entered."""
        return self._count

    # -- the straight way -----------------------------------------------

    def enter(self, change):
        """A client of ours wants this."""
        self._count = count = self._count + 1
        change.count = count
        self.mine[count] = change
        self.submit(change)

    def submit(self, change):
        """Queue it, or send it to who orders the object."""
        oid = change.oid
        routes = self.routes
        route = routes.known.get(oid)
        if route is None or change.copies:
            route = routes.find(oid, change.copies)
        if route is None or not self.cluster.serving():
            if change.origin is None:
                self.later(change)
            else:
                self.end(change, errors.NotServing('the view changes'))
            return
        if route.lacks and self._is_new(change):
            self.end(change, route.halted())
            return
        if route.orderer is not None:
            if change.origin is None:
                self._send_on(change, route)
            else:
                # Who asked us asks the right one itself.
                self.end(change, errors.StaleOrder('ordered elsewhere'))
            return
        if route.code is not None and change.coded is None:
            self.coded.widen(change)
        table = self.turns.table
        if oid not in table:
            # As ``Turns.take`` does it.
            table[oid] = [change]
        elif not self.turns.take(change):
            return
        if change.elsewhere:
            self._go(change, route)
        else:
            self._start(change, route)

    def begin(self, change):
        """It is its turn now."""
        if change.done is None:
            self.turns.leave(change)
            return
        route = self.routes.find(change.oid, change.copies)
        if route is None or not self.cluster.serving():
            self.later(change)
        else:
            self._go(change, route)

    def _go(self, change, route):
        """It has a place among the turns, and nothing is in its way."""
        if not change.is_begun and self._is_orphan(change):
            # Who asked for it is dead, and no copy has it from us.
            self.end(change, errors.NotServing('its gateway is gone'))
        elif route.lacks and self._is_new(change):
            self.end(change, route.halted())
        elif route.orderer is None and not change.has_lost:
            if change.elsewhere:
                change.route = route
                self.world.spawn(self._unless_applied(change),
                                 'look for an earlier attempt')
            else:
                self._start(change, route)
        elif change.origin is not None:
            # Who asked us asks the new orderer itself; or is dead, and
            # then the copies were made equal when the orderer changed.
            self.end(change, errors.StaleOrder('ordered elsewhere now'))
        else:
            # It may have been applied, and other changes behind it since.
            change.elsewhere = change.elsewhere or change.is_begun
            change.is_begun = change.has_lost = False
            if change.coded is not None:
                self.coded.lose(change)
            self.turns.leave(change)
            self.submit(change)

    def is_member(self, incarnation):
        return incarnation in self._places

    @staticmethod
    def _is_new(change):
        """No copy can have it: so it may still be refused."""
        return not change.is_begun and not change.elsewhere

    def _is_orphan(self, change):
        return change.origin is not None and (
            change.origin not in self._places)

    def _start(self, change, route):
        """To all copies at once."""
        if route.code is not None:
            self.coded.start(change, route)
            return
        change.route = route
        change.is_begun = True
        change.failures = None
        # One more than the copies: no answer that comes at once may end
        # the attempt before all of it is sent.
        change.pending = route.size + 1
        durable = change.durable
        token = self.token(change)
        oid = change.oid
        kind = change.kind
        flags = change.flags()
        for link in route.links:
            link.request(kind, flags, route.epoch, oid, token, change.offset,
                         route.aux, change.data, change)
        if route.is_local:
            if kind == wire.WRITE:
                self.replica.write(route.epoch, oid, token, route.aux,
                                   change.offset, change.data, durable,
                                   change.create, change)
            elif kind == wire.ZERO:
                self.replica.zero(route.epoch, oid, token, route.aux,
                                  change.offset, change.end - change.offset,
                                  durable, change)
            else:
                self.replica.remove(route.epoch, oid, token, route.aux,
                                    durable, change)
        change(None)

    def token(self, change):
        if change.origin is None:
            return self._index << marks.COUNT_BITS | change.count
        place = self._places.get(change.origin)
        if place is None:
            # The gateway it came from is gone; we have begun it, so it is
            # ours to bring to its end.
            change.origin = None
            self._count = change.count = self._count + 1
            self.mine[change.count] = change
            return self._index << marks.COUNT_BITS | change.count
        return place << marks.COUNT_BITS | change.count

    def _send_on(self, change, route):
        """To who orders the object."""
        change.route = route
        change.failures = None
        change.pending = 1
        flags = change.flags()
        # From now on it may have been applied by that way.
        change.elsewhere = True
        route.orderer.request(
            ORDER_OF[change.kind], flags, route.epoch, change.oid,
            self.token(change), change.offset if change.coded is None
            else change.coded.offset, change.copies | route.serial << 8,
            change.data, change)

    def attempted(self, change):
        """All copies (or who orders it) have answered."""
        if change.done is None:
            return
        failures = change.failures
        if failures is not None and change.kind == wire.REMOVE:
            failures = self._unremoved(change, failures)
        if not failures:
            if change.coded is not None and change.route.orderer is None:
                if not self.coded.is_complete(change):
                    self.coded.settle(change)
                    self.later(change)
                    return
                if self.coded.goes_on(change):
                    return
            self.end(change, None)
            return
        for error in failures:
            if error.retry:
                self.later(change)
                return
        error = failures[0]
        if isinstance(error, errors.NoRoom):
            # The rest is our affair.
            error = errors.NoSpace(str(error))
        if change.route.orderer is not None or (
                len(failures) == change.route.size
                and len({type(e) for e in failures}) == 1
                and not _may_be_there(change, error)):
            # Refused by all of them alike: nothing was changed.
            self.end(change, error)
        elif all(isinstance(e, errors.NoRoom) for e in failures):
            # Who has refused is not whole, and follows the others, who
            # are equal. (Were they to take it back, they would have nobody
            # to follow.)
            if change.coded is not None and not self.coded.is_complete(
                    change):
                self.coded.settle(change)
                self.later(change)
            else:
                self.end(change, error)
        else:
            self.world.spawn(self._take_back(change, error),
                             'take back a refused write')

    def _unremoved(self, change, failures):
        """Without those that say it is gone, if that was our doing; nor
        does who has no room for a strip keep one."""
        is_some = len(failures) < change.route.size
        if change.coded is not None:
            failures = [error for error in failures
                        if not isinstance(error, errors.NoRoom)]
        if change.attempts or (change.route.orderer is None and is_some):
            return [error for error in failures
                    if not isinstance(error, errors.NoObject)]
        return failures

    def end(self, change, error):
        if change.origin is None:
            self.mine.pop(change.count, None)
        if error is None and change.route.lacks:
            # A zone went while it was under way: it is on all copies that
            # there are, and on fewer than may be called success.
            error = change.route.halted()
        if change.coded is not None:
            self.coded.ended(change)
            # Each knows the other: nothing would free their bytes but the
            # collector, which counts objects and not their size.
            change.coded = None
        if error is None:
            if not change.durable:
                route = change.route
                if route.flush_round != self.unflushed.round:
                    self.unflushed.note(route)
        elif change.origin is None:
            self.failures.note(change, error)
        done, change.done = change.done, None
        self.turns.leave(change)
        if done is not None:
            done(error)

    # -- the long ways --------------------------------------------------

    def later(self, change):
        """Try again; what has a place among the turns keeps it."""
        self.counters['retries'] += 1
        self.routes.forget(change.oid)
        change.attempts += 1
        self.world.spawn(self._again(change), 'try a change again')

    async def _again(self, change):
        await self.routes.pause(change.attempts)
        while change.done is not None:
            route = self.routes.find(change.oid, change.copies)
            if route is not None and self.cluster.serving():
                break
            change.attempts += 1
            await self.routes.pause(change.attempts)
        if change.done is None:
            return
        if self.turns.holds(change):
            self._go(change, route)
        else:
            self.submit(change)

    async def _unless_applied(self, change):
        """It was sent before, by another way: look into a whole copy
        whether it got there. A write must not be applied twice, or it could
        come back over what was written after it."""
        route = change.route
        try:
            applied = await self._was_applied(change, route)
        except errors.SheepdogError as exc:
            LOG.debug('looking for an earlier attempt: %s', exc)
            applied = None
        if change.done is None:
            return
        if applied is None or not self.routes.is_current(route):
            self.later(change)
        elif applied:
            self.end(change, None)
        else:
            # From here on we are the only way it takes.
            change.elsewhere = False
            self._start(change, route)

    async def _was_applied(self, change, route):
        """None: not to be told just now."""
        if route.is_local:
            try:
                return await self._was_applied_here(change, route)
            except errors.NoRoom:
                if not route.links:
                    raise
        for link in route.links:
            try:
                await link.call(wire.RECOVER, epoch=route.epoch,
                                oid=change.oid)
            except errors.NoRoom:
                # The others have gone on without it.
                continue
            _, _, payload = await link.call(wire.STATE, epoch=route.epoch,
                                            oid=change.oid)
            state = answers.unpack_state(payload)
            if not state['clean'] or state['serial'] != route.serial or (
                    not self.routes.is_current(route)):
                return None
            return self.token(change) in state['marks']
        return None

    async def _was_applied_here(self, change, route):
        guard = self.replica.guard
        if guard.active and guard.needs(change.oid):
            await guard.ensure(change.oid)
            if guard.needs(change.oid):
                return None
        return self.routes.is_current(route) and self.replica.marks.has(
            change.oid, self.token(change))

    async def _take_back(self, change, error):
        """Some copies took what others refused (no space, say): those that
        took it make themselves like the others, before anyone reads."""
        route = change.route
        token = self.token(change)
        left = list(route.links)
        if route.is_local and self.replica.epoch == route.epoch:
            self.replica.doubt_if_applied(change.oid, token)
        attempts = 0
        while left and change.done is not None and (
                self.routes.is_current(route)):
            for link in list(left):
                try:
                    await link.call(wire.DOUBT, epoch=route.epoch,
                                    oid=change.oid, token=token)
                    left.remove(link)
                except errors.SheepdogError as exc:
                    LOG.debug('%s:%s: %s', *link.address, exc)
            if left:
                attempts += 1
                await self.routes.pause(attempts)
        if left and change.done is not None:
            # The view changed first: some copies may still differ. Have it
            # tried on all of them once more.
            self.later(change)
        else:
            self.end(change, error)

    # -- changes of the cluster -----------------------------------------

    def take_view(self, view):
        """Count under the indexes of a new view."""
        self._places = {m.incarnation: i for i, m in enumerate(view.members)}
        self._index = self._places.get(self.cluster.incarnation, 0)

    def complete_below(self):
        """``(our index, count)``: all our changes below are everywhere."""
        return self._index, next(iter(self.mine), self._count + 1)

    def review(self):
        """The view or a lock has changed: note what we order no more, even
        if only for a while."""
        order = self.routes.order
        ours = self.cluster.incarnation
        for oid, entries in self.turns.table.items():
            for entry in entries:
                if entry.is_change and order.orderer(
                        oid, entry.copies) != ours:
                    entry.has_lost = True

    def is_changing(self, vdi_id):
        """One of our clients' changes of that VDI has not ended."""
        return any(ids.vdi_of(change.oid) == vdi_id
                   for change in self.mine.values()
                   if change.done is not None)

    def abandon_vdi(self, vdi_id, error, is_concerned=lambda change: True):
        """The lock of a VDI was taken from us: end what our clients have
        under way there. Whoever gets the lock must not see it come later.
        (What of it reached some copies only is doubtful there.)"""
        under_way = [change for change in self.mine.values()
                     if ids.vdi_of(change.oid) == vdi_id
                     and change.done is not None and is_concerned(change)]
        for change in under_way:
            change.abandon(error)
        for change in under_way:
            if not change.blockers:
                self.turns.leave(change)
        if under_way:
            self.world.spawn(self._let_go(under_way), 'forget given up')

    async def _let_go(self, changes):
        # Not before all replicas know of the lock: until then they must not
        # take for complete what they have of them.
        await asyncio.sleep(GIVEN_UP_SECONDS)
        for change in changes:
            self.mine.pop(change.count, None)

    def abandon(self, error):
        """End everything under way; outcomes are unknown."""
        under_way = list(self.mine.values())
        self.mine = {}
        self.coded.forget()
        for entry in under_way + self.turns.clear():
            entry.abandon(error)
