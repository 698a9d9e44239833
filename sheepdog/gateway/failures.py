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

"""Requests of our clients that failed, in the log, by the name that they
have on all sheep (see ``cmd.tracing``)."""

import logging

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

SECONDS = 10.0
AT_ONCE = 10
"""So many lines in so many seconds; of the others, how many."""

EXPECTED = (errors.NoObject, errors.InvalidParameters, errors.VdiLocked,
            errors.ShuttingDown)
"""The client's affair: it is told, and that is all."""

KINDS = {wire.WRITE: 'write', wire.ZERO: 'discard', wire.REMOVE: 'removal'}


class Failures:
    def __init__(self, clock, cluster):
        self._clock = clock
        self._cluster = cluster
        self._until = 0.0
        self._told = 0

    def note(self, entry, error):
        """``entry``: a Change or a Read that ends with ``error``."""
        if isinstance(error, EXPECTED):
            return
        now = self._clock.monotonic()
        if now >= self._until:
            if self._told > AT_ONCE:
                LOG.warning('%d more requests failed',
                            self._told - AT_ONCE)
            self._until = now + SECONDS
            self._told = 0
        self._told += 1
        if self._told > AT_ONCE:
            return
        if entry.is_change:
            name, what = '%s/%d' % (self._address(),
                                    entry.count), KINDS[entry.kind]
        else:
            name, what = '%s/read' % self._address(), 'read'
        LOG.warning('%s: %s of object %s, bytes %d to %d, failed: %s: %s',
                    name, what, ids.hex_oid(entry.oid), entry.offset,
                    entry.end, type(error).__name__, error,
                    extra={'request_id': name})

    def _address(self):
        view, ours = self._cluster.view, self._cluster.incarnation
        member = view.member(ours) if view is not None else None
        return '%s:%s' % member.address if member is not None else ours
