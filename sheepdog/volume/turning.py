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

"""Another form for the objects of an open volume (see ``turner``)."""

import asyncio
import math

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.volume import cow
from sheepdog.volume import holds as holds_module


class OutOfReach(errors.Transient):
    """It may be there later."""


class Turning:
    """Of one volume. What it copies it copies to what the map's ``owner``
    is: that of new objects.

    :param access: an ``access.Access`` to the gateway
    :param object_bytes: of a whole object
    """

    def __init__(self, gateway, vdi_id, access, object_map, holds,
                 object_bytes):
        self.gateway = gateway
        self.vdi_id = vdi_id
        self.access = access
        self.map = object_map
        self.holds = holds
        self.object_bytes = object_bytes
        self._before = []
        self._making = []

    def begin(self):
        """New objects have another form from now on."""
        # By the straight way, to objects that are former now.
        self._before = self.gateway.under_way(self.vdi_id)
        # First writes, which may make one more.
        self._making = self.holds.now()

    def follow(self, vdi_id):
        """The volume has another VDI now, of one form."""
        self.vdi_id = vdi_id
        self._before = []

    def former(self):
        """Indexes of objects that are of a former form."""
        return self.map.former()

    def is_over(self):
        """No object is of a former form, nobody makes one, and nobody asks
        for one by the straight way. (Who asks later asks the map once
        more.)"""
        return not self._is_used() and not self.map.former()

    def progress(self, end):
        """→ (below, left): nobody needs a former object any more that has an
        index less than ``below``, but for those that are ``left``.

        :param end: no more than this
        """
        if self._is_used():
            return 0, ()
        left = [index for index in self.map.former() if index < end]
        if len(left) > limits.TURNING_LEFT_MAX:
            end = left[limits.TURNING_LEFT_MAX]
        return end, tuple(left[:limits.TURNING_LEFT_MAX])

    async def secure(self):
        """Make durable what the map said when it was read, and has said
        since: also where whoever had the volume before has written it, and
        was gone before it was durable.

        :raises SheepdogError:
        """
        self.access.check()
        await self.gateway.unflushed.flush_replicas(self.vdi_id)
        self.access.check()

    def _is_used(self):
        self._forget_ended()
        self._making = [held for held in self._making if not held.done()]
        return bool(self._before or self._making)

    def _forget_ended(self):
        self._before = [request for request in self._before
                        if request.done is not None]

    async def turn(self, index, patience=math.inf):
        """Copy an object of a former form; the map names the copy then.
        Writes to it wait, reads do not. May be broken off anywhere, and
        begun anew. For who has the volume alone.

        The former one stays until the cluster is told how far it is: a
        sheep that is away now and comes back with it must not wonder why the
        others have none.

        :param patience: how many seconds it may take to come to it, or to
            read some of it; meanwhile nobody else can write to it
        :raises NoObject: there is none, though the map names it
        :raises OutOfReach: it took longer
        :raises SheepdogError:
        """
        await self.holds.free(index)
        before, new = self.map.owners[index], self.map.owner
        if before == new or not ids.is_owned(before, self.vdi_id):
            return
        source, target = (ids.data_oid(owner, index)
                          for owner in (before, new))
        with self.holds.hold(index):
            await _in_time(patience, self._unchanged(index, source),
                           'what clients have written to it does not come '
                           'to its end')
            # What is written here is waited for, however long it takes: it
            # must not come over what is written when it is begun anew.
            reader = _Reader(self.access, patience)
            await cow.clear(reader, self.access, target, self.object_bytes)
            await cow.create_equal(reader, self.access, source, target)
            await self.map.own(index, new)

    async def _unchanged(self, index, oid):
        """Returns when nobody changes the object any more."""
        await self.holds.unused(index)
        while True:
            self._forget_ended()
            if not any(request.oid == oid and request.is_change
                       for request in self._before):
                return
            await asyncio.sleep(holds_module.PAUSE_SECONDS)


class _Reader:
    """As the gateway, to read; what takes too long fails."""

    def __init__(self, access, patience):
        self.access = access
        self.patience = patience

    async def extents(self, oid):
        return await self._in_time(self.access.extents(oid))

    async def read_wait(self, oid, offset, size):
        return await self._in_time(self.access.read_wait(oid, offset, size))

    async def _in_time(self, reading):
        return await _in_time(self.patience, reading,
                              'it is out of reach just now')


async def _in_time(seconds, awaitable, text):
    try:
        async with asyncio.timeout(
                None if math.isinf(seconds) else seconds):
            return await awaitable
    except TimeoutError:
        raise OutOfReach(text) from None
