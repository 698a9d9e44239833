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


"""What `make cluster` and `make stop` do, in a directory of its own."""

import os
import re
import signal
import sys

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness


@case.needs('qemu-img', 'nbdinfo')
class TestDemo(case.DirectoryCase):

    def setUp(self):
        super().setUp()
        self.port = self.three_ports()
        self.nbd_port = self.three_ports()
        self.addCleanup(self.end)

    def three_ports(self):
        while True:
            ports = [harness.free_port() for _count in range(3)]
            if ports == list(range(ports[0], ports[0] + 3)):
                return ports[0]

    def demo(self, action, expect=0):
        return harness.run(
            sys.executable, '-m', 'tools.demo_cluster', action,
            '--directory', self.directory / 'run', '--port', self.port,
            '--nbd-port', self.nbd_port, expect=expect)

    def pids(self):
        return [int(path.read_text())
                for path in sorted((self.directory / 'run').glob('*.pid'))]

    def end(self):
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def test_up_again_killed_stopped_and_gone(self):
        said = self.demo('start').stdout
        pids = self.pids()
        self.assertEqual(len(pids), 3)
        self.check_lines(said)
        # Again: harmless.
        self.demo('start')
        self.assertEqual(self.pids(), pids)
        uri = 'nbd://127.0.0.1:%d/demo' % self.nbd_port
        harness.run('qemu-io', '-f', 'raw', '-c', 'write -P 7 1M 64k', '-c',
                    'flush', uri)
        os.kill(pids[2], signal.SIGKILL)
        self.demo('start')
        self.assertEqual(self.pids()[:2], pids[:2])
        self.demo('stop')
        self.assertEqual(self.pids(), [])
        self.demo('stop')
        self.demo('start')
        told = harness.run('qemu-io', '-f', 'raw', '-c', 'read -P 7 1M 64k',
                           uri[:-len('/demo')].replace(
                               str(self.nbd_port), str(self.nbd_port + 1))
                           + '/demo').stdout
        self.assertNotIn('failed', told)
        self.demo('clean')
        self.assertFalse((self.directory / 'run').exists())

    def check_lines(self, said):
        """Run each line that it tells people to type, but for those that
        kill and stop."""
        lines = [line.strip() for line in said.splitlines()
                 if re.match(r' {4}\S+', line)]
        lines = [line for line in lines
                 if not re.search('kill|make|IMAGE', line)]
        self.assertGreaterEqual(len(lines), 5)
        environment = dict(os.environ)
        for line in lines:
            if line.startswith('export '):
                name, _, value = line.partition(' ')[2].partition('=')
                environment[name] = value
                continue
            harness.run(*line.split(), env=environment)
