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

"""HTTP for scrapers: one page, one request per connection.

Whoever reaches the port may be slow or hostile, and the same loop serves
disks. So all of it is bounded: connections at once, connections in a
second, bytes of a request, the life of a connection; and the page is made
at most once a second, whoever asks how often.
"""

import asyncio
import logging
from typing import Callable, Optional

import h11

from sheepdog.faces.metrics import settings as settings_module
from sheepdog.world import api

LOG = logging.getLogger(__name__)

PATH = b'/metrics'
CONNECTIONS_MAX = 16
CONNECTIONS_PER_SECOND_MAX = 20
CONNECTION_SECONDS = 10.0
"""From its beginning to the last byte of the answer."""

HEAD_MAX_BYTES = 8 << 10
FRESH_SECONDS = 1.0
"""So long the same page is given to all who ask."""

LINGER_SECONDS = 0.5
"""A client that is refused in the middle of what it sends may go on for so
long: closing under it would take the answer away from it."""

LOG_SECONDS = 60.0
TEXT = 'text/plain; charset=utf-8'


class MetricsFace:
    """
    :param make_page: the page, as bytes
    :param content_type: of that page
    """

    def __init__(self, world: api.World,
                 settings: settings_module.MetricsSettings,
                 make_page: Callable[[], bytes], content_type: str):
        self.world = world
        self.settings = settings
        self.content_type = content_type
        self.address = None
        """(host, port) once started, with the port that was chosen."""
        self._make_page = make_page
        self._page = b''
        self._page_until: Optional[float] = None
        self._listener: Optional[api.Listener] = None
        self._sessions: dict = {}
        self._second = 0.0
        self._in_second = 0
        self._quiet_until = 0.0

    async def start(self) -> None:
        """:raises OSError: the address is in use or not ours"""
        self._listener = await self.world.network.listen(
            lambda: _Session(self), host=self.settings.host,
            port=self.settings.port)
        self.address = self._listener.address
        LOG.info('metrics at http://%s:%d%s', *self.address[:2],
                 PATH.decode())

    async def stop(self) -> None:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await listener.close()
        for session in list(self._sessions):
            session.connection.abort()

    # For the sessions.

    def admit(self, session: '_Session') -> bool:
        now = self.world.clock.monotonic()
        if now - self._second >= 1:
            self._second, self._in_second = now, 0
        self._in_second += 1
        if (self._in_second > CONNECTIONS_PER_SECOND_MAX
                or len(self._sessions) >= CONNECTIONS_MAX):
            if now >= self._quiet_until:
                self._quiet_until = now + LOG_SECONDS
                LOG.warning('metrics: too many connections, the last of '
                            'them from %s', session.connection.peername)
            return False
        self._sessions[session] = None
        return True

    def forget(self, session: '_Session') -> None:
        self._sessions.pop(session, None)

    def page(self) -> bytes:
        now = self.world.clock.monotonic()
        if self._page_until is None or now >= self._page_until:
            self._page = self._make_page()
            self._page_until = now + FRESH_SECONDS
        return self._page


class _Session:
    """See ``api.Session``."""

    def __init__(self, face: MetricsFace):
        self.connection: Optional[api.Connection] = None
        self.room_bytes = 0
        self._face = face
        self._http = h11.Connection(
            h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._request: Optional[h11.Request] = None
        self._left = HEAD_MAX_BYTES
        self._timer = None

    def connected(self, connection: api.Connection) -> None:
        self.connection = connection
        if not self._face.admit(self):
            connection.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(
            CONNECTION_SECONDS, connection.abort)

    def disconnected(self, error: Optional[BaseException]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._face.forget(self)

    def received(self, buffer: bytearray, start: int, end: int) -> int:
        self._left -= end - start
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            # Answered already.
            return end
        try:
            self._http.receive_data(bytes(memoryview(buffer)[start:end]))
            self._take()
        except h11.RemoteProtocolError as error:
            LOG.debug('%s: %s', self.connection.peername, error)
            self._answer(error.error_status_hint, TEXT,
                         b'this is no request\n', lingers=True)
        return end

    def _take(self) -> None:
        if self._left < 0:
            raise h11.RemoteProtocolError('too much of a request', 431)
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.EndOfMessage):
                self._reply(self._request)
                return
            elif not isinstance(event, h11.Data):
                return

    def _reply(self, request: h11.Request) -> None:
        if request.target.partition(b'?')[0] != PATH:
            self._answer(404, TEXT, b'metrics are at %s\n' % PATH)
        elif request.method not in (b'GET', b'HEAD'):
            self._answer(405, TEXT, b'only GET\n')
        else:
            self._answer(200, self._face.content_type, self._face.page(),
                         request.method == b'HEAD')

    def _answer(self, status: int, content_type: str, body: bytes,
                is_head: bool = False, lingers: bool = False) -> None:
        http = self._http
        buffers = []
        if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            buffers.append(http.send(h11.Response(
                status_code=status, headers=[
                    ('Content-Type', content_type),
                    ('Content-Length', str(len(body))),
                    ('Cache-Control', 'no-store'),
                    ('Connection', 'close')])))
            if not is_head:
                buffers.append(http.send(h11.Data(data=body)))
            buffers.append(http.send(h11.EndOfMessage()))
        self.connection.send(*[part for part in buffers if part])
        if lingers:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(
                LINGER_SECONDS, self.connection.close)
        else:
            self.connection.close()
