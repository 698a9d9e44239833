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

"""A store on a simulated disk, one call at a time."""

import asyncio
import dataclasses
import unittest

from sheepdog.store import store as store_module
from sheepdog.testing import world as sim

META = '/meta'
BLOCK = 4096
CAPACITY = 64 * BLOCK


class StoreCase(unittest.TestCase):
    """``open`` starts a process and opens; ``crash`` kills it."""

    settings = store_module.StoreSettings(
        meta=META, journal_bytes=2 << 20, reserve_bytes=0)
    disk_bytes = 64 << 20

    def setUp(self):
        self.simulation = sim.Simulation(self.id())
        self.addCleanup(self.simulation.close)
        self.host = self.simulation.add_host('n1', self.disk_bytes)
        self.host.faults.cold_chance = 0.0
        self.store = None

    def open(self, **changes):
        if not self.host.is_running:
            self.host.start()
        self.store = self.host.run(store_module.Store.open(
            self.host.world,
            dataclasses.replace(self.settings, **changes)))
        return self.store

    def crash(self, power: bool = False) -> None:
        if power:
            self.host.power_cut()
            self.host.power_on()
        else:
            self.host.kill()

    def close(self) -> None:
        self.host.run(self.store.close())
        self.host.kill()

    def reopen(self, **changes):
        self.close()
        return self.open(**changes)

    def call(self, method, *arguments, **keywords):
        """The answer to a call with ``done``; raises its error."""
        async def run():
            future = asyncio.get_running_loop().create_future()
            method(*arguments, done=lambda error, data=None:
                   future.set_result((error, data)), **keywords)
            return await future

        error, data = self.host.run(run())
        if error is not None:
            raise error
        return data

    def start(self, method, *arguments, **keywords) -> list:
        """Make a call and do not wait; the answers as they come."""
        answers = []
        self.host.process.run(
            lambda: method(*arguments, done=lambda *answer:
                           answers.append(answer), **keywords))
        return answers

    def refused(self, *calls) -> list:
        """What each call (a function that is given ``done``) answers, made
        one after the other while the journal's sync for the first is under
        way. The device refuses that one, and claims success behind it."""
        answers = []

        async def run():
            for number, call in enumerate(calls):
                call(lambda error, *_, number=number:
                     answers.append((number, error)))
                for _ in range(5):
                    await asyncio.sleep(0)
            while len(answers) < len(calls):
                await asyncio.sleep(0.001)

        faults = self.host.faults
        self.store.when_failing(lambda: setattr(faults, 'fails_syncs', False))
        faults.fails_syncs = True
        self.wait(run())
        self.assertFalse(faults.fails_syncs)
        return [error for _, error in sorted(answers)]

    def write(self, oid, offset, data, version=1, capacity=CAPACITY,
              durable=True):
        self.call(self.store.write, oid, version, offset, data,
                  durable=durable, capacity=capacity)

    def read(self, oid, offset=0, size=CAPACITY) -> bytes:
        return self.call(self.store.read, oid, offset, size)

    def zero(self, oid, offset, size, version=1, durable=True):
        self.call(self.store.zero, oid, version, offset, size,
                  durable=durable)

    def remove(self, oid):
        self.call(self.store.remove, oid)

    def sync(self):
        self.call(self.store.sync)

    def wait(self, awaitable):
        return self.host.run(awaitable)

    def let_pass(self, seconds: float) -> None:
        self.simulation.run_for(seconds)

    def inode(self, oid):
        """The object's file, below everything."""
        return self.host.image.lookup('%s/obj/%016x' % (META, oid))

    def segment(self, number: int):
        """A file of the journal, below everything."""
        return self.host.image.lookup('%s/journal/%s.%d' % (
            META, self.store.node_id, number))
