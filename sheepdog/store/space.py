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
"""

import logging
import math

from sheepdog.model import errors
from sheepdog.model import sizes

LOG = logging.getLogger(__name__)

CHECKS_PER_RESERVE = 4
"""The file system is asked each time a part of the reserve this small may
have been used up."""


class Reserve:
    """``is_low``: what takes more space must ask ``refuses`` first."""

    def __init__(self, disk, directory: str, reserve_bytes: int):
        self.is_low = False
        self._disk = disk
        self._directory = directory
        self._reserve = reserve_bytes
        self._step = reserve_bytes // CHECKS_PER_RESERVE
        self._left = 0
        self.look()

    def look(self) -> None:
        """Ask the file system."""
        self._left = self._step
        if self._reserve:
            was_low = self.is_low
            self.is_low = self.room() < 0
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

    def refuses(self) -> bool:
        """True while there is no room for more."""
        if self.is_low:
            self.look()
        return self.is_low
