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
import os
import unittest
from unittest import mock

from tools import soak


class SoakTest(unittest.TestCase):
    def setUp(self):
        patch = mock.patch.dict(os.environ)
        patch.start()
        self.addCleanup(patch.stop)
        self.batches = []

    def soak(self, minutes, codes):
        def run():
            self.batches.append((int(os.environ[soak.FIRST_SEED]),
                                 int(os.environ[soak.SEEDS])))
            return codes.pop(0)

        with contextlib.redirect_stdout(io.StringIO()):
            return soak.soak(minutes, 1000, 20, run)

    def test_ends_with_the_time(self):
        self.assertEqual((0, 20), self.soak(0, [0, 0]))
        self.assertEqual([(1000, 20)], self.batches)

    def test_each_batch_has_new_seeds_and_a_failure_ends_it(self):
        self.assertEqual((1, 40), self.soak(60, [0, 0, 1, 0]))
        self.assertEqual([(1000, 20), (1020, 20), (1040, 20)], self.batches)
