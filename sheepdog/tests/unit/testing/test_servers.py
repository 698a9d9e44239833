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

import subprocess
import sys
import unittest

TAKE_TWO_HUNDRED = '''
import sys
from sheepdog.testing import servers
print(*servers.free_ports(200), flush=True)
sys.stdin.read()
'''


class PortsTest(unittest.TestCase):
    def take(self):
        process = subprocess.Popen(
            [sys.executable, '-c', TAKE_TWO_HUNDRED], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        return process.stdout.readline().split()

    def test_two_processes_take_others(self):
        one, other = self.take(), self.take()
        self.assertEqual(200, len(set(one)))
        self.assertEqual(400, len({*one, *other}))
