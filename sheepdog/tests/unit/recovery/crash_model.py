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

"""A coded object, as ``coded_model``, among sheep of which more die at once
than its policy makes good, and come back with all they had. It may have to
wait for them; nothing else.
"""

from sheepdog.tests.unit.recovery import coded_model


class CrashModel(coded_model.Model):

    def step_crash(self):
        """All but one at most."""
        up = sorted(self.up)
        self.crash(self.chance.sample(up, self.chance.randint(
            1, max(1, len(up) - 1))))

    def crash(self, dying):
        if self.chance.random() < 0.4:
            self.step_orderer_dies()
        if len(self.up) > 1:
            self.change_view(self.up - set(dying))

    def step_restart(self):
        """Some, or all, are back before anybody has missed them."""
        up = sorted(self.up)
        back = self.chance.sample(up, self.chance.randint(1, len(up)))
        for name in back:
            self.sheep[name].forget()
        if self.chance.random() < 0.4:
            self.step_orderer_dies()
        self.change_view(self.up, back)

    def weights(self):
        return {**super().weights(), self.step_restart: 0.7}
