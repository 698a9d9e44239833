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

"""One sheep's strips of coded objects: between requests and the store.

As ``replica`` for whole copies; who settles them is ``recovery``'s affair.
"""

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.peer import answers
from sheepdog.peer import replica as replica_module
from sheepdog.wire import peer as wire
from sheepdog.wire import strips as strips_wire


class Strips:
    def __init__(self, replica):
        self._replica = replica
        self._store = replica.store

    def update(self, epoch, oid, index, token, aux, offset, payload, create,
               done):
        """Apply one update; ``done(error, b'', generation)`` when it is
        durable. ``payload`` as on the wire, ``aux`` as of WRITE."""
        replica = self._replica
        error = replica.check(epoch, oid, aux >> 8)
        if error is not None:
            done(error)
            return
        guard = replica.guard
        if guard.inherits:
            guard.renew(oid, ids.strip_key(oid, index))
        if guard.active and guard.needs(oid):
            replica.when_whole(oid, done, self.update, epoch, oid, index,
                               token, aux, offset, payload, create, done)
            return
        try:
            number, below, data, size, content = strips_wire.unpack_write(
                payload)
        except errors.InvalidParameters as exc:
            done(exc)
            return
        counters = replica.counters
        counters['write'] += 1
        counters['bytes_written'] += size
        store = self._store
        key = ids.strip_key(oid, index)
        store.close_updates(key, below)

        def applied(error):
            done(error, b'', 0 if error is not None else
                 strips_wire.pack_generation(store.generation(key)))

        store.update(key, epoch, number,
                     replica.births.get(oid, (epoch, 0, True)), offset, size,
                     content, replica_module.Noted(replica, oid, token,
                                                   applied),
                     (1 << (aux & 0xFF)) // data if create else 0,
                     replica.tokens.lasting(token),
                     replica.marks.was_kept(oid, token))

    def read(self, epoch, oid, index, serial, offset, size, done,
             raw=False):
        """``done(error, data)``. ``raw`` is for recovery: settled or not.
        """
        replica = self._replica
        error = replica.check_epoch(epoch) if raw else replica.check(
            epoch, oid, serial)
        if error is not None:
            done(error)
            return
        guard = replica.guard
        if guard.active and not raw and guard.needs(oid):
            guard.hasten(oid)
            done(errors.NotRecovered('object %s is not settled here yet'
                                     % ids.hex_oid(oid)))
            return
        replica.counters['read'] += 1
        replica.counters['bytes_read'] += size
        self._store.read(ids.strip_key(oid, index), offset, size, done)

    def doom(self, epoch, oid, index, aux, done):
        """Before ``remove``: ``done(error, b'', generation)`` when it is
        durable that all strips may be removed."""
        replica = self._replica
        error = replica.check(epoch, oid, aux >> 8)
        if error is not None:
            done(error)
            return
        guard = replica.guard
        if guard.active and guard.needs(oid):
            replica.when_whole(oid, done, self.doom, epoch, oid, index, aux,
                               done)
            return
        # Nobody who settles it has asked us yet: or it would not be here
        # (see ``_check_doom``).
        replica.doomed.add(oid)
        replica.world.spawn(self._doom(epoch, oid, index, aux, done),
                            'doom a strip')

    async def _doom(self, epoch, oid, index, aux, done):
        key = ids.strip_key(oid, index)
        try:
            await self._store.doom(key, epoch, lambda: self._check_doom(
                epoch, oid, aux))
        except errors.NoObject as exc:
            self._replica.doomed.discard(oid)
            done(exc)
        except errors.SheepdogError as exc:
            done(exc)
        else:
            done(None, b'', strips_wire.pack_generation(
                self._store.generation(key)))

    def _check_doom(self, epoch, oid, aux):
        """What was told to who settles it must stay so.

        :raises SheepdogError:
        """
        replica = self._replica
        error = replica.check(epoch, oid, aux >> 8)
        if error is None and replica.guard.needs(oid):
            error = errors.NotRecovered('object %s is to be settled'
                                        % ids.hex_oid(oid))
        if error is not None:
            raise error

    def remove(self, epoch, oid, index, token, aux, done):
        replica = self._replica
        error = replica.check(epoch, oid, aux >> 8)
        if error is not None:
            done(error)
            return
        guard = replica.guard
        if guard.active and guard.needs(oid):
            replica.when_whole(oid, done, self.remove, epoch, oid, index,
                               token, aux, done)
            return
        key = ids.strip_key(oid, index)
        if oid not in replica.doomed and self._store.version(key) is not None:
            # (It was settled since, and is to be doomed once more.)
            done(errors.NotRecovered('object %s was settled meanwhile'
                                     % ids.hex_oid(oid)))
            return
        replica.counters['remove'] += 1

        def removed(error):
            if error is None or isinstance(error, errors.NoObject):
                replica.doomed.discard(oid)
            done(error)

        self._store.remove(key, replica_module.Noted(replica, oid, token,
                                                     removed))

    def doubt(self, oid):
        """Have it settled, by us."""
        self._replica.guard.have_settled(oid)

    async def extents(self, oid, index):
        """:raises SheepdogError:"""
        guard = self._replica.guard
        if guard.active and guard.needs(oid):
            await guard.ensure_read(oid)
        return await self._store.extents(ids.strip_key(oid, index))

    def close_below(self, vdi_id, below, orderer, exceptions):
        """Updates with smaller numbers are complete, of what that sheep
        orders of the VDI; of the objects among ``exceptions``, those below
        what they map to. (Where there is no exclusive lock, each object's
        first target orders, and counts for itself.)

        What is to be settled is left alone: an update that was given up, or
        refused by some strips, is not complete.
        """
        replica = self._replica
        order = replica.order
        if below >> strips_wire.COUNT_BITS != order.serial(vdi_id):
            # A lock of which one of us has not heard.
            return
        for key in self._store.with_open():
            oid = ids.object_of(key)
            if (ids.vdi_of(oid) == vdi_id and order.orderer(oid) == orderer
                    and not replica.guard.needs(oid)):
                self._store.close_updates(key, exceptions.get(oid, below))

    # -- from the wire --------------------------------------------------

    def handlers(self):
        """For ``Server.register``."""
        return {
            wire.STRIP_WRITE: self._on_write,
            wire.STRIP_READ: self._on_read,
            wire.STRIP_DOOM: self._on_doom,
            wire.STRIP_REMOVE: self._on_remove,
            wire.STRIP_EXTENTS: self._replica.slow(self._on_extents),
            wire.STRIP_STABLE: self._on_stable,
        }

    def _on_write(self, request):
        self.update(request.epoch, request.oid,
                    strips_wire.index_of(request.flags), request.token,
                    request.aux, request.offset, request.payload,
                    request.flags & wire.FLAG_CREATE, request)

    def _on_read(self, request):
        self.read(request.epoch, request.oid,
                  strips_wire.index_of(request.flags), request.token,
                  request.offset, request.aux, request,
                  raw=request.flags & wire.FLAG_RECOVERY)

    def _on_doom(self, request):
        self.doom(request.epoch, request.oid,
                  strips_wire.index_of(request.flags), request.aux, request)

    def _on_remove(self, request):
        self.remove(request.epoch, request.oid,
                    strips_wire.index_of(request.flags), request.token,
                    request.aux, request)

    def _on_stable(self, request):
        error = self._replica.check_epoch(request.epoch)
        if error is None:
            try:
                exceptions = strips_wire.unpack_exceptions(request.payload)
            except errors.InvalidParameters as exc:
                error = exc
            else:
                self.close_below(ids.vdi_of(request.oid), request.token,
                                 request.session.incarnation, exceptions)
        request(error)

    async def _on_extents(self, request):
        return answers.pack_extents(await self.extents(
            request.oid, strips_wire.index_of(request.flags)))
