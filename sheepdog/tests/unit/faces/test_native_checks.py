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

"""Tests of sheepdog.faces.native.checks."""

import asyncio

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.tests.unit.faces import test_native_admin
from sheepdog.tests.unit import flock
from sheepdog.tests.unit.volume import case

OBJECT = case.OBJECT


class ChecksTest(test_native_admin.AdminCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.vdi_id = await self.create('vm', 3 * OBJECT)
        volume = await self.a.volumes.open('vm')
        await volume.write(0, b'x' * 4096, True)
        await volume.write(2 * OBJECT, b'y' * 4096, True)
        await volume.close()

    async def show(self, name):
        """Once all have done it."""
        while True:
            found = await self.ok('cluster.check', action='show', name=name)
            if not any((one['check'] or {}).get('state') == 'running'
                       for one in found):
                return found
            await asyncio.sleep(0.01)

    async def test_all_or_one_vdi(self):
        await self.create('other', OBJECT)
        started = await self.ok('cluster.check', action='start', name='c')
        self.assertEqual([(one['host'], one['port']) for one in started],
                         [(one.name, flock.PORT) for one in self.sheep])
        for one in await self.show('c'):
            self.assertEqual(one['check']['objects'], 4)
            self.assertEqual(one['check']['state'], 'done')
        await self.ok('cluster.check', action='start', name='d', vdi='vm')
        for one in await self.show('d'):
            self.assertEqual(one['check']['objects'], 3)

    async def test_stop(self):
        self.a.scrub.start_check('c')
        await self.ok('cluster.check', action='stop', name='c')
        stopped = await self.show('c')
        self.assertEqual([one['check'] and one['check']['state']
                          for one in stopped], ['stopped', None, None])

    async def test_one_that_does_not_answer(self):
        self.c.scrub.check = None
        with self.assertLogs('sheepdog.faces.native.admin'):
            found = await self.ok('cluster.check', action='show', name='c')
        self.assertIsNone(found[0]['check'])
        self.assertTrue(found[2]['error'])

    async def test_refused(self):
        await self.refused('cluster.check', action='start')
        await self.refused('cluster.check', errors.NoVdi, action='start',
                           name='c', vdi='none')
        await self.refused('node.check', action='paint', name='c')
        await self.refused('vdi.missing', errors.NoVdi, vdi='none')
        for count in 0, 1025:
            await self.refused('vdi.missing', vdi='vm', count=count)
        await self.refused('vdi.missing', vdi='vm', first=-1)
        await self.refused('vdi.missing', vdi=7)

    async def test_what_some_sheep_has_is_not_missing(self):
        """Not even if a copy that counts for whole is not there."""
        gone = ids.data_oid(self.vdi_id, 2)
        for one in self.sheep:
            kept = one.store.objects.pop(gone)
            self.assertEqual(
                await self.ok('vdi.missing', vdi='vm'),
                {'missing': [], 'next': None, 'total': 3})
            one.store.objects[gone] = kept

    async def test_missing(self):
        self.assertEqual(await self.ok('vdi.missing', vdi='vm'),
                         {'missing': [], 'next': None, 'total': 3})
        gone = ids.data_oid(self.vdi_id, 2)
        for one in self.sheep:
            one.store.objects.pop(gone, None)
        self.assertEqual(
            await self.ok('vdi.missing', vdi='vm', count=2),
            {'missing': [], 'next': 2, 'total': 3})
        self.assertEqual(
            await self.ok('vdi.missing', vdi='vm', first=2),
            {'missing': [ids.hex_oid(gone)], 'next': None, 'total': 3})
        self.assertEqual(
            await self.ok('vdi.missing', vdi='vm', first=9),
            {'missing': [], 'next': None, 'total': 3})
