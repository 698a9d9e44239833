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

"""Checks of all copies that operators ask for: started, watched, stopped.

Each member looks through its own copies (``recovery.scrub``); who is asked
passes the wish on and gathers what was found. Asking twice under one name
does no harm.
"""

import array
import asyncio
import sys

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode

MISSING_MAX = 1024
"""Objects that one question may be about."""


class Checks:
    """:param ask_all: ``Admin._ask_all``"""

    def __init__(self, world, sheep, ask_all):
        self.world = world
        self.sheep = sheep
        self._ask_all = ask_all

    async def cluster(self, action, name='', vdi='', tag='', snap_id=0):
        """``action``: start, show, stop. Of each member ``host``, ``port``
        and ``check`` or ``error``.

        :raises NoVdi: ``vdi`` is none
        """
        arguments = {'action': action, 'name': name}
        if action == 'start' and vdi:
            arguments['vdi_id'] = self.sheep.catalogue.find(
                vdi, tag, snap_id).vdi_id
        if not name:
            raise errors.InvalidParameters('a check has a name')
        found = []
        for _index, member, result in await self._ask_all('node.check',
                                                          arguments):
            one = {'host': member.host, 'port': member.port}
            if isinstance(result, errors.SheepdogError):
                one['error'] = str(result) or type(result).__name__
            else:
                one['check'] = result
            found.append(one)
        return found

    async def node(self, action, name, vdi_id=0):
        """How a check stands here; None where there is none of that name.
        ``vdi_id`` 0: of all objects."""
        scrub = self.sheep.scrub
        if action == 'start':
            scrub.start_check(name, vdi_id or None)
        elif action == 'stop':
            scrub.stop_check(name)
        elif action != 'show':
            raise errors.InvalidParameters('unknown action %r' % (action,))
        check = scrub.check(name)
        return check and dict(check.tally.to_dict(), state=check.state)

    async def missing(self, vdi, tag='', snap_id=0, first=0,
                      count=MISSING_MAX):
        """``missing``: ids of objects, among ``count`` from number
        ``first`` on, that the VDI names and that no sheep has;
        ``next``: to go on from, None at the end; ``total``."""
        if first < 0 or not 0 < count <= MISSING_MAX:
            raise errors.InvalidParameters('from 1 to %d objects at once'
                                           % MISSING_MAX)
        entry = self.sheep.catalogue.find(vdi, tag, snap_id)
        head = await self.sheep.catalogue.head(entry.vdi_id)
        total = -(-head.vdi_size // head.object_bytes)
        end = min(first + count, total)
        named = await self._named(entry.vdi_id, first, end)
        absent = await self._absent(named)
        if absent:
            # Perhaps they were given back meanwhile.
            named = await self._named(entry.vdi_id, first, end)
            absent = sorted(set(absent) & set(await self._absent(named)))
        return {'missing': [ids.hex_oid(oid) for oid in absent],
                'next': end if end < total else None, 'total': total}

    async def _named(self, vdi_id, first, end):
        """The objects that entries [first, end) of the map name."""
        if end <= first:
            return []
        owners = array.array('I', await self.sheep.gateway.read_wait(
            ids.vdi_oid(vdi_id), inode.map_offset(first),
            (end - first) * inode.MAP_ENTRY_BYTES))
        if sys.byteorder == 'big':
            owners.byteswap()
        return [ids.data_oid(owner, index) for index, owner
                in enumerate(owners, first) if owner]

    async def _absent(self, oids):
        answers = await asyncio.gather(
            *(self.sheep.gateway.read_wait(oid, 0, 1) for oid in oids),
            return_exceptions=True)
        absent = []
        for oid, answer in zip(oids, answers):
            if isinstance(answer, errors.NoObject):
                # One copy has answered; it may be the wrong one.
                if not await self.sheep.scrub.comparer.is_somewhere(oid):
                    absent.append(oid)
            elif isinstance(answer, BaseException) and not isinstance(
                    answer, errors.SheepdogError):
                raise answer
        return absent
