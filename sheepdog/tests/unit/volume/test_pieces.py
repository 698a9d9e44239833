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

"""Tests of sheepdog.volume.pieces."""

import asyncio
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.tests.unit import jumping
from sheepdog.volume import pieces


class SplitTest(unittest.TestCase):

    def test_within_one_object(self):
        self.assertEqual(pieces.split(25, 5, 10), [(2, 5, 0, 5)])

    def test_over_the_bounds(self):
        self.assertEqual(pieces.split(8, 15, 10),
                         [(0, 8, 0, 2), (1, 0, 2, 10), (2, 0, 12, 3)])

    def test_nothing(self):
        self.assertEqual(pieces.split(8, 0, 10), [])

    @hypothesis.settings(deadline=None, max_examples=100)
    @hypothesis.given(strategies.integers(0, 1000),
                      strategies.integers(0, 300),
                      strategies.integers(1, 64))
    def test_covers_the_range_once_and_in_order(self, offset, length, size):
        position = 0
        for index, start, at, count in pieces.split(offset, length, size):
            self.assertEqual(at, position)
            self.assertEqual(index * size + start, offset + position)
            self.assertTrue(0 < count <= size - start)
            position += count
        self.assertEqual(position, length)


class GatherTest(jumping.Case):

    async def test_results_in_order(self):
        async def one(result, turns):
            for _turn in range(turns):
                await asyncio.sleep(0)
            return result

        self.assertEqual(await pieces.gather([one('a', 3), one('b', 1)]),
                         ['a', 'b'])
        self.assertEqual(await pieces.gather([]), [])

    async def test_all_end_before_the_first_error_is_raised(self):
        ended = []

        async def one(name, turns, error=None):
            for _turn in range(turns):
                await asyncio.sleep(0)
            ended.append(name)
            if error is not None:
                raise error

        with self.assertRaisesRegex(ValueError, 'first'):
            await pieces.gather([one('a', 2, ValueError('first')),
                                 one('b', 1, KeyError('second')),
                                 one('c', 5)])
        self.assertEqual(ended, ['b', 'a', 'c'])


class SeveralTest(unittest.TestCase):

    def test_writes(self):
        answers = []
        several = pieces.Several(3, answers.append)
        several(None)
        several(None)
        self.assertEqual(answers, [])
        several(None)
        self.assertEqual(answers, [None])

    def test_an_error_waits_for_the_rest(self):
        answers = []
        several = pieces.Several(2, answers.append)
        several(KeyError('a'))
        self.assertEqual(answers, [])
        several(None)
        self.assertEqual(list(map(repr, answers)), ["KeyError('a')"])

    def test_reads_in_any_order(self):
        answers = []
        several = pieces.SeveralReads(3, lambda *a: answers.append(a))
        callbacks = [several.at(place) for place in range(3)]
        callbacks[2](None, b'c')
        callbacks[0](None, b'a')
        self.assertEqual(answers, [])
        callbacks[1](None, b'b')
        self.assertEqual(answers, [(None, [b'a', b'b', b'c'])])

    def test_a_read_that_fails(self):
        answers = []
        several = pieces.SeveralReads(2, lambda *a: answers.append(a))
        error = KeyError('x')
        several.at(0)(error, None)
        several.at(1)(None, b'b')
        self.assertEqual(answers, [(error, None)])
