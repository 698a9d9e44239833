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

"""Targets: frames between sheep, in both roles, and their answers."""

import socket

from crc32c import crc32c

from fuzz import registry
from fuzz import streams
from sheepdog.client import address
from sheepdog.client import connection
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import keys
from sheepdog.model import limits
from sheepdog.peer import answers
from sheepdog.peer import link
from sheepdog.peer import server
from sheepdog.recovery import agreement
from sheepdog.recovery import told
from sheepdog.wire import hello
from sheepdog.wire import peer as wire
from sheepdog.wire import seal
from sheepdog.wire import strips

OID = ids.data_oid(0xABCDEF, 7)
TAG = 0x00050007
NONCE = bytes(range(32))
SEALS = (b's' * 32, b'c' * 32)
RING = keys.Keyring((keys.Key('00112233', b'k' * 32),))
OPCODES = tuple(value for name, value in sorted(vars(wire).items())
                if name.isupper() and isinstance(value, int)
                and 0x80 <= value <= 0xFF)


def repair_frames(data, tag=TAG):
    """Version, tag and checksum of each; what follows stays."""
    data = bytearray(data)
    start = 0
    while start + wire.HEADER_BYTES <= len(data):
        fields = list(wire.HEADER.unpack_from(data, start))
        body = start + wire.HEADER_BYTES
        fields[0] = wire.VERSION
        if fields[5] > len(data) - body:
            fields[5] = len(data) - body
        payload = bytes(data[body:body + fields[5]])
        fields[10] = crc32c(payload) if payload else 0
        fields[11] = tag
        wire.HEADER.pack_into(data, start, *fields)
        start = body + fields[5]
    return bytes(data)


class _Session:
    """A ``ClusterSession`` whose handlers only look at the request."""

    def __init__(self, seals=None):
        self.taken = []
        self.connection = streams.Connection()
        self.sheep = _Server({opcode: self._take for opcode in OPCODES})
        said = hello.ServerHello('n2.6')
        said.open(hello.ClientHello('peer', 'n1.5', 'n2.6').opening)
        said.seals = seals
        self.session = server.ClusterSession(
            self.sheep, self.connection, said, TAG)

    def _take(self, request):
        self.taken.append((request.opcode, request.flags, request.oid,
                           request.token, request.payload))
        request(None, request.payload[:8])

    def feed(self, data, step):
        start, end = 0, 0
        while end < len(data):
            end = min(end + step, len(data))
            start = self.session.received(bytearray(data), start, end)
            assert self.session.room_bytes <= (
                limits.CLUSTER_MESSAGE_MAX_BYTES + 4096)
        return self.taken


class _Server:
    def __init__(self, handlers):
        self._handlers = handlers

    def handlers_of(self, role):
        return self._handlers

    def epoch(self):
        return 1


def frame_seeds():
    frames = []
    for number, opcode in enumerate(OPCODES):
        frames.append(b''.join(wire.pack_request(
            opcode, wire.FLAG_DURABLE, 3, number, OID, 1 << 48, 4096, 22,
            b'payload' if number % 2 else b'', TAG)))
    yield from frames[::4]
    yield b''.join(frames)


@registry.target('peer-frames', (errors.CorruptFrame,
                                 errors.InvalidParameters),
                 ('sheepdog.wire.peer', 'sheepdog.peer.server'),
                 frame_seeds, repair_frames)
def run_frames(data):
    whole = _Session().feed(data, len(data) or 1)
    if len(data) < 400:
        assert _Session().feed(data, 7) == whole


def sealed_seeds():
    for keys_of_seals in (SEALS, SEALS[::-1]):
        close = seal.sealer(keys_of_seals[1])
        frames = []
        for payload in (b'', b'payload', bytes(100)):
            buffers = wire.pack_request(
                wire.READ, 0, 3, 1, OID, payload=payload, tag=TAG,
                is_sealed=True)
            frames += [close(*buffers), payload]
        yield b''.join(frames)


@registry.target('sealed-frames', (errors.CorruptFrame,
                                   errors.InvalidParameters),
                 ('sheepdog.wire.seal', 'sheepdog.peer.server'),
                 sealed_seeds)
def run_sealed(data):
    """What was not sealed, in this order, does not get in."""
    genuine = next(sealed_seeds())
    session = _Session(SEALS)
    try:
        session.feed(data, len(data) or 1)
    finally:
        same = 0
        for size in (64, 64 + 7, 64 + 100):
            if data[same:same + size] != genuine[same:same + size] or (
                    len(data) < same + size):
                break
            same += size
        assert len(session.taken) == {0: 0, 64: 1, 135: 2, 299: 3}[same]


def json_seeds():
    yield from hello_seeds()
    yield wire.pack_json({'error': 'text'})


@registry.target('peer-json', (errors.InvalidParameters,),
                 ('sheepdog.wire.peer',), json_seeds)
def run_json(data):
    message = wire.unpack_json(data)
    assert isinstance(message, dict)
    wire.unpack_json(wire.pack_json(message))


def hello_seeds():
    """What both sides say, with a key and without."""
    for keyring in (None, RING):
        client = hello.ClientHello('peer', 'n1.5', 'n2.6', keyring, NONCE)
        theirs = hello.ServerHello('n2.6')
        theirs.open(client.opening)
        yield client.opening
        if keyring is None:
            yield theirs.welcome(TAG)
            continue
        challenge = theirs.challenge(keyring, NONCE)
        proof = client.take(challenge)
        yield challenge
        yield proof
        yield theirs.check(proof, TAG)


@registry.target('peer-hello', (errors.SheepdogError,),
                 ('sheepdog.wire.hello', 'sheepdog.wire.peer'),
                 hello_seeds)
def run_hello(data):
    """Nobody gets in with what is not exactly right, on either side."""
    for keyring in (None, RING):
        client = hello.ClientHello('tool', keyring=keyring, nonce=NONCE)
        _quietly(client.take, data)
        assert client.seals is None
        theirs = hello.ServerHello('n2.6')
        theirs.open(hello.ClientHello('tool', '', '', RING, NONCE).opening)
        theirs.challenge(RING, bytes(hello.NONCE_BYTES))
        _quietly(theirs.check, data, TAG)
        assert theirs.seals is None
    theirs = hello.ServerHello('n2.6')
    theirs.open(data)
    theirs.challenge(RING, NONCE)


def _quietly(function, *arguments):
    try:
        function(*arguments)
    except errors.SheepdogError:
        pass


def key_seeds():
    yield keys.pack(RING)
    yield keys.pack(RING.with_new(keys.Key.of(bytes(36), '2026-11-22')))
    yield b'# nothing\n'


@registry.target('key-file', (errors.InvalidParameters,),
                 ('sheepdog.model.keys',), key_seeds)
def run_key_file(data):
    ring = keys.unpack(data)
    assert keys.unpack(keys.pack(ring)) == ring


def reply_seeds():
    answer = wire.pack_response(wire.ADMIN, 4, 1, 0, payload=b'{}')
    data = wire.pack_response(wire.VOLUME_READ, 4, 2, 0, 7,
                              payload=b'd' * 64)
    yield b''.join(answer + data)
    yield b''.join(data + answer)
    yield b''.join(wire.pack_response(
        wire.ADMIN, 4, 1, 5, payload=b'{"error":"no"}', tag=0))


@registry.target('client-replies', (errors.SheepdogError,),
                 ('sheepdog.client.connection', 'sheepdog.wire.peer'),
                 reply_seeds, lambda data: repair_frames(data, 0),
                 cases=600)
def run_replies(data):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(5)
    into = memoryview(bytearray(64))
    one = connection.Connection(ours, address.Address('h', 7000), 5.0)
    try:
        asked = one.submit(wire.ADMIN, payload=b'{}')
        read = one.submit(wire.VOLUME_READ, handle=7, aux=64, into=into)
        theirs.sendall(data[:64 << 10])
        theirs.shutdown(socket.SHUT_WR)
        one.wait(asked)
        one.wait(read)
    finally:
        one.close()
        theirs.close()


def answer_seeds():
    yield b'\0' + answers.pack_extents([(0, 4096), (8192, 4096)])
    yield b'\1' + OID.to_bytes(8, 'little') * 3
    yield b'\2' + wire.pack_json({'error': 'text'})


@registry.target('peer-answers', (errors.SheepdogError,),
                 ('sheepdog.peer.answers', 'sheepdog.peer.link'),
                 answer_seeds)
def run_answers(data):
    kind, payload = data[:1], data[1:]
    if kind == b'\0':
        found = answers.unpack_extents(payload)
        assert answers.pack_extents(found) == payload
    elif kind == b'\1':
        answers.unpack_list(payload)
    else:
        raise link.wire_error(data[0] if data else 1, payload)


def strip_seeds():
    yield strips.pack_write(1 << 40 | 7, 1 << 40 | 5, 4, 8, (b'abcdefgh',))
    yield strips.pack_write(7, 5, 2, 4096, None)


@registry.target('strip-writes', (errors.InvalidParameters,),
                 ('sheepdog.wire.strips',), strip_seeds)
def run_strip(data):
    number, below, width, size, content = strips.unpack_write(data)
    assert content is None or len(content) == size
    again = strips.unpack_write(strips.pack_write(
        number, below, width, size, None if content is None else (content,)))
    assert again == (number, below, width, size, content)
    exceptions = dict.fromkeys(range(size % 5), number)
    assert strips.unpack_exceptions(
        strips.pack_exceptions(exceptions)) == exceptions
    generation = strips.unpack_generation(number)
    assert strips.unpack_generation(
        strips.pack_generation(generation)) == generation


def told_seeds():
    one = told.Told(3, agreement.Generation(7, 2), (
        agreement.Generation(8, 1), agreement.Generation(8, 2)),
        agreement.Generation(0, 0, True), 1 << 40 | 5,
        {1 << 40 | 6: 1 << 80 | 9, 1 << 40 | 7: 0}, 7, 1 << 20, False,
        {agreement.Generation(7, 2): (1 << 40 | 5, 1 << 500 | 3)})
    yield told.pack_state(told.State((one, one._replace(index=4)),
                                     [1 << 48 | 5], 3, 2))
    yield told.pack_state(told.State((), [], 0, 1, True))


@registry.target('strip-states', (errors.CorruptFrame,),
                 ('sheepdog.recovery.told',), told_seeds)
def run_told(data):
    state = told.unpack_state(data)
    assert told.unpack_state(told.pack_state(state)) == state


def order_seeds():
    order = told.Order(3, agreement.Generation(7, 2), 5, [1 << 48 | 5])
    yield told.pack_order(order)
    yield told.pack_order(order._replace(kept=[1 << 40 | 6]))
    yield told.pack_order(order._replace(
        sources=[('aa', 1), ('bb', 2)], capacity=1 << 20, version=7,
        changed={agreement.Generation(7, 2): (1 << 40 | 5, 1 << 500 | 3)}))


@registry.target('strip-orders', (errors.InvalidParameters,),
                 ('sheepdog.recovery.told',), order_seeds)
def run_order(data):
    order = told.unpack_order(data)
    assert told.unpack_order(told.pack_order(order)) == order
