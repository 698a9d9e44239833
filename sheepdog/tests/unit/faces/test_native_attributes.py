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

"""Tests of sheepdog.faces.native.attributes."""

import base64

from sheepdog.model import errors
from sheepdog.tests.unit.faces import test_native_admin

KEY = b'key'.hex()


def value(data):
    return base64.b64encode(data).decode()


class AttributesTest(test_native_admin.AdminCase):

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await self.create('vm')

    async def test_their_life(self):
        await self.refused('vdi.getattr', errors.NoObject, name='vm',
                           key=KEY)
        await self.ok('vdi.setattr', name='vm', key=KEY, value=value(b'1'),
                      exclusive=True)
        await self.refused('vdi.setattr', errors.VdiExists, name='vm',
                           key=KEY, value=value(b'2'), exclusive=True)
        self.assertEqual({'value': value(b'1')}, await self.ok(
            'vdi.getattr', name='vm', key=KEY))
        self.assertEqual({'keys': [KEY]}, await self.ok('vdi.attributes',
                                                        name='vm'))
        await self.ok('vdi.setattr', name='vm', key=KEY, delete=True)
        await self.refused('vdi.setattr', errors.NoObject, name='vm',
                           key=KEY, delete=True)

    async def test_refused(self):
        for method in 'vdi.getattr', 'vdi.setattr':
            await self.refused(method, errors.NoVdi, name='none', key=KEY)
            await self.refused(method, name='vm', key='x')
            await self.refused(method, name='vm', key=7)
        await self.refused('vdi.attributes', errors.NoVdi, name='none')

    async def test_only_what_both_say(self):
        """The leader was one, and what it says is of yesterday; or we have
        heard of what is not decided yet."""
        await self.ok('vdi.setattr', name='vm', key=KEY, value=value(b'1'))
        execute, answers = self.a.cluster.execute, [
            {'value': value(b'0')}, errors.NoObject('none')]

        async def stale(kind, arguments, operation_id='', timeout=60):
            if answers:
                answer = answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer
            return await execute(kind, arguments, operation_id, timeout)

        self.a.cluster.execute = stale
        self.assertEqual({'value': value(b'1')}, await self.ok(
            'vdi.getattr', name='vm', key=KEY))
        self.assertEqual([], answers)
        answers += [{'value': value(b'0')}] * 100
        await self.refused('vdi.getattr', errors.NotServing, name='vm',
                           key=KEY)
        answers.clear()
        self.a.cluster.lease = False
        await self.refused('vdi.getattr', errors.NotServing, name='vm',
                           key=KEY)
