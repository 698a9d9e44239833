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

"""What the replicated state is made of, and the records that change it.

Each of them is checked when it comes out of a file or off a connection.
"""

import dataclasses
from typing import Any, NamedTuple

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.model import shapes
from sheepdog.placement import redundancy

POSITION_MAX = (1 << 62) - 1
"""Of terms and sequences: there is always a higher one."""

EVERY_INDEX = 1 << 32
"""Greater than that of any object."""

EXCLUSIVE = 'exclusive'
SHARED = 'shared'
TURNING = 'turning'
LOCK_MODES = (EXCLUSIVE, SHARED, TURNING)
"""``turning``: exclusive, and of nobody's client: to turn a VDI into its new
form, or to make a snapshot of it while nobody has it open. Whoever wants the
VDI may take it away."""

_EVENTS = {
    'format': {'settings': dict, 'view': dict},
    'epoch': {'view': dict},
    'resume': {},
    'vdi-create': {'entry': dict},
    'vdi-delete': {'vdi_id': int},
    'vdi-resize': {'vdi_id': int},
    'vdi-alter': {'changes': list},
    'vdi-turning': {'vdi_id': int, 'form': int, 'owner': str, 'below': int,
                    'left': list, 'begin': int, 'copied': list},
    'vdi-turned': {'vdi_id': int, 'form': int, 'owner': str},
    'vdi-attribute': {'name': str, 'key': str},
    'vdi-qos': {'name': str, 'limits': dict},
    'vdi-begin': {'entry': dict},
    'vdi-commit': {'vdi_id': int, 'owner': str, 'source': int,
                   'snapshot': bool, 'serial': int, 'resized': int,
                   'tag': str, 'replaces': int},
    'vdi-commit-group': {'commits': list},
    'vdi-abort': {'vdi_id': int, 'owner': str},
    'vdi-reclaimed': {'vdi_id': int},
    'lock': {'vdi_id': int, 'mode': str, 'owner': str},
    'unlock': {'vdi_id': int, 'owner': str},
    'settings': {'changes': dict},
    'recovered': {'incarnation': str, 'epoch': int},
    'weights': {'spaces': dict, 'vnodes': dict},
    'disks': {'node': str, 'space': int, 'lost': bool},
    'forgo': {'incarnation': str, 'space': int, 'lost': bool},
    'evict': {'node': str},
    'readmit': {'node': str},
    'hurry': {'incarnation': str},
    'shutdown': {},
}
"""The fields that an event of each kind must have."""


class Record(NamedTuple):
    """One event at its place in the total order.

    ``sequence`` has no gaps; ``term`` is the leader's, ``time`` its clock
    (seconds since 1970). ``operation`` is the id of the exclusive operation
    that the event ends, '' if none; ``result`` (JSON) is what it answers.
    """

    sequence: int
    term: int
    time: float
    event: dict
    operation: str = ''
    result: Any = None

    RANGES = {'sequence': (0, POSITION_MAX), 'term': (0, POSITION_MAX)}

    @property
    def position(self) -> tuple:
        return self.term, self.sequence

    def check(self) -> str:
        """Returns the kind of the event.

        :raises InvalidParameters: there is no such kind, or it lacks fields
        """
        kind = self.event.get('kind')
        fields = _EVENTS.get(kind) if isinstance(kind, str) else None
        if fields is None:
            raise errors.InvalidParameters('unknown event %.40r' % (kind,))
        shapes.check(self.event, fields, kind)
        return kind


@shapes.decoder('group of snapshots')
def checked_commits(event: dict) -> list:
    """:raises InvalidParameters: one of them lacks fields"""
    commits = event['commits']
    if not 0 < len(commits) <= limits.SNAPSHOT_GROUP_MAX:
        raise ValueError('a group of %d' % len(commits))
    for commit in commits:
        shapes.check(commit, _EVENTS['vdi-commit'], 'vdi-commit')
    return commits


class Former(NamedTuple):
    """A form that a VDI had, and in which it may still have objects: of
    those with an index less than ``below`` only the ones that are ``left``
    (sorted). ``earlier``: as that of a ``VdiEntry``."""

    form: int
    copies: int
    copy_policy: int
    earlier: tuple = ()
    below: int = 0
    left: tuple = ()


@dataclasses.dataclass(frozen=True)
class VdiEntry:
    """What the cluster knows of a VDI without reading its inode.

    ``created`` is seconds << 32 | nanoseconds. The id of a deleted VDI
    stays taken, so its entry stays. ``wanted``: the number of copies from
    the next epoch on (0: no other), with ``wanted_policy``; ``earlier``:
    what it was before, as (last epoch, copies), oldest first. ``form``: of
    its new data objects (see ``model.ids``); ``former``: forms in which it
    may have others, being turned into this one; ``gone``: forms of which it
    has none any more (what still comes to light of them is known for what it
    is). ``whole_earlier``: as
    ``earlier``, of the inode and what else is always kept in whole copies.
    ``parent``: the VDI that this one came from, as snapshots and clones do.
    ``pending``: the incarnation that is making it; until it is made there is
    no such VDI (see ``family``). ``snapped``: when it became a snapshot, as
    ``created``. ``reclaimed``: it is deleted, and no VDI that came from it
    names any of its objects. ``resized``: the sequence of the event that did
    so last.
    """

    vdi_id: int
    name: str
    tag: str = ''
    snap_id: int = 0
    parent: int = 0
    created: int = 0
    copies: int = 3
    copy_policy: int = 0
    block_size_shift: int = 22
    deleted: bool = False
    snapshot: bool = False
    wanted: int = 0
    earlier: tuple = ()
    wanted_policy: int = 0
    form: int = 0
    former: tuple = ()
    gone: tuple = ()
    whole_earlier: tuple = ()
    pending: str = ''
    snapped: int = 0
    reclaimed: bool = False
    resized: int = 0

    RANGES = {'vdi_id': (0, ids.VDI_ID_MASK),
              'wanted': (0, limits.COPIES_MAX),
              'form': (0, limits.FORMS_MAX - 1)}

    @property
    def owner(self) -> int:
        """What the map says of objects that are made now."""
        return ids.owner_of(self.vdi_id, self.form)

    @property
    def newest_policy(self) -> redundancy.Policy:
        """The one that it has, or is to have from the next epoch on."""
        if self.wanted:
            return redundancy.Policy(self.wanted, self.wanted_policy)
        return redundancy.Policy(self.copies, self.copy_policy)

    @property
    def is_turning(self) -> bool:
        """It gets another form, or has objects in more than one."""
        return bool(self.former) or (
            bool(self.wanted) and self.wanted_policy != self.copy_policy)

    @property
    def whole_copies(self) -> int:
        """Of the inode and attributes."""
        return redundancy.whole_copies(self.copies, self.copy_policy)

    def kept(self, oid: int) -> 'VdiEntry | Former':
        """How one of its objects is kept: has ``copies``,
        ``copy_policy`` and ``earlier``."""
        if self.form and not ids.is_whole(oid):
            # (What is no data object stays as it was made: form 0.)
            form = ids.form_of(oid)
            for former in (*self.former, *self.gone):
                if former.form == form:
                    return former
        return self

    def policies(self) -> list:
        """Of all its forms."""
        return [redundancy.Policy(one.copies, one.copy_policy)
                for one in (self, *self.former)]

    def is_gone(self, oid: int) -> bool:
        """Nothing refers to that object any more: the VDI is deleted, or
        has turned it into another form."""
        below, left = self.gone_below(oid)
        index = ids.index_of(oid)
        return index < below and index not in left

    def gone_below(self, oid: int) -> tuple:
        """→ (below, left): of the objects of that one's form those with an
        index less than ``below`` are gone, but for the ones that are
        ``left``."""
        return (EVERY_INDEX, ()) if self.deleted else self.turned_below(oid)

    def turned_below(self, oid: int) -> tuple:
        """As ``gone_below``, were it not deleted."""
        form = ids.form_of(oid)
        if not ids.is_data(oid) or form == self.form:
            return 0, ()
        for former in self.former:
            if former.form == form:
                return former.below, former.left
        return EVERY_INDEX, ()

    def copies_at(self, oid: int, epoch: int) -> int:
        """How many copies, or strips, of an object were wanted in that
        epoch."""
        if ids.is_whole(oid):
            return _at(epoch, self.whole_earlier, self.whole_copies)
        kept = self.kept(oid)
        return _at(epoch, kept.earlier, kept.copies)

    def fewest_at(self, epoch: int) -> int:
        """With so many holders lost in that epoch, nobody may know of an
        object any more."""
        return min(_at(epoch, self.whole_earlier, self.whole_copies),
                   *(redundancy.whole_copies(
                       _at(epoch, kept.earlier, kept.copies),
                       kept.copy_policy) for kept in (self, *self.former)))

    def to_dict(self) -> dict:
        # There may be very many, and hardly one has anything nested.
        fields = dict(vars(self),
                      earlier=[list(one) for one in self.earlier])
        for name in ('former', 'gone'):
            fields[name] = [[*one[:3], [list(pair) for pair in one.earlier],
                             one.below, list(one.left)]
                            for one in fields[name]]
        for name in ('pending', 'snapped', 'reclaimed', 'resized'):
            if not fields[name]:
                del fields[name]
        if self.whole_earlier:
            fields['whole_earlier'] = [list(one)
                                       for one in self.whole_earlier]
        return fields

    @classmethod
    def from_dict(cls, fields: dict) -> 'VdiEntry':
        """:raises InvalidParameters:"""
        earlier = _earlier(fields.get('earlier', ()))
        return shapes.build(cls, dict(
            fields, earlier=earlier,
            former=_former(fields.get('former', ())),
            gone=_former(fields.get('gone', ())),
            # (That of a version before this one had one list for both.)
            whole_earlier=_earlier(fields.get('whole_earlier', earlier))))


def _at(epoch: int, earlier: tuple, copies: int) -> int:
    for until, before in earlier:
        if epoch <= until:
            return before
    return copies


@shapes.decoder('earlier copies')
def _earlier(pairs) -> tuple:
    """:raises InvalidParameters:"""
    for until, copies in pairs:
        if type(until) is not int or type(copies) is not int or not (
                1 <= copies <= limits.COPIES_MAX):
            raise ValueError('%.40r' % ((until, copies),))
    return tuple((until, copies) for until, copies in pairs)


@shapes.decoder('former forms')
def _former(rows) -> tuple:
    """:raises InvalidParameters:"""
    found = []
    # (A version before this one did not tell how far it was.)
    for form, copies, copy_policy, earlier, *progress in rows:
        if type(form) is not int or not 0 <= form < limits.FORMS_MAX:
            raise ValueError('%.40r' % (form,))
        policy = redundancy.checked(copies, copy_policy)
        found.append(Former(form, *policy, _earlier(earlier),
                            *checked_progress(*progress or (0, ()))))
    return tuple(found)


@shapes.decoder('progress of turning')
def checked_progress(below, left) -> tuple:
    """``below`` and ``left`` of a ``Former``.

    :raises InvalidParameters:
    """
    left = tuple(left)
    if len(left) > limits.TURNING_LEFT_MAX or not all(
            type(one) is int for one in (below, *left)):
        raise ValueError('%.40r' % ((below, left),))
    if list(left) != sorted(set(left)) or not (
            0 <= below <= limits.VDI_OBJECTS_MAX) or (
            left and not 0 <= left[0] <= left[-1] < below):
        raise ValueError('%.40r' % ((below, left),))
    return below, left


class Lock(NamedTuple):
    """Who holds a VDI: ``mode`` is one of LOCK_MODES, ``owners`` are
    incarnations in the order they came."""

    mode: str
    owners: tuple

    @property
    def gives_way(self) -> bool:
        """…to whoever wants to open the VDI."""
        return self.mode == TURNING


class Eviction(NamedTuple):
    """A node that keeps no objects for a while (``is_out``), or did so;
    ``time`` (seconds since 1970) is of the last change, ``times`` counts.
    """

    is_out: bool
    time: float
    times: int
    by_hand: bool


class Operation(NamedTuple):
    result: Any
    time: float
