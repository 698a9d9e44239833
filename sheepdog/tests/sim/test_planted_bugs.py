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

"""The simulator bites: each planted bug is found, and only with the bug."""

import logging
import unittest

from sheepdog.cmd import wiring
from sheepdog.testing import disk
from sheepdog.testing import membership
from sheepdog.testing import scenario
from sheepdog.testing import world

SEEDS = range(5000, 5012)


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class HastyFile(disk.SimFile):
    """Says that it is on the disk before it is."""

    __slots__ = ()

    def sync_later(self, done):
        super().sync_later(lambda error: None)
        self._disk.call(done, None)


def build_hasty(sim_world, membership_, settings):
    sim_world.disk.file_class = HastyFile
    return wiring.build_sheep(sim_world, membership_, settings)


class CarelessMembership(membership.SimMembership):
    """Believes in its lease whatever the time is."""

    def lease_valid(self):
        return True


def make_careless(sim_world: world.SimWorld):
    return CarelessMembership(sim_world.host.simulation.coordination,
                              sim_world, sim_world.host.name)


class PlantedBugsTest(unittest.TestCase):

    def first_found(self, build, change, what):
        """The first seed whose history shows it, of some."""
        for seed in SEEDS:
            result = scenario.run_seed(seed, build, change)
            if any(what in failure for failure in result.failures):
                return seed
        return None

    def check(self, change, build=wiring.build_sheep, plant=None,
              what='history of'):
        def change_and_plant(changed):
            change(changed)
            if plant is not None:
                plant(changed)

        seed = self.first_found(build, change_and_plant, what)
        self.assertIsNotNone(seed, 'the bug was not found')
        sound = scenario.run_seed(seed, wiring.build_sheep, change)
        self.assertEqual([], sound.failures, str(sound))

    def test_acknowledge_before_sync(self):
        def change(changed):
            changed.workload.fua_share = 0.9
            changed.cluster.disk.sync_seconds = 0.02
            changed.nemesis.pause_seconds = 3.0
            changed.nemesis.down_seconds = 0.5
            changed.nemesis.weights = {'power_cut_all': 1}

        self.check(change, build=build_hasty)

    def test_skip_the_lease_check(self):
        def change(changed):
            changed.trouble_seconds = 40.0
            changed.workload.session_operations = 300
            changed.nemesis.pause_seconds = 8.0
            changed.nemesis.fault_seconds = 10.0
            changed.nemesis.weights = {'vanish': 1}

        def plant(changed):
            changed.cluster.make_membership = make_careless

        self.check(change, plant=plant)
