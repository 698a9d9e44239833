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

"""The contracts of .importlinter bite: each breaks on the import it forbids.

The linter runs over a skeleton of the house, empty rooms with planted
imports, so that these tests know nothing of the real code.
"""

import configparser
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[4]
LINT = pathlib.Path(sys.executable).parent / 'lint-imports'

# What each contract forbids: file, import.
FORBIDDEN = {
    'layers': [('store/disk.py', 'sheepdog.gateway'),
               ('wire/native.py', 'sheepdog.placement'),
               ('cluster/log.py', 'sheepdog.store'),
               ('testing/simulator.py', 'sheepdog.cmd'),
               ('model/ids.py', 'sheepdog.wire')],
    'faces': [('faces/nbd/server.py', 'sheepdog.faces.native')],
    'client': [('client/api.py', 'sheepdog.placement')],
    'pure': [('placement/ring.py', 'random'), ('wire/nbd.py', 'asyncio'),
             ('model/view.py', 'time'), ('model/inode.py', 'os')],
    'world': [('store/disk.py', 'threading'), ('gateway/gateway.py', 'time'),
              ('peer/server.py', 'socket'), ('volume/volume.py', 'random')],
    'configuration': [('volume/volume.py', 'oslo_config'),
                      ('store/disk.py', 'oslo_log')],
    'tooz': [('cluster/cluster.py', 'tooz'), ('cmd/wiring.py', 'kazoo'),
             ('cluster/tooz_heart.py', 'tooz')],
    'messaging': [('cmd/wiring.py', 'oslo_messaging'),
                  ('cmd/publisher.py', 'eventlet')],
    'metrics': [('cmd/monitoring.py', 'prometheus_client'),
                ('faces/nbd/server.py', 'h11')],
    'taskflow': [('recovery/plan.py', 'taskflow')],
}

# What the exceptions are for.
ALLOWED = [('cluster/tooz_groups.py', 'tooz'),
           ('cluster/tooz_heart.py', 'threading'),
           ('cluster/tooz_membership.py', 'os'),
           ('cmd/publisher.py', 'oslo_messaging'),
           ('faces/metrics/server.py', 'h11'),
           ('conf/opts.py', 'oslo_config'),
           ('cmd/sheep.py', 'oslo_log'), ('world/real.py', 'threading'),
           ('client/api.py', 'socket'), ('faces/nbd/server.py', 'asyncio'),
           ('client/api.py', 'sheepdog.wire'),
           ('tests/functional/test_it.py', 'kazoo'),
           ('cmd/wiring.py', 'sheepdog.faces.nbd'),
           ('faces/nbd/server.py', 'sheepdog.volume')]


class LayersTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.config = configparser.ConfigParser()
        self.config.read(ROOT / '.importlinter')
        self.names = {
            section.rpartition(':')[2]: self.config[section]['name']
            for section in self.config.sections() if ':' in section}
        layers = self.config['importlinter:contract:layers']['layers']
        for room in re.findall(r'\w+', re.sub(r'\(\w+\)', '', layers)):
            self.add(room + '/__init__.py')
        for face in ('native', 'nbd'):
            self.add('faces/%s/__init__.py' % face)
        self.add('__init__.py')

    def add(self, path, imports=''):
        path = self.root / 'sheepdog' / path
        path.parent.mkdir(parents=True, exist_ok=True)
        package = path.parent / '__init__.py'
        if not package.exists():
            package.touch()
        with path.open('a') as file:
            file.write('import %s\n' % imports if imports else '')

    def lint(self):
        """``{contract: is it kept}``."""
        done = subprocess.run(
            [LINT, '--no-logo', '--no-cache', '--config',
             ROOT / '.importlinter'],
            cwd=self.root, capture_output=True, text=True)
        kept = {contract: '%s KEPT' % name in done.stdout
                for contract, name in self.names.items()
                if re.search(name + ' (KEPT|BROKEN)', done.stdout)}
        self.assertEqual(set(self.names), set(kept), done.stdout)
        self.assertEqual(all(kept.values()), done.returncode == 0)
        return kept

    def test_what_is_allowed(self):
        for path, imported in ALLOWED:
            self.add(path, imported)
        self.assertEqual(dict.fromkeys(self.names, True), self.lint())

    def test_each_contract_bites(self):
        self.assertEqual(set(self.names), set(FORBIDDEN))
        for number in range(max(map(len, FORBIDDEN.values()))):
            planted = {contract: cases[number]
                       for contract, cases in FORBIDDEN.items()
                       if number < len(cases)}
            self.check_bite(planted)

    def check_bite(self, planted):
        """Plant one import per contract, and take them out again."""
        for path, imported in planted.values():
            self.add(path, imported)
        with self.subTest(planted):
            kept = self.lint()
            self.assertEqual(dict.fromkeys(planted, False),
                             {name: kept[name] for name in planted})
        for path, _ in planted.values():
            (self.root / 'sheepdog' / path).write_text('')

    def test_a_new_room_needs_its_line(self):
        self.add('attic/__init__.py')
        self.assertFalse(self.lint()['layers'])
