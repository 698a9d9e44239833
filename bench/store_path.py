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

"""CPU time of the store's hot path, on a real file system.

    python bench/store_path.py [--directory DIR] [--seconds S] [--depth N]

Keeps ``depth`` requests of 4 KiB under way against one store and prints
operations per second and CPU time (user + system, all threads) of each.
CPU time holds on a noisy machine, seconds do not. ``--profile`` prints
where the time goes instead.
"""

import argparse
import asyncio
import cProfile
import pstats
import random
import resource
import shutil
import tempfile
import time

from sheepdog.store import disks as disks_module
from sheepdog.store import settings as store_settings
from sheepdog.world import real

OBJECT_BYTES = 4 << 20
BLOCK = 4096


class Load:
    """``depth`` chains of requests; a new one starts when one ends."""

    def __init__(self, world, store, arguments, kind: str):
        self.world = world
        self.store = store
        self.kind = kind
        self.objects = arguments.objects
        self.depth = arguments.depth
        self.left = 0
        self.running = 0
        self.count = 0
        self.data = random.randbytes(BLOCK)
        self.blocks = OBJECT_BYTES // BLOCK
        self.deadline = 0.0
        self.ended = asyncio.get_running_loop().create_future()
        self.todo = 0

    def start(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.running = self.todo = self.depth
        self.turn()

    def turn(self) -> None:
        """Requests come together, as they do from connections."""
        todo = self.todo
        self.todo = 0
        if time.monotonic() >= self.deadline:
            self.running -= todo
            if not self.running and not self.ended.done():
                self.ended.set_result(None)
            return
        store = self.store
        randrange = self.world.random.randrange
        for _ in range(todo):
            oid = 1 + randrange(self.objects)
            offset = randrange(self.blocks) * BLOCK
            if self.kind == 'read':
                store.read(oid, offset, BLOCK, self.have_read)
            else:
                store.write(oid, 1, offset, self.data, self.have_written,
                            self.kind == 'durable')
        self.count += todo

    def have_written(self, error) -> None:
        if error is not None:
            raise error
        if not self.todo:
            asyncio.get_running_loop().call_soon(self.turn)
        self.todo += 1

    def have_read(self, error, data) -> None:
        self.have_written(error)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def fill(store, objects: int) -> None:
    data = random.randbytes(1 << 20)
    for oid in range(1, objects + 1):
        for offset in range(0, OBJECT_BYTES, len(data)):
            await answer(lambda done: store.write(
                oid, 1, offset, data, done, False, OBJECT_BYTES))
    await answer(store.sync)


async def answer(start) -> None:
    future = asyncio.get_running_loop().create_future()
    start(future.set_result)
    error = await future
    if error is not None:
        raise error


async def main(world, arguments) -> None:
    directory = tempfile.mkdtemp(dir=arguments.directory)
    try:
        store = await disks_module.Disks.open(
            world, store_settings.StoreSettings(
                meta=directory, journal_bytes=arguments.journal_mib << 20))
        await fill(store, arguments.objects)
        for kind in arguments.kinds.split(','):
            await measure(world, store, arguments, kind)
        await store.close()
    finally:
        shutil.rmtree(directory)


async def measure(world, store, arguments, kind: str) -> None:
    warm_up = Load(world, store, arguments, kind)
    warm_up.start(0.3)
    await warm_up.ended
    syncs = store.counters.journal_syncs
    checkpoints = store.counters.checkpoints
    load = Load(world, store, arguments, kind)
    profile = cProfile.Profile() if arguments.profile else None
    if profile:
        profile.enable()
    started, cpu = time.monotonic(), cpu_seconds()
    load.start(arguments.seconds)
    await load.ended
    elapsed = time.monotonic() - started
    cpu = cpu_seconds() - cpu
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats('tottime').print_stats(22)
    print('%-9s depth %-3d %8.0f/s  %6.2f us CPU each  %5.1f per sync, '
          '%d checkpoints' % (
              kind, arguments.depth, load.count / elapsed,
              cpu / load.count * 1e6,
              load.count / max(1, store.counters.journal_syncs - syncs),
              store.counters.checkpoints - checkpoints))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--directory', help='where the store is made')
    parser.add_argument('--seconds', type=float, default=3.0)
    parser.add_argument('--depth', type=int, default=32)
    parser.add_argument('--objects', type=int, default=64)
    parser.add_argument('--journal-mib', type=int, default=512)
    parser.add_argument('--kinds', default='durable,writeback,read')
    parser.add_argument('--profile', action='store_true')
    options = parser.parse_args()
    real.run(lambda world: main(world, options))
