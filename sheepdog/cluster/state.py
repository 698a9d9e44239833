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

"""The replicated state: what every member knows, and in the same order.

A pure state machine. It changes by ``apply`` of numbered records and by
nothing else, so two members that have applied the same records are equal.
An event is checked before anything changes: a record that is refused leaves
no trace.
"""

import dataclasses
from typing import Any, Callable, Optional

from sheepdog.cluster import alteration
from sheepdog.cluster import attributes
from sheepdog.cluster import entries
from sheepdog.cluster import family
from sheepdog.cluster import qos
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.model import shapes
from sheepdog.model import view as view_model
from sheepdog.placement import redundancy

OPERATIONS_MIN = 1024
OPERATIONS_MAX = 65536
OPERATION_SECONDS = 600.0
"""The results of the newest OPERATIONS_MIN exclusive operations are kept in
any case, of OPERATIONS_MAX at most, between them those of the last
OPERATION_SECONDS: longer than anybody retries."""

FORGET_SECONDS = 6 * 3600.0
"""After so long in its place an eviction of a node is forgotten."""

LEAVES = -1
"""In place of the epoch that a member has recovered: its disk fails, and
what it has does not count any more."""

_SCALARS = {'shutdown': bool, 'term': int, 'sequence': int}


class State:
    """``locks`` and ``fences`` by VDI id; ``fences`` is the sequence of the
    last change of a VDI's lock, which stays when the lock is gone.
    ``recovered``: incarnation → the epoch it has recovered completely.
    ``settled``: the newest epoch that all its members have recovered, so
    that nothing acknowledged until then is only elsewhere; or that was begun
    by force. ``whole``: the newest that they have recovered indeed, all copies
    being equal then (0: not known, of an older version). ``forced``: the
    newest that an operator had begun without who was missing. ``hurried``:
    until all is whole again, nobody who is absent is waited for;
    ``departing``: incarnations that are to go for good. ``spaces``: node
    → the bytes it has told of since it joined; ``vnodes``: node → (the
    number it was started with, the one that an operator has set since).
    ``lost``: node → the epoch in which it told that a disk with objects is
    gone, until a later one is settled. ``evicted``: node →
    ``entries.Eviction``, also of those that are back."""

    def __init__(self):
        self.settings: Optional[view_model.ClusterSettings] = None
        self.view: Optional[view_model.View] = None
        self.vdis: dict = {}
        self.locks: dict = {}
        self.fences: dict = {}
        self.operations: dict = {}
        self.recovered: dict = {}
        self.settled = 0
        self.whole = 0
        self.forced = 0
        self.hurried = False
        self.departing: frozenset = frozenset()
        self.spaces: dict = {}
        self.vnodes: dict = {}
        self.lost: dict = {}
        self.evicted: dict = {}
        self.attributes = attributes.NONE
        self.qos: dict = {}
        self.shutdown = False
        self.term = 0
        self.sequence = 0
        self.time = 0.0
        self._names: dict = {}
        self._members: dict = {}
        self._altering: tuple = ()
        self._needed: frozenset = frozenset()

    @property
    def is_altering(self) -> bool:
        """The next epoch changes policies, so it must come."""
        return bool(self._altering)

    @property
    def position(self) -> tuple:
        """(term, sequence) of the last record; grows, and of two members
        the one with the higher has seen all that was ever decided."""
        return self.term, self.sequence

    @property
    def created(self) -> int:
        """The cluster's creation time; 0 before it is formatted."""
        return self.settings.created if self.settings else 0

    @property
    def epoch(self) -> int:
        return self.view.epoch if self.view else 0

    def lookup(self, name: str, tag: str = '',
               snap_id: int = 0) -> Optional[entries.VdiEntry]:
        """The working VDI of that name; with a tag or a snapshot's id, that
        snapshot."""
        for vdi_id in self._names.get(name, ()):
            entry = self.vdis[vdi_id]
            if entry.deleted or entry.pending:
                continue
            if tag or snap_id:
                if (entry.snapshot and (not tag or entry.tag == tag) and
                        (not snap_id or entry.snap_id == snap_id)):
                    return entry
            elif not entry.snapshot:
                return entry
        return None

    def of_name(self, name: str) -> list:
        """All entries, also of what was deleted or is being made."""
        return [self.vdis[vdi_id] for vdi_id in self._names.get(name, ())]

    def is_gone(self, oid: int) -> bool:
        """Nothing refers to that object any more; see ``VdiEntry``."""
        entry = self.vdis.get(ids.vdi_of(oid))
        if entry is None:
            return False
        below, left = self.gone_below(oid)
        index = ids.index_of(oid)
        return index < below and index not in left

    def is_dead(self, vdi_id: int) -> bool:
        """It is deleted, and nobody needs any of its objects."""
        entry = self.vdis.get(vdi_id)
        return (entry is not None and entry.deleted
                and vdi_id not in self._needed)

    def needed(self) -> list:
        """Ids, sorted, of deleted VDIs of which others may name objects."""
        return sorted(self._needed)

    def gone_below(self, oid: int) -> tuple:
        """See ``VdiEntry``. Of a VDI that is not known nothing is gone."""
        entry = self.vdis.get(ids.vdi_of(oid))
        if entry is None:
            return 0, ()
        if entry.vdi_id in self._needed:
            # The map tells which objects have to go one by one.
            if ids.is_vdi(oid) or ids.is_data(oid):
                return entry.turned_below(oid)
        return entry.gone_below(oid)

    def is_member(self, incarnation: str) -> bool:
        return incarnation in self._members

    def has_recovered(self) -> bool:
        """Every member with storage has recovered the current epoch."""
        return self.view is not None and all(
            self.recovered.get(member.incarnation) == self.view.epoch
            for member in self.view.members if member.vnodes)

    def evicted_nodes(self) -> set:
        """Those that keep no objects for a while."""
        return {node for node, eviction in self.evicted.items()
                if eviction.is_out}

    def size(self) -> int:
        """Entries, to reckon with the length of ``to_dict``."""
        return (len(self.vdis) + len(self.locks) + len(self.operations) +
                len(self._members) + len(self.qos)
                + self.attributes.bytes // limits.ATTRIBUTE_OVERHEAD_BYTES)

    def next_record(self, term: int, time: float, event: dict,
                    operation: str = '', result: Any = None) -> entries.Record:
        return entries.Record(self.sequence + 1, term, time, event,
                              operation, result)

    def apply(self, record: entries.Record) -> None:
        """
        :raises SheepdogError: the event is not possible; nothing changed
        """
        assert record.sequence == self.sequence + 1, (record.sequence,
                                                      self.sequence)
        assert record.term >= self.term, (record.term, self.term)
        kind = record.check()
        if self.settings is None and kind != 'format':
            raise errors.WaitForFormat('the cluster is not formatted')
        _APPLIERS[kind](self, record)
        self.term = record.term
        self.sequence = record.sequence
        self.time = max(self.time, record.time)
        if record.operation:
            self.operations[record.operation] = entries.Operation(
                record.result, self.time)
            self._forget_operations()

    def _forget_operations(self) -> None:
        excess = len(self.operations) - OPERATIONS_MIN
        while excess > 0:
            first = next(iter(self.operations))
            if (len(self.operations) <= OPERATIONS_MAX and
                    self.operations[first].time
                    >= self.time - OPERATION_SECONDS):
                break
            del self.operations[first]
            excess -= 1

    def copy(self) -> 'State':
        """Changing one of the two does not change the other."""
        other = State()
        other.__dict__.update(self.__dict__)
        for field in ('vdis', 'locks', 'fences', 'operations', 'recovered',
                      '_names', 'spaces', 'vnodes', 'lost', 'evicted'):
            setattr(other, field, dict(getattr(self, field)))
        return other

    def to_dict(self) -> dict:
        return {
            'settings': self.settings.to_dict() if self.settings else None,
            'view': self.view.to_dict() if self.view else None,
            'vdis': [entry.to_dict() for entry in self.vdis.values()],
            'locks': [[vdi_id, lock.mode, list(lock.owners)]
                      for vdi_id, lock in self.locks.items()],
            'fences': [list(item) for item in self.fences.items()],
            'operations': [[name, operation.result, operation.time]
                           for name, operation in self.operations.items()],
            'recovered': [list(item) for item in self.recovered.items()],
            'settled': self.settled,
            'whole': self.whole,
            'forced': self.forced,
            'hurried': self.hurried,
            'departing': sorted(self.departing),
            'spaces': [list(item) for item in self.spaces.items()],
            'vnodes': [[node, *numbers] for node, numbers
                       in self.vnodes.items()],
            'lost': [list(item) for item in self.lost.items()],
            'evicted': [[node, *eviction] for node, eviction
                        in self.evicted.items()],
            'attributes': self.attributes.to_dict(),
            'qos': {name: qos.to_dict(found)
                    for name, found in self.qos.items()},
            'shutdown': self.shutdown,
            'term': self.term,
            'sequence': self.sequence,
            'time': self.time,
        }

    @classmethod
    @shapes.decoder('cluster state')
    def from_dict(cls, fields: dict) -> 'State':
        """:raises InvalidParameters:"""
        shapes.check(fields, _SCALARS, 'cluster state')
        self = cls()
        if fields['settings']:
            self.settings = view_model.ClusterSettings.from_dict(
                fields['settings'])
        if fields['view']:
            self._seat(view_model.View.from_dict(fields['view']))
        for entry in fields['vdis']:
            self._put_vdi(entries.VdiEntry.from_dict(entry))
        self._needed = family.needed(self.vdis)
        for vdi_id, mode, owners in fields['locks']:
            if vdi_id not in self.vdis or mode not in entries.LOCK_MODES:
                raise ValueError('a lock of VDI %.40r' % (vdi_id,))
            self.locks[vdi_id] = entries.Lock(mode, tuple(_all(str, owners)))
        self.fences = _pairs(int, int, fields['fences'])
        for name, result, time in fields['operations']:
            self.operations[_the(str, name)] = entries.Operation(
                result, _the((int, float), time))
        self.recovered = _pairs(str, int, fields['recovered'])
        self.settled = _the(int, fields.get('settled', 0))
        self.whole = _the(int, fields.get('whole', 0))
        self.forced = _the(int, fields.get('forced', 0))
        self.hurried = _the(bool, fields.get('hurried', False))
        self.departing = frozenset(_all(str, fields.get('departing', ())))
        self.spaces = _pairs(str, int, fields.get('spaces', ()))
        self.vnodes = {_the(str, node): (_the(int, started), _vnodes(number))
                       for node, started, number in fields.get('vnodes', ())}
        self.lost = _pairs(str, int, fields.get('lost', ()))
        self.evicted = {
            _the(str, node): entries.Eviction(
                _the(bool, is_out), _the((int, float), time),
                _the(int, times), _the(bool, by_hand))
            for node, is_out, time, times, by_hand
            in fields.get('evicted', ())}
        self.attributes = attributes.Attributes.from_dict(
            fields.get('attributes', {}))
        self.qos = {_the(str, name): qos.checked(found) for name, found
                    in fields.get('qos', {}).items()}
        self.shutdown = fields['shutdown']
        self.term = fields['term']
        self.sequence = fields['sequence']
        self.time = _the((int, float), fields['time'])
        if self.view is not None and self.settings is None:
            raise ValueError('a view of no cluster')
        return self

    # What each kind of event changes. Checks come first.

    def _format(self, record: entries.Record) -> None:
        settings = view_model.ClusterSettings.from_dict(
            record.event['settings'])
        self.settings = settings
        self.vdis, self.locks, self.fences = {}, {}, {}
        self.recovered, self._names = {}, {}
        self._altering, self._needed = (), frozenset()
        self.spaces, self.vnodes, self.lost = {}, {}, {}
        self.evicted = {}
        self.attributes, self.qos = attributes.NONE, {}
        self.shutdown = False
        self._set_view(view_model.View.from_dict(record.event['view']),
                       record.sequence)
        self.settled = self.whole = self.epoch
        self.forced = 0
        self.hurried = False
        self.departing = frozenset()

    def _epoch(self, record: entries.Record) -> None:
        view = view_model.View.from_dict(record.event['view'])
        # The same epoch again is a cold start: new incarnations.
        assert view.epoch >= self.epoch, (view.epoch, self.epoch)
        if view.epoch > self.epoch + 1:
            # By force: an operator gave up who is missing.
            self._settle(view.epoch)
            self.forced = view.epoch
        self.shutdown = False
        if view.epoch > self.epoch:
            self._alter()
        self._set_view(view, record.sequence)

    def _alter(self) -> None:
        altering, self._altering = self._altering, ()
        for vdi_id in altering:
            entry = self.vdis.get(vdi_id)
            if entry is not None and entry.wanted:
                self.vdis[vdi_id] = alteration.in_force(entry, self.epoch,
                                                        self.settled)

    def _set_view(self, view: view_model.View, sequence: int) -> None:
        before = self.view
        self._seat(view)
        living = self._members
        self._see_off(before, view)
        for entry in family.without_owner(self.vdis, living):
            self.vdis[entry.vdi_id] = entry
        for vdi_id, lock in list(self.locks.items()):
            owners = tuple(owner for owner in lock.owners if owner in living)
            if owners != lock.owners:
                self._set_lock(vdi_id, lock.mode, owners, sequence)
        self.recovered = {incarnation: epoch for incarnation, epoch
                          in self.recovered.items() if incarnation in living}

    def _vdi_create(self, record: entries.Record) -> None:
        entry = entries.VdiEntry.from_dict(record.event['entry'])
        if entry.vdi_id in self.vdis:
            raise errors.VdiExists('VDI id %06x is taken' % entry.vdi_id)
        if entry.snapshot:
            other = self.lookup(entry.name, entry.tag, entry.snap_id)
        else:
            other = self.lookup(entry.name)
        if other is not None:
            raise errors.VdiExists('a VDI %s exists' % entry.name)
        self._put_vdi(entry)

    def _vdi_delete(self, record: entries.Record) -> None:
        vdi_id = record.event['vdi_id']
        entry = self._living_vdi(vdi_id)
        lock = self.locks.get(vdi_id)
        if lock and lock.mode != entries.TURNING and (
                lock.owners != (record.event.get('owner'),)):
            raise errors.VdiLocked('VDI %s is in use' % entry.name)
        if lock:
            self._set_lock(vdi_id, lock.mode, (), record.sequence)
        if not entry.snapshot:
            self.attributes = self.attributes.without(entry.name)
            self.qos = qos.changed(self.qos, entry.name, {})
        # For ever, so that its id is not used again.
        self.vdis[vdi_id] = dataclasses.replace(entry, deleted=True)
        self._needed = family.needed(self.vdis)

    def _vdi_begin(self, record: entries.Record) -> None:
        """A VDI that comes from another is being made."""
        entry = family.begun(self, record.event)
        self._put_vdi(entry)
        self._set_lock(entry.vdi_id, entries.EXCLUSIVE, (entry.pending,),
                       record.sequence)

    def _vdi_commit(self, record: entries.Record) -> None:
        """…and is there, with all that belongs to it."""
        self._take_commit(family.commit(self, record.event, record.time),
                          record)

    def _vdi_commit_group(self, record: entries.Record) -> None:
        """…several at once."""
        self._take_commit(family.commit_all(
            self, {'commits': entries.checked_commits(record.event)},
            record.time), record)

    def _take_commit(self, commit: family.Commit,
                     record: entries.Record) -> None:
        self.vdis.update(commit.changed)
        for vdi_id, lock in commit.locks.items():
            self._set_lock(vdi_id, *lock, record.sequence)
        self._needed = family.needed(self.vdis)

    def _vdi_abort(self, record: entries.Record) -> None:
        entry = family.aborted(self, record.event)
        self.vdis[entry.vdi_id] = entry
        self._set_lock(entry.vdi_id, entries.EXCLUSIVE, (), record.sequence)

    def _vdi_reclaimed(self, record: entries.Record) -> None:
        """Nobody names any object of a deleted VDI."""
        entry = family.reclaimed(self, record.event)
        self.vdis[entry.vdi_id] = entry
        self._needed = self._needed - {entry.vdi_id}

    def _vdi_resize(self, record: entries.Record) -> None:
        """The size stands in the inode; the event tells who has it open."""
        vdi_id = record.event['vdi_id']
        was = self.vdis.get(vdi_id)
        if was is not None and was.deleted and self.lookup(was.name):
            raise errors.VdiLocked(
                'VDI %s was replaced meanwhile: try again' % was.name)
        entry = self._living_vdi(vdi_id)
        if entry.snapshot:
            raise errors.VdiLocked(
                'VDI %s became a snapshot meanwhile: try again' % entry.name)
        self.vdis[entry.vdi_id] = dataclasses.replace(
            entry, resized=record.sequence)

    def _vdi_alter(self, record: entries.Record) -> None:
        """From the next epoch on these VDIs have other policies."""
        changes = _changes(record.event)
        for vdi_id, policy in changes.items():
            alteration.check(family.existing(self, vdi_id), policy,
                             self.settled, self.locks.get(vdi_id))
        for vdi_id, policy in changes.items():
            self.vdis[vdi_id] = alteration.noted(self.vdis[vdi_id], policy)
        self._altering = tuple(vdi_id for vdi_id, entry in self.vdis.items()
                               if entry.wanted)

    def _vdi_turning(self, record: entries.Record) -> None:
        """How far a VDI is turned."""
        event = record.event
        entry = alteration.turning(self._living_vdi(event['vdi_id']),
                                   event['form'], event['below'],
                                   event['left'])
        # (Which of its objects go with this event.)
        entries.checked_progress(event['begin'], event['copied'])
        self._check_alone(entry, event['owner'])
        self.vdis[entry.vdi_id] = entry

    def _vdi_turned(self, record: entries.Record) -> None:
        """A VDI has no objects of former forms any more."""
        entry = alteration.turned(self._living_vdi(record.event['vdi_id']),
                                  record.event['form'])
        self._check_alone(entry, record.event['owner'])
        self.vdis[entry.vdi_id] = entry

    def _check_alone(self, entry: entries.VdiEntry, owner: str) -> None:
        """Nobody but who has it open knows its map.

        :raises VdiNotLocked:
        """
        lock = self.locks.get(entry.vdi_id)
        if lock is None or owner not in lock.owners or (
                lock.mode == entries.SHARED):
            raise errors.VdiNotLocked('VDI %s is not locked by %s' % (
                entry.name, self._who(owner)))

    def _vdi_attribute(self, record: entries.Record) -> None:
        name, key, value = (record.event['name'], record.event['key'],
                            record.event.get('value'))
        attributes.check(key, value)
        if self.lookup(name) is None:
            raise errors.NoVdi('there is no VDI %s' % name)
        self.attributes = self.attributes.changed(name, key, value)

    def _vdi_qos(self, record: entries.Record) -> None:
        """How much of the cluster's pace a VDI may take."""
        name = record.event['name']
        found = qos.checked(record.event['limits'])
        if self.lookup(name) is None:
            raise errors.NoVdi('there is no VDI %s' % name)
        self.qos = qos.changed(self.qos, name, found)

    def _lock(self, record: entries.Record) -> None:
        vdi_id, mode, owner = (record.event['vdi_id'], record.event['mode'],
                               record.event['owner'])
        entry = self._living_vdi(vdi_id)
        if entry.snapshot:
            raise errors.ReadOnly('VDI %s is a snapshot' % entry.name)
        if mode not in entries.LOCK_MODES:
            raise errors.InvalidParameters('unknown lock mode %r' % (mode,))
        if owner not in self._members:
            raise errors.NotServing('%s is not a member' % owner)
        if mode == entries.SHARED and entry.is_turning:
            raise errors.VdiLocked(
                'VDI %s is being turned into another redundancy, and can be '
                'opened by one at a time until it is done ("dog vdi list" '
                'shows how far it is)' % entry.name)
        lock = self.locks.get(vdi_id)
        owners = lock.owners if lock else ()
        others = tuple(one for one in owners if one != owner)
        if others and lock.mode == entries.TURNING != mode:
            others = ()
        if others and (mode, lock.mode) != (entries.SHARED, entries.SHARED):
            raise errors.VdiLocked('VDI %s is locked by %s' % (
                entry.name, ', '.join(map(self._who, others))))
        if lock and owner in owners and lock.mode == mode:
            return
        self._set_lock(vdi_id, mode, others + (owner,), record.sequence)

    def _unlock(self, record: entries.Record) -> None:
        vdi_id = record.event['vdi_id']
        lock = self.locks.get(vdi_id)
        if lock is None:
            raise errors.VdiNotLocked('VDI %06x is not locked' % vdi_id)
        if record.event.get('force'):
            owners = ()
        elif record.event['owner'] in lock.owners:
            owners = tuple(one for one in lock.owners
                           if one != record.event['owner'])
        else:
            raise errors.VdiNotLocked('VDI %06x is not locked by %s' % (
                vdi_id, self._who(record.event['owner'])))
        self._set_lock(vdi_id, lock.mode, owners, record.sequence)

    def _settings(self, record: entries.Record) -> None:
        changes = record.event['changes']
        if 'created' in changes:
            raise errors.InvalidParameters(
                'the creation time does not change')
        known = self.settings.to_dict()
        if not changes.keys() <= known.keys():
            raise errors.InvalidParameters('unknown setting among %s' % (
                ', '.join(sorted(changes))))
        self.settings = view_model.ClusterSettings.from_dict(
            dict(known, **changes))

    def _recovered(self, record: entries.Record) -> None:
        incarnation = record.event['incarnation']
        member = self._members.get(incarnation)
        if member is None:
            raise errors.NotServing('%s is not a member' % incarnation)
        epoch = record.event['epoch']
        if (epoch <= self.lost.get(member.node, 0)
                or self.recovered.get(incarnation) == LEAVES):
            # Said before it lost a disk; now the next epoch counts.
            return
        self.recovered[incarnation] = max(
            epoch, self.recovered.get(incarnation, 0))
        if self.has_recovered():
            self._settle(self.epoch)
            self.whole = self.epoch
            self.hurried = False

    def _settle(self, epoch: int) -> None:
        self.settled = epoch
        self.lost = {node: when for node, when in self.lost.items()
                     if when >= epoch}

    def _disks(self, record: entries.Record) -> None:
        """A member has other disks than before."""
        node, space = record.event['node'], record.event['space']
        member = self.view.node(node)
        if member is None:
            raise errors.NotServing('%s is not a member' % node)
        self.spaces[node] = space
        if record.event['lost']:
            self.lost[node] = self.epoch
            self.recovered.pop(member.incarnation, None)

    def _forgo(self, record: entries.Record) -> None:
        """A member does without a disk that fails, or leaves with it."""
        incarnation = record.event['incarnation']
        member = self._members.get(incarnation)
        if member is None:
            raise errors.NotServing('%s is not a member' % incarnation)
        if record.event['lost']:
            self.spaces[member.node] = record.event['space']
            self.lost[member.node] = self.epoch
            self.recovered.pop(incarnation, None)
        else:
            self.recovered[incarnation] = LEAVES

    def wants_epoch(self) -> bool:
        """An epoch is due though the members are the same: somebody has
        lost a disk in this one, or numbers of copies are to change."""
        return self.is_altering or any(when >= self.epoch
                                       for when in self.lost.values())

    def _weights(self, record: entries.Record) -> None:
        """What some members weigh from the next epoch on."""
        spaces, vnodes = _weights(record.event)
        self.spaces.update(spaces)
        self.vnodes.update(vnodes)

    def _evict(self, record: entries.Record) -> None:
        """From the next epoch on a node keeps no objects."""
        node = record.event['node']
        before = self.evicted.get(node)
        times = before.times if before is not None and (
            record.time - before.time < FORGET_SECONDS) else 0
        self.evicted[node] = entries.Eviction(
            True, record.time, times + 1, bool(record.event.get('by_hand')))

    def _readmit(self, record: entries.Record) -> None:
        before = self.evicted.get(record.event['node'])
        if before is None or not before.is_out:
            raise errors.InvalidParameters('that node is not evicted')
        self.evicted[record.event['node']] = before._replace(
            is_out=False, time=record.time)

    def _shutdown(self, record: entries.Record) -> None:
        self.shutdown = True

    def _hurry(self, record: entries.Record) -> None:
        """Nobody who is absent is waited for any more; or one member will
        not be, when it goes."""
        incarnation = record.event['incarnation']
        if not incarnation:
            self.hurried = self.whole < self.epoch
        elif incarnation in self._members:
            self.departing |= {incarnation}

    def _resume(self, record: entries.Record) -> None:
        """A prepared epoch is given up; the one before goes on."""

    # Helpers of the above.

    def _see_off(self, before: Optional[view_model.View],
                 view: view_model.View) -> None:
        """Who has gone for good, or with a disk that fails, is not waited
        for."""
        gone = {member.incarnation for member
                in (before.members if before is not None else ())
                if member.incarnation not in self._members}
        if not gone.isdisjoint(self.departing) or any(
                self.recovered.get(one) == LEAVES for one in gone):
            self.hurried = True
        self.departing -= gone

    def _seat(self, view: view_model.View) -> None:
        self.view = view
        self._members = {member.incarnation: member
                         for member in view.members}

    def _put_vdi(self, entry: entries.VdiEntry) -> None:
        self.vdis[entry.vdi_id] = entry
        if entry.wanted:
            self._altering += entry.vdi_id,
        # Not a list: copies share it.
        self._names[entry.name] = (self._names.get(entry.name, ())
                                   + (entry.vdi_id,))

    def _living_vdi(self, vdi_id: int) -> entries.VdiEntry:
        return family.living(self, vdi_id)

    def _set_lock(self, vdi_id: int, mode: str, owners: tuple,
                  sequence: int) -> None:
        self.fences[vdi_id] = sequence
        if owners:
            self.locks[vdi_id] = entries.Lock(mode, owners)
        else:
            self.locks.pop(vdi_id, None)

    def _who(self, incarnation: str) -> str:
        member = self._members.get(incarnation)
        return '%s:%d' % member.address if member else incarnation


def _the(kind, value):
    """:raises TypeError: it is of another"""
    if not isinstance(value, kind):
        raise TypeError('%.40r' % (value,))
    return value


def _vnodes(number) -> int:
    if not 0 < _the(int, number) <= limits.VNODES_MAX:
        raise ValueError('%.40r vnodes' % (number,))
    return number


@shapes.decoder('weights')
def _weights(event: dict) -> tuple:
    """:raises InvalidParameters:"""
    return ({_the(str, node): _the(int, space) for node, space
             in event['spaces'].items()},
            {_the(str, node): (_the(int, started), _vnodes(number))
             for node, (started, number) in event['vnodes'].items()})


@shapes.decoder('alteration')
def _changes(event: dict) -> dict:
    """VDI id → policy.

    :raises InvalidParameters:
    """
    found = {}
    for vdi_id, copies, *policy in event['changes']:
        found[_the(int, vdi_id)] = redundancy.checked(
            _the(int, copies), *(_the(int, one) for one in policy))
    return found


def _all(kind, values) -> list:
    return [_the(kind, value) for value in values]


def _pairs(key_kind, kind, pairs) -> dict:
    return {_the(key_kind, key): _the(kind, value) for key, value in pairs}


_APPLIERS: dict[str, Callable[[State, entries.Record], None]] = {
    'format': State._format,
    'epoch': State._epoch,
    'resume': State._resume,
    'vdi-create': State._vdi_create,
    'vdi-delete': State._vdi_delete,
    'vdi-resize': State._vdi_resize,
    'vdi-alter': State._vdi_alter,
    'vdi-turning': State._vdi_turning,
    'vdi-turned': State._vdi_turned,
    'vdi-attribute': State._vdi_attribute,
    'vdi-qos': State._vdi_qos,
    'vdi-begin': State._vdi_begin,
    'vdi-commit': State._vdi_commit,
    'vdi-commit-group': State._vdi_commit_group,
    'vdi-abort': State._vdi_abort,
    'vdi-reclaimed': State._vdi_reclaimed,
    'lock': State._lock,
    'unlock': State._unlock,
    'settings': State._settings,
    'recovered': State._recovered,
    'weights': State._weights,
    'disks': State._disks,
    'forgo': State._forgo,
    'evict': State._evict,
    'readmit': State._readmit,
    'hurry': State._hurry,
    'shutdown': State._shutdown,
}
