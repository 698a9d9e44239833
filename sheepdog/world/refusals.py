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

"""What is said as often as somebody asks must not fill the log."""

import logging

from sheepdog.world import api

SECONDS = 60.0
SOURCES_MAX = 1000


class Refusals:
    """Warns at most once a minute of each source and kind, and takes for all
    of them no more memory than SOURCES_MAX do. A source is whoever is
    refused, or what it is refused for."""

    def __init__(self, clock: api.Clock, log: logging.Logger,
                 level: int = logging.WARNING):
        self._clock = clock
        self._log = log
        self._level = level
        self._said = {}

    def note(self, source: str, text: str, kind: str = '') -> None:
        """
        :param source: of a client without its port: each connection has
            another
        :param kind: what it is about; each has its own minute
        """
        now = self._clock.monotonic()
        key = source, kind
        last = self._said.get(key)
        if last is not None and now - last < SECONDS:
            return
        # In order of what was said last: the oldest goes.
        self._said.pop(key, None)
        if len(self._said) >= SOURCES_MAX:
            del self._said[next(iter(self._said))]
        self._said[key] = now
        self._log.log(self._level, '%s: %s', source, text)
