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

"""How long to go on trying."""

import time

_PAUSE_FIRST_SECONDS = 0.05
_PAUSE_LAST_SECONDS = 1.0


class Patience:
    """A deadline, and pauses that grow towards it."""

    def __init__(self, seconds):
        self.deadline = time.monotonic() + seconds
        self._pause = _PAUSE_FIRST_SECONDS

    @property
    def left_seconds(self) -> float:
        """What is left, never quite nothing: it is used as a time limit."""
        return max(self.deadline - time.monotonic(), 0.001)

    def pause(self, error):
        """Sleep a little more than last time.

        :raises error: when that would be too late
        """
        if self.left_seconds < self._pause:
            raise error
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, _PAUSE_LAST_SECONDS)
