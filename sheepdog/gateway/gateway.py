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

"""The room's face: changes and reads of objects, whole and in one order.

Who orders an object (see ``peer.order``) lets no two overlapping changes run
at once and lets a read wait for the changes it overlaps: an unfinished write
is never seen, and all copies apply writes in one order. Who does not order
it sends the request on. A change that was begun is tried again, across
epochs, until all copies have it or this sheep's identity dies.
"""

import asyncio
from typing import Callable, Coroutine, Optional, Protocol

from sheepdog.cluster import family
from sheepdog.gateway import changes
from sheepdog.gateway import coded
from sheepdog.gateway import failures
from sheepdog.gateway import flush
from sheepdog.gateway import hedging
from sheepdog.gateway import operation
from sheepdog.gateway import reads
from sheepdog.gateway import routes
from sheepdog.gateway import turns
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.peer import answers
from sheepdog.peer import marks
from sheepdog.peer import strips
from sheepdog.wire import peer as wire

STABLE_SECONDS = 0.1
DECLARE_SECONDS = 2.0
FINISH_PAUSE_SECONDS = 0.01
WHOLE_OBJECT = 1 << 32


class Timing(Protocol):
    """Takes the time of some requests. Each function returns what is to be
    used in the place of what it is given."""

    def of_read(self, done: Callable, size: int) -> Callable: ...

    def of_write(self, done: Callable, size: int,
                 durable: bool) -> Callable: ...

    def of_flush(self, flush: Coroutine) -> Coroutine: ...


class Gateway:
    """Also a ``ClusterListener``. ``done`` callbacks are called exactly
    once, in the loop, perhaps before the call returns. ``timing`` is None
    but for moments (see ``waits``)."""

    def __init__(self, world, cluster, replica, links, order):
        self.world = world
        self.cluster = cluster
        self.replica = replica
        self.links = links
        self.order = order
        self.counters = {'write': 0, 'read': 0, 'remove': 0, 'flush': 0,
                         'bytes_written': 0, 'bytes_read': 0, 'retries': 0}
        self.routes = routes.Routes(cluster, replica, links, order)
        self.unflushed = flush.Unflushed(world, cluster, replica, links,
                                         self.routes, self.counters)
        self.turns = turns.Turns()
        told = failures.Failures(world.clock, cluster)
        self.changes = changes.Changes(world, cluster, replica, self.routes,
                                       self.turns, self.unflushed,
                                       self.counters, told)
        self.reads = reads.Reads(world, cluster, replica, self.routes,
                                 self.turns, self.counters, told)
        self.hedging = hedging.Hedging(self.reads, self.turns, replica,
                                       self.counters)
        self.coded = coded.Coded(world, self.routes, self.changes,
                                 self.reads, strips.Strips(replica))
        self.changes.coded = self.reads.coded = self.coded
        self.timing: Optional[Timing] = None
        self._declared = None

    # -- requests -------------------------------------------------------

    def write(self, oid, offset, data, done, durable=True, create=False,
              copies=0):
        """Write bytes into an object; ``done(error)`` once all copies have
        it (on disk where ``durable``). ``create``: where it does not exist
        it is created, zero-filled; else NoObject. ``copies`` is for objects
        of a VDI that is not in the catalogue yet."""
        counters = self.counters
        counters['write'] += 1
        counters['bytes_written'] += len(data)
        if self.timing is not None:
            done = self.timing.of_write(done, len(data), durable)
        if len(data) > coded.ALWAYS_ONE_BYTES:
            pieces = self.coded.pieces(oid, offset, len(data), False)
            if len(pieces) > 1:
                self._write_pieces(oid, offset, data, durable, create,
                                   pieces, done)
                return
        self.changes.enter(operation.Change(
            self.changes, wire.WRITE, oid, offset, offset + len(data), data,
            durable, create, copies, done))

    def _write_pieces(self, oid, offset, data, durable, create, pieces,
                      done):
        joined = operation.Joined(len(pieces), done)
        view = memoryview(data)
        for low, size in pieces:
            start = low - offset
            self.changes.enter(operation.Change(
                self.changes, wire.WRITE, oid, low, low + size,
                bytes(view[start:start + size]), durable, create, 0, joined))

    def zero(self, oid, offset, size, done, durable=True):
        """Make a range zero, giving its blocks back."""
        self.counters['write'] += 1
        pieces = self.coded.pieces(oid, offset, size, True)
        if len(pieces) > 1:
            done = operation.Joined(len(pieces), done)
        for low, length in pieces or ((offset, size),):
            self.changes.enter(operation.Change(
                self.changes, wire.ZERO, oid, low, low + length,
                length.to_bytes(4, 'little'), durable, False, 0, done))

    def remove(self, oid, done, durable=True):
        self.counters['remove'] += 1
        self.changes.enter(operation.Change(
            self.changes, wire.REMOVE, oid, 0, WHOLE_OBJECT, b'', durable,
            False, 0, done))

    def read(self, oid, offset, size, done):
        """``done(error, data)``; exactly ``size`` bytes. Returns the
        ``operation.Read``."""
        counters = self.counters
        counters['read'] += 1
        counters['bytes_read'] += size
        if self.timing is not None:
            done = self.timing.of_read(done, size)
        read = operation.Read(self.reads, oid, offset, size, done)
        self.reads.enter(read)
        return read

    async def flush(self, vdi_id):
        """Make durable what was acknowledged without being so.

        :raises SheepdogError: NotServing: this sheep lost its place
        """
        timing = self.timing
        if timing is None:
            await self.unflushed.flush(vdi_id)
        else:
            await timing.of_flush(self.unflushed.flush(vdi_id))

    async def finish(self, vdi_id):
        """Returns when none of our clients' changes of a VDI is under way
        any more. Before its lock is freed: one that came to its end after
        that would come over what the next owner writes."""
        while self.changes.is_changing(vdi_id):
            await asyncio.sleep(FINISH_PAUSE_SECONDS)

    def under_way(self, vdi_id):
        """What our clients have asked of a VDI's objects; ``done`` of one
        that has ended is None."""
        return [request for request in (*self.changes.mine.values(),
                                        *self.reads.under_way)
                if ids.vdi_of(request.oid) == vdi_id]

    async def extents(self, oid):
        """``[(offset, size), …]`` of the blocks that are not zero.

        :raises SheepdogError: NoObject
        """
        attempts = 0
        while True:
            try:
                return await self._extents(oid, attempts)
            except errors.SheepdogError as exc:
                if not exc.retry:
                    raise
            attempts += 1
            await self.routes.pause(attempts)

    async def _extents(self, oid, attempts):
        route = self.routes.find(oid)
        if route is None:
            raise errors.NotServing('there is no view')
        if route.code is not None:
            return await self.coded.extents(oid, route)
        guard = self.replica.guard
        if route.is_local and not (guard.active and guard.needs(oid)):
            extents = await self.replica.store.extents(oid)
            if not self.routes.is_current(route):
                raise errors.StaleEpoch('the view changed meanwhile')
            return extents
        if not route.links:
            await guard.ensure(oid)
            raise errors.NotRecovered('just now it was not whole')
        link = route.links[attempts % len(route.links)]
        _, _, payload = await link.call(
            wire.EXTENTS, epoch=route.epoch, oid=oid)
        return answers.unpack_extents(payload)

    # -- the same, to be awaited ----------------------------------------

    async def write_wait(self, oid, offset, data, durable=True, create=False,
                         copies=0):
        future, done = operation.future()
        self.write(oid, offset, data, done, durable, create, copies)
        await future

    async def zero_wait(self, oid, offset, size, durable=True):
        future, done = operation.future()
        self.zero(oid, offset, size, done, durable)
        await future

    async def remove_wait(self, oid, durable=True):
        future, done = operation.future()
        self.remove(oid, done, durable)
        await future

    async def read_wait(self, oid, offset, size):
        """May be cancelled: then nothing of it is left."""
        future, done = operation.future()
        read = self.read(oid, offset, size, done)
        try:
            return await future
        except asyncio.CancelledError:
            self.reads.give_up(read)
            raise

    # -- changes of the cluster -----------------------------------------

    def demote(self, slow):
        """Copies of these incarnations are read last."""
        self.routes.slow = slow
        self.routes.change()

    def on_freeze(self):
        self.routes.change()

    def on_view(self, old, new, cold):
        self.changes.take_view(new)
        self.changes.review()
        self.links.keep_only({m.incarnation for m in new.members})
        self.routes.change()
        self.unflushed.on_view(new)

    def on_event(self, event):
        if event['kind'] == 'format':
            # What is under way was meant for VDIs that are no more: tried
            # again, it would get into new ones of the same names.
            self.abandon(errors.NotServing('the cluster was formatted'))
            self.unflushed.losses.clear()
        elif event['kind'] == 'forgo' and event['lost']:
            self.unflushed.on_lost_disk(event['incarnation'])
        # Locks decide who orders, VDI entries how many copies there are.
        if family.relocked(event):
            self.changes.review()
        self.routes.change()

    def on_lapse(self):
        self.abandon(errors.NotServing(
            'this sheep lost its place in the cluster'))
        self.links.keep_only(())

    def on_shutdown(self):
        self.abandon(errors.ShuttingDown('the cluster shuts down'))

    def abandon_vdi(self, vdi_id, error):
        """End our clients' changes of a VDI whose lock was taken from us;
        their outcomes are unknown."""
        self.changes.abandon_vdi(vdi_id, error)

    def abandon_content(self, vdi_id, error):
        """…of its data, and of the map of it."""
        self.changes.abandon_vdi(vdi_id, error, lambda change: (
            change.end > inode.MAP_OFFSET if ids.is_vdi(change.oid)
            else ids.is_data(change.oid)))

    def abandon(self, error):
        """End everything under way; outcomes of changes are unknown."""
        self.unflushed.forget()
        self.changes.abandon(error)
        self.reads.abandon(error)
        self.routes.change()

    async def declare_forever(self):
        """Tell the replicas from time to time which of our changes are on
        all copies (see ``peer.marks``)."""
        while True:
            await asyncio.sleep(STABLE_SECONDS)
            self._declare()

    def _declare(self):
        epoch = self.replica.epoch
        index, below = self.changes.complete_below()
        if epoch >= 0:
            self.coded.declare(epoch, self.links.ready())
        if epoch < 0 or (epoch, below) == self._declared:
            return
        self._declared = epoch, below
        self.replica.marks.declare_stable(index, below)
        for link in self.links.ready():
            link.tell(wire.STABLE, epoch, index << marks.COUNT_BITS | below)

    async def declare_now(self):
        """As ``declare_forever``; returns when all replicas have heard it.
        Before a lock is freed, so that nothing complete is doubted."""
        # Those we never spoke to have writes of ours from who orders them.
        await self._knock([link for link in self.links.made()
                           if not link.is_ready])
        # Once more: it may have come when a replica was at another epoch.
        self._declared = None
        self._declare()
        # Behind the declaration on the same links; asks for nothing else.
        await self._knock(self.links.ready())

    async def _knock(self, links):
        await asyncio.gather(*(
            link.call(wire.FLUSH, timeout=DECLARE_SECONDS)
            for link in links), return_exceptions=True)

    @property
    def inflight(self):
        return len(self.changes.mine) + len(self.reads.under_way)
