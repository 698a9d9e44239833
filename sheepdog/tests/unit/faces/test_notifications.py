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

"""Tests of sheepdog.faces.notifications, on the rooms of a simulated
cluster: who tells what, and how often."""

import json
import unittest

from sheepdog.cluster import api
from sheepdog.cmd import wiring
from sheepdog.faces.notifications import events
from sheepdog.faces.notifications import herald
from sheepdog.model import view as view_model
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import world as world_module

VDI_BYTES = 8 << 20


class HeraldCase(unittest.TestCase):
    nodes = 3

    def setUp(self):
        self.sinks = {}
        self.simulation = world_module.Simulation(self.id())
        self.addCleanup(self.simulation.close)
        self.cluster = cluster_module.SimCluster(
            self.simulation, cluster_module.ClusterSettings(
                self.build, nodes=self.nodes))
        self.cluster.format()
        self.hosts = list(self.cluster.nodes.values())

    def build(self, world, membership, settings):
        # What was sent is not forgotten when a sheep is started again.
        sink = self.sinks.setdefault(settings.host, events.ListSink())
        return wiring.build_sheep(world, membership, settings, sink=sink)

    def sent(self, name, *hosts):
        """Payloads of a kind, of these hosts or of all."""
        return [notification.payload
                for address, sink in self.sinks.items()
                for notification in sink.sent
                if notification.kind.name == name and (
                    not hosts or address in [h.address for h in hosts])]

    def once(self, name):
        """Told by one of all: its payload."""
        found = self.sent(name)
        self.assertEqual(1, len(found), found)
        return found[0]

    def sender(self):
        sheep = self.hosts[0].sheep if self.hosts[0].is_running \
            else self.hosts[1].sheep
        view = sheep.cluster.view
        oldest = herald.sender_of(None, view)
        return next(host for host in self.hosts if host.is_running and
                    host.sheep.cluster.incarnation == oldest)

    def run_on(self, host, coroutine):
        return host.run(coroutine)

    def wait(self, condition, seconds=90):
        self.assertTrue(self.simulation.run_until(condition, seconds),
                        self.cluster.explain())

    def wait_members(self, count):
        self.wait(lambda: all(
            host.is_serving and len(host.sheep.cluster.view.members) == count
            for host in self.hosts if host.is_running))

    def assert_doubles_agree(self):
        """What has the same id is the same, whoever sends it."""
        by_id = {}
        for sink in self.sinks.values():
            for kind, payload in sink.sent:
                json.dumps(payload)
                fields = (kind.name, {key: value for key, value
                                      in payload.items()
                                      if key != 'reporter'})
                self.assertEqual(
                    fields, by_id.setdefault(payload['event_id'], fields))


class OnceTest(HeraldCase):
    """Events of the cluster, told by one sheep."""

    def test_format(self):
        told = self.once('cluster.formatted')
        self.assertEqual((1, 3, 3, 1 << 20), (
            told['epoch'], told['members'], told['copies'],
            told['object_bytes']))
        self.assertEqual('1.0', told['version'])
        self.assertEqual(1, self.once('cluster.recovered')['epoch'])
        self.assertEqual(
            [], self.sent('node.joined') + self.sent('epoch.changed'))
        self.assertEqual(self.sender().address, told['reporter']['host'])

    def test_vdis(self):
        sheep = self.hosts[1].sheep
        catalogue = sheep.catalogue
        self.run_on(self.hosts[1], catalogue.create('v', VDI_BYTES))
        self.run_on(self.hosts[1], catalogue.resize('v', 2 * VDI_BYTES))
        self.run_on(self.hosts[1], catalogue.delete('v'))
        self.simulation.run_for(2)
        created = self.once('vdi.created')
        self.assertEqual(('v', VDI_BYTES, 3), (
            created['name'], created['size_bytes'], created['copies']))
        resized = self.once('vdi.resized')
        self.assertEqual(('v', 2 * VDI_BYTES, created['vdi_id']), (
            resized['name'], resized['size_bytes'], resized['vdi_id']))
        deleted = self.once('vdi.deleted')
        self.assertEqual(('v', created['vdi_id']),
                         (deleted['name'], deleted['vdi_id']))
        ids = {told['event_id'] for told in (created, resized, deleted)}
        self.assertEqual(3, len(ids))
        self.assertEqual(1, len({told['cluster'] for told in (
            created, resized, deleted, self.once('cluster.formatted'))}))
        self.assertGreaterEqual(deleted['time'], created['time'])

    def test_a_lock_taken_away(self):
        owner = self.hosts[2]
        self.run_on(owner, owner.sheep.catalogue.create('v', VDI_BYTES))
        volume = self.run_on(owner, owner.sheep.volumes.open('v'))
        self.run_on(self.hosts[0], self.hosts[0].sheep.cluster.execute(
            'unlock', {'vdi_id': volume.vdi_id, 'force': True, 'owner':
                       self.hosts[0].sheep.cluster.incarnation}))
        self.simulation.run_for(2)
        told = self.once('vdi.lock_forced')
        self.assertEqual(('v', 'exclusive'), (told['name'], told['mode']))
        self.assertEqual([owner.address],
                         [node['host'] for node in told['owners']])

    def test_one_that_gives_way_is_no_news(self):
        turner, owner = self.hosts[1:3]
        self.run_on(owner, owner.sheep.catalogue.create('v', VDI_BYTES))
        entry = owner.sheep.catalogue.find('v')
        turning = self.run_on(turner,
                              turner.sheep.volumes.open_to_turn(entry))
        self.run_on(owner, owner.sheep.volumes.open('v'))
        self.simulation.run_for(2)
        self.assertFalse(turning.valid)
        self.assertEqual([], self.sent('vdi.lock_forced'))

    def test_a_lock_given_back_is_no_news(self):
        owner = self.hosts[2]
        self.run_on(owner, owner.sheep.catalogue.create('v', VDI_BYTES))
        volume = self.run_on(owner, owner.sheep.volumes.open('v'))
        self.run_on(owner, volume.close())
        self.simulation.run_for(2)
        self.assertEqual([], self.sent('vdi.lock_forced'))

    def test_death_and_return(self):
        victim = next(host for host in self.hosts
                      if host is not self.sender())
        self.run_on(self.sender(), self._write())
        victim.host.kill()
        self.wait_members(2)
        self.simulation.run_for(5)
        left = self.once('node.left')
        self.assertEqual((victim.address, False, 2), (
            left['node']['host'], left['node']['is_gateway'], left['epoch']))
        changed = self.once('epoch.changed')
        self.assertEqual((2, 1, 2, 2, 0, 1), tuple(changed[key] for key in (
            'epoch', 'previous_epoch', 'members', 'zones', 'joined',
            'left')))
        victim.start()
        self.wait(self.cluster.is_well)
        self.simulation.run_for(5)
        joined = self.once('node.joined')
        self.assertEqual(victim.address, joined['node']['host'])
        # The one that came back made its copies whole, and said so.
        begun, = self.sent('recovery.started', victim)
        self.assertGreater(begun['objects'], 0)
        ended, = self.sent('recovery.finished', victim)
        self.assertEqual(begun['objects'], ended['objects'])
        self.assertGreater(ended['seconds'], 0)
        self.assertEqual(
            [1, 2, 3], [told['epoch'] for told
                        in self.sent('cluster.recovered')])
        self.assertEqual([], self.sent('recovery.failed'))
        self.assert_doubles_agree()

    async def _write(self):
        sheep = self.sender().sheep
        await sheep.catalogue.create('v', VDI_BYTES)
        volume = await sheep.volumes.open('v')
        await volume.write(0, b'x' * 4096, fua=True)
        await volume.close()

    def test_full_stop_and_cold_start(self):
        for host in self.hosts:
            host.host.kill()
        for host in self.hosts:
            host.start()
        self.wait(self.cluster.is_well)
        self.simulation.run_for(2)
        told = self.once('cluster.started')
        self.assertEqual((1, 3), (told['epoch'], told['members']))
        self.assertEqual([], self.sent('node.left'))

    def test_shutdown(self):
        host = self.hosts[0]
        self.run_on(host, host.sheep.cluster.execute('shutdown', {}))
        self.simulation.run_for(2)
        self.assertEqual(1, self.once('cluster.shutdown')['epoch'])


class SenderDiesTest(HeraldCase):
    def test_who_follows_sends_it_again(self):
        sender = self.sender()
        other = next(host for host in self.hosts if host is not sender)
        self.run_on(other, other.sheep.catalogue.create('v', VDI_BYTES))
        self.simulation.run_for(1)
        first = self.once('vdi.created')
        # As if it had died before it reached the broker.
        self.sinks[sender.address].sent.clear()
        sender.host.kill()
        self.wait_members(2)
        self.simulation.run_for(1)
        again = self.once('vdi.created')
        self.assertEqual(first['event_id'], again['event_id'])
        self.assertNotEqual(first['reporter'], again['reporter'])
        self.assertEqual(sender.address,
                         self.once('node.left')['node']['host'])

    def test_what_is_old_is_not_sent_again(self):
        sender = self.sender()
        other = next(host for host in self.hosts if host is not sender)
        self.run_on(other, other.sheep.catalogue.create('v', VDI_BYTES))
        self.simulation.run_for(herald.REPEAT_SECONDS + 1)
        sender.host.kill()
        self.wait_members(2)
        self.simulation.run_for(1)
        self.once('vdi.created')
        self.assert_doubles_agree()

    def test_one_that_is_started_again_has_left_and_joined(self):
        victim = next(host for host in self.hosts
                      if host is not self.sender())
        victim.host.kill()
        victim.start()
        self.wait(lambda: self.cluster.is_well() and victim.is_serving)
        self.simulation.run_for(5)
        self.assertEqual(victim.address,
                         self.once('node.left')['node']['host'])
        self.assertEqual(victim.address,
                         self.once('node.joined')['node']['host'])

    def test_lapse_of_the_sender(self):
        sender = self.sender()
        sender.sheep.membership.fence(sender.sheep.cluster.incarnation)
        self.wait(lambda: not sender.is_serving)
        self.wait(self.cluster.is_well)
        self.simulation.run_for(2)
        told = self.once('node.lapsed')
        self.assertEqual(sender.address, told['reporter']['host'])
        self.assertTrue(told['reason'])
        self.assertEqual(sender.address,
                         self.once('node.left')['node']['host'])
        self.assertIsNot(sender, self.sender())
        self.assert_doubles_agree()


class SenderOfTest(unittest.TestCase):
    def view(self, *names):
        return view_model.View(1, 1, 0.0, tuple(
            view_model.Member(name.partition('.')[0], name, 'h', 1, 0, 1)
            for name in names))

    def test_oldest_of_those_who_were_there(self):
        for old, new, sender in (
                (None, ('a.3', 'b.1', 'c.2'), 'b.1'),
                (('a.3', 'b.1'), ('a.3', 'b.1'), 'b.1'),
                (('a.3', 'b.2'), ('a.3', 'b.2', 'c.1'), 'b.2'),
                (('a.3', 'b.2'), ('a.3', 'c.1'), 'a.3'),
                (('a.3', 'b.2'), ('a.5', 'b.4'), 'b.4'),
                (('a.9',), ('a.9', 'b.10'), 'a.9')):
            with self.subTest((old, new)):
                self.assertEqual(sender, herald.sender_of(
                    old and self.view(*old), self.view(*new)))


class CatalogueTest(unittest.TestCase):
    def test_what_is_promised(self):
        for name, kind in events.KINDS.items():
            with self.subTest(name):
                self.assertEqual(name, kind.name)
                self.assertRegex(kind.event_type,
                                 r'^sheepdog\.[a-z]+\.[a-z_]+$')
                self.assertIn(kind.priority, ('info', 'warn', 'error'))
                self.assertFalse(kind.fields.keys() & events.COMMON.keys())

    def test_a_payload_has_exactly_its_fields(self):
        kind = events.KINDS['cluster.shutdown']
        common = dict.fromkeys(events.COMMON)
        del common['version']
        self.assertEqual('1.0', events.payload(
            kind, common, {'epoch': 1})['version'])
        for fields in ({}, {'epoch': 1, 'more': 2}):
            with self.assertRaises(AssertionError):
                events.payload(kind, common, fields)

    def test_a_listener_of_the_cluster(self):
        for name in vars(api.ClusterListener):
            if name.startswith('on_'):
                self.assertTrue(callable(getattr(herald.Herald, name)))
