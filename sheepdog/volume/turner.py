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

"""Turns VDIs that were altered between copies and strips into their new form.

An epoch has put the new form in force: what is created has it from then on.
Objects that there are stay as they are, readable and writable, until they
are copied, one after the other, and the map names the copy
(``turning``). Only who has the VDI alone may do that: the sheep whose
clients have it open; else one of all takes its lock, of a kind that gives way
to whoever wants to open it. When nothing of a former form is left, an event
says so, and all sheep drop what remained of it.

All of it may be broken off anywhere: the map tells what is to be done yet.
"""

import asyncio
import logging

from sheepdog.cluster import entries
from sheepdog.model import errors

LOG = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""How soon it is tried again where somebody else has the VDI, or something
was missing."""


class Turner:
    """Also a ``ClusterListener``; before the gateway, which sends what waits
    for a new view: by then volumes know of their new forms.

    :param throttle: recovery's, for the rest behind each object

    ``todo``: ids of VDIs that have objects of former forms.
    """

    def __init__(self, world, cluster, volumes, throttle):
        self.world = world
        self.cluster = cluster
        self.volumes = volumes
        self.throttle = throttle
        self.todo = set()
        self._asked = asyncio.Event()
        self._failed = {}

    async def run(self):
        while True:
            await self._asked.wait()
            self._asked.clear()
            for vdi_id in sorted(self.todo):
                try:
                    await self._turn_vdi(vdi_id)
                except errors.SheepdogError as exc:
                    self._note_failure(vdi_id, exc)
            if self.todo:
                try:
                    await asyncio.wait_for(self._asked.wait(), POLL_SECONDS)
                except asyncio.TimeoutError:
                    self._asked.set()

    async def _turn_vdi(self, vdi_id):
        state = self.cluster.state
        entry = state.vdis.get(vdi_id)
        if entry is None or entry.deleted or not entry.former:
            self.todo.discard(vdi_id)
            self._failed.pop(vdi_id, None)
            return
        if not self._may_work():
            return
        volume = self.volumes.to_turn(vdi_id)
        if volume is not None:
            await self._turn_all(volume, entry)
            return
        if not self._may_begin(state.locks.get(vdi_id), vdi_id):
            return
        volume = await self.volumes.open_to_turn(entry)
        if volume is None:
            return
        try:
            await self._turn_all(volume, entry)
        finally:
            await self.volumes.close_turned(volume)

    def _may_work(self):
        return (self.cluster.serving()
                and self.cluster.state.settings.recovery_enabled)

    def _may_begin(self, lock, vdi_id):
        if lock is None or not lock.owners:
            return self._is_chosen(vdi_id)
        # (Left over: an answer was lost on the way.)
        return (lock.mode == entries.TURNING
                and self.cluster.incarnation in lock.owners)

    def _is_chosen(self, vdi_id):
        members = self.cluster.view.members
        return (members[vdi_id % len(members)].incarnation
                == self.cluster.incarnation)

    async def _turn_all(self, volume, entry):
        """:raises SheepdogError: it is to be tried again later"""
        error = None
        for index in await volume.turning.former():
            if not volume.valid or not self._may_work():
                return
            began = self.world.clock.monotonic()
            try:
                await volume.turning.turn(index)
            except errors.SheepdogError as exc:
                # The others can be turned all the same.
                error = exc
            await self.throttle.rest()
            if volume.users:
                # Half of the time is its clients'.
                await asyncio.sleep(self.world.clock.monotonic() - began)
        if not volume.valid:
            return
        if error is not None:
            raise error
        if not await volume.turning.former():
            await self.cluster.execute('turned', {
                'vdi_id': entry.vdi_id, 'form': entry.form,
                'owner': self.cluster.incarnation})

    def _note_failure(self, vdi_id, exc):
        text = '%s: %s' % (type(exc).__name__, exc)
        if self._failed.get(vdi_id) != text:
            self._failed[vdi_id] = text
            LOG.warning('VDI %06x is not turned into its new redundancy '
                        'yet, and is tried again: %s', vdi_id, text)

    # -- changes of the cluster -----------------------------------------

    def on_view(self, old, new, cold):
        self.todo = {vdi_id for vdi_id, entry
                     in self.cluster.state.vdis.items()
                     if entry.former and not entry.deleted}
        self.volumes.take_forms(self.todo)
        if self.todo:
            self._asked.set()

    def on_event(self, event):
        if (event['kind'] in ('unlock', 'vdi-turned')
                and event['vdi_id'] in self.todo):
            # Somebody else's turn, perhaps ours.
            self._asked.set()

    def on_freeze(self):
        pass

    def on_lapse(self):
        pass

    def on_shutdown(self):
        pass
