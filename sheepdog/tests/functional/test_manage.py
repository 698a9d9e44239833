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


"""sheepdog-manage against a real cluster: an operator's first look."""

import json

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness


class TestManage(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS

    def manage(self, *words, sheep=None, expect=0):
        sheep = sheep or self.cluster.running[0]
        return harness.run(harness.BIN / 'sheepdog-manage', '-a',
                           sheep.address, '--key-file',
                           self.cluster.key_file, *words, expect=expect)

    def json(self, *words, **options):
        return json.loads(self.manage(*words, '-f', 'json',
                                      **options).stdout)

    def test_status(self):
        self.create('vdi', 8 << 20)
        told = self.manage('status').stdout
        self.assertIn('running', told)
        found = self.json('status')
        self.assertEqual(
            {name: found[name] for name in (
                'state', 'waits_for', 'nodes', 'zones', 'redundancy',
                'vdis')},
            {'state': 'running, auto-recovery enabled', 'waits_for': '',
             'nodes': 3, 'zones': 3, 'redundancy': '3', 'vdis': 1})
        self.assertEqual(found['leader'], self.cluster.leader().address)
        self.assertEqual(found['epoch'], self.cluster.epoch())
        self.assertIn('nbd://127.0.0.1:', found['nbd'])

    def test_status_says_what_redundancy_is_missing(self):
        self.cluster.sheep[2].kill()
        self.cluster.wait_whole()
        self.assertIn('3 copies need as many zones',
                      str(self.json('status')['warnings']))

    def test_status_says_who_is_missing(self):
        self.cluster.kill_all()
        first, _second, third = self.cluster.sheep
        first.start()
        first.wait_answering()
        harness.wait_until(lambda: (first.info() or {}).get('missing'), 60,
                           self.cluster.describe)
        self.assertIn(third.address,
                      self.json('status', sheep=first)['waits_for'])

    def test_lists(self):
        self.manage('vdi', 'create', 'vdi', '8M')
        self.addCleanup(self.manage, 'vdi', 'delete', 'vdi')
        self.manage('vdi', 'resize', 'vdi', '9M')
        [vdi] = self.json('vdi', 'list')
        self.assertEqual((vdi['Name'], vdi['Size']), ('vdi', 9 << 20))
        self.manage('vdi', 'resize', 'vdi', '8M', '--force')
        self.assertEqual(8 << 20, self.json('vdi', 'list')[0]['Size'])
        self.assertEqual(len(self.json('node', 'list')), 3)
        self.assertEqual(len(self.json('node', 'space')), 3)
        self.assertEqual(len(self.json('node', 'stat')), 2)
        self.assertEqual(self.json('node', 'recovery'), [])
        self.assertEqual(self.json('lock', 'list'), [])
        self.assertEqual(self.json('cluster', 'show')['redundancy'], '3')
        self.assertEqual(self.json('cluster', 'epochs')[0]['Epoch'],
                         self.cluster.epoch())

    def test_failures(self):
        self.assertIn('nothing', self.manage(
            'vdi', 'delete', 'nothing', expect=5).stderr)
        self.manage('cluster', 'format', expect=3)
        self.manage('no', 'such', 'thing', expect=64)

    def test_config(self):
        path = self.directory / 'sheepdog.conf'
        path.write_text('[DEFAULT]\nport = 7100\n[journal]\nsize = 1G\n')
        found = {row['Option']: row for row in self.json(
            'config', '--config-file', str(path))}
        self.assertEqual((found['port']['Value'], found['journal.size'][
            'Value']), ('7100', '1G'))
        self.assertIn(str(path), found['port']['Source'])
        self.assertEqual(found['nosync']['Source'], 'default')
