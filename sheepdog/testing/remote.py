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

"""Clients on hosts of their own, that reach the sheep through its faces.

What is between them and a volume is what is between QEMU and a volume: the
network with its faults, the handshake, requests that wait in buffers, and
connections of which one side knows that they are gone before the other
does. A request without an answer may have been done, or be done yet.
"""

import asyncio
import random

from sheepdog.model import errors
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import native_user
from sheepdog.testing import nbd_user
from sheepdog.testing import workload as workload_module

NBD = 'nbd'
NATIVE = 'native'

LINES_MAX = 3
LANES_MAX = 4
"""Requests that one client has under way, besides its reads."""
SAME_SHARE = 0.6
"""Of those that lost a connection and come back to the same sheep."""
ABRUPT_SHARE = 0.3
"""Of those that leave with requests under way."""
PATIENCE_SECONDS = (1.0, 5.0, 60.0)
"""Without an answer for so long, a client tries its luck elsewhere."""
OPEN_SECONDS = 10.0
WATCH_SECONDS = 0.25


class RemoteClient(workload_module.Client):
    """One user of one volume, which it opens alone."""

    def __init__(self, workload, name: str, volume: str, kind: str, world):
        super().__init__(workload, name, volume, False)
        self._kind = kind
        self._world = world
        self._node = None

    async def run(self) -> None:
        """In the process of its own host."""
        workload = self._workload
        while not workload.is_over:
            node = self._choose()
            if node is None:
                await asyncio.sleep(WATCH_SECONDS)
                continue
            try:
                await self._use_node(node)
            except (errors.SheepdogError, OSError) as error:
                workload.note_error(error)
                await asyncio.sleep(WATCH_SECONDS)
            await asyncio.sleep(self._think())

    def _choose(self):
        """The same sheep again, another one, or one that may not be up."""
        cluster = self._workload.cluster
        nodes = cluster.serving()
        if self._node in nodes and self._random.random() < SAME_SHARE:
            return self._node
        if self._random.random() < 0.1:
            nodes = cluster.running()
        if not nodes:
            return None
        self._node = nodes[self._random.randrange(len(nodes))]
        return self._node

    async def _use_node(self, node) -> None:
        session = await self._open(node)
        spawn, name = self._world.spawn, cluster_module.CLIENT + self.name
        watch = spawn(self._watch(session.volume, self._random.choice(
            PATIENCE_SECONDS)), name)
        session.tasks += [spawn(self._go_on(session), name)
                          for _ in range(self._random.randrange(LANES_MAX))]
        try:
            await self.use(session)
        finally:
            if self._random.random() < ABRUPT_SHARE:
                session.volume.hang_up()
            await self.close(session)
            watch.cancel()

    async def _open(self, node) -> workload_module.Session:
        """:raises OSError, SheepdogError: it cannot be opened there"""
        workload, process = self._workload, node.host.process
        sheep = node.sheep
        if sheep is None or sheep.cluster is None:
            raise errors.NotServing('it is just starting')
        # What a client cannot see, and the history must know: which of the
        # volumes of that name it is, and under which lock.
        entry = sheep.catalogue.find(self._volume)
        size = workload.size_of(self._volume, entry.created)
        kind, port = {
            NBD: (nbd_user.NbdVolume, cluster_module.NBD_PORT),
            NATIVE: (native_user.NativeVolume, cluster_module.PORT),
        }[self._kind]
        volume = await asyncio.wait_for(kind.open(
            self._world, node.address, port, self._volume,
            1 + self._random.randrange(LINES_MAX), self._random),
            OPEN_SECONDS)
        now = sheep.cluster.state.vdis.get(entry.vdi_id)
        if (node.host.process is not process or now is None or
                now.created != entry.created or now.deleted):
            volume.hang_up()
            raise errors.NotServing('another volume, or sheep, meanwhile')
        workload.check_size(self._volume, volume, size)
        session = workload.session(self._world, sheep, volume, entry)
        if self._kind == NATIVE:
            # Who lost his lock may go on as soon as nobody has it.
            session.lock = 0
        return session

    async def _go_on(self, session) -> None:
        """Beside the first one, requests of another thread of the guest."""
        try:
            await self.work(session)
        except errors.SheepdogError as error:
            self._workload.note_error(error)
            session.is_over = True

    async def _watch(self, volume, patience: float) -> None:
        """Hang up where no answer comes. In the end there is patience
        without limit, but with connections that nobody else knows of."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if (volume.has_lost_one() if self._workload.is_over else
                    loop.time() - volume.waits_since() > patience):
                volume.hang_up()


def start_client(workload, name: str, volume: str, is_shared: bool):
    """A client of the kind that the lot gives it; its task."""
    simulation = workload.cluster.simulation
    settings = workload.settings
    lot = random.Random('%s/%s/kind' % (workload.seed, name)).random()
    kind = NBD
    if not lot < settings.nbd_share:
        kind = NATIVE
        if not lot < settings.nbd_share + settings.native_share:
            kind = ''
    if is_shared or not kind:
        client = workload_module.Client(workload, name, volume, is_shared)
        return simulation.loop.create_task(client.run())
    hosts = workload.cluster.client_hosts
    host = simulation.add_host(
        cluster_module.CLIENT_ADDRESS % (len(hosts) + 1), 0)
    hosts.append(host)
    world = host.start()
    client = RemoteClient(workload, name, volume, kind, world)
    return world.spawn(client.run(), cluster_module.CLIENT + name)
