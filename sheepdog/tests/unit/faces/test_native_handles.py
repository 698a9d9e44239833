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

"""Tests of sheepdog.faces.native.handles."""

import asyncio
from unittest import mock

from sheepdog.faces.native import handles
from sheepdog.model import errors
from sheepdog.tests.unit.faces import native_case
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.wire import peer as wire

INVALID = errors.InvalidParameters.result


class HandlesTest(native_case.NativeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.tool = self.connect_tool()

    async def open(self, tool=None, **options):
        result, message = await self.method(
            tool or self.tool, 'volume.open', name='vm', **options)
        self.assertEqual(result, 0, message)
        return message['result']

    async def test_open_says_what_it_is(self):
        opened = await self.open()
        self.assertEqual(opened, {
            'handle': opened['handle'], 'size': 4 * case.OBJECT,
            'vdi_id': self.vdi_id, 'object_bytes': case.OBJECT,
            'read_only': False})

    async def test_alone(self):
        opened = await self.open(alone=True)
        for alone in False, True:
            result, _ = await self.method(self.connect_tool(), 'volume.open',
                                          name='vm', alone=alone)
            self.assertEqual(errors.VdiLocked.result, result)
        await self.method(self.tool, 'volume.close', handle=opened['handle'])
        await self.open()

    async def test_all_that_can_be_asked(self):
        handle = (await self.open())['handle']
        offset = case.OBJECT - 2
        for opcode, payload, fields, answer in (
                (wire.VOLUME_WRITE, b'1234', {}, b''),
                (wire.VOLUME_READ, b'', {'aux': 4}, b'1234'),
                (wire.VOLUME_ZERO, b'', {'aux': 2, 'flags': 2}, b''),
                (wire.VOLUME_FLUSH, b'', {}, b''),
                (wire.VOLUME_READ, b'', {'aux': 4}, b'\0\x0034')):
            self.assertEqual(
                await self.call(self.tool, opcode, payload, oid=handle,
                                token=offset, **fields), (0, answer))
        result, _ = await self.method(self.tool, 'volume.close',
                                      handle=handle)
        self.assertEqual(result, 0)
        self.assertEqual(self.owners(self.vdi_id), [])

    async def test_handles_that_are_not_ours(self):
        handle = (await self.open())['handle']
        other = self.connect_tool()
        for opcode in (wire.VOLUME_READ, wire.VOLUME_WRITE,
                       wire.VOLUME_ZERO, wire.VOLUME_FLUSH):
            for tool, number in ((other, handle), (self.tool, handle + 1)):
                result, _ = await self.call(tool, opcode, oid=number)
                self.assertEqual(result, INVALID)
        result, _ = await self.method(other, 'volume.close', handle=handle)
        self.assertEqual(result, INVALID)

    async def extents(self, tool, handle, offset, length):
        result, message = await self.method(
            tool, 'volume.extents', handle=handle, offset=offset,
            length=length)
        return message['result'] if not result else result

    async def test_where_data_is(self):
        handle = (await self.open())['handle']
        await self.call(self.tool, wire.VOLUME_WRITE, b'x' * 4096,
                        oid=handle, token=case.OBJECT + 4096)
        found = await self.extents(self.tool, handle, 0, 2 * case.OBJECT)
        self.assertEqual(found, [
            [case.OBJECT + 4096, False], [4096, True],
            [case.OBJECT - 8192, False]])
        # Not more at once than is looked through soon.
        self.enterContext(mock.patch.object(
            handles, 'EXTENTS_BYTES_MAX', case.OBJECT))
        self.assertEqual(
            await self.extents(self.tool, handle, 0, 4 * case.OBJECT),
            [[case.OBJECT, False]])
        for tool, number, offset, length in (
                (self.tool, handle, 4 * case.OBJECT, 1),
                (self.tool, handle, -1, 1), (self.tool, handle, 0, -1),
                (self.tool, handle + 1, 0, 1),
                (self.connect_tool(), handle, 0, 1)):
            self.assertEqual(INVALID, await self.extents(
                tool, number, offset, length))

    async def test_errors_are_told(self):
        handle = (await self.open(read_only=True))['handle']
        result, _ = await self.call(self.tool, wire.VOLUME_WRITE, b'x',
                                    oid=handle)
        self.assertEqual(result, errors.ReadOnly.result)
        result, _ = await self.call(self.tool, wire.VOLUME_ZERO, aux=1,
                                    oid=handle)
        self.assertEqual(result, errors.ReadOnly.result)
        for offset, length in ((4 * case.OBJECT, 1),
                               (0, handles.REQUEST_MAX_BYTES + 1)):
            result, _ = await self.call(self.tool, wire.VOLUME_READ,
                                        oid=handle, token=offset, aux=length)
            self.assertEqual(result, INVALID)
        result, _ = await self.method(self.tool, 'volume.open', name='no')
        self.assertEqual(result, errors.NoVdi.result)

    async def test_requests_are_not_longer_than_the_limit(self):
        handle = (await self.open())['handle']
        longest = handles.REQUEST_MAX_BYTES
        for length, wanted in ((longest, 0), (longest + 1, INVALID)):
            for opcode, payload, aux in (
                    (wire.VOLUME_WRITE, bytes(length), 0),
                    (wire.VOLUME_ZERO, b'', length),
                    (wire.VOLUME_READ, b'', length)):
                result, _ = await self.call(self.tool, opcode, payload,
                                            oid=handle, aux=aux)
                self.assertEqual(wanted, result, (opcode, length))

    async def test_they_die_with_their_connection(self):
        other = self.connect_tool()
        await self.open(other)
        mine = (await self.open())['handle']
        await self.open(read_only=True)
        self.tool.session.disconnected(None)
        await flock.turns()
        self.assertEqual(self.owners(self.vdi_id),
                         [self.a.cluster.incarnation])
        other.session.disconnected(None)
        await flock.until(lambda: not self.owners(self.vdi_id))
        self.assertEqual(self.handles._by_session, {})
        self.assertGreater(mine, 0)

    def write(self, tool, handle, payload):
        tool.feed(*wire.pack_request(
            wire.VOLUME_WRITE, 0, 0, 11, oid=handle, payload=payload,
            tag=tool.tag))

    async def read(self, tool, handle, length):
        result, data = await self.call(tool, wire.VOLUME_READ, oid=handle,
                                       aux=length)
        self.assertEqual(result, 0)
        return data

    async def test_what_an_earlier_connection_sent_does_not_come_later(self):
        """Its client has given it up, and sends all again by another."""
        handle = (await self.open(user='u'))['handle']
        self.write(self.tool, handle, b'first')
        await flock.until(lambda: self.tool.sent)
        held = []
        write, self.b.replica.write = self.b.replica.write, (
            lambda *request: held.append(request))
        self.write(self.tool, handle, b'early')
        await flock.until(lambda: held)
        again = self.connect_tool()
        opening = asyncio.ensure_future(self.open(again, user='u'))
        await flock.until(lambda: self.tool.is_closed)
        await flock.turns()
        is_open = opening.done()
        self.b.replica.write = write
        for request in held:
            write(*request)
        self.assertFalse(is_open)
        handle = (await opening)['handle']
        self.write(again, handle, b'later')
        await flock.until(lambda: again.sent)
        again.sent = b''
        self.assertEqual(await self.read(again, handle, 5), b'later')

    async def test_users_are_forgotten(self):
        await self.open(user='u')
        await self.open(user='u')
        self.assertFalse(self.tool.is_closed)
        other = self.connect_tool()
        await self.open(other, user='another')
        self.assertFalse(self.tool.is_closed)
        for tool in self.tool, other:
            tool.session.disconnected(None)
        await flock.until(lambda: not self.owners(self.vdi_id))
        self.assertEqual(self.handles._by_user, {})

    async def test_opened_for_a_connection_that_is_gone(self):
        self.tool.feed(*wire.pack_request(
            wire.ADMIN, 0, 0, 9, tag=self.tool.tag, payload=wire.pack_json(
                {'method': 'volume.open', 'arguments': {'name': 'vm'}})))
        self.tool.session.disconnected(None)
        await flock.until(lambda: self.tool.sent)
        self.assertEqual(self.owners(self.vdi_id), [])
        self.assertEqual(self.handles._by_session, {})

    async def test_unlocked_by_force(self):
        handle = (await self.open())['handle']
        await self.method(self.tool, 'vdi.unlock', name='vm')
        result, _ = await self.call(self.tool, wire.VOLUME_READ, oid=handle,
                                    aux=1)
        self.assertEqual(result, errors.VdiNotLocked.result)
        self.assertFalse(self.tool.is_closed)

    async def test_lost_with_our_identity_ends_the_connection(self):
        handle = (await self.open())['handle']
        self.a.volumes.on_lapse()
        self.tool.feed(*wire.pack_request(
            wire.VOLUME_READ, 0, 0, 9, oid=handle, aux=1,
            tag=self.tool.tag))
        self.assertTrue(self.tool.is_closed)
        self.assertEqual(self.tool.sent, b'')
