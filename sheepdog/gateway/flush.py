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

"""Which sheep hold writes that are acknowledged but not yet durable.

A flush of a VDI goes to just those: to the replicas this sheep wrote to,
and to the sheep that ordered writes for it, which flush the replicas that
they wrote to.
"""

import asyncio
import itertools
import logging

from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)


class _Chain:
    """Flushes of one kind, by VDI: a later one also waits for the earlier
    ones, which may carry writes that were acknowledged before it came.

    What is noted are groups of incarnations: all that hold some write.
    """

    def __init__(self):
        self.noted = {}
        self._running = {}
        self._carried = []
        """What the flushes under way are for."""

    def note(self, vdi_id, groups):
        noted = self.noted.setdefault(vdi_id, {})
        for group in groups:
            noted[group] = None

    def drop(self, incarnation, view):
        """It holds nothing any more of what was noted. Returns the VDIs
        that this is of interest to."""
        touched = [vdi_id for vdi_id, groups in self.noted.items()
                   if any(incarnation in group for group in groups)]
        for groups in (*self.noted.values(), *self._carried):
            for group in [one for one in groups if incarnation in one]:
                del groups[group]
                left = tuple(one for one in group if one != incarnation)
                # Where nobody else of them is in the view, all had been
                # recovered, and made durable, before it was granted.
                if any(map(view.member, left)):
                    groups[left] = None
        return touched

    async def run(self, vdi_id, flush):
        """``flush(groups)`` for what was noted, behind the others."""
        noted = self.noted.pop(vdi_id, {})
        before = self._running.get(vdi_id)
        if not noted and before is None:
            return
        future = asyncio.get_running_loop().create_future()
        self._running[vdi_id] = future
        flushed = False
        self._carried.append(noted)
        try:
            if noted:
                await flush(noted)
            # (Who waits may be given up: not so the flush it waits for.)
            if before is not None and not await asyncio.shield(before):
                raise errors.NotServing('an earlier flush failed')
            flushed = True
        finally:
            # (By what it is: another may be equal.)
            self._carried = [one for one in self._carried
                             if one is not noted]
            if not flushed:
                # Still to be flushed, by whoever asks next.
                self.note(vdi_id, noted)
            future.set_result(flushed)
            if self._running.get(vdi_id) is future:
                del self._running[vdi_id]


class LostWrites(errors.StorageError):
    """All that held some acknowledged write went away before it was flushed.

    Perhaps they lost power, perhaps not: it is not known to be durable, and
    nobody may say that it is.
    """


class Unflushed:
    """``round`` grows with each flush: a route remembers in which round it
    was noted last, so that the straight way costs one comparison. ``losses``:
    VDI → the ``LostWrites`` that no client was told of yet."""

    def __init__(self, world, cluster, replica, links, routes, counters):
        self.world = world
        self.cluster = cluster
        self.replica = replica
        self.links = links
        self.routes = routes
        self.counters = counters
        self.round = 0
        self.losses = {}
        self._replicas = _Chain()
        self._orderers = _Chain()
        self._lost = {}
        """Incarnation → the last epoch in which it gave up a disk."""

    def note(self, route):
        """A write-back change that went along ``route`` is about to be
        acknowledged. (Not earlier: a flush in between would take the note,
        and perhaps overtake the change.)"""
        route.flush_round = self.round
        if route.orderer is not None:
            self._orderers.note(route.vdi_id, ((route.ordered_by,),))
            return
        members = route.members
        if self._lost:
            # It may have taken the change on the disk that is gone.
            members = tuple(one for one in members
                            if route.epoch > self._lost.get(one, 0))
        if members:
            self._replicas.note(route.vdi_id, (members,))

    def note_everyone(self, vdi_id):
        """A volume was taken over: its client may have writes behind it
        that another gateway acknowledged, and expects its next flush to
        cover them."""
        view = self.cluster.view
        if view is not None:
            self._replicas.note(vdi_id, (
                tuple(m.incarnation for m in view.members),))

    def on_view(self, view):
        """Where one of those that hold some write is gone, let the others
        make it durable now: they may go, too, before a client asks."""
        present = {m.incarnation for m in view.members}
        for vdi_id, groups in self._replicas.noted.items():
            if not all(map(present.issuperset, groups)):
                self.world.spawn(self._flush_ahead(vdi_id), 'flush ahead')

    def on_lost_disk(self, incarnation):
        """A replica has given up a disk: it goes on, and answers, but what
        it had is durable only where the other copies are made so."""
        view = self.cluster.view
        self._lost[incarnation] = view.epoch
        for vdi_id in self._replicas.drop(incarnation, view):
            self.world.spawn(self._flush_ahead(vdi_id), 'flush ahead')

    async def _flush_ahead(self, vdi_id):
        try:
            await self.flush_replicas(vdi_id)
        except errors.SheepdogError as error:
            # It is noted still.
            LOG.info('VDI %06x: not flushed ahead: %s', vdi_id, error)

    def tell_loss(self, vdi_id):
        """Once, as fsync does it: what is lost stays so.

        :raises LostWrites:
        """
        if vdi_id in self.losses:
            raise self.losses.pop(vdi_id)

    def forget(self):
        self._replicas.noted.clear()
        self._orderers.noted.clear()
        self._lost.clear()

    async def flush(self, vdi_id):
        """Returns once all changes of the VDI that were acknowledged to our
        clients before the call are durable.

        :raises SheepdogError: NotServing: this sheep lost its place;
            LostWrites: told once
        """
        self.counters['flush'] += 1
        await self.flush_replicas(vdi_id)
        await self._orderers.run(vdi_id, lambda groups: self._all(
            vdi_id, wire.ORDER_FLUSH, groups))
        self.tell_loss(vdi_id)

    async def flush_replicas(self, vdi_id):
        """Only what went from this sheep straight to replicas. (Not on to
        orderers: two sheep may have ordered for each other.)"""
        self.round += 1
        await self._replicas.run(vdi_id, lambda groups: self._all(
            vdi_id, wire.FLUSH, groups))

    async def _all(self, vdi_id, opcode, groups):
        identity = self.cluster.incarnation
        left = list(dict.fromkeys(itertools.chain(*groups)))
        flushed = set()
        attempts = 0
        while left:
            view = self.cluster.view
            if self.cluster.incarnation != identity or view is None:
                raise errors.NotServing('this sheep lost its place')
            if opcode == wire.ORDER_FLUSH and any(
                    view.member(i) is None for i in left):
                # Who ordered is gone, and with it the knowledge of where
                # its writes went: flush everywhere.
                opcode, groups = wire.FLUSH, ()
                left = [m.incarnation for m in view.members]
            # A replica that left the view is no copy any more; what takes
            # its place was made durable by recovery.
            members = [m for m in map(view.member, left) if m is not None]
            results = await asyncio.gather(
                *(self._one(vdi_id, opcode, m) for m in members))
            flushed.update(m.incarnation for m, is_flushed
                           in zip(members, results) if is_flushed)
            left = [m.incarnation for m in members
                    if m.incarnation not in flushed]
            if left:
                attempts += 1
                await self.routes.pause(attempts)
        if not all(map(flushed.intersection, groups)):
            self.losses[vdi_id] = LostWrites(
                'VDI %06x: all sheep that held some of its writes went away '
                'before they were flushed: they may be lost' % vdi_id)
            LOG.error('%s', self.losses[vdi_id])

    async def _one(self, vdi_id, opcode, member):
        try:
            if member.incarnation == self.cluster.incarnation:
                if opcode == wire.FLUSH:
                    await self._local()
                else:
                    await self.flush_replicas(vdi_id)
            else:
                await self.links.data(member).call(
                    opcode, oid=ids.vdi_oid(vdi_id))
        except errors.SheepdogError as exc:
            if not exc.retry:
                raise
            return False
        return True

    async def _local(self):
        future, done = operation.future()
        self.replica.flush(done)
        await future
