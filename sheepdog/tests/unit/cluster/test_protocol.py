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

"""Members agree, in the simulator: what they do when nothing, and when one
thing goes wrong. ``test_chaos`` has everything at once."""

import unittest
from unittest import mock

from sheepdog.cluster import api
from sheepdog.cluster import incarnations
from sheepdog.cluster import opening
from sheepdog.model import errors
from sheepdog.tests.unit.cluster import harness

Status = api.Status


class ProtocolTest(unittest.TestCase):
    def net(self, count=3, seed=1, **options):
        net = harness.Net(seed, count, **options)
        self.addCleanup(net.close)
        self.addCleanup(net.check)
        return net

    def formed(self, *arguments, **options):
        net = self.net(*arguments, **options)
        net.formed()
        return net

    def create(self, net, name, node='n0'):
        result = net.result(net.nodes[node], 'create', {'name': name})
        self.assertIsInstance(result, dict, result)
        return result['vdi_id']

    def others(self, net, *without):
        return [node for node in net.nodes.values() if node not in without]


class LifeTest(ProtocolTest):
    def test_before_format(self):
        net = self.net()
        net.start_all()
        net.run_until(lambda: all(
            node.cluster.status is Status.WAIT_FOR_FORMAT
            for node in net.nodes.values()), what='wait for format')
        result = net.result(net.nodes['n1'], 'create', {'name': 'a'})
        self.assertIsInstance(result, errors.WaitForFormat)
        self.assertFalse(net.nodes['n0'].cluster.serving())

    def test_format(self):
        net = self.net()
        net.formed(copies=2)
        for node in net.nodes.values():
            cluster = node.cluster
            self.assertEqual(1, cluster.view.epoch)
            self.assertEqual(2, cluster.state.settings.copies)
            self.assertEqual(['n0', 'n1', 'n2'],
                             [member.node for member in
                              cluster.view.members])
            self.assertEqual(128, cluster.view.members[0].vnodes)
            self.assertEqual('', cluster.reason)
        again = net.result(net.nodes['n1'], 'format', {})
        self.assertIsInstance(again, errors.InvalidParameters)

    def test_format_is_done_once(self):
        net = self.net()
        net.start_all()
        net.run_for(1)
        first = net.result(net.nodes['n0'], 'format', {}, operation_id='x')
        again = net.result(net.nodes['n1'], 'format', {}, operation_id='x')
        self.assertEqual(first, again)

    def test_format_again(self):
        net = self.formed()
        self.create(net, 'a')
        created = net.nodes['n0'].cluster.state.created
        result = net.result(net.nodes['n1'], 'format', {'force': True})
        self.assertEqual(2, result['epoch'])
        net.run_until(net.is_settled, what='the new cluster')
        for node in net.nodes.values():
            self.assertEqual({}, node.cluster.state.vdis)
            self.assertNotEqual(created, node.cluster.state.created)
            self.assertEqual([2], [view.epoch for view
                                   in node.cluster.views])

    def test_operations(self):
        net = self.formed()
        ids = [self.create(net, 'v%d' % number, 'n%d' % (number % 3))
               for number in range(9)]
        self.assertEqual(9, len(set(ids)))
        state = net.nodes['n1'].cluster.state.to_dict()
        self.assertEqual(state, net.nodes['n2'].cluster.state.to_dict())
        result = net.result(net.nodes['n2'], 'fail')
        self.assertIsInstance(result, errors.NoSpace)
        self.assertEqual({'count': 9}, net.result(net.nodes['n2'], 'look'))

    def test_an_operation_runs_once(self):
        net = self.formed()
        tasks = [node.ask('create', {'name': 'a'}, operation_id='same')
                 for node in net.nodes.values()]
        net.run_until(lambda: all(task.done() for task in tasks))
        self.assertEqual([{'vdi_id': 1}] * 3,
                         [task.result() for task in tasks])
        self.assertEqual(1, len(net.running))

    def test_an_operation_may_span_an_epoch(self):
        net = self.formed()
        asker = self.others(net, net.leader())[0]
        task = asker.ask('wait')
        later = asker.ask('create', {'name': 'a'})
        net.run_for(1)
        self.assertFalse(task.done() or later.done())
        victim = self.others(net, net.leader(), asker)[0]
        victim.host.kill()
        net.run_until(lambda: task.done() and later.done())
        self.assertEqual({'from': 1}, task.result())
        self.assertEqual(9, asker.cluster.state.lookup('waited').vdi_id)
        self.assertEqual({'vdi_id': 1}, later.result())

    def test_one_does_not_hear_of_a_format_before_all_stop(self):
        """Its store is of the cluster of before, but it has agreed to the
        next one, which can start with it."""
        net = self.net(count=3)
        net.formed()
        leader = net.leader()
        deaf = next(node for node in net.nodes.values()
                    if node is not leader)
        rest = [name for name in net.nodes if name != deaf.name]
        before = leader.cluster.state.created
        leader.ask('format', {'force': True})
        net.run_until(lambda: deaf.cluster.status is Status.FROZEN)
        net.mail.blocked.add((leader.name, deaf.name))
        net.run_until(lambda: all(
            net.nodes[name].cluster.serving()
            and net.nodes[name].cluster.state.created != before
            for name in rest))
        self.assertEqual(before, deaf.cluster.state.created)
        created = leader.cluster.state.created
        self.assertEqual(3, len(leader.cluster.view.members))
        for node in net.nodes.values():
            node.host.kill()
        net.mail.blocked.clear()
        net.start_all()
        net.run_until(net.is_settled)
        self.assertEqual({created}, {node.cluster.state.created
                                     for node in net.nodes.values()})

    def test_what_a_format_has_wiped_is_not_announced(self):
        net = self.formed()
        asker = self.others(net, net.leader())[0]
        # What it wrote was of the cluster of before.
        task = asker.ask('wait', timeout=10)
        net.run_for(1)
        net.result(net.nodes['n1'], 'format', {'force': True})
        net.run_until(task.done)
        self.assertIsInstance(task.result(), errors.SheepdogError)
        for node in net.nodes.values():
            self.assertEqual({}, node.cluster.state.vdis)

    def test_a_leader_that_is_none_any_more_stops_working(self):
        net = self.formed()
        leader = net.leader()
        task = leader.ask('wait', timeout=3)
        net.run_for(1)
        leader.cluster._membership.note_term(100)
        net.run_until(lambda: net.leader() is not None and
                      net.leader().cluster._leader.term > 100)
        # The operation began anew, under the new leader, and only there.
        net.run_for(1)
        self.assertEqual(2, len(net.running))
        waiting = [one for one in net.loop.pending_tasks(
            leader.host.process) if 'desk' in one.get_name()]
        self.assertEqual(1 if net.leader() is leader else 0, len(waiting))
        net.run_until(task.done)
        self.assertIsInstance(task.result(), errors.NotServing)

    def test_joining(self):
        net = self.net(4)
        late = net.nodes.pop('n3')
        net.formed()
        self.create(net, 'a')
        net.nodes['n3'] = late
        late.start()
        net.run_until(net.is_settled, what='the fourth')
        self.assertEqual(2, late.cluster.view.epoch)
        self.assertEqual([1, 2], [view.epoch for view in late.cluster.views])
        self.assertEqual(1, late.cluster.state.lookup('a').vdi_id)
        self.create(net, 'b', 'n3')

    def test_leaving_in_order(self):
        net = self.formed(notices_kills=False)
        node = self.others(net, net.leader())[0]
        node.world.spawn(node.cluster.stop(False))
        rest = [other.name for other in self.others(net, node)]
        begun = net.loop.time()
        net.run_until(lambda: net.is_settled(rest), what='its leaving')
        self.assertLess(net.loop.time() - begun, net.ttl / 2)
        self.assertIs(Status.SHUTDOWN, node.cluster.status)
        self.assertFalse(node.cluster.clean_start)

    def test_a_leader_leaves_in_order(self):
        net = self.formed()
        leader = net.leader()
        leader.world.spawn(leader.cluster.stop(False))
        net.run_until(lambda: net.is_settled(
            [node.name for node in self.others(net, leader)]))

    def test_weights(self):
        net = self.net(n1={'space': 3 << 30}, n2={'vnodes': 0})
        net.formed()
        self.assertEqual([64, 192, 0], [
            member.vnodes for member
            in net.nodes['n0'].cluster.view.members])
        # A restart does not change a weight, whatever space there is.
        node = net.nodes['n1']
        node.host.kill()
        node.info = api.MemberInfo(**dict(node.info.to_dict(), space=9))
        node.start()
        net.run_until(lambda: net.is_settled() and
                      node.cluster.view.epoch > 1)
        self.assertEqual([64, 192, 0], [
            member.vnodes for member
            in net.nodes['n0'].cluster.view.members])

    def test_weights_are_reckoned_anew_when_asked_for(self):
        net = self.formed()

        def look():
            return {member.host: member.vnodes for member
                    in net.nodes['n0'].cluster.view.members}

        before = look()
        self.assertEqual({128}, set(before.values()))
        member = net.nodes['n0'].cluster.view.members[1]
        reference = net.nodes['n0'].cluster.state.settings.reference_space
        self.assertIsNone(net.result(
            net.nodes['n2'], 'reweight',
            {'spaces': {member.node: 2 * reference}}))
        net.run_until(lambda: net.is_settled() and
                      net.nodes['n0'].cluster.view.epoch == 2)
        self.assertEqual(dict(before, **{member.host: 256}), look())
        # A weight that is what it was makes no epoch.
        net.result(net.nodes['n0'], 'reweight',
                   {'spaces': {member.node: 2 * reference}})
        net.run_for(5.0)
        self.assertEqual(2, net.nodes['n1'].cluster.view.epoch)


class DeathTest(ProtocolTest):
    def test_the_leader_dies_at_work(self):
        net = self.formed()
        leader = net.leader()
        asker = self.others(net, leader)[0]
        for number in range(5):
            task = asker.ask('create', {'name': 'v%d' % number})
            net.run_for(0.01 * number)
            if leader.is_running and number == 2:
                leader.host.kill()
            net.run_until(task.done)
            self.assertEqual({'vdi_id': number + 1}, task.result())

    def test_the_leader_dies_with_an_epoch_prepared_on_some(self):
        """The next leader goes on with that epoch, and freezes who had not
        heard of it before anybody serves it."""
        for seed in range(8):
            net = self.formed(4, seed)
            leader = net.leader()
            deaf, other, victim = self.others(net, leader)
            net.mail.blocked.add((leader.name, deaf.name))
            victim.host.kill()
            net.run_until(lambda: other.cluster.status is Status.FROZEN)
            self.assertIs(Status.OK, deaf.cluster.status)
            leader.host.kill()
            # Slow enough to be seen in between.
            net.mail.delay = 0.05
            net.run_until(lambda: net.is_settled([deaf.name, other.name]))
            self.assertEqual([1, 2, 3], [view.epoch for view
                                         in deaf.cluster.views])
            net.check()

    def test_a_restart_waits_for_no_timeout(self):
        net = self.formed(notices_kills=False)
        node = self.others(net, net.leader())[0]
        node.host.kill()
        node.start()
        begun = net.loop.time()
        net.run_until(lambda: net.is_settled() and
                      node.cluster.view.epoch == 2)
        self.assertLess(net.loop.time() - begun, net.ttl / 2)

    def test_suspended(self):
        for who in ('member', 'leader'):
            with self.subTest(who):
                net = self.formed()
                node = net.leader()
                if who == 'member':
                    node = self.others(net, node)[0]
                rest = [other.name for other in self.others(net, node)]
                node.host.stop()
                net.run_until(lambda: net.is_settled(rest))
                self.assertFalse(node.cluster.serving())
                net.run_for(5)
                node.host.resume()
                self.assertFalse(node.cluster.serving())
                net.run_until(net.is_settled)
                self.assertEqual(3, node.cluster.view.epoch)

    def test_a_lapse_is_told(self):
        net = self.formed()
        node = self.others(net, net.leader())[0]
        told = []
        node.cluster.add_listener(Recorder(told))
        net.simulation.coordination.block(node.name)
        net.run_until(lambda: node.cluster.status is Status.LAPSED)
        self.assertEqual(['on_freeze', 'on_lapse'], told)
        net.simulation.coordination.unblock(node.name)
        net.run_until(net.is_settled)
        self.assertEqual('on_view', told[-1])

    def test_upper_rooms_hear_of_a_lapse_first(self):
        """Whoever is told later may still use what stands below."""
        net = self.formed()
        node = self.others(net, net.leader())[0]
        told = []
        for name in ('lower', 'upper'):
            node.cluster.add_listener(
                Recorder(told, lambda method, n=name: (n, method)))
        net.simulation.coordination.block(node.name)
        net.run_until(lambda: node.cluster.status is Status.LAPSED)
        self.assertEqual([('lower', 'on_freeze'), ('upper', 'on_freeze'),
                          ('upper', 'on_lapse'), ('lower', 'on_lapse')],
                         told)

    def test_an_operation_of_one_that_lapses(self):
        net = self.formed()
        node = self.others(net, net.leader())[0]
        net.simulation.coordination.block(node.name)
        net.run_until(lambda: node.cluster.status is Status.LAPSED)
        task = node.ask('create', {'name': 'a'})
        net.run_for(1)
        net.simulation.coordination.unblock(node.name)
        net.run_until(task.done)
        self.assertEqual({'vdi_id': 1}, task.result())

    def test_a_session_lost_before_its_time(self):
        """The member does not know yet that it is out, and serves; so it
        is told before the others go on."""
        net = self.formed()
        node = self.others(net, net.leader())[0]
        net.simulation.coordination.expire(node.cluster.incarnation)
        net.run_until(lambda: node.cluster.status is not Status.OK)
        self.assertFalse(node.cluster.serving())
        net.run_until(net.is_settled)

    def test_all_lapse_and_come_back(self):
        net = self.formed()
        self.create(net, 'a')
        for name in net.nodes:
            net.simulation.coordination.block(name)
        net.run_until(lambda: all(
            node.cluster.status is Status.LAPSED
            for node in net.nodes.values()))
        net.simulation.heal()
        net.run_until(net.is_settled)
        self.assertEqual(1, net.nodes['n0'].cluster.view.epoch)
        self.assertEqual(2, self.create(net, 'b'))

    def test_a_locked_vdi_is_freed_by_death(self):
        net = self.formed()
        leader = net.leader()
        one, other = self.others(net, leader)
        vdi_id = self.create(net, 'a')

        def lock(node):
            return net.result(node, 'lock', {
                'vdi_id': vdi_id, 'mode': 'exclusive',
                'owner': node.cluster.incarnation})

        serial = lock(one)['serial']
        self.assertEqual(serial, lock(one)['serial'])
        self.assertIsInstance(lock(other), errors.VdiLocked)
        one.host.kill()
        net.run_until(lambda: net.is_settled([leader.name, other.name]))
        self.assertGreater(lock(other)['serial'], serial)


class Recorder:
    def __init__(self, told, form=lambda name: name):
        self._told = told
        self._form = form

    def __getattr__(self, name):
        return lambda *arguments: self._told.append(self._form(name))


class ReachTest(ProtocolTest):
    """Coordination sees them, the network does not."""

    def cut(self, net, one, other):
        net.mail.blocked |= {(one.name, other.name), (other.name, one.name)}

    def test_one_member_is_cut_off(self):
        net = self.formed(5)
        leader = net.leader()
        victim = self.others(net, leader)[0]
        for other in self.others(net, victim):
            self.cut(net, victim, other)
        rest = [node.name for node in self.others(net, victim)]
        begun = net.loop.time()
        net.run_until(lambda: net.is_settled(rest), what='going on')
        # Two for the patience, one for the lease, and some.
        self.assertLess(net.loop.time() - begun, 4 * net.ttl)
        self.assertFalse(victim.cluster.serving())
        task = leader.ask('create', {'name': 'a'})
        net.run_until(task.done, 5)
        net.mail.blocked = set()
        net.run_until(net.is_settled, what='its coming back')

    def test_the_leader_is_cut_off(self):
        net = self.formed(5)
        leader = net.leader()
        for other in self.others(net, leader):
            self.cut(net, leader, other)
        rest = [node.name for node in self.others(net, leader)]
        net.run_until(lambda: net.is_settled(rest), what='another leader')
        self.assertNotEqual(leader, net.leader())
        net.mail.blocked = set()
        net.run_until(net.is_settled, what='its coming back')

    def complain(self, net, pairs, seconds):
        for _ in range(seconds):
            for accuser, accused in pairs:
                accuser.host.world.spawn(accuser.cluster.complain(
                    accused.cluster.incarnation), 'complain')
            net.run_for(1)

    def test_two_that_the_leader_reaches_miss_each_other(self):
        net = self.formed(5)
        leader = net.leader()
        one, other = self.others(net, leader)[1:3]
        self.complain(net, [(one, other), (other, one)], 3)
        young = max((one, other), key=lambda node: incarnations.age_key(
            node.cluster.incarnation))
        rest = [node.name for node in self.others(net, young)]
        net.run_until(lambda: net.is_settled(rest), what='going on')
        self.assertFalse(young.cluster.serving())
        self.assertIn('network', young.cluster.reason)
        net.run_until(net.is_settled, 60, what='its coming back')

    def test_the_leader_is_missed_by_most(self):
        net = self.formed(5)
        leader = net.leader()
        pairs = [(node, leader) for node in self.others(net, leader)]
        first = leader.cluster.incarnation
        self.complain(net, pairs, 3)
        net.run_until(lambda: net.leader() and (
            net.leader().cluster.incarnation != first), what='another leader')
        net.run_until(net.is_settled)

    def test_a_complaint_that_is_over(self):
        net = self.formed(5)
        one, other = self.others(net, net.leader())[:2]
        self.complain(net, [(one, other)], 1)
        net.run_for(20)
        self.assertTrue(net.is_settled())
        self.assertEqual(1, one.cluster.view.epoch)

    def test_an_unreachable_joiner_disturbs_nobody(self):
        net = self.net(4)
        late = net.nodes['n3']
        for name in ('n0', 'n1', 'n2'):
            self.cut(net, late, net.nodes[name])
        del net.nodes['n3']
        net.formed()
        net.nodes['n3'] = late
        late.start()
        frozen = Recorder([])
        for name in ('n0', 'n1', 'n2'):
            net.nodes[name].cluster.add_listener(frozen)
        net.run_for(20)
        self.assertEqual([], frozen._told)
        self.assertIs(Status.WAIT_FOR_JOIN, late.cluster.status)
        net.mail.blocked = set()
        net.run_until(net.is_settled)

    def test_a_joiner_with_a_broken_disk_disturbs_nobody_for_long(self):
        net = self.net(4)
        late = net.nodes.pop('n3')
        net.formed()
        net.nodes['n3'] = late
        late.start()
        net.run_until(lambda: late.cluster._ledger is not None)
        late.host.faults.fails_syncs = True
        net.run_for(20)
        for name in ('n0', 'n1', 'n2'):
            self.assertTrue(net.nodes[name].cluster.serving())
        self.assertFalse(late.cluster.serving())

    def test_a_member_whose_disk_breaks_leaves(self):
        net = self.formed()
        victim = self.others(net, net.leader())[0]
        rest = [node.name for node in self.others(net, victim)]
        victim.host.faults.fails_syncs = True
        task = net.leader().ask('create', {'name': 'a'})
        net.run_until(lambda: task.done() and net.is_settled(rest), 60)
        self.assertEqual({'vdi_id': 1}, task.result())
        self.assertFalse(victim.cluster.serving())


class StartTest(ProtocolTest):
    def stop_all(self, net, power=False):
        for node in net.nodes.values():
            if power:
                node.host.power_cut()
            else:
                node.host.kill()

    def shut_down(self, net):
        self.assertIsNone(net.result(net.nodes['n1'], 'shutdown'))
        net.run_until(lambda: all(node.listener.shutdowns
                                  for node in net.nodes.values()))
        for node in net.nodes.values():
            self.assertFalse(node.cluster.serving())
            node.world.spawn(node.cluster.stop(True))
        net.run_for(5)
        self.stop_all(net)

    def test_the_same_epoch_after_a_power_cut(self):
        net = self.formed()
        self.create(net, 'a')
        self.stop_all(net, power=True)
        net.run_for(1)
        net.start_all()
        net.run_until(net.is_settled, what='a cold start')
        for node in net.nodes.values():
            self.assertEqual(1, node.cluster.view.epoch)
            self.assertFalse(node.cluster.clean_start)
            self.assertEqual(1, node.cluster.state.lookup('a').vdi_id)
        self.assertEqual(2, self.create(net, 'b'))

    def test_waiting_for_the_missing(self):
        net = self.formed()
        self.stop_all(net)
        net.run_for(10)
        for name in ('n0', 'n2'):
            net.nodes[name].start()
        net.run_until(lambda: all(
            net.nodes[name].cluster.explain()['missing'] == ['10.0.0.2:7000']
            for name in ('n0', 'n2')), what='the name of who is missing')
        self.assertIn('10.0.0.2:7000', net.nodes['n0'].cluster.reason)
        result = net.result(net.nodes['n0'], 'create', {'name': 'a'})
        self.assertIsInstance(result, errors.WaitForJoin)
        result = net.result(net.nodes['n0'], 'format', {})
        self.assertIsInstance(result, errors.WaitForJoin)
        net.nodes['n1'].start()
        net.run_until(net.is_settled, what='a cold start')
        self.assertEqual(1, net.nodes['n0'].cluster.view.epoch)

    def test_what_may_be_done_is_not_refused(self):
        """A new leader that waits for others cannot say yet whether the one
        before has carried it out."""
        net = self.formed()
        cluster = net.nodes['n0'].cluster
        wait = errors.WaitForJoin('waiting for n1')
        for answers, expected in (
                ([errors.NotServing('the leader has changed'), wait, wait, 5],
                 5),
                ([wait], wait)):
            left = list(answers)

            async def ask(*_arguments, left=left):
                answer = left.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer

            with mock.patch.object(cluster, '_try', ask):
                self.assertIs(expected, net.result(net.nodes['n0'], 'create',
                                                   {'name': 'a'}))
            self.assertEqual([], left)

    def test_who_left_before_is_not_waited_for(self):
        net = self.formed()
        net.nodes['n2'].host.kill()
        net.run_until(lambda: net.is_settled(['n0', 'n1']))
        self.stop_all(net)
        # The one with the old epoch waits for the others.
        net.nodes['n2'].start()
        net.run_for(10)
        self.assertEqual(
            ['10.0.0.1:7000', '10.0.0.2:7000'],
            net.nodes['n2'].cluster.explain()['missing'])
        net.nodes['n2'].host.kill()
        for name in ('n0', 'n1'):
            net.nodes[name].start()
        net.run_until(lambda: net.is_settled(['n0', 'n1']))
        self.assertEqual(2, net.nodes['n0'].cluster.view.epoch)

    def test_forced(self):
        net = self.formed()
        self.create(net, 'a')
        self.stop_all(net)
        net.run_for(10)
        for name in ('n0', 'n2'):
            net.nodes[name].start()
        net.run_until(lambda: net.nodes['n0'].cluster.explain()['missing'])
        result = net.result(net.nodes['n0'], 'recover-force',
                            operation_id='f')
        self.assertEqual(opening.FORCED_EPOCH_STEP, result['epoch'])
        net.run_until(lambda: net.is_settled(['n0', 'n2']))
        self.assertEqual(result, net.result(
            net.nodes['n2'], 'recover-force', operation_id='f'))
        self.assertEqual(2, self.create(net, 'b'))
        # It is for emergencies only.
        self.assertIsInstance(net.result(net.nodes['n2'], 'recover-force'),
                              errors.InvalidParameters)
        net.nodes['n1'].start()
        net.run_until(net.is_settled, what='the late one')
        self.assertEqual(opening.FORCED_EPOCH_STEP + 1,
                         net.nodes['n1'].cluster.view.epoch)

    def test_forced_without_a_cluster(self):
        net = self.net()
        net.start_all()
        net.run_for(1)
        self.assertIsInstance(net.result(net.nodes['n0'], 'recover-force'),
                              errors.WaitForFormat)

    def test_shut_down(self):
        net = self.formed()
        self.create(net, 'a')
        self.shut_down(net)
        net.start_all()
        net.run_until(net.is_settled, what='a cold start')
        for node in net.nodes.values():
            self.assertTrue(node.cluster.clean_start)
            self.assertEqual(1, node.cluster.view.epoch)
        self.assertEqual(2, self.create(net, 'b'))
        # The mark is of that shutdown only.
        self.stop_all(net)
        net.start_all()
        net.run_until(net.is_settled, what='another')
        self.assertFalse(net.nodes['n0'].cluster.clean_start)

    def test_shut_down_not_clean_everywhere(self):
        net = self.formed()
        self.assertIsNone(net.result(net.nodes['n1'], 'shutdown'))
        for name in ('n0', 'n1'):
            node = net.nodes[name]
            node.world.spawn(node.cluster.stop(True))
        net.run_for(3)
        self.stop_all(net)
        net.start_all()
        net.run_until(net.is_settled, what='a cold start')
        self.assertFalse(net.nodes['n0'].cluster.clean_start)

    def test_other_addresses(self):
        """The old places are needed to find what is there, so they get
        their epoch, and the new ones the next."""
        net = self.formed()
        self.stop_all(net)
        node = net.nodes['n1']
        node.info = api.MemberInfo(**dict(node.info.to_dict(), port=7777))
        net.start_all()
        net.run_until(lambda: net.is_settled() and
                      node.cluster.view.epoch == 2)
        old, new = node.cluster.views
        self.assertEqual(7000, old.node('n1').port)
        self.assertEqual(7777, new.node('n1').port)


class RefusalTest(ProtocolTest):
    def refused(self, net, node, reason):
        node.start()
        net.run_until(lambda: node.cluster.status is Status.REFUSED,
                      what='a refusal')
        self.assertIn(reason, node.cluster.reason)
        net.run_until(lambda: node.cluster.incarnation not in
                      net.simulation.coordination.members())
        net.run_until(lambda: net.is_settled(
            [name for name in net.nodes if name != node.name]))
        self.assertEqual(1, net.nodes['n0'].cluster.view.epoch)

    def with_joiner(self, **fields):
        net = self.net(4, n3=fields)
        late = net.nodes.pop('n3')
        net.formed()
        net.nodes['n3'] = late
        return net, late

    def test_protocol(self):
        self.refused(*self.with_joiner(protocol=16),
                     'speaks version 16 of the peer protocol')

    def test_fixed_vnodes(self):
        self.refused(*self.with_joiner(vnodes=64), 'weights its nodes')

    def test_weighted_vnodes(self):
        net = self.net(4, **{'n%d' % number: {'vnodes': 64}
                             for number in range(3)})
        late = net.nodes.pop('n3')
        net.formed(fixed_vnodes=True)
        net.nodes['n3'] = late
        self.refused(net, late, 'fixed numbers of vnodes')

    def test_format_of_mixed_vnodes(self):
        net = self.net(n1={'vnodes': 64})
        net.start_all()
        net.run_for(1)
        for fixed in (True, False):
            result = net.result(net.nodes['n0'], 'format',
                                {'fixed_vnodes': fixed})
            self.assertIsInstance(result, errors.InvalidParameters)

    def with_a_cluster_of_its_own(self):
        """(net, who founded it, the others); none of them runs."""
        net, late = self.with_joiner()
        rest = [net.nodes.pop(name) for name in ('n0', 'n1', 'n2')]
        for node in rest:
            node.host.kill()
        net.formed(node='n3')
        late.host.kill()
        return net, late, rest

    def test_another_cluster(self):
        net, late, rest = self.with_a_cluster_of_its_own()
        for node in rest:
            net.nodes[node.name] = node
            node.start()
        net.run_until(lambda: net.is_settled(['n0', 'n1', 'n2']))
        self.refused(net, late, 'belongs to another cluster')

    def test_two_clusters_start_together(self):
        net, late, rest = self.with_a_cluster_of_its_own()
        net.nodes.update((node.name, node) for node in rest)
        for node in rest[:2]:
            node.start()
        net.run_for(3)
        late.start()
        # One is complete, and it is not the one with two of three.
        net.run_until(lambda: net.is_settled(['n3']))
        for node in rest[:2]:
            self.assertIs(Status.REFUSED, node.cluster.status)
