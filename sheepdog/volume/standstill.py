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


"""Holds back all who write a VDI, on each sheep, while a snapshot is made.

Whoever makes the snapshot asks each sheep that has the VDI open, in one
order of VDIs and sheep, so two who do so never wait for each other. Each
answers when nothing of its clients is under way any more and all is durable;
its clients go on when the VDI that is to follow has been made, or given up,
and all members know that.

Nobody depends on the maker to say so: what counts is the state. Who has
waited for too long gives up the VDI that was to follow, by an event: then
no snapshot comes of it, or it did before.
"""

import asyncio

from sheepdog.cluster import api
from sheepdog.cluster import family
from sheepdog.gateway import flush as flush_module
from sheepdog.gateway import operation
from sheepdog.model import errors

PATIENCE_SECONDS = 20.0
"""So long clients' writes may wait until the event is asked for; then they
go on, and there is no snapshot."""

RETRY_SECONDS = 0.5
TAKE_SECONDS = 0.02


class Standstill:
    """Also a ``ClusterListener``. ``ask(member, method, arguments,
    timeout)``: of another sheep; given by ``wiring``."""

    def __init__(self, world, cluster, gateway, volumes):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway
        self.volumes = volumes
        self.ask = None
        self._released = {}
        self._changed = asyncio.Event()

    # -- for who makes a snapshot ---------------------------------------

    async def hold_all(self, vdi_id, follower):
        """Nobody writes to the VDI from then on, until ``release`` of the
        ``follower`` (or that is given up). Returns the lock's serial.

        :raises VdiLocked: somebody opens or closes it: try again
        :raises SheepdogError:
        """
        own = self.cluster.incarnation
        owners = owners_of(self.cluster.state, vdi_id)
        serials = set()
        for owner in sorted(owners) or [own]:
            if not owners:
                held = await self._take(vdi_id, follower)
            elif owner == own:
                held = await self.hold(vdi_id, follower, own)
            else:
                member = self.cluster.view.member(owner)
                if member is None:
                    raise errors.VdiLocked('who has VDI %06x open is gone: '
                                           'try again' % vdi_id)
                held = await self.ask(member, 'vdi.hold', {
                    'vdi_id': vdi_id, 'follower': follower, 'maker': own},
                    PATIENCE_SECONDS)
            serials.add(held['serial'])
        state = self.cluster.state
        lock, serial = state.locks.get(vdi_id), state.fences.get(vdi_id, 0)
        if serials != {serial} or lock is None or (
                set(lock.owners) != set(owners or [own])):
            raise errors.VdiLocked('VDI %06x was opened or closed meanwhile: '
                                   'try again' % vdi_id)
        return serial

    async def _take(self, vdi_id, follower):
        """…of a VDI that nobody has open; somebody else may be about to make
        a snapshot of it."""
        while True:
            try:
                return await self.hold(vdi_id, follower,
                                       self.cluster.incarnation, True)
            except errors.VdiLocked:
                state = self.cluster.state
                if owners_of(state, vdi_id):
                    raise
                family.check_source(family.living(state, vdi_id))
            await asyncio.sleep(TAKE_SECONDS)

    def release(self, follower):
        """The follower is made, and all know it; or it was given up."""
        released = self._released.get(follower)
        if released is not None:
            released.set()

    # -- for who has it open --------------------------------------------

    async def hold(self, vdi_id, follower, maker, may_take=False):
        """Our clients wait from now on. Returns a dict: ``serial``.

        :param may_take: nobody has it open: take its lock
        :raises ReadOnly: it is a snapshot by now
        :raises NoVdi: it is gone, or the ``follower``
        :raises VdiNotLocked: we do not have it open
        """
        if maker == self.cluster.incarnation:
            self._released[follower] = asyncio.Event()
        future, answer = operation.future()
        # Whoever asked may hang up; what has begun comes to its end.
        self.world.spawn(self._hold(answer, vdi_id, follower, maker,
                                    may_take), 'standstill of a VDI')
        return await future

    async def _hold(self, answer, vdi_id, follower, maker, may_take):
        try:
            async with self.volumes.held(vdi_id, may_take) as users:
                self._check_pending(follower, maker)
                self.volumes.take_turn_of(vdi_id, follower)
                try:
                    await self._stop(vdi_id, users)
                    answer(None, {'serial': self.cluster.state.fences.get(
                        vdi_id, 0)})
                    await self._over(follower, maker)
                finally:
                    users.thaw()
        except errors.SheepdogError as exc:
            answer(exc)
        finally:
            self._released.pop(follower, None)

    async def _stop(self, vdi_id, users):
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # What was written so far need not hold them up then.
                await self._flush(vdi_id)
                await users.freeze()
                await self._flush(vdi_id)
                await users.complete()
                await self.gateway.declare_now()
        except TimeoutError:
            raise errors.SystemFailure(
                'VDI %06x is as it was: in %d s not all that was under way '
                'came to its end' % (vdi_id, PATIENCE_SECONDS)) from None
        users.check()

    async def _flush(self, vdi_id):
        try:
            await self.gateway.flush(vdi_id)
        except flush_module.LostWrites as exc:
            # Its client is to hear of it.
            self.gateway.unflushed.losses[vdi_id] = exc
            raise

    def _is_pending(self, follower, maker):
        """Neither there nor given up."""
        entry = self.cluster.state.vdis.get(follower)
        return entry is not None and entry.pending == maker

    def _check_pending(self, follower, maker):
        if not self._is_pending(follower, maker):
            raise errors.NoVdi('VDI %06x is not being made any more'
                               % follower)

    async def _over(self, follower, maker):
        """Returns when nobody reads or writes the VDI any more that was, or
        there is no snapshot."""
        released = self._released.get(follower)
        if released is not None:
            await released.wait()
            return
        clock, own = self.world.clock, self.cluster.incarnation
        deadline = clock.monotonic() + 2 * PATIENCE_SECONDS
        while self._is_pending(follower, maker) and (
                clock.monotonic() < deadline):
            self._changed.clear()
            try:
                async with asyncio.timeout(deadline - clock.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                pass
        # The leader answers when all members have heard of all before.
        # (One that shuts down does not: until we have heard of that.)
        while self.cluster.incarnation == own and (
                self.cluster.status is not api.Status.SHUTDOWN):
            try:
                await self.cluster.execute('vdi-abort', {
                    'vdi_id': follower, 'owner': maker})
            except (errors.Transient, errors.WaitForJoin,
                    errors.ShuttingDown):
                await asyncio.sleep(RETRY_SECONDS)
            except errors.SheepdogError:
                return
            else:
                return

    # -- changes of the cluster -----------------------------------------

    def on_event(self, event):
        self._changed.set()

    def on_view(self, old, new, cold):
        self._changed.set()

    def on_freeze(self):
        pass

    def on_lapse(self):
        self._changed.set()

    def on_shutdown(self):
        pass


def owners_of(state, vdi_id):
    """Incarnations that have the VDI open."""
    lock = state.locks.get(vdi_id)
    return () if lock is None or lock.gives_way else lock.owners
