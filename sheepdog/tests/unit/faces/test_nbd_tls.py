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

"""STARTTLS, and who is let in."""

import asyncio
import unittest

from sheepdog.faces import nbd as face_module
from sheepdog.faces.nbd import rules
from sheepdog.model import networks
from sheepdog.model import pem
from sheepdog.tests.unit.faces import nbd_loopback
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as wire
from sheepdog.wire import nbd_handshake
from sheepdog.wire import nbd_options as options
from sheepdog.world import api

FILES = pem.TlsFiles('cert', 'key')


class TestCase(unittest.IsolatedAsyncioTestCase):

    settings = {}

    async def asyncSetUp(self):
        self.place = nbd_loopback.Place(**self.settings)
        await self.place.started()
        self.counters = self.place.face.counters

    async def asyncTearDown(self):
        await self.place.stop()
        self.assertEqual(self.counters.connections_active, 0)

    async def connect(self, **where):
        client = self.place.world.connect(**where)
        await client.start()
        return client

    async def starttls(self, client):
        self.assertEqual(await client.option(options.OPT_STARTTLS),
                         [(options.REP_ACK, b'')])
        # It must be in clear, and nothing behind it.
        self.assertIsNotNone(client.connection.tls)


class TestOffered(TestCase):

    settings = {'tls': nbd_handshake.Tls.OFFERED, 'tls_files': FILES}

    async def test_who_does_not_ask_stays_in_clear(self):
        client = self.place.world.connect()
        await client.go('vdi')
        self.assertIsNone(client.connection.tls)

    async def test_who_asks_gets_the_certificate(self):
        client = await self.connect()
        await self.starttls(client)
        self.assertEqual(client.connection.tls, 'certificates of cert')
        replies = await client.option(options.OPT_GO, wire.pack_info('vdi'))
        self.assertEqual(replies[-1][0], options.REP_ACK)
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 9)).error, 0)

    async def test_what_was_agreed_in_clear_is_forgotten(self):
        """CVE-2021-3716: structured replies, contexts."""
        client = await self.connect()
        await client.option(options.OPT_STRUCTURED_REPLY)
        await client.option(options.OPT_SET_META_CONTEXT,
                            wire.pack_contexts('vdi'))
        await self.starttls(client)
        (reply, _text), = await client.option(
            options.OPT_SET_META_CONTEXT, wire.pack_contexts('vdi'))
        self.assertEqual(reply, nbd.REP_ERR_INVALID)
        replies = await client.option(options.OPT_GO, wire.pack_info('vdi'))
        _size, flags = wire.unpack_export(replies[0][1])
        self.assertFalse(flags & nbd.FLAG_SEND_DF)
        status = await client.call(nbd.CMD_BLOCK_STATUS, 0, 4096)
        self.assertEqual(status.error, nbd.EINVAL)

    async def test_options_behind_starttls_end_the_connection(self):
        client = await self.connect()
        client.feed(wire.pack_option(options.OPT_STARTTLS) +
                    wire.pack_option(options.OPT_LIST))
        await client.until_closed()
        self.assertEqual(len(client.connection.answers), 0)
        self.assertIsNone(client.connection.tls)
        self.assertEqual(self.counters.violations, 1)

    async def test_twice(self):
        client = await self.connect()
        await self.starttls(client)
        (reply, _text), = await client.option(options.OPT_STARTTLS)
        self.assertEqual(reply, nbd.REP_ERR_INVALID)

    async def test_a_handshake_that_fails_is_counted_and_told(self):
        client = await self.connect()
        await self.starttls(client)
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING') as logs:
            client.connection._end(api.TlsFailed('no TLS handshake: why'))
            await asyncio.sleep(0.01)
        self.assertIn('127.0.0.1: NBD: no TLS handshake: why',
                      logs.output[0])
        self.assertEqual(self.counters.tls_failed, 1)


class TestRequired(TestCase):

    settings = {'tls': nbd_handshake.Tls.REQUIRED, 'tls_files': FILES,
                'unix_path': '/run/nbd'}

    async def test_nothing_without(self):
        client = await self.connect()
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING') as logs:
            for option, payload in (
                    (options.OPT_LIST, b''), (options.OPT_GO, b'x'),
                    (options.OPT_INFO, wire.pack_info('vdi')),
                    (options.OPT_STRUCTURED_REPLY, b''),
                    (options.OPT_SET_META_CONTEXT, b''), (12345, b'xyz')):
                (reply, _text), = await client.option(option, payload)
                self.assertEqual(reply, nbd.REP_ERR_TLS_REQD)
        self.assertEqual(len(logs.output), 1)
        self.assertIn('127.0.0.1: NBD: refused, TLS is required',
                      logs.output[0])
        await self.starttls(client)
        replies = await client.option(options.OPT_LIST)
        self.assertEqual(len(replies), 3)

    async def test_export_name_is_refused(self):
        client = await self.connect()
        client.feed(wire.pack_option(options.OPT_EXPORT_NAME, b'vdi'))
        await client.until_closed()
        self.assertEqual(len(client.connection.answers), 0)

    async def test_abort_is_not(self):
        client = await self.connect()
        self.assertEqual(await client.option(options.OPT_ABORT),
                         [(options.REP_ACK, b'')])

    async def test_over_the_unix_socket_it_is_offered(self):
        client = self.place.world.connect('/run/nbd')
        await client.go('vdi')
        client = await self.connect(address='/run/nbd')
        await self.starttls(client)


class TestFiles(unittest.IsolatedAsyncioTestCase):

    def test_tls_without_a_certificate(self):
        with self.assertRaisesRegex(ValueError, 'certificate'):
            face_module.NbdSettings(tls=nbd_handshake.Tls.OFFERED)

    async def test_none_is_asked_for_where_there_is_no_tls(self):
        place = await nbd_loopback.Place().started()
        self.assertIsNone(place.face.tls)
        await place.stop()


class TestNetworks(TestCase):

    settings = {'networks': networks.parse(['10.1.0.0/16', '2001:db8::7']),
                'read_only_networks': networks.parse(['10.2.0.0/16',
                                                      '10.1.9.0/24']),
                'unix_path': '/run/nbd'}

    async def flags(self, host):
        _size, flags = await self.place.world.connect(
            peer_host=host).go('vdi')
        return flags

    async def test_who_is_let_in(self):
        for host in ('10.1.2.3', '2001:db8::7', '127.0.0.1', '::1',
                     '::ffff:10.1.2.3'):
            self.assertFalse(await self.flags(host) & nbd.FLAG_READ_ONLY)

    async def test_who_may_only_read(self):
        for host in '10.2.0.1', '10.1.9.9':
            client = self.place.world.connect(peer_host=host)
            _size, flags = await client.go('vdi')
            self.assertTrue(flags & nbd.FLAG_READ_ONLY)
            chunk = await client.call(nbd.CMD_WRITE, 0, data=b'x')
            self.assertEqual(chunk.error, nbd.EPERM)
            self.assertEqual(
                (await client.call(nbd.CMD_READ, 0, 1)).error, 0)
            client = await self.connect(peer_host=host)
            replies = await client.option(options.OPT_INFO,
                                          wire.pack_info('vdi'))
            self.assertTrue(wire.unpack_export(replies[0][1])[1] &
                            nbd.FLAG_READ_ONLY)
        self.assertEqual(await self.place.volume.read(0, 1), b'\0')

    async def test_a_unix_socket_is_in_no_network(self):
        await self.place.world.connect('/run/nbd').go('vdi')

    async def test_who_is_not_let_in_is_told_nothing_and_logged_once(self):
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING') as logs:
            for host in ('10.3.0.1', '10.3.0.1', '2001:db8::8', '10.3.0.1'):
                client = self.place.world.connect(peer_host=host)
                self.assertTrue(client.connection.is_aborted)
                self.assertEqual(len(client.connection.answers), 0)
        self.assertEqual([line.split(':', 2)[2].partition(': ')[0]
                          for line in logs.output],
                         ['10.3.0.1', '2001:db8::8'])
        self.assertEqual(self.counters.connections_refused, 4)
        self.assertEqual(self.counters.connections, 0)


class TestReload(TestCase):
    """Networks that change while clients are connected."""

    settings = {'networks': networks.parse(['10.0.0.0/8'])}

    async def test_who_may_no_more_is_cut_off(self):
        world = self.place.world
        gone, writer, reader, stays = (
            world.connect(peer_host=host) for host in
            ('10.1.0.1', '10.2.0.1', '10.2.0.2', '10.3.0.1'))
        for client in gone, writer, stays:
            await client.go('vdi')
        await reader.start()
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING') as logs:
            self.place.face.reload(face_module.NbdSettings(
                networks=networks.parse(['10.3.0.0/16']),
                read_only_networks=networks.parse(['10.2.0.0/16'])))
        self.assertEqual(2, len(logs.output))
        self.assertEqual(
            [True, True, False, False],
            [client.connection.is_aborted
             for client in (gone, writer, reader, stays)])
        self.assertEqual((await stays.call(nbd.CMD_READ, 0, 1)).error, 0)
        replies = await reader.option(options.OPT_GO, wire.pack_info('vdi'))
        self.assertTrue(wire.unpack_export(replies[0][1])[1] &
                        nbd.FLAG_READ_ONLY)
        self.place.face.reload(face_module.NbdSettings())
        self.assertFalse(reader.connection.is_aborted)


class TestCertificates(TestCase):
    """Which exports, by the names in a client's certificate."""

    settings = {'certificate_exports': rules.parse(
        ['one=v*', 'two=other', '*=public-*'])}

    def connect_as(self, *names, **where):
        client = self.place.world.connect(**where)
        client.connection.peer_names = names
        return client

    async def refusal(self, client, name):
        (reply, text), = await client.option(options.OPT_GO,
                                             wire.pack_info(name))
        self.assertEqual(nbd.REP_ERR_POLICY, reply)
        return text.decode()

    async def test_its_own_only(self):
        client = self.connect_as('one', 'also.example')
        await client.go('vdi')
        for names in ('two',), (), ('ONE',), ('v*',):
            client = self.connect_as(*names)
            await client.start()
            with self.subTest(names):
                told = await self.refusal(client, 'vdi')
                self.assertIn('certificate', told)
                # Nobody learns what there is.
                self.assertEqual(told, await self.refusal(client, 'vnone'))
                self.assertEqual(
                    [(options.REP_ACK, b'')],
                    await client.option(options.OPT_LIST))
        client = self.connect_as('one')
        await client.start()
        self.assertEqual(2, len(await client.option(options.OPT_LIST)))

    async def test_every_way_to_ask(self):
        for option in (options.OPT_INFO, options.OPT_GO):
            client = self.connect_as('two')
            await client.start()
            (reply, _), = await client.option(option, wire.pack_info('vdi'))
            self.assertTrue(reply >> 31)
        (reply, _), = await client.option(
            options.OPT_LIST_META_CONTEXT, wire.pack_contexts('vdi'))
        self.assertTrue(reply >> 31)

    async def test_who_may_no_more_is_cut_off(self):
        one, two = self.connect_as('one'), self.connect_as('one', 'host')
        for client in one, two:
            await client.go('vdi')
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING'):
            self.place.face.reload(face_module.NbdSettings(
                certificate_exports=rules.parse(['host=vdi'])))
        self.assertEqual([True, False], [
            client.connection.is_aborted for client in (one, two)])

    def test_rules(self):
        found = rules.parse(['a=b', ' CN with = sign = x-* '])
        self.assertEqual((('a', 'b'), ('CN with = sign', 'x-*')), found)
        for wrong in ('a', '=b', 'a=', '', '='):
            with self.subTest(wrong):
                with self.assertRaisesRegex(ValueError, 'NAME=PATTERN'):
                    rules.parse([wrong])
        self.assertTrue(rules.allow((), (), 'anything'))
        self.assertFalse(rules.allow(found, (), 'b'))
        self.assertTrue(rules.allow(found, ('a',), 'b'))
        self.assertFalse(rules.allow(found, ('a',), 'B'))


class TestEverywhere(TestCase):
    """No networks named: whoever reaches the address."""

    settings = {'read_only_networks': networks.parse(['10.2.0.0/16'])}

    async def test_let_in(self):
        for host, is_read_only in (('10.1.2.3', False), ('10.2.2.3', True)):
            _size, flags = await self.place.world.connect(
                peer_host=host).go('vdi')
            self.assertIs(bool(flags & nbd.FLAG_READ_ONLY), is_read_only)


class TestNames(TestCase):

    async def test_control_characters_are_not_looked_up(self):
        for name in 'vdi\0', 'a\nb', '\x1b[2J', 'x\x7f':
            for option in options.OPT_GO, options.OPT_INFO:
                client = await self.connect()
                (reply, _text), = await client.option(option,
                                                      wire.pack_info(name))
                self.assertEqual(reply, nbd.REP_ERR_INVALID)

    async def test_letters_of_all_kinds_are(self):
        self.place.volumes.create('Schäfchen 羊', 1 << 20)
        await self.place.client('Schäfchen 羊')
