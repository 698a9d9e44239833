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

"""Another redundancy for VDIs that there are. Pure.

An alteration is an event that notes the wanted policy; the next epoch, which
the leader makes for it, puts it in force. So it comes as members come and
go: everybody has stopped serving the old epoch before anybody serves the
new one, and what was acknowledged is on all copies of the old one. What each
VDI had in earlier epochs is kept for as long as recovery may ask: who held
an object then is found out with the number of then.

Another number of copies is that of the same objects. Between copies and
strips, or from one code to another, a VDI gets another *form*: it keeps the
objects that it has, as they are, and the new ones are other objects, with
other names (``model.ids``). From then on ``volume.turning`` copies one after
the other; events say how far it is, and when none of the former form is
left.
"""

import dataclasses
from typing import Mapping, Optional

from sheepdog.cluster import entries
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.model import view as view_model
from sheepdog.placement import redundancy

EARLIER_MIN = 8
"""So many changes are remembered in any case."""
EARLIER_MAX = 64
"""So many may come before all copies are whole once."""


def plan(vdis: Mapping[int, entries.VdiEntry], name: str,
         policy: redundancy.Policy) -> dict:
    """VDI id → its copies, when those of that name get another number: the
    working VDI and its snapshots, which it shares objects with; and what
    they were cloned from, if it has fewer. What others were cloned from
    keeps as many as they have: none shares objects with fewer copies. (So
    also those that are deleted, whose objects are theirs now: a snapshot, or
    the VDI before it was made smaller.)

    Where the form changes it is the working VDI alone: objects that it
    shares with others stay theirs. So of snapshots, and what others were
    cloned from, some may be kept in strips yet: these stay as they are.
    """
    working = [entry for entry in vdis.values() if entry.name == name
               and not (entry.deleted or entry.snapshot or entry.pending)]
    if policy.copy_policy or any(entry.copy_policy for entry in working):
        return {entry.vdi_id: policy.copies for entry in working}
    copies = policy.copies
    named = [entry for entry in vdis.values()
             if entry.name == name
             and not (entry.deleted or entry.pending or entry.copy_policy)]
    wanted = {entry.vdi_id: copies for entry in named}
    wanted.update((ancestor.vdi_id, copies) for entry in named
                  for ancestor in _ancestors(vdis, entry)
                  if ancestor.name == name and not ancestor.copy_policy)
    for entry in vdis.values():
        if entry.deleted or entry.pending:
            continue
        needed = wanted.get(entry.vdi_id) or entry.wanted or entry.copies
        for ancestor in _ancestors(vdis, entry):
            if ancestor.copy_policy:
                continue
            has = (wanted.get(ancestor.vdi_id) or ancestor.wanted
                   or ancestor.copies)
            if needed > has and (ancestor.vdi_id in wanted
                                 or entry.name == name):
                wanted[ancestor.vdi_id] = needed
    return wanted


def _ancestors(vdis, entry):
    seen = {entry.vdi_id}
    while entry.parent and entry.parent not in seen:
        entry = vdis.get(entry.parent)
        if entry is None:
            return
        seen.add(entry.vdi_id)
        if not entry.reclaimed:
            yield entry


def check(entry: entries.VdiEntry, policy: redundancy.Policy,
          settled: int, lock: Optional[entries.Lock] = None) -> None:
    """
    :param lock: who has it open
    :raises InvalidParameters: it cannot be altered so, or not now
    :raises VdiLocked: not as it is open
    """
    if not policy.copy_policy:
        check_number(policy.copies)
    if len([1 for until, _ in entry.whole_earlier
            if until >= settled]) >= EARLIER_MAX:
        raise errors.InvalidParameters(
            'VDI %s was altered %d times since all its copies were whole: '
            'wait until "dog node recovery" shows none' % (
                entry.name, EARLIER_MAX))
    if policy.copy_policy == entry.copy_policy:
        return
    if entry.former:
        raise errors.InvalidParameters(
            'VDI %s is being turned into %s: wait until "dog vdi list" shows '
            'no other beside it' % (entry.name, redundancy.text_of(
                entry.copies, entry.copy_policy)))
    if entry.form + 1 >= limits.FORMS_MAX:
        raise errors.InvalidParameters(
            'VDI %s was altered between copies and strips %d times, as often '
            'as one can be: create another VDI and copy its content there '
            '(dog vdi read | dog vdi write, or qemu-img convert)'
            % (entry.name, limits.FORMS_MAX - 1))
    if lock is not None and lock.owners and lock.mode == entries.SHARED:
        raise errors.VdiLocked(
            'VDI %s is open shared, and can be altered between copies and '
            'strips only while it is not: close it first ("dog vdi lock '
            'list" shows by whom)' % entry.name)


def check_number(copies: int) -> None:
    """:raises InvalidParameters:"""
    if type(copies) is not int or not 1 <= copies <= limits.COPIES_MAX:
        raise errors.InvalidParameters(
            'the number of copies is 1 to %d, not %.40r'
            % (limits.COPIES_MAX, copies))


def check_zones(view: view_model.View, policy: redundancy.Policy,
                is_strict: bool, is_forced: bool) -> None:
    """Are there zones for so many copies, or strips? ``is_forced``: there
    need not be, as long as strips can be kept at all.

    :raises InvalidParameters: no; says which there are, and the way out
    """
    zones = sorted({member.zone for member in view.members if member.vnodes})
    is_possible = len(zones) >= redundancy.zones_needed(*policy)
    if policy.copies <= len(zones) or (is_forced and not is_strict
                                       and is_possible):
        return
    text = ('%s, and there are %d (%s): start sheep in other zones first, '
            'or ask for %d at most' % (
                _need(policy), len(zones), _shown(zones), len(zones)))
    if not is_possible:
        text += ('. With fewer than %d nothing can be written'
                 % redundancy.zones_needed(*policy))
    elif is_strict:
        text += ('. The cluster is strict: nothing could be written until '
                 'then')
    else:
        text += ('. Option -f asks for them all the same: the missing %s are '
                 'made when zones come'
                 % ('strips' if policy.copy_policy else 'copies'))
    raise errors.InvalidParameters(text)


def needs_more(policy: redundancy.Policy, before: redundancy.Policy) -> bool:
    """Zones: to be checked. Less is welcome though it is still too much.
    """
    return (policy.copies > before.copies or redundancy.zones_needed(*policy)
            > redundancy.zones_needed(*before))


def _need(policy: redundancy.Policy) -> str:
    if policy.copy_policy:
        return '%s is %d strips, which need as many zones' % (
            redundancy.text_of(*policy), policy.copies)
    return '%d copies need as many zones' % policy.copies


def _shown(zones: list) -> str:
    text = ', '.join(map(str, zones[:8]))
    return text + (', …' if len(zones) > 8 else '') or 'none'


def noted(entry: entries.VdiEntry,
          policy: redundancy.Policy) -> entries.VdiEntry:
    """The entry that wants another policy from the next epoch on."""
    if policy == (entry.copies, entry.copy_policy):
        policy = redundancy.Policy(0, 0)
    return dataclasses.replace(entry, wanted=policy.copies,
                               wanted_policy=policy.copy_policy)


def in_force(entry: entries.VdiEntry, epoch: int,
             settled: int) -> entries.VdiEntry:
    """…and once the epoch after ``epoch`` has begun. Nobody asks for what
    was before the ``settled`` epoch."""
    whole_earlier = _with(entry.whole_earlier, epoch, entry.whole_copies,
                          settled)
    changes = {'copies': entry.wanted, 'copy_policy': entry.wanted_policy,
               'wanted': 0, 'wanted_policy': 0,
               'whole_earlier': whole_earlier}
    if entry.wanted_policy == entry.copy_policy:
        earlier = _with(entry.earlier, epoch, entry.copies, settled)
        return dataclasses.replace(entry, earlier=earlier, **changes)
    former = entries.Former(entry.form, entry.copies, entry.copy_policy,
                            entry.earlier)
    return dataclasses.replace(
        entry, form=entry.form + 1, former=(former,), earlier=(), **changes)


def _with(earlier: tuple, epoch: int, copies: int, settled: int) -> tuple:
    old = [one for one in earlier[:-EARLIER_MIN + 1] if one[0] >= settled]
    return (*old, *earlier[-EARLIER_MIN + 1:], (epoch, copies))


def turning(entry: entries.VdiEntry, form: int, below: int,
            left: tuple) -> entries.VdiEntry:
    """Of the former form nothing with an index less than ``below`` is needed
    any more, but for what is ``left``. What is gone stays so.

    :raises InvalidParameters: it was altered again meanwhile, or was further
    """
    _check_form(entry, form)
    former = former_of(entry)
    below, left = entries.checked_progress(below, left)
    if below < former.below or not set(former.left).issuperset(
            one for one in left if one < former.below):
        raise errors.InvalidParameters(
            'VDI %s was turned up to %d' % (entry.name, former.below))
    return dataclasses.replace(entry, former=(former._replace(
        below=below, left=left),))


def former_of(entry: entries.VdiEntry) -> entries.Former:
    """There is one at most: it is turned before it can be altered again.

    :raises InvalidParameters: it is turned
    """
    if not entry.former:
        raise errors.InvalidParameters('VDI %s is turned' % entry.name)
    return entry.former[0]


def turned(entry: entries.VdiEntry, form: int) -> entries.VdiEntry:
    """No object of a former form is left.

    :raises InvalidParameters: it was altered again meanwhile
    """
    _check_form(entry, form)
    return dataclasses.replace(
        entry, former=(), gone=(*entry.gone, *(
            former._replace(below=0, left=()) for former in entry.former)))


def _check_form(entry: entries.VdiEntry, form: int) -> None:
    if entry.form != form:
        raise errors.InvalidParameters(
            'VDI %s has form %d by now' % (entry.name, entry.form))
