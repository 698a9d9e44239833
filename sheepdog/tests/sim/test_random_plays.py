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


"""Plays that nobody wrote; see ``sheepdog.testing.play_random``."""

import logging
import os
import unittest

from sheepdog.cmd import wiring
from sheepdog.testing import planted
from sheepdog.testing import play
from sheepdog.testing import play_random

FIRST = int(os.environ.get('SHEEPDOG_SIM_FIRST_SEED', 1))
COUNT = 30


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class RandomPlaysTest(unittest.TestCase):

    def test_they_are_well(self):
        for seed in range(FIRST, FIRST + COUNT):
            outcome = play_random.play_one(seed, wiring.build_sheep)
            if outcome.has_failed:
                self.fail('seed %d\n%s\n\nThe play:\n%s\nIts log:\n%s' % (
                    seed, outcome.diff(), outcome.text, outcome.log))

    def test_a_short_one_is_found(self):
        """…of one that shows a bug."""
        with planted.forget_to_retry():
            for seed in range(1, 20):
                outcome = play_random.play_one(seed, wiring.build_sheep)
                if outcome.has_failed:
                    break
            short = play_random.shorten(outcome.text, wiring.build_sheep,
                                        seed)
            self.assertLess(len(short), len(outcome.text))
            self.assertTrue(play.run(short, wiring.build_sheep,
                                     seed).has_failed)
        self.assertFalse(play.run(short, wiring.build_sheep,
                                  seed).has_failed, short)
