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

"""What users of NBD servers suffer from, each with our answer.

One test for each complaint; the details are tested beside the code, and with
libnbd, QEMU and fio in ``tests/interop``.
"""

import asyncio

from sheepdog.cluster import qos
from sheepdog.faces.nbd import exports
from sheepdog.model import errors
from sheepdog.model import pem
from sheepdog.tests.unit.faces import nbd_loopback
from sheepdog.tests.unit.volume import case
from sheepdog.volume import throttle
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as wire
from sheepdog.wire import nbd_handshake
from sheepdog.wire import nbd_options as options
from sheepdog.wire import nbd_transmission

FUA = nbd.CMD_FLAG_FUA
NO_ZEROES = 2


class TestCase(nbd_loopback.PlaceCase):

    async def connect(self, flags=3):
        client = self.place.world.connect()
        await client.start(flags)
        return client

    async def ask(self, client, option, payload=b''):
        """The type of the only answer to an option."""
        (reply, _text), = await client.option(option, payload)
        return reply


class TestClients(TestCase):
    """I/O smaller than the block, and clients of another time."""

    async def test_io_smaller_than_the_advertised_block_is_served(self):
        client = await self.connect()
        replies = await client.option(
            options.OPT_GO, wire.pack_info('vdi', (options.INFO_BLOCK_SIZE,)))
        sizes = {payload[2:] for _type, payload in replies
                 if payload[:2] == b'\0\3'}
        self.assertEqual(sizes, {b''.join(
            size.to_bytes(4) for size in (1, 4096, 32 << 20))})
        for offset in 0, 4095, 511, self.place.SIZE - 1:
            self.assertEqual((await client.call(
                nbd.CMD_WRITE, offset, data=b'x')).error, 0)
            self.assertEqual(
                (await client.call(nbd.CMD_READ, offset, 1)).data, b'x')

    async def test_old_clients_without_go_get_124_zeroes(self):
        client = await self.connect(1)
        client.feed(wire.pack_option(options.OPT_EXPORT_NAME, b'vdi'))
        self.assertEqual((await client.take(10 + 124))[10:], bytes(124))
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 2)).data,
                         b'\0\0')

    async def test_and_none_with_no_zeroes(self):
        client = await self.connect(1 | NO_ZEROES)
        client.feed(wire.pack_option(options.OPT_EXPORT_NAME, b'vdi') +
                    wire.pack_request(nbd.CMD_FLUSH, 7))
        self.assertEqual(
            (await client.take(10 + 16))[10:],
            nbd_transmission.simple_reply(7))

    async def test_an_unknown_option_is_unsupported_and_its_payload_consumed(
            self):
        client = await self.connect()
        self.assertEqual(await self.ask(client, 77, b'x' * 100000),
                         nbd.REP_ERR_UNSUP)
        self.assertEqual(
            (await client.option(options.OPT_LIST))[-1][0], options.REP_ACK)


class TestFlush(TestCase):

    async def test_multi_conn_is_told_for_a_flush_covers_all_connections(
            self):
        one = self.place.world.connect()
        _size, flags = await one.go('vdi')
        self.assertTrue(flags & nbd.FLAG_CAN_MULTI_CONN)
        other = await self.place.client()
        await one.call(nbd.CMD_WRITE, 0, data=b'x')
        self.assertTrue(self.volume.is_dirty)
        await other.call(nbd.CMD_FLUSH)
        self.assertFalse(self.volume.is_dirty)

    async def test_fua_is_accepted_on_every_command(self):
        client = await self.place.client()
        for command in (nbd.CMD_READ, nbd.CMD_WRITE, nbd.CMD_FLUSH,
                        nbd.CMD_TRIM, nbd.CMD_WRITE_ZEROES,
                        nbd.CMD_BLOCK_STATUS):
            data = b'x' * 512 if command == nbd.CMD_WRITE else b''
            chunk = await client.call(command, 0, 512, FUA, data)
            self.assertEqual(chunk.error, 0, command)


class TestGateways(case.VolumeCase):
    """On several sheep, with all rooms below the face."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vdi')
        self.one, self.other = (
            exports.Exports(sheep.world, sheep.volumes, sheep.catalogue, '',
                            False, 0.0) for sheep in self.sheep[:2])

    async def test_multi_conn_across_gateways(self):
        """Who may write holds the only lock: nowhere else can there be
        writes that its flush does not cover. Readers elsewhere see them."""
        volume, export = await self.one.open('vdi')
        self.assertTrue(export.flags & nbd.FLAG_CAN_MULTI_CONN)
        with self.assertRaises(errors.VdiLocked):
            await self.other.open('vdi')
        await volume.write(0, b'seen')
        await volume.flush()
        reader, export = await self.other.open('vdi', read_only=True)
        self.assertTrue(export.flags & nbd.FLAG_READ_ONLY)
        self.assertEqual(await reader.read(0, 4), b'seen')
        await volume.close()
        volume, _export = await self.other.open('vdi')
        self.assertEqual(await volume.read(0, 4), b'seen')
        await volume.close()
        await reader.close()


class TestScratch(case.VolumeCase):

    count = 1
    copies = 1

    async def test_zero_and_trim_longer_than_a_payload_need_no_such_buffer(
            self):
        await self.create('vdi', 48 * case.OBJECT)
        one = self.sheep[0]
        volume = await one.volumes.open('vdi')
        for offset in (0, 7 * case.OBJECT + 1, 47 * case.OBJECT):
            await volume.write(offset, b'x' * 4096)
        length = 48 * case.OBJECT - 4096
        self.assertGreater(length, nbd.PAYLOAD_MAX_BYTES)
        for job in (volume.discard(0, length), volume.zero(0, length),
                    volume.zero(0, length, may_punch=False)):
            one.recorder.log.clear()
            await job
            self.assertLessEqual(
                max((entry[3] for entry in one.recorder.log), default=0),
                case.OBJECT)
        self.assertEqual(await volume.read(7 * case.OBJECT, 4098),
                         bytes(4098))
        await volume.close()


class TestStructured(TestCase):

    async def test_structured_replies_only_when_negotiated(self):
        for structured in (True, False):
            client = await self.place.client(structured=structured)
            cookie = client.send(nbd.CMD_READ, 0, 512)
            while len(client.connection.answers) < 4:
                await asyncio.sleep(0)
            magic = int.from_bytes(client.connection.answers[:4])
            self.assertEqual(magic, nbd_transmission.CHUNK_MAGIC
                             if structured else nbd_transmission.SIMPLE_MAGIC)
            await client.reply(cookie)

    async def test_block_status_only_when_negotiated(self):
        for how in {'structured': False}, {'contexts': False}:
            client = await self.place.client(**how)
            chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0, 4096)
            self.assertEqual(chunk.error, nbd.EINVAL)
        client = await self.place.client()
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0, 4096)
        self.assertEqual(chunk.extents, ((4096, 3),))

    async def test_req_one_and_df_are_honoured(self):
        client = await self.place.client()
        await self.volume.write(1 << 20, b'x' * 4096)
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0, 8 << 20,
                                  nbd.CMD_FLAG_REQ_ONE)
        self.assertEqual(chunk.extents, ((1 << 20, 3),))
        # ``call`` fails on a reply of several chunks.
        chunk = await client.call(nbd.CMD_READ, 0, 8 << 20, nbd.CMD_FLAG_DF)
        self.assertEqual(len(chunk.data), 8 << 20)

    async def test_extents_are_aligned_and_unaligned_tails_right(self):
        self.volume.grow(self.place.SIZE + 777)
        client = await self.place.client()
        await self.volume.write(5 << 20, b'x')
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0,
                                  self.place.SIZE + 777)
        position = 0
        for length, _state in chunk.extents:
            self.assertEqual(position % 4096, 0)
            position += length
        self.assertEqual(position, self.place.SIZE + 777)
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, self.place.SIZE - 1,
                                  778)
        self.assertEqual(sum(length for length, _state in chunk.extents),
                         778)


class TestTls(TestCase):
    """That a TLS end of file does not spin is a test of the world's."""

    settings = {'tls': nbd_handshake.Tls.OFFERED,
                'tls_files': pem.TlsFiles('cert', 'key')}

    async def test_starttls_resets_every_option(self):
        """CVE-2021-3716."""
        client = await self.connect()
        await self.ask(client, options.OPT_STRUCTURED_REPLY)
        await client.option(options.OPT_SET_META_CONTEXT,
                            wire.pack_contexts('vdi'))
        self.assertEqual(await self.ask(client, options.OPT_STARTTLS),
                         options.REP_ACK)
        replies = await client.option(options.OPT_GO, wire.pack_info('vdi'))
        self.assertFalse(wire.unpack_export(replies[0][1])[1] &
                         nbd.FLAG_SEND_DF)
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0, 4096)
        self.assertEqual((chunk.error, chunk.kind),
                         (nbd.EINVAL, nbd_transmission.CHUNK_NONE))


class TestLimits(TestCase):

    settings = {'handshake_timeout_seconds': 0.1, 'connections_max': 3}

    async def test_names_up_to_4096_bytes_and_one_more(self):
        client = await self.connect()
        for length, refusal in ((4096, nbd.REP_ERR_UNKNOWN),
                                (4097, nbd.REP_ERR_TOO_BIG)):
            self.assertEqual(await self.ask(
                client, options.OPT_GO, wire.pack_info('x' * length)),
                refusal)

    async def test_a_handshake_has_its_time(self):
        client = await self.connect()
        await client.until_closed()
        self.assertEqual(self.counters.handshakes_timed_out, 1)

    async def test_connections_have_a_cap(self):
        clients = [await self.place.client() for _count in range(3)]
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING'):
            self.assertTrue(self.place.world.connect().connection.is_aborted)
        self.assertEqual(
            (await clients[0].call(nbd.CMD_READ, 0, 1)).error, 0)

    async def test_a_client_on_its_socket_cannot_stop_the_shutdown(self):
        """CVE-2024-7409."""
        await self.connect()
        idle = await self.place.client()
        half = await self.place.client()
        half.feed(wire.pack_request(nbd.CMD_WRITE, 1, 0, 4096) + b'half')
        await asyncio.wait_for(self.place.face.stop(10), 5)
        self.assertTrue(idle.connection.is_closed)
        self.assertTrue(half.connection.is_closed)


class TestBound(TestCase):

    settings = {'request_timeout_seconds': 0.2}

    async def test_no_request_is_held_past_a_bound(self):
        for command, data in ((nbd.CMD_READ, b''), (nbd.CMD_WRITE, b'x'),
                              (nbd.CMD_FLUSH, b'')):
            client = await self.place.client()
            self.volume.hold()
            client.send(command, 0, len(data) or 1, data=data)
            with self.assertLogs('sheepdog.faces.nbd', 'WARNING') as logs:
                await client.until_closed()
            self.assertIn('not answered after 0.2 s', logs.output[0])
            # The volume stays open as long as something is under way.
            await asyncio.sleep(0)
            self.assertEqual(self.volume.references, 1)
            self.volume.release()
            while self.volume.references:
                await asyncio.sleep(0.01)

    def limit(self, **rates):
        self.volume.throttle = throttle.Throttle(self.place.world)
        self.volume.throttle.set({
            kind: qos.Rate(*rate) for kind, rate in rates.items()})

    async def test_limits_of_the_vdi_are_no_fault(self):
        """What waits for them counts from when it no longer does."""
        client = await self.place.client()
        self.limit(iops=(1, 1))
        for command, data in ((nbd.CMD_READ, b''), (nbd.CMD_WRITE, b'x'),
                              (nbd.CMD_TRIM, b'')):
            cookies = [client.send(command, 0, len(data) or 1, data=data)
                       for _count in range(2)]
            for cookie in cookies:
                self.assertEqual(0, (await client.reply(cookie)).error)
        self.volume.hold()
        client.send(nbd.CMD_READ, 0, 1)
        await asyncio.sleep(0.9)
        self.assertFalse(client.connection.is_closed)
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING'):
            await client.until_closed()
        self.volume.release()

    async def test_one_that_hangs_while_others_wait_for_limits(self):
        client = await self.place.client()
        self.limit(iops=(1, 1))
        self.volume.hold()
        for _count in range(10):
            client.send(nbd.CMD_READ, 0, 1)
        with self.assertLogs('sheepdog.faces.nbd', 'WARNING') as logs:
            await asyncio.wait_for(client.until_closed(), 0.5)
        self.assertIn(' 1 requests ', logs.output[0])
        self.volume.release()

    async def test_who_goes_is_not_held_back(self):
        """…nor who waits for the volume to be closed; others are."""
        client, other = [await self.place.client() for _count in range(2)]
        self.limit(iops=(1, 1))
        for one in client, other:
            for _count in range(3):
                one.send(nbd.CMD_READ, 0, 1)
        await asyncio.sleep(0.01)
        self.assertEqual(5, self.volume.throttle.waiting)
        client.connection.close()
        await asyncio.sleep(0.01)
        self.assertEqual(3, self.volume.throttle.waiting)

    async def test_a_client_that_is_idle_or_busy_is_not_bothered(self):
        idle = await self.place.client()
        busy = await self.place.client()
        self.volume.completes_later = True
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.7
        while loop.time() < end:
            await asyncio.gather(*(busy.reply(busy.send(nbd.CMD_READ, 0, 1))
                                   for _count in range(8)))
            await asyncio.sleep(0.01)
        for client in busy, idle:
            self.assertEqual((await client.call(nbd.CMD_READ, 0, 1)).error, 0)


class TestRestart(TestCase):

    async def test_drained_on_a_restart_and_the_same_export_after_it(self):
        client = self.place.world.connect()
        before = await client.go('vdi')
        self.volume.hold()
        write = client.send(nbd.CMD_WRITE, 0, data=b'kept')
        stopping = asyncio.ensure_future(self.place.face.stop(5))
        await asyncio.sleep(0.01)
        self.volume.release()
        await stopping
        self.assertEqual((await client.reply(write)).error, 0)
        await self.place.restarted()
        client = self.place.world.connect()
        self.assertEqual(await client.go('vdi'), before)
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 4)).data,
                         b'kept')
        replies = await (await self.connect()).option(
            options.OPT_INFO, wire.pack_info(
                'vdi', (options.INFO_DESCRIPTION,)))
        self.assertIn(b'%06x' % self.volume.vdi_id,
                      b''.join(payload for _type, payload in replies))
