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

"""What becomes of a cluster of the original, and of each of its stores.

Goes as JSON from where it is made (``planner``) to each host.
"""

import json
from typing import NamedTuple, Optional

from sheepdog.cluster import entries
from sheepdog.cluster import state as state_module
from sheepdog.legacy import contents
from sheepdog.legacy import formats
from sheepdog.model import errors
from sheepdog.model import shapes
from sheepdog.model import view as view_model

KIND = 'sheepdog-upgrade-plan'
FORMAT = 1


class Store(NamedTuple):
    """What one node's store becomes. ``runs`` of object ids that are taken
    over."""

    node: str
    address: str
    meta: str
    fingerprint: str
    runs: tuple

    @property
    def count(self) -> int:
        return sum(count for _, count in self.runs)

    def to_dict(self) -> dict:
        return dict(self._asdict(), runs=[list(run) for run in self.runs])

    @classmethod
    def from_dict(cls, fields: dict) -> 'Store':
        """:raises ValueError, TypeError, KeyError:"""
        return shapes.build(cls, dict(
            fields, runs=contents.checked_runs(fields['runs'])))


class Plan(NamedTuple):
    """``attributes``: (name of a VDI, key, value), as the replicated state has
    them; ``notes``: sentences for the operator."""

    settings: view_model.ClusterSettings
    views: tuple
    vdis: tuple
    attributes: tuple
    stores: tuple
    notes: tuple

    @property
    def view(self) -> view_model.View:
        return self.views[-1]

    def of(self, fingerprint: str) -> Optional[Store]:
        """What becomes of the store with that content."""
        for store in self.stores:
            if store.fingerprint == fingerprint:
                return store
        return None

    def to_dict(self) -> dict:
        return {
            'kind': KIND, 'format': FORMAT,
            'settings': self.settings.to_dict(),
            'views': [view.to_dict() for view in self.views],
            'vdis': [entry.to_dict() for entry in self.vdis],
            'attributes': [list(one) for one in self.attributes],
            'stores': [store.to_dict() for store in self.stores],
            'notes': list(self.notes)}

    def state(self) -> state_module.State:
        """As if the cluster had always been one of ours, and its power had
        failed: the first start compares all copies."""
        state = state_module.State()
        # (In term 0: whoever leads first has a higher one.)
        for event in [
                {'kind': 'format', 'settings': self.settings.to_dict(),
                 'view': self.view.to_dict()},
                *({'kind': 'vdi-create', 'entry': entry.to_dict()}
                  for entry in self.vdis),
                *({'kind': 'vdi-attribute', 'name': name, 'key': key,
                   'value': value} for name, key, value in self.attributes)]:
            state.apply(state.next_record(0, self.view.time, event))
        return state


def load(data: bytes) -> Plan:
    """Of a plan's file.

    :raises Refused: it is none
    """
    try:
        return from_dict(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError,
            RecursionError, AssertionError, errors.SheepdogError):
        raise formats.Refused('this is not what "dog upgrade plan" of this '
                              'version writes') from None


def from_dict(fields: dict) -> Plan:
    """:raises ValueError, TypeError, KeyError, SheepdogError:"""
    if fields['kind'] != KIND or fields['format'] != FORMAT:
        raise ValueError(fields['kind'])
    plan = Plan(
        view_model.ClusterSettings.from_dict(fields['settings']),
        tuple(map(view_model.View.from_dict, fields['views'])),
        tuple(map(entries.VdiEntry.from_dict, fields['vdis'])),
        tuple((name, key, value)
              for name, key, value in fields['attributes']),
        tuple(map(Store.from_dict, fields['stores'])),
        tuple(map(str, fields['notes'])))
    if not plan.views or any(plan.view.node(store.node) is None
                             for store in plan.stores):
        raise ValueError('a store of nobody')
    plan.state()
    return plan
