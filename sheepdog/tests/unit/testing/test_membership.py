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

from sheepdog.cluster import api
from sheepdog.testing import membership
from sheepdog.testing import world as world_module


class Listener:

    def __init__(self):
        self.snapshots = []
        self.lapses = []
        self.terms = []

    def on_members(self, members, leader):
        self.snapshots.append((list(members), leader))

    def on_lapse(self, reason):
        self.lapses.append(reason)

    def on_leader(self, term):
        self.terms.append(term)

    @property
    def term(self):
        return self.terms[-1] if self.terms else 0


class MembershipTest(unittest.TestCase):

    TTL = 4.0

    def setUp(self):
        self.begin(0)

    def begin(self, seed):
        self.simulation = world_module.Simulation(
            seed, coordination_settings=membership.CoordinationSettings(
                ttl_seconds=self.TTL))
        self.addCleanup(self.simulation.close)
        self.members = {}
        self.listeners = {}
        for name in 'one', 'two', 'three':
            self.simulation.add_host(name)
            self.start(name)

    def start(self, name, min_term=0):
        world = self.simulation.hosts[name].start()
        self.listeners[name] = Listener()
        self.members[name] = world.membership()
        world.process.run(
            self.members[name].start,
            api.MemberInfo(name, '', name, 7000, 0, 1 << 30),
            self.listeners[name], min_term)

    def run_for(self, seconds):
        """…while looking that no two lead one term, ever."""
        self.simulation.run_for(seconds)
        claimed = [term for listener in self.listeners.values()
                   for term in listener.terms if term]
        self.assertEqual(len(set(claimed)), len(claimed))

    def last(self, name):
        return self.listeners[name].snapshots[-1]

    def leaders(self):
        return [name for name, listener in self.listeners.items()
                if listener.term and self.members[name].lease_valid()]

    def test_all_see_all_and_one_leads(self):
        self.run_for(5)
        self.assertEqual(1, len(self.leaders()))
        incarnations = sorted(member.incarnation
                              for member in self.members.values())
        for name in self.members:
            members, leader = self.last(name)
            self.assertEqual(incarnations, sorted(members))
            self.assertEqual(self.leaders(), [leader.node])
            self.assertTrue(self.members[name].lease_valid())

    def test_the_killed_are_missed_after_their_time(self):
        self.run_for(5)
        victim, = self.leaders()
        self.simulation.hosts[victim].kill()
        other = next(name for name in self.members if name != victim)
        self.run_for(self.TTL / 2)
        self.assertEqual(3, len(self.last(other)[0]))
        self.run_for(self.TTL)
        self.assertEqual(2, len(self.last(other)[0]))
        del self.listeners[victim]
        self.assertEqual(1, len(self.leaders()))

    def test_who_stops_in_order_is_missed_at_once(self):
        self.run_for(5)
        self.simulation.hosts['two'].run(self.members['two'].stop())
        self.assertFalse(self.members['two'].lease_valid())
        self.run_for(1)
        self.assertEqual(2, len(self.last('one')[0]))

    def test_cut_off_it_serves_no_more_before_the_others_go_on(self):
        self.run_for(5)
        first = self.members['two'].incarnation
        self.simulation.coordination.block('two')
        for _ in range(1000):
            self.run_for(0.01)
            if first not in self.last('one')[0]:
                break
            held = self.members['two'].lease_valid()
        self.assertFalse(held)
        self.run_for(2)
        self.assertEqual(1, len(self.listeners['two'].lapses))
        self.simulation.heal()
        self.run_for(3)
        self.assertNotEqual(first, self.members['two'].incarnation)
        self.assertIn(self.members['two'].incarnation, self.last('one')[0])
        self.assertTrue(self.members['two'].lease_valid())

    def test_stopped_it_serves_no_more_when_it_wakes(self):
        self.run_for(5)
        self.simulation.hosts['two'].stop()
        self.run_for(2 * self.TTL)
        self.simulation.hosts['two'].resume()
        self.assertFalse(self.members['two'].lease_valid())
        self.run_for(2)
        self.assertEqual(1, len(self.listeners['two'].lapses))
        self.assertTrue(self.members['two'].lease_valid())

    def test_a_lapsed_leader_leads_no_more(self):
        self.run_for(5)
        victim, = self.leaders()
        self.simulation.coordination.block(victim)
        self.run_for(2 * self.TTL)
        self.assertEqual(0, self.listeners[victim].term)
        self.assertEqual(1, len(self.leaders()))

    def test_all_cut_off_and_back(self):
        self.run_for(5)
        for name in self.members:
            self.simulation.coordination.block(name)
        self.run_for(2 * self.TTL)
        self.assertEqual([], self.leaders())
        self.simulation.heal()
        self.run_for(5)
        self.assertEqual(1, len(self.leaders()))
        self.assertEqual(3, len(self.last('one')[0]))

    def test_fence(self):
        self.run_for(5)
        first = self.members['two'].incarnation
        self.members['one'].fence(first)
        self.run_for(2)
        self.assertEqual(1, len(self.listeners['two'].lapses))
        self.assertNotIn(first, self.last('one')[0])

    def test_terms_noted_elsewhere(self):
        self.run_for(5)
        name, = self.leaders()
        self.members[name].note_term(100)
        self.assertEqual(0, self.listeners[name].term)
        self.run_for(3)
        name, = self.leaders()
        self.assertGreater(self.listeners[name].term, 100)

    def test_a_restart_is_a_new_identity(self):
        self.run_for(5)
        first = self.members['two'].incarnation
        self.simulation.hosts['two'].kill()
        self.start('two', 50)
        self.run_for(1)
        self.assertGreater(self.members['two'].incarnation, first)
        self.assertIn(first, self.last('one')[0])
        self.assertIn(self.members['two'].incarnation, self.last('one')[0])

    def test_whatever_happens_one_leads_in_the_end(self):
        for seed in range(5):
            self.begin(seed)
            source = self.simulation.random
            names = list(self.members)
            for _ in range(30):
                name = names[source.randrange(3)]
                host = self.simulation.hosts[name]
                action = source.randrange(6)
                if action == 0 and host.is_running:
                    host.kill()
                elif action == 1 and not host.is_running:
                    self.start(name)
                elif action == 2:
                    self.simulation.coordination.block(name)
                elif action == 3:
                    self.simulation.coordination.unblock(name)
                elif action == 4:
                    host.stop()
                else:
                    host.resume()
                self.run_for(2 * source.random())
            self.simulation.heal()
            for name in names:
                if not self.simulation.hosts[name].is_running:
                    self.start(name)
            self.run_for(3 * self.TTL)
            self.assertEqual(1, len(self.leaders()))
            self.assertEqual([], self.simulation.errors())
