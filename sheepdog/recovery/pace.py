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

"""How fast copies are read for checking: bounded, and behind clients."""

import asyncio
import dataclasses

HOLD_SECONDS = 0.01
HOLD_STEPS = 25
"""While requests are under way each read waits so long, so many times at
most: a sheep that never rests is checked too, slowly."""


@dataclasses.dataclass(frozen=True)
class ScrubSettings:
    """``bytes_per_second`` bounds what a sheep reads; ``pause_seconds`` lie
    between the end of one round and the begin of the next."""

    enabled: bool = True
    bytes_per_second: int = 16 << 20
    pause_seconds: float = 604800.0


class Pace:
    """:param rate: returns the bytes per second of this moment; 0: as fast
        as it goes
    :param is_busy: returns whether requests are under way
    """

    def __init__(self, clock, rate, is_busy):
        self._clock = clock
        self._rate = rate
        self._is_busy = is_busy
        self._free_at = 0.0

    async def take(self, size):
        """Returns when the next ``size`` bytes may be read."""
        for _ in range(HOLD_STEPS):
            if not self._is_busy():
                break
            await asyncio.sleep(HOLD_SECONDS)
        now = self._clock.monotonic()
        begin = max(self._free_at, now)
        rate = self._rate()
        self._free_at = begin + size / rate if rate else begin
        # Also without a wait: others get their turn of the loop.
        await asyncio.sleep(begin - now)
