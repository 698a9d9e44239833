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

"""Metrics and notifications of a real cluster, with a real Prometheus and a
real broker."""

import collections
import json
import pathlib
import re
import tempfile
import time
import unittest
import urllib.request

import kombu
from prometheus_client import parser

from sheepdog.testing import servers
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import writers

ROOT = pathlib.Path(__file__).resolve().parents[3]
RULES = ROOT / 'etc/prometheus/sheepdog.rules.yaml'
SECONDS = 120
VDI_BYTES = 32 << 20
PRIORITIES = ('info', 'warn', 'error')


def metrics_url(sheep) -> str:
    """Where its metrics are now; its log has the port that it got."""
    log = (sheep.meta / 'sheep.log').read_text()
    return re.findall(r'metrics at (http://\S+)', log)[-1]


def scrape(sheep) -> dict:
    """{sample name and labels: value}."""
    with urllib.request.urlopen(metrics_url(sheep),
                                timeout=SECONDS) as answer:
        page = answer.read().decode()
    return {(sample.name, *sorted(sample.labels.items())): sample.value
            for one in parser.text_string_to_metric_families(page)
            for sample in one.samples}


class ConfiguredCase(case.ClusterCase):
    """With a configuration file for all sheep."""

    configuration = '[metrics]\nlisten = 127.0.0.1:0\n'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        file = tempfile.NamedTemporaryFile('w', suffix='.conf')
        cls.addClassCleanup(file.close)
        file.write(cls.configuration)
        file.flush()
        cls.options = ('--config-file', file.name)

    def until(self, condition, what):
        return harness.wait_until(condition, SECONDS, what)


class MetricsTest(ConfiguredCase):
    def test_the_page_of_a_working_sheep(self):
        before = scrape(self.cluster.sheep[0])
        self.create('v', VDI_BYTES)
        client = self.cluster.client(self.cluster.sheep[0])
        self.addCleanup(client.close)
        writer = self.start_writer(writers.LibraryWriter(1, client, 'v'))
        writer.wait_for(50)
        writer.stop()
        for key, least in (
                (('sheepdog_requests_total', ('kind', 'write')), 50),
                (('sheepdog_request_seconds_count', ('kind', 'write')), 10),
                (('sheepdog_journal_sync_seconds_count',), 10),
                (('sheepdog_store_bytes_total', ('kind', 'write')), 4096)):
            # The page may be a second old.
            self.until(lambda: scrape(self.cluster.sheep[0])[key]
                       >= before[key] + least, key)
        after = scrape(self.cluster.sheep[0])
        self.assertEqual(1, after['sheepdog_status', ('status', 'ok')])
        self.assertGreater(after['process_resident_memory_bytes',], 1 << 20)
        self.assertGreater(after['sheepdog_lease_remaining_seconds',], 0)

    @case.needs('prometheus')
    def test_prometheus_and_a_death(self):
        targets = [metrics_url(sheep).split('/')[2]
                   for sheep in self.cluster.sheep]
        with servers.Prometheus(targets, str(RULES)) as prometheus:
            self.until(lambda: [value for _, value in prometheus.query(
                'sheepdog_cluster_members')] == [3, 3, 3],
                'all to be scraped')
            self.until(lambda: len(prometheus.query(
                'sheepdog_leader == 1')) == 1, 'one leader')
            victim = next(
                number for number, sheep in enumerate(self.cluster.sheep)
                if sheep is not self.cluster.leader())
            self.cluster.sheep[victim].kill()
            self.until(lambda: [labels['instance'] for labels, _ in
                                prometheus.query('up == 0')]
                       == [targets[victim]], 'the death to be seen')
            self.until(lambda: sorted(value for _, value in prometheus.query(
                'sheepdog_cluster_members')) == [2, 2],
                'the others to go on')

            def rules():
                return [rule for group in prometheus.get('rules')['groups']
                        for rule in group['rules']]

            self.until(lambda: 'SheepdogDown' in [
                rule['name'] for rule in rules()
                if rule['state'] in ('pending', 'firing')],
                'the alert to be raised')
            # (None is in order before it was looked at once.)
            self.until(lambda: 'unknown' not in {
                rule['health'] for rule in rules()}, 'all to be judged')
            self.assertEqual({'ok'}, {rule['health'] for rule in rules()})


@unittest.skipUnless(servers.RabbitMQ.is_installed(),
                     'rabbitmq-server is not installed')
class NotificationsTest(ConfiguredCase):
    ttl = harness.PATIENT_TTL_SECONDS

    @classmethod
    def setUpClass(cls):
        cls.broker = servers.RabbitMQ()
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()
        cls.configuration = (
            '[metrics]\nlisten = 127.0.0.1:0\n'
            '[oslo_messaging_notifications]\ndriver = messagingv2\n'
            'transport_url = %s\n'
            '[oslo_messaging_rabbit]\nkombu_reconnect_delay = 0.5\n'
            'rabbit_retry_interval = 1\nrabbit_interval_max = 1\n'
            % cls.broker.url)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.told = collections.defaultdict(list)
        # What the end of another test brought about.
        self.until(lambda: not any(
            scrape(sheep)['sheepdog_notifications_waiting',]
            for sheep in self.cluster.sheep), 'all to be sent')
        self.take()
        self.told.clear()

    def take(self):
        """Move what is in the broker's queues to ``told``: payloads by
        event type."""
        with kombu.Connection(
                self.broker.url.replace('rabbit:', 'amqp:')) as connection:
            for priority in PRIORITIES:
                channel = connection.channel()
                while True:
                    try:
                        message = channel.basic_get(
                            'notifications.' + priority, no_ack=True)
                    except channel.connection.channel_errors:
                        break  # Nothing of that priority was sent yet.
                    if message is None:
                        break
                    envelope = json.loads(json.loads(
                        message.body)['oslo.message'])
                    self.assertEqual(priority.upper(), envelope['priority'])
                    self.told[envelope['event_type'].removeprefix(
                        'sheepdog.')].append(envelope['payload'])

    def wait_told(self, name, condition=lambda payload: True):
        """The first payload of an event for which ``condition`` is true."""
        def find():
            self.take()
            return list(filter(condition, self.told[name]))
        return self.until(find, lambda: '%s among %s' % (
            name, json.dumps(self.told, indent=1)))[0]

    def test_what_happens_is_told(self):
        self.create('v', VDI_BYTES)
        created = self.wait_told('vdi.created', lambda payload:
                                 payload['name'] == 'v')
        self.assertEqual(VDI_BYTES, created['size_bytes'])
        victim = next(
            sheep for sheep in self.cluster.sheep
            if sheep.port != created['reporter']['port'])
        epoch = self.cluster.epoch()
        victim.kill()
        left = self.wait_told('node.left')
        self.assertEqual((victim.port, epoch + 1),
                         (left['node']['port'], left['epoch']))
        self.wait_told('epoch.changed', lambda payload:
                       payload['epoch'] == epoch + 1)
        victim.start()
        joined = self.wait_told('node.joined', lambda payload:
                                payload['node']['port'] == victim.port)
        self.assertEqual(epoch + 2, joined['epoch'])
        self.wait_told('cluster.recovered', lambda payload:
                       payload['epoch'] == epoch + 2)
        self.wait_told('recovery.finished', lambda payload:
                       payload['reporter']['port'] == victim.port)
        with self.cluster.client() as client:
            client.vdis.delete('v')
        deleted = self.wait_told('vdi.deleted', lambda payload:
                                 payload['name'] == 'v')
        self.assertEqual(created['vdi_id'], deleted['vdi_id'])
        # Nobody who sends has gone: each of them once.
        ids = [payload['event_id'] for payloads in self.told.values()
               for payload in payloads]
        self.assertEqual(len(set(ids)), len(ids))

    def test_the_broker_goes_and_comes(self):
        self.create('v', VDI_BYTES)
        self.wait_told('vdi.created', lambda payload:
                       payload['name'] == 'v')
        client = self.cluster.client()
        self.addCleanup(client.close)
        writer = self.start_writer(writers.LibraryWriter(1, client, 'v'))
        writer.wait_for(20)
        self.broker.kill()
        began = time.monotonic()
        self.create('w', VDI_BYTES)
        writer.wait_for(200)
        # Nobody waits for it.
        self.assertLess(time.monotonic() - began, SECONDS)
        self.until(lambda: any(
            scrape(sheep)['sheepdog_notifications_waiting',]
            for sheep in self.cluster.sheep), 'a notification to wait')
        self.broker.start()
        self.wait_told('vdi.created', lambda payload:
                       payload['name'] == 'w')
        writer.stop()
        writers.check_everywhere(self.cluster, {'v': writer.ledger})
        for sheep in self.cluster.sheep:
            self.assertNotIn('guest:guest',
                             (sheep.meta / 'sheep.log').read_text())
