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
from sheepdog.recovery import calls
from sheepdog.recovery import proof as proof_module

LOG = logging.getLogger(__name__)

LOOK_BATCH = 4096
"""Objects looked at before others get their turn of the loop."""

PROVE_BATCH = 32
PAUSES_SECONDS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Behind each, what was not proved is looked at again."""


class Space:
    """
    :param is_deleted: called with an object's id: does nobody need it?
    :param are_targets: called with a view and ids: an array of booleans,
        must we hold them then?
    """

    def __init__(self, cluster, replica, standing, is_deleted, are_targets,
                 proof: proof_module.Proof):
        self.cluster = cluster
        self.replica = replica
        self.standing = standing
        self._is_deleted = is_deleted
        self._are_targets = are_targets
        self._proof = proof
        self._tidied = None

    async def reclaim(self, vdi_ids):
        """Remove our objects of deleted VDIs, and those of forms that these
        VDIs have no more. May stop anywhere; is done
        again after each change of the view."""
        vdi_ids = set(vdi_ids)
        try:
            # What was accepted before shows in the list then.
            await calls.wait_for(self.replica.store.sync)
        except errors.SheepdogError as exc:
            LOG.warning('space of deleted VDIs: %s', exc)
        doomed = [oid for oid in self.replica.store.oids()
                  if ids.vdi_of(oid) in vdi_ids]
        for oid in doomed:
            if not self._is_deleted(oid):
                continue
            self.standing.forget(ids.object_of(oid))
            await self._remove(oid)

    async def reclaim_some(self, owner, strips, indexes):
        """Remove our copies of some objects, if nobody needs them any more,
        without a look at all that is here. What is missed here ``reclaim``
        finds.

        :param strips: how many each of them has; 0: it is kept whole
        """
        for number, index in enumerate(indexes):
            if number % LOOK_BATCH == 0:
                await asyncio.sleep(0)
            oid = ids.data_oid(owner, index)
            for key in ([ids.strip_key(oid, strip) for strip
                         in range(strips)] or (oid,)):
                if (self.replica.store.version(key) is not None
                        and self._is_deleted(oid)):
                    self.standing.forget(oid)
                    await self._remove(key)

    def look_again(self):
        """There is a stray copy more than there was."""
        self._tidied = None

    async def drop_strays(self):
        """Copies that this sheep need not hold in this view, once every
        member has recovered all that it must, and those that should have
        them are proved to."""
        view = self.cluster.view
        if (view is None or not self.cluster.state.has_recovered()
                or self._tidied is view or self._is_evicted(view)):
            return
        self._tidied = view
        left = await self._strays(view)
        count = len(left)
        for seconds in PAUSES_SECONDS:
            left = await self._drop_proved(view, left)
            if self._is_over(view):
                return
            if not left:
                break
            await asyncio.sleep(seconds)
        if left:
            # The next round of the scrub tries again.
            self._tidied = None
        if count:
            LOG.info('epoch %d: dropped %d copies that have their place '
                     'elsewhere now, %d are not proved to be there yet',
                     view.epoch, count - len(left), len(left))

    def _is_evicted(self, view):
        """This sheep is to come back: what it keeps need not be moved here
        again then."""
        member = view.member(self.cluster.incarnation)
        return (member is not None and member.node
                in self.cluster.state.evicted_nodes())

    def _is_over(self, view):
        return (self.cluster.view is not view
                or self.replica.epoch != view.epoch)

    async def _strays(self, view):
        found = []
        oids = self.replica.store.oids()
        for start in range(0, len(oids), LOOK_BATCH):
            await asyncio.sleep(0)
            if self._is_over(view):
                break
            batch = oids[start:start + LOOK_BATCH]
            must = self._are_targets(view, [
                ids.object_of(oid) for oid in batch]).tolist()
            found += [oid for oid, is_held in zip(batch, must)
                      if not is_held
                      and ids.vdi_of(oid) in self.cluster.state.vdis]
        return found

    async def _drop_proved(self, view, strays):
        """Those that are left."""
        left = []
        for start in range(0, len(strays), PROVE_BATCH):
            batch = strays[start:start + PROVE_BATCH]
            verdicts = await asyncio.gather(
                *(self._proof.judge(view, oid) for oid in batch))
            proved = await self._proof.bring_to_disk(view, batch)
            if self._is_over(view):
                return left
            for oid, verdict in zip(batch, verdicts):
                if self._is_over(view):
                    return left
                if self.replica.store.version(oid) is None:
                    continue
                if self._is_deleted(ids.object_of(oid)):
                    verdict = proof_module.DROP
                elif not proved:
                    verdict = proof_module.KEEP
                if (verdict != proof_module.KEEP
                        and await self._let_go(oid, verdict)):
                    self.standing.forget(ids.object_of(oid))
                else:
                    left.append(oid)
        return left

    async def _let_go(self, oid, verdict):
        """False: it is still there."""
        if verdict == proof_module.DROP:
            return await self._remove(oid)
        try:
            await self.replica.store.set_aside(
                oid, 'those who should have it have not, or an older one',
                remove=True)
        except errors.SheepdogError as exc:
            LOG.warning('object %s cannot be set aside: %s',
                        ids.hex_oid(oid), exc)
            return False
        return True

    async def _remove(self, oid):
        """False: it cannot be removed."""
        try:
            await calls.wait_for(self.replica.store.remove, oid)
        except errors.SheepdogError as exc:
            LOG.warning('object %s cannot be removed: %s',
                        ids.hex_oid(oid), exc)
            return False
        return True
