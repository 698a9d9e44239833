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


"""Gives back the space of deleted VDIs that others came from.

While there are such others (``State.needed``), a deleted VDI keeps its inode,
and those of its objects that the map of any of them names. All maps of these
are read; what none of them names never will be named again: a map gains no
entry of another VDI but from the VDI that it was copied from, and no copy of
a deleted VDI's map becomes one of a VDI (``family.commit``). So that is made
empty, sooner or later, by whom and how often does not matter. (It is not
removed: a sheep that is away now would come back with it, and nobody could
tell why the others have none.) When nothing is named any more an event says
so, and all drop what is left.
"""

import asyncio
import logging
from typing import NamedTuple

import numpy

from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.volume import access
from sheepdog.volume import inode_map

LOG = logging.getLogger(__name__)

RECHECK_SECONDS = 30.0
"""So often it is looked at what VDIs have copied since."""

RETRY_SECONDS = 2.0


class Changed(errors.Transient):
    """There are other VDIs than there were; look again."""


class Own(NamedTuple):
    """Arrays: ``indexes`` of a VDI's own objects, and what the map says of
    each: what ``owners`` it has."""

    indexes: numpy.ndarray
    owners: numpy.ndarray


class Reclaimer:
    """Also a ``ClusterListener``.

    :param throttle: recovery's, for the rest behind each object
    """

    def __init__(self, world, cluster, gateway, catalogue, throttle):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway
        self.catalogue = catalogue
        self.throttle = throttle
        self._asked = asyncio.Event()
        self._emptied = {}
        self._said = ''

    async def run(self):
        while True:
            await self._asked.wait()
            self._asked.clear()
            seconds = RECHECK_SECONDS
            if self._is_ours():
                try:
                    await self._look()
                except errors.SheepdogError as exc:
                    seconds = RETRY_SECONDS
                    self._note(exc)
            if self.cluster.state.needed():
                try:
                    await asyncio.wait_for(self._asked.wait(), seconds)
                except asyncio.TimeoutError:
                    self._asked.set()

    def _is_ours(self):
        """One sheep is enough. (Several do no harm.)"""
        view = self.cluster.view
        return (view is not None and self.cluster.serving()
                and view.members[0].incarnation == self.cluster.incarnation)

    def _note(self, exc):
        text = '%s: %s' % (type(exc).__name__, exc)
        if text != self._said and not isinstance(exc, Changed):
            self._said = text
            LOG.info('space of deleted VDIs that others came from is not '
                     'given back yet: %s', text)

    async def _look(self):
        """:raises SheepdogError: to be tried again"""
        created, vdis = self.cluster.state.created, self.cluster.state.vdis
        deleted = set(self.cluster.state.needed())
        self._emptied = {vdi_id: indexes for vdi_id, indexes
                         in self._emptied.items() if vdi_id in deleted}
        heirs = _heirs(vdis, deleted)
        own = {vdi_id: await self._own(vdi_id) for vdi_id in sorted(deleted)}
        named = {}
        for heir in sorted(heirs):
            await self._note_named(heir, own, named)
        unnamed = {vdi_id: self._unnamed(vdi_id, own[vdi_id], named[vdi_id])
                   for vdi_id in sorted(deleted) if vdi_id in named}
        if len(unnamed) < len(deleted) or any(unnamed.values()):
            await self._secure(min(deleted))
        self._check_same(deleted, heirs)
        for vdi_id in sorted(deleted):
            if vdi_id not in unnamed:
                await self.cluster.execute('vdi-reclaimed', {
                    'vdi_id': vdi_id, 'created': vdis[vdi_id].created})
            else:
                await self._empty(created, vdi_id, unnamed[vdi_id])

    async def _note_named(self, heir, own, named):
        """Which objects of deleted VDIs a map names: in ``named``, by VDI
        id, as ``own`` has them."""
        async for first, content in self._map(heir):
            owners = numpy.frombuffer(content, '<u4') & ids.VDI_ID_MASK
            for vdi_id in numpy.unique(owners).tolist():
                if vdi_id not in own:
                    continue
                indexes = own[vdi_id].indexes
                marks = named.setdefault(vdi_id,
                                         numpy.zeros(len(indexes), bool))
                marks |= numpy.isin(indexes, first + numpy.flatnonzero(
                    owners == vdi_id))

    def _unnamed(self, vdi_id, own, named):
        """Its own objects, (index, owner), that nobody names, and that are
        not known to be empty."""
        emptied = self._emptied.setdefault(vdi_id, set())
        return [(index, owner) for index, owner in zip(
            own.indexes[~named].tolist(), own.owners[~named].tolist())
            if index not in emptied]

    async def _secure(self, vdi_id):
        """Make durable what the maps have said: what is not, a power cut
        brings back to objects that are empty by then.

        :param vdi_id: one that nobody has open, in whose name it is done
        """
        unflushed = self.gateway.unflushed
        unflushed.note_everyone(vdi_id)
        await unflushed.flush_replicas(vdi_id)

    def _check_same(self, deleted, heirs):
        """:raises Changed: there is an heir whose map was not read"""
        vdis = self.cluster.state.vdis
        for vdi_id in _heirs(vdis, deleted) - heirs:
            raise Changed('VDI %06x is new' % vdi_id)

    async def _map(self, vdi_id):
        """Yields pieces of it, see ``inode_map``.

        :raises SheepdogError: NoObject: it is gone
        """
        head = await self.catalogue.head(vdi_id)
        async for piece in inode_map.pieces(
                self.gateway, vdi_id, -(-head.vdi_size // head.object_bytes)):
            yield piece

    async def _own(self, vdi_id):
        """Its own objects. (Not its map: they may be many large ones.)"""
        indexes, owners = [numpy.zeros(0, int)], [numpy.zeros(0, int)]
        async for first, content in self._map(vdi_id):
            found = numpy.frombuffer(content, '<u4')
            places = numpy.flatnonzero(found & ids.VDI_ID_MASK == vdi_id)
            indexes.append(first + places)
            owners.append(found[places])
        return Own(numpy.concatenate(indexes), numpy.concatenate(owners))

    async def _empty(self, created, vdi_id, unnamed):
        """Objects of its own that nobody names.

        :param created: of the cluster whose VDI it is

        :raises Changed: it is needed no more, or another cluster's
        """
        def refusal():
            state = self.cluster.state
            if state.created == created and vdi_id in state.needed():
                return None
            return Changed('VDI %06x is not what it was' % vdi_id)

        # Before each step: ids come again in a cluster that is made anew.
        objects = access.Access(self.gateway, refusal)
        objects.check()
        entry = self.cluster.state.vdis[vdi_id]
        emptied = self._emptied.setdefault(vdi_id, set())
        for index, owner in unnamed:
            if not self._is_ours():
                return
            oid = ids.data_oid(owner, index)
            try:
                if await objects.extents(oid):
                    await objects.zero_wait(
                        oid, 0, 1 << entry.block_size_shift)
                    await self.throttle.rest()
            except errors.NoObject:
                pass
            emptied.add(index)

    # -- changes of the cluster -----------------------------------------

    def on_event(self, event):
        if family.is_ending(event) and self.cluster.state.needed():
            self._asked.set()

    def on_view(self, old, new, cold):
        self._emptied = {}
        if self.cluster.state.needed():
            self._asked.set()

    def on_freeze(self):
        pass

    def on_lapse(self):
        pass

    def on_shutdown(self):
        pass


def _heirs(vdis, deleted):
    """Ids of the VDIs that there are and that came from one of ``deleted``,
    over any number of steps."""
    is_heir = {}
    for vdi_id in vdis:
        path = []
        while vdi_id in vdis and vdi_id not in is_heir:
            # (It is one itself if those above it are.)
            is_heir[vdi_id] = False
            path.append(vdi_id)
            vdi_id = vdis[vdi_id].parent
        found = is_heir.get(vdi_id, False) or vdi_id in deleted
        for vdi_id in reversed(path):
            is_heir[vdi_id] = found
            found = found or vdi_id in deleted
    return {vdi_id for vdi_id, is_one in is_heir.items() if is_one
            and not (vdis[vdi_id].deleted or vdis[vdi_id].pending)}
