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

"""An NBD client on a host of its own: through the face, as QEMU comes.

Several connections to one export, each with requests under way; with
structured replies or without.
"""

import collections

from sheepdog.model import errors
from sheepdog.testing import line
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client
from sheepdog.wire import nbd_options as options

CONNECT_SECONDS = 3.0


class NbdLine(line.Line):
    """One connection: the handshake, then requests and replies."""

    def __init__(self):
        super().__init__()
        self._take = self._take_greeting
        self._said = collections.deque()
        self._waiter = None
        self._replies = nbd_client.ReplyReader()

    def received(self, buffer, start: int, end: int) -> int:
        used = start
        while True:
            before = used
            used = self._take(buffer, used, end)
            if used == before:
                return used

    def disconnected(self, error) -> None:
        super().disconnected(error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(
                errors.Unreachable('gone in the handshake'))

    # The handshake.

    async def open(self, name: str, is_structured: bool) -> tuple:
        """(size, transmission flags) of the export.

        :raises SheepdogError: it is refused, or the connection is gone
        """
        await self._hear()
        self.connection.send(nbd_client.pack_client_flags())
        if is_structured:
            self.connection.send(nbd_client.pack_option(
                options.OPT_STRUCTURED_REPLY))
            await self._reply()
        self.connection.send(nbd_client.pack_option(
            options.OPT_GO, nbd_client.pack_info(name)))
        export = None
        while True:
            reply = await self._reply()
            if reply.reply_type == options.REP_ACK:
                break
            export = export or nbd_client.unpack_export(reply.payload)
        self._take = self._take_reply
        return export

    async def _reply(self) -> nbd_client.OptionReply:
        reply = await self._hear()
        if reply.reply_type & options.REP_ERROR:
            raise errors.VdiLocked('refused: %r' % reply.payload)
        return reply

    async def _hear(self):
        if not self._said:
            if self.is_over:
                raise errors.Unreachable('gone in the handshake')
            self._waiter = self._loop.create_future()
            await self._waiter
            self._waiter = None
        return self._said.popleft()

    def _say(self, what) -> None:
        self._said.append(what)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take_greeting(self, buffer, start: int, end: int) -> int:
        size = options.GREETING.size
        if end - start < size:
            return start
        self._say(nbd_client.unpack_greeting(
            bytes(buffer[start:start + size])))
        self._take = self._take_option
        return start + size

    def _take_option(self, buffer, start: int, end: int) -> int:
        reply, used = nbd_client.unpack_option_reply(buffer, start, end)
        if reply is not None:
            self._say(reply)
        return used

    # Requests.

    def ask(self, command: int, offset: int = 0, length: int = 0,
            flags: int = 0, data: bytes = b''):
        """A future of the answer's data.

        :raises Unreachable: the connection is gone
        """
        cookie, future = self.expect()
        if command == nbd.CMD_READ:
            self._replies.expect(cookie, length)
        request = nbd_client.pack_request(command, cookie, offset, length,
                                          flags)
        if data:
            self.connection.send(request, data)
        else:
            self.connection.send(request)
        return future

    def bid_farewell(self) -> None:
        if not self.is_over:
            self.connection.send(nbd_client.pack_request(nbd.CMD_DISC, 0))

    def _take_reply(self, buffer, start: int, end: int) -> int:
        chunk, used = self._replies.receive(buffer, start, end)
        if chunk is not None:
            assert chunk.is_done, 'a reply in several pieces'
            self.answered(chunk.cookie, errors.SystemFailure(
                'NBD error %d' % chunk.error) if chunk.error else None,
                chunk.data)
        return used


class NbdVolume(line.Lines):
    """An export, as much of it as ``workload`` asks of a Volume."""

    @classmethod
    async def open(cls, world, host: str, port: int, name: str, count: int,
                   random) -> 'NbdVolume':
        """Over ``count`` connections.

        :raises OSError: it cannot be connected to
        :raises SheepdogError: the export is refused
        """
        self = cls([], random)
        is_structured = random.random() < 0.5
        try:
            for _ in range(count):
                one = await world.network.connect(
                    NbdLine, host, port, CONNECT_SECONDS)
                self.lines.append(one)
                self.size, self.flags = await one.open(name, is_structured)
        except BaseException:
            self.hang_up()
            raise
        return self

    async def read(self, offset: int, length: int) -> bytes:
        return await self.pick().ask(nbd.CMD_READ, offset, length)

    async def write(self, offset: int, data: bytes, fua: bool) -> None:
        await self.pick().ask(nbd.CMD_WRITE, offset, len(data),
                              _flags(fua), data)

    async def zero(self, offset: int, length: int, fua: bool) -> None:
        """By one of three ways that our face takes for the same."""
        command, flags = (
            (nbd.CMD_TRIM, 0), (nbd.CMD_WRITE_ZEROES, 0),
            (nbd.CMD_WRITE_ZEROES, nbd.CMD_FLAG_NO_HOLE)
        )[self._random.randrange(3)]
        await self.pick().ask(command, offset, length, flags | _flags(fua))

    async def flush(self) -> None:
        """Of whatever connection: it covers all of them."""
        assert self.flags & nbd.FLAG_CAN_MULTI_CONN
        await self.pick().ask(nbd.CMD_FLUSH)

    async def close(self) -> None:
        for one in self.lines:
            if self._random.random() < 0.5:
                one.bid_farewell()
        self.hang_up()


def _flags(fua: bool) -> int:
    return nbd.CMD_FLAG_FUA if fua else 0
