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

"""The NBD face: listeners and the connections accepted there."""

import asyncio
import dataclasses
import logging
from typing import Any, Optional

from sheepdog.faces.nbd import counters
from sheepdog.faces.nbd import exports
from sheepdog.faces.nbd import rules
from sheepdog.faces.nbd import session as session_module
from sheepdog.faces.nbd import settings as settings_module
from sheepdog.model import networks
from sheepdog.wire import nbd_handshake
from sheepdog.world import api
from sheepdog.world import crowd
from sheepdog.world import refusals

LOG = logging.getLogger(__name__)

ABORTED_SECONDS = 1.0
"""What aborted connections may take to let go of their volumes."""


class NbdFace:
    """Serves VDIs over TCP and a unix socket. Made once per sheep."""

    def __init__(self, world: api.World, volumes: exports.Volumes,
                 catalogue: exports.Catalogue,
                 settings: settings_module.NbdSettings):
        self.world = world
        self.settings = settings
        self.exports = exports.Exports(
            world, volumes, catalogue, settings.default_export,
            settings.read_only, settings.lock_wait_seconds)
        self.counters = counters.Counters()
        self.tls: Optional[api.Tls] = None
        """The certificates, once started."""
        self.is_stopping = False
        self._listeners: list[api.Listener] = []
        # In order of arrival, so that all worlds stop them in that order.
        self._sessions: dict[session_module.NbdSession, api.Connection] = {}
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        most = settings.connections_max
        # One host leaves some for the others.
        self._places = crowd.Places(most, most - most // 8)
        self._refusals = refusals.Refusals(world.clock, LOG)
        self.address: Optional[Any] = None
        """(host, port) once started, with the port that was chosen; None
        without TCP."""

    async def start(self) -> None:
        """
        :raises OSError: an address is in use or not ours; nothing is left
            listening then
        :raises TlsRefused: the certificate cannot be used
        """
        settings = self.settings
        if settings.tls is not nbd_handshake.Tls.NONE:
            self.tls = self.world.network.tls(settings.tls_files)
        try:
            if settings.port is not None:
                listener = await self.world.network.listen(
                    self._session, host=settings.host, port=settings.port)
                self._listeners.append(listener)
                self.address = listener.address
            if settings.unix_path:
                self._listeners.append(await self.world.network.listen(
                    self._session, path=settings.unix_path,
                    mode=settings.unix_mode))
        except OSError:
            await self._close_listeners()
            raise

    async def stop(self, deadline_seconds: float) -> None:
        """Accept nothing more, answer what is under way, close. Whoever is
        not gone when the deadline passes is cut off."""
        self.is_stopping = True
        await self._close_listeners()
        for session in list(self._sessions):
            session.drain()
        if await self._wait_empty(deadline_seconds):
            return
        LOG.warning('NBD: %d connections are cut off after %g s',
                    len(self._sessions), deadline_seconds)
        for session in list(self._sessions):
            session.abort()
        if not await self._wait_empty(ABORTED_SECONDS):
            LOG.warning('NBD: %d volumes are still busy with requests',
                        len(self._sessions))

    def clients(self) -> list:
        """(client's address, VDI) of each connection on an export."""
        return [session.described for session in self._sessions
                if session.described]

    def reload(self, settings: settings_module.NbdSettings) -> None:
        """Take over who may connect. Who may no more is cut off."""
        self.settings = dataclasses.replace(
            self.settings, networks=settings.networks,
            read_only_networks=settings.read_only_networks,
            certificate_exports=settings.certificate_exports)
        for session in list(self._sessions):
            session.check_access()

    # For the sessions.

    def admit(self, session: session_module.NbdSession,
              connection: api.Connection) -> bool:
        if not self.may_connect(connection):
            self.counters.connections_refused += 1
            self.complain(connection, 'network', 'NBD: refused, it is in '
                          'none of the networks that may connect')
            return False
        reason = ('it is stopping' if self.is_stopping
                  else self._places.take(connection))
        if reason:
            self.counters.connections_refused += 1
            self.complain(connection, 'places',
                          'NBD: a connection too many: %s' % reason)
            return False
        self.counters.connections += 1
        self._sessions[session] = connection
        self.counters.connections_active = len(self._sessions)
        self._is_empty.clear()
        return True

    def may_connect(self, connection: api.Connection) -> bool:
        settings = self.settings
        host = connection.peer_host
        return (connection.is_local or not settings.networks or
                networks.is_loopback(host) or
                networks.contain(settings.networks, host) or
                networks.contain(settings.read_only_networks, host))

    def may_have(self, connection: api.Connection, vdi: str) -> bool:
        """By its certificate. (Who comes by the unix socket needs none.)"""
        return connection.is_local or rules.allow(
            self.settings.certificate_exports, connection.peer_names
            if self.settings.certificate_exports else (), vdi)

    def may_write(self, connection: api.Connection) -> bool:
        return not networks.contain(self.settings.read_only_networks,
                                    connection.peer_host)

    def complain(self, connection: api.Connection, kind: str,
                 text: str) -> None:
        """Say in the log, but not each time, why somebody is refused."""
        self._refusals.note(connection.peer_host or connection.peername,
                            text, kind)

    def forget(self, session: session_module.NbdSession) -> None:
        self._places.give_back(self._sessions.pop(session))
        self.counters.connections_active = len(self._sessions)
        if not self._sessions:
            self._is_empty.set()

    def _session(self) -> session_module.NbdSession:
        return session_module.NbdSession(self)

    async def _close_listeners(self) -> None:
        while self._listeners:
            await self._listeners.pop().close()

    async def _wait_empty(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._is_empty.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True
