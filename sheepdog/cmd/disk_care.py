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

"""What a sheep does about its disks beyond its own store.

A disk that fails is given up, or the sheep leaves with it, only when the
cluster grants it, in the one order of all that is decided: so two sheep
whose disks fail at the same time do not count on each other's copies.
"""

import asyncio
import logging

from sheepdog.cluster import decisions
from sheepdog.model import errors

LOG = logging.getLogger(__name__)

TELL_SECONDS = 0.5
ASK_SECONDS = 10.0


class DiskCare:
    """:param leave: called once, to leave the cluster with the last disk"""

    def __init__(self, world, cluster, store, replica, recovery, leave):
        self._world = world
        self._cluster = cluster
        self._store = store
        self._replica = replica
        self._recovery = recovery
        self._leave = leave
        self._asking = None
        self._telling = None
        self._is_over = False
        store.when_failing(self._fails)

    def stop(self):
        """Nothing is asked for any more."""
        self._is_over = True

    # -- disks that fail ------------------------------------------------

    def _fails(self):
        """A disk answers with errors: leave what is on it to the other
        sheep, once they have copies of all that is here; with the last disk
        leave the cluster. (Alone it is better than nothing.)
        """
        if self._is_over:
            return
        if self._is_spare() or self._is_postponed():
            # No error to anybody, but a little patience.
            self._replica.is_leaving = True
        else:
            LOG.error('the disk fails: %s; it stays in use until the '
                      'others have copies of all', self._store.device_error)
        if self._asking is None or self._asking.done():
            self._asking = self._world.spawn(
                self._ask(), 'ask to do without a disk')

    def _is_spare(self):
        cluster = self._cluster
        return (cluster.serving()
                and decisions.has_redundancy(cluster.state)
                and decisions.is_spare(cluster.state, cluster.incarnation))

    def _is_postponed(self):
        """It will be so as soon as recovery that was put off is done."""
        return (self._cluster.serving() and self._recovery.grace.is_on
                and decisions.has_redundancy(self._cluster.state))

    async def _ask(self):
        """…until it is granted: ``granted`` then hears of it before we get
        the answer."""
        store, cluster = self._store, self._cluster
        while not self._is_over and store.device_error is not None:
            if self._is_spare():
                self._replica.is_leaving = True
                await self._ask_once()
                if self._is_over or store.device_error is None:
                    return
            elif not decisions.has_redundancy(cluster.state):
                self._replica.is_leaving = False
            elif self._is_postponed():
                self._replica.is_leaving = True
                await self._hurry()
            await asyncio.sleep(TELL_SECONDS)

    async def _hurry(self):
        """This is one loss more: what has been put off, as somebody is away,
        must be whole before anything is granted to us."""
        try:
            await self._cluster.execute('hurry', {}, timeout=ASK_SECONDS)
        except errors.SheepdogError as exc:
            LOG.debug('recovery is not hurried yet: %s', exc)

    async def _ask_once(self):
        store, cluster = self._store, self._cluster
        incarnation, lost = cluster.incarnation, store.can_do_without()
        may_leave = False
        try:
            answer = await cluster.execute('forgo', {
                'incarnation': incarnation, 'lost': lost,
                'space': store.weight_left() if lost else 0},
                timeout=ASK_SECONDS)
            # (Who cannot write to the cluster's log does not hear of it.)
            may_leave = answer['granted'] and not lost and (
                cluster.incarnation == incarnation or not cluster.serving())
        except errors.SheepdogError as exc:
            LOG.debug('whether a disk may go is open: %s', exc)
        if may_leave or cluster.circumstances()['log_failure']:
            self._leave_now()

    def _leave_now(self):
        if not self._is_over:
            self._is_over = True
            self._replica.is_leaving = True
            self._leave()

    def granted(self, event):
        """Now, and not when the answer comes: by then the others may have
        taken what we have for whole again."""
        store = self._store
        if (event['incarnation'] != self._cluster.incarnation
                or self._is_over or store.device_error is None):
            return
        if not event['lost']:
            self._leave_now()
        elif store.can_do_without():
            self._recovery.lose(store.give_up(is_known=True))
            self._replica.is_leaving = store.device_error is not None
            self.tell()

    # -- what the cluster knows -----------------------------------------

    def tell(self):
        """The cluster must know how much space there is here, and that a
        disk was lost."""
        if self._store.news is not None and not self._is_over and (
                self._telling is None or self._telling.done()):
            self._telling = self._world.spawn(self._tell(),
                                              'tell of the disks')

    async def _tell(self):
        store = self._store
        while store.news is not None and not self._is_over:
            news = store.news
            try:
                await store.noted()
                await self._cluster.execute('disks', {
                    'node': store.node_id, 'space': news.weight,
                    'lost': news.has_untold_loss})
                await store.told(news)
            except (errors.SheepdogError, OSError) as exc:
                LOG.debug('the cluster was not told of the disks: %s', exc)
                await asyncio.sleep(TELL_SECONDS)
