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

"""Dashboard, alerts and documentation speak of metrics that exist."""

import json
import pathlib
import re
import unittest

import yaml

from sheepdog.faces.metrics import families
from tools import monitoring_tables

ROOT = pathlib.Path(__file__).resolve().parents[4]
ALERTS = ROOT / 'etc/prometheus/sheepdog.rules.yaml'
DASHBOARD = ROOT / 'etc/grafana/sheepdog.json'

TARGET = {'job', 'instance'}
"""The labels that Prometheus itself gives to all."""

_NAME = re.compile(r'\b(?:sheepdog|process|python)_\w+|\bup\b')
_SELECTED = re.compile(r'(\w+)\{([^}]*)\}')
_BY = re.compile(r'\bby \(([^)]*)\)')
_IN_TEXT = re.compile(r'\{\{ *(?:\$labels\.)?(\w+) *\}\}')


def problems(expression, legend=''):
    """What is wrong with a PromQL expression and the text around it."""
    known = dict(families.samples(), up=set())
    found = []
    labels = set(TARGET)
    names = _NAME.findall(expression)
    if not names:
        found.append('no metric in %r' % expression)
    for name in names:
        if name not in known:
            found.append('there is no metric %s' % name)
        labels |= known.get(name, set())
    for name, selector in _SELECTED.findall(expression):
        for label in re.findall(r'(\w+)(?:=|!|$)', selector):
            if label not in known.get(name, set()) | TARGET:
                found.append('%s has no label %s' % (name, label))
    for group in _BY.findall(expression):
        found += ['nothing in %r has the label %s' % (expression, label)
                  for label in re.split(r', *', group)
                  if label not in labels]
    aggregates = _BY.search(expression)
    kept = set(re.split(r', *', aggregates.group(1))) if aggregates \
        else labels
    found += ['%r has no label %s for its text' % (expression, label)
              for label in _IN_TEXT.findall(legend) if label not in kept]
    return found


class ProblemsTest(unittest.TestCase):
    """The check itself finds what it is for."""

    def test_finds_mistakes(self):
        for expression, legend, named in (
                ('sheepdog_epcoh', '', 'sheepdog_epcoh'),
                ('sheepdog_request_seconds', '', 'sheepdog_request_seconds'),
                ('sheepdog_epoch{kind="read"}', '', 'kind'),
                ('sum by (kind) (sheepdog_epoch)', '', 'kind'),
                ('sheepdog_epoch', '{{kind}}', 'kind'),
                ('sum by (job) (sheepdog_leader)',
                 '{{ $labels.instance }} leads', 'instance'),
                ('vector(1)', '', 'no metric')):
            with self.subTest(expression):
                found = problems(expression, legend)
                self.assertEqual(1, len(found), found)
                self.assertIn(named, found[0])

    def test_finds_nothing_where_all_is_well(self):
        self.assertEqual([], problems(
            'sum by (kind, le) (rate(sheepdog_request_seconds_bucket{'
            'job=~"$job", kind="read"}[5m]))', '{{kind}}'))


class AlertsTest(unittest.TestCase):
    def setUp(self):
        self.rules = [rule for group in yaml.safe_load(
            ALERTS.read_text())['groups'] for rule in group['rules']]

    def test_metrics_and_labels(self):
        self.assertGreater(len(self.rules), 10)
        for rule in self.rules:
            with self.subTest(rule['alert']):
                self.assertEqual([], problems(
                    rule['expr'], ' '.join(rule['annotations'].values())))
                self.assertIn(rule['labels']['severity'],
                              ('warning', 'critical'))
                self.assertTrue((monitoring_tables.SOURCE / (
                    rule['annotations']['page'] + '.rst')).exists())

    def test_names(self):
        names = [rule['alert'] for rule in self.rules]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r'^Sheepdog[A-Z]\w+$')


class DashboardTest(unittest.TestCase):
    def setUp(self):
        self.dashboard = json.loads(DASHBOARD.read_text())
        self.panels = self.dashboard['panels']

    def test_metrics_and_labels(self):
        targets = [(panel['title'], target) for panel in self.panels
                   for target in panel.get('targets', ())]
        self.assertGreater(len(targets), 20)
        for title, target in targets:
            with self.subTest(title):
                self.assertEqual([], problems(
                    target['expr'], target['legendFormat']))
                # One sees what one has chosen.
                self.assertIn('{job=~"$job", instance=~"$instance"',
                              target['expr'])

    def test_variables(self):
        for variable in self.dashboard['templating']['list']:
            if variable['type'] == 'query':
                self.assertEqual([], problems(variable['definition']))

    def test_panels_do_not_overlap(self):
        taken = {}
        for panel in self.panels:
            place = panel['gridPos']
            for x in range(place['x'], place['x'] + place['w']):
                for y in range(place['y'], place['y'] + place['h']):
                    self.assertNotIn((x, y), taken, panel['title'])
                    self.assertLess(x, 24)
                    taken[x, y] = panel['title']
        ids = [panel['id'] for panel in self.panels]
        self.assertEqual(len(ids), len(set(ids)))


class TablesTest(unittest.TestCase):
    maxDiff = None

    def test_are_up_to_date(self):
        for name, make in monitoring_tables.FILES.items():
            self.assertEqual(
                make(), (monitoring_tables.SOURCE / name).read_text(),
                'run `python -m tools.monitoring_tables`')

    def test_are_shown(self):
        page = (monitoring_tables.SOURCE / 'monitoring.rst').read_text()
        for name in monitoring_tables.FILES:
            self.assertIn('.. include:: %s' % name, page)
