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

import asyncio
import collections
import unittest

from sheepdog.cluster import membership
from sheepdog.tests.contract import membership_contract

TTL = 4.0


class Heart:
    def __init__(self):
        self.min_term = 0
        self.loop_seen = 0.0
        self.to_fence = collections.deque()
        self.is_running = False
        self.leaves_after = 0

    def start(self):
        self.is_running = True

    def stop(self):
        self.is_running = False

    def has_left(self):
        self.leaves_after -= 1
        return self.leaves_after < 0


class Membership(membership.LeasedMembership):
    def __init__(self):
        self.time = 100.0
        super().__init__(TTL, lambda: self.time)
        self.heart = Heart()

    def make_heart(self):
        return self.heart


class LeasedMembershipTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.membership = Membership()
        self.watcher = membership_contract.Watcher()
        self.membership.start(membership_contract.info('a'), self.watcher,
                              7)
        self.identity = self.born('a.1')

    async def asyncTearDown(self):
        await self.membership.stop()

    def born(self, incarnation):
        identity = membership.Identity(incarnation,
                                       self.membership.time + 3)
        self.membership.born(identity)
        return identity

    async def test_a_lease(self):
        self.assertEqual((7, 'a.1'), (self.membership.heart.min_term,
                                      self.membership.incarnation))
        self.assertTrue(self.membership.lease_valid())
        self.membership.time += 2.9
        self.assertTrue(self.membership.lease_valid())
        self.membership.time += 0.2
        self.assertFalse(self.membership.lease_valid())

    async def test_the_end_comes_without_the_heart(self):
        self.membership.time += 5
        await asyncio.sleep(TTL / 16 + 0.1)
        self.assertEqual(['no heartbeat in time'], self.watcher.lapses)
        # The heart, late, cannot bring it back.
        self.identity.lease_until = self.membership.time + 3
        self.assertFalse(self.membership.lease_valid())
        self.membership.snapshot(self.identity, {'a.1': None}, None)
        self.assertEqual({}, self.watcher.members)
        self.membership.end(self.identity, 'again')
        self.assertEqual(1, len(self.watcher.lapses))

    async def test_the_next_identity_has_a_lease_once_it_is_known(self):
        self.membership.end(self.identity, 'fenced')
        self.assertFalse(self.membership.lease_valid())
        later = self.born('a.2')
        self.assertTrue(self.membership.lease_valid())
        self.membership.claimed(self.identity, 9)
        self.assertEqual([], self.watcher.terms)
        self.membership.claimed(later, 11)
        self.assertEqual([11], self.watcher.terms)

    async def test_terms(self):
        self.membership.claimed(self.identity, 7)
        self.assertEqual([], self.watcher.terms)
        # The heart must know that its claim is good for nothing.
        self.assertEqual(8, self.membership.heart.min_term)
        self.membership.claimed(self.identity, 9)
        self.membership.note_term(9)
        self.assertEqual([9], self.watcher.terms)
        self.membership.note_term(10)
        self.assertEqual([9, 0], self.watcher.terms)
        self.membership.deposed(9)
        self.assertEqual([9, 0], self.watcher.terms)

    async def test_the_end_of_a_leader(self):
        self.membership.claimed(self.identity, 9)
        self.membership.fence('a.1')
        self.membership.fence('b.1')
        await asyncio.sleep(0)
        self.assertEqual([9, 0], self.watcher.terms)
        self.assertEqual(['fenced by itself'], self.watcher.lapses)
        self.assertEqual(['b.1'], list(self.membership.heart.to_fence))

    async def test_a_snapshot_ends_a_problem(self):
        self.membership.report('no answer')
        self.assertEqual('no answer', self.membership.problem)
        self.membership.snapshot(self.identity, {'a.1': None}, None)
        self.assertEqual('', self.membership.problem)

    async def test_stop(self):
        self.membership.heart.leaves_after = 2
        await self.membership.stop()
        self.assertEqual(-1, self.membership.heart.leaves_after)
        self.assertFalse(self.membership.lease_valid())
        self.assertEqual([], self.watcher.lapses)
        self.born('a.3')
        self.assertFalse(self.membership.lease_valid())
