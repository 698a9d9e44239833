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
import errno
import unittest

from sheepdog.testing import fabric
from sheepdog.testing import world as world_module
from sheepdog.tests.unit.world import test_transport


class Session(test_transport.Lines):

    def __init__(self, on_message=None):
        super().__init__(on_message)
        self.errors = []

    def disconnected(self, error):
        self.errors.append(error)
        super().disconnected(error)


def echo(session, message):
    session.send(message)


class NetworkTest(unittest.TestCase):

    def setUp(self):
        self.simulation = world_module.Simulation(self.id())
        self.addCleanup(self.simulation.close)
        self.one = self.simulation.add_host('one')
        self.two = self.simulation.add_host('two')
        self.accepted = []
        self.serve(echo)
        self.one.start()

    def serve(self, on_message):
        self.two.start()

        def factory():
            self.accepted.append(Session(on_message))
            return self.accepted[-1]

        async def listen():
            await self.two.world.network.listen(factory, port=7000)

        self.in_process(self.two, listen())

    def in_process(self, host, coroutine):
        return host.run(coroutine)

    def connect(self, timeout=5.0):
        session = self.in_process(self.one, self.one.world.network.connect(
            Session, 'two', 7000, timeout))
        self.simulation.run_for(0.001)
        return session

    def send(self, session, *messages):
        session.connection.process.run(session.send, *messages)

    def test_echo_in_pieces(self):
        self.simulation.fabric.settings.split_chance = 0.7
        session = self.connect()
        messages = [b'%d' % i * i for i in range(300)]
        messages.append(bytes(3 << 20))
        self.send(session, *messages)
        self.simulation.run_for(5)
        self.assertEqual(messages, session.messages)
        self.assertEqual('two:7000', session.connection.peername)
        self.assertEqual('one:', self.accepted[0].connection.peername[:4])

    def test_connections_overtake_each_other(self):
        order = []
        sessions = [self.connect() for _ in range(20)]
        for number, session in enumerate(sessions):
            self.accepted[number].on_message = (
                lambda session, message, number=number: order.append(number))
        for session in sessions:
            self.send(session, b'x')
        self.simulation.run_for(1)
        self.assertEqual(list(range(20)), sorted(order))
        self.assertNotEqual(list(range(20)), order)

    def test_refused(self):
        self.two.kill()
        with self.assertRaises(ConnectionRefusedError):
            self.connect()

    def test_address_in_use(self):
        async def listen():
            await self.two.world.network.listen(Session, port=7000)

        with self.assertRaises(OSError) as caught:
            self.in_process(self.two, listen())
        self.assertEqual(errno.EADDRINUSE, caught.exception.errno)

    def test_unreachable(self):
        self.two.power_cut()
        begun = self.simulation.loop.time()
        with self.assertRaises(TimeoutError):
            self.connect(3.0)
        self.assertAlmostEqual(3.0, self.simulation.loop.time() - begun, 3)

    def test_a_cut_delays_and_loses_nothing(self):
        session = self.connect()
        self.simulation.fabric.cut('one', 'two')
        self.send(session, b'one', b'two')
        self.simulation.run_for(30)
        self.assertEqual([], self.accepted[0].messages)
        self.simulation.fabric.heal()
        self.simulation.run_for(1)
        self.assertEqual([b'one', b'two'], session.messages)

    def test_a_cut_in_one_direction(self):
        session = self.connect()
        self.simulation.fabric.block('two', 'one')
        self.send(session, b'one')
        self.simulation.run_for(1)
        self.assertEqual([b'one'], self.accepted[0].messages)
        self.assertEqual([], session.messages)
        self.simulation.fabric.unblock('two', 'one')
        self.simulation.run_for(1)
        self.assertEqual([b'one'], session.messages)

    def test_connecting_through_a_cut_that_ends(self):
        self.simulation.fabric.cut('one', 'two')
        self.simulation.loop.call_later(2, self.simulation.fabric.heal)
        self.connect(10.0)

    def test_a_killed_process_closes(self):
        session = self.connect()
        self.two.kill()
        self.simulation.run_for(1)
        self.assertEqual(1, len(session.errors))
        self.assertEqual([], self.accepted[0].errors)

    def test_a_kill_behind_a_cut_is_noticed_after_it(self):
        session = self.connect()
        self.simulation.fabric.cut('one', 'two')
        self.two.kill()
        self.simulation.run_for(5)
        self.assertEqual([], session.errors)
        self.simulation.fabric.heal()
        self.simulation.run_for(1)
        self.assertEqual(1, len(session.errors))

    def test_half_open_until_somebody_sends(self):
        session = self.connect()
        self.two.power_cut()
        self.simulation.run_for(5)
        self.two.power_on()
        self.simulation.run_for(5)
        self.assertEqual([], session.errors)
        self.send(session, b'anybody there?')
        self.simulation.run_for(1)
        self.assertIsInstance(session.errors[0], ConnectionResetError)

    def test_sent_while_the_host_was_off(self):
        session = self.connect()
        self.two.power_cut()
        self.send(session, b'anybody there?')
        self.simulation.run_for(5)
        self.assertEqual([], session.errors)
        self.two.power_on()
        self.simulation.run_for(1)
        self.assertIsInstance(session.errors[0], ConnectionResetError)

    def test_reset(self):
        session = self.connect()
        self.assertEqual(2, self.simulation.fabric.reset('one', 'two'))
        self.simulation.run_for(1)
        self.assertEqual(1, len(session.errors))
        self.assertEqual(1, len(self.accepted[0].errors))
        self.send(session, b'no-op')

    def test_close_sends_the_rest(self):
        session = self.connect()
        self.accepted[0].on_message = None
        self.send(session, bytes(3 << 20))
        session.connection.process.run(session.connection.close)
        self.simulation.run_for(1)
        self.assertEqual([None], session.errors)
        self.assertEqual([None], self.accepted[0].errors)
        self.assertEqual([3 << 20], [len(message) for message in
                                     self.accepted[0].messages])

    def test_what_was_not_flushed_dies_with_the_process(self):
        session = self.connect()
        self.send(session, b'never')
        self.one.kill()
        self.simulation.run_for(1)
        self.assertEqual([], self.accepted[0].messages)

    def test_a_reader_that_pauses_fills_the_queue(self):
        session = self.connect()
        server = self.accepted[0]
        server.connection.pause_reading()
        for _ in range(20):
            self.send(session, bytes(100 << 10))
            self.simulation.run_for(0.1)
        self.assertEqual([], server.messages)
        self.assertGreater(session.connection.queued_bytes, 1 << 20)
        server.connection.process.run(server.connection.resume_reading)
        self.simulation.run_for(1)
        self.assertEqual(20, len(session.messages))
        self.assertEqual(0, session.connection.queued_bytes)

    def test_answers_that_nobody_reads_stop_the_requests(self):
        answer = bytes(200 << 10)
        session = self.connect()
        server = self.accepted[0]
        server.on_message = lambda session, message: session.send(answer)
        session.connection.pause_reading()
        for _ in range(100):
            self.send(session, b'request')
            self.simulation.run_for(0.01)
        self.assertLess(len(server.messages), 20)
        session.connection.process.run(session.connection.resume_reading)
        self.simulation.run_for(5)
        self.assertEqual(100, len(session.messages))

    def test_a_session_that_raises_loses_its_connection(self):
        session = self.connect()

        def fail(session, message):
            raise KeyError('planned')

        self.accepted[0].on_message = fail
        self.send(session, b'x')
        self.simulation.run_for(1)
        self.assertIsInstance(self.accepted[0].errors[0], KeyError)
        self.assertEqual(1, len(session.errors))
        self.assertEqual(1, len(self.simulation.errors()))

    def test_who_keeps_a_view_of_the_buffer_is_found_out(self):
        views = []

        class Keeper(Session):
            def received(self, buffer, start, end):
                views.append(memoryview(buffer)[start:end])
                return end

        session = self.connect()
        self.accepted[0].received = Keeper.received.__get__(
            self.accepted[0])
        self.send(session, b'hello')
        self.simulation.run_for(1)
        self.assertEqual({0xa5}, set(b''.join(views)))

    def test_who_changes_a_buffer_after_sending_it_is_found_out(self):
        session = self.connect()
        buffer = bytearray(b'hello')
        self.send(session, buffer)
        buffer[:] = b'jello'
        self.simulation.run_for(1)
        self.assertEqual([b'jello'], self.accepted[0].messages)

    def test_a_stopped_process_answers_later(self):
        session = self.connect()
        self.two.stop()
        self.send(session, b'x')
        late = self.connect()
        self.send(late, b'y')
        self.simulation.run_for(10)
        self.assertEqual([], session.messages + late.messages)
        self.two.resume()
        self.simulation.run_for(1)
        self.assertEqual([b'x', b'y'], session.messages + late.messages)

    def test_unix_socket(self):
        async def main():
            await self.one.world.network.listen(
                lambda: Session(echo), path='/meta/sock')
            session = await self.one.world.network.connect_local(
                Session, '/meta/sock')
            session.send(b'x')
            await asyncio.sleep(1)
            return session

        session = self.in_process(self.one, main())
        self.assertEqual([b'x'], session.messages)
        self.assertTrue(session.connection.is_local)

    def test_closed_listener(self):
        async def main():
            listener = await self.two.world.network.listen(Session, port=9)
            await listener.close()
            with self.assertRaises(ConnectionRefusedError):
                await self.two.world.network.connect(Session, 'two', 9, 1)

        self.in_process(self.two, main())

    def test_same_seed_same_trace(self):
        def digest(seed):
            with world_module.Simulation(
                    seed, fabric.NetworkSettings(split_chance=0.5)) as again:
                self.simulation = again
                self.one = again.add_host('one')
                self.two = again.add_host('two')
                self.accepted = []
                self.serve(echo)
                self.one.start()
                session = self.connect()
                self.send(session, bytes(1000), b'x')
                again.run_for(1)
                return again.trace.digest()

        self.assertEqual(digest(7), digest(7))
        self.assertNotEqual(digest(7), digest(8))
