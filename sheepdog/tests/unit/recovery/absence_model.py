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

"""A coded object, as ``coded_model``, whose strips are built of what they
were before and of what has changed since.

Each update has a block of its own: a set of their numbers stands for the bits
of those blocks.
"""

import types

from sheepdog.recovery import absence
from sheepdog.tests.unit.recovery import coded_model


def bits(numbers):
    return sum(1 << number for number in numbers)


class Strip(coded_model.Strip):
    """As ``store.history.History`` keeps it. ``notes``: it does."""

    notes = True

    def __init__(self, generation, content=()):
        super().__init__(generation, content)
        self.now = 0
        self.left = 0
        self.changed = {}

    def apply(self, number):
        super().apply(number)
        if self.notes:
            self.now |= 1 << number

    def roll_back(self, kept):
        if self.notes:
            self.left |= bits(set(self.open) - kept)
        super().roll_back(kept)

    def settle(self, generation):
        self.changed = self.all_changes()
        self.now = self.left = 0
        super().settle(generation)

    def all_changes(self):
        found = {before: (floor, changed | self.now) for
                 before, (floor, changed) in self.changed.items()}
        if self.generation != coded_model.agreement.NONE:
            found[self.generation] = (
                self.floor, self.left | bits(self.open))
        return dict(sorted(found.items())[-4:])

    def since(self, generation, floor):
        if generation == self.generation:
            return self.left | bits(n for n in self.open if n >= floor)
        _, changed = self.changed.get(generation, (0, None))
        return None if changed is None else changed | self.now


class Careless(Strip):
    notes = False


class AbsenceModel(coded_model.Model):
    """``kept``: blocks that strips were not built of others for."""

    strip = Strip

    def __init__(self, *arguments, **named):
        self.kept = self.rebuilt = 0
        super().__init__(*arguments, **named)

    def orders(self, verdict, targets, new):
        # As they are told, before anything is rolled back.
        self.changes = absence.changes([
            types.SimpleNamespace(
                index=told.index, changed=self.sheep[told.holder].strips[
                    told.index].all_changes())
            for told in verdict.usable], self.data)
        return super().orders(verdict, targets, new)

    def build(self, name, index, source, new, marks):
        own = self.sheep[name].strips.get(index)
        super().build(name, index, source, new, marks)
        built = self.sheep[name].strips[index]
        built.changed = dict(self.changes)
        for generation in sorted(self.changes, reverse=True):
            floor, others = self.changes[generation]
            since = None if own is None else own.since(generation, floor)
            if since is not None:
                self.combine(own, built, since | others)
                break
        else:
            self.rebuilt += 1

    def combine(self, own, built, changed):
        content = {n for n in own.content if not changed >> n & 1} | {
            n for n in built.content if changed >> n & 1}
        if content != built.content:
            raise coded_model.Mixed('%s instead of %s' % (
                sorted(content), sorted(built.content)))
        self.kept += len([n for n in content if not changed >> n & 1])
