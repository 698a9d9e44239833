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

"""Volumes that a tool's connection has opened, and their reads and writes.

A handle belongs to its connection and closes with it. A client that lost
its connection opens the volume again over another and sends once more what
was not answered; what of it still stands in the old connection must not
come after that. So it names itself, and its old connection ends first.
"""

import asyncio

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.wire import peer as wire

REQUEST_MAX_BYTES = limits.VOLUME_REQUEST_MAX_BYTES
EXTENTS_BYTES_MAX = 256 << 20
"""Of the volume looked at by one call."""
IDLE_PAUSE_SECONDS = 0.01


class Handles:
    """``ADMIN`` volume.open and volume.close, and the VOLUME opcodes."""

    def __init__(self, world, volumes):
        self.world = world
        self.volumes = volumes
        self._by_session = {}
        self._by_user = {}
        self._next = 0

    def handlers(self):
        """For ``Server.register``."""
        return {wire.VOLUME_READ: self._on_read,
                wire.VOLUME_WRITE: self._on_write,
                wire.VOLUME_ZERO: self._on_zero,
                wire.VOLUME_FLUSH: self._on_flush}

    async def open(self, session, name, tag='', snap_id=0, read_only=False,
                   user='', alone=False):
        """:param user: names one opener of one volume, over all its
            connections; '' for one that never tries again
        :param alone: see ``Volumes.open``

        :raises SheepdogError: NoVdi, VdiLocked, …
        """
        if user and not read_only:
            await self._take_over(session, user)
        volume = await self.volumes.open(name, tag, snap_id, read_only,
                                         alone=alone)
        handles = self._by_session.get(session)
        if handles is None:
            handles = self._by_session[session] = {}
            session.on_close.append(lambda: self._forget(session))
        if not session.is_open:
            self._by_session.pop(session, None)
            await volume.close()
            raise errors.Unreachable('the connection is gone')
        self._next += 1
        handles[self._next] = volume
        return {'handle': self._next, 'size': volume.size,
                'vdi_id': volume.vdi_id, 'object_bytes': volume.object_bytes,
                'read_only': volume.read_only}

    async def close(self, session, handle):
        volume = self._by_session.get(session, {}).pop(handle, None)
        if volume is None:
            raise errors.InvalidParameters('no volume has handle %s'
                                           % (handle,))
        await volume.close()

    async def extents(self, session, handle, offset, length):
        """``[[length, is_data], …]`` from ``offset`` on, perhaps not up to
        the end."""
        volume = self._by_session.get(session, {}).get(handle)
        if volume is None:
            raise errors.InvalidParameters('no volume has handle %s'
                                           % (handle,))
        if not volume.valid and volume.can_reopen:
            session.connection.abort()
        return await volume.extents(offset, min(length, EXTENTS_BYTES_MAX))

    async def _take_over(self, session, user):
        """Returns when nothing of an earlier connection is under way."""
        if not session.is_open:
            raise errors.Unreachable('the connection is gone')
        before = self._by_user.get(user)
        self._by_user[user] = session
        session.on_close.append(lambda: self.world.spawn(
            self._let_go(session, user), 'end of a connection'))
        if before is not None and before is not session:
            if before.is_open:
                before.connection.abort()
            await self._idle(before)

    async def _idle(self, session):
        while session.inflight:
            await asyncio.sleep(IDLE_PAUSE_SECONDS)

    async def _let_go(self, session, user):
        await self._idle(session)
        if self._by_user.get(user) is session:
            del self._by_user[user]

    def users(self):
        """(address, VDI) of each volume that is open here."""
        return [(session.connection.peername, volume.name)
                for session, handles in self._by_session.items()
                for volume in handles.values()]

    def _forget(self, session):
        for volume in self._by_session.pop(session, {}).values():
            # (Whoever takes over waits for what is under way.)
            volume.hasten(session)
            self.world.spawn(self._close(volume), 'close of a volume')

    async def _close(self, volume):
        try:
            await volume.close()
        except errors.SheepdogError:
            # The lock is gone, and with it the volume.
            volume.invalidate()

    def _find(self, request):
        volume = self._by_session.get(request.session, {}).get(request.oid)
        if volume is None:
            request(errors.InvalidParameters('no volume has handle %d'
                                             % request.oid))
        elif not volume.valid and volume.can_reopen:
            # Nothing will work here again; over a new connection, to this
            # sheep or another, it may.
            request.session.connection.abort()
            return None
        return volume

    def _on_read(self, request):
        volume = self._find(request)
        if volume is None:
            return
        if request.aux > REQUEST_MAX_BYTES:
            _refuse(request)
            return

        def done(error, data):
            if isinstance(data, list):
                data = b''.join(data)
            request(error, data or b'')

        volume.submit_read(request.token, request.aux, done,
                           request.session)

    def _on_write(self, request):
        volume = self._find(request)
        if volume is None:
            return
        if len(request.payload) > REQUEST_MAX_BYTES:
            _refuse(request)
        else:
            volume.submit_write(request.token, request.payload,
                                bool(request.flags & wire.FLAG_DURABLE),
                                request, request.session)

    def _on_zero(self, request):
        volume = self._find(request)
        if volume is None:
            return
        if request.aux > REQUEST_MAX_BYTES:
            _refuse(request)
        else:
            self.world.spawn(self._answer(request, volume.zero(
                request.token, request.aux,
                bool(request.flags & wire.FLAG_DURABLE),
                user=request.session)), 'zero a range')

    def _on_flush(self, request):
        volume = self._find(request)
        if volume is not None:
            self.world.spawn(self._answer(request, volume.flush()),
                             'flush a volume')

    async def _answer(self, request, coroutine):
        try:
            await coroutine
        except errors.SheepdogError as exc:
            request(exc)
        else:
            request(None)


def _refuse(request):
    request(errors.InvalidParameters('at most %d bytes at once'
                                     % REQUEST_MAX_BYTES))
