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


"""Whoever dies at whatever step of a write, a checkpoint, a recovery, …

See ``sheepdog.testing.play_sweep``.
"""

import logging
import os
import pathlib
import unittest
from unittest import mock

from sheepdog.cmd import wiring
from sheepdog.testing import planted
from sheepdog.testing import play
from sheepdog.testing import play_sweep

SEEDS_MAX = 5
SWEEPS = sorted((pathlib.Path(__file__).parent / 'plays' /
                 'sweeps').glob('*.play'))
LONG = ('alter_copies', 'clone_and_delete', 'epoch_change', 'recovery')
DISTANCE = int(os.environ.get('SHEEPDOG_SIM_SWEEP_DISTANCE', 2))
"""Of the long ones each victim is killed at each second step, and loses its
power at the others between. (1: both at all of them, for five minutes more.)
"""


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class Sweep(unittest.TestCase):
    """A class for each file and victim: see below. (Classes share the
    workers.)"""

    def sweep(self, path: pathlib.Path, how: str, name: str):
        steps = 1, 1
        if path.stem in LONG:
            steps = 1 + play_sweep.ENDS.index(how) % DISTANCE, DISTANCE
        step, failure = play_sweep.first_failure(
            path.read_text(), wiring.build_sheep, how, name, steps=steps)
        if failure:
            self.fail('%s %s at step %d:\n%s\n\nThe log:\n%s' % (
                how, name, step, failure.diff(), failure.log))


class SweepsTest(unittest.TestCase):

    def test_one_is_found_that_goes_otherwise(self):
        """(It takes a write that is on one copy at the moment of death; not
        each seed's delays have one.)"""
        path, = (path for path in SWEEPS if path.stem == 'write')
        for seed in range(1, SEEDS_MAX + 1):
            with planted.trust_all_copies():
                _, outcome = play_sweep.first_failure(
                    path.read_text(), wiring.build_sheep, 'kill', 'b', seed)
            if outcome is not None:
                break
        self.assertIn('+history of', outcome.diff())

    def test_it_ends_when_nothing_is_left_to_die_at(self):
        text = ('three sheep a b c, 3 copies\nformat\nend a at any step\n'
                'no more cues\nexpect well: a b c\n')
        outcome, = play_sweep.sweep(text, wiring.build_sheep, 'kill', 'a')
        self.assertFalse(outcome.has_failed, outcome.diff())

    def test_both_ends_together_come_at_each_step(self):
        played = []

        def run(text, build, seed):
            played.append(int(text.split()[-1]))
            return mock.Mock(has_failed=False, log='' if played[-1] > 8
                             else 'a ends at step')

        with mock.patch.object(play, 'run', run):
            for how in range(2):
                self.assertEqual((9 + how, None), play_sweep.first_failure(
                    'end a at any step', None, 'kill', 'a',
                    steps=(1 + how, 2)))
        self.assertEqual([*range(1, 10, 2), *range(2, 11, 2)], played)

    def test_a_sweep_has_one_line_of_that_kind(self):
        self.assertEqual([('kill', 'a'), ('kill', 'b'), ('power off', 'a'),
                          ('power off', 'b')],
                         play_sweep.victims('end a b at any step\n'))
        for text in '', 'end a at any step\nend b at any step\n':
            with self.assertRaises(play.WrongPlay):
                play_sweep.victims(text)


def _class_of(path: pathlib.Path, how: str, name: str) -> type:
    return type('%s_%s_%s' % (path.stem, how.replace(' ', '_'), name),
                (Sweep,), {'__module__': __name__, 'test': lambda self:
                           self.sweep(path, how, name)})


for _path in SWEEPS:
    for _how, _name in play_sweep.victims(_path.read_text()):
        _class = _class_of(_path, _how, _name)
        globals()[_class.__name__] = _class
