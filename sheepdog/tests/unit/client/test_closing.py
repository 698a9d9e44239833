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

import unittest
from unittest import mock

from sheepdog.client import closing
from sheepdog.model import errors


class OnceClosedTest(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        clock = mock.patch.object(closing, 'time')
        self.addCleanup(clock.stop)
        clock = clock.start()
        clock.monotonic.side_effect = lambda: self.now
        clock.sleep.side_effect = self.sleep

    def sleep(self, seconds):
        self.now += seconds

    def test_until_it_is(self):
        answers = [errors.VdiLocked('open')] * 3 + ['done']
        self.assertEqual('done', closing.once_closed(
            mock.Mock(side_effect=answers)))
        self.assertLess(self.now, 1.0)

    def test_not_where_somebody_else_has_it(self):
        act = mock.Mock(side_effect=errors.VdiLocked('open'))
        self.assertRaises(errors.VdiLocked, closing.once_closed, act)
        self.assertGreater(self.now, closing.CLOSE_SECONDS)
        self.assertLess(self.now, 2 * closing.CLOSE_SECONDS)

    def test_nothing_else_is_tried_again(self):
        act = mock.Mock(side_effect=[errors.NoVdi('none'), 'done'])
        self.assertRaises(errors.NoVdi, closing.once_closed, act)
        self.assertEqual(0.0, self.now)
