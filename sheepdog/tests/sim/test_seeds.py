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

"""A hundred seeds: clients, operators and a nemesis in a whole cluster.

SHEEPDOG_SIM_SEEDS says how many, SHEEPDOG_SIM_FIRST_SEED from where on
A failing one is replayed with
``python -m sheepdog.testing.run --trace --seeds SEED``, and made smaller
with ``--shrink``.
"""

import logging
import os
import subprocess
import sys
import unittest

from sheepdog.cmd import wiring
from sheepdog.testing import scenario

FIRST = int(os.environ.get('SHEEPDOG_SIM_FIRST_SEED', 1))
COUNT = int(os.environ.get('SHEEPDOG_SIM_SEEDS', 100))
REPLAYED = 2


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class SeedsTest(unittest.TestCase):
    """One test per seed, see below."""

    maxDiff = None


def _test_of(seed):
    def test(self):
        result = scenario.run_seed(seed, wiring.build_sheep)
        self.assertEqual([], result.failures, str(result))
        # Something happened at all.
        self.assertGreater(result.counts['writes'], 0)

    return test


for _seed in range(FIRST, FIRST + COUNT):
    setattr(SeedsTest, 'test_seed_%05d' % _seed, _test_of(_seed))


class ReplayTest(unittest.TestCase):

    def test_a_seed_is_replayed_in_another_process(self):
        for seed in range(FIRST, FIRST + REPLAYED):
            ours = scenario.run_seed(seed, wiring.build_sheep)
            other = subprocess.run(
                [sys.executable, '-m', 'sheepdog.testing.run',
                 '--seeds', str(seed)],
                stdout=subprocess.PIPE, text=True,
                env={**os.environ, 'PYTHONHASHSEED': str(seed + 1)})
            self.assertIn('digest %s ' % ours.digest, other.stdout)
