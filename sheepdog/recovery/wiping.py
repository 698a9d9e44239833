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


"""Objects of a cluster that is no more: a format may have come while we were
away. They go before anything of the new cluster is kept.
"""

import asyncio
import logging

from sheepdog.model import errors
from sheepdog.recovery import calls

LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2


class Wiping:
    def __init__(self, world, cluster, store, adopted):
        """``adopted()`` returns when no copy is being adopted that was
        fetched in a view of before."""
        self.world = world
        self._adopted = adopted
        self.cluster = cluster
        self.store = store
        self._task = None

    def begin(self, is_new):
        """Whose objects are here? True: those of another cluster, formatted
        anew since. They go, and until that is so for good nothing here is
        whole: a crash in between must find them to be the old one's, and
        nothing of the new one among them. ``is_new``: this is the first
        view of a cluster that was just formatted."""
        store, created = self.store, self.cluster.state.created
        if store.cluster == created:
            return False
        if not store.cluster and not (is_new and store.oids()):
            self.world.spawn(self._name(created), 'name the cluster')
            return False
        self._task = self.world.spawn(self._wipe(created, self._task),
                                      'drop the objects of before')
        return True

    async def wait(self):
        """Returns when nothing of an earlier cluster is here."""
        while self._task is not None:
            task = self._task
            await asyncio.wait([task])
            if self._task is task:
                self._task = None

    async def _name(self, created):
        try:
            await self.store.set_cluster(created)
        except errors.SheepdogError as exc:
            # Until the next view nothing is at stake.
            LOG.warning('the cluster of the store: %s', exc)

    async def _wipe(self, created, before):
        if before is not None and not before.done():
            await asyncio.wait([before])
        store = self.store
        while self.cluster.state.created == created:
            try:
                # What was accepted before shows in the list then.
                await self._adopted()
                await calls.wait_for(store.sync)
                for oid in store.oids():
                    await calls.wait_for(store.remove, oid)
                await store.set_cluster(created)
                return
            except errors.SheepdogError as exc:
                LOG.error('the objects of before the format stay: %s', exc)
            await asyncio.sleep(PAUSE_SECONDS)
