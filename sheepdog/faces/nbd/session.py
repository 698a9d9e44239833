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

"""One connection, from the greeting to the end."""

import asyncio
import logging
from typing import Optional, Protocol

from sheepdog.faces.nbd import counters as counters_module
from sheepdog.faces.nbd import exports as exports_module
from sheepdog.faces.nbd import settings as settings_module
from sheepdog.faces.nbd import transmission
from sheepdog.model import errors
from sheepdog.wire import nbd
from sheepdog.wire import nbd_handshake
from sheepdog.wire import nbd_options
from sheepdog.world import api

LOG = logging.getLogger(__name__)


class Face(Protocol):
    """What a session needs of the face it belongs to."""

    world: api.World
    exports: exports_module.Exports
    settings: settings_module.NbdSettings
    counters: counters_module.Counters
    tls: Optional[api.Tls]
    is_stopping: bool

    def admit(self, session: 'NbdSession',
              connection: api.Connection) -> bool:
        """Whether there is room for one more, and for this one."""

    def may_connect(self, connection: api.Connection) -> bool: ...

    def may_write(self, connection: api.Connection) -> bool: ...

    def complain(self, connection: api.Connection, kind: str,
                 text: str) -> None:
        """Of each kind, one a minute from one source is logged."""

    def forget(self, session: 'NbdSession') -> None:
        """It is over, its volume closed."""


class NbdSession:
    """See ``api.Session``."""

    def __init__(self, face: Face):
        self._face = face
        self._connection: Optional[api.Connection] = None
        self._handshake = nbd_handshake.Handshake()
        self._transmission: Optional[transmission.Transmission] = None
        self._volume: Optional[exports_module.Volume] = None
        self._timer = None
        self._is_answering = False
        self._is_gone = False
        self.room_bytes = self._handshake.room_bytes

    # From the world.

    def connected(self, connection: api.Connection) -> None:
        self._connection = connection
        if not self._face.admit(self, connection):
            # Gone before it could hold anything; see ``disconnected``.
            self._face = None
            connection.abort()
            return
        self._handshake = nbd_handshake.Handshake(self._tls_here())
        self._arm()
        connection.send(*self._handshake.take_output())

    def _tls_here(self) -> nbd_handshake.Tls:
        tls = self._face.settings.tls
        if tls is nbd_handshake.Tls.REQUIRED and self._connection.is_local:
            return nbd_handshake.Tls.OFFERED
        return tls

    def received(self, buffer, start: int, end: int) -> int:
        stage = self._transmission
        try:
            if stage is not None:
                used = stage.received(buffer, start, end)
                self.room_bytes = stage.room_bytes
                return used
            if self._face is None or self._is_answering:
                return start
            return self._negotiate(buffer, start, end)
        except nbd.Violation as violation:
            self._face.counters.violations += 1
            self._complain('violation', 'not what NBD clients say, '
                           'closing: %s' % violation)
            self._connection.close()
            return end

    def disconnected(self, error: Optional[BaseException]) -> None:
        self._is_gone = True
        if self._face is None:
            return
        self._disarm()
        if isinstance(error, api.TlsFailed):
            self._face.counters.tls_failed += 1
            self._complain('TLS', str(error))
        if self._transmission is not None:
            self._transmission.disconnected()
        elif not self._is_answering:
            self._face.forget(self)

    # From the face.

    @property
    def described(self) -> Optional[tuple]:
        """(client's address, VDI); None before it has chosen one."""
        if self._connection is None or self._volume is None:
            return None
        return self._connection.peername, self._volume.name

    def drain(self) -> None:
        """The sheep stops: finish what is under way, then close."""
        if self._transmission is not None:
            self._transmission.drain()
        else:
            # A client that sits on its socket has nothing to finish.
            self._connection.abort()

    def abort(self) -> None:
        self._connection.abort()

    def check_access(self) -> None:
        """Who may do what has changed."""
        face = self._face
        is_writer = self._volume is not None and not self._volume.read_only
        if not face.may_connect(self._connection) or (
                is_writer and not face.may_write(self._connection)):
            self._complain('network', 'cut off, its network may no more')
            self._connection.abort()
        elif self._volume is not None and not face.may_have(
                self._connection, self._volume.name):
            self._complain('certificate', 'cut off, its certificate does '
                           'not open VDI %s any more' % self._volume.name)
            self._connection.abort()

    # The handshake.

    def _negotiate(self, buffer, start: int, end: int) -> int:
        handshake = self._handshake
        used = handshake.receive(buffer, start, end)
        self.room_bytes = handshake.room_bytes
        if handshake.is_tls_missing:
            handshake.is_tls_missing = False
            self._complain('clear', 'refused, TLS is required here')
        output = handshake.take_output()
        if output:
            self._connection.send(*output)
        if handshake.state is nbd_handshake.State.CLOSED:
            LOG.debug('%s: %s', self._connection.peername, handshake.reason)
            self._connection.close()
        elif handshake.question is not None:
            self._is_answering = True
            self._connection.pause_reading()
            self._face.world.spawn(self._answer(handshake.question),
                                   'nbd handshake')
        return used

    async def _answer(self, question: nbd_options.Question) -> None:
        try:
            await self._look_up(question)
        except errors.SheepdogError as error:
            self._complain('export', 'export %r is refused: %s: %s' % (
                question.name, type(error).__name__, error))
            self._handshake.refuse(nbd.refusal_of(error), str(error))
        finally:
            self._is_answering = False
        if self._is_gone:
            await self._release()
            return
        self._connection.send(*self._handshake.take_output())
        if (self._handshake.is_encrypted and
                question.option == nbd_options.OPT_STARTTLS):
            self._connection.start_tls(self._face.tls)
        if self._handshake.state is nbd_handshake.State.CLOSED:
            self._connection.close()
        elif self._transmission is None and self._timer is None:
            self._arm()
        self._connection.resume_reading()

    async def _look_up(self, question: nbd_options.Question) -> None:
        face = self._face
        if face.is_stopping:
            raise errors.ShuttingDown('this sheep is stopping')
        if question.option == nbd_options.OPT_STARTTLS:
            self._handshake.start_tls()
            return
        if question.option == nbd_options.OPT_LIST:
            self._handshake.list_exports([
                name for name in face.exports.names()
                if face.may_have(self._connection, name)])
            return
        self._check_certificate(question.name)
        if question.option in (nbd_options.OPT_GO,
                               nbd_options.OPT_EXPORT_NAME):
            volume, export = await face.exports.open(
                question.name, not face.may_write(self._connection))
            self._volume = volume
            self._handshake.accept(export)
            if not self._is_gone:
                self._begin(export)
        elif question.option == nbd_options.OPT_INFO:
            self._handshake.accept(
                await face.exports.describe(
                    question.name, not face.may_write(self._connection)))
        else:
            self._handshake.accept(face.exports.check(question.name))

    def _check_certificate(self, name: str) -> None:
        """The same for a VDI that is there and for one that is not: who may
        not have it need not know.

        :raises AccessRefused: it is not for this client
        """
        vdi = self._face.exports.vdi_of(name)
        if not self._face.may_have(self._connection, vdi):
            names = ', '.join(self._connection.peer_names)
            raise errors.AccessRefused('the certificate of this client (%s) '
                                       'does not open this VDI' % names)

    def _begin(self, export: nbd.Export) -> None:
        self._disarm()
        LOG.debug('%s: opened %s', self._connection.peername, export.name)
        self._transmission = transmission.Transmission(
            self._face.world, self._connection, self._volume, export,
            self._handshake, self._face.settings, self._face.counters,
            self._on_over)
        self.room_bytes = self._transmission.room_bytes
        # It may have changed while the volume was opened.
        self.check_access()

    # Time.

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            self._face.settings.handshake_timeout_seconds, self._on_timeout)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if self._is_answering:
            # It is we who take long. The client gets its time again then.
            return
        self._face.counters.handshakes_timed_out += 1
        self._complain('silent', 'no export chosen in %g s, closing'
                       % self._face.settings.handshake_timeout_seconds)
        self._connection.abort()

    def _complain(self, kind: str, text: str) -> None:
        self._face.complain(self._connection, kind, 'NBD: ' + text)

    # The end.

    def _on_over(self) -> None:
        self._face.world.spawn(self._release(), 'nbd close')

    async def _release(self) -> None:
        volume, self._volume = self._volume, None
        try:
            if volume is not None:
                await volume.close()
        except errors.SheepdogError as error:
            LOG.warning('%s: closing %s: %s: %s', self._connection.peername,
                        volume.name, type(error).__name__, error)
        finally:
            self._face.forget(self)
