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

"""Five hundred seeds: clients, operators and a nemesis in a whole cluster.

SHEEPDOG_SIM_SEEDS says how many, SHEEPDOG_SIM_FIRST_SEED from where on.
SHEEPDOG_SIM_REMOTE how many of them are played again with some clients on
hosts of their own, SHEEPDOG_SIM_SLOW with disks and links that are slow for
long, SHEEPDOG_SIM_CODED with erasure coded volumes, SHEEPDOG_SIM_TURN with
volumes that are turned from copies to strips, SHEEPDOG_SIM_BRANCH with many
snapshots and clones, SHEEPDOG_SIM_GRACE with a grace time for who is away (so
there are 500). A failing one is replayed with
``python -m sheepdog.testing.run --trace --seeds SEED`` (``--remote``,
``--slow``, ``--policy``, ``--turn``, ``--branch``, ``--grace``), and made
smaller with
``--shrink``.
"""

import logging
import os
import subprocess
import sys
import unittest

from sheepdog.cmd import wiring
from sheepdog.testing import scenario

FIRST = int(os.environ.get('SHEEPDOG_SIM_FIRST_SEED', 1))
COUNT = int(os.environ.get('SHEEPDOG_SIM_SEEDS', 240))
REMOTE = int(os.environ.get('SHEEPDOG_SIM_REMOTE', 60))
SLOW = int(os.environ.get('SHEEPDOG_SIM_SLOW', 60))
CODED = int(os.environ.get('SHEEPDOG_SIM_CODED', 72))
TURN = int(os.environ.get('SHEEPDOG_SIM_TURN', 24))
BRANCH = int(os.environ.get('SHEEPDOG_SIM_BRANCH', 24))
GRACE = int(os.environ.get('SHEEPDOG_SIM_GRACE', 20))
POLICIES = ('2:1', '4:2', '2:2')
"""A third of them each. (One of 4:2 takes more than twice as long as one of
copies.)"""

CLASS_SEEDS = 10
"""The tests of a class stay in one worker, so there are many classes."""
REPLAYED = 2


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


def _test_of(seed, change):
    def test(self):
        result = scenario.run_seed(seed, wiring.build_sheep, change)
        self.assertEqual([], result.failures, str(result))
        # Something happened at all.
        self.assertGreater(result.counts['writes'], 0)

    return test


def _class_of(name, seeds, change):
    """One test per seed."""
    name = '%s%05dTest' % (name, seeds[0])
    return name, type(name, (unittest.TestCase,), {
        '__module__': __name__, 'maxDiff': None,
        **{'test_seed_%05d' % seed: _test_of(seed, change)
           for seed in seeds}})


def _encoded(policy):
    return lambda changed: changed.encode(policy)


def _patient(changed):
    """Every other one with strips."""
    if changed.seed % 2:
        changed.encode('4:2')
    changed.have_patience()


for _name, _count, _change in (
        ('Seeds', COUNT, None),
        ('Remote', min(COUNT, REMOTE), scenario.Scenario.send_clients_away),
        ('Slow', min(COUNT, SLOW), scenario.Scenario.slow_down),
        ('Turn', min(COUNT, TURN), scenario.Scenario.turn),
        ('Branch', min(COUNT, BRANCH), scenario.Scenario.branch),
        ('Grace', min(COUNT, GRACE), _patient),
        *(('Coded%s' % _policy.replace(':', 'p'),
           min(COUNT, CODED // len(POLICIES)), _encoded(_policy))
          for _policy in POLICIES)):
    globals().update(
        _class_of(_name, range(_first, min(_first + CLASS_SEEDS,
                                           FIRST + _count)), _change)
        for _first in range(FIRST, FIRST + _count, CLASS_SEEDS))


class ReplayTest(unittest.TestCase):

    def test_a_seed_is_replayed_in_another_process(self):
        for seed in range(FIRST, FIRST + REPLAYED):
            self._replay(seed, None)

    def test_so_is_one_with_clients_elsewhere(self):
        self._replay(FIRST, scenario.Scenario.send_clients_away, '--remote')

    def test_so_is_one_with_coded_volumes(self):
        self._replay(FIRST, _encoded(POLICIES[0]), '--policy', POLICIES[0])

    def _replay(self, seed, change, *options):
        ours = scenario.run_seed(seed, wiring.build_sheep, change)
        other = subprocess.run(
            [sys.executable, '-m', 'sheepdog.testing.run',
             '--seeds', str(seed), *options],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'PYTHONHASHSEED': str(seed + 1)})
        self.assertIn('digest %s ' % ours.digest, other.stdout)
