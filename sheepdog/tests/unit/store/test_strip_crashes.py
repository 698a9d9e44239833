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

"""Strips on a store that dies at any moment, held against a twin.

Whatever happens, a strip is as its last acknowledged change left it, or as
the one under way would: bytes, generation, prepared generations, and open
updates with the bytes they replaced. Updates that were closed may be open
again. What it says to have changed may be more than what has, never less.

``STRIP_SEEDS`` sets how many seeds are tried, ``STRIP_SEED`` the first.
"""

import asyncio
import copy
import os
import random
import unittest

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.store import changed
from sheepdog.store import history as store_history
from sheepdog.store import store as store_module
from sheepdog.testing import world as sim

META = '/meta'
CAPACITY = 32 << 10
LARGE_CAPACITY = 768 << 10
JOURNAL_BYTES = 2 << 20
"""Of three large strips, half of it has no room for what is open."""

KEYS = (ids.strip_key(1, 0), ids.strip_key(1, 5), ids.strip_key(2, 30))
WHOLE = 3
SEEDS = int(os.environ.get('STRIP_SEEDS', '12'))
FIRST_SEED = int(os.environ.get('STRIP_SEED', '1'))
ROUNDS = 5
BIRTH = (1, 0, True)


class Twin:
    """One strip as it should be."""

    def __init__(self, capacity):
        self.exists = False
        self.content = bytearray(capacity)
        self.generation = BIRTH
        self.nexts = ()
        self.forgotten = store_history.NONE
        self.open = {}
        self.closed = {}
        self.now = 0
        self.left = 0
        self.changed = {}

    def update(self, number, offset, data):
        if number in self.open:
            return
        self.exists = True
        self.open[number] = (offset, bytes(
            self.content[offset:offset + len(data)]))
        self.content[offset:offset + len(data)] = data
        self.now |= changed.bits_of(offset, len(data))

    def close(self, below):
        for number in [n for n in self.open if n < below]:
            self.closed[number] = self.open.pop(number)

    def align(self, generation, kept):
        self.undo(self.excess(kept))
        self.nexts += (generation,)
        if len(self.nexts) > store_history.NEXTS_MAX:
            self.forgotten = max(self.forgotten, self.nexts[0])
            self.nexts = self.nexts[1:]

    def excess(self, kept):
        return [n for n in sorted(self.open, reverse=True) if n not in kept]

    def undo(self, numbers):
        for number in numbers:
            offset, old = self.open.pop(number)
            self.content[offset:offset + len(old)] = old
            self.left |= changed.bits_of(offset, len(old))
        if numbers:
            self.refuse()

    def unsure(self):
        bits = self.left
        for offset, old in self.open.values():
            bits |= changed.bits_of(offset, len(old))
        return bits

    def settle(self, generation):
        self.changed = {g: bits | self.now for g, bits
                        in self.changed.items()}
        if self.generation != store_history.NONE:
            self.changed[self.generation] = self.unsure()
        for old in list(self.changed)[:-store_history.CHANGED_MAX]:
            del self.changed[old]
        self.now = self.left = 0
        self.generation, self.nexts = generation, ()
        self.open, self.closed = {}, {}

    def refuse(self):
        """An update of it was begun, and taken back."""
        if self.exists:
            self.forgotten = max((self.forgotten,) + self.nexts)
            self.nexts = ()

    def adopt(self, generation, content):
        self.exists = True
        self.content = bytearray(content)
        self.generation, self.nexts = store_history.NONE, (generation,)
        self.forgotten = store_history.NONE
        self.open, self.closed = {}, {}
        self.changed, self.now, self.left = {}, 0, 0


class Run:
    def __init__(self, seed, is_filled=False, is_large=False):
        """``is_filled``: now and then somebody takes all the space;
        ``is_large``: the strips are, and little is closed."""
        self.is_filled = is_filled
        self.is_large = is_large
        self.capacity = LARGE_CAPACITY if is_large else CAPACITY
        self.sizes = (32768, 131072, 262144) if is_large else (
            256, 1024, 4096, 5120, 16384)
        self.kept_apart = 0
        self.refused = 0
        self.chance = random.Random('%d/strips' % seed)
        self.simulation = sim.Simulation(seed)
        self.host = self.simulation.add_host('n1', 64 << 20)
        self.total_pages = self.host.image.total_pages
        self.host.faults.cold_chance = self.chance.choice((0.0, 0.3))
        self.settings = store_module.StoreSettings(
            meta=META, journal_bytes=JOURNAL_BYTES, reserve_bytes=0,
            open_objects_max=self.chance.choice((1, 100)),
            checkpoint_seconds=self.chance.choice((0.05, 1.0, 60.0)))
        self.twins = {key: [Twin(self.capacity)] for key in KEYS}
        self.failures = []
        self.number = 0
        self.epoch = 1
        self.checked = 0
        self.reopened = 0

    def run(self):
        with self.simulation:
            for _ in range(ROUNDS):
                self.host.image.total_pages = self.total_pages
                self.host.start()
                self.store = self.host.run(store_module.Store.open(
                    self.host.world, self.settings))
                self.host.run(self.check())
                if self.failures:
                    return self.failures
                for key in KEYS:
                    self.host.world.spawn(self.drive(key))
                self.host.world.spawn(self.disturb())
                if self.is_filled:
                    self.host.world.spawn(self.fill())
                self.simulation.run_for(self.chance.uniform(0.0, 0.6))
                self.kept_apart += self.host.world.disk.exists(
                    META + '/open')
                fate = self.chance.random()
                if fate < 0.4:
                    self.host.power_cut()
                    self.host.power_on()
                elif fate < 0.8:
                    self.host.kill()
                else:
                    self.is_closing = True
                    self.host.run(self.store.close())
                    self.host.kill()
        return self.failures

    async def fill(self):
        image = self.host.image
        while True:
            await asyncio.sleep(self.chance.uniform(0, 0.2))
            image.total_pages = image.used_pages + self.chance.randrange(4)
            await asyncio.sleep(self.chance.uniform(0, 0.2))
            image.total_pages = self.total_pages

    async def disturb(self):
        """Something else that fills the journal."""
        while True:
            done = asyncio.get_running_loop().create_future()
            self.store.write(WHOLE, 1, 0, self.chance.randbytes(
                self.chance.choice((4096, 32768))),
                lambda error, done=done: done.done()
                or done.set_result(error), capacity=1 << 20)
            if await done is not None:
                return

    async def drive(self, key):
        while not self.failures:
            before = self.twins[key][-1]
            after = copy.deepcopy(before)
            operation = self.choose(key, after)
            # Until it is acknowledged, either may be.
            self.twins[key] = [before, after]
            undone = copy.deepcopy(before)
            undone.refuse()
            if self.is_filled:
                self.twins[key].append(undone)
            try:
                await operation
            except errors.ShuttingDown:
                return
            except errors.NoSpace as error:
                if not self.is_filled:
                    self.failures.append('%x: %r' % (key, error))
                self.refused += 1
                found = await self.look(key)
                self.twins[key] = [
                    undone if self.differs(found, before) else before]
                wrong = self.differs(found, self.twins[key][0])
                if wrong:
                    self.failures.append('%x refused: %s' % (key, wrong))
                if self.is_large:
                    # (Nothing frees the journal while the disk is full.)
                    await asyncio.sleep(self.chance.uniform(0, 0.02))
                continue
            except errors.SheepdogError as error:
                self.failures.append('%s: %r' % (key, error))
                return
            self.twins[key] = [after]
            if self.chance.random() < (0.02 if self.is_large else 0.3):
                below = self.number - self.chance.randrange(6)
                after.close(below)
                self.store.close_updates(key, below)
            if self.chance.random() < 0.1:
                await asyncio.sleep(self.chance.uniform(0, 0.1))

    def choose(self, key, twin):
        drawn = self.chance.random()
        is_prepared = twin.exists and twin.generation == store_history.NONE
        if twin.exists and drawn < 0.25 and not is_prepared \
                and not self.is_filled:
            return self.several(key, twin)
        if not twin.exists or drawn < 0.7 and not is_prepared:
            return self.update(key, twin)
        self.epoch += 1
        generation = (self.epoch, 1, False)
        if drawn < (0.2 if is_prepared else 0.85):
            kept = {n for n in twin.open if self.chance.random() < 0.6}
            return self.align(key, twin, generation, kept)
        if drawn < 0.95:
            twin.settle(generation)
            return self.store.settle(key, generation)
        content = self.chance.randbytes(self.capacity)
        twin.adopt(generation, content)
        history = store_history.History()
        history.nexts = (generation,)
        return self.store.adopt(key, self.epoch, self.capacity,
                                [(0, content)], False, history=history)

    async def align(self, key, twin, generation, kept):
        """Much is undone in several steps."""
        excess = twin.excess(kept)
        for count in range(1, len(excess)):
            partly = copy.deepcopy(twin)
            partly.undo(excess[:count])
            self.twins[key].append(partly)
        twin.align(generation, kept)
        await self.store.align(key, generation, kept)

    async def several(self, key, twin):
        """Updates at the same time, of ranges that do not overlap: the
        first ones are there, or all."""
        begun = []
        futures = []
        for _ in range(self.chance.randint(2, 5)):
            size = self.chance.choice((256, 1024, 4096, 5120))
            offset = self.chance.randrange((self.capacity - size) // 256) * 256
            if all(offset + size <= start or end <= offset
                   for start, end in begun):
                begun.append((offset, offset + size))
                futures.append(self.write(key, twin, offset, size))
                self.twins[key].append(copy.deepcopy(twin))
        for error in [await future for future in futures]:
            if error is not None:
                raise error

    async def update(self, key, twin):
        open_numbers = sorted(twin.open)
        if open_numbers and self.chance.random() < 0.1:
            # Sent again.
            number = self.chance.choice(open_numbers)
            offset, old = twin.open[number]
            data = self.chance.randbytes(len(old))
            error = await self.send(key, twin, number, offset, data)
        else:
            size = self.chance.choice(self.sizes)
            offset = self.chance.randrange((self.capacity - size) // 256) * 256
            error = await self.write(key, twin, offset, size)
        if error is not None:
            raise error

    def write(self, key, twin, offset, size):
        self.number += 1
        # What overlaps something open is complete: closed first.
        for other, (start, old) in list(twin.open.items()):
            if start < offset + size and offset < start + len(old):
                for either in self.twins[key]:
                    either.close(other + 1)
                self.store.close_updates(key, other + 1)
        return self.send(key, twin, self.number, offset, self.chance.choice(
            (bytes(size), self.chance.randbytes(size))))

    def send(self, key, twin, number, offset, data):
        """A future of its error or None."""
        twin.update(number, offset, data)
        done = asyncio.get_running_loop().create_future()
        self.store.update(
            key, self.epoch, number, BIRTH, offset, len(data),
            data if any(data) or self.chance.random() < 0.5 else None,
            lambda error: done.done() or done.set_result(error),
            self.capacity)
        return done

    async def check(self):
        for key in KEYS:
            found = await self.look(key)
            for twin in self.twins[key]:
                wrong = self.differs(found, twin)
                if not wrong:
                    # The others are history now.
                    twin = copy.deepcopy(twin)
                    if twin.exists:
                        for number in list(twin.closed):
                            if number in found[0].open:
                                twin.open[number] = twin.closed.pop(number)
                    self.twins[key] = [twin]
                    self.checked += 1
                    break
            else:
                self.failures.append('%x: %s' % (key, wrong))

    async def look(self, key):
        history = await self.store.history(key)
        if history is None:
            return None, None
        done = asyncio.get_running_loop().create_future()
        self.store.read(key, 0, self.capacity,
                        lambda *answer: done.set_result(answer))
        error, data = await done
        return history, error or data

    def differs(self, found, twin):
        history, data = found
        if history is None or not twin.exists:
            return '' if (history is None) == (not twin.exists) else (
                'exists: %s, should: %s' % (history is not None,
                                            twin.exists))
        if data != twin.content:
            return 'content %r' % (data if isinstance(data, Exception)
                                   else '')
        for name in ('generation', 'nexts', 'forgotten'):
            if getattr(history, name) != getattr(twin, name):
                return '%s is %s, should be %s' % (
                    name, getattr(history, name), getattr(twin, name))
        for number, (offset, old) in twin.open.items():
            update = history.open.get(number)
            if update is None:
                return '%d is not open' % number
            if (update.offset, update.old or bytes(update.size)) != (
                    offset, old):
                return '%d replaced something else' % number
        for generation, bits in twin.changed.items():
            if bits & ~(history.since(generation) or 0):
                return 'more has changed since %s' % (generation,)
        if twin.unsure() & ~(history.since(history.generation) or 0):
            return 'more may not be everywhere'
        more = history.open.keys() - twin.open.keys() - twin.closed.keys()
        self.reopened += len(history.open.keys() - twin.open.keys())
        return '%s should not be open' % more if more else ''


class StripCrashTest(unittest.TestCase):

    def test_seeds(self):
        checked = reopened = 0
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            run = Run(seed)
            failures = run.run()
            self.assertEqual([], failures, 'STRIP_SEED=%d' % seed)
            checked += run.checked
            reopened += run.reopened
        self.assertGreater(checked, SEEDS)

    def test_more_is_open_than_the_journal_has_room_for(self):
        checked = kept_apart = 0
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            run = Run(seed, is_large=True)
            failures = run.run()
            self.assertEqual([], failures, 'STRIP_SEED=%d' % seed)
            checked += run.checked
            kept_apart += run.kept_apart
        self.assertGreater(checked, SEEDS)
        self.assertGreater(kept_apart, SEEDS // 4)

    def test_a_disk_that_is_full_now_and_then(self):
        refused = 0
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            run = Run(seed, is_filled=True)
            failures = run.run()
            self.assertEqual([], failures, 'STRIP_SEED=%d' % seed)
            refused += run.refused
        self.assertGreater(refused, SEEDS)

    def test_a_full_disk_and_a_full_journal(self):
        """No segment becomes free, for what is open has no room elsewhere:
        what could not be applied is rolled back nevertheless."""
        refused = kept_apart = 0
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            run = Run(seed, is_filled=True, is_large=True)
            failures = run.run()
            self.assertEqual([], failures, 'STRIP_SEED=%d' % seed)
            refused += run.refused
            kept_apart += run.kept_apart
        self.assertGreater(refused, SEEDS)
        self.assertGreater(kept_apart, SEEDS // 4)
