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

"""Tests of sheepdog.faces.native.places."""

import base64

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.tests.unit.faces import test_native_admin
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case

OBJECT = case.OBJECT


class PlacesTest(test_native_admin.AdminCase):
    """Two copies on three nodes."""

    copies = 2

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm', 3 * OBJECT)
        volume = await self.a.volumes.open('vm')
        await volume.write(2 * OBJECT, b'y' * 4096, True)
        await volume.close()

    def holders(self, oid):
        return [one.name for one in self.sheep
                if one.store.version(oid) is not None]

    async def test_an_object(self):
        oid = ids.data_oid(self.vdi_id, 2)
        found = await self.ok('vdi.object', name='vm', index=2, ask=True)
        self.assertEqual(
            (ids.hex_oid(oid), self.vdi_id, 3, 2, []),
            tuple(found[key] for key in ('object', 'vdi_id', 'members',
                                         'copies', 'strips')))
        self.assertEqual(
            [self.sheep[place].name for place in self.a.order.targets(oid)],
            [one['host'] for one in found['expected']])
        self.assertEqual([None, None],
                         [one['strip'] for one in found['expected']])
        self.assertEqual(
            [{'host': one.name, 'port': flock.PORT,
              'parts': [-1] if one.name in self.holders(oid) else []}
             for one in self.sheep], found['nodes'])
        self.assertEqual(2, len(self.holders(oid)))
        self.assertEqual([[1, 2]], found['history'])

    async def test_the_inode_and_any(self):
        found = await self.ok('vdi.object', name='vm')
        self.assertEqual(ids.hex_oid(ids.vdi_oid(self.vdi_id)),
                         found['object'])
        self.assertNotIn('nodes', found)
        found = await self.ok('vdi.object', name='vm', object='ab')
        self.assertEqual('%016x' % 0xab, found['object'])

    async def test_one_that_does_not_answer(self):
        self.c.store.version = None
        with self.assertLogs('sheepdog.faces.native.admin'):
            found = await self.ok('vdi.object', name='vm', index=2, ask=True)
        self.assertEqual([False, False, True],
                         ['error' in one for one in found['nodes']])

    async def test_strips(self):
        """As the stores call them."""
        key = ids.strip_key(ids.data_oid(self.vdi_id, 2), 1)
        version = self.b.store.version
        self.b.store.version = lambda oid: (1 if oid == key
                                            else version(oid))
        found = await self.ok('vdi.object', name='vm', index=2, ask=True)
        self.assertIn(1, found['nodes'][1]['parts'])

    async def test_refused(self):
        await self.refused('vdi.object', errors.NoVdi, name='none')
        await self.refused('vdi.object', errors.NoTag, name='vm', tag='t')
        await self.refused('vdi.object', errors.NoObject, name='vm', index=1)
        for index in 3, -2:
            await self.refused('vdi.object', name='vm', index=index)
        for oid in 'x', '1' * 17:
            await self.refused('vdi.object', name='vm', object=oid)
        for changes in ({'offset': -1}, {'count': 0},
                        {'offset': inode.CLIENT_BYTES},
                        {'count': (1 << 20) + 1}):
            await self.refused('vdi.inode', name='vm', **changes)

    async def test_inode(self):
        found = await self.ok('vdi.inode', name='vm', count=8192)
        data = base64.b64decode(found['data'])
        self.assertEqual(8192, len(data))
        self.assertEqual('vm', inode.InodeHead.unpack(data).name)
        self.assertEqual(self.vdi_id.to_bytes(4, 'little'),
                         data[inode.map_offset(2):][:4])

    async def test_inode_of_a_turned_vdi(self):
        """Clients see no forms."""
        entry = self.a.cluster.state.vdis[self.vdi_id]
        object.__setattr__(entry, 'form', 1)
        await self.a.recorder.write_wait(
            ids.vdi_oid(self.vdi_id), inode.map_offset(2),
            ids.owner_of(self.vdi_id, 1).to_bytes(4, 'little'))
        found = await self.ok('vdi.inode', name='vm',
                              offset=inode.map_offset(2), count=4)
        self.assertEqual(self.vdi_id.to_bytes(4, 'little'),
                         base64.b64decode(found['data']))
        found = await self.ok('vdi.object', name='vm', index=2)
        self.assertEqual(1, ids.form_of(int(found['object'], 16)))
