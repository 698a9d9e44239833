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

import os
import pathlib
import subprocess
import sys
import tempfile

import testtools

PROGRAM = """
import sys
from sheepdog.cmd import lean
lean.import_without_eventlet('futurist')
assert 'eventlet' not in sys.modules, 'loaded, or barred for ever'
import futurist
import eventlet
assert eventlet.IS_A_STUB
"""


class LeanTest(testtools.TestCase):

    def test_futurist_comes_alone(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        pathlib.Path(directory.name, 'eventlet.py').write_text(
            'IS_A_STUB = True')
        path = os.pathsep.join([directory.name] + sys.path)
        done = subprocess.run(
            [sys.executable, '-c', PROGRAM], text=True,
            capture_output=True, env={**os.environ, 'PYTHONPATH': path})
        self.assertEqual(0, done.returncode, done.stderr)
