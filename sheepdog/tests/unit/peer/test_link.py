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

import asyncio
import struct
import unittest
from unittest import mock

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.peer import link as link_module
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.wire import peer as wire
from sheepdog.world import real

HOST = '10.0.0.9'
OURS = 'client.1'
THEIRS = 'server.7'
OPCODE = wire.READ


class Peer:
    """The other end, by hand: keeps requests, answers when told."""

    room_bytes = 0

    def __init__(self, incarnation=THEIRS, tag=77, hello=None):
        self.incarnation = incarnation
        self.tag = tag
        self.hello = hello
        self.connection = None
        self.hellos = []
        self.requests = []
        self.lost = 0

    def connected(self, connection):
        self.connection = connection

    def disconnected(self, error):
        self.lost += 1

    def received(self, buffer, start, end):
        fields = wire.HEADER.unpack_from(buffer, start)
        body = start + wire.HEADER_BYTES
        payload = bytes(buffer[body:body + fields[5]])
        if fields[1] == wire.HELLO:
            self.hellos.append(wire.unpack_json(payload))
            self.greet(fields[4])
        else:
            self.requests.append((fields, payload))
        return body + fields[5]

    def greet(self, request_id):
        if self.hello is not None:
            self.hello(self, request_id)
            return
        self.connection.send(*wire.pack_response(
            wire.HELLO, 0, request_id, 0, payload=wire.pack_json(
                {'incarnation': self.incarnation, 'tag': self.tag})))

    def answer(self, number=0, result=0, payload=b'', **changes):
        fields = self.requests[number][0]
        what = {'opcode': fields[1], 'epoch': 1, 'request_id': fields[4],
                'result': result, 'oid': fields[6], 'payload': payload,
                'tag': self.tag}
        what.update(changes)
        self.connection.send(*wire.pack_response(**what))


class LinkCase(jumping.Case):

    async def asyncSetUp(self):
        self.fabric = flock.Fabric()
        self.world = flock.World('10.0.0.1', self.fabric)
        self.other = flock.World(HOST, self.fabric)
        self.peers = []
        self.make_peer = Peer
        self.other.listen(self._accept)
        self.link = link_module.Link(self.world, OURS, THEIRS,
                                     (HOST, flock.PORT),
                                     flock.open_access(self.world))

    async def asyncTearDown(self):
        self.link.close()
        await flock.turns()
        await self.world.close()
        self.assertEqual(self.world.failures, [])

    def _accept(self):
        self.peers.append(self.make_peer())
        return self.peers[-1]

    @property
    def peer(self):
        return self.peers[-1]

    def ask(self, oid=5, payload=b'', opcode=OPCODE):
        """A request; returns the list of its answers."""
        answers = []
        self.link.request(opcode, 0, 3, oid, 9, 10, 11, payload,
                          lambda *answer: answers.append(answer))
        return answers

    async def connect(self):
        for peer in self.peers:
            peer.requests.clear()
        answers = self.ask()
        await flock.until(lambda: self.peers and self.peer.requests, 2)
        self.peer.answer()
        await flock.until(lambda: answers)
        self.peer.requests.clear()

    def assert_unreachable(self, *all_answers):
        for answers in all_answers:
            self.assertEqual(len(answers), 1)
            self.assertIsInstance(answers[0][0], errors.Unreachable)


class TestRequests(LinkCase):

    async def test_hello_says_who_and_to_whom(self):
        await self.connect()
        self.assertEqual(self.peer.hellos, [
            {'protocol': wire.VERSION, 'role': 'peer', 'incarnation': OURS,
             'for': THEIRS, 'lane': 'data'}])

    async def test_what_waits_for_the_connection_goes_out_in_order(self):
        asked = [self.ask(oid) for oid in range(5)]
        await flock.until(lambda: self.peers
                          and len(self.peer.requests) == 5)
        self.assertEqual([fields[6] for fields, _ in self.peer.requests],
                         list(range(5)))
        self.assertEqual(len(self.peers), 1)
        for number in range(5):
            self.peer.answer(number, payload=b'%d' % number)
        await flock.until(lambda: all(asked))
        self.assertEqual([a[0][3] for a in asked],
                         [b'0', b'1', b'2', b'3', b'4'])

    async def test_answers_may_come_in_any_order(self):
        await self.connect()
        first, second = self.ask(1), self.ask(2)
        await flock.until(lambda: len(self.peer.requests) == 2)
        self.peer.answer(1, value=7, aux=8, payload=b'two')
        await flock.until(lambda: second)
        self.assertEqual((first, second), ([], [(None, 7, 8, b'two')]))
        self.peer.answer(0)
        await flock.until(lambda: first)
        self.assertEqual(first, [(None, 0, 0, b'')])

    async def test_a_request_carries_everything(self):
        await self.connect()
        self.ask(5, b'payload', wire.WRITE)
        await flock.until(lambda: self.peer.requests)
        fields, payload = self.peer.requests[0]
        (version, opcode, flags, epoch, _, length, oid, token, offset, aux,
         _, tag) = fields
        self.assertEqual(
            (version, opcode, flags, epoch, length, oid, token, offset, aux,
             tag, payload),
            (wire.VERSION, wire.WRITE, wire.FLAG_WRITE, 3, 7, 5, 9, 10, 11,
             77, b'payload'))

    async def test_an_error_keeps_its_type_and_text(self):
        await self.connect()
        answers = self.ask()
        await flock.until(lambda: self.peer.requests)
        self.peer.answer(result=errors.NoSpace.result,
                         payload=wire.pack_json({'error': 'full'}))
        await flock.until(lambda: answers)
        self.assertIsInstance(answers[0][0], errors.NoSpace)
        self.assertEqual(str(answers[0][0]), 'full')

    async def test_an_error_may_come_without_a_reason(self):
        for payload in (b'', b'not json', b'[]'):
            self.assertIsInstance(
                link_module.wire_error(errors.NoObject.result, payload),
                errors.NoObject)

    async def test_tell_is_not_awaited(self):
        self.link.tell(wire.STABLE, 1, 2)
        await flock.turns()
        self.assertEqual(self.peers, [])
        await self.connect()
        self.link.tell(wire.STABLE, 4, 5)
        await flock.until(lambda: self.peer.requests)
        fields, _ = self.peer.requests[0]
        self.assertEqual((fields[1], fields[3], fields[7]),
                         (wire.STABLE, 4, 5))

    async def test_call_returns_what_came(self):
        await self.connect()
        call = asyncio.ensure_future(self.link.call(OPCODE, oid=4))
        await flock.until(lambda: self.peer.requests)
        self.peer.answer(value=1, aux=2, payload=b'x')
        self.assertEqual(await call, (1, 2, b'x'))

    async def test_call_raises_what_came(self):
        await self.connect()
        call = asyncio.ensure_future(self.link.call(OPCODE))
        await flock.until(lambda: self.peer.requests)
        self.peer.answer(result=errors.NoObject.result)
        with self.assertRaises(errors.NoObject):
            await call

    async def test_call_ends_when_its_time_is_over(self):
        await self.connect()
        with self.assertRaises(errors.Unreachable):
            await self.link.call(OPCODE, timeout=0.01)
        # The answer that comes late harms nobody.
        answers = self.ask(2)
        await flock.until(lambda: len(self.peer.requests) == 2)
        self.peer.answer(0)
        self.peer.answer(1)
        await flock.until(lambda: answers)
        self.assertIsNone(answers[0][0])

    async def test_a_backlog_is_bounded(self):
        self.fabric.hold('10.0.0.1', HOST)
        piece = bytes(limits.CONNECTION_OUTPUT_MAX_BYTES)
        asked = [self.ask(oid, piece) for oid in range(6)]
        self.assertEqual([len(answers) for answers in asked],
                         [0, 0, 0, 0, 1, 1])
        self.assert_unreachable(*asked[4:])


class TestTrouble(LinkCase):

    async def test_a_lost_connection_fails_everything_once(self):
        await self.connect()
        asked = [self.ask(oid) for oid in range(3)]
        await flock.until(lambda: len(self.peer.requests) == 3)
        self.peer.connection.abort()
        await flock.until(lambda: all(asked))
        await flock.turns()
        self.assert_unreachable(*asked)

    async def test_it_connects_again(self):
        await self.connect()
        self.peer.connection.abort()
        await flock.turns()
        await self.connect()
        self.assertEqual(len(self.peers), 2)

    async def test_whom_nobody_answers_at_fails_at_once_for_a_while(self):
        self.fabric.listeners.clear()
        answers = self.ask()
        await flock.until(lambda: answers)
        self.assert_unreachable(answers, self.ask())
        self.other.listen(self._accept)
        with mock.patch.object(link_module, 'RECONNECT_PAUSE_SECONDS', 0):
            await asyncio.sleep(0.11)
            await self.connect()

    async def test_another_incarnation_is_not_spoken_to(self):
        self.make_peer = lambda: Peer('server.8')
        asked = [self.ask(), self.ask()]
        await flock.until(lambda: all(asked))
        self.assert_unreachable(*asked)
        self.assertEqual(self.peer.requests, [])
        await flock.until(lambda: self.peer.lost)

    async def test_a_refused_hello_keeps_a_transient_error(self):
        def refuse(peer, request_id):
            peer.connection.send(*wire.pack_response(
                wire.HELLO, 0, request_id, errors.NotServing.result,
                payload=wire.pack_json({'error': 'this is server.8'})))

        self.make_peer = lambda: Peer(hello=refuse)
        answers = self.ask()
        await flock.until(lambda: answers)
        self.assertIsInstance(answers[0][0], errors.NotServing)

    async def test_a_refused_hello_is_never_final(self):
        def refuse(peer, request_id):
            peer.connection.send(*wire.pack_response(
                wire.HELLO, 0, request_id, errors.VersionMismatch.result))

        self.make_peer = lambda: Peer(hello=refuse)
        answers = self.ask()
        await flock.until(lambda: answers)
        self.assert_unreachable(answers)

    async def test_a_hello_of_nonsense(self):
        for nonsense in (b'{"incarnation": "server.7", "tag": "?"}',
                         b'{"incarnation": "server.7", "tag": null}',
                         b'[]', b''):
            with self.subTest(nonsense):
                link = link_module.Link(self.world, OURS, THEIRS,
                                        (HOST, flock.PORT),
                                        flock.open_access(self.world))
                self.make_peer = lambda: Peer(
                    hello=lambda peer, request_id: peer.connection.send(
                        *wire.pack_response(wire.HELLO, 0, request_id, 0,
                                            payload=nonsense)))
                answers = []
                link.request(OPCODE, 0, 1, 1, 1, 1, 1, b'',
                             lambda *answer: answers.append(answer))
                await flock.until(lambda: answers)
                self.assert_unreachable(answers)

    async def test_who_does_not_greet_back(self):
        self.make_peer = lambda: Peer(hello=lambda peer, request_id: None)
        with mock.patch.object(link_module, 'CONNECT_TIMEOUT_SECONDS', 0.01):
            answers = self.ask()
            await flock.until(lambda: answers)
        self.assert_unreachable(answers)
        await flock.until(lambda: self.peer.lost)

    async def test_lost_while_greeting(self):
        self.make_peer = lambda: Peer(
            hello=lambda peer, request_id: peer.connection.abort())
        answers = self.ask()
        await flock.until(lambda: answers)
        self.assert_unreachable(answers)

    async def test_lost_before_greeting(self):
        """Connected, and lost before anybody could tell."""
        connect = self.world.connect

        async def connect_and_lose(*arguments, **options):
            session = await connect(*arguments, **options)
            self.peer.connection.abort()
            await flock.turns()
            return session

        self.world.connect = connect_and_lose
        answers = self.ask()
        await flock.until(lambda: answers)
        self.assert_unreachable(answers)
        self.world.connect = connect
        await asyncio.sleep(link_module.RECONNECT_PAUSE_SECONDS)
        await self.connect()

    async def test_closed_while_connecting(self):
        """It must not come up behind the back of who closed it."""
        answers = self.ask()
        self.link.close()
        self.assert_unreachable(answers)
        await flock.until(lambda: not self.world.tasks)
        self.assertFalse(self.link.is_ready)
        self.assertEqual(self.fabric.connections, {})

    async def test_closed_while_greeting(self):
        self.make_peer = lambda: Peer(hello=lambda peer, request_id: None)
        answers = self.ask()
        await flock.until(lambda: self.peers and self.peer.hellos)
        self.link.close()
        self.assert_unreachable(answers)
        await flock.until(lambda: not self.world.tasks)
        self.assertEqual(self.fabric.connections, {})

    async def test_a_closed_link_takes_nothing(self):
        await self.connect()
        under_way = self.ask()
        self.link.close()
        self.assert_unreachable(under_way, self.ask())
        await flock.turns()
        self.assertEqual(self.peer.lost, 1)
        self.assertEqual(len(under_way), 1)

    async def test_wrong_answers_end_the_connection(self):
        for name, changes in (
                ('tag', {'tag': 78}), ('id', {'request_id': 12345}),
                ('opcode', {'opcode': wire.WRITE}), ('oid', {'oid': 6})):
            with self.subTest(name):
                await self.connect()
                asked = [self.ask(), self.ask()]
                await flock.until(lambda: len(self.peer.requests) == 2)
                self.peer.answer(**changes)
                await flock.until(lambda: all(asked))
                await flock.turns()
                for answers in asked:
                    self.assertEqual(len(answers), 1)
                    self.assertTrue(answers[0][0].retry)
                self.assertIsInstance(self.fabric.refused.pop(),
                                      errors.CorruptFrame)

    async def test_a_damaged_payload_ends_the_connection(self):
        await self.connect()
        answers = self.ask()
        await flock.until(lambda: self.peer.requests)
        self.peer.connection.tamper = lambda data: (
            data[:-1] + bytes([data[-1] ^ 1]))
        self.peer.answer(payload=b'precious')
        await flock.until(lambda: answers)
        self.assertTrue(answers[0][0].retry)
        self.assertEqual(answers[0][3], b'')

    async def test_an_endless_answer_ends_the_connection(self):
        await self.connect()
        answers = self.ask()
        await flock.until(lambda: self.peer.requests)
        self.peer.connection.tamper = lambda data: (
            data[:12] + struct.pack('<I', 1 << 31) + data[16:])
        self.peer.answer(payload=b'x')
        await flock.until(lambda: answers)
        self.assert_unreachable(answers)

    async def test_an_answer_in_pieces(self):
        await self.connect()
        answers = self.ask()
        await flock.until(lambda: self.peer.requests)
        end = self.peer.connection.peer
        data = b''.join(wire.pack_response(
            OPCODE, 1, self.peer.requests[0][0][4], 0, 5,
            payload=b'payload', tag=77))
        for position in range(len(data)):
            self.assertEqual(answers, [])
            end.arrived(data[position:position + 1])
        self.assertEqual(answers, [(None, 0, 0, b'payload')])
        self.assertEqual(self.link.room_bytes, 0)


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


class TestSilence(LinkCase):
    """The link looks every few milliseconds; how much time has passed then
    is for the test to say."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        patch = mock.patch.object(link_module, 'SILENCE_SECONDS', 0.02)
        patch.start()
        self.addCleanup(patch.stop)
        self.clock = self.world.clock = Clock()

    async def test_who_owes_an_answer_and_is_silent_is_dropped(self):
        await self.connect()
        answers = self.ask()
        # Once it has noticed that something is owed.
        await asyncio.sleep(0.02)
        self.clock.now += 0.021
        await flock.until(lambda: answers)
        self.assert_unreachable(answers)
        await flock.until(lambda: self.peer.lost)

    async def test_who_owes_nothing_may_be_silent(self):
        await self.connect()
        for _ in range(5):
            self.clock.now += 1
            await asyncio.sleep(0.01)
        self.assertTrue(self.link.is_ready)

    async def test_who_is_slow_but_alive_is_waited_for(self):
        """A flush of a slow disk takes longer than any silence may."""
        await self.connect()
        answers = self.ask(opcode=wire.FLUSH)
        await asyncio.sleep(0.02)
        for _ in range(5):
            self.clock.now += 0.015
            await flock.until(lambda: self.pings())
            for number in self.pings():
                self.peer.answer(number)
            del self.peer.requests[1:]
            await asyncio.sleep(0.01)
        self.assertEqual(answers, [])
        self.assertTrue(self.link.is_ready)
        self.peer.answer()
        await flock.until(lambda: answers)
        self.assertIsNone(answers[0][0])

    def pings(self):
        return [number for number, (fields, _)
                in enumerate(self.peer.requests) if fields[1] == wire.PING]


class TestRealLoopback(unittest.IsolatedAsyncioTestCase):
    """The same over TCP."""

    async def test_requests_and_a_loss(self):
        world = real.RealWorld()
        peers = []

        def accept():
            peers.append(Peer())
            return peers[-1]

        listener = await world.network.listen(accept, host='127.0.0.1')
        link = link_module.Link(world, OURS, THEIRS,
                                tuple(listener.address),
                                flock.open_access(world))
        call = asyncio.ensure_future(link.call(OPCODE, oid=1))
        await flock.until(lambda: peers and peers[0].requests)
        peers[0].answer(payload=bytes(1 << 20))
        self.assertEqual((await call)[2], bytes(1 << 20))
        call = asyncio.ensure_future(link.call(OPCODE, oid=2))
        await flock.until(lambda: len(peers[0].requests) == 2)
        peers[0].connection.abort()
        with self.assertRaises(errors.Unreachable):
            await call
        link.close()
        await listener.close()
        await world.close()
