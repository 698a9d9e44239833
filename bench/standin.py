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

"""The least that could do the work of three sheep, to measure them by.

Three processes that do the system calls of a cluster and nothing besides:
the front takes native requests, keeps what is written, sends it to both
backs, and answers when they have. No lock, no epoch, no checksum, no journal.
What this costs on a machine is what the machine asks for the same bytes sent
and the same processes woken; it moves with kernel, processor and load as the
sheep's own cost does.

    python -m bench.standin DIRECTORY [PORT PORT]

is one of them: it prints its port. With two ports it is a front.
"""

import asyncio
import os
import pathlib
import struct
import subprocess
import sys

import uvloop

from bench import flood
from bench import native
from sheepdog.wire import native as wire

HOST = '127.0.0.1'
OBJECT_BYTES = 4 << 20
OBJECTS = 16
BACKS = 2
MALLOC = {'MALLOC_MMAP_THRESHOLD_': str(32 << 20),
          'MALLOC_TRIM_THRESHOLD_': str(256 << 20)}
"""The sheep use large buffers again; here the allocator does."""

# opcode, id, data_length, oid of a request, and its offset.
_ASKED = struct.Struct('<xB6xIIQ16xI4x')
_ANSWER = struct.Struct('<8xIII28x')


class Server(asyncio.BufferedProtocol):
    """One connection of a process that keeps blocks in one file."""

    BUFFER_BYTES = 4 << 20

    def __init__(self, file: int, backs=()):
        self._file = file
        self._backs = backs
        self._inbox = memoryview(bytearray(self.BUFFER_BYTES))
        self._end = 0
        self._transport = None

    def connection_made(self, transport):
        self._transport = transport

    def get_buffer(self, sizehint):
        return self._inbox[self._end:]

    def buffer_updated(self, nbytes):
        self._end += nbytes
        inbox, start, answers = self._inbox, 0, []
        while self._end - start >= wire.HEADER_BYTES:
            opcode, number, length, oid, offset = _ASKED.unpack_from(
                inbox, start)
            begin = start + wire.HEADER_BYTES
            at = oid % OBJECTS * OBJECT_BYTES + offset
            if opcode == wire.READ_OBJ:
                answers += (_ANSWER.pack(number, length, 0),
                            os.pread(self._file, length, at))
                start = begin
                continue
            if self._end < begin + length:
                break
            payload = bytes(inbox[begin:begin + length])
            os.pwrite(self._file, payload, at)
            if self._backs:
                Forwarded(self, number).send(
                    self._backs, bytes(inbox[start:begin]), payload)
            else:
                answers.append(_ANSWER.pack(number, 0, 0))
            start = begin + length
        if start:
            rest = bytes(inbox[start:self._end])
            inbox[:len(rest)] = rest
            self._end = len(rest)
        if answers:
            self._transport.writelines(answers)

    def answer(self, number):
        self._transport.write(_ANSWER.pack(number, 0, 0))


class Forwarded:
    """A write of which some backs have not answered yet."""

    def __init__(self, server, number):
        self._server = server
        self._number = number
        self._missing = BACKS

    def send(self, backs, header, payload):
        for back in backs:
            back.send(header, payload, self)

    def answered(self):
        self._missing -= 1
        if not self._missing:
            self._server.answer(self._number)


class Back(asyncio.Protocol):
    """The front's connection to a back, which answers in order."""

    def __init__(self):
        self._sent = []
        self._inbox = 0
        self._transport = None

    def connection_made(self, transport):
        self._transport = transport

    def send(self, header, payload, forwarded):
        self._sent.append(forwarded)
        self._transport.writelines((header, payload))

    def data_received(self, data):
        count, self._inbox = divmod(self._inbox + len(data),
                                    wire.HEADER_BYTES)
        done, self._sent = self._sent[:count], self._sent[count:]
        for forwarded in done:
            forwarded.answered()


async def serve(directory: str, ports):
    loop = asyncio.get_running_loop()
    backs = [(await loop.create_connection(Back, HOST, port))[1]
             for port in ports]
    file = os.open(os.path.join(directory, 'blocks-%d' % os.getpid()),
                   os.O_RDWR | os.O_CREAT, 0o600)
    for number in range(OBJECTS):
        os.pwrite(file, bytes(OBJECT_BYTES), number * OBJECT_BYTES)
    server = await loop.create_server(lambda: Server(file, backs), HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class StandIn:
    """Its processes, and a client of the front."""

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._processes = []
        self._client = None

    @property
    def pids(self) -> list:
        return [process.pid for process in self._processes]

    async def start(self):
        """:raises BenchError: a process did not start"""
        ports = [self._start() for _ in range(BACKS)]
        front = self._start(*map(str, ports))
        self._client = native.NativeClient(
            await flood.Link.open(HOST, front))
        self._client.object_bytes = OBJECT_BYTES
        self._client.objects = OBJECTS

    def _start(self, *ports) -> int:
        process = subprocess.Popen(
            [sys.executable, '-m', 'bench.standin', str(self._directory),
             *ports], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**os.environ, **MALLOC})
        self._processes.append(process)
        line = process.stdout.readline()
        if not line:
            raise flood.BenchError('the stand-in did not start')
        return int(line)

    def flood(self, row) -> flood.Flood:
        return self._client.flood(row)

    def stop(self):
        if self._client is not None:
            self._client.link.close()
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdout.close()


if __name__ == '__main__':
    uvloop.run(serve(sys.argv[1], [int(port) for port in sys.argv[2:]]))
