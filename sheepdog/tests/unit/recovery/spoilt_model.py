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

"""A coded object, as ``crash_model``, among sheep some of which have a
damaged journal: nothing follows from their strips, nor from those that they
lack, until they are built anew.
"""

from sheepdog.tests.unit.recovery import crash_model


class SpoiltModel(crash_model.CrashModel):
    """:param believes_all: who has such a journal knows what was written, all
    the same"""

    def __init__(self, *arguments, believes_all=False, **named):
        self.believes_all = believes_all
        self.spoils = 0
        super().__init__(*arguments, **named)

    def step_spoil(self):
        """As many as may be lost, while all others have all."""
        targets = sorted(self.targets)
        if (self.spoilt or len(targets) < self.data + self.parity
                or not self.settled >= set(targets)):
            return
        names = self.chance.sample(targets,
                                   self.chance.randint(1, self.parity))
        self.spoils += 1
        self.spoilt = set(names)
        for name in names:
            self.sheep[name].forget()
            self.sheep[name].strips = {}
        self.change_view(self.up, names)

    def is_unheard(self, witnesses, known):
        return not self.believes_all and super().is_unheard(witnesses, known)

    def commit(self, name, *more):
        super().commit(name, *more)
        self.spoilt.discard(name)

    def drop(self, name, *more):
        super().drop(name, *more)
        self.spoilt.discard(name)

    def weights(self):
        return {**super().weights(), self.step_spoil: 2}
