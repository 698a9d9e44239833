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

"""The time that requests take, of a sample of them (see ``gateway.waits``).

A *run* of consecutive requests is timed four times a second. A run is longer
than what usually comes in one go, so that the last requests of a batch, which
wait the longest, are as likely in the sample as its first ones. A sheep with
few requests times nearly all of them.
"""

import asyncio

from sheepdog.faces.metrics import histogram
from sheepdog.gateway import waits as waits_module
from sheepdog.world import api

PERIOD_SECONDS = 0.25
RUN_REQUESTS = 64

BOUNDS_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                  0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Latencies:
    """``times``: a ``Histogram`` of seconds by kind of request, from the
    gateway's taking it to its answer, with all attempts in between.
    ``delays``: by how much the loop was late for its own timer.
    """

    def __init__(self, world: api.World, waits: waits_module.Waits):
        self.times = {kind: histogram.Histogram(BOUNDS_SECONDS)
                      for kind in waits_module.KINDS}
        self.delays = histogram.Histogram(BOUNDS_SECONDS)
        self._monotonic = world.clock.monotonic
        self._waits = waits
        self._timer = None
        self._due = 0.0

    def start(self) -> None:
        now = self._monotonic()
        if self._timer is not None:
            self.delays.observe(max(0.0, now - self._due))
        self._due = now + PERIOD_SECONDS
        self._timer = asyncio.get_running_loop().call_later(
            PERIOD_SECONDS, self.start)
        self._waits.listener = self._observe
        self._waits.take_times(RUN_REQUESTS)

    def stop(self) -> None:
        self._waits.listener = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _observe(self, kind: str, seconds: float) -> None:
        self.times[kind].observe(seconds)
