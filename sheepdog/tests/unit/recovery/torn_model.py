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

"""A coded object, as ``crash_model``, among sheep that all lose power at once:
the journals of most are torn, and some of these have lost what was durable
there, one event or two. (As many as may be lost; and until all are settled no
more are away than may be lost besides: who lacks an update is believed where
fewer than d are here who have it.)
"""

import copy

from sheepdog.recovery import torn
from sheepdog.tests.unit.recovery import coded_model
from sheepdog.tests.unit.recovery import crash_model

TORN_SHARE = 0.6
LOST_MAX = 2


class Strip(coded_model.Strip):
    """``past``: what it was before each of the last events, the newest last;
    None: it was not there."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.past = [None]

    def note(self):
        """Something happens to it."""
        self.past = self.past[1 - LOST_MAX:] + [self.moved()]

    def moved(self):
        other = copy.copy(self)
        other.open = dict(self.open)
        other.content = set(self.content)
        return other

    def apply(self, number):
        if number not in self.open and number >= self.floor:
            self.note()
        super().apply(number)

    def settle(self, generation):
        self.note()
        super().settle(generation)


class TornModel(crash_model.CrashModel):
    """:param believes_all: a strip counts as what it says it is"""

    strip = Strip

    def __init__(self, *arguments, believes_all=False, **named):
        self.believes_all = believes_all
        self.forgetful = set()
        self.torn = set()
        self.rotten = set()
        self.rots = self.doubted = 0
        super().__init__(*arguments, **named)

    def waiting(self):
        """…in their order, as one connection brings them."""
        return [(min(numbers), name) for name, numbers in (
            (name, [number for number in self.flight
                    if name not in self.flight[number]])
            for name in self.targets if name in self.settled) if numbers]

    def step_rot(self):
        targets = self.targets
        if (self.torn or len(targets) < self.data + self.parity
                or not self.settled >= set(targets)):
            return
        rotten = self.chance.sample(sorted(targets),
                                    self.chance.randint(1, self.parity))
        self.torn = {name for name in sorted(targets) if name in rotten
                     or self.chance.random() < TORN_SHARE}
        self.rotten = set(rotten)
        self.rots += 1
        self.step_power()
        for name in rotten:
            for _ in range(self.chance.randint(1, LOST_MAX)):
                self.lose_event(name, targets[name])

    def step_crash(self):
        spare = self.parity - len(self.rotten)
        if not self.torn:
            super().step_crash()
        elif spare > 0 and len(self.up) == len(self.sheep):
            self.crash(self.chance.sample(sorted(self.up - self.rotten),
                                          spare))

    def lose_event(self, name, index):
        strips = self.sheep[name].strips
        strip = strips.get(index)
        if strip is None or not strip.past:
            return
        if strip.past[-1] is None:
            del strips[index]
        else:
            strips[index] = strip.past[-1]

    def align(self, name, strip, *more):
        strip.note()
        super().align(name, strip, *more)

    def build(self, name, index, source, new, *more):
        own = self.sheep[name].strips.get(index)
        super().build(name, index, source, new, *more)
        built = self.sheep[name].strips[index]
        built.past = [own and own.moved()]
        if name in self.torn:
            built.forgotten = max(built.forgotten, new)

    def verdict(self):
        before = self.spoilt
        self.forgetful = set()
        if not self.believes_all:
            self.forgetful = torn.forgetful(
                self.found(), self.torn & self.up, self.data,
                self.targets_of)
        self.doubted += len(self.forgetful)
        self.spoilt = before | {name for name, _ in self.forgetful}
        try:
            return super().verdict()
        finally:
            self.forgetful, self.spoilt = set(), before

    def found(self):
        return [self.told(name, index, strip) for name in sorted(self.up)
                for index, strip in sorted(self.sheep[name].strips.items())
                if (name, index) not in self.forgetful]

    def commit(self, name, *more):
        super().commit(name, *more)
        self.found_out(name)

    def drop(self, name, *more):
        super().drop(name, *more)
        self.found_out(name)

    def found_out(self, name):
        self.torn.discard(name)
        if not self.torn:
            self.rotten = set()

    def weights(self):
        return {**super().weights(), self.step_rot: 3}
