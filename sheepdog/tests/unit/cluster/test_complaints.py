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

"""Tests of sheepdog.cluster.complaints."""

import unittest

from sheepdog.cluster import complaints

A, B, C, D, E = FIVE = tuple('n%d.%d' % (n, n) for n in range(5))


class VerdictTest(unittest.TestCase):

    def setUp(self):
        self.complaints = complaints.Complaints()
        self.now = 100.0

    def go_on(self, pairs, seconds=2):
        """Each complains each second."""
        for _ in range(seconds + 1):
            for accuser, accused in pairs:
                self.complaints.note(accuser, accused, self.now)
            self.now += 1
        self.now -= 1

    def verdict(self, members=FIVE, leader=A):
        return self.complaints.verdict(members, leader, self.now)

    def test_nobody(self):
        self.assertIsNone(self.verdict())

    def test_not_at_the_first_word(self):
        self.go_on([(B, C)], 0)
        self.now += complaints.SETTLE_SECONDS + 1
        self.assertIsNone(self.verdict())
        self.assertTrue(self.complaints.is_pending(self.now))

    def test_who_is_missed_by_most(self):
        self.go_on([(B, D), (C, D), (D, B)])
        self.assertEqual(self.verdict(), D)
        self.now += complaints.FRESH_SECONDS + 1
        self.go_on([(B, D), (B, C), (C, B)])
        self.assertEqual(self.verdict(), B)

    def test_of_two_the_younger(self):
        for pairs in ([(B, C)], [(C, B)], [(B, C), (C, B)]):
            self.go_on(pairs)
            self.assertEqual(self.verdict(), C)

    def test_the_leader_stays_where_another_will_do(self):
        for pair in (A, E), (E, A):
            self.go_on([pair])
            self.assertEqual(self.verdict(), E)
            self.assertEqual(self.verdict(leader=E), A)

    def test_the_leader_goes_when_most_miss_it(self):
        self.go_on([(B, A), (C, A)])
        self.assertEqual(self.verdict(), A)

    def test_old_complaints_are_forgotten(self):
        self.go_on([(B, C)])
        self.now += complaints.FRESH_SECONDS + 1
        self.assertIsNone(self.verdict())
        self.assertFalse(self.complaints.is_pending(self.now))
        self.go_on([(B, C)], 0)
        self.assertIsNone(self.verdict())

    def test_who_has_left_counts_no_more(self):
        self.go_on([(B, C), (B, D)])
        self.assertIsNone(self.verdict((A, C, D, E)))

    def test_away_longer_each_time(self):
        pauses = []
        for _ in range(7):
            pauses.append(self.complaints.send_away(C, self.now))
            self.assertTrue(self.complaints.is_away('n2.99', self.now))
            self.assertFalse(self.complaints.is_away(B, self.now))
            self.now += pauses[-1]
            self.assertFalse(self.complaints.is_away(C, self.now))
            self.assertTrue(self.complaints.is_pending(self.now))
        self.assertEqual(pauses, [10, 20, 40, 80, 160, 300, 300])
        self.now += complaints.FORGET_SECONDS + 1
        self.assertFalse(self.complaints.is_pending(self.now))
        self.assertEqual(self.complaints.send_away(C, self.now), 10)

    def test_the_rest_have_to_complain_anew(self):
        self.go_on([(B, C)])
        self.complaints.send_away(C, self.now)
        self.assertIsNone(self.verdict())
