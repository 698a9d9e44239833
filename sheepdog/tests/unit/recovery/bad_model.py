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

"""A coded object, as ``coded_model``, some strips of which have bad blocks
and are made anew, among sheep some of which are lost for good.
"""

import functools

from sheepdog.tests.unit.recovery import coded_model


class BadModel(coded_model.Model):
    """:param builds_at_once: what is missing and what is bad, in any order"""

    def __init__(self, *arguments, builds_at_once=False, **named):
        self.bad = set()
        self.builds_at_once = builds_at_once
        self.mended = 0
        super().__init__(*arguments, **named)

    def step_rot(self):
        """Strips of some are bad from now on."""
        self.bad = set(self.chance.sample(
            sorted(self.sheep), self.chance.randint(1, self.data)))

    def step_lose(self):
        """As many as may be lost, once."""
        targets = self.targets
        if (not any(sheep.is_lost for sheep in self.sheep.values())
                and len(targets) == self.data + self.parity
                and self.settled >= set(targets)):
            self.lose(self.chance.sample(
                sorted(targets), self.chance.randint(1, self.parity)))

    def told(self, name, index, strip):
        return super().told(name, index, strip)._replace(
            is_bad=name in self.bad)

    def orders(self, verdict, targets, new):
        steps = super().orders(verdict, targets, new)
        if verdict.is_gone:
            yield from steps
            return
        yield next(steps)
        build = next(steps)
        lacking = {name for name, _ in build}
        mend = [(name, functools.partial(self.mend, name, index, new))
                for name, index in targets.items()
                if name in self.bad and name not in lacking]
        if self.builds_at_once:
            both = build + mend
            self.chance.shuffle(both)
            yield both
        else:
            yield build
            yield mend
        yield from steps

    def mend(self, name, index, new):
        sheep = self.sheep[name]
        self.build(name, index, sheep.strips[index], new, sheep.marks)
        self.bad.discard(name)
        self.mended += 1

    def weights(self):
        return {**super().weights(), self.step_rot: 1, self.step_lose: 1}
