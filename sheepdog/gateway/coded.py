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

"""Coded objects: updates of all strips, reads of any d.

An update has the stripes that it touches for itself (see ``turns``), is
encoded once, and is complete when all targets have answered one attempt with
one generation. ``doc/source/design-erasure.rst`` says why.
"""

import logging

from sheepdog.erasure import codec as codecs
from sheepdog.erasure import stripes
from sheepdog.gateway import operation
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.peer import answers
from sheepdog.wire import peer as wire
from sheepdog.wire import strips as strips_wire

LOG = logging.getLogger(__name__)

ALWAYS_ONE_BYTES = 2 * limits.STRIP_UPDATE_MAX_BYTES - stripes.STRIPE_BYTES
"""A write that is no longer need not be made in pieces, wherever it begins
in a stripe and ends in another."""


class Update:
    """What a Change of a coded object has besides; the Change's own range
    is made whole stripes. ``content``: their bytes, which are encoded for
    each attempt (mostly there is one, and strips that are kept for another
    are memory that others must do without); ``is_zero``: zeroes, which need
    none. ``is_doomed``: all strips know that it is being removed."""

    __slots__ = ('change', 'offset', 'size', 'content', 'is_zero', 'number',
                 'generations', 'is_doomed')

    def __init__(self, change):
        self.change = change
        self.offset = change.offset
        self.size = change.end - change.offset
        self.content = None
        self.is_zero = False
        self.number = 0
        self.generations = set()
        self.is_doomed = False

    def answered(self, error, value=0, aux=0, payload=b''):
        """A strip elsewhere has answered."""
        if error is None:
            self.generations.add(value)
        self.change(error)

    def answered_here(self, error, payload=b'', value=0):
        if error is None:
            self.generations.add(value)
        self.change(error)

    answered_here.is_void = False


class SpanRead:
    """Whole stripes, from the first d strips that can be read, in the order
    of the route's.

    ``done(error, data)``. An error is NoObject if all say so.
    """

    def __init__(self, strips, route, oid, span, done):
        self._strips = strips
        self._route = route
        self._oid = oid
        self._codec = codecs.codec_of(*route.code)
        self._span = span
        self._done = done
        self._left = list(route.strips)
        self._asked = 0
        self._found = {}
        self._errors = []
        self._extra = None
        self._tell = None

    def start(self):
        # One more: no answer that comes at once may end it before all are
        # asked.
        self._asked = 1
        for _ in range(self._codec.data):
            self._ask()
        self._asked -= 1
        if not self._asked:
            self._end()

    def hedge(self, tell) -> bool:
        """Ask for one strip more, once; ``tell(has_won)`` when all is over.
        (Until the read leaves its turn no strip changes.)"""
        if self._done is None or self._extra is not None or not self._left:
            return False
        self._extra = self._left[0]
        self._tell = tell
        self._ask()
        return True

    def _ask(self):
        if not self._left:
            return
        self._asked += 1
        index = self._left.pop(0)
        route = self._route
        offset, size = stripes.in_strip(self._span, self._codec.data)
        link = route.strips[index]

        def answered(error, value=0, aux=0, payload=b''):
            self._answered(index, size, error, payload)

        if link is None:
            self._strips.read(
                route.epoch, self._oid, index, route.serial, offset, size,
                lambda error, data=b'': self._answered(index, size, error,
                                                       data))
        else:
            link.request(wire.STRIP_READ, strips_wire.flags_of(index, 0),
                         route.epoch, self._oid, route.serial, offset, size,
                         b'', answered)

    def _answered(self, index, size, error, data):
        if self._done is None:
            # Others were enough.
            return
        if error is None and len(data) != size:
            error = errors.NotRecovered('%d bytes instead of %d'
                                        % (len(data), size))
        if error is None:
            self._found[index] = bytes(data)
        else:
            self._errors.append(error)
            if error.retry or isinstance(error, (errors.StorageError,
                                                 errors.NoObject)):
                # (It may be answered at once.)
                self._ask()
        self._asked -= 1
        if not self._asked or len(self._found) >= self._codec.data:
            self._end()

    def _end(self):
        done, self._done = self._done, None
        if done is None:
            return
        error, data = self._outcome()
        if self._tell is not None:
            self._tell(error is None and self._extra in self._found)
        done(error, data)

    def _outcome(self):
        codec = self._codec
        if len(self._found) >= codec.data:
            return None, codec.decode(self._found)
        found = self._errors
        if not found:
            return errors.NotRecovered(
                'object %s: it takes %d strips, there are %d' % (
                    ids.hex_oid(self._oid), codec.data,
                    len(self._route.strips))), b''
        for error in found:
            if error.retry:
                return error, b''
        if not self._found or all(not isinstance(error, errors.NoObject)
                                  for error in found):
            return found[0], b''
        return errors.NotRecovered(
            'object %s: some of its strips are missing'
            % ids.hex_oid(self._oid)), b''


class Coded:
    """``changes`` and ``reads`` are those whose coded objects it serves."""

    def __init__(self, world, routes, changes, reads, strips):
        """:param strips: ``peer.strips.Strips``, this sheep's own"""
        self.world = world
        self.routes = routes
        self.changes = changes
        self.reads = reads
        self.strips = strips
        self._count = 0
        self._flight = {}
        """Object → number → change, the oldest first."""
        self._numbered = {}
        """VDI → a number that all in use are not above."""
        self._declared = {}

    # -- updates --------------------------------------------------------

    def pieces(self, oid, offset, size, is_zero):
        """(offset, size) of the updates that a change is made as: none of
        them too long for a journal. Of an object in whole copies: none."""
        code = self.routes.order.code(oid)
        return () if code is None else stripes.pieces(
            offset, size, code[0] * limits.STRIP_UPDATE_MAX_BYTES, is_zero)

    def widen(self, change):
        """Before it is queued: its range becomes whole stripes."""
        change.coded = Update(change)
        if change.kind != wire.REMOVE:
            change.offset, change.end = stripes.cover(
                change.offset, change.end - change.offset)

    def lose(self, change):
        """Another sheep orders the object for a while: what the ends of its
        stripes were may be so no more. What some strips have of it is
        settled before anybody goes on."""
        self.ended(change)
        change.coded.number = 0
        change.coded.content = None
        change.coded.is_zero = False

    def start(self, change, route):
        """It has its turn: to all strips at once. (Of fewer than d nobody
        could read it: it waits for more zones.)"""
        if len(route.strips) < route.code[0]:
            self.changes.later(change)
            return
        change.route = route
        change.is_begun = True
        change.failures = None
        update = change.coded
        if change.kind == wire.REMOVE:
            update.is_doomed = False
            self._doom(change, route)
        elif update.content is not None or update.is_zero:
            self._send(change, route)
        else:
            edges = stripes.ragged(update.offset, update.size)
            if edges:
                self.world.spawn(self._complete(change, route, edges),
                                 'ends of stripes')
            else:
                self._complete_with(change, {})
                self._send(change, route)

    async def _complete(self, change, route, edges):
        found = {}
        for span in edges:
            try:
                found[span] = await self.read_span(change.oid, route, span)
            except errors.NoObject as error:
                if not change.create:
                    self.changes.end(change, error)
                    return
                found[span] = bytes(span.size)
            except errors.SheepdogError as error:
                if change.done is None:
                    return
                if error.retry:
                    self.changes.later(change)
                else:
                    self.changes.end(change, error)
                return
        if change.done is None:
            return
        if not self.routes.is_current(route):
            self.changes.later(change)
            return
        self._complete_with(change, found)
        self._send(change, route)

    async def read_span(self, oid, route, span):
        """:raises SheepdogError:"""
        future, done = operation.future()
        SpanRead(self.strips, route, oid, span, done).start()
        return await future

    @staticmethod
    def _complete_with(change, edges):
        update = change.coded
        data = change.data
        if change.kind == wire.ZERO:
            if not edges:
                update.is_zero = True
                return
            data = bytes(update.size)
        update.content = data if not edges else stripes.completed(
            update.offset, data, edges)

    def _send(self, change, route):
        update = change.coded
        update.generations.clear()
        number = self._number(change, route)
        below = next(iter(self._flight[change.oid]))
        data = route.code[0]
        offset, size = stripes.in_strip(
            stripes.Span(change.offset, change.end), data)
        token = self.changes.token(change)
        create = change.create and not update.is_zero
        flags = wire.FLAG_CREATE if create else 0
        strips = None if update.is_zero else codecs.codec_of(
            *route.code).encode_pieces(update.content)
        change.pending = len(route.strips) + 1
        for index, link in route.strips.items():
            payload = strips_wire.pack_write(
                number, below, data, size,
                None if strips is None else strips[index])
            if link is None:
                self.strips.update(route.epoch, change.oid, index, token,
                                   route.aux, offset, payload, create,
                                   update.answered_here)
            else:
                link.request(wire.STRIP_WRITE,
                             strips_wire.flags_of(index, flags), route.epoch,
                             change.oid, token, offset, route.aux, payload,
                             update.answered)
        change(None)

    def _doom(self, change, route):
        """What is removed cannot be rolled back: before any strip goes, all
        know of it."""
        update = change.coded
        update.generations.clear()
        change.pending = len(route.strips) + 1
        for index, link in route.strips.items():
            if link is None:
                self.strips.doom(route.epoch, change.oid, index, route.aux,
                                 update.answered_here)
            else:
                link.request(wire.STRIP_DOOM,
                             strips_wire.flags_of(index, 0), route.epoch,
                             change.oid, 0, 0, route.aux, b'',
                             update.answered)
        change(None)

    def goes_on(self, change):
        """All strips have answered alike; True where that was not all."""
        update = change.coded
        if change.kind != wire.REMOVE or update.is_doomed \
                or not update.generations:
            return False
        update.is_doomed = True
        change.failures = None
        self._remove(change, change.route)
        return True

    def _remove(self, change, route):
        token = self.changes.token(change)
        change.pending = len(route.strips) + 1
        for index, link in route.strips.items():
            if link is None:
                self.strips.remove(route.epoch, change.oid, index, token,
                                   route.aux, change)
            else:
                link.request(wire.STRIP_REMOVE,
                             strips_wire.flags_of(index, 0), route.epoch,
                             change.oid, token, 0, route.aux, b'', change)
        change(None)

    def _number(self, change, route):
        """It keeps its number as long as we order the object, whatever
        becomes of the lock: some strips may have it under that number, and
        what others have not is undone, with all that is above it."""
        update = change.coded
        serial = route.serial << strips_wire.COUNT_BITS
        if not update.number:
            self._count += 1
            update.number = serial | self._count
            self._flight.setdefault(change.oid, {})[update.number] = change
        self._numbered[route.vdi_id] = serial | self._count
        return update.number

    def is_complete(self, change):
        """All strips have answered: with one generation?"""
        found = len(change.coded.generations)
        return found == 1 or (change.kind == wire.REMOVE and not found)

    def settle(self, change):
        """The strips are not of one generation: some were settled between
        their answers, or made in another epoch. The first target looks."""
        route = change.route
        link = next((link for link in route.links
                     if link.meant == route.members[0]), None)
        if link is not None:
            link.request(wire.STRIP_RECOVER, 0, route.epoch, change.oid, 0,
                         0, 0, b'', _ignore)
        else:
            self.strips.doubt(change.oid)

    def ended(self, change):
        """It is under way no more."""
        numbers = self._flight.get(change.oid)
        if numbers is not None and change.coded.number:
            numbers.pop(change.coded.number, None)
            if not numbers:
                del self._flight[change.oid]

    def _declarations(self):
        """VDI → (number, exceptions): what we have numbered below is
        complete, but for objects whose own number (``exceptions``) is
        smaller."""
        found = {}
        for vdi_id, last in list(self._numbered.items()):
            if last >> strips_wire.COUNT_BITS \
                    == self.routes.order.serial(vdi_id):
                found[vdi_id] = last + 1, {}
            else:
                del self._numbered[vdi_id]
        for oid, numbers in list(self._flight.items()):
            serial = self.routes.order.serial(ids.vdi_of(oid))
            for number in [number for number, change in numbers.items()
                           if change.done is None
                           and number >> strips_wire.COUNT_BITS != serial]:
                # Given up when the lock was lost; it was settled since.
                del numbers[number]
            if not numbers:
                del self._flight[oid]
            elif ids.vdi_of(oid) in found:
                found[ids.vdi_of(oid)][1][oid] = next(iter(numbers))
        return found

    def declare(self, epoch, links):
        """Let the strips forget what complete updates replaced."""
        for vdi_id, (number, exceptions) in self._declarations().items():
            said = epoch, number, exceptions
            if self._declared.get(vdi_id) == said:
                continue
            self._declared[vdi_id] = said
            self.strips.close_below(vdi_id, number,
                                    self.changes.cluster.incarnation,
                                    exceptions)
            payload = strips_wire.pack_exceptions(exceptions)
            for link in links:
                link.request(wire.STRIP_STABLE, 0, epoch,
                             ids.vdi_oid(vdi_id), number, 0, 0, payload,
                             _ignore)

    def forget(self):
        """Our identity died, or the cluster is another."""
        self._flight.clear()
        self._numbered.clear()
        self._declared.clear()

    # -- reads ----------------------------------------------------------

    def read(self, read):
        span = stripes.cover(read.offset, read.size)
        start = read.offset - span.low

        def done(error, data):
            if read.done is None:
                return
            if error is None:
                self.reads.attempted(read, None,
                                     data[start:start + read.size])
            elif error.retry:
                self.reads.later(read)
            elif isinstance(error, errors.StorageError) and len(
                    stripes.by_blocks(span, read.route.code[0])) > 1:
                self.world.spawn(self._read_by_blocks(read, span),
                                 'read block by block')
            else:
                self.reads.end(read, error)

        read.parts = SpanRead(self.strips, read.route, read.oid, span, done)
        read.parts.start()

    async def _read_by_blocks(self, read, span):
        """Too many strips have bad blocks in what is read, but perhaps at
        different places."""
        route, attempts = read.route, read.attempts
        found = []
        error = None
        try:
            for piece in stripes.by_blocks(span, route.code[0]):
                found.append(await self.read_span(read.oid, route, piece))
        except errors.SheepdogError as exc:
            error = exc
        if read.done is None or read.attempts != attempts:
            return
        start = read.offset - span.low
        if error is None:
            self.reads.attempted(read, None, b''.join(found)[
                start:start + read.size])
        elif error.retry:
            self.reads.later(read)
        else:
            self.reads.end(read, error)

    async def extents(self, oid, route):
        """What is not zero, by whole stripes: where one of d strips is.

        :raises SheepdogError:
        """
        data = route.code[0]
        blocks = set()
        asked = 0
        for index, link in sorted(route.strips.items()):
            if asked == data:
                break
            try:
                extents = await self._extents_of(oid, route, index, link)
            except errors.NoRoom:
                # It is settled without that one.
                continue
            asked += 1
            for offset, size in extents:
                span = stripes.in_object(offset, size, data)
                blocks.update(range(span.low, span.high,
                                    stripes.STRIPE_BYTES))
        if asked < data:
            raise errors.NotRecovered('object %s: too few of its strips'
                                      % ids.hex_oid(oid))
        if not self.routes.is_current(route):
            raise errors.StaleEpoch('the view changed meanwhile')
        return _merged(sorted(blocks))

    async def _extents_of(self, oid, route, index, link):
        if link is None:
            return await self.strips.extents(oid, index)
        _, _, payload = await link.call(
            wire.STRIP_EXTENTS, epoch=route.epoch, oid=oid,
            flags=strips_wire.flags_of(index, 0))
        return answers.unpack_extents(payload)


def _merged(blocks):
    found = []
    for offset in blocks:
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + stripes.STRIPE_BYTES)
        else:
            found.append((offset, stripes.STRIPE_BYTES))
    return found


def _ignore(error, value=0, aux=0, payload=b''):
    """It is said again with the next change."""
