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

"""Tests of sheepdog.faces.metrics.collector, families and stores, on the
rooms of a simulated cluster."""

import dataclasses
import gc
import re
import unittest
from unittest import mock

from prometheus_client import parser

from sheepdog.cmd import wiring
from sheepdog.faces.metrics import collector
from sheepdog.faces.metrics import families
from sheepdog.faces.metrics import family
from sheepdog.faces.metrics import settings as metrics_settings
from sheepdog.faces.nbd import settings as nbd_settings
from sheepdog.faces.notifications import events
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import world as world_module

VDI_BYTES = 8 << 20


def build(world, membership, settings):
    return wiring.build_sheep(world, membership, dataclasses.replace(
        settings, metrics=metrics_settings.MetricsSettings(
            settings.host, 9770),
        nbd=nbd_settings.NbdSettings(host=settings.host)), 'v1',
        sink=events.ListSink())


class CollectorCase(unittest.TestCase):
    is_formatted = True

    @classmethod
    def setUpClass(cls):
        cls.simulation = world_module.Simulation(11)
        cls.cluster = cluster_module.SimCluster(
            cls.simulation, cluster_module.ClusterSettings(build))
        if cls.is_formatted:
            cls.cluster.format()
        else:
            cls.cluster.start()
            cls.simulation.run_for(10)
        cls.nodes = list(cls.cluster.nodes.values())

    @classmethod
    def tearDownClass(cls):
        cls.simulation.run_for(1)
        for node in cls.nodes:
            if node.is_running:
                node.host.kill()
        # Killed processes take nothing back.
        gc.callbacks[:] = [one for one in gc.callbacks if not isinstance(
            getattr(one, '__self__', None), collector.Kept)]

    def page(self, node=None):
        """{family name: parsed family} of a sheep's page."""
        node = node or self.nodes[0]

        async def text():
            return collector.Page(node.sheep.monitoring.collector).text()

        return {one.name: one for one in
                parser.text_string_to_metric_families(
                    node.run(text()).decode())}

    def value(self, page, name, **labels):
        for one in page.values():
            for sample in one.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        self.fail('no %s%r' % (name, labels))


class PageTest(CollectorCase):
    def test_all_that_is_declared_and_nothing_else(self):
        node = self.nodes[0]
        node.run(node.sheep.catalogue.create('limited', VDI_BYTES))
        node.run(node.sheep.cluster.execute('qos', {
            'name': 'limited', 'changes': {'iops': [10, 0]}}))
        self.addCleanup(lambda: node.run(node.sheep.catalogue.delete(
            'limited')))
        samples = {}
        for one in self.page().values():
            for sample in one.samples:
                samples.setdefault(sample.name, set()).update(sample.labels)
        self.assertEqual(families.samples(), samples)

    def test_names(self):
        for one in families.FAMILIES:
            with self.subTest(one.name):
                self.assertRegex(one.name, r'^sheepdog_[a-z][a-z_]*$')
                self.assertEqual(one.kind == family.COUNTER,
                                 one.name.endswith('_total'))
                # Base units only.
                self.assertIsNone(re.search(
                    '_(ms|milliseconds|kb|mb|minutes|percent)(_|$)',
                    one.name))
                self.assertTrue(one.text.endswith('.'))
        names = [one.name for one in families.FAMILIES]
        self.assertEqual(len(names), len(set(names)))

    def test_the_cluster(self):
        pages = [self.page(node) for node in self.nodes]
        for page in pages:
            self.assertEqual(1, self.value(page, 'sheepdog_status',
                                           status='ok'))
            self.assertEqual(0, self.value(page, 'sheepdog_status',
                                           status='frozen'))
            self.assertEqual(1, self.value(page, 'sheepdog_epoch'))
            for name in ('members', 'zones', 'copies'):
                self.assertEqual(3, self.value(page,
                                               'sheepdog_cluster_' + name))
            self.assertEqual(1, self.value(page,
                                           'sheepdog_cluster_recovered'))
            left = self.value(page, 'sheepdog_lease_remaining_seconds')
            self.assertTrue(0 < left < 10, left)
        self.assertEqual(1, sum(self.value(page, 'sheepdog_leader')
                                for page in pages))

    def test_requests(self):
        node = self.nodes[0]
        before = self.page()
        node.run(node.sheep.catalogue.create('r', VDI_BYTES))
        node.run(self._use_volume(node.sheep, 'r'))
        after = self.page()

        def grown(name, **labels):
            return (self.value(after, name, **labels)
                    - self.value(before, name, **labels))

        self.assertGreaterEqual(
            grown('sheepdog_requests_total', kind='write'), 10)
        self.assertGreaterEqual(
            grown('sheepdog_request_bytes_total', kind='write'), 40960)
        self.assertGreaterEqual(
            grown('sheepdog_requests_total', kind='read'), 5)
        self.assertGreaterEqual(
            grown('sheepdog_replica_requests_total', kind='write'), 10)
        self.assertGreaterEqual(
            grown('sheepdog_store_syncs_total', kind='journal'), 1)
        self.assertGreaterEqual(grown('sheepdog_journal_sync_seconds_count'),
                                1)
        self.assertGreaterEqual(grown('sheepdog_journal_sync_records_sum'),
                                10)
        for kind, least in (('read', 5), ('write', 5), ('write_back', 5),
                            ('flush', 1)):
            self.assertGreaterEqual(
                grown('sheepdog_request_seconds_count', kind=kind), least,
                kind)
        self.assertEqual(1, self.value(after, 'sheepdog_vdis'))
        self.assertEqual(0, self.value(after, 'sheepdog_notifications_total',
                                       outcome='dropped'))
        self.assertEqual(1, self.value(after, 'sheepdog_locks_held',
                                       mode='exclusive'))
        self.assertGreater(self.value(after, 'sheepdog_store_objects'), 0)
        self.assertGreater(
            self.value(after, 'sheepdog_journal_used_bytes'),
            self.value(before, 'sheepdog_journal_used_bytes'))

    @staticmethod
    async def _use_volume(sheep, name):
        volume = await sheep.volumes.open(name)
        for number in range(10):
            await volume.write(number * 4096, b'x' * 4096,
                               fua=bool(number % 2))
        await volume.flush()
        for number in range(5):
            await volume.read(number * 4096, 4096)

    def test_a_lock_that_gives_way(self):
        node = self.nodes[1]
        volumes = node.sheep.volumes
        node.run(node.sheep.catalogue.create('t', VDI_BYTES))
        volume = node.run(volumes.open_to_turn(
            node.sheep.catalogue.find('t')))
        self.assertEqual(1, self.value(self.page(node), 'sheepdog_locks_held',
                                       mode='turning'))
        node.run(volumes.close_turned(volume))
        node.run(node.sheep.catalogue.delete('t'))

    def test_nothing_that_is_counted_is_left_out(self):
        sheep = self.nodes[1].sheep
        planted = {}
        for counters in (sheep.nbd.counters, sheep.store.counters):
            for name in counters.__slots__:
                planted[name] = 1_000_003 + len(planted)
                setattr(counters, name, planted[name])
        values = {sample.value for one in self.page(self.nodes[1]).values()
                  for sample in one.samples}
        self.assertEqual([], [name for name, value in planted.items()
                              if value not in values],
                         'give it a row in faces.metrics')

    def test_space(self):
        self.simulation.run_for(collector.SPACE_SECONDS + 1)
        self.page()
        self.simulation.run_for(1)
        page = self.page()
        used, free, total = (self.value(page, 'sheepdog_space_%s_bytes'
                                        % kind)
                             for kind in ('used', 'free', 'total'))
        self.assertEqual(total, used + free)
        self.assertGreater(free, 0)

    def test_one_that_fails_does_not_cost_the_others(self):
        def broken(look):
            raise RuntimeError('a bug')

        planted = family.gauge('broken', 'Is broken.', broken)
        with mock.patch.object(families, 'FAMILIES',
                               (planted,) + families.FAMILIES):
            with self.assertLogs(collector.LOG, 'ERROR') as logs:
                for _ in range(3):
                    page = self.page()
        self.assertEqual(1, len(logs.records))
        self.assertNotIn('sheepdog_broken', page)
        self.assertEqual(1, self.value(page, 'sheepdog_epoch'))

    def test_a_full_collection_shows(self):
        # None but those that are asked for.
        gc.disable()
        self.addCleanup(gc.enable)
        before = self.value(self.page(), 'sheepdog_gc_pause_seconds_count')
        # In the process whose callback it is: all are ours here.
        gc.collect(0)
        gc.collect()
        self.assertEqual(
            before + 1,
            self.value(self.page(), 'sheepdog_gc_pause_seconds_count'))


class ChangesTest(CollectorCase):
    def test_a_lapse_and_a_death(self):
        victim = self.nodes[2]
        self.assertEqual(0, self.value(self.page(victim),
                                       'sheepdog_lapses_total'))
        victim.sheep.membership.fence(victim.sheep.cluster.incarnation)
        self.assertTrue(self.simulation.run_until(
            lambda: not victim.is_serving, 30))
        self.assertTrue(self.cluster.wait_well(60))
        page = self.page(victim)
        self.assertEqual(1, self.value(page, 'sheepdog_lapses_total'))
        self.assertGreater(self.value(page, 'sheepdog_epoch'), 1)
        victim.host.kill()
        other = self.nodes[0]
        self.assertTrue(self.simulation.run_until(
            lambda: len(other.sheep.cluster.view.members) == 2
            and other.is_serving, 60))
        page = self.page(other)
        self.assertEqual(2, self.value(page, 'sheepdog_cluster_members'))
        self.assertEqual(3, self.value(page, 'sheepdog_cluster_copies'))


class UnformattedTest(CollectorCase):
    is_formatted = False

    def test_the_page_is_whole(self):
        with self.assertNoLogs(collector.LOG):
            page = self.page()
        self.assertEqual(1, self.value(page, 'sheepdog_status',
                                       status='wait-format'))
        self.assertEqual(0, self.value(page, 'sheepdog_serving'))
        self.assertEqual(0, self.value(page, 'sheepdog_epoch'))
        self.assertEqual(0, self.value(page, 'sheepdog_cluster_recovered'))
