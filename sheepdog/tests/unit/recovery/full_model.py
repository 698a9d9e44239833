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

"""A coded object, as ``coded_model``, among sheep some of which have no room
for another strip: what is settled is settled without them.
"""

import functools

from sheepdog.recovery import agreement
from sheepdog.tests.unit.recovery import coded_model


class FullModel(coded_model.Model):
    """:param forgets_notes: who is left out notes nothing"""

    def __init__(self, *arguments, forgets_notes=False, **named):
        self.full = set()
        self.left_out = set()
        self.refused = 0
        self.forgets_notes = forgets_notes
        super().__init__(*arguments, **named)

    def step_fill(self):
        """Disks of some are full from now on."""
        self.full = set(self.chance.sample(
            sorted(self.sheep), self.chance.randint(1, self.parity)))

    def step_empty(self):
        self.full = set()

    def change_view(self, up, returned=()):
        super().change_view(up, returned)
        self.left_out &= self.up - set(returned)

    def step_complete(self):
        super().step_complete()
        for number, answers in list(self.flight.items()):
            lacking = set(self.targets) - set(answers)
            if (not lacking or not lacking <= self.left_out
                    or len(set(answers.values())) != 1):
                continue
            # It is refused.
            del self.flight[number]
            if all(self.sheep[name].strips[self.targets[name]].generation
                   == generation for name, generation in answers.items()):
                # And yet a read may show it from now on. (Else a settlement
                # since then has kept it or not, on all alike.)
                self.refused += 1
                self.acknowledged.add(number)

    def orders(self, verdict, targets, new):
        self.left_out = set()
        steps = super().orders(verdict, targets, new)
        if verdict.is_gone:
            yield from steps
            return
        yield next(steps)
        build = next(steps)
        full = {name for name, _ in build if name in self.full}
        if len(targets) - len(full) < self.data:
            yield None
            return
        yield [(name, order) for name, order in build if name not in full]
        if not self.forgets_notes:
            yield [(name, functools.partial(self.note, name, targets[name],
                                            new)) for name in sorted(full)]
        self.left_out = full
        commit = next(steps)
        yield [(name, order) for name, order in commit if name not in full]

    def note(self, name, index, new):
        own = self.sheep[name].strips.get(index)
        strip = coded_model.Strip(agreement.NONE)
        strip.forgotten = max((new,) + (() if own is None else (
            own.forgotten, own.generation) + own.nexts))
        self.sheep[name].strips[index] = strip

    def witnesses(self, epoch):
        # (Who is away has not told that it was left out.)
        return {name for name in super().witnesses(epoch)
                if name not in self.up or not any(
                    strip.generation == agreement.NONE and not strip.nexts
                    and strip.forgotten.epoch <= epoch
                    for strip in self.sheep[name].strips.values())}

    def weights(self):
        return {**super().weights(), self.step_fill: 1, self.step_empty: 1}

    def end(self):
        self.full = set()
        super().end()
