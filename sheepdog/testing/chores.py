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

"""What operators do while clients work and things go wrong.

They make, grow, list and delete VDIs, take locks away by force, add and
remove nodes, restart sheep in order, shut the cluster down and start it
again, format it anew, and slow recovery down or postpone it. ``judge`` tells
in the end whether each thing was done just as often as it was answered: once,
or not at all.
"""

import asyncio
import dataclasses
from typing import Collection, Optional

from sheepdog.model import errors
from sheepdog.testing import asking
from sheepdog.testing import disk_chores

POLL_SECONDS = 0.1
STOP_SECONDS = 20.0
"""A stop in order may take so long; then it is a kill."""
LEAVE_SECONDS = 15.0
GROWTH_OBJECTS = 4
OPEN = asking.OPEN


@dataclasses.dataclass
class ChoreSettings:
    pause_seconds: float = 1.5
    weights: dict = dataclasses.field(default_factory=lambda: {
        'create': 4, 'delete': 2, 'recycle': 2, 'resize': 3, 'list': 3,
        'steal': 2, 'join': 1, 'leave': 1, 'rejoin': 1, 'restart': 2,
        'shutdown': 0.5, 'format': 0.2, 'throttle': 1, 'postpone': 0.5,
        'reweight': 0.4, 'plug': 1, 'unplug': 1})
    nodes_max: int = 7
    made_bytes: int = 3 << 20


@dataclasses.dataclass
class Made:
    """A VDI that was asked for under a name of its own."""

    name: str
    format: int
    """How often the cluster had been formatted by then."""
    create: str = OPEN
    """How the creation ended: '' is well, else the name of the error."""
    delete: Optional[str] = None
    """The same of deletions, None while nobody asked."""


class Chores(disk_chores.DiskChores, asking.Asking):
    """See ``Steps``. ``unsettled()`` is called before nodes come or go."""

    def __init__(self, cluster, workload, settings: ChoreSettings,
                 unsettled, seed: str, without: Collection[str] = ()):
        super().__init__(cluster, 'chore', seed, settings.weights,
                         settings.pause_seconds, without)
        self.workload = workload
        self.settings = settings
        self.violations = []
        self.formats = 0
        self.formats_begun = 0
        self._unsettled = unsettled
        self._made = {}
        self._growing = {}
        self._is_creating = False
        self._moving = None
        """The task that moves nodes in and out, one at a time."""

    def look(self) -> None:
        if self.formats_begun:
            for node in list(self.cluster.nodes.values()):
                if node.is_refused:
                    # Its store is of a cluster that is no more.
                    node.renew()
        serving = self.cluster.serving()
        if serving and not self._is_creating:
            state = serving[0].sheep.cluster.state
            for name, _ in self.workload.settings.volumes:
                if state.lookup(name) is None:
                    self._is_creating = True
                    self._ask(serving[0], self._create_volume, name)
                    return

    def heal(self) -> None:
        """Operators let it be."""
        self.is_over = True
        for node in self.cluster.nodes.values():
            node.is_leaving = False
            # (Also of those that are just between two epochs.)
            if node.is_running and node.sheep and node.sheep.cluster:
                node.sheep.recovery.throttle.set(0, 0.0)
        self.cluster.simulation.loop.create_task(self._enable_at_last())

    # VDIs that clients use.

    async def _create_volume(self, node, name: str) -> None:
        try:
            await node.sheep.catalogue.create(
                name, self.workload.settings.volume_bytes)
        finally:
            self._is_creating = False

    def _settled_formats(self) -> int:
        """How often it was formatted, or -1 while that is open."""
        return (self.formats if self.formats == self.formats_begun
                else -1)

    # VDIs.

    def _create(self, source) -> None:
        made = Made('made-%d' % len(self._made), self._settled_formats())
        self._made[made.name] = made
        self._ask(self._serving(source), self._create_one, made)

    async def _create_one(self, node, made: Made) -> None:
        made.create = await self._outcome(node.sheep.catalogue.create(
            made.name, self.settings.made_bytes))
        if made.create or made.format != self.formats_begun:
            return
        # What was answered is there, whatever happens from now on.
        try:
            volume = await node.sheep.volumes.open(made.name)
        except errors.NoVdi:
            if made.delete is None and made.format == self.formats_begun:
                self.violations.append('%s was made, and is not known to %s'
                                       % (made.name, node.name))
            raise
        try:
            await volume.write(0, bytes([1]) * 4096, True)
        finally:
            await volume.close()

    def _delete(self, source) -> None:
        names = [name for name, made in self._made.items()
                 if made.create == '' and made.delete != '']
        if names:
            made = self._made[names[source.randrange(len(names))]]
            self._ask(self._serving(source), self._delete_one, made)

    async def _delete_one(self, node, made: Made) -> None:
        # Once asked for it may happen at any time.
        before, made.delete = made.delete, OPEN
        outcome = await self._outcome(
            node.sheep.catalogue.delete(made.name))
        if outcome == '' or (before is None and made.delete == OPEN):
            made.delete = outcome

    def _recycle(self, source) -> None:
        """Away with a volume that clients use; ``look`` makes another."""
        names = [name for name, _ in self.workload.settings.volumes
                 if name in self.workload.settings.recycled]
        if names:
            self._ask(self._serving(source), self._recycle_one,
                      names[source.randrange(len(names))])

    async def _recycle_one(self, node, name: str) -> None:
        sheep = node.sheep
        entry = sheep.catalogue.find(name)
        try:
            await sheep.cluster.execute(
                'unlock', {'vdi_id': entry.vdi_id, 'force': True})
        except errors.VdiNotLocked:
            pass
        await sheep.catalogue.delete(name)

    def _resize(self, source) -> None:
        workload = self.workload
        names = [name for name, _ in workload.settings.volumes]
        name = names[source.randrange(len(names))]
        grown = self._growing.get(name, 0)
        if grown < GROWTH_OBJECTS:
            self._growing[name] = grown + 1
            size = workload.settings.volume_bytes + (
                (grown + 1) << self.cluster.settings.block_size_shift)
            self._ask(self._serving(source), self._resize_one, name, size)

    async def _resize_one(self, node, name: str, size: int) -> None:
        created = node.sheep.catalogue.find(name).created
        await node.sheep.catalogue.resize(name, size)
        entry = node.sheep.cluster.state.lookup(name)
        if entry is not None and entry.created == created:
            self.workload.note_size(name, created, size)

    def _list(self, source) -> None:
        self._ask(self._serving(source), self._list_all)

    async def _list_all(self, node) -> None:
        formats = self.formats_begun
        expected = [made.name for made in self._made.values()
                    if made.create == '' and made.delete is None and
                    made.format == formats]
        listed = [vdi['name'] for vdi in await node.sheep.catalogue.list()
                  if not vdi['snapshot']]
        missing = [name for name in expected if name not in listed and
                   self._made[name].delete is None]
        if missing and formats == self.formats_begun:
            self.violations.append('%s does not list %s' % (
                node.name, ', '.join(missing)))
        for name in set(listed):
            if listed.count(name) > 1:
                self.violations.append('%s lists %s twice' % (node.name,
                                                              name))

    def _steal(self, source) -> None:
        node = self._serving(source)
        if node is None:
            return
        locked = [vdi_id for vdi_id, lock
                  in sorted(node.sheep.cluster.state.locks.items())
                  if lock.owners]
        if locked:
            self._ask(node, self._unlock,
                      locked[source.randrange(len(locked))])

    async def _unlock(self, node, vdi_id: int) -> None:
        await node.sheep.cluster.execute(
            'unlock', {'vdi_id': vdi_id, 'force': True})

    # Nodes.

    def _move(self, coroutine_function, *arguments) -> None:
        """One such thing at a time; in no process."""
        if self._moving is None or self._moving.done():
            self._unsettled()
            self._moving = self.cluster.simulation.loop.create_task(
                coroutine_function(*arguments))

    def _join(self, source) -> None:
        cluster = self.cluster
        if len(cluster.nodes) < self.settings.nodes_max:
            self._unsettled()
            cluster.add_node().start()

    def _rejoin(self, source) -> None:
        """One that was taken out, with all that it remembers."""
        cluster = self.cluster
        if cluster.gone and len(cluster.nodes) < self.settings.nodes_max:
            self._unsettled()
            node = cluster.gone[0]
            cluster.bring_back(node)
            node.start()

    def _restart(self, source) -> None:
        nodes = [node for node in self.cluster.nodes.values()
                 if node.is_serving and not node.is_leaving]
        if nodes:
            self._move(self._stop, [nodes[source.randrange(len(nodes))]])

    async def _stop(self, nodes: list) -> bool:
        """Stop them in order; False if an end was put to it."""
        for node in nodes:
            node.is_leaving = True
            if node.is_serving:
                node.host.process.run(node.sheep.stop_soon)
        left = STOP_SECONDS
        while any(node.is_running for node in nodes):
            await asyncio.sleep(POLL_SECONDS)
            left -= POLL_SECONDS
            if self.is_over:
                return False
            if left < 0:
                for node in nodes:
                    node.host.kill()
        for node in nodes:
            node.is_leaving = False
        return not self.is_over

    def _leave(self, source) -> None:
        """For good: only when all is well before, and without it."""
        nodes = list(self.cluster.nodes.values())
        if (len(nodes) > max(3, self.cluster.settings.copies) and
                self.cluster.is_well()):
            self._move(self._take_out, nodes[source.randrange(len(nodes))])

    async def _take_out(self, node) -> None:
        if not await self._stop([node]):
            return
        node.is_leaving = True
        left = LEAVE_SECONDS
        while left > 0 and not self.is_over:
            if self.cluster.is_well(without=node):
                self.cluster.take_out(node)
                return
            await asyncio.sleep(POLL_SECONDS)
            left -= POLL_SECONDS
        node.is_leaving = False

    def _reweight(self, source) -> None:
        """As if disks had grown or shrunk."""
        names = list(self.cluster.nodes)
        name = names[source.randrange(len(names))]
        share = source.choice((0.3, 1.0, 2.0))
        self._unsettled()
        self._ask(self._serving(source), self._weigh, name, share)

    async def _weigh(self, node, name: str, share: float) -> None:
        state = node.sheep.cluster.state
        members = [member for member in state.view.members
                   if member.host == self.cluster.nodes[name].address]
        await node.sheep.cluster.execute('reweight', {'spaces': {
            member.node: int(state.settings.reference_space * share)
            for member in members}})

    # Recovery.

    def _throttle(self, source) -> None:
        at_once = source.choice((0, 1, 2, 20))
        pause = source.choice((0.0, 0.01, 0.2, 30.0))
        node = self._serving(source)
        if node is not None:
            node.host.process.run(
                lambda: node.sheep.recovery.throttle.set(at_once, pause))

    def _postpone(self, source) -> None:
        """For a while."""
        self._unsettled()
        self._ask(self._serving(source), self._enable, False)
        self.cluster.simulation.loop.call_later(
            source.uniform(0.5, 10.0), self._enable_soon,
            self._serving(source))

    def _enable_soon(self, node) -> None:
        if node is not None and node.is_serving and not self.is_over:
            self._ask(node, self._enable, True)

    async def _enable(self, node, is_enabled: bool) -> None:
        await node.sheep.cluster.execute(
            'settings', {'changes': {'recovery_enabled': is_enabled}})

    async def _enable_at_last(self) -> None:
        """What was asked for before may still come."""
        while True:
            await asyncio.sleep(1.0)
            for node in self.cluster.serving():
                settings = node.sheep.cluster.state.settings
                if settings is not None and not settings.recovery_enabled:
                    self._ask(node, self._enable, True)
                    break

    # The cluster.

    def _shutdown(self, source) -> None:
        node = self._serving(source)
        if node is not None:
            self._move(self._shut_down, node)

    async def _shut_down(self, node) -> None:
        nodes = list(self.cluster.nodes.values())
        for one in nodes:
            one.is_leaving = True
        self._ask(node, self._execute, 'shutdown', {})
        left = STOP_SECONDS
        while any(one.is_running for one in nodes):
            await asyncio.sleep(POLL_SECONDS)
            left -= POLL_SECONDS
            if self.is_over or left < 0:
                break
        for one in nodes:
            one.is_leaving = False
            if one.host.is_on and not one.is_running:
                one.start()

    async def _execute(self, node, kind: str, arguments: dict) -> None:
        await node.sheep.cluster.execute(kind, arguments)

    def _format(self, source) -> None:
        node = self._serving(source)
        if node is not None and self.formats_begun == self.formats:
            self._unsettled()
            self.formats_begun += 1
            self._growing = {}
            self._ask(node, self._format_all)

    async def _format_all(self, node) -> None:
        await node.sheep.cluster.execute('format', {
            'force': True, **self.cluster.format_settings})
        self.formats = self.formats_begun

    # The end.

    def judge(self, state) -> list:
        """What is wrong, by the state that all have agreed on."""
        wrong = list(self.violations)
        for made in self._made.values():
            if made.format == self.formats_begun:
                wrong += self._judge(made, state.lookup(made.name),
                                     [entry for entry in state.vdis.values()
                                      if entry.name == made.name])
        return wrong

    def _judge(self, made: Made, entry, entries: list) -> list:
        if len(entries) > 1:
            return ['%s was made %d times' % (made.name, len(entries))]
        if made.create == '' and not entries:
            return ['%s was made, and is not known' % made.name]
        if made.create not in ('', OPEN, 'NoSpace', 'StorageError'
                               ) and entries:
            return ['%s was refused (%s), and is there' % (
                made.name, made.create)]
        if made.delete == '' and entry is not None:
            return ['%s was deleted, and is there' % made.name]
        if made.create == '' and made.delete is None and entry is None:
            return ['%s is gone, though nobody deleted it' % made.name]
        return []
