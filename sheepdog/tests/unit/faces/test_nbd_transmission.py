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

"""Requests on a chosen export."""

import asyncio
import random

from sheepdog.faces.nbd import commands
from sheepdog.faces.nbd import transmission
from sheepdog.model import errors
from sheepdog.tests.unit.faces import nbd_loopback
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client
from sheepdog.wire import nbd_transmission as wire

FUA = nbd.CMD_FLAG_FUA
COMMANDS = (nbd.CMD_READ, nbd.CMD_WRITE, nbd.CMD_FLUSH, nbd.CMD_TRIM,
            nbd.CMD_WRITE_ZEROES, nbd.CMD_BLOCK_STATUS)


class TestCase(nbd_loopback.PlaceCase):

    def last_call(self):
        return self.volume.calls[-1]


class TestReadAndWrite(TestCase):

    async def test_structured_read(self):
        client = await self.place.client()
        await self.volume.write(4096, b'x' * 4096)
        chunk = await client.call(nbd.CMD_READ, 4096, 4096)
        self.assertEqual(chunk.kind, wire.CHUNK_OFFSET_DATA)
        self.assertEqual(chunk.offset, 4096)
        self.assertEqual(chunk.data, b'x' * 4096)

    async def test_simple_read(self):
        client = await self.place.client(structured=False)
        await self.volume.write(4096, b'x' * 4096)
        self.assertEqual(
            (await client.call(nbd.CMD_READ, 4096, 4096)).data, b'x' * 4096)

    async def test_write_and_read_at_any_alignment(self):
        client = await self.place.client()
        chance = random.Random(1)
        twin = bytearray(self.place.SIZE)
        for _count in range(60):
            offset = chance.randrange(self.place.SIZE - 70000)
            data = chance.randbytes(chance.choice((1, 511, 4096, 69999)))
            self.assertEqual((await client.call(
                nbd.CMD_WRITE, offset, data=data)).error, 0)
            twin[offset:offset + len(data)] = data
        for _count in range(60):
            offset = chance.randrange(self.place.SIZE - 70000)
            length = chance.choice((1, 511, 4096, 69999))
            self.assertEqual(
                (await client.call(nbd.CMD_READ, offset, length)).data,
                bytes(twin[offset:offset + length]))

    async def test_the_longest_request(self):
        client = await self.place.client()
        data = random.Random(2).randbytes(1 << 20) * 32
        self.assertEqual(
            (await client.call(nbd.CMD_WRITE, 5, data=data)).error, 0)
        self.assertEqual(
            (await client.call(nbd.CMD_READ, 5, len(data))).data, data)
        self.assertEqual(self.counters.bytes_read, len(data))
        self.assertEqual(self.counters.bytes_written, len(data))

    async def test_longer_requests_are_refused_and_the_next_one_is_not(self):
        for structured in (True, False):
            client = await self.place.client('large', structured=structured)
            length = nbd.PAYLOAD_MAX_BYTES + 1
            self.assertEqual(
                (await client.call(nbd.CMD_READ, 0, length)).error,
                nbd.EINVAL)
            cookie = client.send(nbd.CMD_WRITE, 0, length)
            for _count in range(32):
                client.feed(bytes(1 << 20))
            client.feed(b'\0')
            self.assertEqual((await client.reply(cookie)).error, nbd.EINVAL)
            self.assertEqual((await client.call(nbd.CMD_FLUSH)).error, 0)

    async def test_a_read_over_many_objects(self):
        client = await self.place.client()
        data = random.Random(3).randbytes(9 << 20)
        await self.volume.write(1 << 20, data)
        chunk = await client.call(nbd.CMD_READ, 1 << 20, len(data),
                                  nbd.CMD_FLAG_DF)
        self.assertEqual(chunk.data, data)

    async def test_df_is_honoured_at_any_length(self):
        client = await self.place.client()
        for length in (1, 65536, 8 << 20):
            # ``call`` fails on a reply of several chunks.
            chunk = await client.call(nbd.CMD_READ, 0, length,
                                      nbd.CMD_FLAG_DF)
            self.assertEqual(len(chunk.data), length)

    async def test_df_needs_structured_replies(self):
        client = await self.place.client(structured=False)
        self.assertEqual((await client.call(
            nbd.CMD_READ, 0, 512, nbd.CMD_FLAG_DF)).error, nbd.EINVAL)

    async def test_requests_for_nothing(self):
        for structured in (True, False):
            client = await self.place.client(structured=structured)
            for command in (nbd.CMD_READ, nbd.CMD_WRITE, nbd.CMD_TRIM,
                            nbd.CMD_WRITE_ZEROES):
                chunk = await client.call(command, 4096, 0)
                self.assertEqual((chunk.error, chunk.kind),
                                 (0, wire.CHUNK_NONE))

    async def test_answers_come_when_they_come(self):
        client = await self.place.client()
        self.volume.hold()
        first = client.send(nbd.CMD_READ, 0, 4096)
        self.volume._held, held = [], self.volume._held
        second = client.send(nbd.CMD_READ, 4096, 4096)
        self.volume.release()
        self.assertEqual((await client.reply(second)).offset, 4096)
        for done, arguments in held:
            done(*arguments)
        self.assertEqual((await client.reply(first)).offset, 0)

    async def test_a_volume_that_answers_later(self):
        self.volume.completes_later = True
        client = await self.place.client()
        cookies = [client.send(nbd.CMD_WRITE, index * 4096,
                               data=b'%04d' % index) for index in range(99)]
        for cookie in cookies:
            self.assertEqual((await client.reply(cookie)).error, 0)
        self.assertEqual(
            (await client.call(nbd.CMD_READ, 98 * 4096, 4)).data, b'0098')


class TestLongWay(TestCase):

    async def test_flush(self):
        client = await self.place.client()
        await client.call(nbd.CMD_WRITE, 0, data=b'x')
        self.assertTrue(self.volume.is_dirty)
        self.assertEqual((await client.call(nbd.CMD_FLUSH)).error, 0)
        self.assertFalse(self.volume.is_dirty)

    async def test_flush_covers_all_connections(self):
        """What CAN_MULTI_CONN promises."""
        one = await self.place.client()
        other = await self.place.client()
        await one.call(nbd.CMD_WRITE, 0, data=b'x')
        self.assertEqual((await other.call(nbd.CMD_READ, 0, 1)).data, b'x')
        await other.call(nbd.CMD_FLUSH)
        self.assertFalse(self.volume.is_dirty)
        self.assertEqual(self.volume.references, 2)

    async def test_fua_is_accepted_on_every_command(self):
        client = await self.place.client()
        for command in COMMANDS:
            data = b'x' * 512 if command == nbd.CMD_WRITE else b''
            chunk = await client.call(command, 0, 512, FUA, data)
            self.assertEqual(chunk.error, 0, command)

    async def test_fua_reaches_the_volume(self):
        client = await self.place.client()
        for flags in (0, FUA):
            for command in (nbd.CMD_WRITE, nbd.CMD_TRIM,
                            nbd.CMD_WRITE_ZEROES):
                data = b'x' * 512 if command == nbd.CMD_WRITE else b''
                await client.call(command, 0, 512, flags, data)
                self.assertEqual(self.last_call().fua, bool(flags))

    async def test_trim(self):
        client = await self.place.client()
        await client.call(nbd.CMD_WRITE, 0, data=b'x' * 8192)
        self.assertEqual(
            (await client.call(nbd.CMD_TRIM, 4096, 4096)).error, 0)
        self.assertEqual(self.last_call()[:3], ('discard', 4096, 4096))

    async def test_write_zeroes(self):
        client = await self.place.client()
        await client.call(nbd.CMD_WRITE, 0, data=b'x' * 8192)
        for flags, verb in ((0, 'zero'), (nbd.CMD_FLAG_NO_HOLE, 'fill'),
                            (nbd.CMD_FLAG_FAST_ZERO, 'zero')):
            self.assertEqual((await client.call(
                nbd.CMD_WRITE_ZEROES, 1, 4097, flags)).error, 0)
            self.assertEqual(self.last_call()[:3], (verb, 1, 4097))
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 4099)).data,
                         b'x' + bytes(4097) + b'x')

    async def test_fast_zeroes_without_holes_are_refused_fast(self):
        client = await self.place.client()
        chunk = await client.call(
            nbd.CMD_WRITE_ZEROES, 0, 4096,
            nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO)
        self.assertEqual(chunk.error, nbd.ENOTSUP)

    async def test_zero_and_trim_longer_than_a_payload_may_be(self):
        client = await self.place.client('large')
        length = (4 << 30) - 4096
        for command in (nbd.CMD_WRITE_ZEROES, nbd.CMD_TRIM):
            self.assertEqual(
                (await client.call(command, 1 << 30, length)).error, 0)
            self.assertEqual(self.place.large.calls[-1].length, length)

    async def test_long_zeroes_count_as_no_bytes_in_flight(self):
        client = await self.place.client('large')
        self.place.large.hold()
        zeroes = client.send(nbd.CMD_WRITE_ZEROES, 0, 2 << 30)
        self.place.large.release()
        read = client.send(nbd.CMD_READ, 0, 512)
        self.assertFalse(client.connection.pauses)
        await client.reply(read)
        await client.reply(zeroes)


class TestBlockStatus(TestCase):

    async def status(self, client, offset, length, flags=0):
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, offset, length,
                                  flags)
        self.assertEqual(chunk.kind, wire.CHUNK_BLOCK_STATUS)
        return list(chunk.extents)

    async def test_data_and_holes(self):
        client = await self.place.client()
        await self.volume.write(5 << 20, b'x' * 8192)
        self.assertEqual(
            await self.status(client, 0, self.place.SIZE),
            [(5 << 20, 3), (8192, 0),
             (self.place.SIZE - (5 << 20) - 8192, 3)])

    async def test_req_one_is_honoured(self):
        client = await self.place.client()
        await self.volume.write(5 << 20, b'x' * 8192)
        self.assertEqual(
            await self.status(client, 4096, self.place.SIZE - 4096,
                              nbd.CMD_FLAG_REQ_ONE),
            [((5 << 20) - 4096, 3)])

    async def test_req_one_looks_no_further_than_it_needs(self):
        client = await self.place.client()
        await self.volume.write(5 << 20, b'x' * 8192)
        self.volume.calls.clear()
        await self.status(client, 5 << 20, 32 << 20, nbd.CMD_FLAG_REQ_ONE)
        self.assertEqual([call[1:3] for call in self.volume.calls],
                         [(5 << 20, 3 << 20)])

    async def test_req_one_of_a_long_run(self):
        client = await self.place.client('large')
        self.assertEqual(
            await self.status(client, 12345, 1 << 31, nbd.CMD_FLAG_REQ_ONE),
            [(commands.STATUS_BYTES_MAX, 3)])
        self.assertLess(len(self.place.large.calls), 10)
        await self.place.large.write(100 << 20, b'x')
        self.assertEqual(
            await self.status(client, 12345, 1 << 31, nbd.CMD_FLAG_REQ_ONE),
            [((100 << 20) - 12345, 3)])

    async def test_unaligned_ranges_and_tails(self):
        self.volume.grow(self.place.SIZE + 777)
        client = await self.place.client()
        await self.volume.write(self.place.SIZE + 776, b'x')
        self.assertEqual(
            await self.status(client, self.place.SIZE - 1, 778),
            [(1, 3), (777, 0)])
        self.assertEqual(
            await self.status(client, self.place.SIZE + 700, 77),
            [(77, 0)])

    async def test_extents_stay_within_the_request(self):
        client = await self.place.client()
        await self.volume.write(0, b'x' * (1 << 20))
        self.assertEqual(await self.status(client, 512, 1024), [(1024, 0)])

    async def test_a_long_range_is_answered_in_part(self):
        client = await self.place.client('large')
        (length, state), = await self.status(client, 0, 1 << 31)
        self.assertEqual((length, state), (commands.STATUS_BYTES_MAX, 3))

    async def test_without_the_context(self):
        client = await self.place.client(contexts=False)
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0, 4096)
        self.assertEqual(chunk.error, nbd.EINVAL)

    async def test_without_structured_replies(self):
        client = await self.place.client(structured=False)
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0, 4096)
        self.assertEqual((chunk.error, chunk.kind),
                         (nbd.EINVAL, wire.CHUNK_NONE))

    async def test_of_nothing(self):
        client = await self.place.client()
        chunk = await client.call(nbd.CMD_BLOCK_STATUS, 0, 0)
        self.assertEqual(chunk.error, nbd.EINVAL)


class TestRefusals(TestCase):

    async def error(self, client, *request, **rest):
        chunk = await client.call(*request, **rest)
        self.assertTrue(chunk.data)
        return chunk.error

    async def test_beyond_the_end(self):
        client = await self.place.client()
        end = self.place.SIZE - 1
        for command, number in ((nbd.CMD_READ, nbd.EINVAL),
                                (nbd.CMD_TRIM, nbd.EINVAL),
                                (nbd.CMD_BLOCK_STATUS, nbd.EINVAL),
                                (nbd.CMD_WRITE_ZEROES, nbd.ENOSPC)):
            for offset in (end, 1 << 50, 2**64 - 1):
                self.assertEqual(
                    await self.error(client, command, offset, 2), number)
        self.assertEqual(
            await self.error(client, nbd.CMD_WRITE, end, data=b'xx'),
            nbd.ENOSPC)
        self.assertEqual(
            await self.error(client, nbd.CMD_READ, 2**64 - 1, 0),
            nbd.EINVAL)
        self.assertFalse(self.volume.calls)

    async def test_unknown_commands(self):
        client = await self.place.client()
        for command in (nbd.CMD_CACHE, 8, 9, 0xFFFF):
            self.assertEqual(await self.error(client, command), nbd.EINVAL)

    async def test_flags_that_do_not_fit(self):
        client = await self.place.client()
        for command in COMMANDS:
            for flag in (1 << bit for bit in range(1, 16)):
                if flag & wire.FLAGS_ALLOWED[command]:
                    continue
                data = b'x' if command == nbd.CMD_WRITE else b''
                self.assertEqual(
                    await self.error(client, command, 0, 1, flag, data),
                    nbd.EINVAL, (command, flag))

    async def test_read_only(self):
        self.place.volumes.snapshot('vdi', 'tag')
        client = await self.place.client('vdi@tag')
        for command in (nbd.CMD_WRITE, nbd.CMD_TRIM, nbd.CMD_WRITE_ZEROES):
            data = b'x' if command == nbd.CMD_WRITE else b''
            self.assertEqual(
                await self.error(client, command, 0, 1, 0, data), nbd.EPERM)
        self.assertEqual((await client.call(nbd.CMD_READ, 0, 1)).error, 0)
        self.assertEqual((await client.call(nbd.CMD_FLUSH)).error, 0)

    async def test_what_is_no_request_closes(self):
        client = await self.place.client()
        client.feed(b'\0' * 28)
        await client.until_closed()
        self.assertEqual(self.counters.violations, 1)


class TestErrors(TestCase):

    async def test_errors_of_the_volume(self):
        client = await self.place.client()
        simple = await self.place.client(structured=False)
        for verb, command in (('read', nbd.CMD_READ),
                              ('write', nbd.CMD_WRITE),
                              ('flush', nbd.CMD_FLUSH),
                              ('discard', nbd.CMD_TRIM),
                              ('zero', nbd.CMD_WRITE_ZEROES),
                              ('extents', nbd.CMD_BLOCK_STATUS)):
            for error, number in ((errors.NoSpace('full'), nbd.ENOSPC),
                                  (errors.StorageError('bad'), nbd.EIO),
                                  (errors.NotServing('wait'), nbd.EIO),
                                  (errors.ShuttingDown('bye'),
                                   nbd.ESHUTDOWN)):
                data = b'x' if command == nbd.CMD_WRITE else b''
                self.volume.fail(verb, error)
                chunk = await client.call(command, 0, 1, 0, data)
                self.assertEqual((chunk.error, chunk.data),
                                 (number, str(error).encode()), verb)
                if verb == 'extents':
                    continue
                self.volume.fail(verb, error)
                chunk = await simple.call(command, 0, 1, 0, data)
                self.assertEqual((chunk.error, chunk.data), (number, b''))

    async def test_the_cause_is_logged_but_not_each_time(self):
        client = await self.place.client()
        self.volume.fail('read', errors.ChecksumError('block 5'), 100)
        with self.assertLogs(transmission.LOG, 'WARNING') as logs:
            for _count in range(100):
                await client.call(nbd.CMD_READ, 0, 1)
        self.assertEqual(len(logs.output), 1)
        self.assertIn('ChecksumError: block 5', logs.output[0])
        self.assertEqual(self.counters.requests_failed, 100)

    async def test_a_lost_lock_ends_it(self):
        client = await self.place.client()
        await client.call(nbd.CMD_WRITE, 0, data=b'x')
        self.volume.lose_lock()
        chunk = await client.call(nbd.CMD_READ, 0, 1)
        self.assertEqual(chunk.error, nbd.ESHUTDOWN)
        await client.until_closed()

    async def test_a_lost_lock_lets_others_be_answered_first(self):
        client = await self.place.client()
        self.volume.hold()
        held = client.send(nbd.CMD_READ, 0, 1)
        self.volume.lose_lock()
        late = client.send(nbd.CMD_WRITE, 0, data=b'x')
        later = client.send(nbd.CMD_FLUSH)
        for cookie in (late, later):
            self.assertEqual((await client.reply(cookie)).error,
                             nbd.ESHUTDOWN)
        self.assertFalse(client.connection.is_closed)
        self.volume.release()
        self.assertEqual((await client.reply(held)).error, 0)
        await client.until_closed()


class TestEnd(TestCase):

    async def test_disc(self):
        client = await self.place.client()
        client.send(nbd.CMD_DISC)
        await client.until_closed()
        self.assertFalse(client.connection.is_aborted)

    async def test_disc_waits_for_what_is_under_way(self):
        client = await self.place.client()
        self.volume.hold()
        write = client.send(nbd.CMD_WRITE, 0, data=b'x')
        flush = client.send(nbd.CMD_FLUSH)
        client.send(nbd.CMD_DISC)
        client.feed(b'whatever comes behind')
        await asyncio.sleep(0.01)
        self.assertFalse(client.connection.is_closed)
        self.volume.release()
        await client.until_closed()
        client.read_replies()
        self.assertEqual([chunk.cookie for chunk in client.chunks],
                         [write, flush])

    async def test_a_volume_is_closed_when_it_has_answered_everything(self):
        client = await self.place.client()
        self.volume.hold()
        client.send(nbd.CMD_READ, 0, 1)
        client.send(nbd.CMD_FLUSH)
        client.connection.lose()
        await asyncio.sleep(0.01)
        self.assertEqual(self.volume.references, 1)
        self.assertEqual(self.counters.connections_active, 1)
        self.volume.release()
        await asyncio.sleep(0.01)
        self.assertEqual(self.volume.references, 0)
        self.assertEqual(self.counters.connections_active, 0)


class TestBounds(TestCase):
    """A client hurts only itself."""

    settings = {'inflight_max': 8, 'inflight_bytes_max': 1 << 20}

    async def test_requests_in_flight(self):
        client = await self.place.client()
        self.volume.hold()
        cookies = [client.send(nbd.CMD_READ, index, 1)
                   for index in range(100)]
        self.assertEqual(self.volume.held_count, 8)
        self.assertEqual(client.connection.pauses, 1)
        while self.volume.held_count:
            self.volume.release()
            self.volume.hold()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.assertLessEqual(self.volume.held_count, 8)
        for index, cookie in enumerate(cookies):
            self.assertEqual((await client.reply(cookie)).offset, index)
        self.assertEqual(client.connection.pauses, 0)

    async def test_bytes_in_flight(self):
        client = await self.place.client()
        self.volume.hold()
        for index in range(3):
            client.send(nbd.CMD_WRITE, 0, data=bytes(600 << 10))
        self.assertEqual(self.volume.held_count, 2)
        self.assertTrue(client.connection.pauses)

    async def test_one_long_request_is_over_the_bound_and_served(self):
        client = await self.place.client()
        chunk = await client.call(nbd.CMD_READ, 0, 8 << 20)
        self.assertEqual(len(chunk.data), 8 << 20)

    async def test_tasks_in_flight(self):
        client = await self.place.client()
        self.volume.hold()
        for _index in range(50):
            client.send(nbd.CMD_FLUSH)
        await asyncio.sleep(0.01)
        self.assertEqual(
            [call.verb for call in self.volume.calls], ['flush'] * 8)

    async def test_a_crowd_of_requests_lets_others_have_their_turn(self):
        client = await self.place.client()
        crowd = b''.join(nbd_client.pack_request(nbd.CMD_READ, cookie, 0, 1)
                         for cookie in range(2000))
        for cookie in range(2000):
            client.replies.expect(cookie, 1)
        client.feed(crowd)
        self.assertEqual(self.counters.reads, 256)
        self.assertTrue(client.connection.pauses)
        for cookie in range(2000):
            await client.reply(cookie)
        self.assertEqual(client.connection.pauses_max, 1)

    async def test_warm_reads_of_a_crowd_are_bounded_in_bytes(self):
        client = await self.place.client('large')
        client.connection.is_stuck = True
        request = nbd_client.pack_request(nbd.CMD_READ, 1, 0, 1 << 20)
        client.feed(request * 1000)
        self.assertLessEqual(client.connection.queued_bytes, 17 << 20)
        client.connection.lose()
