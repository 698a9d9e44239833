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
to whoever wants to open it. From time to time an event says up to which object
that is done, and all sheep drop the former ones until there; a last one says
when nothing of the former form is left.

One object that cannot be copied just now holds up neither the others nor
other VDIs: it is left for later, and told of.

All of it may be broken off anywhere: the map tells what is to be done yet.
"""

import asyncio
import contextlib
import logging
from typing import NamedTuple

from sheepdog.cluster import entries
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits

LOG = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""How soon it is tried again where somebody else has the VDI, or something
was missing."""

PATIENCE_SECONDS = 5.0
PATIENCE_MAX_SECONDS = 60.0
"""How long an object may be out of reach before the next one's turn: the
first time, and (each time twice as long) at most."""

ALONE_SECONDS = 1.0
"""One object is copied at a time; what takes longer lets another VDI's begin
beside it…"""
BESIDE_MAX = 16
"""…if there are not so many that take long."""

AGAIN_MAX = 8
"""Of those that were left, so many are tried again before it is looked
whether something else is to be done."""

STEP_BYTES = 1 << 30
STEPS_MIN = 4
"""So much (or less, if it is not the VDI's last quarter) is copied before
all are told that it is, and the former objects go."""

TOLD_MAX = 3
"""The log names so many objects of each VDI."""


def step_of(objects, shift):
    """So many objects of a VDI take room in both forms.

    :param objects: how many it may have
    :param shift: an object has 2**shift bytes
    """
    return max(1, min(STEP_BYTES >> shift, -(-objects // STEPS_MIN)))


class Left(NamedTuple):
    """An object (its id) that is to be copied later: ``since`` (seconds since
    1970) and why; ``times`` it was tried."""

    oid: int
    since: float
    reason: str
    times: int


class Turner:
    """Also a ``ClusterListener``; before the gateway, which sends what waits
    for a new view: by then volumes know of their new forms.

    :param throttle: recovery's, for the rest behind each object

    ``todo``: ids of VDIs that have objects of former forms; ``left``: VDI id
    → index → ``Left``, as this sheep has found.
    """

    def __init__(self, world, cluster, volumes, throttle):
        self.world = world
        self.cluster = cluster
        self.volumes = volumes
        self.throttle = throttle
        self.todo = set()
        self.left = {}
        self._asked = asyncio.Event()
        self._failed = {}
        self._passes = {}
        self._place = asyncio.Lock()
        self._beside = 0

    async def run(self):
        while True:
            await self._asked.wait()
            self._asked.clear()
            for vdi_id in sorted(self.todo - self._passes.keys()):
                self._passes[vdi_id] = self.world.spawn(
                    self._pass(vdi_id), 'turn a VDI into another form')
            if self.todo:
                try:
                    await asyncio.wait_for(self._asked.wait(), POLL_SECONDS)
                except asyncio.TimeoutError:
                    self._asked.set()

    async def _pass(self, vdi_id):
        try:
            await self._turn_vdi(vdi_id)
        except errors.SheepdogError as exc:
            self._note_failure(vdi_id, exc)
        finally:
            del self._passes[vdi_id]

    async def _turn_vdi(self, vdi_id):
        state = self.cluster.state
        entry = state.vdis.get(vdi_id)
        if entry is None or entry.deleted or not entry.former:
            self.todo.discard(vdi_id)
            self._failed.pop(vdi_id, None)
            self.left.pop(vdi_id, None)
            return
        if not self._may_work():
            return
        volume = self.volumes.to_turn(vdi_id)
        if volume is not None:
            await self._turn_all(volume, entry)
            return
        if not self._may_begin(state.locks.get(vdi_id), vdi_id):
            # Who does it knows what is left.
            self.left.pop(vdi_id, None)
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
        former = volume.turning.former()
        left = self.left.setdefault(entry.vdi_id, {})
        for index in left.keys() - set(former):
            del left[index]
        # Their turn is when all others have had theirs.
        again = sorted(left, key=lambda index: left[index].times)
        step = step_of(len(volume.map.owners), entry.block_size_shift)
        count = 0
        for index in [index for index in former if index not in left]:
            if len(left) > limits.TURNING_LEFT_MAX:
                # Nobody could be told that others are turned: they would
                # take room in both forms.
                break
            if not await self._turn_next(volume, entry, index):
                return
            count += 1
            if count % step == 0 and volume.turning.former():
                await self._tell(volume, entry, index + 1)
        for index in again[:AGAIN_MAX]:
            if not await self._turn_next(volume, entry, index):
                return
        if volume.turning.is_over():
            await volume.turning.secure()
            await self.cluster.execute('turned', {
                'vdi_id': entry.vdi_id, 'form': entry.form,
                'owner': self.cluster.incarnation})
        else:
            await self._tell(volume, entry, len(volume.map.owners))

    async def _turn_next(self, volume, entry, index):
        """False: it cannot go on now."""
        if not volume.valid or not self._may_work():
            return False
        async with self._one_place():
            began = self.world.clock.monotonic()
            await self._turn(volume, entry, index)
            await self.throttle.rest()
        if volume.users:
            # Half of the time is its clients'.
            await asyncio.sleep(self.world.clock.monotonic() - began)
        return volume.valid

    async def _tell(self, volume, entry, end):
        """…all how far it is; the former objects go then.

        :raises SheepdogError:
        """
        below, left = volume.turning.progress(end)
        now = self.cluster.state.vdis.get(entry.vdi_id)
        former = now.former if now is not None else ()
        if not former or below < former[0].below or (
                (below, left) == (former[0].below, former[0].left)):
            return
        await volume.turning.secure()
        await self.cluster.execute('turning', {
            'vdi_id': entry.vdi_id, 'form': entry.form, 'below': below,
            'left': list(left), 'owner': self.cluster.incarnation})

    @contextlib.asynccontextmanager
    async def _one_place(self):
        await self._place.acquire()
        late = []
        """Whether it has given its place away."""

        def give_away():
            if self._beside < BESIDE_MAX:
                self._beside += 1
                late.append(True)
                self._place.release()

        timer = asyncio.get_running_loop().call_later(ALONE_SECONDS,
                                                      give_away)
        try:
            yield
        finally:
            timer.cancel()
            if late:
                self._beside -= 1
            else:
                self._place.release()

    async def _turn(self, volume, entry, index):
        left = self.left.setdefault(entry.vdi_id, {})
        times = left[index].times if index in left else 0
        try:
            await volume.turning.turn(index, min(
                PATIENCE_SECONDS * 2 ** min(times, 10),
                PATIENCE_MAX_SECONDS))
        except errors.SheepdogError as exc:
            if not volume.valid:
                raise
            # The others can be turned all the same.
            self._leave(left, entry, index, exc, ids.data_oid(
                volume.map.owners[index], index))
        else:
            if left.pop(index, None) and not left:
                LOG.info('VDI %s: the objects that could not be copied into '
                         'their new form are copied now', entry.name)

    def _leave(self, left, entry, index, exc, oid):
        before = left.get(index)
        reason = str(exc) or type(exc).__name__
        left[index] = Left(
            oid, before.since if before else self.world.clock.time(), reason,
            before.times + 1 if before else 1)
        if before is None and len(left) <= TOLD_MAX:
            LOG.warning(
                'VDI %s is not wholly turned into its new redundancy yet: '
                'object %s (bytes %d to %d) cannot be copied: %s. It is tried '
                'again, and keeps its former redundancy; the others go on. %s',
                entry.name, ids.hex_oid(oid),
                index << entry.block_size_shift,
                (index + 1) << entry.block_size_shift, reason,
                _advice(exc, entry.name))

    def _note_failure(self, vdi_id, exc):
        text = '%s: %s' % (type(exc).__name__, exc)
        if self._failed.get(vdi_id) != text:
            self._failed[vdi_id] = text
            LOG.warning('VDI %06x is not turned into its new redundancy '
                        'yet, and is tried again: %s', vdi_id, text)

    def facts(self):
        """Of each VDI that has objects which cannot be copied just now, by
        what this sheep has found: ``name``, ``count``, and of the one that
        has waited longest ``since``, ``example`` (its id) and ``reason``."""
        found = []
        for vdi_id, left in sorted(self.left.items()):
            entry = self.cluster.state.vdis.get(vdi_id)
            if left and entry is not None:
                oldest = min(left.values(), key=lambda one: one.since)
                found.append({
                    'name': entry.name, 'count': len(left),
                    'since': oldest.since, 'reason': oldest.reason,
                    'example': ids.hex_oid(oldest.oid)})
        return found

    # -- changes of the cluster -----------------------------------------

    def on_view(self, old, new, cold):
        self.todo = {vdi_id for vdi_id, entry
                     in self.cluster.state.vdis.items()
                     if entry.former and not entry.deleted}
        self.volumes.take_forms(self.todo)
        for vdi_id in self.left.keys() - self.todo:
            del self.left[vdi_id]
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


def _advice(exc, name):
    """What an operator may do about it."""
    if isinstance(exc, errors.NoSpace):
        return ('Make room: delete what is not needed, or add nodes ("dog '
                'node info" shows who is full)')
    if isinstance(exc, (errors.StorageError, errors.NoObject)):
        return ('"dog vdi check %s" shows what is damaged: write those bytes '
                'anew from a backup' % name)
    return '"sheepdog-manage status --why" names who is missing'
