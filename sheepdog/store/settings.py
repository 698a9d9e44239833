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

"""What an operator decides about a store."""

import dataclasses

from sheepdog.model import limits

JOURNAL_BYTES_MIN = 2 << 20
"""Each half must have room for the longest update of a strip, what that
replaces, and what takes it back (``limits.STRIP_UPDATE_MAX_BYTES``)."""


class StoreRefused(Exception):
    """The store cannot be opened as things stand; nothing was changed.

    The text names the path and the way out. ``exit_code``: 2 something is
    wrong with the host, 4 there is no room.
    """

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


@dataclasses.dataclass(frozen=True)
class StoreSettings:
    """``journal_dir`` '' is META/journal. ``journal_skip``: no journal, a
    durable write syncs the object's file; blocks written at the moment of a
    crash may be left with a wrong checksum and are then repaired from other
    copies. ``nosync``: nothing is ever synced; a power cut may cost what
    was acknowledged. ``reserve_bytes`` of the disk are kept from writes, so
    that it can be emptied when it is full. ``disks``: directories, each on a
    disk of its own, that keep the objects instead of ``meta``; ``lost_disks``
    those that are given up, with what is on them."""

    meta: str
    disks: tuple = ()
    lost_disks: tuple = ()
    journal_dir: str = ''
    journal_bytes: int = 512 << 20
    journal_skip: bool = False
    nosync: bool = False
    directio: bool = False
    open_objects_max: int = 4096
    checkpoint_seconds: float = 300.0
    reserve_bytes: int = 64 << 20

    def check(self) -> None:
        """:raises StoreRefused: a value is out of its range"""
        if self.journal_bytes < JOURNAL_BYTES_MIN and not self.journal_skip:
            raise StoreRefused('a journal of %d bytes is too small: it needs '
                               'at least %d' % (self.journal_bytes,
                                                JOURNAL_BYTES_MIN))
        if self.directio:
            raise StoreRefused('object files cannot bypass the page cache '
                               'in this version: leave directio out')
        if self.checkpoint_seconds <= 0:
            raise StoreRefused('checkpoint_seconds must be above 0')
        if self.open_objects_max < 1:
            raise StoreRefused('open_objects_max must be at least 1')

    @property
    def segment_bytes(self) -> int:
        """Size of one of the journal's two segments, in whole blocks."""
        return self.journal_bytes // 2 // limits.BLOCK_BYTES \
            * limits.BLOCK_BYTES
