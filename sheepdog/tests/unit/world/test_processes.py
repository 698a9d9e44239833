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

import json
import os
import subprocess
import sys
import unittest

from sheepdog.world import processes

PROGRAM = '''
import json, sys
from sheepdog.world import processes
print(json.dumps(processes.token()), flush=True)
sys.stdin.read()
'''


class ProcessesTest(unittest.TestCase):
    def setUp(self):
        self.witness = processes.Witness()
        self.token = processes.token()

    def test_the_living(self):
        self.assertFalse(self.witness.is_dead(self.token))

    def test_another_process_of_the_same_id(self):
        for field in ('start', 'boot'):
            self.assertTrue(self.witness.is_dead(
                dict(self.token, **{field: 'x'})))

    def test_what_cannot_be_seen(self):
        self.assertFalse(self.witness.is_dead(None))
        self.assertFalse(self.witness.is_dead(
            dict(self.token, space='x', start='x')))

    def test_a_dead_one_that_nobody_waited_for(self):
        with subprocess.Popen(
                [sys.executable, '-c', PROGRAM], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE) as process:
            token = json.loads(process.stdout.readline())
            self.assertEqual(process.pid, token['pid'])
            self.assertFalse(self.witness.is_dead(token))
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            self.assertTrue(self.witness.is_dead(token))
        self.assertTrue(self.witness.is_dead(token))
