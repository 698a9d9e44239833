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

"""An NBD client and a face in one loop, without sockets in between."""

import asyncio
import os

from sheepdog.faces import nbd as face_module
from sheepdog.testing import volume as memory
from sheepdog.tests.unit import jumping
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as wire
from sheepdog.wire import nbd_options as options

WAIT_SECONDS = 10.0


class Clock:
    def monotonic(self):
        return asyncio.get_running_loop().time()

    def time(self):
        return 1e9 + asyncio.get_running_loop().time()


class Connection:
    """See ``api.Connection``; the client is at the other end. Keeps its
    promises as badly as it may: the buffer is garbage after each call."""

    peername = '127.0.0.1:1'
    peer_host = '127.0.0.1'
    is_local = False
    peer_names = ()
    tls = None
    """What the face has upgraded it to."""

    def __init__(self, session):
        self.session = session
        self.arrived = bytearray()
        self.answers = bytearray()
        self.is_closed = False
        self.is_aborted = False
        self.is_stuck = False
        """The client takes no answers."""
        self.pauses = 0
        self.pauses_max = 0
        self.something = asyncio.Event()
        self._queued = 0
        self._is_delivering = False

    def send(self, *buffers):
        if self.is_closed:
            return
        for buffer in buffers:
            if self.is_stuck:
                self._queued += len(buffer)
            else:
                self.answers += buffer
        self.something.set()

    @property
    def queued_bytes(self):
        return self._queued

    def pause_reading(self):
        self.pauses += 1
        self.pauses_max = max(self.pauses, self.pauses_max)

    def resume_reading(self):
        assert self.pauses, 'resumed more often than paused'
        self.pauses -= 1
        if not self.pauses:
            asyncio.get_running_loop().call_soon(self.deliver)

    def start_tls(self, tls):
        assert self.pauses, 'bytes in clear could come behind it'
        self.tls = tls

    def close(self):
        if not (self.is_stuck and self._queued):
            self._end()

    def abort(self):
        self.is_aborted = True
        self._end()

    def _end(self, error=None):
        if not self.is_closed:
            self.is_closed = True
            self.something.set()
            asyncio.get_running_loop().call_soon(self.session.disconnected,
                                                 error)

    def lose(self):
        """The client is gone."""
        self._end(ConnectionResetError())

    def deliver(self):
        assert not self._is_delivering, 'received calls received'
        self._is_delivering = True
        try:
            while self.arrived and not self.pauses and not self.is_closed:
                buffer = bytearray(b'#' * 7) + self.arrived + b'#' * 7
                used = self.session.received(buffer, 7, len(buffer) - 7)
                del self.arrived[:used - 7]
                buffer[:] = os.urandom(len(buffer))
                if used == 7:
                    break
        finally:
            self._is_delivering = False


class Listener:
    def __init__(self, address, listeners):
        self.address = address
        self._listeners = listeners

    async def close(self):
        del self._listeners[self.address]


class World:
    """As much of ``api.World`` as the face uses."""

    def __init__(self):
        self.clock = Clock()
        self.network = self
        self.listeners = {}
        self.tasks = []

    def spawn(self, coroutine, name=''):
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.append(task)
        return task

    async def listen(self, factory, host='', port=0, path='', mode=0):
        address = path or (host, port or 10809)
        if address in self.listeners:
            raise OSError('address in use')
        self.listeners[address] = factory
        return Listener(address, self.listeners)

    def tls(self, files):
        return 'certificates of ' + files.certificate

    def connect(self, address=None, peer_host='127.0.0.1'):
        address = address or next(iter(self.listeners))
        connection = Connection(self.listeners[address]())
        if isinstance(address, str):
            connection.is_local = True
            connection.peername = 'unix:uid=0'
            peer_host = ''
        connection.peer_host = peer_host
        connection.session.connected(connection)
        return Client(connection)


class Client:
    """The other end, one request at a time or many."""

    def __init__(self, connection):
        self.connection = connection
        self.replies = wire.ReplyReader()
        self.chunks = []
        self._cookie = 0

    # Bytes.

    def feed(self, data):
        self.connection.arrived += data
        self.connection.deliver()

    async def _more(self):
        assert not self.connection.is_closed, 'the face has closed'
        self.connection.something.clear()
        await asyncio.wait_for(self.connection.something.wait(),
                               WAIT_SECONDS)

    async def take(self, size):
        while len(self.connection.answers) < size:
            await self._more()
        data = bytes(self.connection.answers[:size])
        del self.connection.answers[:size]
        return data

    async def until_closed(self):
        while not self.connection.is_closed:
            await self._more()

    # The handshake.

    async def start(self, flags=3):
        wire.unpack_greeting(await self.take(options.GREETING.size))
        self.feed(wire.pack_client_flags(flags))

    async def option(self, option, payload=b''):
        """[(reply type, payload)], the last one ACK or an error."""
        self.feed(wire.pack_option(option, payload))
        replies = []
        while True:
            answers = self.connection.answers
            reply, used = wire.unpack_option_reply(answers, 0, len(answers))
            del answers[:used]
            if reply is None:
                await self._more()
                continue
            assert reply.option == option
            replies.append((reply.reply_type, reply.payload))
            if (reply.reply_type == options.REP_ACK or
                    reply.reply_type & options.REP_ERROR):
                return replies

    async def go(self, name='vdi', structured=True, contexts=True):
        """Choose an export: (size, flags)."""
        await self.start()
        if structured:
            await self.option(options.OPT_STRUCTURED_REPLY)
            if contexts:
                await self.option(options.OPT_SET_META_CONTEXT,
                                  wire.pack_contexts(name))
        replies = await self.option(options.OPT_GO, wire.pack_info(name))
        assert replies[-1][0] == options.REP_ACK, replies
        return wire.unpack_export(replies[0][1])

    # Requests.

    def send(self, command, offset=0, length=0, flags=0, data=b''):
        """Send a request; return its cookie."""
        self._cookie += 1
        if command == nbd.CMD_READ:
            self.replies.expect(self._cookie, length)
        self.feed(wire.pack_request(command, self._cookie, offset,
                                    length or len(data), flags) + data)
        return self._cookie

    async def reply(self, cookie):
        """The only chunk of the reply to a request; others' are kept."""
        while True:
            self.read_replies()
            for index, chunk in enumerate(self.chunks):
                if chunk.cookie == cookie:
                    assert chunk.is_done, 'there is more than one chunk'
                    return self.chunks.pop(index)
            await self._more()

    def read_replies(self):
        """Take what is there."""
        answers = self.connection.answers
        position = 0
        while True:
            chunk, position = self.replies.receive(answers, position,
                                                   len(answers))
            if chunk is None:
                break
            self.chunks.append(chunk)
        del answers[:position]

    async def call(self, command, offset=0, length=0, flags=0, data=b''):
        return await self.reply(self.send(command, offset, length, flags,
                                          data))


class Place:
    """A face with one VDI of 64 MiB and one of 1 TiB."""

    SIZE = 64 << 20
    LARGE = 1 << 40

    def __init__(self, **settings):
        settings.setdefault('lock_wait_seconds', 0.3)
        self.world = World()
        self.volumes = memory.MemoryVolumes()
        self.catalogue = memory.MemoryCatalogue(self.volumes)
        self.volume = self.volumes.create('vdi', self.SIZE)
        self.large = self.volumes.create('large', self.LARGE)
        self.face = face_module.NbdFace(
            self.world, self.volumes, self.catalogue,
            face_module.NbdSettings(**settings))

    async def started(self):
        await self.face.start()
        return self

    async def restarted(self):
        """Another face, after the first was stopped."""
        self.face = face_module.NbdFace(
            self.world, self.volumes, self.catalogue, self.face.settings)
        return await self.started()

    async def client(self, name='vdi', **how):
        """A client that has chosen its export."""
        client = self.world.connect()
        await client.go(name, **how)
        return client

    async def stop(self):
        await self.face.stop(0.05)
        for task in self.world.tasks:
            if task.done():
                # What a session must not have raised.
                task.result()


class PlaceCase(jumping.Case):
    """With a ``Place`` of its own for each test. ``settings`` are those of
    the place."""

    settings = {}

    async def asyncSetUp(self):
        self.place = Place(**self.settings)
        await self.place.started()
        self.volume = self.place.volume
        self.counters = self.place.face.counters

    async def asyncTearDown(self):
        self.volume.release()
        await self.place.stop()
        self.assertEqual(self.volume.references, 0)
