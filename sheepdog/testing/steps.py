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

"""What happens from outside, step by step, each step by itself.

Step 7 of a seed is the same whatever steps 1 to 6 were: its moment, its
kind and all its choices come from the seed and its number. So a failing
seed can be made smaller by leaving steps out (see ``shrink``).
"""

import asyncio
import random
from typing import Collection


class Steps:
    """``run`` until ``is_over``; a step of kind ``x`` calls ``_x(random)``.

    ``done``: the labels of the steps taken, in order, with their kinds.
    """

    def __init__(self, name: str, trace, seed: str, weights: dict,
                 pause_seconds: float, without: Collection[str] = ()):
        self.name = name
        self.is_over = False
        self.done = {}
        self._trace = trace
        self._seed = seed
        self._kinds = list(weights)
        self._weights = list(weights.values())
        self._pause_seconds = pause_seconds
        self._without = without

    async def run(self) -> None:
        number = 0
        while not self.is_over:
            source = random.Random('%s/%d' % (self._seed, number))
            await asyncio.sleep(source.expovariate(1 / self._pause_seconds))
            if self.is_over:
                return
            self.look()
            kind, = source.choices(self._kinds, self._weights)
            label = '%s:%d' % (self.name, number)
            if label not in self._without:
                self.done[label] = kind
                self._trace.note(self.name, kind, number)
                getattr(self, '_' + kind)(source)
            number += 1

    def look(self) -> None:
        """Called before each step."""

    def count(self, kind: str) -> int:
        return sum(done == kind for done in self.done.values())
