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


"""VDIs that come from others: snapshots, clones, rollbacks. Pure.

A new VDI that shares objects with another comes in two events. The first
(``vdi-begin``) takes its id, and the lock of it for the sheep that makes it,
which then writes its inode. Nobody finds it yet. The second (``vdi-commit``)
makes it a VDI like any other, and at the same place in the order does what
else belongs to it: makes a snapshot of the working VDI that it follows, or
deletes the one that it replaces (and may come from: then it is smaller).
Between the two, whoever makes it may die: then its lock goes with the view,
and with that the VDI.

Objects of a VDI that was deleted are still there for VDIs that came from it.
"""

import dataclasses
from typing import Mapping, NamedTuple, Optional

from sheepdog.cluster import entries
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits


class Commit(NamedTuple):
    """What a ``vdi-commit`` changes: entries by VDI id, and locks (mode,
    owners; none: it is free) by VDI id."""

    changed: dict
    locks: dict


def relocked(event: dict) -> tuple:
    """Ids of the VDIs whose lock an event may change."""
    kind = event['kind']
    if kind in ('lock', 'unlock'):
        return event['vdi_id'],
    if kind == 'vdi-begin':
        return event['entry']['vdi_id'],
    if kind in _COMMITS:
        return tuple(vdi_id for one in commits(event) for vdi_id in (
            one['source'], one['vdi_id'], one['replaces']) if vdi_id)
    if kind in ('vdi-abort', 'vdi-delete'):
        return event['vdi_id'],
    return ()


_COMMITS = ('vdi-commit', 'vdi-commit-group')


def commits(event: Mapping) -> list:
    """Those that an event is made of: none, one, or those of a group."""
    if event['kind'] not in _COMMITS:
        return []
    return event.get('commits', [event])


_ENDINGS = ('vdi-delete', 'vdi-abort', 'vdi-reclaimed')


def is_ending(event: Mapping) -> bool:
    """After it objects of some VDI may be needed no more."""
    return event['kind'] in _ENDINGS or (
        event['kind'] == 'vdi-commit' and bool(event['replaces']))


def free_id(vdis: Mapping[int, entries.VdiEntry], name: str) -> int:
    """Where a VDI of that name gets its id.

    :raises SystemFailure: there is none left
    """
    first = ids.first_vdi_id(name)
    for step in range(limits.VDI_IDS_MAX):
        vdi_id = (first + step) & ids.VDI_ID_MASK
        if vdi_id and vdi_id not in vdis:
            return vdi_id
    raise errors.SystemFailure(
        'all VDI ids are taken: a cluster has %d, and those of deleted VDIs '
        'and snapshots are not used again' % (limits.VDI_IDS_MAX - 1))


def needed(vdis: Mapping[int, entries.VdiEntry]) -> frozenset:
    """Deleted VDIs of which others, that there are, may still name objects:
    those that these came from, over any number of steps.

    (One that is being made does not count: who makes it will be refused when
    what it is made from is gone.)
    """
    found = set()
    for entry in vdis.values():
        parent = 0 if entry.deleted or entry.pending else entry.parent
        while parent and parent not in found:
            found.add(parent)
            above = vdis.get(parent)
            parent = above.parent if above is not None else 0
    return frozenset(
        vdi_id for vdi_id in found if vdi_id in vdis
        and vdis[vdi_id].deleted and not vdis[vdi_id].reclaimed)


def came_from(vdis: Mapping[int, entries.VdiEntry],
              entry: entries.VdiEntry) -> set:
    """Ids of all VDIs that it came from, over any number of steps."""
    found: set = set()
    above: Optional[entries.VdiEntry] = entry
    while above is not None and above.parent and above.parent not in found:
        found.add(above.parent)
        above = vdis.get(above.parent)
    return found


def begun(state, event: dict) -> entries.VdiEntry:
    """The entry of a VDI that is to be made.

    :raises SheepdogError: it cannot be
    """
    entry = entries.VdiEntry.from_dict(event['entry'])
    if entry.vdi_id in state.vdis:
        raise errors.VdiExists('VDI id %06x is taken' % entry.vdi_id)
    if not state.is_member(entry.pending):
        raise errors.NotServing('%s is not a member' % entry.pending)
    if entry.parent:
        living(state, entry.parent)
    return entry


def commit_all(state, event: dict, time: float) -> Commit:
    """Several snapshots at one place in the order: all or none.

    :raises SheepdogError: as ``commit``
    """
    changed: dict = {}
    locks: dict = {}
    sources = [one['source'] for one in event['commits']]
    if len(set(sources)) < len(sources) or not all(
            one['snapshot'] for one in event['commits']):
        raise errors.InvalidParameters(
            'a group is of snapshots, each of another VDI')
    for one in event['commits']:
        made = commit(state, one, time)
        changed.update(made.changed)
        locks.update(made.locks)
    return Commit(changed, locks)


def commit(state, event: dict, time: float) -> Commit:
    """
    :raises NoVdi: what was begun is gone, or what it comes from
    :raises VdiLocked: somebody else got in between
    :raises VdiExists: the name, or the tag, is taken
    """
    owner = event['owner']
    entry = _pending(state, event['vdi_id'], owner)
    lock = state.locks.get(entry.vdi_id)
    if lock is None or lock.owners != (owner,):
        raise errors.NoVdi('the lock of VDI %06x was taken away from %s, who '
                           'makes it' % (entry.vdi_id, owner))
    source = living(state, event['source'])
    if (source.wanted or (source.copies, source.copy_policy)
            != (entry.copies, entry.copy_policy)):
        raise errors.VdiLocked('VDI %s is being altered: try again in a '
                               'moment' % source.name)
    new = dataclasses.replace(entry, pending='')
    changed = {new.vdi_id: new}
    if event['snapshot']:
        locks = _follow(state, event, source, new, changed, time)
    else:
        locks = _put(state, event, new, changed)
    return Commit(changed, locks)


def _follow(state, event, source, new, changed, time) -> dict:
    """``new`` becomes the working VDI in the place of ``source``."""
    lock = _check_held(state, event, source)
    check_tag(state, source.name, event['tag'])
    changed[source.vdi_id] = dataclasses.replace(
        source, snapshot=True, tag=event['tag'],
        snap_id=next_snap_id(state, source.name),
        # (Never 0: to clients that is no snapshot.)
        snapped=int(time) << 32 | int(time % 1 * 1e9) or 1)
    follows = lock
    if lock.mode == entries.TURNING:
        # It was taken for the snapshot alone.
        follows = entries.Lock(lock.mode, ())
    return {source.vdi_id: entries.Lock(lock.mode, ()), new.vdi_id: follows}


def _check_held(state, event, source) -> entries.Lock:
    """Nothing was written since what it holds was copied.

    :raises SheepdogError: something may have been
    """
    check_source(source)
    lock = state.locks.get(source.vdi_id)
    # (Who has it open has held back its clients for that serial.)
    if (lock is None
            or state.fences.get(source.vdi_id) != event['serial']
            or source.resized != event['resized']):
        raise errors.VdiLocked('VDI %s was opened, closed or resized '
                               'meanwhile: try again' % source.name)
    return lock


def _put(state, event, new, changed) -> dict:
    """``new`` is a VDI of a name that is free, or becomes so."""
    locks = {new.vdi_id: entries.Lock(entries.EXCLUSIVE, ())}
    before = state.lookup(new.name)
    if before is None and not event['replaces']:
        return locks
    if before is None or before.vdi_id != event['replaces']:
        if event['replaces']:
            raise errors.VdiLocked('VDI %s was changed meanwhile: try again'
                                   % new.name)
        raise errors.VdiExists('a VDI %s exists already' % new.name)
    lock = state.locks.get(before.vdi_id)
    check_unused(before, lock)
    if event['source'] == before.vdi_id and event['serial']:
        # It shrinks: the rest of it is to stay. (Former versions rolled a
        # VDI back to what it was; their records tell no lock.)
        _check_held(state, event, before)
    changed[before.vdi_id] = dataclasses.replace(before, deleted=True)
    if lock is not None:
        locks[before.vdi_id] = entries.Lock(lock.mode, ())
    return locks


def aborted(state, event: dict) -> entries.VdiEntry:
    """Also of one whose lock was taken away: nobody else would give it up
    as long as its maker is there.

    :raises NoVdi: it was given up already, or is a VDI
    """
    entry = _pending(state, event['vdi_id'], event['owner'])
    return dataclasses.replace(entry, pending='', deleted=True)


def without_owner(vdis: Mapping[int, entries.VdiEntry],
                  members: Mapping) -> list:
    """Those that nobody makes any more, as they are then."""
    return [dataclasses.replace(entry, pending='', deleted=True)
            for entry in vdis.values()
            if entry.pending and entry.pending not in members]


def reclaimed(state, event: dict) -> entries.VdiEntry:
    """No VDI names any object of this one. It is deleted, so none ever will.

    :raises InvalidParameters: it is not
    """
    entry = state.vdis.get(event['vdi_id'])
    if entry is None or not entry.deleted:
        raise errors.InvalidParameters('VDI %06x is not deleted'
                                       % event['vdi_id'])
    return dataclasses.replace(entry, reclaimed=True)


def check_source(entry: entries.VdiEntry) -> None:
    """:raises SheepdogError: no snapshot can be made of it now"""
    if entry.snapshot:
        raise errors.ReadOnly('VDI %s is a snapshot already' % entry.name)
    if entry.is_turning:
        raise errors.VdiLocked(
            'VDI %s is being turned into another redundancy: a snapshot can '
            'be made of it when "dog vdi list" shows one only' % entry.name)
    if entry.wanted:
        raise errors.VdiLocked('VDI %s is being altered: try again in a '
                               'moment' % entry.name)


def check_tag(state, name: str, tag: str) -> None:
    """:raises VdiExists: there is a snapshot of that name and tag"""
    if tag and state.lookup(name, tag) is not None:
        raise errors.VdiExists('VDI %s has a snapshot %s already'
                               % (name, tag))


def check_unused(entry: entries.VdiEntry, lock) -> None:
    """:raises VdiLocked: somebody has it open"""
    if lock is not None and lock.owners and lock.mode != entries.TURNING:
        raise errors.VdiLocked(
            'VDI %s is in use: close it first ("dog vdi lock list" shows by '
            'whom)' % entry.name)


def next_snap_id(state, name: str) -> int:
    return 1 + max((entry.snap_id for entry in state.of_name(name)),
                   default=0)


def living(state, vdi_id: int) -> entries.VdiEntry:
    """:raises NoVdi: there is none, or not yet"""
    entry = state.vdis.get(vdi_id)
    if entry is None or entry.deleted or entry.pending:
        raise errors.NoVdi('no VDI %06x' % vdi_id)
    return entry


def is_over(state, entry: entries.VdiEntry) -> bool:
    """The working VDI has become a snapshot since, or what it was is
    deleted: another one may have its name."""
    now = state.vdis.get(entry.vdi_id, entry)
    return now.deleted or now.snapshot and not entry.snapshot


def existing(state, vdi_id: int) -> entries.VdiEntry:
    """Also a deleted one that others still name objects of.

    :raises NoVdi: there is none, or not yet, or nothing of it
    """
    entry = state.vdis.get(vdi_id)
    if entry is None or entry.pending or entry.reclaimed:
        raise errors.NoVdi('no VDI %06x' % vdi_id)
    return entry


def _pending(state, vdi_id: int, owner: str) -> entries.VdiEntry:
    entry = state.vdis.get(vdi_id)
    if entry is None or not entry.pending or entry.pending != owner:
        raise errors.NoVdi('VDI %06x is not being made by %s any more'
                           % (vdi_id, owner))
    return entry
