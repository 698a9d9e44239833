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

"""Clients that contend for the same blocks, and tell the history.

A client is attached to one sheep at a time, as a virtual machine to its
host: when the sheep dies, the client goes on at another one, and what was
under way stays open. Beside one request after the other it always tries to
read, also where writes do not get through. Each write is filled with a
number of its own, sector by sector, so that a read tells which write it
saw, or that it saw parts of several.
"""

import asyncio
import dataclasses
import random
import struct
import weakref
from typing import Callable, Collection

from sheepdog.model import errors
from sheepdog.testing import checkers
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import history as history_module

UNIT_BYTES = 512
"""One register: a sector, the most that a disk writes whole or not at all.
So most writes are not aligned to blocks."""

_STAMP = struct.Struct('<QQ')
_STAMPS = UNIT_BYTES // _STAMP.size

WATCH_SECONDS = 0.05
READS_MAX = 30
"""Reads that one client leaves under way."""


def fill(value: int, first: int, count: int = 1) -> bytes:
    """``count`` units from number ``first`` on that hold ``value``; each is
    stamped with its place, too."""
    if value == checkers.ZERO:
        return bytes(count * UNIT_BYTES)
    return b''.join(_STAMP.pack(value, unit) * _STAMPS
                    for unit in range(first, first + count))


def value_of(data: bytes, place: int) -> int:
    """The value that a unit holds; TORN if it is none of that place."""
    value, _ = _STAMP.unpack_from(data)
    return value if data == fill(value, place) else checkers.TORN


@dataclasses.dataclass
class WorkloadSettings:
    volumes: tuple = (('shared', True), ('alone', False), ('churn', False))
    """(name, opened shared by many?)"""
    recycled: tuple = ('churn',)
    """Volumes that are deleted and made again."""
    volume_bytes: int = 4 << 20
    grown_bytes: int = 6 << 20
    """Up to here requests go, where a volume was grown."""
    large_share: float = 0.01
    """Of the writes that go over many blocks."""
    large_units: int = 300
    clients_per_volume: int = 2
    hot_units: int = 12
    """Per volume; spread over all its objects, some of them adjacent."""
    units_max: int = 12
    """Of one request."""
    read_share: float = 0.4
    zero_share: float = 0.02
    discard_share: float = 0.0
    """Of all requests: those that make a whole object zero."""
    flush_share: float = 0.08
    fua_share: float = 0.4
    reader_share: float = 0.2
    """Of the uses of a volume that only read."""
    think_seconds: float = 0.03
    patience_seconds: float = 0.3
    """What a read may take before another one begins."""
    session_operations: int = 40
    nbd_share: float = 0.0
    native_share: float = 0.0
    """Of those who open a volume alone; see ``remote``."""


class Workload:
    """All clients of a run."""

    def __init__(self, cluster, settings: WorkloadSettings,
                 history: history_module.History, seed: str,
                 without: Collection[str] = ()):
        """``without``: names of clients that do nothing."""
        self.cluster = cluster
        self.settings = settings
        self.history = history
        self.seed = seed
        self.random = random.Random(seed)
        self._without = without
        self.is_over = False
        self.hot = self._choose_hot()
        self.clients = []
        self.names, self.violations = [], []
        self._sizes = {}
        self._locks = weakref.WeakKeyDictionary()
        self.refused = {}
        """What opens and requests failed with: name of the error → times.
        """

    def _choose_hot(self) -> list:
        """First units of the places that are used: two adjacent runs in
        each object, over its end too."""
        settings = self.settings
        object_units = ((1 << self.cluster.settings.block_size_shift) //
                        UNIT_BYTES)
        units = max(settings.grown_bytes,
                    settings.volume_bytes) // UNIT_BYTES
        places = []
        while len(places) < settings.hot_units:
            base = self.random.randrange(units // object_units)
            place = base * object_units + self.random.choice(
                (0, 1, 2, 3, 5, object_units - 2, object_units - 1))
            if place not in places:
                places.append(place)
        return sorted(places)

    def create_volumes(self) -> None:
        for name, _ in self.settings.volumes:
            node = self.cluster.serving()[0]
            node.run(node.sheep.catalogue.create(
                name, self.settings.volume_bytes))

    def start(self, start_client: Callable) -> None:
        """``start_client``: as ``remote.start_client``."""
        for name, is_shared in self.settings.volumes:
            for number in range(self.settings.clients_per_volume):
                client = 'client:%s-%d' % (name, number)
                self.names.append(client)
                if client in self._without:
                    continue
                self.clients.append(
                    start_client(self, client, name, is_shared))

    def finish(self) -> None:
        """Let no new requests begin."""
        self.is_over = True

    def has_finished(self) -> bool:
        return all(client.done() for client in self.clients)

    def note_error(self, error: Exception) -> None:
        name = type(error).__name__
        self.refused[name] = self.refused.get(name, 0) + 1

    def note_size(self, name: str, created: int, size: int) -> None:
        """A volume is known to be so large from now on."""
        self._sizes[name, created] = max(size,
                                         self.size_of(name, created))

    def size_of(self, name: str, created: int) -> int:
        """The least that it may have."""
        return self._sizes.get((name, created), self.settings.volume_bytes)

    async def open(self, sheep, name: str, **how) -> tuple:
        """``(volume, its entry)``; a volume that was made anew is another.

        :raises SheepdogError:
        """
        created = sheep.catalogue.find(name).created
        size = self.size_of(name, created)
        volume = await sheep.volumes.open(name, **how)
        entry = sheep.cluster.state.vdis.get(volume.vdi_id)
        if entry is None or entry.created != created or entry.deleted:
            await volume.close()
            raise errors.NotServing('another volume meanwhile')
        self.check_size(name, volume, size)
        return volume, entry

    def check_size(self, name: str, volume, size: int) -> None:
        if volume.size < size:
            self.violations.append(
                '%s has %d bytes though it was grown to %d' % (
                    name, volume.size, size))

    def session(self, world, sheep, volume, entry) -> 'Session':
        """Of a volume that was opened just now."""
        lock = 0
        if not dict(self.settings.volumes)[entry.name]:
            lock = self._lock(sheep, entry)
        return Session(world, volume, entry.created, lock)

    def _lock(self, sheep, entry) -> int:
        """The number that it had when it was opened there: it gets another
        with each snapshot, and stays the same lock."""
        state = sheep.cluster.state
        entry = state.lookup(entry.name) or entry
        number = state.fences.get(entry.vdi_id, 0)
        volume = sheep.volumes._writing.get(entry.vdi_id)
        if volume is None:
            return number
        return self._locks.setdefault(volume, number)

    def read_everything(self, node) -> None:
        """As one more client: what is there in the end."""
        node.run(self._read_everything(node))

    async def _read_everything(self, node) -> None:
        names = node.sheep.catalogue.names()
        for name, _ in self.settings.volumes:
            if name not in names:
                continue
            volume, entry = await self.open(node.sheep, name,
                                            read_only=True)
            units = {place + i for place in self.hot
                     for i in range(self.settings.units_max)}
            last = min(volume.size,
                       self.settings.grown_bytes) // UNIT_BYTES
            for unit in sorted(units):
                if unit >= last:
                    continue
                operations = self.history.begin_read(
                    'end-' + node.name, [(name, entry.created, unit)])
                data = await volume.read(unit * UNIT_BYTES, UNIT_BYTES)
                self.history.end_read(operations,
                                      [value_of(data, unit)])
            await volume.close()


class Client:
    """One user of one volume."""

    def __init__(self, workload: Workload, name: str, volume: str,
                 is_shared: bool):
        self._workload = workload
        self.name = name
        self._volume = volume
        self._is_shared = is_shared
        self._random = random.Random('%s/%s' % (workload.seed, name))

    async def run(self) -> None:
        """In no process: a client outlives the sheep that it uses."""
        workload = self._workload
        while not workload.is_over:
            nodes = workload.cluster.serving()
            if not nodes:
                await asyncio.sleep(WATCH_SECONDS)
                continue
            node = nodes[self._random.randrange(len(nodes))]
            world = node.host.world
            task = world.spawn(self._use(node.sheep),
                               cluster_module.CLIENT + self.name)
            while not task.done() and world.process.is_alive:
                await asyncio.sleep(WATCH_SECONDS)
            await asyncio.sleep(self._think())

    def _think(self) -> float:
        return self._random.expovariate(
            1 / self._workload.settings.think_seconds)

    async def _use(self, sheep) -> None:
        """In the sheep's process."""
        workload, name = self._workload, self._volume
        try:
            volume, entry = await workload.open(sheep, name,
                                                shared=self._is_shared)
        except errors.SheepdogError as error:
            workload.note_error(error)
            await asyncio.sleep(WATCH_SECONDS)
            return
        session = workload.session(sheep.world, sheep, volume, entry)
        # A sheep that stops hangs up.
        session.has_ended = lambda: sheep._is_stopping
        try:
            await self.use(session)
        except errors.SheepdogError as error:
            workload.note_error(error)
        await self.close(session)

    async def use(self, session) -> None:
        """Do what clients do, until it is over.

        :raises SheepdogError: a request failed
        """
        session.only_reads = (self._random.random() <
                              self._workload.settings.reader_share)
        reader = session.world.spawn(self._read_on(session), '%s%s reads' % (
            cluster_module.CLIENT, self.name))
        session.tasks.append(reader)
        try:
            await self.work(session)
        finally:
            session.is_over = True

    async def work(self, session) -> None:
        """One request after the other.

        :raises SheepdogError: one failed
        """
        workload = self._workload
        for _ in range(1 + self._random.randrange(
                2 * workload.settings.session_operations)):
            if workload.is_over or not session.goes_on:
                break
            await self._request(session)
            await asyncio.sleep(self._think())

    async def close(self, session) -> None:
        if session.tasks:
            await asyncio.wait(session.tasks)
        try:
            await session.volume.close()
        except errors.SheepdogError as error:
            self._workload.note_error(error)

    async def _read_on(self, session) -> None:
        """Read here and there; what takes long goes on by itself."""
        patience = self._workload.settings.patience_seconds
        under_way = []
        while session.goes_on:
            if len(under_way) < READS_MAX:
                task = session.world.spawn(
                    self._try_to_read(session),
                    cluster_module.CLIENT + 'read')
                under_way.append(task)
                await asyncio.wait([task], timeout=patience)
            under_way = [task for task in under_way if not task.done()]
            await asyncio.sleep(2 * self._think())
        if under_way:
            await asyncio.wait(under_way)

    async def _try_to_read(self, session) -> None:
        try:
            await self._read(session, *self._place(session))
        except errors.SheepdogError as error:
            self._workload.note_error(error)

    def _place(self, session, is_large: bool = False) -> tuple:
        """(first unit, units) of a request."""
        settings = self._workload.settings
        last = min(session.volume.size, settings.grown_bytes) // UNIT_BYTES
        hot = [place for place in self._workload.hot if place < last]
        first = hot[self._random.randrange(len(hot))]
        count = 1 + self._random.randrange(
            settings.large_units if is_large else settings.units_max)
        return first, min(count, last - first)

    def _object_of(self, session, unit: int) -> tuple:
        """(first unit, units) of the object that has it."""
        count = (1 << self._workload.cluster.settings.block_size_shift
                 ) // UNIT_BYTES
        first = unit // count * count
        return first, min(count, session.volume.size // UNIT_BYTES - first)

    def _registers(self, session, first: int, count: int) -> list:
        return [(self._volume, session.created, first + i)
                for i in range(count)]

    async def _read(self, session, first: int, count: int) -> None:
        history = self._workload.history
        operations = history.begin_read(
            self.name, self._registers(session, first, count), session.lock)
        length = count * UNIT_BYTES
        data = await session.volume.read(first * UNIT_BYTES, length)
        assert len(data) == length, 'a short read'
        history.end_read(operations, [
            value_of(data[i * UNIT_BYTES:(i + 1) * UNIT_BYTES], first + i)
            for i in range(count)])

    async def _request(self, session) -> None:
        settings = self._workload.settings
        history = self._workload.history
        volume = session.volume
        if self._random.random() < settings.flush_share:
            flushed = history.begin_flush(session)
            await volume.flush()
            history.end_flush(session, flushed)
            return
        is_large = self._random.random() < settings.large_share
        first, count = self._place(session, is_large)
        is_discard = (settings.discard_share > 0 and not session.only_reads
                      and self._random.random() < settings.discard_share)
        if is_discard:
            first, count = self._object_of(session, first)
        elif (session.only_reads or
                self._random.random() < settings.read_share):
            await self._read(session, first, count)
            return
        offset, length = first * UNIT_BYTES, count * UNIT_BYTES
        fua = self._random.random() < settings.fua_share
        is_zero = (is_discard
                   or self._random.random() < settings.zero_share)
        value = checkers.ZERO if is_zero else history.new_value()
        operations = history.begin_write(
            self.name, self._registers(session, first, count), value,
            session.lock)
        if is_zero:
            await volume.zero(offset, length, fua)
        else:
            await volume.write(offset, fill(value, first, count), fua)
        history.end_write(operations, session, fua)


class Session:
    """One use of a volume; what it has flushed is its own."""

    def __init__(self, world, volume, created: int, lock: int):
        """``lock``: the number of the volume's lock, 0 for a shared one."""
        self.world = world
        self.volume = volume
        self.created = created
        self.lock = lock
        self.only_reads = False
        self.is_over = False
        self.has_ended = bool
        self.tasks = []

    @property
    def goes_on(self) -> bool:
        return (not self.is_over and self.volume.valid and
                not self.has_ended())
