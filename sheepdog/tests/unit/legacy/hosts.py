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

"""Stores of the original on simulated disks, one host for each node."""

import asyncio

from sheepdog.cluster import ledger as ledger_module
from sheepdog.legacy import adoption
from sheepdog.legacy import contents
from sheepdog.legacy import planner
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.store import disks as disks_module
from sheepdog.store import settings as store_settings
from sheepdog.testing import world as sim

OLD, NEW = '/old', '/new'
DISK_BYTES = 256 << 20


class Hosts:
    """:param cluster: an ``original.Original``, its files written"""

    def __init__(self, cluster, seed=0, new_disks=(), disk_bytes=DISK_BYTES):
        self.cluster = cluster
        self.simulation = sim.Simulation('legacy/%s' % seed)
        self.new_disks = new_disks
        self.hosts = {}
        for number, node in enumerate(cluster.nodes):
            host = self.simulation.add_host('n%d' % number, disk_bytes)
            host.faults.cold_chance = 0.0
            host.start()
            host.run(lay(host.world.disk, node))
            host.kill()
            self.hosts[node] = host

    def close(self):
        self.simulation.close()

    def run(self, node, function):
        """``await function(world)`` in a process of that node."""
        host = self.hosts[node]
        if not host.is_running:
            host.start()
        try:
            return host.run(function(host.world))
        finally:
            host.kill()

    def directory(self, world, node):
        return contents.Directory(world.disk, OLD, old_disks(node))

    def scan(self, node, name=''):
        return self.run(node, lambda world: self.directory(
            world, node).scan(name))

    def scans(self):
        return [self.scan(node) for node in self.cluster.nodes]

    def plan(self, leave=()):
        return planner.Planner(self.scans(), leave).make()

    def settings(self):
        return store_settings.StoreSettings(
            NEW, self.new_disks, reserve_bytes=0,
            journal_bytes=store_settings.JOURNAL_BYTES_MIN)

    def adoption(self, world, node, plan):
        return adoption.Adoption(world, self.directory(world, node),
                                 old_disks(node), self.settings(), plan)

    def adopt(self, node, plan):
        return self.run(node, lambda world: self.adoption(
            world, node, plan).run())

    def objects(self, node):
        """Object id → content, of all that the new store has."""
        async def read(world):
            store = await disks_module.Disks.open(world, self.settings())
            found = {}
            for oid in store.oids():
                state = await store.describe(oid)
                found[oid] = await _read(store, oid, state.capacity)
            await store.close()
            return found
        return self.run(node, read)

    def ledger(self, node):
        """(state, views) that a sheep would find."""
        async def read(world):
            ledger = await ledger_module.Ledger.open(world, NEW)
            await ledger.close()
            return ledger.state, ledger.views
        return self.run(node, read)

    def old_files(self, node):
        """All of the old store, as it is below everything."""
        return {path: content.read(content.size, 0)
                for path, content in self.hosts[node].image.files()
                if path.startswith(OLD) or path.startswith('/d')}


async def _read(store, oid, size):
    future = asyncio.get_running_loop().create_future()
    store.read(oid, 0, size, lambda error, data=None: future.set_result(
        (error, data)))
    error, data = await future
    if error is not None:
        raise error
    return bytes(data)


def old_disks(node):
    return tuple('/' + disk for disk in node.disks)


async def lay(disk, node):
    """Write a node's files."""
    places = {OLD + '/obj', *old_disks(node)}
    for name in sorted(node.files):
        size, pieces = node.files[name]
        path = name.replace('META', OLD) if name.startswith('META') \
            else '/' + name
        places.add(path.rpartition('/')[0])
        disk.make_directory(path.rpartition('/')[0])
        file = disk.open(path, create=True)
        file.truncate(size)
        for offset, data in pieces.items():
            file.pwrite(data, offset)
        await file.sync()
        file.close()
    for place in places:
        disk.make_directory(place)
        while place:
            await disk.sync_directory(place)
            place = place.rpartition('/')[0]
    await disk.sync_directory('/')


def volume(objects, vdi_id):
    """The bytes of a VDI, and its head, out of one node's or all nodes'
    objects (id → content)."""
    data = objects[ids.vdi_oid(vdi_id)]
    head = inode.InodeHead.unpack(data)
    whole = bytearray(head.vdi_size)
    for first, count, owner in contents.map_runs(
            data[inode.MAP_OFFSET:inode.CLIENT_BYTES]):
        for index in range(first, first + count):
            start = index << head.block_size_shift
            part = objects[ids.data_oid(owner, index)]
            whole[start:start + len(part)] = part[:head.vdi_size - start]
    return bytes(whole), head
