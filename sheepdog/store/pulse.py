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

"""How long a device takes for what is asked of it: syncs and cold reads.

What is served from memory is not measured, so the straight way of a read
knows nothing of this.
"""

from typing import Callable, Optional

SYNC, READ = 0, 1


class Pulse:
    """:param monotonic: seconds"""

    def __init__(self, monotonic: Callable[[], float]):
        self._monotonic = monotonic
        self._begun: dict = {}
        self._number = 0
        self._seconds = [0.0, 0.0]
        self._counts = [0, 0]

    def begin(self) -> int:
        """The device is asked; the number is for ``end``."""
        self._number = number = self._number + 1
        self._begun[number] = self._monotonic()
        return number

    def end(self, number: int, kind: int) -> None:
        """It has answered, whatever; ``kind`` is SYNC or READ."""
        self._seconds[kind] += self._monotonic() - self._begun.pop(number)
        self._counts[kind] += 1

    @property
    def is_idle(self) -> bool:
        """Nothing was asked since it was last ``take``n."""
        return not self._begun and not any(self._counts)

    def take(self) -> Optional[int]:
        """Microseconds: the mean of what has ended since the last call, of
        the slower kind, or the age of what is still under way if that is
        more. None: nothing was asked."""
        if self.is_idle:
            return None
        found = [seconds / count for seconds, count
                 in zip(self._seconds, self._counts) if count]
        for began in self._begun.values():
            # They stand in the order in which they began.
            found.append(self._monotonic() - began)
            break
        self._seconds = [0.0, 0.0]
        self._counts = [0, 0]
        return int(max(found) * 1e6)
