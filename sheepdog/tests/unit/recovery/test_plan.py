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

from sheepdog.recovery import plan


class TestQueue(unittest.TestCase):

    def order(self, doubtful, wanted, here):
        queue = plan.queue(doubtful, wanted, here)
        return [queue.pop() for _ in range(len(queue))]

    def test_what_is_not_here_comes_before_what_is(self):
        self.assertEqual(self.order([], [1, 2, 3, 4], {1, 3}),
                         [2, 4, 1, 3])

    def test_doubtful_ones_come_first(self):
        self.assertEqual(self.order([3, 2], [3, 2, 1, 4], {1, 3}),
                         [3, 2, 4, 1])

    def test_a_damaged_one_is_here(self):
        self.assertEqual(self.order([], [1, 2], {1}), [2, 1])

    def test_nothing(self):
        self.assertEqual(self.order([], [], set()), [])
