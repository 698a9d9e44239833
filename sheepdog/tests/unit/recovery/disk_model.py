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

"""A coded object, as ``crash_model``, among sheep with two disks each, of
which some lose one.
"""

from sheepdog.recovery import agreement
from sheepdog.tests.unit.recovery import crash_model


class DiskModel(crash_model.CrashModel):
    """Strips of even indexes lie on the one disk, the others on the other.

    :param asks_no_index: whoever has any strip still is one who has what it
        had
    :param asks_no_generation: so is whoever has one of that index, which is
        being built
    """

    def __init__(self, *arguments, asks_no_index=False,
                 asks_no_generation=False, **named):
        self.asks_no_index = asks_no_index
        self.asks_no_generation = asks_no_generation
        self.lost = {}
        self.slots = {}
        self.losses = 0
        super().__init__(*arguments, **named)

    def change_view(self, up, returned=()):
        super().change_view(up, returned)
        self.slots[self.epoch] = self.targets

    def step_lose_disk(self):
        """As many sheep as may be lost, while all others have all."""
        targets = sorted(self.targets)
        if (self.lost or len(targets) < self.data + self.parity
                or not self.settled >= set(targets)):
            return
        names = self.chance.sample(targets,
                                   self.chance.randint(1, self.parity))
        for name in names:
            self.lose_disk(name, self.targets[name] % 2)
        self.change_view(self.up, names)

    def lose_disk(self, name, disk):
        sheep = self.sheep[name]
        sheep.strips = {index: strip for index, strip
                        in sheep.strips.items() if index % 2 != disk}
        self.losses += 1
        self.lost[name] = self.epoch

    def complete(self, targets):
        super().complete(targets)
        if self.recovered == self.epoch:
            self.lost = {}

    def targets_of(self, epoch):
        found = self.views.get(epoch)
        return found and frozenset(name for name in found
                                   if self.lost.get(name, -1) < epoch)

    def has_all_of(self, name, epoch):
        strips = self.sheep[name].strips
        if self.lost.get(name, -1) < epoch:
            return True
        if self.asks_no_index:
            return bool(strips)
        strip = strips.get(self.slots[epoch][name])
        return strip is not None and (
            self.asks_no_generation or strip.generation != agreement.NONE)

    def weights(self):
        return {**super().weights(), self.step_lose_disk: 2}
