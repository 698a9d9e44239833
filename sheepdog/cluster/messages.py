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
    ping     perhaps ``slow`` and ``suspects`` (incarnations), ``probe`` (bool)
             → perhaps ``report``, see ``checked_report``

Anybody → leader.

    execute  ``operation`` (its id), ``name``, ``arguments`` → ``result``
    complain ``about`` (an incarnation): who says so cannot reach it
"""

import dataclasses
from typing import NamedTuple, Optional

from sheepdog.cluster import api
from sheepdog.cluster import entries
from sheepdog.model import errors
from sheepdog.model import shapes
from sheepdog.model import view as view_model

OPERATION_MAX_CHARACTERS = 128

_STATUSES = frozenset(status.value for status in api.Status)

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

    RANGES = {'epoch': (0, (1 << 32) - 1),
              'term': (0, entries.POSITION_MAX),
              'attempt': (0, entries.POSITION_MAX),
              'sequence': (0, entries.POSITION_MAX)}

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
        """:raises InvalidParameters:"""
        return shapes.build(cls, _with_view(fields))


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
        """:raises InvalidParameters:"""
        return shapes.build(cls, _with_prepared(fields))


@shapes.decoder('prepared epoch')
def _with_view(fields: dict) -> dict:
    view = fields.get('view')
    return dict(fields, view=None if view is None
                else view_model.View.from_dict(view))


@shapes.decoder('answer')
def _with_prepared(fields: dict) -> dict:
    prepared = fields['prepared']
    return dict(fields, position=position(fields['position']),
                prepared=None if prepared is None
                else Prepared.from_dict(prepared))


@shapes.decoder('position')
def position(fields: list) -> tuple:
    """(term, sequence).

    :raises InvalidParameters:
    """
    term, sequence = fields
    shapes.check({'term': term, 'sequence': sequence},
                 {'term': int, 'sequence': int}, 'position')
    return term, sequence


@shapes.decoder('promise')
def promise(fields: list) -> tuple:
    """(term, incarnation of its leader).

    :raises InvalidParameters:
    """
    term, leader = fields
    shapes.check({'term': term, 'leader': leader},
                 {'term': int, 'leader': str}, 'promise')
    return term, leader


def pack_records(records: list) -> list:
    return [list(record) for record in records]


@shapes.decoder('records')
def unpack_records(fields: list) -> list:
    """Records that follow each other.

    :raises InvalidParameters:
    """
    records = [unpack_record(record) for record in fields]
    for one, other in zip(records, records[1:]):
        if other.sequence != one.sequence + 1 or other.term < one.term:
            raise ValueError('%r after %r' % (other.position, one.position))
    return records


@shapes.decoder('record')
def unpack_record(fields: list) -> entries.Record:
    """:raises InvalidParameters:"""
    names = entries.Record._fields[:len(fields)]
    return shapes.build(entries.Record,
                        dict(zip(names, fields, strict=True)))


_HEADER = {'term': int, 'leader': str, 'to': str}
_FIELDS = {
    'survey': {}, 'fetch': {}, 'dismiss': {}, 'ping': {},
    'prepare': {'prepared': dict},
    'events': {'records': list},
    'sync': {'state': dict, 'views': list, 'cold': bool, 'clean': bool},
    'waiting': {'status': str, 'reason': str, 'missing': list},
    'refuse': {'reason': str},
    'execute': {'operation': str, 'name': str, 'arguments': dict},
    'complain': {'about': str},
}

TO_THE_LEADER = ('execute', 'complain')
"""All other kinds come from a leader, and name it and its term."""


def checked(message: dict) -> dict:
    """A message that came in: it has the fields that its kind needs.

    :raises InvalidParameters: it has not
    """
    kind = message.get('kind')
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise errors.InvalidParameters('unknown message %.40r' % (kind,))
    if kind not in TO_THE_LEADER:
        shapes.check(message, _HEADER, kind)
        if not 0 <= message['term'] <= entries.POSITION_MAX:
            raise errors.InvalidParameters('%s: term %d' % (
                kind, message['term']))
    shapes.check(message, fields, kind)
    if kind == 'events' and not message['records']:
        raise errors.InvalidParameters('events without any')
    if kind == 'waiting' and message['status'] not in _STATUSES:
        raise errors.InvalidParameters('unknown status %.40r'
                                       % message['status'])
    if kind == 'waiting' and not all(isinstance(one, str) for one
                                     in message['missing']):
        raise errors.InvalidParameters('waiting for what has no name')
    if kind == 'execute':
        check_operation(message['operation'])
    if kind == 'ping' and not all(
            isinstance(one, str) for name in ('slow', 'suspects')
            for one in message.get(name, ())):
        raise errors.InvalidParameters('a ping about what has no name')
    return message


def checked_report(report) -> Optional[dict]:
    """``disk``: microseconds or None; ``late``: incarnation → microseconds;
    ``space``: (bytes of objects, bytes that recovery may take) or None. None
    where it is no such report: a sheep of another version may have made it.
    """
    if not isinstance(report, dict):
        return None
    disk, late = report.get('disk'), report.get('late')
    if not (disk is None or type(disk) is int and disk >= 0) or not (
            isinstance(late, dict) and all(
                type(micros) is int and micros >= 0
                for micros in late.values())):
        return None
    space = report.get('space')
    if not (isinstance(space, (list, tuple)) and len(space) == 2
            and all(type(size) is int for size in space)):
        space = None
    return {'disk': disk, 'late': late,
            'space': space if space is None else tuple(space)}


def check_operation(operation: str) -> None:
    """The id of an operation goes into the log of all members.

    :raises InvalidParameters: it is no such id
    """
    if not isinstance(operation, str) or (
            not 0 < len(operation) <= OPERATION_MAX_CHARACTERS):
        raise errors.InvalidParameters(
            'the id of an operation is a text of 1 to %d characters, not '
            '%.40r' % (OPERATION_MAX_CHARACTERS, operation))


_REFUSALS = (REFUSED_TERM, REFUSED_IDENTITY, REFUSED_LEASE, REFUSED_STANDING,
             REFUSED_GAP)
_ANSWERS = {'survey': {'answer': dict},
            'fetch': {'state': dict, 'tail': list, 'views': list}}


def checked_answer(kind: str, answer: dict) -> dict:
    """What a member answers to a leader's message of that kind.

    :raises CorruptFrame: it is nothing that one may answer
    """
    try:
        if answer.get('ok') is True:
            shapes.check(answer, _ANSWERS.get(kind, {}), kind)
            if not isinstance(answer.get('prepared'), (dict, type(None))):
                raise errors.InvalidParameters('%s: prepared' % kind)
            return answer
        refusal = answer.get('refused')
        if refusal not in _REFUSALS:
            raise errors.InvalidParameters('%s: refused for %.40r'
                                           % (kind, refusal))
        if refusal == REFUSED_TERM:
            shapes.check(answer, {'promised': int}, kind)
            if not 0 <= answer['promised'] <= entries.POSITION_MAX:
                raise errors.InvalidParameters('a promise of %d'
                                               % answer['promised'])
        return answer
    except errors.InvalidParameters as error:
        raise errors.CorruptFrame('an answer makes no sense: %s'
                                  % error) from None
