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

"""Random work on a store that dies at any moment, held against a twin.

What must hold, whatever happens:

- acknowledged as durable, or acknowledged before a sync that has ended: it
  is there after a power cut;
- acknowledged: it is there after kill -9;
- each sector holds what one of the operations left there, none older than
  the last that must be kept; an object is there, or not, likewise;
- nothing reads as damaged.

``STORE_SEEDS`` sets how many seeds are tried, ``STORE_SEED`` the first.
"""

import asyncio
import os
import random
import unittest

from sheepdog.model import errors
from sheepdog.store import store as store_module
from sheepdog.testing import world as sim
from sheepdog.tests.unit.store import twin as twin_module

META = '/meta'
CAPACITY = 128 << 10
OIDS = (1, 2, 3, 0x8000000100000000)
JOURNAL_BYTES = 2 << 20
SEEDS = int(os.environ.get('STORE_SEEDS', '100'))
FIRST_SEED = int(os.environ.get('STORE_SEED', '1'))
ROUNDS = 4


class Failure(Exception):
    pass


class Run:
    """One seed: several lives of one store."""

    drivers = 3
    chain_chance = 0.3
    reserve = 0

    def __init__(self, seed: int, nosync: bool = False, skip: bool = False):
        self.random = random.Random('%d/run' % seed)
        self.simulation = sim.Simulation(seed)
        self.host = self.simulation.add_host('n1', 64 << 20)
        self.settings = store_module.StoreSettings(
            meta=META, journal_bytes=JOURNAL_BYTES,
            open_objects_max=self.random.choice((1, 2, 100)),
            nosync=nosync, journal_skip=skip, reserve_bytes=self.reserve)
        self.has_journal = not skip
        self.twin = twin_module.Twin()
        self.store = None
        self.failures = []
        self.is_cut = False
        self.stamp = 0
        self.done = set()
        self.is_closing = False
        self.adopting = {}
        self.host.faults.cold_chance = self.random.choice((0.0, 0.05, 0.5))
        self.counters = {}

    # One life.

    def run(self) -> None:
        with self.simulation:
            for number in range(ROUNDS):
                self.life(number)
                self.verify()
            for what in self.simulation.errors():
                raise Failure('unhandled: %r' % (what,))

    def life(self, number: int) -> None:
        world = self.start()
        if self.random.random() < 0.8:
            self.host.process.kill_after(
                self.random.randrange(1, 1 + self.random.choice(
                    (30, 300, 1500))))
        self.is_cut = False
        self.is_closing = False
        self.adopting = {}
        task = world.spawn(self.work(world, self.random.choice(
            (5, 50, 300))))
        self.simulation.run_until(
            lambda: not self.host.is_running or task.done(), 600)
        if self.host.is_running and not task.done():
            raise Failure('the work does not end')
        if self.host.is_running and task.exception():
            raise task.exception()
        self.stop()

    def stop(self) -> None:
        if self.random.random() < 0.5:
            self.host.kill()
        else:
            self.host.power_cut()
            self.host.power_on()
            self.is_cut = True
        self.count()

    def count(self) -> None:
        """Add up what the store counted."""
        if self.store is not None:
            for name, value in self.store.counters.to_dict().items():
                self.counters[name] = self.counters.get(name, 0) + value
            self.store = None

    def start(self):
        return self.host.start()

    async def work(self, world, operations: int) -> None:
        self.store = await store_module.Store.open(world, self.settings)
        left = [operations]
        tasks = [world.spawn(self.drive(left)) for _ in range(self.drivers)]
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()
        if self.random.random() < 0.3:
            self.is_closing = True
            await self.store.close()

    async def drive(self, left: list) -> None:
        rnd = self.random
        while left[0] > 0:
            left[0] -= 1
            for _ in range(rnd.choice((1, 1, 1, 4))):
                await self.one(rnd)
            if rnd.random() < 0.5:
                await asyncio.sleep(rnd.random() * 0.002)

    async def one(self, rnd) -> None:
        kind = rnd.random()
        oid = rnd.choice(OIDS)
        if kind < 0.55:
            self.write(rnd, oid)
        elif kind < 0.67:
            self.zero(rnd, oid)
        elif kind < 0.71:
            self.remove(rnd, oid)
        elif kind < 0.85:
            self.read(rnd, oid)
        elif kind < 0.95:
            self.sync()
        elif kind < 0.98:
            await self.adopt(rnd, oid)
        else:
            await self.describe(oid)

    # Operations.

    def data(self, size: int) -> bytes:
        """Different in each sector of each operation."""
        self.stamp += 1
        blocks = []
        for sector in range(size // 512 + 1):
            blocks.append(b'%08d.%06d.' % (self.stamp, sector) + b'\1' * 496)
        return b''.join(blocks)[:size]

    def range(self, rnd) -> tuple:
        kind = rnd.random()
        if kind < 0.5:
            return rnd.randrange(CAPACITY // 4096) * 4096, 4096
        if kind < 0.65:
            offset = rnd.randrange(CAPACITY // 512) * 512
            return offset, min(rnd.randrange(1, 24) * 512, CAPACITY - offset)
        if kind < 0.75:
            offset = rnd.randrange(CAPACITY)
            return offset, rnd.randrange(
                1, 1 + min(9000, CAPACITY - offset))
        if kind < 0.85:
            offset = rnd.randrange(2) * 65536
            return offset, 65536
        if kind < 0.9:
            return 0, CAPACITY
        offset = rnd.randrange(12000)
        return offset, rnd.randrange(65536, CAPACITY - offset)

    def write(self, rnd, oid) -> None:
        offset, size = self.range(rnd)
        # Sectors are torn at their own bounds only where a write ends at
        # one; the twin looks at whole sectors.
        offset -= offset % 512
        size = min(-(-size // 512) * 512, CAPACITY - offset)
        data = self.data(size)
        version = rnd.randrange(1, 100)
        is_durable = rnd.random() < 0.5
        capacity = CAPACITY if rnd.random() < 0.8 else 0
        history = self.twin.history(oid)
        creates = history.last.content is None
        if creates and not capacity:
            index = None
        else:
            index = self.twin.write(oid, version, offset, data, CAPACITY)
        self.store.write(
            oid, version, offset, data,
            self.answer(oid, index, is_durable,
                        creates and self.has_journal), is_durable, capacity)

    def zero(self, rnd, oid) -> None:
        offset, size = self.range(rnd)
        offset -= offset % 512
        size = min(-(-size // 512) * 512, CAPACITY - offset)
        version = rnd.randrange(1, 100)
        is_durable = rnd.random() < 0.5
        index = None
        if self.twin.history(oid).last.content is not None:
            index = self.twin.write(oid, version, offset, bytes(size), 0)
        self.store.zero(oid, version, offset, size,
                        self.answer(oid, index, is_durable), is_durable)

    def remove(self, rnd, oid) -> None:
        index = None
        if self.twin.history(oid).last.content is not None:
            index = self.twin.remove(oid)
        is_durable = rnd.random() < 0.5
        self.store.remove(
            oid, self.answer(oid, index, is_durable or self.has_journal),
            is_durable)

    def answer(self, oid, index, is_durable, creates=False):
        """What to do with the answer to operation ``index``; None: there
        was no object then. ``creates``: that the object is there is
        durable, whatever becomes of its content."""
        history = self.twin.history(oid)
        states = history.states
        me = object()

        def done(error):
            if not self.host.is_running:
                # Clean-up code that runs in the simulator only.
                return
            if me in self.done:
                raise Failure('answered twice')
            self.done.add(me)
            if history.states is not states:
                raise Failure('answered in another life')
            if index is None:
                if not isinstance(error, errors.NoObject):
                    self.fail('no object, but %r' % error)
                return
            if error is not None:
                self.fail('failed: %r' % error)
                return
            history.kept_after_kill.add(index)
            if is_durable:
                history.kept_after_cut.add(index)
            if creates:
                history.kept_after_cut.add(index - 1)
            self.go_on()

        return done

    def go_on(self) -> None:
        """An answer may lead to the next request at once."""
        if self.random.random() < self.chain_chance \
                and not self.is_closing:
            oid = self.random.choice(OIDS)
            if self.random.random() < 0.5:
                self.write(self.random, oid)
            else:
                self.read(self.random, oid)

    def read(self, rnd, oid) -> None:
        offset, size = self.range(rnd)
        history = self.twin.history(oid)
        first = len(history.states) - 1

        def done(error, data):
            if not self.host.is_running:
                return
            states = history.states[first:]
            if isinstance(error, errors.NoObject):
                if any(state.content is None for state in states):
                    return
            elif error is None:
                if len(data) != size:
                    self.fail('%d bytes for %d' % (len(data), size))
                if any(state.content is not None and
                       state.content[offset:offset + size] == data
                       for state in states):
                    return
            self.fail('read %016x %d+%d: %r %r' % (
                oid, offset, size, error, data and data[:20]))

        self.store.read(oid, offset, size, done)

    def sync(self) -> None:
        positions = {oid: len(history.states) - 1 for oid, history in
                     self.twin.objects.items()}
        for oid, index in self.adopting.items():
            # A sync does not wait for an adoption under way.
            if positions[oid] == index:
                positions[oid] -= 1

        def done(error):
            if not self.host.is_running:
                return
            if error is not None:
                self.sync_failed(error)
                return
            for oid, position in positions.items():
                history = self.twin.history(oid)
                history.kept_after_cut.update(range(position + 1))
                history.kept_after_kill.update(range(position + 1))

        self.store.sync(done)

    def sync_failed(self, error) -> None:
        self.fail('sync: %r' % error)

    async def adopt(self, rnd, oid) -> None:
        pieces = []
        for _ in range(rnd.randrange(4)):
            offset, size = self.range(rnd)
            pieces.append((offset, self.data(size)))
        zeros = [self.range(rnd)] if rnd.random() < 0.5 else []
        keep = rnd.random() < 0.5
        version = rnd.randrange(1, 100)
        index = self.twin.adopt(oid, version, CAPACITY, pieces, keep, zeros)
        answer = self.answer(oid, index, True)
        self.adopting[oid] = index
        await self.store.adopt(oid, version, CAPACITY, pieces, keep, zeros)
        if self.adopting[oid] == index:
            del self.adopting[oid]
        answer(None)

    async def describe(self, oid) -> None:
        history = self.twin.history(oid)
        first = len(history.states) - 1
        state = await self.store.describe(oid)
        states = history.states[first:]
        if state is None:
            if not any(state.content is None for state in states):
                self.fail('describe: no object')
        elif not state.whole or state.version not in [
                other.version for other in states]:
            self.fail('describe: %r' % (state,))

    def fail(self, what: str) -> None:
        self.failures.append(what)

    # After a crash.

    def verify(self) -> None:
        """Open again, perhaps only at the third attempt; look at all."""
        for _ in range(self.random.choice((0, 0, 1, 3))):
            world = self.start()
            self.host.process.kill_after(self.random.randrange(1, 40))
            task = world.spawn(store_module.Store.open(world, self.settings))
            self.simulation.run_until(
                lambda: not self.host.is_running or task.done(), 600)
            if self.host.is_running:
                # It came to its end before its time: all is durable now.
                if task.exception():
                    raise task.exception()
                self.host.kill()
                break
            self.stop()
        world = self.start()
        task = world.spawn(self.look(world))
        self.simulation.run_until(task.done, 600)
        task.result()
        self.host.kill()
        if self.failures:
            raise Failure('\n'.join(self.failures))

    async def look(self, world) -> None:
        self.store = store = await store_module.Store.open(world,
                                                           self.settings)
        found = store.oids()
        if set(found) - set(OIDS):
            raise Failure('objects out of nowhere: %r' % found)
        for oid in OIDS:
            history = self.twin.history(oid)
            kept = history.kept_after_cut if self.is_cut \
                else history.kept_after_kill
            self.excused = set()
            content = await self.content(store, oid, history, kept) \
                if oid in found else None
            fault = history.check(content, store.version(oid), kept,
                                  self.excused)
            if fault:
                raise Failure('object %016x after a %s: %s' % (
                    oid, 'power cut' if self.is_cut else 'kill', fault))
            history.restart(content, store.version(oid) or 0,
                            self.twin.new_life())
            state = await store.describe(oid)
            if content is not None and not state.whole:
                raise Failure('object %016x is not whole: %r' % (
                    oid, store.bad_blocks()))
        if self.random.random() < 0.5:
            await store.close()
        self.count()

    async def content(self, store, oid, history, kept) -> bytes:
        content = await read(store, oid, 0, CAPACITY)
        if isinstance(content, Exception):
            raise Failure('object %016x: %r' % (oid, content))
        return content


async def read(store, oid, offset, size):
    """The bytes, or the error."""
    future = asyncio.get_running_loop().create_future()
    store.read(oid, offset, size,
               lambda error, data: future.set_result(error or data))
    return await future


class NoSyncRun(Run):
    """Never synced: kill -9 must do no harm all the same."""

    def __init__(self, seed: int):
        super().__init__(seed, nosync=True)

    def stop(self) -> None:
        self.host.kill()
        self.count()


class NoJournalRun(Run):
    """Without a journal a block may be damaged by a crash that came in the
    middle of a write to it, and this is seen."""

    def __init__(self, seed: int):
        super().__init__(seed, skip=True)
        self.damaged = 0

    async def content(self, store, oid, history, kept) -> bytes:
        """Damaged blocks are overwritten with zeroes, and pass."""
        if store.version(oid) == -1 and max(kept) < len(history.states) - 1:
            # Its creation never was durable.
            self.damaged += 1
            await done(lambda done: store.remove(oid, done))
            return None
        blocks = []
        for start in range(0, CAPACITY, 4096):
            block = await read(store, oid, start, 4096)
            if isinstance(block, errors.ChecksumError):
                self.damaged += 1
                if not any(state.low < start + 4096 and state.high > start
                           and state.content
                           for index, state in enumerate(history.states)
                           if index not in kept):
                    raise Failure('object %016x: %r' % (oid, block))
                self.excused.update(range(start, start + 4096, 512))
                block = bytes(4096)
                await done(lambda done: store.write(oid, 1, start, block,
                                                    done))
            elif isinstance(block, Exception):
                raise Failure('object %016x: %r' % (oid, block))
            blocks.append(block)
        return b''.join(blocks)


async def done(start) -> None:
    """Await an operation; raises its error."""
    future = asyncio.get_running_loop().create_future()
    start(future.set_result)
    error = await future
    if error is not None:
        raise error


class CrashTest(unittest.TestCase):
    def try_seeds(self, run_class, seeds: int) -> list:
        runs = []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            run = run_class(seed)
            try:
                run.run()
            except Exception:
                print('seed %d' % seed)
                raise
            runs.append(run)
        return runs

    def test_random_work_and_crashes(self):
        runs = self.try_seeds(Run, SEEDS)
        # The seeds must have met what they are for.
        for name in ('replayed_records', 'uncertain_blocks', 'checkpoints',
                     'stalls', 'evicted', 'cold_reads'):
            self.assertGreater(sum(run.counters[name] for run in runs), 0,
                               name)

    def test_kill_without_syncs(self):
        self.try_seeds(NoSyncRun, SEEDS // 5)

    def test_crashes_without_a_journal(self):
        self.try_seeds(NoJournalRun, SEEDS // 5)
