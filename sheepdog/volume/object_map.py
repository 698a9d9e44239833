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

"""Which VDI owns each object of an open volume, and how that is changed.

The map is the inode's ``data_vdi_id`` array. An entry is written after its
object, never before; entries of objects that were created at the same time
go out together.
"""

import array
import asyncio
import logging
import sys

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.volume import inode_map
from sheepdog.volume import pieces

LOG = logging.getLogger(__name__)

SPAN_BYTES = 64 << 10
"""Entries further apart than this go out in writes of their own."""

REPEAT_ENTRIES = 1 << 18


class ObjectMap:
    """``owners[i]``: what owns object i (a VDI's id, and the form above it;
    see ``model.ids``), 0 where there is none.

    :param gateway: an ``access.Access``
    :param owner: of objects that are made now; may change
    :param is_alone: nobody else changes the inode while we hold it open
        (exclusive lock); else entries that may have changed are looked up
        again
    """

    def __init__(self, gateway, vdi_id, owner, is_alone):
        self.gateway = gateway
        self.vdi_id = vdi_id
        self.owner = owner
        self.is_alone = is_alone
        self.owners = array.array('I')
        self._pending = {}
        self._writing = None

    async def load(self, count):
        """Read the first ``count`` entries."""
        self.owners = array.array('I', bytes(count * inode.MAP_ENTRY_BYTES))
        async for first, content in inode_map.pieces(
                self.gateway, self.vdi_id, count):
            part = _entries(content)
            self.owners[first:first + len(part)] = part

    async def _read(self, first, count):
        return _entries(await self.gateway.read_wait(
            ids.vdi_oid(self.vdi_id), inode.map_offset(first),
            count * inode.MAP_ENTRY_BYTES))

    def follow(self, vdi_id, owner):
        """The volume has another VDI now, whose map is the same so far.
        What was to be written next is of the VDI that was."""
        pending, self._pending = self._pending, {}
        self.vdi_id = vdi_id
        self.owner = owner
        for waiters in pending.values():
            _fail(waiters, _followed())

    def extend(self, count):
        """The volume has grown to ``count`` objects."""
        missing = count - len(self.owners)
        if missing > 0:
            self.owners.extend([0] * missing)

    async def refresh(self, index):
        """The owner of an object; asks the inode where another sheep may
        have created it, copied an ancestor's, or turned it into another
        form, meanwhile."""
        owner = self.owners[index]
        if owner != self.owner and not self.is_alone:
            owner = (await self._read(index, 1))[0]
            if owner:
                self.owners[index] = owner
        return owner

    async def own(self, index, owner):
        """Object ``index`` exists with that owner: say so in the inode.
        Returns when that is durable, whatever the write was: an entry that a
        power cut took back would come again with the object's next write,
        and with it what the object held before.

        :raises NotServing: the volume has another VDI by now
        """
        waiter = asyncio.get_running_loop().create_future()
        self._pending.setdefault((index, owner), []).append(waiter)
        if self._writing is None:
            self._writing = self.gateway.world.spawn(self._write_out(),
                                                     'object map')
        await waiter

    async def _write_out(self):
        try:
            while self._pending:
                pending, self._pending = self._pending, {}
                await self._write_batch(pending)
        finally:
            self._writing = None

    async def _write_batch(self, pending):
        vdi_id = self.vdi_id
        new = dict(pending.keys())
        indexes = sorted(new)
        error = None
        try:
            await pieces.gather([self._write_span(vdi_id, span, new)
                                 for span in _spans(indexes)])
            if self.vdi_id != vdi_id:
                raise _followed()
        except Exception as exc:
            # Handed to everybody who waits for it, below.
            error = exc
            await self._learn(indexes)
        for index, owner in new.items():
            waiters = pending[index, owner]
            if error is not None:
                _fail(waiters, error)
                continue
            self.owners[index] = owner
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _learn(self, indexes):
        """An entry whose write failed may be there all the same: where one
        copy of the inode has no room, say, it follows those that took it.
        What we hold for the map must be what all others find there."""
        try:
            for span in _spans(indexes):
                self.owners[span[0]:span[-1] + 1] = await self._read(
                    span[0], len(span))
        except errors.SheepdogError as exc:
            LOG.info('VDI %06x: the map cannot be read: %s', self.vdi_id, exc)

    async def _write_span(self, vdi_id, span, new):
        """One write for neighbouring entries."""
        await self._write(vdi_id, span[0], array.array(
            'I', [new[index] for index in span]))

    async def repeat(self):
        """Write what is known of former forms once more: what the one who
        had the volume before, and lost it to us, had under way must not
        change it later."""
        former = self.former()
        if not former:
            return
        # (In one piece: nobody else changes what lies between them.)
        end = former[-1] + 1
        for first in range(former[0], end, REPEAT_ENTRIES):
            await self._write(self.vdi_id, first, self.owners[
                first:min(first + REPEAT_ENTRIES, end)])

    def former(self):
        """Indexes of the VDI's own objects that are of another form than
        new ones. (There may be a million.)"""
        if not self.owners:
            return []
        owners = numpy.frombuffer(self.owners, numpy.uint32)
        return numpy.flatnonzero(
            (owners & ids.VDI_ID_MASK == self.vdi_id)
            & (owners != self.owner)).tolist()

    async def _write(self, vdi_id, first, owners):
        if sys.byteorder == 'big':
            owners.byteswap()
        await self.gateway.write_wait(
            ids.vdi_oid(vdi_id), inode.map_offset(first),
            owners.tobytes(), durable=True)


def _followed():
    return errors.NotServing('the VDI is a snapshot by now')


def _fail(waiters, error):
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)


def _entries(content):
    owners = array.array('I')
    owners.frombytes(content)
    if sys.byteorder == 'big':
        owners.byteswap()
    return owners


def _spans(indexes):
    """Runs of adjacent indexes, which one write is enough for. (With gaps
    between them it would write old entries over what another sheep may have
    set.)"""
    span = []
    for index in indexes:
        if span and (index != span[-1] + 1
                     or len(span) * inode.MAP_ENTRY_BYTES >= SPAN_BYTES):
            yield span
            span = []
        span.append(index)
    if span:
        yield span
