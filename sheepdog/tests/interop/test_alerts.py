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

"""Each alert is raised when it should be, and not otherwise: Prometheus's
own promtool judges made-up series."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
RULES = ROOT / 'etc/prometheus/sheepdog.rules.yaml'

LABELS = 'job="sheepdog",instance="a"'
OTHER = 'job="sheepdog",instance="b"'


def series(name, values, labels=LABELS):
    return {'series': '%s{%s}' % (name, labels), 'values': values}


def histogram(name, slow, labels=LABELS):
    """All of ten observations in a minute quick (up to 1 ms), or slow
    (above 5 s)."""
    return [series(name + '_bucket', '0+%dx600' % (0 if slow and le != '+Inf'
                                                   else 10),
                   '%s,le="%s"' % (labels, le))
            for le in ('0.001', '5.0', '+Inf')]


# For each alert: the minute to look at, series that raise it for the
# instance "a" (or for the whole job), and some that do not.
CASES = {
    'Down': (5, [series('up', '0x600')], [series('up', '1x600')]),
    'NotServing': (5, [series('sheepdog_serving', '0x600')],
                   [series('sheepdog_serving', '0 0 1x600')]),
    'NoLeader': (5, [series('sheepdog_leader', '0x600'),
                     series('sheepdog_leader', '0x600', OTHER)],
                 [series('sheepdog_leader', '0x600'),
                  series('sheepdog_leader', '1x600', OTHER)]),
    'EpochsDiffer': (5, [series('sheepdog_epoch', '7x600'),
                         series('sheepdog_epoch', '8x600', OTHER)],
                     [series('sheepdog_epoch', '7 8x600'),
                      series('sheepdog_epoch', '8x600', OTHER)]),
    'MemberSlow': (10, [series('sheepdog_slow_members', '1x600')],
                   [series('sheepdog_slow_members', '0 1 1 0x600')]),
    'MemberEvicted': (
        40, [series('sheepdog_evicted_members', '1x600')],
        [series('sheepdog_evicted_members', '1x20 0x600')]),
    'Flapping': (20, [series('sheepdog_epoch', '1+1x600')],
                 [series('sheepdog_epoch', '1 1 2 2 3x600')]),
    'Lapsed': (10, [series('sheepdog_lapses_total', '0 0 0 1x600')],
               [series('sheepdog_lapses_total', '5x600')]),
    'RedundancyReduced': (
        40, [series('sheepdog_cluster_recovered', '0x600')],
        [series('sheepdog_cluster_recovered', '0x20 1x600')]),
    'RecoveryStuck': (
        30, [series('sheepdog_recovery_objects_left', '9x600')],
        [series('sheepdog_recovery_objects_left', '600-1x600')]),
    'TooFewZones': (15, [series('sheepdog_cluster_zones', '2x600'),
                         series('sheepdog_cluster_copies', '3x600')],
                    [series('sheepdog_cluster_zones', '3x600'),
                     series('sheepdog_cluster_copies', '3x600')]),
    'StoreFailed': (2, [series('sheepdog_store_failed', '1x600')],
                    [series('sheepdog_store_failed', '0x600')]),
    'DiskErrors': (10, [series('sheepdog_store_errors_total', '0 0 2x600')],
                   [series('sheepdog_store_errors_total', '2x600')]),
    'DamagedObjects': (20, [series('sheepdog_store_bad_objects', '1x600')],
                       [series('sheepdog_store_bad_objects', '1x9 0x600')]),
    'ZoneRoomGone': (
        20, [series('sheepdog_space_used_bytes', '60x600'),
             series('sheepdog_space_free_bytes', '20x600'),
             series('sheepdog_space_free_bytes', '30x600', OTHER),
             series('sheepdog_cluster_zones', '4x600'),
             series('sheepdog_cluster_copies', '3x600')],
        [series('sheepdog_space_used_bytes', '60x600'),
         series('sheepdog_space_free_bytes', '20x600'),
         series('sheepdog_space_free_bytes', '30x600', OTHER),
         series('sheepdog_cluster_zones', '3x600'),
         series('sheepdog_cluster_copies', '3x600')]),
    'SpaceLow': (20, [series('sheepdog_space_used_bytes', '90x600'),
                      series('sheepdog_space_total_bytes', '100x600')],
                 [series('sheepdog_space_used_bytes', '80x600'),
                  series('sheepdog_space_total_bytes', '100x600')]),
    'SpaceGone': (5, [series('sheepdog_store_full', '1x600')],
                  [series('sheepdog_store_full', '0x600')]),
    'FillsUp': (480, [series('sheepdog_space_free_bytes', '1000-1x600'),
                      series('sheepdog_space_used_bytes', '1000+1x600'),
                      series('sheepdog_space_total_bytes', '2000x600')],
                [series('sheepdog_space_free_bytes', '1000x600'),
                 series('sheepdog_space_used_bytes', '1100x600'),
                 series('sheepdog_space_total_bytes', '2000x600')]),
    'JournalStalls': (20, [series('sheepdog_journal_stalls_total',
                                  '0+1x600')],
                      [series('sheepdog_journal_stalls_total', '7x600')]),
    'SlowJournal': (30, histogram('sheepdog_journal_sync_seconds', True),
                    histogram('sheepdog_journal_sync_seconds', False)),
    'SlowRequests': (
        30, histogram('sheepdog_request_seconds', True,
                      LABELS + ',kind="read"'),
        histogram('sheepdog_request_seconds', False,
                  LABELS + ',kind="read"')),
    'RequestsStuck': (5, [series('sheepdog_requests_slow', '2x600')],
                      [series('sheepdog_requests_slow', '2 0x600')]),
    'Refusals': (10, [series('sheepdog_refusals_total', '0+5x600',
                             LABELS + ',kind="cluster"')],
                 [series('sheepdog_refusals_total', '0 1 2x600',
                         LABELS + ',kind="cluster"')]),
    'BusyLoop': (30, histogram('sheepdog_event_loop_delay_seconds', True),
                 histogram('sheepdog_event_loop_delay_seconds', False)),
    'Memory': (20, [series('process_resident_memory_bytes', '4e8x600')],
               [series('process_resident_memory_bytes', '1e8x600')]),
    'NotificationsLost': (
        10, [series('sheepdog_notifications_total', '0 0 3x600',
                    LABELS + ',outcome="dropped"')],
        [series('sheepdog_notifications_total', '0+3x600',
                LABELS + ',outcome="sent"')]),
}

OF_THE_JOB = ('NoLeader', 'EpochsDiffer', 'MemberSlow', 'MemberEvicted',
              'RedundancyReduced', 'TooFewZones', 'ZoneRoomGone')


def sample(name):
    """The series of the alert itself, as promtool writes it."""
    rule = rules()['Sheepdog' + name]
    labels = {'__name__': 'ALERTS', 'alertname': 'Sheepdog' + name,
              'alertstate': 'firing', 'job': 'sheepdog',
              'severity': rule['labels']['severity']}
    if name not in OF_THE_JOB:
        labels['instance'] = 'a'
    if name == 'SlowRequests':
        labels['kind'] = 'read'
    elif name == 'Refusals':
        labels['kind'] = 'cluster'
    elif name == 'NotificationsLost':
        labels['outcome'] = 'dropped'
    inside = ','.join('%s="%s"' % item for item in sorted(labels.items())
                      if item[0] != '__name__')
    return {'labels': 'ALERTS{%s}' % inside, 'value': 1}


def rules():
    return {rule['alert']: rule for group in yaml.safe_load(
        RULES.read_text())['groups'] for rule in group['rules']}


@unittest.skipIf(shutil.which('promtool') is None,
                 'promtool is not installed')
class AlertsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def promtool(self, *words):
        return subprocess.run(('promtool', *words), text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)

    def judge(self, tests):
        """What promtool says of ``(name, minute, series, is_raised)``."""
        path = self.directory / 'test.yaml'
        # JSON is YAML, too.
        path.write_text(json.dumps({
            'rule_files': [str(RULES)], 'evaluation_interval': '1m',
            'tests': [{'interval': '1m', 'name': name, 'input_series': series,
                       'promql_expr_test': [{
                           'expr': 'ALERTS{alertname="Sheepdog%s",'
                                   'alertstate="firing"}' % name,
                           'eval_time': '%dm' % minute,
                           'exp_samples': [sample(name)] if is_raised
                           else []}]}
                      for name, minute, series, is_raised in tests]}))
        return self.promtool('test', 'rules', str(path))

    def test_the_rules_are_in_order(self):
        done = self.promtool('check', 'rules', str(RULES))
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn('%d rules found' % len(CASES), done.stdout)

    def test_no_alert_is_left_out(self):
        self.assertEqual(set(rules()),
                         {'Sheepdog' + name for name in CASES})

    def test_each_is_raised_when_it_should_be(self):
        done = self.judge([(name, minute, bad, True)
                           for name, (minute, bad, _) in CASES.items()])
        self.assertEqual(0, done.returncode, done.stdout)

    def test_none_is_raised_when_all_is_well(self):
        done = self.judge([(name, minute, good, False)
                           for name, (minute, _, good) in CASES.items()])
        self.assertEqual(0, done.returncode, done.stdout)

    def test_the_judge_is_not_blind(self):
        for number, is_raised in ((1, False), (2, True)):
            done = self.judge([(name, case[0], case[number], is_raised)
                               for name, case in CASES.items()])
            self.assertNotEqual(0, done.returncode)
            for name in CASES:
                self.assertIn('alertname=\\"Sheepdog%s\\"' % name,
                              done.stdout)
