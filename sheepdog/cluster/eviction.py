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

"""Nodes that are to keep no objects for a while, being slow. Pure.

An evicted node stays a member, and serves its clients as a gateway does;
what it has are not copies that count, but may still be read by recovery.
"""

from typing import Optional

from sheepdog.cluster import entries
from sheepdog.cluster import state as state_module

AWAY_FIRST_SECONDS = 30.0
AWAY_LAST_SECONDS = 3600.0


def refusal(state: state_module.State, node: str, by_hand: bool = False,
            force: bool = False) -> str:
    """Why this node may not be evicted now, or ''.

    :param by_hand: an operator wants it
    :param force: also if fewer zones than copies are left (not in a strict
        cluster), or not all is recovered
    """
    view, settings = state.view, state.settings
    if view is None or settings is None:
        return 'there is no cluster'
    member = next((one for one in view.members if one.node == node), None)
    if member is None:
        return 'it is no member'
    if not member.vnodes or is_out(state, node):
        return 'it keeps no objects'
    others = {one.zone for one in view.members
              if one.vnodes and one.node != node}
    if not others:
        return 'no other node keeps objects'
    if not state.has_recovered() and not force:
        return 'the cluster is not whole: recovery has not ended'
    if not settings.recovery_enabled and not force:
        return 'recovery is disabled: its copies would not be made anew'
    copies = _copies(state)
    if len(others) < copies and (settings.strict or not force):
        return ('the other nodes are in %d zones: too few for %d copies'
                % (len(others), copies))
    if not by_hand and any(one.is_out for one in state.evicted.values()):
        return 'another node is evicted'
    return ''


def is_out(state: state_module.State, node: str) -> bool:
    eviction: Optional[entries.Eviction] = state.evicted.get(node)
    return eviction is not None and eviction.is_out


def is_missed(state: state_module.State, member) -> bool:
    """Without this evicted one there are too few zones for all copies, and
    with it there are more."""
    zones = {one.zone for one in state.view.members if one.vnodes}
    return len(zones) < _copies(state) and member.zone not in zones


def _copies(state: state_module.State) -> int:
    """The most that any VDI has, or is to have."""
    return max([state.settings.copies] + [
        max(entry.wanted, *(policy.copies for policy in entry.policies()))
        for entry in state.vdis.values() if not entry.deleted])


def back_at(eviction: entries.Eviction) -> float:
    """When it may be let in again, if it is well then (seconds since 1970);
    later each time that it happens."""
    return eviction.time + min(
        AWAY_FIRST_SECONDS * (1 << min(eviction.times - 1, 20)),
        AWAY_LAST_SECONDS)
