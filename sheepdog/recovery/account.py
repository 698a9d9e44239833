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

"""What operators are told of a pass, and when."""

import collections
from typing import Optional, Protocol

FAILED_SECONDS = 10.0
"""A pass is tried again for so long before anybody is told that it fails:
after a change of the view the others may need a moment."""


SAMPLE_SECONDS = 1.0
SAMPLES = 30
"""The pace is that of so many samples, so far apart: what was long ago, at
another throttle perhaps, does not count."""


class Watcher(Protocol):
    """Is told of passes that have objects to make whole."""

    def recovery_started(self, epoch: int, objects: int) -> None: ...

    def recovery_finished(self, epoch: int, objects: int,
                          seconds: float) -> None: ...

    def recovery_failed(self, epoch: int, left: int, reason: str) -> None:
        """It has got no further for FAILED_SECONDS; once for each pass,
        which goes on trying."""


class Account:
    """Of one pass, over all its attempts. ``watcher`` may be None."""

    def __init__(self, watcher: Optional[Watcher], clock, epoch: int):
        self._watcher = watcher
        self._clock = clock
        self._epoch = epoch
        self._began = clock.monotonic()
        self._objects = 0
        self._stuck_since: Optional[float] = None
        self._has_failed = False

    def found(self, objects: int) -> None:
        """An attempt begins with so many objects to make whole."""
        if objects and not self._objects and self._watcher is not None:
            self._watcher.recovery_started(self._epoch, objects)
        self._objects = max(self._objects, objects)

    def stuck(self, left: int, reason: str) -> None:
        """An attempt has ended with so many that are not whole."""
        now = self._clock.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
        if (now - self._stuck_since >= FAILED_SECONDS
                and not self._has_failed):
            self._has_failed = True
            if self._watcher is not None:
                self._watcher.recovery_failed(self._epoch, left, reason)

    def finished(self) -> None:
        if self._watcher is not None and (self._objects
                                          or self._has_failed):
            self._watcher.recovery_finished(
                self._epoch, self._objects,
                self._clock.monotonic() - self._began)


class Estimate:
    """When will it be done? Pure: times are given, in seconds."""

    def __init__(self):
        self._samples = collections.deque(maxlen=SAMPLES)

    def begin(self, now: float) -> None:
        self._samples.clear()
        self._samples.append((now, 0))

    def note(self, now: float, done: int) -> None:
        if now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, done))

    def seconds(self, now: float, done: int, total: int) -> Optional[float]:
        """Left; None where nothing can be said yet."""
        if not self._samples:
            return None
        since, before = self._samples[0]
        if done <= before or now <= since:
            return None
        return (total - done) * (now - since) / (done - before)
