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

"""Coded VDIs in a cluster that is formatted anew."""

import asyncio
import unittest
from unittest import mock

from sheepdog.model import ids
from sheepdog.recovery import wiping
from sheepdog.tests.sim import test_coded

WIPING_SECONDS = 3


class FormatTest(test_coded.CodedCase):
    """Two sheep die before they have dropped what was there, and come back
    when there is another VDI of that name, hence with the same ids."""

    nodes = 4
    policy = '2:2'

    def setUp(self):
        super().setUp()
        wipe = wiping.Wiping._wipe

        async def wipe_late(self, *arguments):
            await asyncio.sleep(WIPING_SECONDS)
            await wipe(self, *arguments)

        patch = mock.patch.object(wiping.Wiping, '_wipe', wipe_late)
        patch.start()
        self.addCleanup(patch.stop)

    def made(self, size):
        """A new VDI of which so much is written."""
        self.create()
        self.content = bytearray(test_coded.SIZE)
        volume = self.open()
        self.write(volume, 0, self.chance.randbytes(size))
        return volume

    def oids(self):
        vdi_id = self.node.sheep.catalogue.find('v').vdi_id
        return [ids.data_oid(vdi_id, index) for index in range(3)]

    def test_what_was_there_does_not_count(self):
        self.node.run(self.made(test_coded.SIZE).close())
        self.simulation.run_for(WIPING_SECONDS)
        before = self.oids()
        self.node.run(self.node.sheep.cluster.execute('format', dict(
            self.cluster.format_settings, force=True)))
        self.kill('n2', 'n3')
        self.wait_for_view(2)
        self.simulation.run_for(2 * WIPING_SECONDS)
        volume = self.made(test_coded.OBJECT_BYTES)
        self.assertEqual(before, self.oids())
        self.start('n2', 'n3')
        self.wait_for_view(4)
        self.wait_well()
        self.check(volume)
        # What was built anew did not go with what was there before; and that
        # did not come again where nobody has written yet.
        self.check_strips(0)
        self.assertEqual([{}, {}], [self.strips(oid) for oid in before[1:]])
        self.write(volume, test_coded.OBJECT_BYTES + 4096, b'x' * 4096)
        self.check(volume)
        self.check_strips(1)


if __name__ == '__main__':
    unittest.main()
