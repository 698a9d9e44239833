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

"""One sheep's copies: between requests and the store.

Every request for an object passes here, whether it comes from the local
gateway (a plain call) or over a link. What is checked, in this order: the
request's epoch is ours; we hold our lease; the request's lock serial is
ours; our copy is whole (a write waits until it is, a read is sent on to
another copy). Then the store acts.

``Guard`` is what recovery tells of our copies; it is handed in.
"""

import logging
from typing import Optional, Protocol

from sheepdog.cluster import api
from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.peer import answers
from sheepdog.peer import listing
from sheepdog.peer import marks as marks_module
from sheepdog.peer import tokens as tokens_module
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

NEVER = -1


class Caller(Protocol):
    """Who asked for a change; called once, when it is in the store or will
    not be. A request from the wire, or the local gateway's operation."""

    is_void: bool
    """Nobody hears the answer any more: who asked may have sent it again by
    another way, and perhaps more behind it."""

    def __call__(self, error: Optional[Exception]) -> None: ...


class Guard(Protocol):
    """Knows which of our copies are not whole yet (see ``recovery``)."""

    active: bool
    """False: all are whole, ``needs`` need not be asked."""
    inherits: bool
    """False: ``renew`` need not be called."""

    def needs(self, oid: int) -> bool:
        """Our copy must be recovered before it may be used."""

    def renew(self, oid: int, key: int) -> None:
        """Before an update of our strip ``key``: numbers begin anew where
        an object is ordered by another process than before, though nothing
        tells them apart. Then it is not whole."""

    async def ensure(self, oid: int) -> None:
        """Make it whole now.

        :raises SheepdogError: NotRecovered: not possible just now
        """

    async def ensure_for(self, oid: int) -> None:
        """As ``ensure``, when another sheep asks for it."""

    async def ensure_read(self, oid: int) -> None:
        """As ``ensure``, for a reader: another copy will do.

        :raises SheepdogError: NotRecovered, too, while another one is whole
            and there is no room for ours
        """

    async def align(self, oid: int, settler: str) -> None:
        """Make it equal to the copy of the incarnation that settles what
        all copies follow; it is not whole by that.

        :raises SheepdogError: not possible just now
        """

    def hasten(self, oid: int) -> None:
        """Somebody waits for it: start now, do not wait."""

    def doubt(self, oid: int, is_missed: bool = False) -> None:
        """It may differ from the other copies. ``is_missed``: these may be
        read without what ours has."""

    def have_settled(self, oid: int) -> None:
        """Its strips are of several generations: settle them now, do not
        wait. (We are its first target.)"""

    def is_repairable(self, oid: int) -> bool:
        """No damage is known that no copy could mend."""

    async def describe(self, oid: int) -> dict:
        """What STATE answers."""


class Noted:
    """Takes a write's mark back when the store refuses the write: a token
    in the marks must mean that its write is in the content.

    A write that meets a bad block may be tried again: the store has
    reported the damage, and the block is taken from another copy first. So
    may one that meets a failing device: this sheep leaves for it.
    """

    __slots__ = ('replica', 'oid', 'token', 'done')

    def __init__(self, replica, oid, token, done):
        replica.marks.note(oid, token)
        self.replica = replica
        self.oid = oid
        self.token = token
        self.done = done

    def __call__(self, error):
        if error is not None:
            self.replica.marks.forget(self.oid, self.token)
            if isinstance(error, errors.NoSpace):
                error = errors.NoSpace('%s: %s' % (self.replica.address(),
                                                   error))
            if (isinstance(error, errors.ChecksumError)
                    and self.replica.guard.is_repairable(self.oid)):
                error = errors.NotRecovered(str(error))
            elif (self.replica.is_leaving
                    and isinstance(error, errors.StorageError)):
                error = errors.NotServing(str(error))
        self.done(error)


class Replica:
    """Also a ``ClusterListener``: follows epochs and lock changes."""

    def __init__(self, world, cluster, store, order):
        self.world = world
        self.cluster = cluster
        self.store = store
        self.order = order
        self.guard = None
        self._listing = listing.Listing(world.clock, store, order)
        self.marks = marks_module.Marks()
        self.tokens = tokens_module.Tokens(cluster)
        self.taken_back = {}
        """Object → tokens of its writes that others refused, and that may
        still be in other copies, too."""
        self.epoch = NEVER
        self.is_leaving = False
        """The device has failed, and the others have copies of all."""
        self.births = {}
        """Coded objects that are known not to exist: the generation of
        whatever makes them."""
        self.doomed = set()
        """Coded objects whose strips are being removed (see ``strips``)."""
        self._owners = {}
        self._view = None
        self.counters = {'write': 0, 'read': 0, 'remove': 0, 'flush': 0,
                         'bytes_written': 0, 'bytes_read': 0}

    # -- the straight way -----------------------------------------------

    def check(self, epoch, oid, serial):
        """None, or the error that this request must be answered with."""
        if epoch != self.epoch:
            return self._other_epoch(epoch)
        if not self.cluster.serving():
            return errors.NotServing('the lease is gone')
        if serial != (self.cluster.state.fences.get(
                (oid >> 32) & 0xFFFFFF, 0) & 0xFFFFFF):
            return errors.StaleOrder('the lock of the VDI has changed')
        return None

    def write(self, epoch, oid, token, aux, offset, data, durable, create,
              done):
        """Apply a write.

        ``done`` is a ``Caller``, as for all changes; ``aux`` is as on the
        wire: log2 of the capacity | lock serial << 8.
        """
        error = self.check(epoch, oid, aux >> 8)
        if error is not None:
            done(error)
            return
        guard = self.guard
        if guard.active and guard.needs(oid):
            self.when_whole(oid, done, self.write, epoch, oid, token, aux,
                            offset, data, durable, create, done)
            return
        counters = self.counters
        counters['write'] += 1
        counters['bytes_written'] += len(data)
        self.store.write(oid, epoch, offset, data,
                         Noted(self, oid, token, done), durable,
                         1 << (aux & 0xFF) if create else 0)

    def read(self, epoch, oid, serial, offset, size, done, raw=False):
        """``done(error, data)``. ``raw`` is for recovery: whole or not."""
        if raw:
            error = self.check_epoch(epoch)
        else:
            error = self.check(epoch, oid, serial)
        if error is not None:
            done(error)
            return
        guard = self.guard
        if guard.active and not raw and guard.needs(oid):
            guard.hasten(oid)
            done(errors.NotRecovered('object %s is not whole here yet'
                                     % ids.hex_oid(oid)))
            return
        counters = self.counters
        counters['read'] += 1
        counters['bytes_read'] += size
        self.store.read(oid, offset, size, done)

    def zero(self, epoch, oid, token, aux, offset, size, durable, done):
        error = self.check(epoch, oid, aux >> 8)
        if error is not None:
            done(error)
            return
        guard = self.guard
        if guard.active and guard.needs(oid):
            self.when_whole(oid, done, self.zero, epoch, oid, token, aux,
                            offset, size, durable, done)
            return
        self.counters['write'] += 1
        self.store.zero(oid, epoch, offset, size,
                        Noted(self, oid, token, done), durable)

    def remove(self, epoch, oid, token, aux, durable, done):
        error = self.check(epoch, oid, aux >> 8)
        if error is not None:
            done(error)
            return
        guard = self.guard
        if guard.active and guard.needs(oid):
            self.when_whole(oid, done, self.remove, epoch, oid, token, aux,
                            durable, done)
            return
        self.counters['remove'] += 1
        self.store.remove(oid, Noted(self, oid, token, done), durable)

    def flush(self, done):
        """``done(error)`` when all that was acknowledged here is durable.
        Asks for no lease: making data durable harms nobody."""
        self.counters['flush'] += 1

        def flushed(error):
            if self.is_leaving and isinstance(error, errors.StorageError):
                error = errors.NotServing(str(error))
            done(error)

        self.store.sync(flushed)

    def address(self):
        """Of this sheep, for whoever is told of it."""
        view, ours = self.cluster.view, self.cluster.incarnation
        member = view.member(ours) if view is not None else None
        return '%s:%s' % member.address if member is not None else ours

    def doubt_if_applied(self, oid, token):
        """Other copies refused the write that ``token`` names. (A copy that
        is being made whole may have it from its source in a moment.)"""
        if oid in self.doomed:
            self.guard.doubt(oid)
        if self.marks.has(oid, token) or (self.guard.active
                                          and self.guard.needs(oid)):
            self.taken_back.setdefault(oid, set()).add(token)
            self.guard.doubt(oid)

    def _other_epoch(self, epoch):
        if self.epoch == NEVER:
            return errors.NotServing('this sheep serves no epoch just now')
        return errors.StaleEpoch('this sheep is at epoch %d, not %d'
                                 % (self.epoch, epoch))

    def check_epoch(self, epoch):
        """As ``check``, where no lock counts."""
        if epoch != self.epoch:
            return self._other_epoch(epoch)
        if not self.cluster.serving():
            return errors.NotServing('the lease is gone')
        return None

    def when_whole(self, oid, done, function, *arguments):
        self.world.spawn(self._after_recovery(oid, done, function, arguments),
                         'write to an object under recovery')

    async def _after_recovery(self, oid, done, function, arguments):
        try:
            await self.guard.ensure(oid)
        except errors.NoSpace as exc:
            done(type(exc)('%s: %s' % (self.address(), exc)))
            return
        except errors.SheepdogError as exc:
            done(exc)
            return
        if done.is_void:
            # It must not come after what was sent again.
            done(errors.Unreachable('the connection is gone'))
            return
        function(*arguments)

    # -- from the wire --------------------------------------------------

    def handlers(self):
        """For ``Server.register``."""
        return {
            wire.WRITE: self._on_write,
            wire.READ: self._on_read,
            wire.ZERO: self._on_zero,
            wire.REMOVE: self._on_remove,
            wire.FLUSH: lambda request: self.flush(request),
            wire.STABLE: self._on_stable,
            wire.STATE: self.slow(self._on_state),
            wire.TABLE: self.slow(self._on_table),
            wire.LIST: self._on_list,
            wire.RECOVER: self.slow(self._on_recover),
            wire.ALIGN: self.slow(self._on_align),
            wire.EXTENTS: self.slow(self._on_extents),
            wire.DOUBT: self._on_doubt,
        }

    def _on_write(self, request):
        flags = request.flags
        self.write(request.epoch, request.oid, request.token, request.aux,
                   request.offset, request.payload,
                   flags & wire.FLAG_DURABLE, flags & wire.FLAG_CREATE,
                   request)

    def _on_read(self, request):
        self.read(request.epoch, request.oid, request.token, request.offset,
                  request.aux, request,
                  raw=request.flags & wire.FLAG_RECOVERY)

    def _on_zero(self, request):
        if len(request.payload) != 4:
            request(errors.InvalidParameters('ZERO carries a length of 4'))
            return
        self.zero(request.epoch, request.oid, request.token, request.aux,
                  request.offset, int.from_bytes(request.payload, 'little'),
                  request.flags & wire.FLAG_DURABLE, request)

    def _on_remove(self, request):
        self.remove(request.epoch, request.oid, request.token, request.aux,
                    request.flags & wire.FLAG_DURABLE, request)

    def _on_stable(self, request):
        request.session.inflight -= 1
        if request.epoch == self.epoch:
            token = request.token
            self.marks.declare_stable(token >> marks_module.COUNT_BITS,
                                      token & marks_module.COUNT_MASK)

    def _on_list(self, request):
        error = self.check_epoch(request.epoch)
        if error is None and self.store.has_untold_loss:
            error = errors.NotRecovered('a disk was lost, and the cluster '
                                        'does not know yet')
        if error is not None:
            request(error)
            return
        # Ids only: versions stand in the objects' files, and this answers
        # for all of them in one go.
        try:
            payload = self._listing.answer(request.session.incarnation,
                                           request.aux, request.offset)
        except errors.InvalidParameters as exc:
            request(exc)
        else:
            request(None, payload)

    def _on_doubt(self, request):
        error = self.check_epoch(request.epoch)
        if error is None:
            self.doubt_if_applied(request.oid, request.token)
        request(error)

    def slow(self, function):
        def handler(request):
            self.world.spawn(self._answer(function, request),
                             function.__name__)
        return handler

    async def _answer(self, function, request):
        try:
            error = self.check_epoch(request.epoch)
            if error is not None:
                raise error
            payload = await function(request)
            # What was looked up meanwhile may be of another epoch.
            error = self.check_epoch(request.epoch)
            if error is not None:
                raise error
        except errors.SheepdogError as exc:
            request(exc)
        else:
            request(None, payload)

    async def _on_state(self, request):
        return wire.pack_json(await self.guard.describe(request.oid))

    async def _on_table(self, request):
        return await self.store.table(request.oid)

    async def _on_recover(self, request):
        await self.guard.ensure_for(request.oid)
        return b''

    async def _on_align(self, request):
        await self.guard.align(request.oid, request.session.incarnation)
        return b''

    async def _on_extents(self, request):
        if self.guard.active and self.guard.needs(request.oid):
            await self.guard.ensure_read(request.oid)
        return answers.pack_extents(await self.store.extents(request.oid))

    # -- changes --------------------------------------------------------

    def on_freeze(self):
        self.epoch = NEVER

    def on_lapse(self):
        self.epoch = NEVER
        self.marks.clear()
        self.doomed.clear()
        self._owners.clear()
        self._view = None

    def on_shutdown(self):
        self.epoch = NEVER

    def on_view(self, old, new, cold):
        """Objects whose orderer has changed while writes were under way are
        doubtful: no read may show them before all copies agree. Likewise
        those with writes of a gateway that has gone: whoever orders may
        bring these to their end, or die before it does."""
        previous, self._view = self._view, new
        self.births.clear()
        before = self.order.ring
        self.order.begin(new)
        self.epoch = new.epoch
        if previous is not None and not cold:
            place = {m.incarnation: i for i, m in enumerate(new.members)}
            numbers = {i: place[m.incarnation]
                       for i, m in enumerate(previous.members)
                       if m.incarnation in place}
            for oid in self._open_objects():
                if (self._orderer_before(oid, previous, before)
                        != self.order.orderer(oid)
                        or self.marks.origins(oid) - numbers.keys()):
                    self.guard.doubt(oid)
            self.marks.renumber(numbers)
        else:
            self.marks.clear()
        self._owners = {vdi_id: self.order.exclusive_owner(vdi_id)
                        for vdi_id in self.cluster.state.locks}

    def _open_objects(self):
        """Sorted ids of those that a change of their orderer may leave
        different: with writes, or updates of a strip, that may not be
        everywhere."""
        return sorted({*self.marks.unstable_objects(), *self.doomed,
                       *map(ids.object_of, self.store.with_open())})

    def _orderer_before(self, oid, view, ring):
        owner = self._owners.get(ids.vdi_of(oid))
        if owner is not None:
            return owner
        # (The first one is the same for any number of copies.)
        targets = ring.targets(oid, self.order.copies(oid))
        return view.members[targets[0]].incarnation if targets else None

    def on_event(self, event):
        if (self.epoch == NEVER and self._view is not None
                and self.cluster.status is api.Status.OK):
            # A prepared epoch was given up: the one before goes on.
            self.epoch = self._view.epoch
        if self._view is None:
            return
        # Who loses a lock by force ends what is under way just where it is.
        # (What was deleted is read by nobody.)
        if event['kind'] != 'vdi-delete':
            for vdi_id in family.relocked(event):
                self._take_lock(vdi_id, bool(event.get('force')))

    def _take_lock(self, vdi_id, is_forced):
        owner = self.order.exclusive_owner(vdi_id)
        before = self._owners.get(vdi_id)
        if owner == before and not is_forced:
            return
        self._owners[vdi_id] = owner
        members = self._view.members
        for oid in self._open_objects():
            if ids.vdi_of(oid) != vdi_id:
                continue
            targets = self.order.targets(oid)
            first = members[targets[0]].incarnation if targets else None
            if is_forced or (before or first) != (owner or first):
                # (Who gives its lock back has nothing under way.)
                self.guard.doubt(oid, is_missed=is_forced)
