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

"""The sample configuration is what the options say."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[4]
GENERATOR = pathlib.Path(sys.executable).parent / 'oslo-config-generator'


class SampleConfigurationTest(unittest.TestCase):
    maxDiff = None

    def test_is_up_to_date(self):
        with tempfile.NamedTemporaryFile('r') as output:
            subprocess.run(
                [GENERATOR, '--config-file',
                 ROOT / 'etc/sheepdog/sheepdog-config-generator.conf',
                 '--output-file', output.name], check=True, cwd=ROOT)
            generated = output.read()
        sample = ROOT / 'etc/sheepdog/sheepdog.conf.sample'
        self.assertEqual(generated, sample.read_text(),
                         'run `make config`')
