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

"""Names of exports, and how a volume is opened for them."""


from sheepdog.faces.nbd import exports as exports_module
from sheepdog.model import errors
from sheepdog.tests.unit.faces import nbd_loopback
from sheepdog.tests.unit import jumping
from sheepdog.wire import nbd


class TestExports(jumping.Case):

    def setUp(self):
        self.place = nbd_loopback.Place()
        self.volumes = self.place.volumes
        self.exports = self.make()

    def make(self, default='', read_only=False, wait=0.3):
        return exports_module.Exports(
            self.place.world, self.volumes, self.place.catalogue, default,
            read_only, wait)

    async def test_names(self):
        self.volumes.snapshot('vdi', 'tag')
        self.assertEqual(self.exports.names(), ['large', 'vdi'])

    async def test_open(self):
        volume, export = await self.exports.open('vdi')
        self.assertIs(volume, self.place.volume)
        self.assertEqual((export.name, export.size),
                         ('vdi', self.place.SIZE))
        self.assertFalse(export.flags & nbd.FLAG_READ_ONLY)
        self.assertTrue(export.flags & nbd.FLAG_CAN_MULTI_CONN)
        self.assertTrue(export.description)
        self.assertEqual(volume.references, 1)

    async def test_describe_is_what_open_would_give_without_a_lock(self):
        self.volumes.snapshot('vdi', 'tag')
        self.volumes.locked['vdi'] = 1
        described = [await self.exports.describe(name)
                     for name in ('vdi', 'vdi@tag')]
        self.volumes.locked.clear()
        self.assertEqual(described, [(await self.exports.open(name))[1]
                                     for name in ('vdi', 'vdi@tag')])
        self.assertEqual([export._replace(size=0) for export in described],
                         [self.exports.check(name)
                          for name in ('vdi', 'vdi@tag')])

    async def test_snapshot(self):
        snapshot = self.volumes.snapshot('vdi', 'tag')
        volume, export = await self.exports.open('vdi@tag')
        self.assertIs(volume, snapshot)
        self.assertEqual(export.name, 'vdi@tag')
        self.assertTrue(export.flags & nbd.FLAG_READ_ONLY)

    async def test_snapshot_by_number(self):
        self.volumes.snapshot('vdi', 'first')
        second = self.volumes.snapshot('vdi', 'second')
        self.assertIs((await self.exports.open('vdi@2'))[0], second)
        third = self.volumes.snapshot('vdi', '1')
        self.assertIs((await self.exports.open('vdi@1'))[0], third)
        with self.assertRaises(errors.NoTag):
            await self.exports.open('vdi@9')

    async def test_deleted_while_it_is_looked_at(self):
        async def head(vdi_id):
            raise errors.NoObject('gone')

        self.place.catalogue.head = head
        with self.assertRaises(errors.NoVdi):
            await self.exports.describe('vdi')

    async def test_a_vdi_may_have_the_mark_in_its_name(self):
        mine = self.volumes.create('me@home', 4096)
        self.volumes.snapshot('me@home', 'tag')
        self.assertIs((await self.exports.open('me@home'))[0], mine)
        volume, _export = await self.exports.open('me@home@tag')
        self.assertTrue(volume.read_only)

    async def test_none_of_that_name(self):
        for name in ('none', '', '@', 'vdi@', '@vdi', 'none@tag',
                     'vdi@none', 'vdi@0', 'vdi@-1', 'vdi@²'):
            for method in (self.exports.open, self.exports.describe):
                with self.assertRaises((errors.NoVdi, errors.NoTag)):
                    await method(name)

    async def test_default(self):
        exports = self.make('vdi')
        for method in (exports.describe, exports.open):
            found = await method('')
            self.assertIn('vdi', str(found))
        self.assertEqual((await exports.describe('')).name, 'vdi')

    async def test_read_only_face(self):
        exports = self.make(read_only=True)
        self.volumes.locked['vdi'] = 1000
        volume, export = await exports.open('vdi')
        self.assertTrue(volume.read_only)
        self.assertTrue(export.flags & nbd.FLAG_READ_ONLY)
        self.assertEqual(await exports.describe('vdi'), export)

    async def test_a_lock_that_is_just_being_freed(self):
        self.volumes.locked['vdi'] = 2
        volume, _export = await self.exports.open('vdi')
        self.assertEqual(volume.references, 1)

    async def test_a_lock_that_is_held(self):
        self.volumes.locked['vdi'] = 1000
        with self.assertRaises(errors.VdiLocked):
            await self.make(wait=0.1).open('vdi')
        self.assertGreater(self.volumes.locked['vdi'], 990)

    async def test_what_waiting_does_not_help_is_not_waited_for(self):
        with self.assertRaises(errors.NoVdi):
            await self.make(wait=1000).open('none')
