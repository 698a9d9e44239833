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

"""What all connections that come in over TCP may take together.

Who connects and says nothing, or begins messages and does not end them,
costs descriptors and memory. So there are limits, and what is over them hurts
who is to blame: of silent connections the oldest goes when another comes
(who has something to say says it within milliseconds, so a peer or a tool
still gets in beside ten thousand of them), half messages end after a while,
and buffers for long messages come out of one budget, of which one address
gets half at most: who finds it empty is read from later.

Unix sockets are exempt but for the time that half messages may take: the
operator's tools must always get in.
"""

import asyncio

from sheepdog.model import limits

SWEEP_SECONDS = 1.0
LATE_SECONDS = 5.0

SILENT_MAX = limits.SILENT_CONNECTIONS_MAX
FIRST_SECONDS = limits.FIRST_MESSAGE_SECONDS
MESSAGE_SECONDS = limits.HALF_MESSAGE_SECONDS
LARGE_MAX_BYTES = limits.LARGE_BUFFERS_MAX_BYTES


class Places:
    """For so many connections in all, and so many from one address. Unix
    sockets need none."""

    def __init__(self, total_max: int, host_max: int):
        self._total_max = total_max
        self._host_max = host_max
        self._by_host = {}
        self._taken = {}

    def __len__(self):
        return len(self._taken)

    def take(self, connection) -> str:
        """'' or why there is none for it."""
        if connection.is_local or connection in self._taken:
            return ''
        host = connection.peer_host
        count = self._by_host.get(host, 0)
        if len(self._taken) >= self._total_max:
            return 'there are %d connections' % len(self._taken)
        if count >= self._host_max:
            return 'there are %d connections from there' % count
        self._by_host[host] = count + 1
        self._taken[connection] = host
        return ''

    def give_back(self, connection) -> None:
        """It is gone, if it had one."""
        host = self._taken.pop(connection, None)
        if host is not None:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]


class Crowd:
    """One per process. Connections tell it what they do; of each it uses
    ``peer_host``, ``is_local`` and what is named below.

    :param complain: ``(connection, text)``, says why one is cut off
    """

    def __init__(self, complain):
        self._complain = complain
        self._members = {}
        self._silent = {}
        self._large = {}
        self._by_host = {}
        self._large_bytes = 0
        self._waiting = {}
        self._timer = None
        self._swept = 0.0

    @property
    def is_tight(self) -> bool:
        """Somebody waits for room."""
        return bool(self._waiting)

    # From connections.

    def joined(self, connection) -> None:
        """It was accepted."""
        self._members[connection] = None
        if not connection.is_local:
            self._silent[connection] = self._now()
            if len(self._silent) > SILENT_MAX:
                oldest = next(iter(self._silent))
                self._end(oldest, 'too many connections that say nothing: '
                          'the oldest goes')
        if self._timer is None:
            self._swept = self._now()
            self._timer = asyncio.get_running_loop().call_later(
                SWEEP_SECONDS, self._sweep)

    def spoke(self, connection) -> None:
        """It has sent a first whole message."""
        self._silent.pop(connection, None)

    def left(self, connection) -> None:
        self._members.pop(connection, None)
        self._silent.pop(connection, None)
        self._waiting.pop(connection, None)
        self.shrunk(connection)

    def may_grow(self, connection, size: int) -> bool:
        """Whether its buffer may grow up to ``size`` bytes, more than
        usual. If not, its reading is paused until ``grow_again`` is called.

        It is the size of the whole message, so that who has begun to grow
        can go on to the end: else all would wait for each other.
        """
        if connection.is_local or size <= self._large.get(connection, 0):
            return True
        self._silent.pop(connection, None)
        if not self._has_room(connection, size):
            self._take_back()
            if not self._has_room(connection, size):
                self._waiting[connection] = size
                return False
        self._reserve(connection, size)
        return True

    def shrunk(self, connection) -> None:
        """Its buffer is no larger than usual."""
        if connection in self._large:
            self._reserve(connection, 0)
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._serve_waiting)

    # Inside.

    def _reserve(self, connection, size: int) -> None:
        before = self._large.pop(connection, 0)
        if size:
            self._large[connection] = size
        if size == before:
            return
        host = connection.peer_host
        self._large_bytes += size - before
        total = self._by_host.get(host, 0) + size - before
        if total:
            self._by_host[host] = total
        else:
            self._by_host.pop(host, None)

    def _has_room(self, connection, size: int) -> bool:
        more = size - self._large.get(connection, 0)
        return (self._large_bytes + more <= LARGE_MAX_BYTES and
                self._by_host.get(connection.peer_host, 0) + more
                <= LARGE_MAX_BYTES // 2)

    def _sweep(self) -> None:
        self._timer = None
        now = self._now()
        is_late, self._swept = now - self._swept > LATE_SECONDS, now
        if not is_late:
            # Else it is the loop that was stuck: what they sent meanwhile
            # is still to be read.
            self._end_idlers(now)
        self._serve_waiting()
        if self._members and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                SWEEP_SECONDS, self._sweep)

    def _end_idlers(self, now: float) -> None:
        for connection, since in list(self._silent.items()):
            if now - since < FIRST_SECONDS:
                break
            self._end(connection, 'connected, and said nothing in %d s'
                      % FIRST_SECONDS)
        for connection in list(self._members):
            if connection.half_since and connection.is_paused:
                # It is we who let it wait.
                connection.half_since = now
            elif connection.half_since and (
                    now - connection.half_since >= MESSAGE_SECONDS):
                self._end(connection, 'began a message and did not end it '
                          'in %d s' % MESSAGE_SECONDS)

    def _take_back(self) -> None:
        """What is kept for a next message, somebody needs now."""
        for other in list(self._large):
            other.give_back()

    def _serve_waiting(self) -> None:
        if self._waiting:
            self._take_back()
        for connection, size in list(self._waiting.items()):
            if self._has_room(connection, size):
                del self._waiting[connection]
                connection.grow_again()

    def _end(self, connection, text: str) -> None:
        self._silent.pop(connection, None)
        self._complain(connection, text)
        connection.abort()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
