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
import unittest.mock

from sheepdog.testing import checkers
from sheepdog.testing import run
from sheepdog.testing import scenario
from sheepdog.testing import workload


class UnitsTest(unittest.TestCase):

    def test_a_unit_tells_its_value(self):
        for value in (checkers.ZERO, 1, 2, 1 << 40):
            unit = workload.fill(value, 5)
            self.assertEqual(workload.UNIT_BYTES, len(unit))
            self.assertEqual(value, workload.value_of(unit, 5))

    def test_parts_of_two_are_torn(self):
        for cut in (16, 256, 496):
            unit = workload.fill(1, 5)[:cut] + workload.fill(2, 5)[cut:]
            self.assertEqual(checkers.TORN, workload.value_of(unit, 5))

    def test_shifted_is_torn(self):
        units = workload.fill(7, 5, 2)
        self.assertEqual(7, workload.value_of(units[512:], 6))
        self.assertEqual(checkers.TORN, workload.value_of(units[512:], 5))


class RunTest(unittest.TestCase):

    def test_seeds(self):
        self.assertEqual([7], run.seeds_of('7'))
        self.assertEqual([1, 2, 3, 9, 20, 21], run.seeds_of('1-3,9,20-21'))

    def main(self, failures, *arguments):
        def run_seed(seed, build, change, without):
            return scenario.Result(
                seed, 'd%d' % seed, failures if seed == 2 else [],
                {'writes': 5}, 'what happened')

        output = io.StringIO()
        with unittest.mock.patch.object(scenario, 'run_seed', run_seed):
            with contextlib.redirect_stdout(output):
                code = run.main(['--seeds', '1-3', *arguments])
        return code, output.getvalue()

    def test_all_is_well(self):
        code, output = self.main([])
        self.assertEqual(0, code)
        self.assertEqual(['seed 1 digest d1 writes=5',
                          'seed 2 digest d2 writes=5',
                          'seed 3 digest d3 writes=5'], output.splitlines())

    def test_a_failing_seed_is_named(self):
        code, output = self.main(['torn'])
        self.assertEqual(1, code)
        self.assertIn('  torn\n', output)
        self.assertIn('failed: 2\n', output)
        self.assertNotIn('what happened', output)
        self.assertIn('what happened', self.main(['torn'], '--trace')[1])
