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

"""The reserve: the last bytes of a disk are not for writing.

Below the reserve what would take more space is refused before it is
journalled. Overwriting, discarding, removing, adopting (recovery) and the
store's own work go on: new copies are adopted down to half of the reserve,
those that replace one that is here (they take room only until its file is
gone) down to a quarter. So a full disk can be emptied, copies can be made
equal on it, and a journal can always be replayed.

Before that comes back pressure: of as much room as the reserve is, the less
is left above it, the later what takes more of it is acknowledged. So whoever
fills the disk gets slower before it is refused, and an operator has time.
"""

import asyncio
import logging
import math
from typing import Callable, Optional

from sheepdog.model import errors
from sheepdog.model import sizes
from sheepdog.store import operations

LOG = logging.getLogger(__name__)

CHECKS_PER_RESERVE = 4
"""The file system is asked each time a part of the reserve this small may
have been used up."""


SLOWED_MAX_SECONDS = 0.05
"""Less than what would make a sheep count as slow beside its peers."""


class Slowed:
    """The ``done(error)`` of a change that took room when little was left:
    the same, a little later."""

    __slots__ = ('done', 'seconds')

    def __init__(self, done: Callable, seconds: float):
        self.done = done
        self.seconds = seconds

    def __call__(self, error: Optional[Exception]) -> None:
        if error is not None:
            self.done(error)
        else:
            asyncio.get_running_loop().call_later(self.seconds, self.done,
                                                  None)


class Reserve:
    """``is_near``: what takes more space must ask ``check`` first.
    ``is_low``: and is refused, as it seems."""

    def __init__(self, disk, directory: str, reserve_bytes: int):
        self.is_near = False
        self.is_low = False
        self._is_warned = False
        self._disk = disk
        self._directory = directory
        self._reserve = reserve_bytes
        self._step = reserve_bytes // CHECKS_PER_RESERVE
        self._left = 0
        self._room = math.inf
        self.look()

    def look(self) -> None:
        """Ask the file system."""
        self._left = self._step
        if self._reserve:
            was_low = self.is_low
            room = self._room = self.room()
            self.is_near = room < self._reserve
            self.is_low = room < 0
            if self.is_near and not self._is_warned:
                LOG.warning('writes that need room are slowed down: %s is '
                            'nearly full', self._directory)
                self._is_warned = True
            elif room > 2 * self._reserve:
                self._is_warned = False
            if self.is_low and not was_low:
                LOG.warning('writes that need room are refused: %s',
                            self.refusal())
            elif was_low and not self.is_low:
                LOG.info('%s has room again', self._directory)

    def room(self) -> float:
        """Bytes that writes may take; below 0: what lacks in the reserve.
        """
        return self._free() - self._reserve

    def check_room(self, size: int, is_new: bool, keeps_all: bool) -> None:
        """For a copy of so many bytes that recovery brings here.

        :param keeps_all: a new one may take nothing of the reserve
        :raises NoSpace: there is none
        """
        if not self._reserve:
            return
        if not is_new:
            kept = self._reserve // 4
        else:
            kept = self._reserve if keeps_all else self._reserve // 2
        if self.room() + self._reserve - size < kept:
            raise self.refusal()

    def refusal(self) -> errors.NoSpace:
        """What an operator should know."""
        return errors.NoSpace(
            '%s is full: %s are left, and %s are kept for deleting and '
            'recovery' % (self._directory,
                          sizes.show_size(self.room() + self._reserve),
                          sizes.show_size(self._reserve)))

    def _free(self) -> float:
        try:
            return self._disk.space(self._directory).free
        except OSError:
            # The disk is gone: what is tried there says so.
            return math.inf

    def used(self, size: int) -> None:
        """So many bytes were written, perhaps to new places."""
        self._left -= size
        if self._left < 0:
            self.look()

    def check(self, op: operations.Operation) -> Optional[errors.NoSpace]:
        """For a change that takes room: why it is refused, or None. It is
        acknowledged later where little is left."""
        self.look()
        if self.is_low:
            return self.refusal()
        if self.is_near and not isinstance(op.done, Slowed):
            op.done = Slowed(op.done, SLOWED_MAX_SECONDS * (
                1 - self._room / self._reserve))
        return None
