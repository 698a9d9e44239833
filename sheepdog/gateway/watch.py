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

"""Which requests of our clients take long, and what they wait for.

Nothing is noted when a request comes or ends: from time to time one looks
at what is under way. So an age is too low by up to ``LOOK_SECONDS``.
"""

import asyncio
import logging

from sheepdog.model import ids
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
TOLD_MAX = 10
"""Requests told of one by one in one look; of the others, how many."""


class Watch:
    """:param address: ``host:port`` of this sheep, for the log
    :param slow_seconds: from then on a request is told of; 0: never
    """

    def __init__(self, world, gateway, address, slow_seconds):
        self.slow_seconds = slow_seconds
        self._clock = world.clock
        self._gateway = gateway
        self._address = address
        self._seen = {}
        self._told = {}

    async def run(self):
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self):
        """Once; logs those that have become slow, and their end."""
        now = self._clock.monotonic()
        seen = self._seen
        # A change is known by its count: holding on to it would hold on to
        # its data.
        self._seen = {key: seen.get(key, now)
                      for key in self._gateway.changes.mine}
        for read in self._gateway.reads.under_way:
            self._seen[read] = seen.get(read, now)
        told = self._told
        if told:
            self._tell_ends(now)
        if not self.slow_seconds:
            return
        limit = now - self.slow_seconds
        slow = [key for key, since in self._seen.items()
                if since <= limit and key not in told]
        for key in slow[:TOLD_MAX]:
            found = self._describe(key, now)
            LOG.warning('slow: %s', found['text'],
                        extra={'request_id': found['id']})
            told[key] = found['id'], self._seen[key]
        if len(slow) > TOLD_MAX:
            LOG.warning('slow: %d more requests take longer than %g s',
                        len(slow) - TOLD_MAX, self.slow_seconds)
            told.update((key, ('', self._seen[key]))
                        for key in slow[TOLD_MAX:])

    def _tell_ends(self, now):
        for key in [key for key in self._told if key not in self._seen]:
            name, since = self._told.pop(key)
            if name:
                LOG.info('%s ended after %.0f s', name, now - since,
                         extra={'request_id': name})

    def slowest(self, count=10):
        """Those that take longer than ``slow_seconds``, the oldest first:
        ``(how many, descriptions of the first)``; see ``describe``."""
        now = self._clock.monotonic()
        limit = now - (self.slow_seconds or LOOK_SECONDS)
        slow = sorted((since, place, key) for place, (key, since)
                      in enumerate(self._seen.items())
                      if since <= limit and self._is_under_way(key))
        return len(slow), [self._describe(key, now)
                           for _since, _place, key in slow[:count]]

    def _is_under_way(self, key):
        return key in (self._gateway.changes.mine if isinstance(key, int)
                       else self._gateway.reads.under_way)

    def _describe(self, key, now):
        """``id`` as in the log of all sheep (see ``cmd.tracing``),
        ``seconds`` so far, ``vdi_id``, ``attempts``, ``waits_for``
        (addresses) and the same as ``text``."""
        if isinstance(key, int):
            entry = self._gateway.changes.mine[key]
            callback = entry
            what = _KINDS[entry.kind]
            name = '%s/%d' % (self._address, key)
        else:
            entry = key
            callback = entry.answered
            what = 'read'
            name = '%s/read' % self._address
        seconds = now - self._seen[key]
        waits_for, requests = self._debtors(entry, callback)
        if what == 'read' and requests:
            name = '%s#%d' % (self._address, requests[0])
        return {
            'id': name, 'seconds': seconds, 'vdi_id': ids.vdi_of(entry.oid),
            'attempts': entry.attempts, 'waits_for': waits_for,
            'text': '%s: %s of object %s, bytes %d to %d, takes %.0f s: '
            '%s' % (name, what, ids.hex_oid(entry.oid), entry.offset,
                    entry.end, seconds, _cause(entry, waits_for))}

    def _debtors(self, entry, callback):
        """(addresses that owe an answer, ids of those requests)"""
        route = entry.route
        if route is None:
            return [], []
        links = ([route.orderer] if route.orderer is not None
                 else route.links)
        waits_for, requests = [], []
        for link in links:
            owed = link.owed(callback)
            if owed:
                waits_for.append('%s:%s' % link.address)
                requests += owed
        return waits_for, requests


def _cause(entry, waits_for):
    if entry.blockers:
        return 'it waits behind %d others of the same bytes' % (
            entry.blockers)
    if waits_for:
        return 'no answer yet from %s' % ', '.join(waits_for)
    if entry.attempts:
        why = (entry.failures or [''])[-1] if entry.is_change else entry.bad
        return 'tried %d times, the way is blocked%s' % (
            entry.attempts, ' (%s)' % why if why else '')
    return 'the own disk has not answered yet'


_KINDS = {wire.WRITE: 'write', wire.ZERO: 'discard', wire.REMOVE: 'removal'}
