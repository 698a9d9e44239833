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

"""One request on its way to the copies of an object.

Operations are their own callbacks: every copy's answer calls them, the
local one with ``(error)`` or ``(error, data)``, a remote one with
``(error, value, aux, payload)``. No task and no future is needed on the
straight way.
"""

import asyncio

from sheepdog.wire import peer as wire
from sheepdog.world import futures


class Change:
    """A write, zero or remove; ``kind`` is the peer opcode, ``end`` the
    offset behind the last byte, ``done(error)`` what is called at the end
    (None once it was).

    ``origin`` is the incarnation of the gateway that sent it on to us, None
    for our own; ``count`` is the origin's. ``elsewhere``: it may have been
    applied by another way before. ``is_begun``: sent to the copies, by us;
    ``has_lost``: meanwhile another sheep ordered the object. ``waiters``
    and ``blockers``: see ``turns``. ``coded``: a ``coded.Update`` where the
    object is kept in strips.
    """

    __slots__ = ('changes', 'kind', 'oid', 'offset', 'end', 'data',
                 'durable', 'create', 'copies', 'done', 'count', 'origin',
                 'route', 'pending', 'failures', 'attempts', 'elsewhere',
                 'is_begun', 'has_lost', 'waiters', 'blockers', 'coded')

    is_change = True
    is_void = False
    """See ``peer.replica.Caller``: nothing is asked again before our own
    replica has answered."""

    def __init__(self, changes, kind, oid, offset, end, data, durable,
                 create, copies, done):
        self.changes = changes
        self.kind = kind
        self.oid = oid
        self.offset = offset
        self.end = end
        self.data = data
        self.durable = durable
        self.create = create
        self.copies = copies
        self.done = done
        self.count = 0
        self.origin = None
        self.route = None
        self.pending = 0
        self.failures = None
        self.attempts = 0
        self.elsewhere = False
        self.is_begun = False
        self.has_lost = False
        self.coded = None
        self.waiters = None
        self.blockers = 0

    def __call__(self, error, value=0, aux=0, payload=b''):
        """One copy has answered."""
        if error is not None:
            if self.failures is None:
                self.failures = []
            self.failures.append(error)
        self.pending -= 1
        if not self.pending:
            self.changes.attempted(self)

    def begin(self):
        self.changes.begin(self)

    def abandon(self, error):
        """Our identity died, or we stop: the outcome is unknown."""
        done, self.done = self.done, None
        if done is not None:
            done(error)

    def flags(self):
        return ((wire.FLAG_DURABLE if self.durable else 0)
                | (wire.FLAG_CREATE if self.create else 0)
                | (wire.FLAG_RETRY if self.elsewhere else 0))


class Joined:
    """Tells who asked for a change when all pieces of it have ended."""

    def __init__(self, count, done):
        self._left = count
        self._done = done
        self._error = None

    def __call__(self, error):
        self._error = self._error or error
        self._left -= 1
        if not self._left:
            self._done(self._error)


class Read:
    """A read; tries one whole copy after the other.

    ``tried`` copies were asked; ``bad`` is what one that cannot read it
    said, ``unsure`` that one could not answer just now. ``parts``: the
    ``coded.SpanRead``, only where the object is kept in strips.
    """

    __slots__ = ('reads', 'oid', 'offset', 'end', 'size', 'done', 'route',
                 'origin', 'tried', 'attempts', 'bad', 'unsure', 'waiters',
                 'blockers', 'parts')

    is_change = False

    def __init__(self, reads, oid, offset, size, done):
        self.reads = reads
        self.oid = oid
        self.offset = offset
        self.end = offset + size
        self.size = size
        self.done = done
        self.route = None
        self.origin = None
        self.waiters = None
        self.blockers = 0
        self.tried = 0
        self.attempts = 0
        self.bad = None
        self.unsure = False

    def __call__(self, error, data=b''):
        """The local copy has answered."""
        self.reads.attempted(self, error, data)

    def answered(self, error, value, aux, payload):
        """A remote copy, or who orders the object, has answered."""
        self.reads.attempted(self, error, payload)

    def begin(self):
        self.reads.begin(self)

    def abandon(self, error):
        done, self.done = self.done, None
        if done is not None:
            done(error, b'')


def future():
    """A future, and the callback that resolves it with its data."""
    awaited = asyncio.get_running_loop().create_future()

    def done(error, data=None):
        futures.settle(awaited, error, data)

    return awaited, done
