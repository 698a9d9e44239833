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


"""Operators make snapshots of the volumes that clients use, clone them, roll
clones back, and delete any of it, while things go wrong.

What a snapshot holds it held at one moment between the question and the
answer: to the history of each block it is a read, and all of these reads fit
into one moment; so do those of snapshots of several volumes that were made
together. From then on it never changes. Clones have one user, who
knows what is in them.
"""

import dataclasses
from typing import Collection, Optional

from sheepdog.model import errors
from sheepdog.testing import asking
from sheepdog.testing import checkers
from sheepdog.testing import space
from sheepdog.testing import spans
from sheepdog.testing import workload as workload_module
from sheepdog.volume import reclaimer

UNIT_BYTES = workload_module.UNIT_BYTES
_OPEN_ERRORS = (errors.Transient, errors.ShuttingDown, errors.WaitForJoin)
KEPT = 12
"""So many snapshots and clones at most; then some are deleted first."""
RECLAIM_ROUNDS = 6
GROUPS_SHARE = 0.3
"""Of snapshots: those of several volumes at one moment."""
LOOKED_AT = 24
"""Blocks of each."""


@dataclasses.dataclass
class BranchSettings:
    pause_seconds: float = 0.0
    """Between two of them, on average; 0: there are none."""
    weights: dict = dataclasses.field(default_factory=lambda: {
        'snapshot': 6, 'look': 4, 'clone': 4, 'write': 5, 'rollback': 2,
        'shrink': 2, 'delete': 4})


@dataclasses.dataclass
class Snapshot:
    """``reads``: in the history, by unit. ``values``: once they were looked
    at. ``is_sure``: that it is there, or (``is_deleted``) is not."""

    name: str
    tag: str
    created: int
    format: int
    reads: dict
    began: int
    ended: Optional[int] = None
    values: Optional[dict] = None
    is_sure: bool = False
    is_deleted: bool = False


@dataclasses.dataclass
class Clone:
    """``values``: what is in it; None while that is not known. ``kept``:
    what was when its snapshot was made, None if there is none."""

    name: str
    format: int
    values: Optional[dict]
    kept: Optional[dict] = None
    is_sure: bool = True
    is_deleted: bool = False
    is_busy: bool = False


class Branches(asking.Asking):
    open_errors = _OPEN_ERRORS

    def __init__(self, cluster, workload, history, chores,
                 settings: BranchSettings, seed: str,
                 without: Collection[str] = ()):
        super().__init__(cluster, 'branch', seed, settings.weights,
                         settings.pause_seconds, without)
        self.workload = workload
        self.history = history
        self.chores = chores
        self.violations = []
        self.snapshots = []
        self.groups = []
        self.clones = []
        self._count = 0

    async def _answered(self, function, node, arguments) -> None:
        await super()._answered(function, node.sheep, arguments)

    def _name(self, what: str) -> str:
        self._count += 1
        return '%s-%d' % (what, self._count)

    def _is_now(self, made) -> bool:
        return made.format == self.chores.formats_begun

    # Snapshots of volumes that clients use.

    def _snapshot(self, source) -> None:
        if self._is_full():
            return
        names = [name for name, _ in self.workload.settings.volumes]
        count = 1
        if source.random() < GROUPS_SHARE:
            count = 2 + source.randrange(len(names) - 1)
        self._ask(self._serving(source), self._snapshot_group,
                  source.sample(names, count), self._name('s'),
                  source.random() < 0.5)

    def _is_full(self) -> bool:
        return len([one for one in self.snapshots + self.clones
                    if one.is_sure and not one.is_deleted
                    and self._is_now(one)]) >= KEPT

    async def _snapshot_group(self, sheep, names: list, tag: str,
                              is_looked_at: bool) -> None:
        """Of several volumes at one moment, or of one."""
        group = []
        for name in names:
            created = sheep.catalogue.find(name).created
            units = self._units()
            reads = self.history.begin_read(
                '%s of %s' % (tag, name),
                [(name, created, unit) for unit in units])
            group.append(Snapshot(
                name, tag, created, self.chores.formats_begun,
                dict(zip(units, reads)), self.history.now()))
        self.snapshots += group
        self.groups.append(group)
        try:
            if len(names) > 1:
                done = (await sheep.branching.snapshot_group(names, tag)
                        )['vdis']
            else:
                done = [await sheep.branching.snapshot(names[0], tag)]
        except _OPEN_ERRORS:
            raise
        except errors.SheepdogError:
            for made in group:
                made.is_deleted = made.is_sure = True
            raise
        ended = self.history.now()
        for made, one in zip(group, done):
            entry = sheep.cluster.state.vdis[one['snapshot']]
            if entry.created != made.created or not self._is_now(made):
                # (Of another volume of that name. Not to be known later.)
                continue
            made.ended = ended
            made.is_sure = True
            if is_looked_at:
                await self._look_at(sheep, made)

    def _units(self) -> list:
        """Those that clients use most."""
        hot = self.workload.hot
        return sorted({unit + i for unit in hot for i in (0, 3)})[:LOOKED_AT]

    def _sure(self) -> list:
        return [one for one in self.snapshots if one.is_sure
                and not one.is_deleted and self._is_now(one)]

    def _look(self, source) -> None:
        snapshots = self._sure()
        if snapshots:
            self._ask(self._serving(source), self._look_at,
                      snapshots[source.randrange(len(snapshots))])

    async def _look_at(self, sheep, made: Snapshot) -> None:
        try:
            found = await self._read(sheep, made.name, made.tag,
                                     list(made.reads))
        except (errors.NoVdi, errors.NoTag):
            if made.is_sure and not made.is_deleted and self._is_now(made):
                self.violations.append('snapshot %s of %s is gone' % (
                    made.tag, made.name))
            raise
        except errors.NoObject as error:
            if not made.is_deleted and self._is_now(made):
                self.violations.append('snapshot %s of %s lacks an object: '
                                       '%s' % (made.tag, made.name, error))
            raise
        self._compare(made, found)

    def _compare(self, made: Snapshot, found: dict) -> None:
        if made.is_deleted or not self._is_now(made):
            return
        if made.values is None:
            made.values = found
            for unit, value in found.items():
                made.reads[unit].value = value
                made.reads[unit].end = made.ended
        elif made.values != found:
            self.violations.append('snapshot %s of %s has changed: %s' % (
                made.tag, made.name, _difference(made.values, found)))

    async def _read(self, sheep, name: str, tag: str, units) -> dict:
        volume = await sheep.volumes.open(name, tag, read_only=True)
        try:
            found = {}
            for unit in units:
                if (unit + 1) * UNIT_BYTES <= volume.size:
                    found[unit] = workload_module.value_of(
                        await volume.read(unit * UNIT_BYTES, UNIT_BYTES),
                        unit)
                else:
                    found[unit] = checkers.ZERO
            return found
        finally:
            await volume.close()

    # Clones, each with one user.

    def _clone(self, source) -> None:
        snapshots = [one for one in self._sure() if one.values]
        if snapshots and not self._is_full():
            self._ask(self._serving(source), self._clone_one,
                      snapshots[source.randrange(len(snapshots))],
                      self._name('clone'), source.random() < 0.2)

    async def _clone_one(self, sheep, made: Snapshot, name: str,
                         shares_nothing: bool) -> None:
        clone = Clone(name, made.format, None, is_sure=False, is_busy=True)
        self.clones.append(clone)
        try:
            await sheep.branching.clone(made.name, made.tag, name,
                                        shares_nothing)
        except _OPEN_ERRORS:
            raise
        except errors.SheepdogError:
            clone.is_deleted = clone.is_sure = True
            raise
        clone.values, clone.is_sure = dict(made.values), True
        clone.is_busy = False

    def _free_clone(self, source) -> Optional[Clone]:
        """One whose content is known, and that nobody is busy with. (Who
        asks for something of it and never answers leaves it so.)"""
        free = [one for one in self.clones if one.is_sure and one.values
                and not (one.is_busy or one.is_deleted)
                and self._is_now(one)]
        return free[source.randrange(len(free))] if free else None

    def _write(self, source) -> None:
        clone = self._free_clone(source)
        node = self._serving(source)
        if clone is not None and node is not None:
            clone.is_busy = True
            units = sorted(clone.values)
            self._ask(node, self._write_one, clone, [
                (units[source.randrange(len(units))],
                 source.choices((0, 1, self._object_units()),
                                (5, 1, 1))[0]) for _ in range(4)],
                source.random() < 0.3, source.random() < 0.15)

    def _object_units(self) -> int:
        return (1 << self.cluster.settings.block_size_shift) // UNIT_BYTES

    async def _write_one(self, sheep, clone: Clone, units: list,
                         keeps: bool, grows: bool) -> None:
        try:
            await self._use(sheep, clone, units, keeps, grows)
        except errors.NoObject as error:
            if not clone.is_deleted and self._is_now(clone):
                self.violations.append('%s has lost an object: %s' % (
                    clone.name, error))
            raise

    async def _use(self, sheep, clone: Clone, units: list,
                   keeps: bool, grows: bool) -> None:
        """Look at all of it, change something, and perhaps keep a
        snapshot, or let it grow.

        :param units: (unit, how many to discard, at such a multiple; 0: a
            write)
        """
        await self._look_at_clone(sheep, clone)
        values, clone.values = clone.values, None
        volume = await sheep.volumes.open(clone.name)
        try:
            if grows:
                await sheep.catalogue.resize(
                    clone.name, volume.size + volume.object_bytes)
            for unit, discarded in units:
                if discarded:
                    await self._discard(volume, values, unit, discarded)
                elif (unit + 1) * UNIT_BYTES <= volume.size:
                    value = self.history.new_value()
                    await volume.write(unit * UNIT_BYTES,
                                       workload_module.fill(value, unit),
                                       True)
                    values[unit] = value
            if keeps and clone.kept is None:
                await sheep.branching.snapshot(clone.name, 'kept')
                clone.kept = dict(values)
        finally:
            await volume.close()
        clone.values = values
        clone.is_busy = False

    async def _discard(self, volume, values: dict, unit: int,
                       count: int) -> None:
        start = unit // count * count
        end = min(start + count, volume.size // UNIT_BYTES)
        if start < end:
            await volume.discard(start * UNIT_BYTES,
                                 (end - start) * UNIT_BYTES, True)
            values.update((one, checkers.ZERO) for one in values
                          if start <= one < end)

    async def _look_at_clone(self, sheep, clone: Clone) -> None:
        for tag, values in (('', clone.values), ('kept', clone.kept)):
            if values is None:
                continue
            found = await self._read(sheep, clone.name, tag, list(values))
            if found != values and self._is_now(clone):
                self.violations.append('%s %s is not as it should be: %s' % (
                    clone.name, tag, _difference(values, found)))

    def _rollback(self, source) -> None:
        clone = self._free_clone(source)
        node = self._serving(source)
        if clone is not None and clone.kept and node is not None:
            clone.is_busy = True
            self._ask(node, self._rollback_one, clone)

    async def _rollback_one(self, sheep, clone: Clone) -> None:
        clone.values = None
        await sheep.branching.rollback(clone.name, 'kept')
        clone.values = dict(clone.kept)
        await self._look_at_clone(sheep, clone)
        clone.is_busy = False

    def _shrink(self, source) -> None:
        clone = self._free_clone(source)
        node = self._serving(source)
        if clone is not None and node is not None:
            clone.is_busy = True
            self._ask(node, self._shrink_one, clone, source.random())

    async def _shrink_one(self, sheep, clone: Clone, share: float) -> None:
        """…and let it grow again: what was beyond is zero."""
        values, clone.values = clone.values, None
        size = (await sheep.catalogue.head(
            sheep.catalogue.find(clone.name).vdi_id)).vdi_size
        units = max(1, int(share * size / UNIT_BYTES))
        await sheep.shrinking.resize(clone.name, units * UNIT_BYTES)
        await sheep.catalogue.resize(clone.name, size)
        clone.values = {unit: value if unit < units else checkers.ZERO
                        for unit, value in values.items()}
        await self._look_at_clone(sheep, clone)
        clone.is_busy = False

    # Away with them, in any order.

    def _delete(self, source) -> None:
        living = [one for one in self._sure() + self.clones
                  if not one.is_deleted and self._is_now(one)]
        node = self._serving(source)
        if living and node is not None:
            made = living[source.randrange(len(living))]
            made.is_deleted, made.is_sure = True, False
            self._ask(node, self._delete_one, made)

    async def _delete_one(self, sheep, made) -> None:
        if isinstance(made, Snapshot):
            await sheep.catalogue.delete(made.name, made.tag)
            made.is_sure = True
            return
        # The VDI first, its snapshot sometimes before: by lot of the name.
        tags = ['', 'kept'] if made.kept else ['']
        for tag in tags:
            try:
                await sheep.catalogue.delete(made.name, tag)
            except (errors.NoVdi, errors.NoTag):
                pass

    # The end.

    def judge(self, nodes) -> list:
        """:param nodes: that serve, at rest"""
        for node in nodes[:1]:
            try:
                node.run(self._look_at_all(node.sheep))
            except errors.SheepdogError as error:
                self.violations.append('cannot be looked at: %r' % error)
            try:
                self.violations += self._judge_space(node)
            except errors.SheepdogError as error:
                self.violations.append('a map cannot be looked at: %r'
                                       % error)
        return self.violations + self._judge_moments()

    async def _look_at_all(self, sheep) -> None:
        for made in self._sure():
            await self._look_at(sheep, made)
        for clone in self.clones:
            if (clone.is_sure and not clone.is_deleted
                    and self._is_now(clone)):
                await self._look_at_clone(sheep, clone)
        state = sheep.cluster.state
        for made in self.snapshots:
            if (made.is_deleted and made.is_sure and self._is_now(made)
                    and state.lookup(made.name, made.tag) is not None):
                self.violations.append('snapshot %s of %s was deleted, or '
                                       'refused, and is there' % (
                                           made.tag, made.name))
        for entry in state.vdis.values():
            if entry.pending:
                self.violations.append('VDI %06x is being made by %s' % (
                    entry.vdi_id, entry.pending))

    def _judge_space(self, node) -> list:
        """What is not empty is named by some VDI, soon."""
        found = node.run(space.left(node))
        for _ in range(RECLAIM_ROUNDS):
            if not found:
                break
            self.cluster.simulation.run_for(reclaimer.RECHECK_SECONDS / 2)
            found = node.run(space.left(node))
        return found

    def _judge_moments(self) -> list:
        return [wrong for wrong in map(self._judge_moment, self.groups)
                if wrong]

    def _judge_moment(self, group: list) -> str:
        """Snapshots that were made together are of one moment."""
        group = [made for made in group
                 if made.values is not None and made.ended is not None]
        possible = [(max((made.began for made in group), default=0),
                     min((made.ended for made in group), default=0))]
        seen = []
        for made in group:
            for unit, value in made.values.items():
                writes = [one for one in self.history.operations(
                    (made.name, made.created, unit))
                    if one.kind == checkers.WRITE]
                held = spans.of_value(writes, value, self._may_be_lost)
                if not held:
                    # (A torn block, or a write of nobody: see the history.)
                    continue
                seen.append((made.name, unit, value, held))
                possible = spans.common(possible, held)
                if not possible:
                    return ('snapshot %s of %s is of no moment: (VDI, unit, '
                            'value, when) %s, and not %s' % (
                                made.tag, made.name, seen[-1], next(
                                    (one for one in seen if not
                                     spans.common(one[-1], held)),
                                    (made.began, made.ended))))
        return ''

    def _may_be_lost(self, write) -> bool:
        """By a power cut, as not durable."""
        return any(write.end < cut < write.durable
                   for cut in self.history.cuts)


def _difference(wanted: dict, found: dict) -> str:
    return ', '.join('%d: %s instead of %s' % (unit, found.get(unit), value)
                     for unit, value in wanted.items()
                     if found.get(unit) != value)
