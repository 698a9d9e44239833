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

"""What sheep say to each other about the cluster: JSON, both ways.

Leader → member. Each names the leader's ``term``, its incarnation
(``leader``) and the incarnation it is meant for (``to``); the answer has
``ok``, or ``refused`` with one of the reasons below.

    survey   promise this term; where do you stand? → ``answer``
    fetch    → ``state``, ``tail`` (newest records), ``views``, ``prepared``
    prepare  ``prepared``: freeze, the next epoch comes
    events   ``records``, to be applied in order
    sync     ``state``, ``views``, ``cold``, ``clean``: start from here
    waiting  ``status``, ``reason``, ``missing``: why nothing is served
    refuse   ``reason``: you may not join
    dismiss  coordination has dropped you: serve no more
    ping     nothing

Anybody → leader.

    execute  ``operation`` (its id), ``name``, ``arguments`` → ``result``
"""

import dataclasses
from typing import NamedTuple, Optional

from sheepdog.cluster import state as state_module
from sheepdog.model import view as view_model

REFUSED_TERM = 'term'
"""A higher term is promised (the answer's ``promised``)."""
REFUSED_IDENTITY = 'identity'
"""Meant for another life of this sheep."""
REFUSED_LEASE = 'lease'
"""This sheep's lease is over: it lapses."""
REFUSED_STANDING = 'standing'
"""Not a synced member of the view."""
REFUSED_GAP = 'gap'
"""Records before these are missing here, or differ."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An epoch that may have been decided, or may yet be.

    ``attempt`` counts the tries of one leader; ``sequence`` is the place
    of the epoch's event in the total order; ``created`` tells the cluster.
    ``view`` is None in a survey's answer.
    """

    epoch: int
    term: int
    attempt: int
    sequence: int
    created: int
    view: Optional[view_model.View] = None

    @property
    def key(self) -> tuple:
        """Of two for the same epoch the higher is the one that counts."""
        return self.term, self.attempt

    def is_pending(self, position: tuple) -> bool:
        """Whoever has a record at its place or behind it, of its term or a
        later one, knows what became of it."""
        return (self.term, self.sequence) > tuple(position)

    def to_dict(self) -> dict:
        fields = {'epoch': self.epoch, 'term': self.term,
                  'attempt': self.attempt, 'sequence': self.sequence,
                  'created': self.created}
        if self.view is not None:
            fields['view'] = self.view.to_dict()
        return fields

    def without_view(self) -> 'Prepared':
        return dataclasses.replace(self, view=None)

    @classmethod
    def from_dict(cls, fields: dict) -> 'Prepared':
        fields = dict(fields)
        view = fields.pop('view', None)
        return cls(view=view and view_model.View.from_dict(view), **fields)


class Answer(NamedTuple):
    """Where a surveyed sheep stands.

    ``standing``: it is a synced member of its view and has not lapsed.
    ``position``: (term, sequence) of its last record. ``clean``: it was
    stopped after an orderly shutdown at exactly that position.
    """

    incarnation: str
    standing: bool
    position: tuple
    epoch: int
    created: int
    prepared: Optional[Prepared]
    clean: bool

    def to_dict(self) -> dict:
        return dict(self._asdict(), prepared=self.prepared and
                    self.prepared.without_view().to_dict())

    @classmethod
    def from_dict(cls, fields: dict) -> 'Answer':
        return cls(**dict(
            fields, position=tuple(fields['position']),
            prepared=fields['prepared'] and Prepared.from_dict(
                fields['prepared'])))


def pack_records(records: list) -> list:
    return [list(record) for record in records]


def unpack_records(fields: list) -> list:
    return [state_module.Record(*record) for record in fields]
