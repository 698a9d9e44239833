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

"""A store on a disk that is full or fails, held against the twin.

One operation at a time. What fails leaves each sector as it was or as it
was to be; everything else stays as it is, now and after a crash; removing
works on a full disk.
"""

import asyncio
import unittest

from sheepdog.model import errors
from sheepdog.testing import world as sim
from sheepdog.tests.unit.store import test_crashes
from sheepdog.tests.unit.store import twin as twin_module

CAPACITY = test_crashes.CAPACITY
SECTOR = twin_module.SECTOR
SEEDS = test_crashes.SEEDS // 3
Failure = test_crashes.Failure


class FaultyRun(test_crashes.Run):
    """As the random work, but each operation waits for its end."""

    drivers = 1
    chain_chance = 0.0
    expected = errors.StorageError

    def __init__(self, seed: int, **settings):
        super().__init__(seed, **settings)
        self.refused = 0
        self.answered = None
        self.error = None

    def before(self, rnd) -> None:
        """Break or mend something."""

    async def drive(self, left: list) -> None:
        while left[0] > 0:
            left[0] -= 1
            self.before(self.random)
            await self.one(self.random)

    async def one(self, rnd) -> None:
        kind = rnd.random()
        oid = rnd.choice(test_crashes.OIDS)
        before = self.twin.history(oid).last
        self.answered = asyncio.get_running_loop().create_future()
        self.error = None
        if kind < 0.6:
            self.write(rnd, oid)
        elif kind < 0.72:
            self.zero(rnd, oid)
        elif kind < 0.77:
            self.remove(rnd, oid)
        elif kind < 0.85:
            await self.adopt(rnd, oid)
            self.answered.cancel()
        else:
            self.sync()
            self.answered.cancel()
            await asyncio.sleep(0.01)
        if not self.answered.cancelled():
            await self.answered
        if self.error is not None:
            await self.look_at(oid, before)

    def answer(self, oid, index, is_durable, creates=False):
        inner = super().answer(oid, index, is_durable, creates)

        def done(error):
            if not self.host.is_running:
                return
            if error is None or isinstance(error, errors.NoObject):
                inner(error)
            else:
                self.refuse(error)
            if not self.answered.done():
                self.answered.set_result(None)

        return done

    def refuse(self, error) -> None:
        self.refused += 1
        self.error = error
        if not isinstance(error, self.expected):
            self.fail('unexpected: %r' % error)

    async def adopt(self, rnd, oid) -> None:
        try:
            await super().adopt(rnd, oid)
        except errors.SheepdogError as error:
            self.adopting.clear()
            self.refuse(error)

    async def look_at(self, oid, before) -> None:
        """After a failure: what the object is now is what counts."""
        history = self.twin.history(oid)
        meant = history.last
        content = await test_crashes.read(self.store, oid, 0, CAPACITY)
        if isinstance(content, errors.NoObject):
            content = None
        elif isinstance(content, errors.SheepdogError):
            self.unreadable(oid, before, meant, content)
            return
        fault = _mixed(content, before.content, meant.content)
        if fault:
            raise Failure('object %016x after %r: %s'
                          % (oid, self.error, fault))
        life = meant.life if before.content is None else before.life
        index = history.append(twin_module.State(
            content, self.store.version(oid) or 0, life))
        # A power cut may bring back what failed; a kill may not, if the
        # journal was told in what shape things are.
        if self.store._writer.failed is None:
            history.kept_after_kill.add(index)

    def unreadable(self, oid, before, meant, error) -> None:
        raise Failure('object %016x: %r' % (oid, error))


def _mixed(content, before, meant) -> str:
    if content is None or before is None or meant is None:
        ok = content in (before, meant) or (
            content is not None and before is None
            and content == bytes(CAPACITY))
        return '' if ok else 'it is neither as before nor as meant'
    for start in range(0, CAPACITY, SECTOR):
        end = start + SECTOR
        if content[start:end] not in (before[start:end], meant[start:end]):
            return 'sector at %d is neither as before nor as meant' % start
    return ''


class FullDiskRun(FaultyRun):
    """Room for the journal and not quite for what is written."""

    expected = errors.NoSpace
    reserve = 320 << 10
    spare = 640 << 10

    def __init__(self, seed: int, **settings):
        super().__init__(seed, **settings)
        self.simulation = sim.Simulation(seed)
        self.host = self.simulation.add_host(
            'n1', test_crashes.JOURNAL_BYTES + self.spare)
        self.total_pages = self.host.image.total_pages

    async def drive(self, left: list) -> None:
        await super().drive(left)
        if self.random.random() < 0.5:
            return
        # However full it is: what is removed gives its space back.
        for oid in self.store.oids():
            before = self.store.space().free
            self.answered = asyncio.get_running_loop().create_future()
            self.error = None
            self.remove(self.random, oid)
            await self.answered
            if self.error is not None:
                raise Failure('cannot remove: %r' % self.error)
            if self.store.space().free < before:
                raise Failure('removing takes space')


class NoReserveRun(FullDiskRun):
    """The file system itself says no, at any moment."""

    reserve = 0
    spare = 300 << 10

    def start(self):
        world = super().start()
        # Somebody made room, or else it could not start.
        self.host.image.total_pages = self.total_pages + 256
        return world

    async def drive(self, left: list) -> None:
        self.host.image.total_pages = self.total_pages
        await FaultyRun.drive(self, left)


class BrokenDiskRun(FaultyRun):
    """The device answers EIO now and then; once it has refused a sync,
    nothing more is written until the next start."""

    def before(self, rnd) -> None:
        faults = self.host.faults
        faults.fails_writes = rnd.random() < 0.1
        faults.fails_reads = rnd.random() < 0.1
        faults.fails_syncs = rnd.random() < 0.01

    def start(self):
        self.mend()
        return super().start()

    def mend(self) -> None:
        faults = self.host.faults
        faults.fails_writes = faults.fails_reads = faults.fails_syncs = False

    def stop(self) -> None:
        if self.store is not None and self.store._writer.failed is not None \
                and not self.store._identity.sync_failed:
            # Nobody could be told: only the power's return shows what is
            # on disk.
            self.host.power_cut()
            self.host.power_on()
            self.is_cut = True
        super().stop()

    async def look_at(self, oid, before) -> None:
        self.mend()
        await super().look_at(oid, before)

    def read(self, rnd, oid) -> None:
        self.mend()
        super().read(rnd, oid)

    def sync_failed(self, error) -> None:
        if self.store._writer.failed is None:
            self.fail('sync: %r' % error)

    def unreadable(self, oid, before, meant, error) -> None:
        if not self.store.bad_blocks().get(oid):
            raise Failure('object %016x: %r' % (oid, error))


class FaultTest(unittest.TestCase):
    def try_seeds(self, run_class, seeds: int) -> int:
        refused = 0
        for seed in range(test_crashes.FIRST_SEED,
                          test_crashes.FIRST_SEED + seeds):
            run = run_class(seed)
            try:
                run.run()
            except Exception:
                print('seed %d' % seed)
                raise
            refused += run.refused
        return refused

    def test_a_disk_with_errors(self):
        self.assertGreater(self.try_seeds(BrokenDiskRun, SEEDS), SEEDS)

    def test_a_disk_that_gets_full(self):
        self.assertGreater(self.try_seeds(FullDiskRun, SEEDS), SEEDS)

    def test_a_disk_that_is_full_to_the_last_block(self):
        self.assertGreater(self.try_seeds(NoReserveRun, SEEDS), SEEDS)
