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

"""A sheep in a thread, as far as a client can tell: no disks, no peers.

    cluster = FakeCluster()
    with FakeSheep(cluster) as one, FakeSheep(cluster) as two:
        client.Client([one.address, two.address])

Several fake sheep of one ``FakeCluster`` share its VDIs, as real ones do.
It speaks ``wire.peer`` over real sockets, and misbehaves when told to.
"""

import os
import socket
import struct
import threading
import time

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.wire import hello
from sheepdog.wire import peer as wire
from sheepdog.wire import seal

CREATED_SECONDS = 1795335224


EXTENTS_MAX_BYTES = 5 << 20


class FakeCluster:
    """What all its sheep know.

    :ivar answers: method name → result to give, or an exception to raise,
        or a function of the arguments; these go before the built-in ones
    :ivar asked: (method, arguments) of each call, in order
    """

    def __init__(self):
        self.lock = threading.RLock()
        self.answers = {}
        self.asked = []
        self.done = {}
        self.vdis = {}
        self.content = {}
        self.locks = {}
        self.flushes = 0
        self.durable_writes = 0
        self.writes = 0
        self.log_level = 'info'

    def call(self, sheep, method, arguments):
        with self.lock:
            self.asked.append((method, arguments))
            operation = arguments.get('operation_id')
            if operation in self.done:
                return self.done[operation]
            answer = self.answers.get(method)
            if answer is None:
                result = getattr(self, '_' + method.replace('.', '_'))(
                    sheep, arguments)
            elif isinstance(answer, BaseException):
                raise answer
            elif callable(answer):
                result = answer(arguments)
            else:
                result = answer
            if operation:
                self.done[operation] = result
            return result

    def _vdi_create(self, _sheep, arguments):
        name = arguments['name']
        if name in self.vdis:
            raise errors.VdiExists("the VDI '%s' exists already" % name)
        size = arguments['size']
        self.vdis[name] = {
            'name': name, 'tag': '', 'snap_id': 0,
            'vdi_id': ids.first_vdi_id(name), 'size': size, 'used': 0,
            'shared': 0, 'created': float(CREATED_SECONDS),
            'copies': arguments['copies'] or 3, 'copy_policy': 0,
            'block_size_shift': arguments['block_size_shift'] or 22,
            'snapshot': False, 'clone': False, 'parent': 0}
        self.content[name] = bytearray(size)
        return self.vdis[name]

    def _vdi_list(self, _sheep, arguments):
        return sorted((vdi for vdi in self.vdis.values()
                       if arguments.get('name') in (None, vdi['name'])),
                      key=lambda vdi: vdi['vdi_id'])

    def _vdi_delete(self, _sheep, arguments):
        self._vdi(arguments['name'])
        if arguments['name'] in self.locks:
            raise errors.VdiLocked('it is open')
        del self.vdis[arguments['name']]
        return {}

    def _vdi_resize(self, _sheep, arguments):
        vdi = self._vdi(arguments['name'])
        more = arguments['size'] - vdi['size']
        if more < 0 and not arguments.get('force'):
            raise errors.InvalidParameters('VDIs do not shrink')
        vdi['size'] += more
        content = self.content[arguments['name']]
        content += bytes(max(more, 0))
        del content[vdi['size']:]
        return {}

    def _node_log(self, _sheep, arguments):
        if arguments['action'] == 'set':
            self.log_level = arguments['level']
        if arguments['action'] == 'list':
            return {'levels': ['emerg', 'info', 'debug']}
        return {'level': self.log_level}

    def _volume_open(self, sheep, arguments):
        name = arguments['name']
        vdi = self._vdi(name)
        if not arguments.get('read_only'):
            if self.locks.get(name) not in (None, sheep):
                raise errors.VdiLocked("the VDI '%s' is locked" % name)
            self.locks[name] = sheep
        return {'name': name, 'size': vdi['size'], 'vdi_id': vdi['vdi_id'],
                'object_bytes': 1 << vdi['block_size_shift'],
                'read_only': bool(arguments.get('read_only'))}

    def _volume_close(self, _sheep, _arguments):
        return {}

    def _vdi(self, name):
        if name not in self.vdis:
            raise errors.NoVdi("there is no VDI '%s'" % name)
        return self.vdis[name]


class FakeSheep:
    """One of them; use it as a context manager.

    :ivar address: ``host:port``, or ``unix:PATH``
    :ivar mangle: called with (opcode, response header as bytearray, payload)
        before it is sent; may change the header; returns the payload, or
        None to send nothing
    :ivar before: called with (opcode, offset) before a request is carried
        out; what it raises is answered
    :ivar is_deaf: it stops reading what is sent
    :param keyring: it asks for proof of one of these keys
    """

    def __init__(self, cluster=None, path='', keyring=None):
        self.cluster = cluster or FakeCluster()
        self.mangle = None
        self.before = None
        self.is_deaf = False
        self.hello = None
        self.keyring = keyring
        self.greeted = []
        self._path = path
        self._threads = []
        self._accepted = []
        self._listener = None
        self.is_stopped = False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exc):
        self.stop()

    def start(self):
        if self._path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self._path)
            self.address = 'unix:' + self._path
        else:
            self._listener = socket.socket()
            self._listener.bind(('127.0.0.1', 0))
            self.address = '127.0.0.1:%d' % self._listener.getsockname()[1]
        self._listener.listen()
        self._spawn(self._accept)

    def stop(self):
        """As kill -9 does: connections break, locks are free."""
        self.is_stopped = True
        _shut(self._listener)
        self.break_connections()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(10)
        self._listener.close()

    def break_connections(self):
        for sock in list(self._accepted):
            _shut(sock)
        self.free_locks()

    def free_locks(self):
        with self.cluster.lock:
            for name, owner in list(self.cluster.locks.items()):
                if owner is self:
                    del self.cluster.locks[name]

    def _spawn(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments,
                                  daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self.is_stopped:
            try:
                sock, _peer = self._listener.accept()
            except OSError:
                return
            self._accepted.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock):
        with sock:
            try:
                _Link(self, sock).serve()
            except (OSError, EOFError):  # the client went
                pass


class _Link:
    """One connection: reads a request, answers it, and so on."""

    def __init__(self, sheep, sock):
        self.sheep = sheep
        self.sock = sock
        self.tag = 0
        self.handles = {}
        self.hello = None
        self.seal = self.check = None

    def serve(self):
        while True:
            while self.sheep.is_deaf:
                if self.sheep.is_stopped:
                    return
                time.sleep(0.01)
            header = self._receive(wire.HEADER_BYTES if self.check is None
                                   else seal.HEAD_BYTES)
            (_version, opcode, flags, _epoch, request_id, length, handle,
             token, _offset, aux, crc, tag) = wire.HEADER.unpack_from(header)
            payload = self._receive(length)
            if tag != self.tag:
                return
            if self.check is not None:
                self.check(header, 0, payload)
            elif length and crc32c(payload) != crc:
                return
            result, answer = errors.SUCCESS, b''
            try:
                if self.sheep.before is not None:
                    self.sheep.before(opcode, token)
                answer = self._carry_out(opcode, flags, handle, token, aux,
                                         payload)
            except errors.SheepdogError as exc:
                result = exc.result
                answer = wire.pack_json({'error': str(exc)})
            self._answer(opcode, request_id, result, handle, answer)

    def _carry_out(self, opcode, flags, handle, token, aux, payload):
        if opcode == wire.HELLO:
            return self._greet(payload)
        if opcode == wire.ADMIN:
            message = wire.unpack_json(payload)
            return wire.pack_json({'result': self._admin(
                message['method'], message['arguments'])})
        return self._volume(opcode, flags, handle, token, aux, payload)

    def _greet(self, payload):
        fields = wire.unpack_json(payload)
        self.sheep.greeted.append(fields)
        if self.sheep.hello is not None:
            answer = self.sheep.hello(fields)
            if answer is not None:
                return wire.pack_json(answer)
        self.next_tag = 0x10000 + len(self.sheep.greeted)
        if self.sheep.keyring is not None:
            return self._challenge(payload)
        return wire.pack_json({'incarnation': 'fake.1',
                               'tag': self.next_tag})

    def _challenge(self, payload):
        if self.hello is not None:
            return self.hello.check(payload, self.next_tag)
        self.hello = hello.ServerHello('fake.1')
        self.hello.open(payload)
        return self.hello.challenge(self.sheep.keyring,
                                    os.urandom(hello.NONCE_BYTES))

    def _admin(self, method, arguments):
        if method == 'volume.extents':
            return self._extents(**arguments)
        result = self.sheep.cluster.call(self.sheep, method, arguments)
        if method == 'volume.open':
            result = dict(result, handle=len(self.handles) + 1)
            self.handles[result['handle']] = result
        if method == 'volume.close':
            self.handles.pop(arguments['handle'])
            self.sheep.free_locks()
        return result

    def _extents(self, handle, offset, length):
        """Of some MiB at most, as a sheep does."""
        if self.sheep.before is not None:
            self.sheep.before('volume.extents', offset)
        content = self.sheep.cluster.content[self.handles[handle]['name']]
        end = min(offset + length, offset + EXTENTS_MAX_BYTES)
        return [[min(4096, end - start),
                 any(content[start:min(start + 4096, end)])]
                for start in range(offset, end, 4096)]

    def _volume(self, opcode, flags, handle, offset, aux, payload):
        cluster = self.sheep.cluster
        if handle not in self.handles:
            raise errors.InvalidParameters('no such handle')
        if self.handles[handle]['read_only'] and opcode in (
                wire.VOLUME_WRITE, wire.VOLUME_ZERO):
            raise errors.ReadOnly('it was opened for reading')
        content = cluster.content[self.handles[handle]['name']]
        if opcode == wire.VOLUME_READ:
            return bytes(content[offset:offset + aux])
        with cluster.lock:
            if opcode == wire.VOLUME_FLUSH:
                cluster.flushes += 1
                return b''
            cluster.writes += 1
            cluster.durable_writes += bool(flags & wire.FLAG_DURABLE)
            data = (payload if opcode == wire.VOLUME_WRITE else bytes(aux))
            assert offset + len(data) <= len(content)
            content[offset:offset + len(data)] = data
        return b''

    def _answer(self, opcode, request_id, result, handle, payload):
        buffers = wire.pack_response(opcode, 1, request_id, result, handle,
                                     payload=payload, tag=self.tag,
                                     is_sealed=self.seal is not None)
        header = bytearray(buffers[0] if self.seal is None
                           else self.seal(*buffers))
        if self.sheep.mangle is not None:
            payload = self.sheep.mangle(opcode, header, payload)
            if payload is None:
                return
        self.sock.sendall(bytes(header) + payload)
        if opcode == wire.HELLO and result == errors.SUCCESS:
            if self.hello is None or self.hello.seals is not None:
                self.tag = getattr(self, 'next_tag', 0)
            if self.hello is not None and self.hello.seals is not None and (
                    self.sock.family != socket.AF_UNIX):
                self.seal = seal.sealer(self.hello.seals[0])
                self.check = seal.opener(self.hello.seals[1])

    def _receive(self, size):
        data = bytearray(size)
        view = memoryview(data)
        while len(view):
            count = self.sock.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]
        return data


def _shut(sock):
    """Break a connection for whoever waits on it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack('ii', 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is broken
        pass
