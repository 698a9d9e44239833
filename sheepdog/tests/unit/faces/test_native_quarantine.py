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

"""Tests of sheepdog.faces.native.quarantine."""

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.unit.faces import test_native_admin
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case


class QuarantineTest(test_native_admin.AdminCase):

    async def test_of_all(self):
        self.b.store.quarantine.add('core.1')
        found = await self.ok('cluster.quarantine')
        self.assertEqual([0, 1, 0], [one['kept'] for one in found])
        self.assertEqual('core.1', found[1]['notes'][0]['name'])
        self.assertEqual(4096, found[1]['used_bytes'])
        space = await self.ok('node.info')
        self.assertEqual([0, 1, 0], [node['quarantined']
                                     for node in space['nodes']])

    async def test_delete(self):
        self.b.store.quarantine.add('core.1')
        self.b.store.quarantine.add('core.2')
        await self.ok('cluster.quarantine-delete', name='core.1')
        self.assertEqual(['core.2'], [
            note['name'] for note in self.b.store.quarantine.notes])
        await self.refused('cluster.quarantine-delete', errors.NoObject,
                           name='core.1')
        await self.refused('cluster.quarantine-delete', name=7)

    async def test_a_node_that_does_not_answer(self):
        self.c.store.quarantine = None
        with self.assertLogs('sheepdog.faces.native.admin'):
            found = await self.ok('cluster.quarantine')
            self.assertIn('error', found[2])
            # It may be there.
            await self.refused('cluster.quarantine-delete',
                               errors.SystemFailure, name='core.1')

    async def test_add(self):
        vdi_id = await self.create('vm', case.OBJECT)
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'x' * 4096, True)
        await volume.close()
        oid = ids.data_oid(vdi_id, 0)
        name = ids.hex_oid(oid)
        node = '%s:%d' % (self.c.name, flock.PORT)
        self.c.store.objects[oid].data[:1] = b'?'
        await self.ok('cluster.quarantine-add', object=name, node=node)
        await self.flock.settled()
        self.assertEqual(1, len(self.flock.copies_of(oid)))
        self.assertEqual([(oid, b'?')], [(kept, data[:1]) for kept, data, _
                                         in self.c.store.aside])
        for bad in 'x', 'x' * 16, '':
            await self.refused('cluster.quarantine-add', object=bad,
                               node=node)
        await self.refused('cluster.quarantine-add', object=name,
                           node='10.0.0.9:7000')
        await self.refused('cluster.quarantine-add', errors.NoObject,
                           object='%016x' % 5, node=node)
        # The last one that is good stays.
        for one in self.a, self.b:
            one.store.objects[oid].rotten = {0}
        await self.refused('cluster.quarantine-add', object=name, node=node)
        self.assertEqual(1, len(self.c.store.aside))
        for one in self.a, self.b:
            one.store.objects[oid].rotten = set()
