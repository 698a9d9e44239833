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

POSITION_MAX = (1 << 62) - 1
"""Of terms and sequences: there is always a higher one."""

LOCK_MODES = ('exclusive', 'shared')

_EVENTS = {
    'format': {'settings': dict, 'view': dict},
    'epoch': {'view': dict},
    'resume': {},
    'vdi-create': {'entry': dict},
    'vdi-delete': {'vdi_id': int},
    'vdi-resize': {'vdi_id': int},
    'vdi-alter': {'changes': list},
    'lock': {'vdi_id': int, 'mode': str, 'owner': str},
    'unlock': {'vdi_id': int, 'owner': str},
    'settings': {'changes': dict},
    'recovered': {'incarnation': str, 'epoch': int},
    'weights': {'spaces': dict, 'vnodes': dict},
    'disks': {'node': str, 'space': int, 'lost': bool},
    'forgo': {'incarnation': str, 'space': int, 'lost': bool},
    'evict': {'node': str},
    'readmit': {'node': str},
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


@dataclasses.dataclass(frozen=True)
class VdiEntry:
    """What the cluster knows of a VDI without reading its inode.

    ``created`` is seconds << 32 | nanoseconds. The id of a deleted VDI
    stays taken, so its entry stays. ``wanted``: the number of copies from
    the next epoch on (0: no other); ``earlier``: what it was before, as
    (last epoch, copies), oldest first.
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

    RANGES = {'vdi_id': (0, ids.VDI_ID_MASK),
              'wanted': (0, limits.COPIES_MAX)}

    def copies_at(self, epoch: int) -> int:
        """How many copies were wanted in that epoch."""
        for until, copies in self.earlier:
            if epoch <= until:
                return copies
        return self.copies

    def to_dict(self) -> dict:
        # There may be very many, and hardly one has anything nested.
        return dict(vars(self), earlier=[list(one) for one in self.earlier])

    @classmethod
    def from_dict(cls, fields: dict) -> 'VdiEntry':
        """:raises InvalidParameters:"""
        return shapes.build(cls, dict(
            fields, earlier=_earlier(fields.get('earlier', ()))))


@shapes.decoder('earlier copies')
def _earlier(pairs) -> tuple:
    """:raises InvalidParameters:"""
    for until, copies in pairs:
        if type(until) is not int or type(copies) is not int or not (
                1 <= copies <= limits.COPIES_MAX):
            raise ValueError('%.40r' % ((until, copies),))
    return tuple((until, copies) for until, copies in pairs)


class Lock(NamedTuple):
    """Who holds a VDI: ``mode`` is one of LOCK_MODES, ``owners`` are
    incarnations in the order they came."""

    mode: str
    owners: tuple


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
