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


"""Giving back the space of what nobody needs here any more."""

import asyncio
import logging

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import mover

LOG = logging.getLogger(__name__)

LOOK_BATCH = 512
"""Objects looked at before others get their turn of the loop."""


class Space:
    """
    :param is_deleted: called with an object's id: is its VDI deleted?
    :param is_target: called with (view, oid): must we hold it then?
    """

    def __init__(self, cluster, replica, standing, is_deleted, is_target):
        self.cluster = cluster
        self.replica = replica
        self.standing = standing
        self._is_deleted = is_deleted
        self._is_target = is_target
        self._tidied = None

    async def reclaim(self, vdi_ids):
        """Remove our objects of deleted VDIs. May stop anywhere; is done
        again after each change of the view."""
        vdi_ids = set(vdi_ids)
        try:
            # What was accepted before shows in the list then.
            await mover.wait_for(self.replica.store.sync)
        except errors.SheepdogError as exc:
            LOG.warning('space of deleted VDIs: %s', exc)
        doomed = [oid for oid in self.replica.store.oids()
                  if ids.vdi_of(oid) in vdi_ids]
        for oid in doomed:
            if not self._is_deleted(oid):
                continue
            self.standing.forget(oid)
            await self._remove(oid)

    async def drop_strays(self):
        """Copies that this sheep need not hold in this view, once every
        member has recovered all that it must."""
        view = self.cluster.view
        if (view is None or not self.cluster.state.has_recovered()
                or self._tidied is view):
            return
        self._tidied = view
        dropped = 0
        for number, oid in enumerate(self.replica.store.oids()):
            if number % LOOK_BATCH == 0:
                await asyncio.sleep(0)
            if (self.cluster.view is not view
                    or self.replica.epoch != view.epoch):
                return
            if (self._is_target(view, oid)
                    or ids.vdi_of(oid) not in self.cluster.state.vdis):
                continue
            if await self._remove(oid):
                self.standing.forget(oid)
                dropped += 1
        if dropped:
            LOG.info('epoch %d: dropped %d copies that have their place '
                     'elsewhere now', view.epoch, dropped)

    async def _remove(self, oid):
        """False: it cannot be removed."""
        try:
            await mover.wait_for(self.replica.store.remove, oid)
        except errors.SheepdogError as exc:
            LOG.warning('object %s cannot be removed: %s',
                        ids.hex_oid(oid), exc)
            return False
        return True
