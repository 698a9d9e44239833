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
"""Who may do what on a connection, and how that is proved."""

import asyncio
import types
import unittest

from sheepdog.model import errors
from sheepdog.model import keys
from sheepdog.model import networks
from sheepdog.peer import access as access_module
from sheepdog.peer import link as link_module
from sheepdog.peer import server as server_module
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.wire import hello
from sheepdog.wire import peer as wire


def key(number):
    return keys.Key.of(bytes([number]) * 36)


OLD, NEW = keys.Keyring((key(1),)), keys.Keyring((key(2),))
BOTH = keys.Keyring((key(2), key(1)))


class Keys:
    """A ``KeySource`` that changes."""

    is_watched = True

    def __init__(self, ring):
        self.ring = ring

    def keyring(self):
        return self.ring


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


def connection(host='', uid=None, is_encrypted=False):
    return types.SimpleNamespace(
        peer_host=host, peer_uid=uid, is_local=not host,
        is_encrypted=is_encrypted, peername=host or 'unix:uid=%s' % uid)


class AccessTest(unittest.TestCase):

    def access(self, **settings):
        self.clock = Clock()
        return access_module.Access(
            types.SimpleNamespace(clock=self.clock),
            access_module.AccessSettings(**settings))

    def test_with_a_key_it_has_to_be_proved(self):
        access = self.access(keys=Keys(OLD), trusted_uids=(0, 7))
        for host in ('127.0.0.1', '::1', '::ffff:127.0.0.1', '192.0.2.1',
                     'garbage'):
            for role in hello.ROLES:
                self.assertTrue(access.is_proof_due(connection(host), role))
        for uid, is_due in ((0, False), (7, False), (8, True), (None, True)):
            self.assertEqual(is_due, access.is_proof_due(
                connection(uid=uid), 'tool'))
            # The kernel vouches for users, not for sheep.
            self.assertTrue(access.is_proof_due(connection(uid=uid), 'peer'))

    def test_without_a_key_only_this_machine(self):
        access = self.access()
        for host, is_due in (
                ('127.0.0.1', False), ('127.9.9.9', False), ('::1', False),
                ('::ffff:127.0.0.1', False), ('192.0.2.1', True),
                ('::ffff:192.0.2.1', True), ('fe80::1%eth0', True),
                ('localhost', True)):
            with self.subTest(host):
                self.assertEqual(is_due, access.is_proof_due(
                    connection(host), 'peer'))

    def test_everybody(self):
        access = self.access(allow_unauthenticated=True)
        self.assertFalse(access.is_proof_due(connection('192.0.2.1'),
                                             'peer'))
        self.assertFalse(access.must_servers_prove)
        self.assertFalse(access.may_be_public(connection('192.0.2.1')))

    def test_public(self):
        access = self.access(keys=Keys(OLD), public_networks=networks.parse(
            ['192.0.2.0/25', '2001:db8::/32']))
        for host, may in (
                ('127.0.0.1', True), ('::1', True), ('192.0.2.127', True),
                ('::ffff:192.0.2.1', True), ('192.0.2.128', False),
                ('2001:db8::9', True), ('2001:db9::9', False), ('x', False)):
            with self.subTest(host):
                self.assertEqual(may, access.may_be_public(connection(host)))
        self.assertTrue(access.may_be_public(connection(uid=0)))
        self.assertFalse(access.may_be_public(connection(uid=8)))

    def test_what_needs_seals(self):
        for one, is_needed in (
                (connection('127.0.0.1'), True), (connection(uid=0), False),
                (connection('192.0.2.1', is_encrypted=True), False)):
            self.assertEqual(is_needed, access_module.needs_seal(one))

    def test_refusals_are_logged_once_a_minute_each(self):
        access = self.access()
        with self.assertLogs(access_module.LOG, 'WARNING') as logs:
            for second in (0, 1, 59, 60, 61):
                self.clock.now = second
                access.refuse_public(connection('192.0.2.1'))
                access.refuse_cluster(connection('192.0.2.2'), 'no')
        self.assertEqual(4, len(logs.output))
        self.assertIn('192.0.2.1', logs.output[0])
        self.assertEqual((5, 5), (access.refused_public,
                                  access.refused_cluster))

    def test_described_without_secrets(self):
        text = repr(self.access(keys=Keys(BOTH)).describe())
        self.assertIn(BOTH.current.id, text)
        self.assertNotIn(BOTH.current.secret.hex(), text)
        self.assertNotIn('\\x02\\x02', text)


class Cluster:
    view = None

    def __init__(self, incarnation):
        self.incarnation = incarnation


class ProofCase(jumping.Case):
    """A link of 10.0.0.1 to a server at 10.0.0.2."""

    async def asyncSetUp(self):
        self.fabric = flock.Fabric()
        self.ours = flock.World('10.0.0.1', self.fabric)
        self.theirs = flock.World('10.0.0.2', self.fabric)
        self.our_keys, self.their_keys = Keys(BOTH), Keys(BOTH)
        self.requests = []
        self.doors = []
        self.serve(keys=self.their_keys)
        self.connect_as(keys=self.our_keys)

    async def asyncTearDown(self):
        self.link.close()
        await flock.turns()
        for world in self.ours, self.theirs:
            await world.close()
            self.assertEqual(world.failures, [])

    def serve(self, **settings):
        self.server = server_module.Server(
            self.theirs, Cluster('n2.1'), access_module.Access(
                self.theirs, access_module.AccessSettings(**settings)))
        self.server.register({wire.WRITE: self.take, wire.READ: self.take})
        self.theirs.listen(self.accept)

    def accept(self):
        self.doors.append(flock.Door(self.server))
        return self.doors[-1]

    def take(self, request):
        self.requests.append(request)
        request(None, request.payload[::-1])

    def connect_as(self, **settings):
        self.access = access_module.Access(
            self.ours, access_module.AccessSettings(**settings))
        self.link = link_module.Link(self.ours, 'n1.1', 'n2.1',
                                     ('10.0.0.2', flock.PORT), self.access)

    async def ask(self, payload=b'payload'):
        return (await self.link.call(wire.WRITE, oid=5, payload=payload))[2]

    async def assert_refused(self):
        with self.assertLogs(access_module.LOG, 'WARNING'), (
                self.assertRaises(errors.Unreachable)) as caught:
            await self.ask()
        self.assertEqual([], self.requests)
        self.assertFalse(self.link.is_ready)
        return str(caught.exception)


class TestProof(ProofCase):

    async def test_sealed_both_ways(self):
        for size in (0, 1, 4096, 1 << 20):
            data = bytes(range(256)) * (size // 256) or b'x' * size
            self.assertEqual(data[::-1], await self.ask(data))
        session = self.doors[0].session
        self.assertEqual(BOTH.current.id, session.key_id)
        self.assertIsNotNone(session.seal)
        self.assertIsNotNone(self.link._seal)

    async def test_a_wrong_key_on_either_side(self):
        self.our_keys.ring = OLD
        self.their_keys.ring = NEW
        self.assertIn(OLD.current.id, await self.assert_refused())
        self.assertEqual(1, self.server.access.refused_cluster)

    async def test_no_key_on_our_side(self):
        self.connect_as(keys=None)
        self.assertIn('none was', await self.assert_refused())

    async def test_no_key_on_their_side(self):
        """An impostor, or one that was forgotten."""
        self.serve()
        self.assertIn('no cluster key', await self.assert_refused())
        self.serve(allow_unauthenticated=True)
        self.connect_as(keys=self.our_keys)
        self.assertIn('not prove', await self.assert_refused())

    async def test_lost_between_the_rounds(self):
        """Whenever it is: whoever waits is told."""
        for step in range(1, 40):
            self.link.close()
            self.connect_as(keys=self.our_keys)
            answers = []
            self.link.request(wire.READ, 0, 0, 5, 0, 0, 0, b'',
                              lambda *answer: answers.append(answer))
            for _turn in range(step):
                await asyncio.sleep(0)
            self.fabric.sever('10.0.0.2')
            with self.subTest(step):
                await flock.until(lambda: answers, 1.0)

    async def test_while_a_cluster_gets_its_first_key(self):
        for one, other in ((self.our_keys, None), (None, self.their_keys),
                           (self.our_keys, self.their_keys), (None, None)):
            self.serve(keys=other, allow_unauthenticated=True)
            self.connect_as(keys=one, allow_unauthenticated=True)
            self.assertEqual(b'dlo', await self.ask(b'old'))
            self.assertEqual(one is not None and other is not None,
                             self.link._seal is not None)
            self.link.close()

    async def test_each_bit_of_each_frame(self):
        """Changed on its way, a frame ends the connection."""
        for side in ('theirs', 'ours'):
            for number in range(0, 8 * (64 + 4), 7):
                self.link.close()
                self.connect_as(keys=self.our_keys)
                await self.ask(b'good')
                end = self.doors[-1].connection
                end = end if side == 'theirs' else end.peer

                def flip(data, number=number):
                    changed = bytearray(data)
                    changed[number // 8] ^= 1 << number % 8
                    return bytes(changed)

                end.tamper = flip
                before = len(self.requests)
                with self.subTest(side=side, bit=number):
                    with self.assertRaises(errors.SheepdogError):
                        # A length that was changed makes it wait for more.
                        await self.link.call(wire.WRITE, oid=5,
                                             payload=b'more', timeout=0.02)
                    self.assertEqual(before + (side == 'theirs'),
                                     len(self.requests))

    async def test_sent_twice(self):
        await self.ask()
        self.doors[-1].connection.peer.tamper = lambda data: data + data
        answers = []
        self.link.request(wire.WRITE, 0, 0, 5, 0, 0, 0, b'twice',
                          lambda *answer: answers.append(answer))
        await flock.until(lambda: self.fabric.refused)
        self.assertIsInstance(self.fabric.refused[0], errors.CorruptFrame)
        self.assertEqual([b'payload', b'twice'],
                         [request.payload for request in self.requests])

    async def test_a_frame_without_a_seal(self):
        """Somebody takes the stream over, who does not know the key."""
        await self.ask()
        session = self.doors[-1].session
        forged = b''.join(wire.pack_request(
            wire.WRITE, 0, 0, 9, 5, payload=b'forged' * 8, tag=session.tag)
            * 2)
        with self.assertRaises(errors.CorruptFrame):
            session.received(bytearray(forged), 0, len(forged))
        self.assertEqual(1, len(self.requests))

    async def test_a_key_that_is_dropped_ends_its_connections(self):
        self.our_keys.ring = OLD
        await self.ask()
        self.server.drop_keys_but(BOTH.ids)
        await flock.turns()
        self.assertTrue(self.link.is_ready)
        self.our_keys.ring = self.their_keys.ring = NEW
        self.server.drop_keys_but(NEW.ids)
        await flock.until(lambda: not self.link.is_ready)
        await self.ask()
        self.assertEqual(NEW.current.id, self.doors[-1].session.key_id)

    async def test_tools_cannot_say_what_sheep_say(self):
        self.server.register({wire.LIST: self.take}, roles=('peer',))
        client = hello.ClientHello('tool', keyring=BOTH, nonce=b'n' * 32)
        greeting = self.server.greeting(connection('10.0.0.3'))
        greeting.take(client.take(greeting.take(client.opening)))
        for opcode in (wire.LIST, wire.MESSAGE):
            self.assertNotIn(opcode, greeting.session.handlers)
        self.assertIn(wire.READ, greeting.session.handlers)
