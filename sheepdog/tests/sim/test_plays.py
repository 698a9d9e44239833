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


"""Each play goes as it is written, from several seeds.

How to read and write them is told in ``doc/source/plays.rst``.
"""

import logging
import pathlib
import unittest

from sheepdog.cmd import wiring
from sheepdog.testing import play

PLAYS = sorted((pathlib.Path(__file__).parent / 'plays').glob('*.play'))
SEEDS = (1, 2)


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class PlaysTest(unittest.TestCase):
    """One test per file, see below."""


def _test_of(path):
    def test(self):
        for seed in SEEDS:
            outcome = play.run(path.read_text(), wiring.build_sheep, seed)
            if outcome.has_failed:
                self.fail('seed %d:\n%s\n\nThe log:\n%s' % (
                    seed, outcome.diff(), outcome.log))

    return test


for _path in PLAYS:
    setattr(PlaysTest, 'test_' + _path.stem, _test_of(_path))
