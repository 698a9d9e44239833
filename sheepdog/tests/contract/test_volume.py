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

"""Real volumes keep the contract of volumes."""


from sheepdog.tests.contract import volume_contract
from sheepdog.tests.unit import flock
from sheepdog.tests.unit import jumping
from sheepdog.tests.unit.volume import memory


class TestVolume(volume_contract.VolumeContract,
                 jumping.Case):
    """Over a gateway in memory, held exclusively."""

    shared = False

    async def make_volume(self, size, object_bytes):
        self.house = memory.House()
        await self.house.create(
            size=size, block_size_shift=object_bytes.bit_length() - 1)
        return await self.house.volumes.open('vdi', shared=self.shared)

    async def make_read_only(self, volume):
        return await self.house.volumes.open('vdi', read_only=True)

    async def resize(self, volume, size):
        await self.house.catalogue.resize('vdi', size)

    async def asyncTearDown(self):
        self.assertEqual(await self.house.close(), [])


class TestSharedVolume(TestVolume):
    """The same, shared with others: what it knows of objects that do not
    exist may be old."""

    shared = True


class TestVolumeOfFlock(TestVolume):
    """Over three real gateways and replicas."""

    OPERATIONS = 40

    async def make_volume(self, size, object_bytes):
        self.flock = flock.Flock(3)
        self.flock.form()
        sheep = self.flock[2]
        catalogue = memory.catalogue_module.Catalogue(
            sheep.world, sheep.cluster, sheep.gateway)
        self.flock.carry_out = catalogue.carry_out
        volumes = memory.volumes_module.Volumes(
            sheep.world, sheep.cluster, sheep.gateway, catalogue)
        sheep.cluster.listeners.append(volumes)
        self.catalogue, self.volumes = catalogue, volumes
        await catalogue.create(
            'vdi', size, block_size_shift=object_bytes.bit_length() - 1)
        return await volumes.open('vdi')

    async def make_read_only(self, volume):
        return await self.volumes.open('vdi', read_only=True)

    async def resize(self, volume, size):
        await self.catalogue.resize('vdi', size)

    async def asyncTearDown(self):
        await self.volume.close()
        for sheep in self.flock.alive():
            self.assertEqual(sheep.gateway.turns.table, {})
        self.assertEqual(await self.flock.close(), [])
