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

import functools
import random

from sheepdog.recovery import agreement


class Mixed(AssertionError):
    """Strips that differ were taken for equal."""


class Lost(AssertionError):
    """An acknowledged update is not in what counts."""


class Misled(AssertionError):
    """A gateway was told that its update was applied, and it was not, or the
    other way round: it would do it again over what was written since."""


class Sheep:
    """One sheep, and its strips: index → Strip. ``marks``: numbers that it
    took, as long as it lives; ``kept``: those of them that the last
    settlement has kept."""

    def __init__(self, name):
        self.name = name
        self.strips = {}
        self.is_lost = False
        self.forget()

    def forget(self):
        """It is started anew."""
        self.marks = set()
        self.kept = set()


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

    def settle(self, generation):
        self.generation, self.nexts = generation, ()
        self.open, self.floor = {}, 0


class Model:
    """:param decide: in the place of ``agreement.decide``, for a test of
        the test
    :param forgets_halts: orders of a settlement that was given up are
        obeyed, however late they come
    :param forgets_counts: who settles counts from the beginning when it was
        started anew, whatever counts there are
    """

    strip = Strip

    def __init__(self, seed, data=4, parity=2, sheep=8,
                 decide=agreement.decide, forgets_halts=False,
                 forgets_counts=False):
        self.chance = random.Random(seed)
        self.data = data
        self.parity = parity
        self.decide = decide
        self.forgets_halts = forgets_halts
        self.forgets_counts = forgets_counts
        self.halts = {}
        self.late = []
        self.late_share = 0.03
        self.sheep = {str(n): Sheep(str(n)) for n in range(sheep)}
        self.ring = list(self.sheep)
        self.chance.shuffle(self.ring)
        self.views = {}
        self.epoch = 0
        self.recovered = 0
        self.acknowledged = set()
        self.flight = {}
        self.asking = set()
        """Updates of gateways that live, by orderers that do not."""
        self.untold = set()
        """Of those, also of orderers that live: see ``forget_asked``."""
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
        self.spoilt = set()
        """Sheep that do not know what their strips were."""
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
        for name in self.up - set(up):
            self.sheep[name].forget()
        self.up = set(up)
        self.forget_asked()
        self.epoch += 1
        self.views[self.epoch] = frozenset(self.targets)
        self.steps = None
        # Every view takes an attempt of its own.
        self.flight = {number: {} for number in self.flight}
        if before != self.targets or set(returned) & set(before):
            self.settled = set()
            self.births = {}

    def forget_asked(self):
        """Where all who knew of an update since the settlement that kept it
        were started anew, nobody can tell (as with copies)."""
        known = set()
        for told in self.verdict().usable:
            known |= self.sheep[told.holder].marks | told.numbers
        self.untold |= {
            number for number in self.asking | set(self.flight)
            if number not in known and any(
                number in strip.content for sheep in self.sheep.values()
                for strip in sheep.strips.values())}
        self.asking -= self.untold

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
        targets = self.targets
        waiting = self.waiting()
        if not waiting:
            return
        number, name = self.chance.choice(waiting)
        strips = self.sheep[name].strips
        strip = strips.get(targets[name])
        if strip is None:
            strip = strips[targets[name]] = self.strip(self.births.get(
                name, agreement.Generation(self.epoch_of_birth(), 0, True)))
        if number not in self.sheep[name].kept:
            strip.apply(number)
            self.sheep[name].marks.add(number)
        self.flight[number][name] = strip.generation

    def waiting(self):
        """Of each update, the places that it may reach now."""
        if not self.flight:
            return []
        number = self.chance.choice(list(self.flight))
        return [(number, name) for name in self.targets
                if name in self.settled and name not in self.flight[number]]

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
        self.asking |= set(self.flight) - self.untold
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
        for name in coming:
            self.sheep[name].forget()
        self.change_view(self.up | coming, coming)

    def step_power(self):
        """All go down; those of the last view come back, or as many of them
        as may be missing for good."""
        self.asking |= set(self.flight) - self.untold
        self.flight = {}
        for name in self.up:
            self.sheep[name].forget()
        back = set(self.up)
        if self.chance.random() < 0.5:
            self.change_view(back, back)
        else:
            # A cold start has the epoch of before.
            self.steps = None
            self.births = {}
            self.forget_asked()
        self.settled = set()
        self.late = []
        self.counts = 0

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
        """Yields behind each order; what is late ends the attempt."""
        targets = self.targets
        # Halted: nothing of before a settlement goes on under it.
        self.settled = set()
        for name in self.up:
            self.halts[name] = self.halts.get(name, 0) + 1
        halts = dict(self.halts)
        verdict = self.verdict()
        if verdict.wait:
            self.waits += 1
            return
        self.counts += 1
        if not self.forgets_counts:
            self.counts = max(self.counts, 1 + max(
                (g.count for sheep in self.sheep.values()
                 if sheep.name in self.up
                 for strip in sheep.strips.values()
                 for g in (strip.generation, strip.forgotten) + strip.nexts
                 if g.epoch == self.epoch), default=0))
        new = agreement.Generation(self.epoch, self.counts, verdict.is_gone)
        for orders in self.orders(verdict, targets, new):
            if orders is None:
                return
            for name, order in orders:
                yield
                if self.chance.random() < self.late_share:
                    self.late.append((self.epoch, name, halts[name], order))
                    return
                if not self.obey(self.epoch, name, halts[name], order):
                    return
        self.check_asking()
        self.settlements += 1
        if self.chance.random() < 0.5:
            self.complete(targets)

    def complete(self, targets):
        """All have recovered the view."""
        if not self.settled >= set(targets):
            return
        self.recovered = self.epoch
        for name in self.up:
            kept = targets.get(name)
            self.sheep[name].strips = {
                index: strip for index, strip
                in self.sheep[name].strips.items() if index == kept}

    def check_asking(self):
        """Any target may be asked whether an update was applied."""
        for name in self.settled:
            strip = self.sheep[name].strips.get(self.targets[name])
            for number in self.asking:
                has = strip is not None and number in strip.content
                if has != (number in self.sheep[name].marks):
                    raise Misled('%d %s' % (number, has))
        self.asking = set()

    def obey(self, epoch, name, halt, order):
        if epoch != self.epoch or name not in self.up or (
                halt != self.halts[name] and not self.forgets_halts):
            return False
        order()
        return True

    def step_late(self):
        if self.late:
            self.obey(*self.late.pop(self.chance.randrange(len(self.late))))

    def orders(self, verdict, targets, new):
        """Lists of (name, what it does): one list when all before it was
        done. None: it can be done no further."""
        if verdict.is_gone:
            self.check_kept(set())
            yield [(name, functools.partial(self.drop, name, targets, new))
                   for name in sorted(self.up)]
            return
        marks = self.marks(verdict)
        usable = [(s.holder, self.sheep[s.holder].strips[s.index])
                  for s in verdict.usable]
        yield [(name, functools.partial(self.align, name, strip, targets,
                                        verdict, new, marks))
               for name, strip in usable]
        strips = [strip for _, strip in usable]
        if len({frozenset(strip.content) for strip in strips}) > 1:
            raise Mixed(verdict)
        self.check_kept(set(strips[0].content))
        yield [(name, functools.partial(self.build, name, index, strips[0],
                                        new, marks))
               for name, index in targets.items()
               if self.sheep[name].strips.get(index) not in strips]
        yield [(name, functools.partial(self.commit, name, index, new,
                                        marks))
               for name, index in targets.items()]

    @staticmethod
    def kept_of(strip, verdict):
        return verdict.kept | {n for n in strip.open if n < verdict.floor}

    def marks(self, verdict):
        """What was applied, of all that may be asked for."""
        marks = set(verdict.kept)
        undone = set()
        for told in verdict.usable:
            sheep = self.sheep[told.holder]
            marks |= sheep.marks
            strip = sheep.strips[told.index]
            kept = set(strip.open)
            if told.generation == verdict.generation:
                kept = self.kept_of(strip, verdict)
            # (Else it has been aligned: what is open there is kept.)
            marks |= kept
            undone |= set(strip.open) - kept
            # Where all who knew were started anew, it was done twice.
            self.asking -= {number for number, had in strip.open.items()
                            if had}
        return marks - undone

    def drop(self, name, targets, new):
        self.sheep[name].strips = {}
        self.sheep[name].forget()
        if name in targets:
            self.births[name] = new
            self.settled.add(name)

    def align(self, name, strip, targets, verdict, new, marks):
        if strip.generation == verdict.generation:
            strip.roll_back(self.kept_of(strip, verdict))
        self.sheep[name].marks = set(marks)
        if any(strip is self.sheep[name].strips.get(index)
               for name, index in targets.items()):
            # (Those out of place are only followed.)
            strip.nexts += (new,)

    def build(self, name, index, source, new, marks):
        own = self.sheep[name].strips.get(index)
        built = self.strip(agreement.NONE, source.content)
        built.nexts = (new,)
        if own is not None:
            built.forgotten = max(
                (own.forgotten, own.generation) + own.nexts)
        self.sheep[name].strips[index] = built
        self.sheep[name].marks = set(marks)

    def commit(self, name, index, new, marks):
        self.sheep[name].marks = set(marks)
        self.sheep[name].kept = set(marks)
        strip = self.sheep[name].strips[index]
        strip.settle(new)
        self.settled.add(name)

    def check_kept(self, content):
        if not self.acknowledged <= content:
            raise Lost(self.acknowledged - content)

    def verdict(self):
        strips = self.found()
        verdict = self.decide(strips, self.data,
                              frozenset(self.up - self.spoilt),
                              self.targets_of)
        forgetful = verdict.forgetful(strips)
        for epoch in range(max(verdict.reach + 1, self.recovered, 1),
                           self.epoch):
            witnesses = self.witnesses(epoch)
            if len(self.views[epoch]) < self.data or not witnesses:
                continue
            known = {name for name in witnesses & self.up
                     if forgetful.get(name, 0) < epoch
                     and self.has_all_of(name, epoch)}
            if not known or self.is_unheard(witnesses, known):
                return verdict._replace(wait='for holders of %d' % epoch)
        if len(self.targets) < self.data:
            return verdict._replace(wait='too few zones')
        return verdict

    def found(self):
        return [self.told(name, index, strip)
                for name in sorted(self.up - self.spoilt)
                for index, strip in sorted(self.sheep[name].strips.items())]

    def is_unheard(self, witnesses, known):
        """Those who are here cannot tell, and others may."""
        return known <= self.spoilt and not witnesses <= known

    def told(self, name, index, strip):
        return agreement.Strip(
            name, index, strip.generation, strip.nexts, strip.floor,
            frozenset(strip.open), strip.forgotten)

    def targets_of(self, epoch):
        return self.views.get(epoch)

    def has_all_of(self, name, epoch):
        """It has not lost what it had in that view."""
        return True

    def witnesses(self, epoch):
        """Who knows what that view has written."""
        return self.views[epoch]

    # -- a run ----------------------------------------------------------

    def weights(self):
        return {self.step_update: 6, self.step_deliver: 40,
                self.step_complete: 8, self.step_declare: 8,
                self.step_settle: 30, self.step_late: 2,
                self.step_crash: 1.5, self.step_return: 2,
                self.step_orderer_dies: 0.7,
                self.step_doubt: 0.7, self.step_power: 0.5}

    def run(self, steps):
        weights = self.weights()
        for step in self.chance.choices(list(weights),
                                        list(weights.values()), k=steps):
            step()
        self.end()

    def end(self):
        """Parity's worth of targets is lost for good, the others come."""
        self.late_share = 0.0
        self.flight = {}
        self.change_view(set(self.sheep) - {
            name for name in self.sheep if self.sheep[name].is_lost},
            set(self.sheep))
        self.settled = set()
        for _ in range(100):
            self.step_settle()
        if not self.settled >= set(self.targets):
            raise Lost('not settled: %r' % (self.verdict(),))
        self.complete(self.targets)
        gone = self.chance.sample(sorted(self.targets), self.parity)
        self.lose(gone)
        for _ in range(100):
            self.step_settle()
        if not self.settled >= set(self.targets):
            raise Lost('not settled: %r' % (self.verdict(),))
