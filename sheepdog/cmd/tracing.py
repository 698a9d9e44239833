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

"""Follow requests through all rooms in the log, while somebody wants to.

A change is named after the sheep whose client asked for it, and that sheep's
count of changes: ``10.0.0.1:7000/1234``. Both travel to all copies in the
request's token, so the name is the same in the logs of all sheep, and it is
that of slow requests and of failures, too. A read has no token; where it is
traced, its name (``10.0.0.1:7000/r77``) travels as a payload that is
otherwise not there, and that nobody else looks at.

Costs nothing while it is off: methods of the rooms are replaced by ones that
log while it is on, and put back afterwards.
"""

import contextvars
import functools
import logging

from sheepdog.gateway import operation
from sheepdog.model import ids
from sheepdog.peer import marks
from sheepdog.wire import native
from sheepdog.wire import peer as wire

LOG = logging.getLogger('sheepdog.trace')

_READS = (wire.READ, wire.ORDER_READ)
_NATIVE = {native.READ_OBJ: 'read', native.WRITE_OBJ: 'write',
           native.CREATE_AND_WRITE_OBJ: 'create',
           native.REMOVE_OBJ: 'remove', native.DISCARD_OBJ: 'discard',
           native.FLUSH_VDI: 'flush'}
_PEER = {wire.WRITE: 'write', wire.READ: 'read', wire.ZERO: 'discard',
         wire.REMOVE: 'remove', wire.ORDER_WRITE: 'write, to be ordered',
         wire.ORDER_READ: 'read, to be ordered',
         wire.ORDER_ZERO: 'discard, to be ordered',
         wire.ORDER_REMOVE: 'removal, to be ordered'}

_client = contextvars.ContextVar('client', default='')
"""The request of a client that is being handled."""


class _Done:
    """A callback that tells of its being called."""

    __slots__ = ('tracer', 'name', 'what', 'begun', 'done')

    def __init__(self, tracer, name, what, done):
        self.tracer = tracer
        self.name = name
        self.what = what
        self.begun = tracer.now()
        self.done = done

    def __call__(self, error, *more):
        took = (self.tracer.now() - self.begun) * 1000
        if error is None:
            tell(self.name, '%s after %.2f ms', self.what, took)
        else:
            tell(self.name, 'not %s after %.2f ms: %s: %s', self.what, took,
                 type(error).__name__, error)
        self.done(error, *more)


def tell(name, text, *values):
    LOG.info('%s: ' + text, name, *values, extra={'request_id': name})


class Tracer:
    """:param sheep: see ``wiring``; started"""

    def __init__(self, sheep):
        self._sheep = sheep
        self.now = sheep.world.clock.monotonic
        self._restore = []
        self._reads = 0
        self.vdi_ids = None
        """Those that are traced; empty: all; None: tracing is off."""

    def trace(self, names) -> list:
        """Trace requests for these VDIs, all where none is named.

        :returns: the names
        :raises NoVdi:
        """
        vdi_ids = {self._sheep.catalogue.find(name).vdi_id
                   for name in names}
        self.stop()
        self.vdi_ids = frozenset(vdi_ids)
        self._wrap()
        LOG.info('tracing %s', ', '.join(names) or 'all VDIs')
        return self.names()

    def stop(self) -> None:
        if self.vdi_ids is None:
            return
        self.vdi_ids = None
        for restore in reversed(self._restore):
            restore()
        self._restore = []
        LOG.info('tracing no more')

    def names(self) -> list:
        vdis = self._sheep.cluster.state.vdis
        return sorted(vdis[vdi_id].name if vdi_id in vdis
                      else '%06x' % vdi_id for vdi_id in self.vdi_ids or ())

    def _is_meant(self, oid):
        vdi_ids = self.vdi_ids
        return vdi_ids is not None and (
            not vdi_ids or ids.vdi_of(oid) in vdi_ids)

    # -- putting it on --------------------------------------------------

    def _wrap(self):
        sheep = self._sheep
        for volume in sheep.volumes.opened():
            self._wrap_volume(volume)
        self._replace(sheep.volumes, 'open', self._open)
        objects = sheep.port.public_face.objects
        for opcode, handler in list(objects.items()):
            objects[opcode] = functools.partial(
                self._native, _NATIVE[opcode], handler)
            self._restore.append(functools.partial(
                objects.__setitem__, opcode, handler))
        for room, kind in ((sheep.gateway, 'gateway'),
                           (sheep.replica, 'replica'),
                           (sheep.store, 'store')):
            for name in ('write', 'zero', 'remove', 'read'):
                self._replace(room, name,
                              getattr(self, '_%s_%s' % (kind, name)))
        for link in sheep.links.made():
            self._replace(link, 'request', self._link_request, link)
        self._replace(sheep.links, 'data', self._data)

    def _replace(self, owner, name, function, *arguments):
        """:param function: called with the original first"""
        original = getattr(owner, name)
        replacement = functools.partial(function, *arguments, original)
        is_own = name in vars(owner)
        setattr(owner, name, replacement)

        def restore():
            if vars(owner).get(name) is not replacement:
                return
            if is_own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)

        self._restore.append(restore)

    def _wrap_volume(self, volume):
        if 'submit_read' not in vars(volume):
            self._replace(volume, 'submit_read', self._volume_read, volume)
            self._replace(volume, 'submit_write', self._volume_write, volume)

    async def _open(self, original, *arguments, **keywords):
        volume = await original(*arguments, **keywords)
        if self.vdi_ids is not None:
            self._wrap_volume(volume)
        return volume

    def _data(self, original, member):
        link = original(member)
        if 'request' not in vars(link) and self.vdi_ids is not None:
            self._replace(link, 'request', self._link_request, link)
        return link

    # -- faces ----------------------------------------------------------

    def _native(self, what, handler, session, fields, payload):
        oid = fields[native.OID]
        if not self._is_meant(oid):
            handler(session, fields, payload)
            return
        self._within('%s, native request %d' % (
            session.connection.peername, fields[native.ID]), what,
            handler, session, fields, payload)

    def _volume_read(self, volume, original, offset, length, done, *more,
                     **keywords):
        self._of_volume(volume, 'read of %d bytes at %d' % (length, offset),
                        done, original, offset, length, done, *more,
                        **keywords)

    def _volume_write(self, volume, original, offset, data, fua, done, *more,
                      **keywords):
        self._of_volume(volume, 'write of %d bytes at %d%s' % (
            len(data), offset, ', durable' if fua else ''), done,
            original, offset, data, fua, done, *more, **keywords)

    def _of_volume(self, volume, what, done, function, *arguments,
                   **keywords):
        if self._is_meant(volume.vdi_id << 32):
            self._within(_asker(done), '%s of VDI %s' % (what, volume.name),
                         function, *arguments, **keywords)
        else:
            function(*arguments, **keywords)

    def _within(self, client, what, function, *arguments, **keywords):
        LOG.info('%s: %s', client, what)
        token = _client.set(client)
        try:
            function(*arguments, **keywords)
        finally:
            _client.reset(token)

    # -- the gateway ----------------------------------------------------

    def _change_name(self):
        """Of the next change that is entered."""
        sheep = self._sheep
        return '%s:%s/%d' % (sheep.settings.advertised_host,
                             sheep.settings.port,
                             sheep.gateway.changes.count + 1)

    def _entered(self, name, what, oid, start, end, done):
        tell(name, '%s of object %s, bytes %d to %d, for %s', what,
             ids.hex_oid(oid), start, end, _client.get() or 'this sheep')
        return _Done(self, name, 'done', done)

    def _gateway_write(self, original, oid, offset, data, done, *more,
                       **keywords):
        if self._is_meant(oid):
            done = self._entered(self._change_name(), 'write', oid, offset,
                                 offset + len(data), done)
        original(oid, offset, data, done, *more, **keywords)

    def _gateway_zero(self, original, oid, offset, size, done, *more,
                      **keywords):
        if self._is_meant(oid):
            done = self._entered(self._change_name(), 'discard', oid, offset,
                                 offset + size, done)
        original(oid, offset, size, done, *more, **keywords)

    def _gateway_remove(self, original, oid, done, *more, **keywords):
        if self._is_meant(oid):
            done = self._entered(self._change_name(), 'removal', oid, 0, 0,
                                 done)
        original(oid, done, *more, **keywords)

    def _gateway_read(self, original, oid, offset, size, done):
        if self._is_meant(oid):
            self._reads += 1
            settings = self._sheep.settings
            done = self._entered('%s:%s/r%d' % (
                settings.advertised_host, settings.port, self._reads),
                'read', oid, offset, offset + size, done)
        original(oid, offset, size, done)

    # -- between sheep --------------------------------------------------

    def _link_request(self, link, original, opcode, flags, epoch, oid, token,
                      offset, aux, payload, callback):
        if opcode in _PEER and self._is_meant(oid):
            if opcode in _READS:
                name = _read_name(callback)
                if name and not payload:
                    payload = name.encode()
            else:
                name = self._token_name(token)
            if name:
                tell(name, '%s: asks %s:%s', _PEER[opcode], *link.address)
        original(opcode, flags, epoch, oid, token, offset, aux, payload,
                 callback)

    def _token_name(self, token):
        view = self._sheep.cluster.view
        place = token >> marks.COUNT_BITS
        if view is None or place >= len(view.members):
            return ''
        return '%s:%s/%d' % (*view.members[place].address,
                             token & marks.COUNT_MASK)

    # -- the copies -----------------------------------------------------

    def _copy(self, oid, name, what, epoch):
        if name:
            tell(name, '%s: its copy of object %s here, at epoch %d', what,
                 ids.hex_oid(oid), epoch)

    def _replica_write(self, original, epoch, oid, token, *more):
        if self._is_meant(oid):
            self._copy(oid, self._token_name(token), 'write', epoch)
        original(epoch, oid, token, *more)

    def _replica_zero(self, original, epoch, oid, token, *more):
        if self._is_meant(oid):
            self._copy(oid, self._token_name(token), 'discard', epoch)
        original(epoch, oid, token, *more)

    def _replica_remove(self, original, epoch, oid, token, *more):
        if self._is_meant(oid):
            self._copy(oid, self._token_name(token), 'removal', epoch)
        original(epoch, oid, token, *more)

    def _replica_read(self, original, epoch, oid, serial, offset, size, done,
                      raw=False):
        if not raw and self._is_meant(oid):
            self._copy(oid, _read_name(done), 'read', epoch)
        original(epoch, oid, serial, offset, size, done, raw=raw)

    def _stored(self, oid, what, done):
        if not self._is_meant(oid):
            return done
        token = getattr(done, 'token', None)
        name = (_read_name(done) if what == 'read' or token is None
                else self._token_name(token))
        return _Done(self, name, what, done) if name else done

    def _store_write(self, original, oid, version, offset, data, done, *more,
                     **keywords):
        original(oid, version, offset, data,
                 self._stored(oid, 'in the store', done), *more, **keywords)

    def _store_zero(self, original, oid, version, offset, size, done, *more,
                    **keywords):
        original(oid, version, offset, size,
                 self._stored(oid, 'in the store', done), *more, **keywords)

    def _store_remove(self, original, oid, done, *more, **keywords):
        original(oid, self._stored(oid, 'out of the store', done), *more,
                 **keywords)

    def _store_read(self, original, oid, offset, size, done):
        original(oid, offset, size, self._stored(oid, 'read', done))


def _read_name(callback) -> str:
    """Of a read: the callback is the operation, one of its methods, a
    request that came in, or a name that we gave."""
    callback = getattr(callback, '__self__', callback)
    while isinstance(callback, operation.Read):
        callback = callback.done
    if isinstance(callback, _Done):
        return callback.name
    if getattr(callback, 'opcode', None) in _READS:
        return bytes(callback.payload).decode(errors='replace')
    return ''


def _asker(done) -> str:
    """The client's request that is answered by ``done``."""
    if isinstance(done, functools.partial):
        # NBD: a method of the transmission, and the cookie.
        face = getattr(done.func, '__self__', None)
        peername = getattr(face, 'peername', '')
        numbers = [one for one in done.args if isinstance(one, int)]
        if peername and numbers:
            return '%s, NBD request %d' % (peername, numbers[0])
        return 'NBD'
    request = getattr(done, '__closure__', None) and next(
        (cell.cell_contents for cell in done.__closure__
         if hasattr(cell.cell_contents, 'session')), None) or done
    session = getattr(request, 'session', None)
    if session is not None:
        return '%s, request %d' % (session.connection.peername, request.id)
    return 'this sheep'
