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

"""What happened, in order, and a digest of it.

Two runs of one seed must give the same digest, in whatever process: that is
how it is shown that a failure can be replayed.
"""

import collections
import hashlib

KEPT_EVENTS = 2000


class Trace:
    """Events go into the digest as they come; the last ones are kept."""

    def __init__(self, loop, kept: int = KEPT_EVENTS):
        self._loop = loop
        self._hash = hashlib.blake2b(digest_size=16)
        self.count = 0
        self.on_note = None
        """Called as ``note``, where somebody wants to know at once."""
        self.last = collections.deque(maxlen=kept)

    def note(self, who: str, what: str, *details) -> None:
        """``details`` must print the same in each run: no object ids."""
        event = (self._loop.time(), who, what, details)
        self._hash.update(repr(event).encode())
        self.count += 1
        self.last.append(event)
        if self.on_note is not None:
            self.on_note(who, what, details)

    def digest(self) -> str:
        return self._hash.hexdigest()

    def text(self, count: int = KEPT_EVENTS, who: str = '') -> str:
        """The last events, one a line."""
        events = [event for event in self.last
                  if not who or event[1] == who][-count:]
        return '\n'.join('%12.6f %-8s %-10s %s' % (
            when, name, what, ' '.join(str(detail) for detail in details))
            for when, name, what, details in events)
