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


"""A play is read as its page tells, and says what went otherwise."""

import logging
import unittest

from sheepdog.cmd import wiring
from sheepdog.testing import play
from sheepdog.testing import play_cues
from sheepdog.wire import peer as wire

BEGIN = 'three sheep a b c, 3 copies\nformat\n'


def setUpModule():
    logging.disable(logging.CRITICAL)


def tearDownModule():
    logging.disable(logging.NOTSET)


class PlayTest(unittest.TestCase):
    def play(self, text, seed=1):
        return play.run(BEGIN + text, wiring.build_sheep, seed)

    def assert_went(self, text, *expected):
        """The last lines of how it went."""
        outcome = self.play(text)
        self.assertTrue(outcome.has_failed, 'it went as written')
        self.assertEqual(list(expected),
                         outcome.went.splitlines()[-len(expected):])

    def test_as_written(self):
        outcome = self.play('''
            expect epoch 1: a b c    # a comment
            expect leader a
            expect volumes: none
            a: create v
            expect a: create v: done
            expect volumes: v
            expect lock of v: nobody
            a: open v
            expect lock of v: a
            a: write 1 to v at 3
            expect a: write 1 to v at 3: done
            b: read v at 3
            expect b: read v at 3: 1
            b: read v
            expect b: read v: 0
            expect copies are equal
            expect now a b c: ok
            never a dies
        ''')
        self.assertEqual('', outcome.diff())
        self.assertFalse(outcome.has_failed)

    def test_the_same_seed_has_the_same_log(self):
        text = 'kill b\nexpect epoch 2: a c\n'
        one, other = self.play(text), self.play(text)
        self.assertEqual(one.log, other.log)
        self.assertNotEqual(one.log, self.play(text, 2).log)

    def test_an_expectation(self):
        self.assert_went('expect now epoch 2: a b\nwait 1 s',
                         'expect epoch 1: a b c', 'wait 1 s')
        self.assert_went('kill b\nexpect now a b: ok',
                         'expect a: ok; b: off')
        self.assert_went('expect within 1 s b: create v: done',
                         'expect b: create v: was not asked')
        self.assert_went('a: open v\nexpect a: open v: done',
                         'expect a: open v: refused: NoVdi')

    def test_what_should_stay(self):
        self.assert_went('kill b\nexpect for 10 s epoch 1: a b c',
                         'expect epoch 2: a c')

    def test_a_limit(self):
        self.assert_went('kill b\nexpect within 2 s epoch 2: a c',
                         'expect epoch 1: a b c')

    def test_a_line_of_the_log(self):
        self.assert_went('see * is in epoch 1\nsee [abc]: ok\n'
                         'see a starts\nwait 1 s',
                         'see b: ok', 'see c: ok', 'wait 1 s')

    def test_what_should_never_happen(self):
        self.assert_went('never b dies\nkill b\nexpect b: off',
                         'it happened: b dies')
        self.assertFalse(self.play('kill b\nnever b dies').has_failed)

    def test_cues(self):
        outcome = self.play('''
            when a sends vdi-create to b: cut a -> c
            when b answers vdi-create: kill a
            a: create v
            see cue: a sends vdi-create to b
            see cue: b answers vdi-create
            see a dies
            expect a: create v: lost
            expect epoch 2: b c
            expect volumes: v
        ''')
        self.assertEqual('', outcome.diff())

    def assert_wrong(self, text, what):
        with self.assertRaisesRegex(play.WrongPlay, what):
            self.play(text)

    def test_wrong_lines(self):
        self.assert_wrong('dance', "line 3: what is 'dance'")
        self.assert_wrong('kill d', "who is 'd'")
        self.assert_wrong('expect rain', "what is there to see of 'rain'")
        self.assert_wrong('a: dance', "nobody can be asked to 'dance'")
        self.assert_wrong('when a sends flowers: kill a',
                          'messages are called .*, not flowers')
        self.assert_wrong('when a sends commit: dance', "what is 'dance'")

    def test_a_wrong_beginning(self):
        for text, what in (
                ('format', 'a play begins with'),
                ('two sheep a b c', 'these are not two: a b c'),
                ('# nothing', 'nobody is on the stage')):
            with self.assertRaisesRegex(play.WrongPlay, what):
                play.run(text, wiring.build_sheep)


class KindsTest(unittest.TestCase):
    def test_kinds(self):
        self.assertEqual(('write',), play_cues.kinds_of(wire.WRITE, ()))
        self.assertEqual(('',), play_cues.kinds_of(wire.LIST, ()))
        self.assertEqual(('prepare',), play_cues.kinds_of(
            wire.MESSAGE, (wire.pack_json({'kind': 'prepare'}),)))
        records = [[1, 1, 0.0, {'kind': 'lock'}, 'op', {'serial': 1}],
                   [2, 1, 0.0, {'kind': 'epoch'}, '', None]]
        self.assertEqual(('events', 'lock', 'commit'), play_cues.kinds_of(
            wire.MESSAGE, (wire.pack_json(
                {'kind': 'events', 'records': records}),)))
