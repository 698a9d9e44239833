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

"""What every membership must keep, whatever is below it.

A test case inherits ``MembershipContract`` and has ``make``, which returns
a new membership of the one cluster of a test, and, if there is a service,
``freeze``, which keeps it from answering, and ``thaw``.
"""

import asyncio
import time

from sheepdog.cluster import api
from sheepdog.cluster import incarnations

TTL = 3.0
SOON = LATE = 60.0
"""However busy the machine is: for what happens without a timeout of the
service, and for what needs one."""
TRIES = 5


class Watcher:
    """Notes what a membership tells."""

    def __init__(self):
        self.members = {}
        self.leader = None
        self.terms = []
        self.lapses = []
        self.log = []

    @property
    def leads(self) -> int:
        """The term led now, or 0."""
        return self.terms[-1] if self.terms else 0

    def on_members(self, members, leader):
        self.members = dict(members)
        self.leader = leader

    def on_lapse(self, reason):
        self.lapses.append(reason)
        self.members, self.leader = {}, None

    def on_leader(self, term):
        self.terms.append(term)


def info(node: str) -> api.MemberInfo:
    return api.MemberInfo(
        node=node, incarnation='', host='127.0.0.1', port=7000, zone=3,
        space=1 << 40, vnodes=-1, data_host='127.0.0.2', data_port=7001,
        protocol=17, created=1 << 62)


class MembershipContract:
    can_freeze = True

    def setUp(self):
        super().setUp()
        self.memberships = {}
        self.watchers = {}

    async def asyncTearDown(self):
        await asyncio.gather(*(one.stop() for one
                               in self.memberships.values()))
        await super().asyncTearDown()

    def start(self, node, min_term=0):
        membership, watcher = self.make(), Watcher()
        self.memberships[node], self.watchers[node] = membership, watcher
        membership.start(info(node), watcher, min_term)
        return membership, watcher

    async def until(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                self.fail('not within %g s: %s; %s' % (seconds, what, {
                    node: (sorted(watcher.members), watcher.leader and
                           watcher.leader.node, watcher.terms,
                           watcher.lapses, self.memberships[node].problem)
                    for node, watcher in self.watchers.items()}))
            await asyncio.sleep(0.02)

    def agreed(self, *nodes):
        """They see each other, nobody else, and one of them as leader."""
        wanted = {self.memberships[node].incarnation for node in nodes}
        leaders = {self.watchers[node].leader for node in nodes}
        return all(set(self.watchers[node].members) == wanted
                   for node in nodes) and len(leaders) == 1 and (
                       None not in leaders)

    async def formed(self, *nodes):
        for node in nodes:
            self.start(node)
        await self.until(lambda: self.agreed(*nodes), SOON, 'forming')
        leader = next(iter(self.watchers.values())).leader.node
        return leader, [node for node in nodes if node != leader]

    async def test_members_leader_and_leaving(self):
        leader, others = await self.formed('a', 'b', 'c')
        for node, membership in self.memberships.items():
            self.assertTrue(membership.lease_valid())
            self.assertGreater(membership.lease_seconds(), 0)
            seen = self.watchers['a'].members[membership.incarnation]
            self.assertEqual(node, incarnations.node_of(
                membership.incarnation))
            wanted = dict(info(node).to_dict(),
                          incarnation=membership.incarnation)
            self.assertEqual(wanted, seen.to_dict())
        leads = [node for node, watcher in self.watchers.items()
                 if watcher.leads]
        self.assertEqual([leader], leads)
        # Leaving in order is seen at once, and a higher term follows.
        term = self.watchers[leader].leads
        await self.memberships[leader].stop()
        self.assertFalse(self.memberships[leader].lease_valid())
        await self.until(lambda: self.agreed(*others), SOON, 'leaving')
        following = [watcher.leads for node, watcher
                     in self.watchers.items()
                     if node != leader and watcher.leads]
        self.assertEqual(1, len(following))
        self.assertGreater(following[0], term)
        self.assertEqual([], self.watchers[others[0]].lapses)

    async def test_terms_only_grow(self):
        membership, watcher = self.start('a', min_term=40)
        await self.until(lambda: watcher.leads > 40, SOON, 'min_term')
        term = watcher.leads
        membership.note_term(term)
        self.assertEqual(term, watcher.leads, 'our own term is no rival')
        membership.note_term(term + 10)
        self.assertEqual(0, watcher.leads)
        await self.until(lambda: watcher.leads > term + 10, SOON,
                         'claiming a higher term')

    async def test_a_fence_ends_an_identity(self):
        leader, (one, other) = await self.formed('a', 'b', 'c')
        victim = self.memberships[one]
        old = victim.incarnation
        self.memberships[leader].fence(old)
        await self.until(
            lambda: old not in self.watchers[leader].members, LATE,
            'the fenced one to leave')
        # Nobody counts it out before its lease is over.
        self.assertTrue(self.watchers[one].lapses)
        await self.until(lambda: victim.incarnation != old and
                         self.agreed('a', 'b', 'c'), LATE, 'coming back')
        self.assertTrue(victim.lease_valid())
        self.assertLess(incarnations.age_key(old),
                        incarnations.age_key(victim.incarnation))
        # A leader may fence itself, and does not lead at once again; but
        # if nobody else gets the processor meanwhile.
        for _ in range(TRIES):
            leader = self.watchers['a'].leader.node
            watcher = self.watchers[leader]
            lapses = len(watcher.lapses)
            self.memberships[leader].fence(
                self.memberships[leader].incarnation)
            await self.until(lambda: len(watcher.lapses) > lapses, SOON,
                             'fencing itself')
            self.assertEqual(0, watcher.leads)
            await self.until(lambda: self.agreed('a', 'b', 'c'), LATE,
                             'going on')
            if leader != self.watchers[leader].leader.node:
                return
        self.fail('%s leads again and again' % leader)

    async def test_a_stuck_loop_is_not_alive(self):
        await self.formed('a')
        membership, watcher = self.memberships['a'], self.watchers['a']
        old = membership.incarnation
        # Half a TTL to notice, one for the last lease to run out.
        time.sleep(1.6 * TTL)
        self.assertFalse(membership.lease_valid())
        self.assertEqual(0, membership.lease_seconds())
        await self.until(lambda: watcher.lapses, SOON, 'lapsing')
        await self.until(lambda: membership.incarnation != old and
                         membership.lease_valid(), LATE, 'coming back')

    async def test_a_lease_ends_without_the_service(self):
        if not self.can_freeze:
            self.skipTest('there is no service')
        await self.formed('a', 'b')
        old = {node: membership.incarnation for node, membership
               in self.memberships.items()}
        begun = time.monotonic()
        left = min(membership.lease_seconds() for membership
                   in self.memberships.values())
        self.freeze()
        frozen = time.monotonic()
        try:
            await self.until(lambda: not any(
                membership.lease_valid() for membership
                in self.memberships.values()) or (
                    time.monotonic() > frozen + TTL), LATE, 'lapsing')
            self.assertFalse(any(
                membership.lease_valid() for membership
                in self.memberships.values()), 'a lease goes on')
            # Not before it must: a short silence costs nothing.
            self.assertGreater(time.monotonic() - begun,
                               min(left, TTL / 3))
            await self.until(lambda: all(
                watcher.lapses for watcher in self.watchers.values()),
                SOON, 'telling')
        finally:
            self.thaw()
        await self.until(lambda: self.agreed('a', 'b'), LATE + TTL,
                         'coming back')
        for node, membership in self.memberships.items():
            self.assertNotEqual(old[node], membership.incarnation)
