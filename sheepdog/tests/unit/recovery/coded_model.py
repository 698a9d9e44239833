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

"""A coded object among sheep that die at every step, in small.

Strips are sets of update numbers in the place of bytes: strips decode to
something if the sets are equal. Runs until an acknowledged update is missing,
or strips are mixed that are not equal.
"""

import random

from sheepdog.recovery import agreement


class Mixed(AssertionError):
    """Strips that differ were taken for equal."""


class Lost(AssertionError):
    """An acknowledged update is not in what counts."""


class Sheep:
    """One sheep, and its strips: index → Strip."""

    def __init__(self, name):
        self.name = name
        self.strips = {}
        self.is_lost = False


class Strip:
    def __init__(self, generation, content=()):
        self.generation = generation
        self.nexts = ()
        self.forgotten = agreement.NONE
        self.floor = 0
        self.open = {}
        """number → whether the strip had it already (then the old bytes are
        the new ones)."""
        self.content = set(content)

    def apply(self, number):
        if number not in self.open and number >= self.floor:
            self.open[number] = number in self.content
            self.content.add(number)

    def close(self, below):
        """Updates below are complete."""
        closed = [number for number in self.open if number < below]
        for number in closed:
            del self.open[number]
            self.floor = max(self.floor, number + 1)

    def roll_back(self, kept):
        if set(self.open) - kept:
            self.forgotten = max((self.forgotten,) + self.nexts)
            self.nexts = ()
        for number in set(self.open) - kept:
            if not self.open.pop(number):
                self.content.discard(number)


class Model:
    """:param decide: in the place of ``agreement.decide``, for a test of
        the test"""

    def __init__(self, seed, data=4, parity=2, sheep=8,
                 decide=agreement.decide):
        self.chance = random.Random(seed)
        self.data = data
        self.parity = parity
        self.decide = decide
        self.sheep = {str(n): Sheep(str(n)) for n in range(sheep)}
        self.ring = list(self.sheep)
        self.chance.shuffle(self.ring)
        self.views = {}
        self.epoch = 0
        self.acknowledged = set()
        self.flight = {}
        self.number = 0
        self.settled = set()
        self.births = {}
        self.counts = 0
        self.steps = None
        self.dead_orderers = 0
        self.settlements = 0
        self.waits = 0
        self.is_born = False
        self.flight = {}
        self.up = set()
        self.change_view(set(self.sheep))

    # -- the cluster ----------------------------------------------------

    def targets_in(self, members):
        """name → index of its strip."""
        chosen = [name for name in self.ring if name in members]
        chosen = chosen[:self.data + self.parity]
        slots = {}
        for name in chosen:
            wanted = int(name) * 7 % (self.data + self.parity)
            while wanted in slots.values():
                wanted = (wanted + 1) % (self.data + self.parity)
            slots[name] = wanted
        return slots

    @property
    def targets(self):
        return self.targets_in(self.up)

    def change_view(self, up, returned=()):
        before = self.targets
        self.up = set(up)
        self.epoch += 1
        self.views[self.epoch] = frozenset(self.targets)
        self.steps = None
        # Every view takes an attempt of its own.
        self.flight = {number: {} for number in self.flight}
        if before != self.targets or set(returned) & set(before):
            self.settled = set()
            self.births = {}

    def present(self, name):
        return name in self.up

    # -- updates --------------------------------------------------------

    def step_update(self):
        if not self.can_write():
            return
        if not self.flight and not self.is_born:
            self.is_born = True
        self.number += 1
        self.flight[self.number] = {}

    def can_write(self):
        return len(self.targets) >= self.data

    def step_deliver(self):
        """One update reaches one strip."""
        if not self.flight:
            return
        number = self.chance.choice(list(self.flight))
        targets = self.targets
        waiting = [name for name in targets if name in self.settled
                   and name not in self.flight[number]]
        if not waiting:
            return
        name = self.chance.choice(waiting)
        strips = self.sheep[name].strips
        strip = strips.get(targets[name])
        if strip is None:
            strip = strips[targets[name]] = Strip(self.births.get(
                name, agreement.Generation(self.epoch_of_birth(), 0, True)))
        strip.apply(number)
        self.flight[number][name] = strip.generation

    def epoch_of_birth(self):
        """The first epoch with the targets of now."""
        epoch = self.epoch
        while self.views.get(epoch - 1) == self.views[epoch]:
            epoch -= 1
        return epoch

    def step_complete(self):
        for number, answers in list(self.flight.items()):
            if not set(self.targets) <= set(answers):
                continue
            if len({answers[name] for name in self.targets}) > 1:
                # Some answers are of before a settlement: all over again.
                self.flight[number] = {}
                continue
            self.acknowledged.add(number)
            del self.flight[number]

    def step_declare(self):
        below = min(self.flight, default=self.number + 1)
        ready = [name for name in self.targets if name in self.settled
                 and self.targets[name] in self.sheep[name].strips]
        if not ready:
            return
        name = self.chance.choice(ready)
        strip = self.sheep[name].strips[self.targets[name]]
        strip.close(below)

    def step_orderer_dies(self):
        """Nobody tries its updates again."""
        self.dead_orderers += 1
        self.flight = {}
        if any(strip.open for name, index in self.targets.items()
               for strip in [self.sheep[name].strips.get(index)] if strip):
            self.settled = set()
            self.steps = None

    def step_doubt(self):
        self.settled = set()
        self.steps = None

    # -- sheep come and go ----------------------------------------------

    def step_crash(self):
        count = self.chance.randint(1, self.parity)
        dying = set(self.chance.sample(sorted(self.up),
                                       min(count, len(self.up) - 1)))
        if self.chance.random() < 0.4:
            self.step_orderer_dies()
        self.change_view(self.up - dying)

    def step_return(self):
        down = sorted(name for name in self.sheep if name not in self.up
                      and not self.sheep[name].is_lost)
        if not down:
            return
        coming = set(self.chance.sample(down,
                                        self.chance.randint(1, len(down))))
        self.change_view(self.up | coming, coming)

    def step_power(self):
        """All go down; those of the last view come back, or as many of them
        as may be missing for good."""
        self.flight = {}
        back = set(self.up)
        self.change_view(back, back)
        self.settled = set()

    def lose(self, names):
        """For good, with all they have."""
        for name in names:
            self.sheep[name].is_lost = True
            self.sheep[name].strips = {}
        if set(names) & self.up:
            self.change_view(self.up - set(names))

    # -- settling, in steps that may be broken off -----------------------

    def step_settle(self):
        if self.settled >= set(self.targets):
            return
        if self.steps is None:
            self.steps = self.settle()
        try:
            next(self.steps)
        except StopIteration:
            self.steps = None

    def settle(self):
        targets = self.targets
        # Halted: nothing of before a settlement goes on under it.
        self.settled = set()
        verdict = self.verdict()
        if verdict.wait:
            self.waits += 1
            return
        if verdict.is_gone:
            self.check_kept(set())
            self.counts += 1
            new = agreement.Generation(self.epoch, self.counts, True)
            for name in sorted(self.up):
                yield
                self.sheep[name].strips = {}
            for name in targets:
                yield
                self.births[name] = new
                self.settled.add(name)
            return
        usable = [self.sheep[s.holder].strips[s.index]
                  for s in verdict.usable]
        self.counts += 1
        new = agreement.Generation(self.epoch, self.counts)
        for strip in usable:
            yield
            if strip.generation == verdict.generation:
                strip.roll_back(
                    verdict.kept | {n for n in strip.open
                                    if n < verdict.floor})
            if any(strip is self.sheep[name].strips.get(index)
                   for name, index in targets.items()):
                # (Those out of place are only followed.)
                strip.nexts += (new,)
        contents = {frozenset(strip.content) for strip in usable}
        if len(contents) > 1:
            raise Mixed(verdict)
        self.check_kept(set(usable[0].content))
        for name, index in targets.items():
            yield
            own = self.sheep[name].strips.get(index)
            if own is None or own not in usable:
                built = Strip(agreement.NONE, usable[0].content)
                built.nexts = (new,)
                if own is not None:
                    built.forgotten = max(
                        (own.forgotten, own.generation) + own.nexts)
                self.sheep[name].strips[index] = built
        for name, index in targets.items():
            yield
            strip = self.sheep[name].strips[index]
            strip.generation, strip.nexts = new, ()
            strip.open, strip.floor = {}, 0
            self.settled.add(name)
        self.settlements += 1
        if self.chance.random() < 0.5:
            for name in self.up:
                kept = targets.get(name)
                self.sheep[name].strips = {
                    index: strip for index, strip
                    in self.sheep[name].strips.items() if index == kept}

    def check_kept(self, content):
        if not self.acknowledged <= content:
            raise Lost(self.acknowledged - content)

    def verdict(self):
        strips = [agreement.Strip(
            name, index, strip.generation, strip.nexts, strip.floor,
            frozenset(strip.open), strip.forgotten) for name in sorted(self.up)
            for index, strip in sorted(self.sheep[name].strips.items())]
        verdict = self.decide(strips, self.data, frozenset(self.up),
                              self.views.get)
        newest = verdict.generation.epoch
        for epoch in range(max(newest, 1), self.epoch):
            if (len(self.views[epoch]) >= self.data
                    and not self.views[epoch] & self.up):
                return verdict._replace(wait='for holders of %d' % epoch)
        if len(self.targets) < self.data:
            return verdict._replace(wait='too few zones')
        return verdict

    # -- a run ----------------------------------------------------------

    def run(self, steps):
        weights = {self.step_update: 6, self.step_deliver: 40,
                   self.step_complete: 8, self.step_declare: 8,
                   self.step_settle: 30, self.step_crash: 1.5,
                   self.step_return: 2, self.step_orderer_dies: 0.7,
                   self.step_doubt: 0.7, self.step_power: 0.5}
        for step in self.chance.choices(list(weights),
                                        list(weights.values()), k=steps):
            step()
        self.end()

    def end(self):
        """Parity's worth of targets is lost for good, the others come."""
        self.flight = {}
        self.change_view(set(self.sheep) - {
            name for name in self.sheep if self.sheep[name].is_lost},
            set(self.sheep))
        self.settled = set()
        for _ in range(100):
            self.step_settle()
        if not self.settled >= set(self.targets):
            raise Lost('not settled: %r' % (self.verdict(),))
        gone = self.chance.sample(sorted(self.targets), self.parity)
        self.lose(gone)
        for _ in range(100):
            self.step_settle()
        if not self.settled >= set(self.targets):
            raise Lost('not settled: %r' % (self.verdict(),))
