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

"""Another number of copies for VDIs that there are. Pure.

An alteration is an event that notes the wanted number; the next epoch, which
the leader makes for it, puts it in force. So it comes as members come and
go: everybody has stopped serving the old epoch before anybody serves the
new one, and what was acknowledged is on all copies of the old one. What each
VDI had in earlier epochs is kept for as long as recovery may ask: who held
an object then is found out with the number of then.
"""

import dataclasses
from typing import Mapping

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
         copies: int) -> dict:
    """VDI id → its copies, when those of that name get another number: the
    working VDI and its snapshots, which it shares objects with; and what
    they were cloned from, if it has fewer. What others were cloned from
    keeps as many as they have: none shares objects with fewer copies.
    """
    named = [entry for entry in vdis.values()
             if entry.name == name and not entry.deleted]
    wanted = {entry.vdi_id: copies for entry in named}
    for entry in vdis.values():
        if entry.deleted:
            continue
        needed = wanted.get(entry.vdi_id) or entry.wanted or entry.copies
        for ancestor in _ancestors(vdis, entry):
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
        if not entry.deleted:
            yield entry


def check(entry: entries.VdiEntry, copies: int, settled: int) -> None:
    """
    :raises InvalidParameters: it cannot be altered so, or not now
    """
    if entry.copy_policy:
        raise errors.InvalidParameters(
            'VDI %s is erasure-coded, and only numbers of copies can be '
            'altered: create another VDI and copy its content there '
            '(dog vdi read | dog vdi write, or qemu-img convert)'
            % entry.name)
    check_number(copies)
    if len([1 for until, _ in entry.earlier
            if until >= settled]) >= EARLIER_MAX:
        raise errors.InvalidParameters(
            'VDI %s was altered %d times since all its copies were whole: '
            'wait until "dog node recovery" shows none' % (
                entry.name, EARLIER_MAX))


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


def noted(entry: entries.VdiEntry, copies: int) -> entries.VdiEntry:
    """The entry that wants another number from the next epoch on."""
    return dataclasses.replace(
        entry, wanted=0 if copies == entry.copies else copies)


def in_force(entry: entries.VdiEntry, epoch: int,
             settled: int) -> entries.VdiEntry:
    """…and once the epoch after ``epoch`` has begun. Nobody asks for what
    was before the ``settled`` epoch."""
    old = [one for one in entry.earlier[:-EARLIER_MIN + 1]
           if one[0] >= settled]
    earlier = (*old, *entry.earlier[-EARLIER_MIN + 1:],
               (epoch, entry.copies))
    return dataclasses.replace(entry, copies=entry.wanted, wanted=0,
                               earlier=earlier)
