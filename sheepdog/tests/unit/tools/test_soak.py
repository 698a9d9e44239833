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

import contextlib
import io
import unittest
from unittest import mock

from sheepdog.testing import run as seeds
from tools import soak


class SoakTest(unittest.TestCase):
    def setUp(self):
        self.batches = []

    def soak(self, minutes, codes):
        def run(first, last):
            self.batches.append((first, last))
            return codes.pop(0)

        return soak.soak(minutes, 1000, 20, run)

    def test_ends_with_the_time(self):
        self.assertEqual((0, 20), self.soak(0, [0, 0]))
        self.assertEqual([(1000, 1019)], self.batches)

    def test_each_batch_has_new_seeds_and_a_failure_ends_it(self):
        self.assertEqual((1, 40), self.soak(60, [0, 0, 1, 0]))
        self.assertEqual([(1000, 1019), (1020, 1039), (1040, 1059)],
                         self.batches)

    def test_a_batch_is_what_the_runner_takes(self):
        """Run here, and with sheep that cannot be made: each seed fails."""
        def call(command):
            self.assertEqual(soak.PROGRAM, command[4])
            with contextlib.redirect_stdout(io.StringIO()) as output:
                code = seeds.main(command[5:])
            self.output = output.getvalue()
            return code

        result = mock.Mock(failures=['broken'], seed=7, trace='')
        with (mock.patch.object(soak.subprocess, 'call', call),
              mock.patch.object(seeds, '_results',
                                lambda run, wanted, jobs: [result]),
              mock.patch.object(seeds, 'shrunk', lambda *_: 'the story'),
              contextlib.redirect_stdout(io.StringIO())):
            self.assertEqual(1, soak.run_batch(7, 7))
        self.assertIn('the story', self.output)
        self.assertIn('failed: 7', self.output)
