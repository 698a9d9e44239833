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

"""Tests whose time goes by only when nothing is left to do.

For what happens in memory alone. A pause of 10 ms means there: until all
that can happen has happened. So no test takes long, and none hangs on how
fast the machine is, or on whether it stands still for a while.
"""

import asyncio
import selectors
import unittest

BEGIN_SECONDS = 1000.0
TURN_SECONDS = 2e-5
"""Of a turn of the loop in which something was done: who never rests must
not stop the clock."""

STUCK_SECONDS = 60.0


class _Selector(selectors.DefaultSelector):
    """Where others wait, its clock is put forward."""

    now = BEGIN_SECONDS

    def select(self, timeout=None):
        if timeout is None:
            # No timer: only somebody outside can help.
            found = super().select(STUCK_SECONDS)
            if not found:
                raise AssertionError('nothing can happen any more')
            return found
        found = super().select(0)
        self.now += TURN_SECONDS if found else max(timeout, TURN_SECONDS)
        return found


class Loop(asyncio.SelectorEventLoop):

    def __init__(self):
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now


class Case(unittest.IsolatedAsyncioTestCase):

    def _setupAsyncioRunner(self):
        self._asyncioRunner = asyncio.Runner(debug=True, loop_factory=Loop)
