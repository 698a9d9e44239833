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

"""A VDI that becomes smaller.

Its name goes over to a new VDI, which comes from it (as a snapshot's follower
does), and whose map ends where it is to end: so at one event all that was
beyond is gone, and before it everything is there. Of the object in which it
ends the new one has a copy, without what is beyond. The one that was is
deleted, and what nobody names any more is given back (``reclaimer``).
Whatever it has been copied from, nothing beyond the end comes back when it
grows again: the new map has no entry there.
"""

import asyncio

import numpy

from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.volume import catalogue as catalogue_module
from sheepdog.volume import cow
from sheepdog.volume import inode_map
from sheepdog.volume import standstill


class Shrinking:
    def __init__(self, branching):
        self.branching = branching
        self.cluster = branching.cluster
        self.catalogue = branching.catalogue

    async def resize(self, name, size, operation_id=''):
        """As ``Catalogue.resize``, and smaller, too: what is beyond is lost.

        :raises VdiLocked: it would become smaller, and is open
        """
        if self.branching.done(operation_id) is not None:
            return
        source = self.catalogue.find(name)
        catalogue_module.check_size(size, source.block_size_shift)
        head = await self.catalogue.head(source.vdi_id)
        if size >= head.vdi_size:
            await self.catalogue.resize(name, size, operation_id)
            return
        try:
            self._check_unused(source)
            await self._shrink(source, size, operation_id)
        except (errors.ReadOnly, errors.NoVdi, errors.VdiLocked):
            if self.branching.done(operation_id) is not None:
                # (Asked for twice, by two ways.)
                return
            if self.catalogue.find(name).vdi_id == source.vdi_id:
                raise
            raise errors.VdiLocked('VDI %s was changed meanwhile: try again'
                                   % name) from None

    def _check_unused(self, source):
        family.check_source(source)
        family.check_unused(source, self.cluster.state.locks.get(
            source.vdi_id))

    async def _shrink(self, source, size, operation_id):
        branching = self.branching
        # (Created now: who had it open, lost it, and opens it again, is not
        # to take it for the one that it had; see ``client.volume``.)
        new = await branching.begin(source, source.name, source.vdi_id)
        try:
            try:
                async with asyncio.timeout(standstill.PATIENCE_SECONDS):
                    serial = await branching.standstill.hold_all(
                        source.vdi_id, new.vdi_id)
                    # (Its users would not know of the one that follows.)
                    self._check_unused(source)
                    now = family.living(self.cluster.state, source.vdi_id)
                    await self._write_inode(source, new, size)
                    await branching.gateway.declare_now()
            except TimeoutError:
                raise errors.SystemFailure(
                    'VDI %s is as it was: in %d s not all that was under way '
                    'came to its end, or what stays could not be written'
                    % (source.name, standstill.PATIENCE_SECONDS)) from None
            await branching.commit([new], [{
                'source': source.vdi_id, 'snapshot': False, 'tag': '',
                'serial': serial, 'resized': now.resized,
                'replaces': source.vdi_id}], operation_id)
        except BaseException:
            branching.give_up(new)
            raise
        finally:
            branching.standstill.release(new.vdi_id)

    async def _write_inode(self, source, new, size):
        """Durable when it returns."""
        to = self.branching.access(new)
        head = await self.catalogue.head(source.vdi_id)
        if size >= head.vdi_size:
            raise errors.VdiLocked('VDI %s was resized meanwhile: try again'
                                   % source.name)
        await self.branching.write_head(head, new, to, size)
        end, rest = divmod(size, head.object_bytes)
        async for first, content in inode_map.pieces(
                self.branching.gateway, source.vdi_id, end + bool(rest)):
            if rest and first <= end < first + len(content) // (
                    inode.MAP_ENTRY_BYTES):
                content = await self._ending(content, end, end - first, rest,
                                             head.object_bytes, new, to)
            await to.write_wait(ids.vdi_oid(new.vdi_id),
                                inode.map_offset(first), content, True)

    async def _ending(self, content, index, place, start, object_bytes, new,
                      to):
        """A part of the map, with a copy of the object that is to end at
        ``start``."""
        owners = numpy.frombuffer(content, '<u4').copy()
        if owners[place]:
            await cow.create_zeroed(
                to, ids.data_oid(int(owners[place]), index),
                ids.data_oid(new.owner, index), start, object_bytes - start)
            owners[place] = new.owner
        return owners.tobytes()
