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

import types
import unittest
from unittest import mock

from sheepdog.recovery import account


class AccountTest(unittest.TestCase):
    def setUp(self):
        self.now = 100.0
        self.watcher = mock.Mock()
        self.account = account.Account(
            self.watcher, types.SimpleNamespace(monotonic=lambda: self.now),
            7)

    def told(self):
        return [(call[0].removeprefix('recovery_'), *call[1])
                for call in self.watcher.method_calls]

    def test_start_and_end(self):
        self.account.found(5)
        self.assertEqual([('started', 7, 5)], self.told())
        # What is left after a moment is the same recovery.
        self.account.stuck(2, 'a copy is away')
        self.now += 1
        self.account.found(2)
        self.now += 2
        self.account.finished()
        self.assertEqual([('started', 7, 5), ('finished', 7, 5, 3.0)],
                         self.told())

    def test_nothing_to_do_is_no_news(self):
        self.account.found(0)
        self.account.finished()
        self.assertEqual([], self.told())

    def test_failure_is_told_once_and_late(self):
        self.account.found(3)
        self.account.stuck(3, 'first')
        self.now += account.FAILED_SECONDS - 0.1
        self.account.stuck(3, 'second')
        self.assertEqual([('started', 7, 3)], self.told())
        self.now += 0.1
        self.account.stuck(2, 'third')
        self.now += 100
        self.account.stuck(2, 'fourth')
        self.assertEqual([('started', 7, 3), ('failed', 7, 2, 'third')],
                         self.told())
        self.account.finished()
        self.assertEqual('finished', self.told()[-1][0])

    def test_failure_without_objects(self):
        self.account.stuck(0, 'nobody lists')
        self.now += account.FAILED_SECONDS
        self.account.stuck(0, 'nobody lists')
        self.account.finished()
        self.assertEqual(['failed', 'finished'],
                         [told[0] for told in self.told()])

    def test_nobody_watches(self):
        alone = account.Account(None, types.SimpleNamespace(
            monotonic=lambda: self.now), 7)
        alone.found(1)
        alone.stuck(1, '')
        self.now += account.FAILED_SECONDS
        alone.stuck(1, '')
        alone.finished()


class EstimateTest(unittest.TestCase):
    def setUp(self):
        self.estimate = account.Estimate()

    def test_nothing_is_known_at_first(self):
        self.assertIsNone(self.estimate.seconds(5.0, 0, 10))
        self.estimate.begin(5.0)
        self.assertIsNone(self.estimate.seconds(5.0, 0, 10))
        self.assertIsNone(self.estimate.seconds(9.0, 0, 10))

    def test_the_pace_until_now(self):
        self.estimate.begin(5.0)
        self.estimate.note(7.0, 10)
        self.assertAlmostEqual(self.estimate.seconds(7.0, 10, 50), 8.0)
        # It stands still.
        self.assertAlmostEqual(self.estimate.seconds(9.0, 10, 50), 16.0)

    def test_only_the_last_while_counts(self):
        self.estimate.begin(0.0)
        for second in range(1, 101):
            self.estimate.note(float(second), second * 10)
        for second in range(1, account.SAMPLES + 1):
            self.estimate.note(100.0 + second, 1000 + second)
        self.assertAlmostEqual(
            self.estimate.seconds(100.0 + account.SAMPLES,
                                  1000 + account.SAMPLES, 1130),
            130.0 - account.SAMPLES)

    def test_samples_are_apart(self):
        self.estimate.begin(0.0)
        for number in range(1000):
            self.estimate.note(number / 1000, number)
        self.assertAlmostEqual(self.estimate.seconds(1.0, 1000, 2000), 1.0)

    def test_a_new_pass(self):
        self.estimate.begin(0.0)
        self.estimate.note(10.0, 10)
        self.estimate.begin(20.0)
        self.assertIsNone(self.estimate.seconds(20.0, 0, 10))
