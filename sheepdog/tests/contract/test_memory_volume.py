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

"""The twin in memory keeps the contract of volumes."""


from sheepdog.testing import volume as memory
from sheepdog.tests.contract import volume_contract
from sheepdog.tests.unit import jumping


class TestMemoryVolume(volume_contract.VolumeContract,
                       jumping.Case):

    completes_later = False

    async def make_volume(self, size, object_bytes):
        self.volumes = memory.MemoryVolumes()
        self.catalogue = memory.MemoryCatalogue(self.volumes)
        self.volumes.create('vdi', size, object_bytes)
        volume = await self.volumes.open('vdi')
        volume.completes_later = self.completes_later
        return volume

    async def make_read_only(self, volume):
        self.volumes.snapshot('vdi', 'tag')
        return await self.volumes.open('vdi', tag='tag', read_only=True)

    async def resize(self, volume, size):
        await self.catalogue.resize('vdi', size)


class TestMemoryVolumeLater(TestMemoryVolume):
    """The same, each answer one turn of the loop later."""

    completes_later = True
