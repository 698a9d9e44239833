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

"""Where objects are, and what a VDI's inode says: for operators who look."""

import asyncio
import base64

from sheepdog.faces.native import forms
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.volume import catalogue

INODE_PIECE_BYTES = 1 << 20
"""Of an inode, that one answer may have."""


class Places:
    """:param ask_all: ``Admin._ask_all``"""

    def __init__(self, sheep, ask_all):
        self.sheep = sheep
        self._ask_all = ask_all

    async def object(self, name, index=-1, tag='', snap_id=0, object='',
                     ask=False):
        """One object of a VDI: its number ``index`` (-1: the inode), or
        any, by its id. ``copies`` and ``copy_policy`` of it; ``expected``:
        the members to have it, the first one first, with their ``strip``
        (None: a whole copy); ``history``: how many were to have it, by
        epoch, as pairs; with ``ask`` also ``nodes``: of each member
        ``parts``, as of ``here``, or ``error``.

        :raises NoVdi, NoTag:
        :raises NoObject: that one was never written
        :raises InvalidParameters: the VDI ends before
        """
        entry = self.sheep.catalogue.find(name, tag, snap_id)
        oid = (oid_of(object) if object
               else await self._oid(entry, index))
        order, cluster = self.sheep.order, self.sheep.cluster
        view = cluster.view
        targets = order.targets(oid)
        code = order.code(oid)
        strips = (order.strips(oid, targets) if code
                  else [None] * len(targets))
        found = {
            'object': ids.hex_oid(oid), 'vdi_id': entry.vdi_id,
            'index': index, 'members': len(view.members),
            'copies': order.copies(oid), 'strips': list(code or ()),
            'expected': [dict(_address(view.members[target]), strip=strip)
                         for target, strip in zip(targets, strips)],
            'history': [[one.epoch, order.copies_at(oid, one.epoch)]
                        for one in cluster.views]}
        if ask:
            found['nodes'] = await self._look(oid)
        return found

    async def _oid(self, entry, index):
        if index == -1:
            return ids.vdi_oid(entry.vdi_id)
        head = await self.sheep.catalogue.head(entry.vdi_id)
        total = -(-head.vdi_size // head.object_bytes)
        if not 0 <= index < total:
            raise errors.InvalidParameters(
                'VDI %s has objects 0 to %d, and no %d' % (
                    entry.name, total - 1, index))
        owner = int.from_bytes(await self._read(
            entry.vdi_id, inode.map_offset(index), inode.MAP_ENTRY_BYTES),
            'little')
        if not owner:
            raise errors.NoObject(
                'The inode object 0x%06x idx %d is not allocated'
                % (entry.vdi_id, index))
        return ids.data_oid(owner, index)

    async def _look(self, oid):
        nodes = []
        for _index, member, result in await self._ask_all(
                'node.object', {'object': ids.hex_oid(oid)}):
            one = _address(member)
            if isinstance(result, errors.SheepdogError):
                one['error'] = str(result) or type(result).__name__
            else:
                one.update(result)
            nodes.append(one)
        return nodes

    async def here(self, object):
        """``parts``: strips of that object in the stores of this sheep; -1
        is a whole copy."""
        oid = oid_of(object)
        version = self.sheep.store.version
        keys = [oid] + [ids.strip_key(oid, strip)
                        for strip in range(limits.STRIPS_MAX)]
        return {'parts': [ids.strip_of(key) for key in keys
                          if version(key) is not None]}

    async def inode(self, name, tag='', snap_id=0, offset=0,
                    count=INODE_PIECE_BYTES):
        """``data``: bytes of the inode, as clients read it, in base 64;
        ``vdi_id`` whose it is."""
        if (not 0 < count <= INODE_PIECE_BYTES
                or not 0 <= offset <= inode.CLIENT_BYTES - count):
            raise errors.InvalidParameters(
                'up to %d bytes at once, of %d' % (INODE_PIECE_BYTES,
                                                   inode.CLIENT_BYTES))
        entry = self.sheep.catalogue.find(name, tag, snap_id)
        data = await self._read(entry.vdi_id, offset, count)
        if entry.form:
            data = forms.without_forms(data, offset)
        return {'vdi_id': entry.vdi_id,
                'data': base64.b64encode(data).decode()}

    async def _read(self, vdi_id, offset, size):
        try:
            return await asyncio.wait_for(self.sheep.gateway.read_wait(
                ids.vdi_oid(vdi_id), offset, size), catalogue.HEAD_SECONDS)
        except asyncio.TimeoutError:
            raise errors.NotServing(
                'the inode of VDI %06x is out of reach: "dog cluster info" '
                'and the log say why' % vdi_id) from None


def oid_of(text):
    """:raises InvalidParameters: it names no object"""
    if 0 < len(text) <= 16:
        try:
            return int(text, 16)
        except ValueError:
            pass
    raise errors.InvalidParameters(
        '%.40r names no object: its number has up to 16 hexadecimal digits'
        % text)


def _address(member):
    return {'host': member.host, 'port': member.port}
