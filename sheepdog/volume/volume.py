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

"""An open volume: read, write, zero, flush at any offset and length.

Reads and writes of objects that are the volume's own go straight to the
gateway; first writes take the long way (create the object, then its entry
in the inode), and so do objects that are of another form than new ones (see
``model.ids``) until ``turning`` has copied them. Writes are write-back,
durable at the next ``flush``, unless ``fua`` is asked for.
"""

import functools

from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.volume import access
from sheepdog.volume import cow
from sheepdog.volume import gate
from sheepdog.volume import holds
from sheepdog.volume import object_map
from sheepdog.volume import pieces
from sheepdog.volume import steady
from sheepdog.volume import turning

NOBODY = -1
"""Owns no object."""


class Volume:
    """Made by ``volumes.Volumes``; shared by all who have it open there.

    ``size`` is in bytes. ``valid`` turns False when the lock is lost: every
    request fails from then on. ``can_reopen`` tells whether the same user
    may simply open it again. ``throttle``: what holds its requests back, if
    it has limits. ``is_for_one``: no second user gets it.
    """

    def __init__(self, gateway, entry, head, read_only, is_alone, release,
                 make_own=None):
        """``entry`` is the catalogue's, ``head`` the inode's;
        ``release(volume)`` is awaited when the last user closes, and
        ``make_own(volume, index)`` where others have it open, too: see
        ``copies``."""
        self.gateway = gateway
        self.name = entry.name
        self.vdi_id = entry.vdi_id
        self.is_snapshot = entry.snapshot
        self.size = head.vdi_size
        self.shift = head.block_size_shift
        self.object_bytes = 1 << head.block_size_shift
        self.read_only = read_only
        self.valid = True
        self.can_reopen = False
        self.users = 0
        self.is_for_one = False
        self.throttle = None
        self.on_resize = []
        self.access = access.Access(gateway, self._refusal_when_lost)
        self.owner = entry.owner
        self.map = object_map.ObjectMap(self.access, entry.vdi_id, self.owner,
                                        is_alone)
        self._straight = self.owner if is_alone else NOBODY
        self._writable = self.owner
        self._gate = gate.Gate()
        self._release = release
        self._make_own = make_own
        self._holds = holds.Holds()
        self.turning = turning.Turning(gateway, self.vdi_id, self.access,
                                       self.map, self._holds,
                                       self.object_bytes)

    async def load(self):
        await self.map.load(self._objects(self.size))

    def _objects(self, size):
        return -(-size // self.object_bytes)

    # -- the straight way -----------------------------------------------

    def submit_read(self, offset, length, done, user=None, is_due=False):
        """``done(error, data)``: bytes, or a list of bytes in order.

        :param user: who asks; see ``hasten``
        :param is_due: its turn has come, where there are limits
        """
        error = self._refusal(offset, length)
        if error is not None:
            done(error, None)
            return
        if self.throttle is not None and length and not is_due:
            self.throttle.submit(False, length, functools.partial(
                Volume.submit_read, self, offset, length, done, user, True),
                (self, user))
            return
        shift = self.shift
        index = offset >> shift
        if length and (offset + length - 1) >> shift == index:
            owner = self.map.owners[index]
            start = offset & (self.object_bytes - 1)
            if owner == self._straight:
                self.gateway.read(owner << 32 | index, start, length, done)
            else:
                self._read_piece(index, start, length, done)
            return
        if not length:
            done(None, b'')
            return
        parts = pieces.split(offset, length, self.object_bytes)
        several = pieces.SeveralReads(len(parts), done)
        for place, (index, start, _, size) in enumerate(parts):
            self._read_piece(index, start, size, several.at(place))

    def _read_piece(self, index, start, size, done):
        owner = self.map.owners[index]
        if owner == self._straight:
            self.gateway.read(owner << 32 | index, start, size, done)
        elif not owner and self.map.is_alone:
            done(None, bytes(size))
        elif owner and (owner == self.owner or self.map.is_alone):
            self._read_once(index, owner, start, size, done)
        else:
            self._read_again(index, start, size, done)

    def submit_write(self, offset, data, fua, done, user=None,
                     is_due=False):
        """``done(error)``; ``data`` must not change afterwards."""
        length = len(data)
        error = self._refusal(offset, length, is_write=True)
        if error is not None:
            done(error)
            return
        if self.throttle is not None and length and not is_due:
            self.throttle.submit(True, length, functools.partial(
                Volume.submit_write, self, offset, data, fua, done, user,
                True), (self, user))
            return
        shift = self.shift
        index = offset >> shift
        if length and (offset + length - 1) >> shift == index:
            self._write_piece(index, offset & (self.object_bytes - 1), data,
                              fua, done)
            return
        if not length:
            done(None)
            return
        parts = pieces.split(offset, length, self.object_bytes)
        several = pieces.Several(len(parts), done)
        for index, start, position, size in parts:
            self._write_piece(index, start, data[position:position + size],
                              fua, several)

    def _write_piece(self, index, start, data, fua, done):
        owner = self.map.owners[index]
        if owner == self._writable:
            self.gateway.write(owner << 32 | index, start, data, done, fua)
        else:
            self.gateway.world.spawn(self._answer(
                self._gate.through(lambda: self._slow_write(
                    index, start, data, fua)), done),
                'write to an object by the long way')

    def _refusal(self, offset, length, is_write=False):
        if not self.valid:
            return self._lost()
        if offset < 0 or length < 0 or offset + length > self.size:
            return errors.InvalidParameters(
                'bytes %d to %d are beyond the %d of volume %s'
                % (offset, offset + length, self.size, self.name))
        if is_write and self.read_only:
            return errors.ReadOnly('volume %s is open for reading only'
                                   % self.name)
        return None

    # -- the long way ---------------------------------------------------

    async def _answer(self, coroutine, done):
        try:
            await coroutine
        except errors.SheepdogError as exc:
            done(exc)
        else:
            done(None)

    def _read_once(self, index, owner, start, size, done):
        """Read what the map names. When the answer comes it may name another
        object."""
        form_owner = self.owner

        def read(error, data):
            if self.owner != form_owner or self.map.owners[index] != owner:
                self._read_again(index, start, size, done)
            else:
                done(error, data)

        self.gateway.read(owner << 32 | index, start, size, read)

    def _read_again(self, index, start, size, done):
        async def read():
            try:
                data = await self._steadily(
                    index, lambda oid: self.gateway.read_wait(oid, start,
                                                              size))
            except errors.SheepdogError as exc:
                done(exc, None)
            else:
                done(None, bytes(size) if data is None else data)

        self.gateway.world.spawn(read(), 'read of an object')

    async def _steadily(self, index, question):
        """Awaits ``question(oid)`` of the object that is there, and returns
        its answer; None: there is no object."""
        return await steady.ask(
            lambda: self.map.refresh(index),
            lambda owner: question(ids.data_oid(owner, index)))

    async def _slow_write(self, index, start, data, fua):
        """Write to an object that is not ours yet (one creates, the others
        wait), or is of a former form: then it is written as it is."""
        if not self.map.is_alone:
            await self._own_shared(index)
        await self._holds.free(index)
        owner = self.map.owners[index]
        if ids.is_owned(owner, self.vdi_id):
            with self._holds.use(index):
                await self.access.write_wait(ids.data_oid(owner, index),
                                             start, data, fua)
            return
        with self._holds.hold(index):
            new = self.owner
            oid = ids.data_oid(new, index)
            owner = await self.map.refresh(index)
            await self._clear(oid)
            if owner and not ids.is_owned(owner, self.vdi_id):
                await cow.create_from(self.access,
                                      ids.data_oid(owner, index), oid, start,
                                      data, fua)
            else:
                await self.access.write_wait(oid, start, data, fua,
                                             create=True)
            await self.map.own(index, new)

    async def _own_shared(self, index):
        """Nobody has an object of another VDI there any more."""
        owner = await self.map.refresh(index)
        while owner and not ids.is_owned(owner, self.vdi_id):
            await self._make_own(self, index)
            owner = await self.map.refresh(index)

    async def copy_object(self, index):
        """For all who have the volume open: an object of another VDI becomes
        its own. (It goes through no gate: what the volume holds is the same
        after it, and who asked for it is in one.)

        :raises SheepdogError:
        """
        await self._holds.free(index)
        with self._holds.hold(index):
            vdi_id, new = self.vdi_id, self.owner
            owner = await self.map.refresh(index)
            if not owner or ids.is_owned(owner, vdi_id):
                return
            oid = ids.data_oid(new, index)
            await cow.clear(self.access, self.access, oid, self.object_bytes)
            await cow.create_equal(self.access, self.access,
                                   ids.data_oid(owner, index), oid)
            if self.vdi_id != vdi_id:
                raise errors.NotServing('VDI %06x is a snapshot by now'
                                        % vdi_id)
            await self.map.own(index, new)

    async def _zero_shared(self, index, start, size, fua):
        """Zeroes in an object that is not ours yet: all else of it is
        copied."""
        with self._holds.hold(index):
            new = self.owner
            oid = ids.data_oid(new, index)
            owner = await self.map.refresh(index)
            if owner and not ids.is_owned(owner, self.vdi_id):
                await self._clear(oid)
                await cow.create_zeroed(self.access,
                                        ids.data_oid(owner, index), oid,
                                        start, size)
                await self.map.own(index, new)
                return
        # Another write was faster.
        await self._zero_piece(index, start, size, fua)

    async def _clear(self, oid):
        if self.map.is_alone:
            await cow.clear(self.access, self.access, oid,
                            self.object_bytes)

    # -- to be awaited --------------------------------------------------

    async def read(self, offset, length):
        """:raises SheepdogError:"""
        future, done = operation.future()
        self.submit_read(offset, length, done)
        data = await future
        return b''.join(data) if isinstance(data, list) else data

    async def write(self, offset, data, fua=False):
        """:raises SheepdogError:"""
        future, done = operation.future()
        self.submit_write(offset, data, fua, done)
        await future

    async def zero(self, offset, length, fua=False, may_punch=True,
                   user=None, is_due=False):
        """Make a range zero. What was never written stays so; the blocks of
        the rest are given back, also where ``may_punch`` is False: space is
        thinly provisioned in any case.

        :raises SheepdogError:
        """
        if (self.throttle is not None and length and not is_due
                and self._refusal(offset, length, is_write=True) is None):
            # (It brings no bytes.)
            await self.throttle.wait(True, 0, (self, user))
        error = self._refusal(offset, length, is_write=True)
        if error is not None:
            raise error
        await pieces.gather([
            self._gate.through(functools.partial(
                self._zero_piece, index, start, size, fua)) for
            index, start, _, size in pieces.split(offset, length,
                                                  self.object_bytes)])

    async def discard(self, offset, length, fua=False, is_due=False):
        """Give a range back; it reads as zeroes afterwards.

        :raises SheepdogError:
        """
        await self.zero(offset, length, fua, is_due=is_due)

    async def _zero_piece(self, index, start, size, fua):
        if not self.map.is_alone:
            await self._own_shared(index)
        await self._holds.free(index)
        owner = await self.map.refresh(index)
        if owner == 0:
            self.access.check()
            return
        if not ids.is_owned(owner, self.vdi_id):
            await self._zero_shared(index, start, size, fua)
            return
        # An object that the inode names and nobody has is damage: no
        # answer may make it look well.
        with self._holds.use(index):
            await self.access.zero_wait(ids.data_oid(owner, index), start,
                                        size, fua)

    async def flush(self):
        """All writes acknowledged before are durable on all copies.

        :raises SheepdogError:
        """
        if not self.valid:
            raise self._lost()
        await self.gateway.flush(self.vdi_id)

    async def extents(self, offset, length):
        """``[(length, is_data), …]`` covering the range; adjacent ones
        differ.

        :raises SheepdogError:
        """
        error = self._refusal(offset, length)
        if error is not None:
            raise error
        covering = []
        for index, start, _, size in pieces.split(offset, length,
                                                  self.object_bytes):
            written = await self._steadily(index, self.access.extents)
            if written is None:
                _append(covering, size, False)
                continue
            position, end = start, start + size
            for low, count in written:
                low, high = max(low, position), min(low + count, end)
                if low < high:
                    _append(covering, low - position, False)
                    _append(covering, high - low, True)
                    position = high
            _append(covering, end - position, False)
        return covering

    async def close(self):
        """Give up this use of the volume; the last one flushes and frees
        the lock."""
        await self._release(self)

    # -- another form ---------------------------------------------------

    def alter(self, owner):
        """Objects that are made from now on have another form. Others stay
        as they are until they are turned."""
        if owner == self.owner:
            return
        self.owner = self.map.owner = owner
        if not self._gate.is_shut:
            self._writable = owner
        if self.map.is_alone:
            self._straight = owner
            self.turning.begin()

    # -- snapshots ------------------------------------------------------

    async def freeze(self):
        """Returns when no write is under way; others wait for ``thaw``.
        Reads do not."""
        self._writable = NOBODY
        await self._gate.shut()
        await self.gateway.finish(self.vdi_id)

    def thaw(self):
        self._writable = self.owner
        self._gate.open()

    def follow(self, entry):
        """The VDI has become a snapshot, and ``entry`` is of the one that
        takes its place: its map is the same. Nothing is being written."""
        self.vdi_id = entry.vdi_id
        self.owner = entry.owner
        self.map.follow(entry.vdi_id, entry.owner)
        if self.map.is_alone:
            self._straight = entry.owner
        self.turning.follow(entry.vdi_id)

    # -- limits ---------------------------------------------------------

    def hasten(self, user):
        """Let nothing of this user wait for limits: it goes away."""
        if self.throttle is not None:
            self.throttle.hasten(user)

    # -- changes from outside -------------------------------------------

    def resized(self, size):
        self.size = size
        self.map.extend(self._objects(size))
        for function in self.on_resize:
            function(size)

    def invalidate(self, can_reopen=False):
        """:param can_reopen: not taken from us by an operator, but lost with
            this sheep's identity"""
        if self.valid:
            self.valid = False
            self.can_reopen = can_reopen
            if self.throttle is not None:
                self.throttle.release(self)

    def _refusal_when_lost(self):
        return None if self.valid else self._lost()

    def _lost(self):
        if self.can_reopen:
            return errors.NotServing('this sheep lost its place in the '
                                     'cluster, and the lock of volume %s'
                                     % self.name)
        return errors.VdiNotLocked('the lock of volume %s was taken away'
                                   % self.name)


def _append(covering, length, is_data):
    if not length:
        return
    if covering and covering[-1][1] == is_data:
        covering[-1] = (covering[-1][0] + length, is_data)
    else:
        covering.append((length, is_data))
