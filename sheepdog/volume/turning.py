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

from sheepdog.model import ids
from sheepdog.volume import cow
from sheepdog.volume import holds as holds_module


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

    def begin(self):
        """New objects have another form from now on."""
        # By the straight way, to objects that are former now.
        self._before = self.gateway.under_way(self.vdi_id)

    async def _ended(self, oid, is_change):
        """Returns when what was asked of an object by the straight way,
        before it was a former one, has come to its end."""
        while True:
            self._before = [request for request in self._before
                            if request.done is not None]
            if not any(request.oid == oid and request.is_change == is_change
                       for request in self._before):
                return
            await asyncio.sleep(holds_module.PAUSE_SECONDS)

    async def former(self):
        """Indexes of objects that are of a former form. Nobody makes another
        one."""
        await self.holds.ended()
        return self.map.former()

    async def turn(self, index):
        """Copy an object of a former form; the map names the copy then.
        Writes to it wait, reads do not. May be broken off anywhere, and
        begun anew. For who has the volume alone.

        The former one stays until all are copied, and goes with its form: a
        sheep that is away now and comes back with it must not wonder why the
        others have none.

        :raises NoObject: there is none, though the map names it
        :raises SheepdogError:
        """
        await self.holds.free(index)
        before, new = self.map.owners[index], self.map.owner
        if before == new or not ids.is_owned(before, self.vdi_id):
            return
        source, target = (ids.data_oid(owner, index)
                          for owner in (before, new))
        with self.holds.hold(index):
            await self.holds.unused(index)
            await self._ended(source, True)
            await cow.clear(self.access, target, self.object_bytes)
            await cow.create_equal(self.access, source, target)
            await self.map.own(index, new)
        # (Who began to read it later asks the map once more.)
        await self._ended(source, False)
