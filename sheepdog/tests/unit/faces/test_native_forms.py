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

"""Tests of sheepdog.faces.native.forms: what native clients see of VDIs that
were turned."""

import dataclasses
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.cluster import entries
from sheepdog.faces.native import forms
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.tests.unit.faces import native_case
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case
from sheepdog.wire import native
from sheepdog.wire import native_client as client

VDI = 0x123456
OWNER = ids.owner_of(VDI, 3)
OTHER = 0x654321
OBJECT = case.OBJECT
MAP = inode.MAP_OFFSET


def packed(owners):
    return b''.join(owner.to_bytes(4, 'little') for owner in owners)


class MapTest(unittest.TestCase):

    @hypothesis.given(
        strategies.lists(strategies.sampled_from((0, VDI, OTHER)),
                         max_size=6),
        strategies.integers(0, 20), strategies.integers(0, 40))
    def test_against_the_twin(self, shown, begin, size):
        """Of an inode whose head ends 8 bytes behind our first byte."""
        head = bytes(range(240, 248))
        kept = packed(OWNER if one == VDI else one for one in shown)
        start = MAP - len(head) + begin
        end = begin + size
        self.assertEqual(
            (head + packed(shown))[begin:end],
            forms.without_forms((head + kept)[begin:end], start))
        data = (head + packed(shown))[begin:end]
        try:
            found = forms.with_forms(data, start, {VDI: OWNER})
        except errors.InvalidParameters:
            # Entries are written as a whole.
            self.assertGreater(begin + len(data), len(head))
            self.assertTrue((begin > len(head) and begin % 4)
                            or (begin + len(data)) % 4)
        else:
            self.assertEqual((head + kept)[begin:end], found)


class FormsTest(native_case.NativeCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm')
        self.oid = ids.data_oid(self.vdi_id, 0)
        self.new = ids.data_oid(ids.owner_of(self.vdi_id, 1), 0)
        self.inode = ids.vdi_oid(self.vdi_id)
        self.qemu = self.connect()
        self.volume = await self.sheep[0].volumes.open('vm')
        await self.volume.write(0, b'old', fua=True)

    def alter(self, *former):
        for one in self.sheep:
            vdis = one.cluster.state.vdis
            vdis[self.vdi_id] = dataclasses.replace(
                vdis[self.vdi_id], form=1, former=former)
            one.volumes.take_forms()

    async def result(self, buffers):
        return (await self.ask(self.qemu, buffers))[0]

    async def read(self, oid, offset, size):
        result, _, payload = await self.ask(
            self.qemu, client.pack_read(1, oid, offset, size))
        self.assertEqual(0, result)
        return payload

    async def check_map(self, *shown):
        self.assertEqual(packed(shown), await self.read(
            self.inode, MAP, 4 * len(shown)))

    async def test_turned(self):
        self.alter(entries.Former(0, 3, 0))
        await self.volume.turning.turn(0)
        await self.volume.close()
        self.alter()
        await self.check_map(self.vdi_id, 0)
        self.assertEqual(b'old', await self.read(self.oid, 0, 3))
        self.assertEqual(0, await self.result(client.pack_write(
            1, self.oid, 1, b'new')))
        self.assertEqual(b'onew', await self.read(self.oid, 0, 4))
        # A new one, as QEMU makes it.
        second = ids.data_oid(self.vdi_id, 1)
        self.assertEqual(0, await self.result(client.pack_create(
            1, second, 0, b'made')))
        self.assertEqual(0, await self.result(client.pack_write(
            1, self.inode, MAP + 4, packed([self.vdi_id]))))
        await self.check_map(self.vdi_id, self.vdi_id)
        self.assertEqual(ids.owner_of(self.vdi_id, 1),
                         await self.entry_on_disk(self.vdi_id, 1))
        self.assertEqual(
            errors.InvalidParameters.result, await self.result(
                client.pack_write(1, self.inode, MAP + 5, b'x')))
        # All other fields are as they were.
        head = inode.InodeHead.unpack(await self.read(
            self.inode, 0, inode.HEAD_BYTES))
        self.assertEqual('vm', head.name)
        volume = await self.sheep[0].volumes.open('vm', read_only=True)
        self.assertEqual(b'made', await volume.read(OBJECT, 4))

    async def test_other_names_are_unknown(self):
        await self.volume.close()
        self.assertEqual(
            errors.InvalidParameters.result, await self.result(
                client.pack_create(1, self.new, 0, b'x')))
        self.alter()
        self.assertEqual(
            errors.InvalidParameters.result, await self.result(
                client.pack_read(1, self.new, 0, 1)))

    async def test_while_it_is_turned(self):
        """Who has not locked it may read."""
        self.alter(entries.Former(0, 3, 0))
        self.assertEqual(b'old', await self.read(self.oid, 0, 3))
        await self.volume.turning.turn(0)
        await self.volume.write(0, b'new')
        self.assertEqual(b'new', await self.read(self.oid, 0, 3))
        self.assertEqual(errors.NoObject.result, await self.result(
            client.pack_read(1, ids.data_oid(self.vdi_id, 1), 0, 1)))
        await self.volume.close()
        self.assertEqual(errors.VdiLocked.result, await self.result(
            client.pack_write(1, self.oid, 0, b'x')))

    async def test_a_read_that_was_under_way(self):
        """…to an object that is gone, or emptied, when the answer comes."""
        read, answers = self.sheep[0].gateway.read, []
        self.sheep[0].gateway.read = lambda *request: answers.append(request)
        self.qemu.feed(*client.pack_read(1, self.oid, 0, 3))
        await flock.until(lambda: answers)
        self.sheep[0].gateway.read = read
        self.alter(entries.Former(0, 3, 0))
        await self.volume.turning.turn(0)
        await self.volume.write(0, b'new')
        answers[0][-1](errors.NoObject('it is gone'), b'')
        await flock.until(lambda: len(self.qemu.sent) >= 48)
        (fields, payload), = self.qemu.public()
        self.assertEqual((0, b'new'), (fields[native.RESULT], payload))

    async def test_a_write_without_a_lock_that_was_under_way(self):
        """It must not come behind the copy."""
        await self.volume.close()
        changes = self.sheep[0].gateway.changes
        late, submit, changes.submit = [], changes.submit, lambda change: (
            late.append(change))
        for offset, oid in ((0, self.oid), (MAP, self.inode),
                            (inode.COPIES_OFFSET, self.inode)):
            self.qemu.feed(*client.pack_write(1, oid, offset, packed([1])))
        await flock.until(lambda: len(late) == 3)
        changes.submit = submit
        self.alter(entries.Former(0, 3, 0))
        self.sheep[0].volumes.take_forms([self.vdi_id])
        for change in late:
            submit(change)
        await flock.until(lambda: len(self.qemu.sent) >= 3 * 48)
        self.assertEqual(
            [errors.VdiLocked.result] * 2 + [0],
            [fields[native.RESULT] for fields, _ in self.qemu.public()])

    async def test_who_had_it_before(self):
        """…goes on with the objects that it knows."""
        await self.volume.close()
        await self.sheep[0].volumes.claim(self.vdi_id, False)
        self.alter(entries.Former(0, 3, 0))
        self.assertEqual(0, await self.result(client.pack_write(
            1, self.oid, 0, b'new')))
        second = ids.data_oid(self.vdi_id, 1)
        self.assertEqual(0, await self.result(client.pack_create(
            1, second, 0, b'made')))
        self.assertEqual(0, await self.result(client.pack_write(
            1, self.inode, MAP + 4, packed([self.vdi_id]))))
        self.assertEqual(self.vdi_id,
                         await self.entry_on_disk(self.vdi_id, 1))
        self.assertEqual(b'new', await self.sheep[0].gateway.read_wait(
            self.oid, 0, 3))
        await self.check_map(self.vdi_id, self.vdi_id)
