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

"""The face as a whole: listeners, the cap, stopping."""

import asyncio
import random
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.faces import nbd as face_module
from sheepdog.tests.unit.faces import nbd_loopback
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as wire
from sheepdog.wire import nbd_options as options


class TestSettings(unittest.TestCase):

    def test_limits_that_would_serve_nobody(self):
        for name in ('connections_max', 'inflight_max',
                     'inflight_bytes_max', 'handshake_timeout_seconds'):
            with self.assertRaisesRegex(ValueError, name):
                face_module.NbdSettings(**{name: 0})


class TestListeners(unittest.IsolatedAsyncioTestCase):

    async def test_tcp_and_unix_socket(self):
        place = await nbd_loopback.Place(
            host='127.0.0.1', port=0, unix_path='/run/nbd').started()
        self.assertEqual(place.face.address, ('127.0.0.1', 10809))
        self.assertEqual(list(place.world.listeners),
                         [('127.0.0.1', 10809), '/run/nbd'])
        await place.world.connect('/run/nbd').go('vdi')
        await place.stop()
        self.assertEqual(place.world.listeners, {})

    async def test_unix_socket_alone(self):
        place = await nbd_loopback.Place(
            port=None, unix_path='/run/nbd').started()
        self.assertIsNone(place.face.address)
        self.assertEqual(list(place.world.listeners), ['/run/nbd'])
        await place.stop()

    async def test_an_address_in_use(self):
        place = nbd_loopback.Place(unix_path='/run/nbd')
        place.world.listeners['/run/nbd'] = None
        with self.assertRaises(OSError):
            await place.face.start()
        self.assertEqual(list(place.world.listeners), ['/run/nbd'])


class TestCap(unittest.IsolatedAsyncioTestCase):

    async def test_one_connection_too_many(self):
        place = await nbd_loopback.Place(connections_max=2).started()
        counters = place.face.counters
        one = await place.client()
        two = place.world.connect()
        with self.assertLogs('sheepdog.faces.nbd.server', 'WARNING') as logs:
            for _count in range(10):
                three = place.world.connect()
                self.assertTrue(three.connection.is_aborted)
        self.assertEqual(len(logs.output), 1)
        self.assertEqual(counters.connections_refused, 10)
        self.assertEqual(counters.connections_active, 2)
        two.connection.lose()
        await asyncio.sleep(0.01)
        await place.client()
        self.assertEqual((await one.call(nbd.CMD_READ, 0, 1)).error, 0)
        await place.stop()
        self.assertEqual(counters.connections_active, 0)


class TestShares(unittest.IsolatedAsyncioTestCase):

    async def test_one_host_leaves_places_for_others(self):
        place = await nbd_loopback.Place(connections_max=16,
                                         unix_path='/run/nbd').started()
        mine = [place.world.connect() for _ in range(20)]
        self.assertEqual(14, sum(not one.connection.is_aborted
                                 for one in mine))
        others = [place.world.connect(peer_host='10.0.0.%d' % number)
                  for number in range(3)]
        self.assertEqual([False, False, True],
                         [one.connection.is_aborted for one in others])
        # Who comes by the unix socket needs no place.
        await place.world.connect('/run/nbd').go('vdi')
        await place.stop()


class TestStop(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        self.place = await nbd_loopback.Place().started()
        self.face = self.place.face
        self.volume = self.place.volume

    async def seconds(self, deadline):
        loop = asyncio.get_running_loop()
        start = loop.time()
        await self.face.stop(deadline)
        return loop.time() - start

    async def test_nobody_there(self):
        self.assertLess(await self.seconds(5), 1)

    async def test_idle_clients(self):
        # The test case's loop keeps books that cost more than the clients.
        asyncio.get_running_loop().set_debug(False)
        clients = [await self.place.client() for _count in range(1000)]
        self.assertLess(await self.seconds(9), 9)
        self.assertTrue(all(client.connection.is_closed
                            for client in clients))
        self.assertEqual(self.volume.references, 0)

    async def test_what_is_under_way_is_answered(self):
        client = await self.place.client()
        self.volume.hold()
        write = client.send(nbd.CMD_WRITE, 0, data=b'x')
        stopping = asyncio.ensure_future(self.face.stop(5))
        await asyncio.sleep(0.01)
        late = client.send(nbd.CMD_READ, 0, 1)
        self.assertEqual((await client.reply(late)).error, nbd.ESHUTDOWN)
        self.volume.release()
        await stopping
        self.assertEqual((await client.reply(write)).error, 0)
        self.assertFalse(client.connection.is_aborted)
        self.assertEqual(self.volume.references, 0)

    async def test_a_client_that_sits_on_its_socket(self):
        silent = self.place.world.connect()
        haggling = self.place.world.connect()
        await haggling.start()
        half = self.place.world.connect()
        await half.go('vdi')
        half.feed(wire.pack_request(nbd.CMD_WRITE, 1, 0, 4096) + b'half')
        self.assertLess(await self.seconds(5), 1)
        for client in (silent, haggling, half):
            self.assertTrue(client.connection.is_closed)
        self.assertEqual(self.volume.references, 0)

    async def test_a_client_that_takes_no_answers(self):
        client = await self.place.client()
        client.connection.is_stuck = True
        client.send(nbd.CMD_READ, 0, 4096)
        self.assertLess(await self.seconds(0.1), 1)
        self.assertTrue(client.connection.is_aborted)
        self.assertEqual(self.volume.references, 0)

    async def test_a_volume_that_never_answers(self):
        client = await self.place.client()
        self.volume.hold()
        client.send(nbd.CMD_READ, 0, 4096)
        with self.assertLogs('sheepdog.faces.nbd.server', 'WARNING'):
            self.assertLess(await self.seconds(0.1), 2)
        self.assertTrue(client.connection.is_aborted)

    async def test_who_comes_while_it_stops(self):
        client = await self.place.client()
        haggling = self.place.world.connect()
        await haggling.start()
        self.volume.hold()
        client.send(nbd.CMD_READ, 0, 1)
        self.place.volumes.locked['vdi'] = 1
        haggling.feed(wire.pack_option(options.OPT_GO,
                                       wire.pack_info('vdi')))
        stopping = asyncio.ensure_future(self.face.stop(5))
        await asyncio.sleep(0.01)
        self.assertEqual(self.place.world.listeners, {})
        self.assertTrue(haggling.connection.is_closed)
        self.assertFalse(self.face.admit(None, haggling.connection))
        self.volume.release()
        await stopping
        self.assertEqual(self.volume.references, 0)

    async def test_the_same_export_after_a_restart(self):
        client = self.place.world.connect()
        before = await client.go('vdi')
        await client.call(nbd.CMD_WRITE, 0, data=b'kept')
        await self.face.stop(1)
        await self.place.restarted()
        client = self.place.world.connect()
        self.assertEqual(await client.go('vdi'), before)
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 4)).data,
                         b'kept')
        await self.place.stop()


REQUESTS = strategies.builds(
    wire.pack_request, strategies.integers(0, 9),
    strategies.integers(0, 2**64 - 1),
    strategies.one_of(strategies.integers(0, 1 << 20),
                      strategies.integers(0, 2**64 - 1)),
    strategies.one_of(strategies.just(0), strategies.integers(0, 100),
                      strategies.integers(0, 2**32 - 1)),
    strategies.integers(0, 255))


class TestAnything(unittest.TestCase):
    """Whatever comes: the face lives, and lets go of everything."""

    @hypothesis.settings(deadline=None, max_examples=100)
    @hypothesis.given(
        strategies.booleans(),
        strategies.lists(strategies.one_of(
            REQUESTS, strategies.binary(max_size=100)), max_size=10),
        strategies.randoms(use_true_random=False))
    def test_any_bytes_on_a_chosen_export(self, structured, parts, chance):
        asyncio.run(self.feed(structured, b''.join(parts), chance))

    async def feed(self, structured, stream, chance):
        place = nbd_loopback.Place()
        place.volume.completes_later = chance.random() < 0.5
        await place.started()
        client = await place.client(structured=structured)
        while stream and not client.connection.is_closed:
            size = chance.randrange(1, 60)
            client.feed(stream[:size])
            stream = stream[size:]
            await asyncio.sleep(0)
        other = await place.client()
        self.assertEqual((await other.call(nbd.CMD_FLUSH)).error, 0)
        await place.stop()
        self.assertEqual(place.volume.references, 0)

    @hypothesis.settings(deadline=None, max_examples=50)
    @hypothesis.given(strategies.binary(max_size=200), strategies.booleans())
    def test_any_bytes_from_the_start(self, stream, is_polite):
        asyncio.run(self.feed_from_the_start(stream, is_polite))

    async def feed_from_the_start(self, stream, is_polite):
        place = await nbd_loopback.Place().started()
        client = place.world.connect()
        if is_polite:
            await client.start()
        while stream and not client.connection.is_closed:
            size = random.Random(len(stream)).randrange(1, 60)
            client.feed(stream[:size])
            stream = stream[size:]
            await asyncio.sleep(0)
        await place.stop()
