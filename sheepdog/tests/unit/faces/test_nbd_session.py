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

"""Connections, from the greeting to the choice of an export."""

import asyncio
import random

from sheepdog.model import errors
from sheepdog.tests.unit.faces import nbd_loopback
from sheepdog.tests.unit import jumping
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as wire
from sheepdog.wire import nbd_options as options


class TestCase(jumping.Case):

    settings = {}

    async def asyncSetUp(self):
        self.place = nbd_loopback.Place(**self.settings)
        await self.place.started()
        self.volume = self.place.volume
        self.counters = self.place.face.counters

    async def asyncTearDown(self):
        await self.place.stop()
        self.assertEqual(self.volume.references, 0)
        self.assertEqual(self.counters.connections_active, 0)

    async def connect(self):
        """A client that has sent its flags."""
        client = self.place.world.connect()
        await client.start()
        return client

    async def refusal(self, option, payload=b''):
        """(reply type, text) of the refusal that an option meets."""
        client = await self.connect()
        (reply_type, text), = await client.option(option, payload)
        self.assertFalse(client.connection.is_closed)
        return reply_type, text


class TestHandshake(TestCase):

    async def test_go(self):
        client = self.place.world.connect()
        size, flags = await client.go('vdi')
        self.assertEqual(size, self.place.SIZE)
        self.assertTrue(flags & nbd.FLAG_SEND_DF)
        self.assertEqual(self.volume.references, 1)

    async def test_old_clients_without_go(self):
        client = self.place.world.connect()
        await client.start(1)
        client.feed(wire.pack_option(options.OPT_EXPORT_NAME, b'vdi'))
        size, flags = options.CHOSEN.unpack(await client.take(10))
        self.assertEqual(size, self.place.SIZE)
        self.assertFalse(flags & nbd.FLAG_SEND_DF)
        self.assertEqual(await client.take(124), bytes(124))
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 9)).data,
                         bytes(9))

    async def test_old_clients_that_name_nothing_known(self):
        client = await self.connect()
        client.feed(wire.pack_option(options.OPT_EXPORT_NAME, b'none'))
        await client.until_closed()
        self.assertEqual(len(client.connection.answers), 0)

    async def test_list(self):
        client = await self.connect()
        replies = await client.option(options.OPT_LIST)
        self.assertEqual([payload[4:] for _type, payload in replies],
                         [b'large', b'vdi', b''])

    async def test_info_opens_nothing(self):
        client = await self.connect()
        replies = await client.option(options.OPT_INFO,
                                      wire.pack_info('vdi'))
        self.assertEqual(wire.unpack_export(replies[0][1])[0],
                         self.place.SIZE)
        self.assertEqual(self.volume.references, 0)
        await client.option(options.OPT_GO, wire.pack_info('vdi'))
        self.assertEqual(self.volume.references, 1)

    async def test_info_works_where_another_sheep_has_the_lock(self):
        self.place.volumes.locked['vdi'] = 1000
        client = await self.connect()
        replies = await client.option(options.OPT_INFO,
                                      wire.pack_info('vdi'))
        self.assertEqual(replies[-1][0], options.REP_ACK)

    async def test_unknown_export(self):
        for option in options.OPT_INFO, options.OPT_GO:
            reply_type, text = await self.refusal(option,
                                                  wire.pack_info('none'))
            self.assertEqual(reply_type, nbd.REP_ERR_UNKNOWN)
            self.assertIn(b'none', text)

    async def test_nothing_named(self):
        reply_type, _text = await self.refusal(options.OPT_GO,
                                               wire.pack_info(''))
        self.assertEqual(reply_type, nbd.REP_ERR_UNKNOWN)

    async def test_locked_elsewhere(self):
        self.place.volumes.locked['vdi'] = 1000
        reply_type, text = await self.refusal(options.OPT_GO,
                                              wire.pack_info('vdi'))
        self.assertEqual(reply_type, nbd.REP_ERR_POLICY)
        self.assertIn(b'locked', text)

    async def test_names_up_to_4096_bytes_and_one_more(self):
        for length, reply in ((4096, nbd.REP_ERR_UNKNOWN),
                              (4097, nbd.REP_ERR_TOO_BIG)):
            reply_type, _text = await self.refusal(
                options.OPT_GO, wire.pack_info('x' * length))
            self.assertEqual(reply_type, reply)

    async def test_starttls_is_unsupported(self):
        reply_type, _text = await self.refusal(options.OPT_STARTTLS)
        self.assertEqual(reply_type, nbd.REP_ERR_UNSUP)

    async def test_unknown_options_are_unsupported(self):
        for option in (options.OPT_EXTENDED_HEADERS, 4, 12345):
            reply_type, _text = await self.refusal(option, b'x' * 100000)
            self.assertEqual(reply_type, nbd.REP_ERR_UNSUP)

    async def test_abort(self):
        client = await self.connect()
        await client.option(options.OPT_ABORT)
        await client.until_closed()

    async def test_another_protocol(self):
        client = self.place.world.connect()
        client.feed(b'GET / HTTP/1.1\r\nHost: here\r\n\r\n')
        await client.until_closed()
        self.assertEqual(self.counters.violations, 1)

    async def test_everything_at_once_and_byte_by_byte(self):
        stream = b''.join((
            wire.pack_client_flags(),
            wire.pack_option(options.OPT_LIST),
            wire.pack_option(options.OPT_STRUCTURED_REPLY),
            wire.pack_option(options.OPT_SET_META_CONTEXT,
                             wire.pack_contexts('vdi')),
            wire.pack_option(options.OPT_GO, wire.pack_info('vdi')),
            wire.pack_request(nbd.CMD_WRITE, 1, 0, 4) + b'data',
            wire.pack_request(nbd.CMD_READ, 2, 0, 8),
            wire.pack_request(nbd.CMD_DISC, 3)))
        outcomes = []
        for cuts in ((), range(len(stream)),
                     random.Random(1).sample(range(len(stream)), 9)):
            client = self.place.world.connect()
            bounds = sorted({0, len(stream), *cuts})
            for start, end in zip(bounds, bounds[1:]):
                client.feed(stream[start:end])
                await asyncio.sleep(0)
            await client.until_closed()
            outcomes.append(bytes(client.connection.answers))
        self.assertTrue(outcomes[0].endswith(b'data\0\0\0\0'))
        self.assertEqual(len(set(outcomes)), 1)

    async def test_a_client_gone_while_its_volume_is_opened(self):
        client = await self.connect()
        client.feed(wire.pack_option(options.OPT_GO, wire.pack_info('vdi')))
        client.connection.lose()
        await asyncio.sleep(0.01)
        self.assertEqual(self.volume.references, 0)
        self.assertEqual(self.counters.connections_active, 0)

    async def test_what_the_catalogue_cannot_tell_now(self):
        async def fail(vdi_id):
            raise errors.NotServing('the lease has lapsed')

        self.place.catalogue.head = fail
        reply_type, text = await self.refusal(options.OPT_INFO,
                                              wire.pack_info('vdi'))
        self.assertEqual((reply_type, text),
                         (nbd.REP_ERR_POLICY, b'the lease has lapsed'))


class TestLog(TestCase):

    async def test_who_comes_again_and_again_does_not_fill_the_log(self):
        with self.assertLogs('sheepdog.faces.nbd', 'INFO') as logs:
            for _count in range(5):
                await self.refusal(options.OPT_GO, wire.pack_info('none'))
                client = self.place.world.connect()
                client.feed(b'GET / HTTP/1.1\r\nHost: here\r\n\r\n')
                await client.until_closed()
        self.assertEqual(2, len(logs.output), logs.output)
        self.assertIn("127.0.0.1: NBD: export 'none' is refused: NoVdi",
                      logs.output[0])
        self.assertIn('127.0.0.1: NBD: not what', logs.output[1])


class TestTime(TestCase):

    settings = {'handshake_timeout_seconds': 0.05, 'lock_wait_seconds': 0.2}

    async def test_a_client_that_says_nothing(self):
        client = self.place.world.connect()
        await client.until_closed()
        self.assertTrue(client.connection.is_aborted)
        self.assertEqual(self.counters.handshakes_timed_out, 1)

    async def test_a_client_that_haggles_for_ever(self):
        client = await self.connect()
        with self.assertRaises(AssertionError):
            while True:
                await client.option(options.OPT_LIST)
                await asyncio.sleep(0.01)
        self.assertEqual(self.counters.handshakes_timed_out, 1)

    async def test_an_export_chosen_may_idle(self):
        client = await self.place.client()
        await asyncio.sleep(0.1)
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 1)).error, 0)

    async def test_what_we_take_is_not_the_clients_time(self):
        self.place.volumes.locked['vdi'] = 2
        client = self.place.world.connect()
        await client.go('vdi')
        self.assertEqual(self.counters.handshakes_timed_out, 0)

    async def test_after_that_its_time_runs_again(self):
        self.place.volumes.locked['vdi'] = 1000
        client = await self.connect()
        replies = await client.option(options.OPT_GO, wire.pack_info('vdi'))
        self.assertEqual(replies[0][0], nbd.REP_ERR_POLICY)
        await client.until_closed()
        self.assertEqual(self.counters.handshakes_timed_out, 1)


class TestReadOnly(TestCase):

    settings = {'read_only': True}

    async def test_writes_are_refused(self):
        client = self.place.world.connect()
        _size, flags = await client.go('vdi')
        self.assertTrue(flags & nbd.FLAG_READ_ONLY)
        chunk = await client.call(nbd.CMD_WRITE, 0, data=b'x')
        self.assertEqual(chunk.error, nbd.EPERM)
        self.assertFalse(self.volume.calls)
