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

"""Target: whole sheep, as somebody finds them who has reached their ports.

Two real sheep on simulated hosts. The first byte of an input says how one of
them is spoken to (a capital: the leader, else the other), the rest is what is
sent: ``P`` native protocol; ``N`` NBD; ``H`` in place of a HELLO; after a true
HELLO with the cluster's key ``T`` as a tool, ``S`` as an unknown sheep, ``B``
as the other sheep of the two. Frames are given the version, tag and seal that
they need. In JSON, ``"@a"`` and ``"@b"`` stand for the incarnations of who is
spoken to and of the other, ``"@me"`` for who speaks, ``"@term"`` for a new
leader's term, ``"@view"``, ``"@views"`` and ``"@state"`` for what the first of
them knows.

A bug is what no code has handled: an exception in a task or in a session, a
traceback in the log, a sheep that dies, or that serves nobody any more who
connects after that; and a sheep that loses its place in the cluster because
of what a tool or a client said.
"""

import dataclasses
import json
import logging
import struct
from unittest import mock

from fuzz import registry
from fuzz import whole_seeds
from sheepdog.cmd import wiring
from sheepdog.faces.nbd import settings as nbd_settings
from sheepdog.model import errors
from sheepdog.model import networks
from sheepdog.peer import access
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import world as world_module
from sheepdog.wire import hello
from sheepdog.wire import peer as wire
from sheepdog.wire import seal

NBD_PORT = 10809
FRAMES_MAX = 24
PAUSE_SECONDS = 0.1
REST_SECONDS = 15.0
_DECODER = json.JSONDecoder()
_LENGTH = struct.Struct('<I')


def _build(world, membership, settings):
    everybody = networks.parse(['0.0.0.0/0'])
    return wiring.build_sheep(world, membership, dataclasses.replace(
        settings, access=access.AccessSettings(
            keys=cluster_module.KEYS, public_networks=everybody),
        nbd=nbd_settings.NbdSettings(host=settings.host, port=NBD_PORT)))


class Client:
    """A session (see ``world.api.Session``) that keeps what comes."""

    room_bytes = 0

    def __init__(self, host):
        self.host = host
        self.connection = None
        self.came = b''

    def connected(self, connection):
        self.connection = connection

    def disconnected(self, error):
        self.connection = None

    def received(self, buffer, start, end):
        self.came += bytes(buffer[start:end])
        return end

    def send(self, *buffers):
        """In the host's process, where the connection is still there."""
        if self.connection is not None:
            self.host.process.run(self.connection.send, *buffers)


class Stage:
    """Both sheep, and who comes to them.

    :param door: the first byte of an input
    """

    def __init__(self, door):
        self.door = door.upper()
        self.simulation = world_module.Simulation('whole')
        self.cluster = cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                build=_build, nodes=2, copies=2))
        self.cluster.format()
        nodes = sorted(self.cluster.nodes.values(),
                       key=lambda node: node.is_leading == door.islower())
        self.a, self.b = nodes
        self.a.run(self.a.sheep.catalogue.create('vm', 4 << 20))
        self.host = self.simulation.add_host('10.9.9.9')
        self.host.start()
        self.tag = 0
        self.seal = None

    def connect(self, port=cluster_module.PORT) -> Client:
        """:raises OSError: nobody is there"""
        return self.host.run(self.host.world.network.connect(
            lambda: Client(self.host), self.a.address, port, 5.0))

    def wait(self, client, size=1, seconds=PAUSE_SECONDS) -> bool:
        """For so many bytes more, or the end of the connection."""
        size += len(client.came)
        self.simulation.run_until(
            lambda: len(client.came) >= size or client.connection is None,
            seconds)
        return len(client.came) >= size

    def greet(self, client, role, incarnation='') -> bool:
        """Say HELLO as it should be said."""
        said = hello.ClientHello(
            role, incarnation, self.a.sheep.cluster.incarnation,
            cluster_module.KEYS.keyring(), bytes(hello.NONCE_BYTES))
        payload = said.opening
        while payload is not None:
            del_from = len(client.came)
            client.send(*wire.pack_request(wire.HELLO, 0, 0, 1,
                                           payload=payload))
            if not self.wait(client, wire.HEADER_BYTES, 2.0):
                return False
            answer = client.came[del_from:]
            fields = wire.HEADER.unpack_from(answer)
            if fields[8]:
                return False
            payload = said.take(answer[wire.HEADER_BYTES:])
        self.tag = said.tag
        self.seal = seal.sealer(said.seals[0])
        return True

    def say(self, client, head, payload) -> None:
        """One frame of a cluster connection."""
        fields = list(wire.HEADER.unpack(head))
        fields[0], fields[5], fields[10], fields[11] = (
            wire.VERSION, len(payload), 0, self.tag)
        head = wire.HEADER.pack(*fields)
        client.send(self.seal(head, payload) if payload
                    else self.seal(head), payload)

    def fill_in(self, payload: bytes, incarnation: str) -> bytes:
        if b'"@' not in payload:
            return payload
        cluster = self.a.sheep.cluster
        for name, value in (
                (b'"@a"', cluster.incarnation),
                (b'"@b"', self.b.sheep.cluster.incarnation),
                (b'"@me"', incarnation),
                (b'"@term"', cluster.explain()['term'] + 1),
                (b'"@sequence"', cluster.state.sequence + 1),
                (b'"@created"', cluster.state.created),
                (b'"@view"', cluster.view.to_dict()),
                (b'"@views"', [one.to_dict() for one in cluster.views]),
                (b'"@state"', cluster.state.to_dict())):
            if name in payload:
                payload = payload.replace(
                    name, wire.pack_json({'': value})[4:-1])
        return payload

    def is_ended(self) -> bool:
        """It was told to stop, and does."""
        return self.a.sheep._is_stopping

    def check(self, tracebacks) -> None:
        wrong = [(what, error) for _, what, error in self.simulation.errors()
                 if not isinstance(error, errors.SheepdogError)]
        for what, error in wrong:
            if error is not None:
                raise AssertionError('%s: %r' % (what, error)) from error
            raise AssertionError(what)
        assert not tracebacks, tracebacks
        # (Who has the key may as a sheep send others away.)
        if self.door not in b'SB' and not self.is_ended():
            assert not self.a.lapses and not self.b.lapses, 'it lost its place'
            assert self.a.is_serving, 'it serves no more'
        if not self.is_ended():
            assert self.a.is_running, 'it has died'
            client = self.connect()
            assert self.greet(client, 'tool'), 'it greets nobody'
            self.say(client, wire.pack_request(wire.PING, 0, 0, 5)[0], b'')
            assert self.wait(client, wire.HEADER_BYTES, 5.0), (
                'it answers nobody')


def frames(data, length=None) -> list:
    """(header, payload) of each whole header; a payload ends where the data
    does.

    :param length: tells how long the payload at a place is
    """
    found = []
    start = 0
    while (start + wire.HEADER_BYTES <= len(data)
           and len(found) < FRAMES_MAX):
        body = start + wire.HEADER_BYTES
        size, = _LENGTH.unpack_from(data, start + 12)
        if length is not None:
            size = length(data, body, size)
        found.append((data[start:body], data[body:body + size]))
        start = min(body + size, len(data))
    return found


def _json_length(data, start, size):
    """Of the JSON there, whatever the header says; ``size`` if it is none.
    """
    if data[start:start + 1] != b'{':
        return size
    try:
        _, size = _DECODER.raw_decode(data[start:].decode('latin-1'))
    except (ValueError, RecursionError):
        pass
    return size


def repair(data):
    """Lengths that go beyond the end, or not to the end of JSON."""
    if not data or data[:1].upper() not in b'TSB':
        return data
    return data[:1] + b''.join(
        head[:12] + _LENGTH.pack(len(payload)) + head[16:] + payload
        for head, payload in frames(data[1:], _json_length))


def _run(stage, data):
    door, data = data[:1].upper(), data[1:]
    if door == b'N':
        client = stage.connect(NBD_PORT)
        client.send(data)
        stage.wait(client, 1 << 20, PAUSE_SECONDS * 10)
        return
    client = stage.connect()
    if door == b'P':
        for head, payload in frames(data):
            client.send(head, payload)
            stage.wait(client)
    elif door == b'H':
        for head, payload in frames(data):
            fields = list(wire.HEADER.unpack(head))
            fields[:2] = wire.VERSION, wire.HELLO
            fields[5] = len(payload)
            client.send(wire.HEADER.pack(*fields),
                        stage.fill_in(payload, 'n9.5'))
            stage.wait(client)
    elif door in (b'T', b'S', b'B'):
        incarnation = {b'T': '', b'S': 'n9.5'}.get(
            door, stage.b.sheep.cluster.incarnation)
        if not stage.greet(client, 'tool' if door == b'T' else 'peer',
                           incarnation):
            return
        for head, payload in frames(data):
            stage.say(client, head, stage.fill_in(payload, incarnation))
            stage.wait(client)


@registry.target('whole-sheep', (), (
    'sheepdog.faces.native.port', 'sheepdog.faces.native.admin',
    'sheepdog.peer.server', 'sheepdog.cluster.cluster'),
    whole_seeds.seeds, repair, cases=60)
def run(data):
    tracebacks = []

    def note(logger, message, *arguments, **how):
        tracebacks.append(message % arguments)

    with mock.patch.object(logging.Logger, 'exception', note):
        stage = Stage(data[:1])
        try:
            _run(stage, data)
            stage.simulation.run_for(REST_SECONDS)
            stage.check(tracebacks)
        finally:
            stage.simulation.close()
