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

"""How far recovery steps back where clients wait. Pure.

As on a road that others use, too: at once to half of it as long as somebody
waits, and by small steps to all of it when nobody does.
"""

import math

PACE_LEAST = 0.125
"""One worker that works for an eighth of its time: redundancy is not to be
low for ever."""
STEPS = 16
"""From nothing to all of it."""
REST_SECONDS_MAX = 10.0


class Yielding:
    """``pace``: how many workers work all the time, on average; None: as
    many as one likes."""

    def __init__(self):
        self.pace = None

    @property
    def at_once(self):
        """Workers; None: as many as one likes."""
        return None if self.pace is None else math.ceil(self.pace)

    @property
    def share(self):
        """Of its time in which each of them works."""
        return 1.0 if self.pace is None else self.pace / self.at_once

    def step(self, most, is_waited):
        """Some moments have passed.

        :param most: workers, where nobody waits
        :param is_waited: somebody does
        """
        pace = float(most) if self.pace is None else min(self.pace, most)
        if is_waited:
            self.pace = max(PACE_LEAST, pace / 2)
            return
        pace += max(PACE_LEAST, most / STEPS)
        self.pace = None if pace >= most else pace

    def begin(self):
        """As if they had waited for long."""
        self.pace = PACE_LEAST

    def end(self):
        """Work as if nobody waited."""
        self.pace = None

    def rest_seconds(self, seconds):
        """Behind something that took so long."""
        return min(REST_SECONDS_MAX, seconds * (1.0 / self.share - 1.0))
