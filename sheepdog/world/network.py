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

"""Listening and connecting: TCP, unix sockets, TLS."""

import asyncio
import logging
import os
import stat
import time
from typing import Callable, Optional

from sheepdog.model import pem
from sheepdog.world import api
from sheepdog.world import crowd
from sheepdog.world import refusals
from sheepdog.world import tls as tls_module
from sheepdog.world import tls_layer
from sheepdog.world import transport
from sheepdog.world import turn as turn_module

LOG = logging.getLogger(__name__)

BACKLOG = 1024


class StreamListener:
    """See ``api.Listener``."""

    def __init__(self, server: asyncio.AbstractServer, address, inode=None):
        self._server = server
        self._inode = inode
        self.address = address

    async def close(self) -> None:
        self._server.close()
        if self._inode is not None and self._inode == _inode(self.address):
            os.unlink(self.address)
        # The loop closes the descriptors in its next turn.
        await asyncio.sleep(0)


def _inode(path: str):
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISSOCK(status.st_mode):
        return None
    return status.st_dev, status.st_ino


class StreamNetwork:
    """See ``api.Network``."""

    def __init__(self, turn: turn_module.Turn):
        self.turn = turn
        self._refusals = refusals.Refusals(time, LOG)
        self.crowd = crowd.Crowd(self.complain)
        self.scratch = memoryview(bytearray(tls_layer.PIECE_BYTES))
        self._connections = set()
        self.forget = self._connections.discard

    def complain(self, connection, text: str) -> None:
        """Say in the log, but not each time, what became of one."""
        self._refusals.note(connection.peer_host or connection.peername,
                            text)

    def tls(self, files: pem.TlsFiles) -> tls_module.Tls:
        return tls_module.Tls(files)

    def _connection(self, factory: Callable[[], api.Session],
                    is_server: bool,
                    tls: Optional[tls_module.Tls]):
        connection = transport.StreamConnection(factory(), self, is_server,
                                                tls)
        self._connections.add(connection)
        return connection

    async def listen(self, factory: Callable[[], api.Session],
                     host: str = '', port: int = 0,
                     path: str = '', mode: int = 0o600,
                     tls: Optional[tls_module.Tls] = None) -> StreamListener:
        loop = asyncio.get_running_loop()

        def accept():
            return self._connection(factory, True, None if path else tls)

        if not path:
            server = await loop.create_server(
                accept, host or None, port, backlog=BACKLOG)
            return StreamListener(
                server, server.sockets[0].getsockname()[:2])
        # Bound but not listening yet, nobody can connect before the mode
        # is right.
        server = await loop.create_unix_server(
            accept, path, backlog=BACKLOG, start_serving=False)
        os.chmod(path, mode)
        await server.start_serving()
        return StreamListener(server, path, _inode(path))

    async def connect(self, factory: Callable[[], api.Session],
                      host: str, port: int, timeout: float,
                      tls: Optional[tls_module.Tls] = None) -> api.Session:
        loop = asyncio.get_running_loop()
        connection = self._connection(factory, False, tls)
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: connection, host, port)
                if tls is not None:
                    await connection.when_secured
        except BaseException:
            connection.abort()
            self.forget(connection)
            raise
        return connection._session

    def abort_all(self) -> None:
        """Drop every connection, at the end of an orderly stop."""
        for connection in list(self._connections):
            connection.abort()
