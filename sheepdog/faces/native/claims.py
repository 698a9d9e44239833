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

"""Locks that native clients take.

QEMU and tgt lock a VDI over a connection that they close at once, and then
work over others. So the lock belongs to this sheep, not to the connection;
who uses it shows in the requests for the VDI's objects. A client that went
without a word is noticed when no connection has used the VDI for a while.
"""

import asyncio
import logging

from sheepdog.model import errors

LOG = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
"""How long a lock outlives the last connection that used the VDI."""


class _Claim:
    """A lock that we hold; ``count`` clients share it."""

    __slots__ = ('count',)

    def __init__(self):
        self.count = 0


class Claims:
    def __init__(self, world, volumes):
        self.world = world
        self.volumes = volumes
        self._users = {}
        self._claims = {}
        self._followers = {}
        volumes.on_follow.append(self._follow)

    def use(self, session, vdi_id):
        """``session`` asks for an object of the VDI (the hot path)."""
        if vdi_id in session.used:
            return
        session.used[vdi_id] = None
        self._users.setdefault(vdi_id, {})[session] = None

    def _follow(self, vdi_id, follower):
        """A VDI became a snapshot, and its clients go on with another."""
        self._followers[vdi_id] = follower
        for session in self._users.get(vdi_id, ()):
            self.use(session, follower)
        claim = self._claims.pop(vdi_id, None)
        if claim is not None:
            self._claims[follower] = claim
            self.world.spawn(self._watch(follower, claim), 'watch of a lock')

    def follow(self, vdi_id):
        """The VDI that whoever locked this one has by now. (It may not have
        written since, and not know.)"""
        while vdi_id in self._followers and not self.volumes.is_claimed(
                vdi_id):
            vdi_id = self._followers[vdi_id]
        return vdi_id

    async def lock(self, session, vdi_id, shared):
        """:raises VdiLocked: another sheep, a volume open here, or another
            native client that is still connected has it"""
        if not shared and vdi_id in self._claims and any(
                user is not session
                for user in self._users.get(vdi_id, ())):
            raise errors.VdiLocked(
                'VDI %06x is in use here by another native client' % vdi_id)
        if not self.volumes.is_claimed(vdi_id):
            self._claims.pop(vdi_id, None)
        await self.volumes.claim(vdi_id, shared)
        claim = self._claims.get(vdi_id)
        if claim is None:
            claim = self._claims[vdi_id] = _Claim()
            self.world.spawn(self._watch(vdi_id, claim), 'watch of a lock')
        # Who locks alone, and again, gives it back but once.
        claim.count = claim.count + 1 if shared else 1

    async def unlock(self, vdi_id):
        """:raises VdiNotLocked:"""
        claim = self._claims.get(vdi_id)
        if claim is not None and claim.count > 1:
            claim.count -= 1
            return
        self._claims.pop(vdi_id, None)
        try:
            await self.volumes.release(vdi_id)
        except errors.VdiNotLocked:
            # Perhaps it became a snapshot while we waited.
            follower = self.follow(vdi_id)
            if not self.volumes.is_claimed(follower):
                raise
            self._claims.pop(follower, None)
            await self.volumes.release(follower)

    def forget(self, session):
        """The connection is gone."""
        for vdi_id in session.used:
            users = self._users.get(vdi_id)
            if users is not None:
                users.pop(session, None)
                if not users:
                    del self._users[vdi_id]

    async def _watch(self, vdi_id, claim):
        """Free the lock once nobody has used the VDI for a while."""
        clock = self.world.clock
        last_used = clock.monotonic()
        while self._claims.get(vdi_id) is claim:
            if not self.volumes.is_claimed(vdi_id):
                # Lost: by force, or with our identity.
                del self._claims[vdi_id]
                return
            if self._users.get(vdi_id):
                last_used = clock.monotonic()
            elif clock.monotonic() - last_used > IDLE_SECONDS:
                LOG.info('VDI %06x: its native client has gone, unlocking',
                         vdi_id)
                claim.count = 1
                try:
                    await self.unlock(vdi_id)
                except errors.SheepdogError as exc:
                    LOG.info('VDI %06x: %s', vdi_id, exc)
                return
            await asyncio.sleep(IDLE_SECONDS / 10)
