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

"""Members agree while everything goes wrong at once, from many seeds, and
when one of them dies at each single thing that it does.

SHEEPDOG_CLUSTER_SEEDS=FIRST-LAST runs others. A seed that fails is printed
and fails again.
"""

import os
import random
import unittest

from sheepdog.cluster import api
from sheepdog.model import errors
from sheepdog.tests.unit.cluster import harness

SECONDS = 40.0
SETTLE_SECONDS = 120.0
PATIENCE_SECONDS = (5.0, 60.0)


def seeds():
    first, _, last = os.environ.get('SHEEPDOG_CLUSTER_SEEDS',
                                    '0-7').partition('-')
    return range(int(first), int(last or first) + 1)


class Chaos:
    """Members that are disturbed, clients that create VDIs meanwhile."""

    def __init__(self, seed):
        self.random = random.Random('chaos/%s' % seed)
        self.net = harness.Net(seed, self.random.choice([2, 3, 3, 4, 5]),
                               notices_kills=self.random.random() < 0.5)
        self.asked = []
        self.faults = [getattr(self, name) for name in sorted(dir(self))
                       if name.startswith('do_')]

    def run(self):
        net = self.net
        net.formed()
        deadline = net.loop.time() + SECONDS
        while net.loop.time() < deadline:
            self.random.choice(self.faults)(
                self.random.choice(list(net.nodes.values())))
            self.ask()
            net.run_for(self.random.random() *
                        self.random.choice([0.05, 0.5, 3, 3]))
        self.do_heal(None)
        for node in net.nodes.values():
            node.host.process.kill_after(0)
        net.run_until(net.is_settled, SETTLE_SECONDS, 'settling')
        net.run_until(lambda: all(
            task.done() or not node.is_running or
            task.process is not node.host.process
            for _, node, task in self.asked), 70, 'answers')
        net.run_until(net.is_settled, SETTLE_SECONDS, 'settling again')
        self.check()

    def ask(self):
        for node in self.net.nodes.values():
            if node.is_running and self.random.random() < 0.5:
                name = 'v%d' % len(self.asked)
                self.asked.append((name, node, node.ask(
                    'create', {'name': name},
                    timeout=self.random.choice(PATIENCE_SECONDS))))

    def check(self):
        net = self.net
        state = net.nodes['n0'].cluster.state
        for name, _, task in self.asked:
            result = task.result() if task.done() else None
            if isinstance(result, dict):
                entry = state.lookup(name)
                if entry is None or entry.vdi_id != result['vdi_id']:
                    net.violations.append('%s was acknowledged as %r' % (
                        name, result))
            elif result is not None and not isinstance(
                    result, (errors.Transient, errors.WaitForJoin)):
                # VdiExists: it was done before.
                net.violations.append('%s: %r' % (name, result))
        for node in net.nodes.values():
            if node.cluster.state.to_dict() != state.to_dict():
                net.violations.append('%s has another state' % node.name)
        net.check()

    # Faults, each of one node or of all.

    def do_nothing(self, node):
        pass

    def do_kill(self, node):
        node.host.kill()

    def do_kill_in_the_middle(self, node):
        if node.is_running:
            node.host.process.kill_after(self.random.randrange(1, 60))

    def do_power_cut(self, node):
        node.host.power_cut()

    def do_suspend(self, node):
        node.host.stop()

    def do_resume(self, node):
        for one in self.net.nodes.values():
            one.host.resume()

    def do_start(self, node):
        self.net.start_all()

    def do_start_one(self, node):
        if not node.host.is_on:
            node.host.power_on()
        if not node.host.is_running:
            node.start()

    def do_kill_all(self, node):
        for one in self.net.nodes.values():
            one.host.kill()

    def do_heal(self, node):
        self.net.simulation.heal()
        self.net.mail.blocked = set()
        self.net.mail.loss = self.net.mail.doubling = 0.0
        self.net.start_all()

    def do_block_one_way(self, node):
        other = self.random.choice(list(self.net.nodes))
        self.net.mail.blocked.add((node.name, other))

    def do_block_both_ways(self, node):
        other = self.random.choice(list(self.net.nodes))
        self.net.mail.blocked |= {(node.name, other), (other, node.name)}

    def do_isolate(self, node):
        for other in self.net.nodes:
            self.net.mail.blocked |= {(node.name, other), (other, node.name)}

    def do_block_coordination(self, node):
        self.net.simulation.coordination.block(node.name)

    def do_lose_messages(self, node):
        self.net.mail.loss = self.random.choice([0, 0.05, 0.3])

    def do_double_messages(self, node):
        self.net.mail.doubling = self.random.choice([0, 0.1, 0.5])

    def do_set_the_clock(self, node):
        node.host.jump(self.random.choice([-100, 100, 3600]))


class ChaosTest(unittest.TestCase):
    def test_seeds(self):
        for seed in seeds():
            with self.subTest(seed=seed):
                chaos = Chaos(seed)
                try:
                    chaos.run()
                finally:
                    chaos.net.close()

    def test_a_seed_does_the_same_twice(self):
        digests = set()
        for _ in range(2):
            chaos = Chaos(3)
            try:
                chaos.run()
                digests.add(chaos.net.simulation.trace.digest())
            finally:
                chaos.net.close()
        self.assertEqual(1, len(digests))


class EveryStepTest(unittest.TestCase):
    """While one member joins and two operations run, another dies at its
    first, second, … operation on disk or network; then all lose power."""

    STEPS = 36

    def play(self, steps, is_leader, seed):
        """Returns whether it died at all."""
        with harness.Net(seed, 4) as net:
            late = net.nodes.pop('n3')
            net.formed()
            net.nodes['n3'] = late
            victim = net.leader()
            if not is_leader:
                victim = next(node for node in net.nodes.values()
                              if node not in (victim, late))
            asker = next(node for node in net.nodes.values()
                         if node not in (victim, net.leader(), late))
            victim.host.process.kill_after(steps)
            late.start()
            tasks = [asker.ask('create', {'name': 'a'})]
            net.run_for(0.05)
            tasks.append(asker.ask('create', {'name': 'b'}))
            net.run_for(1)
            is_dead = not victim.is_running
            if is_dead:
                rest = [name for name in net.nodes if name != victim.name]
                net.run_until(lambda: net.is_settled(rest), what='the rest')
                victim.start()
            else:
                victim.host.process.kill_after(0)
            net.run_until(net.is_settled, what='all')
            net.run_until(lambda: all(task.done() for task in tasks))
            created = {task.result()['vdi_id'] for task in tasks}
            self.assertEqual(2, len(created))
            epoch = asker.cluster.view.epoch
            for node in net.nodes.values():
                node.host.power_cut()
            net.start_all()
            net.run_until(net.is_settled, what='a cold start')
            for node in net.nodes.values():
                self.assertEqual(epoch, node.cluster.view.epoch)
                self.assertEqual(created, set(node.cluster.state.vdis))
            net.check()
            return is_dead

    def test_the_leader_dies(self):
        deaths = sum(self.play(steps, True, steps)
                     for steps in range(1, self.STEPS))
        self.assertGreater(deaths, self.STEPS / 2)

    def test_a_member_dies(self):
        deaths = sum(self.play(steps, False, 1000 + steps)
                     for steps in range(1, self.STEPS))
        self.assertGreater(deaths, self.STEPS / 5)


class EveryFormatTest(unittest.TestCase):
    """Messages are lost, and all die at some point of a format; then the
    leader is missing."""

    STEPS = 36

    def play(self, steps):
        """→ (whether the leader died, whether anybody served)."""
        with harness.Net(steps, 3) as net:
            net.start_all()
            net.run_for(1)
            leader = net.leader()
            others = [node for node in net.nodes.values()
                      if node is not leader]
            leader.ask('format', {})
            net.mail.loss = 0.4
            leader.host.process.kill_after(steps)
            net.run_until(lambda: not leader.is_running or
                          net.is_settled(), 300, 'a format or a death')
            is_dead = not leader.is_running
            for node in net.nodes.values():
                node.host.kill()
            # One look later they may have died before it was told.
            was_served = bool(net.lives)
            net.mail.loss = 0.0
            for node in others:
                node.start()
            net.run_for(5)
            if was_served:
                for node in others:
                    result = net.result(node, 'format', {})
                    self.assertIsInstance(result, errors.WaitForJoin)
                    self.assertIs(api.Status.WAIT_FOR_JOIN,
                                  node.cluster.status)
            leader.start()
            net.run_for(5)
            if not net.is_settled():
                self.assertFalse(was_served)
                net.result(leader, 'format', {})
                net.run_until(net.is_settled, what='another format')
            self.assertEqual(1, leader.cluster.view.epoch)
            net.check()
            return is_dead, was_served

    def test_the_leader_dies(self):
        played = [self.play(steps) for steps in range(1, self.STEPS)]
        self.assertIn((True, True), played)
        self.assertIn((True, False), played)


class EveryStrangerTest(unittest.TestCase):
    """A newcomer leads, and the only member dies at some point of its start
    and of the newcomer's joining. The newcomer must not go on alone: what
    the cluster has is on the other's disk."""

    STEPS = 50

    def play(self, steps):
        with harness.Net(steps, 2) as net:
            member, stranger = net.nodes['n0'], net.nodes.pop('n1')
            net.formed()
            net.result(member, 'create', {'name': 'a'})
            member.host.kill()
            net.nodes['n1'] = stranger
            stranger.start()
            net.run_until(lambda: net.leader() is stranger)
            member.start()
            member.host.process.kill_after(steps)
            net.run_for(1)
            is_dead = not member.is_running
            has_joined = any(life.name == 'n1' for life in net.lives)
            if is_dead:
                net.run_for(2 * net.ttl)
                if stranger.cluster.serving():
                    self.assertTrue(has_joined)
                    self.assertIsNotNone(
                        stranger.cluster.state.lookup('a'))
                member.start()
            else:
                member.host.process.kill_after(0)
            net.run_until(net.is_settled, what='both')
            for node in net.nodes.values():
                self.assertIsNotNone(node.cluster.state.lookup('a'))
            net.check()
            return is_dead, has_joined

    def test_the_only_member_dies(self):
        played = [self.play(steps) for steps in range(15, self.STEPS)]
        self.assertIn((True, False), played)
        self.assertIn((False, True), played)
