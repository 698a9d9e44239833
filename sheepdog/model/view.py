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

"""A view: one epoch's number, its ordered member list, its settings.

Views are immutable. Epoch N has one member list everywhere and for ever, so
a view may be kept, compared and used as a key.
"""

import dataclasses

from sheepdog.model import limits
from sheepdog.model import shapes

_U32_MAX = (1 << 32) - 1


@dataclasses.dataclass(frozen=True)
class Member:
    """One sheep in a view.

    ``node`` is the stable id (it lives in META); ``incarnation`` is
    ``<node>.<start time>`` and new for each process start and each lapse.
    ``space`` is the capacity in bytes that ``vnodes`` was reckoned from;
    gateways (no storage) have ``vnodes`` 0.
    """

    node: str
    incarnation: str
    host: str
    port: int
    zone: int
    vnodes: int
    space: int = 0
    data_host: str = ''
    data_port: int = 0

    RANGES = {'port': (0, 65535), 'vnodes': (0, limits.VNODES_MAX),
              'data_port': (0, 65535)}

    @property
    def address(self) -> tuple:
        return self.host, self.port

    @property
    def data_address(self) -> tuple:
        """Where object traffic goes: the second network where there is one."""
        if self.data_host:
            return self.data_host, self.data_port
        return self.host, self.port

    def to_dict(self) -> dict:
        # A view may have thousands, and nothing in them is nested.
        return dict(vars(self))

    @classmethod
    def from_dict(cls, fields: dict) -> 'Member':
        """:raises InvalidParameters:"""
        return shapes.build(cls, fields)


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """What ``dog cluster format`` decides, the same on every member.

    ``created`` is seconds << 32 | nanoseconds and names the cluster:
    a store formatted for another one is refused. ``recycle_ids`` is always
    False: ids of VDIs are used once.
    """

    created: int
    store: str = 'plain'
    copies: int = 3
    copy_policy: int = 0
    block_size_shift: int = 22
    strict: bool = False
    vdi_locks: bool = True
    fixed_vnodes: bool = False
    recycle_ids: bool = False
    avoid_full: bool = False
    reference_space: int = 0
    recovery_enabled: bool = True

    RANGES = {'copies': (1, limits.COPIES_MAX),
              'block_size_shift': (12, limits.OBJECT_SHIFT_MAX)}

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> 'ClusterSettings':
        """:raises InvalidParameters:"""
        return shapes.build(cls, fields)


@dataclasses.dataclass(frozen=True)
class View:
    """Epoch ``epoch``, agreed in ``term`` at ``time`` (seconds)."""

    epoch: int
    term: int
    time: float
    members: tuple

    RANGES = {'epoch': (0, _U32_MAX)}

    def member(self, incarnation: str):
        """The member of that incarnation, or None."""
        for member in self.members:
            if member.incarnation == incarnation:
                return member
        return None

    def node(self, node: str):
        """The member with that stable id, or None."""
        for member in self.members:
            if member.node == node:
                return member
        return None

    def to_dict(self) -> dict:
        return {'epoch': self.epoch, 'term': self.term, 'time': self.time,
                'members': [m.to_dict() for m in self.members]}

    @classmethod
    def from_dict(cls, fields: dict) -> 'View':
        """:raises InvalidParameters:"""
        return shapes.build(cls, _with_members(fields))


@shapes.decoder('view')
def _with_members(fields):
    return dict(fields, members=tuple(Member.from_dict(m)
                                      for m in fields['members']))
