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
store's own work go on (adopting down to half of the reserve); so a full
disk can be emptied, and a journal can always be replayed.
"""

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
            self.is_low = \
                self._disk.space(self._directory).free < self._reserve

    def has_room_to_adopt(self, size: int) -> bool:
        """Recovery may use half of the reserve; the rest is for what the
        store itself cannot do without."""
        return not self._reserve or \
            self._disk.space(self._directory).free - size \
            >= self._reserve // 2

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
