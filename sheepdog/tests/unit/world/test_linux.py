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
import resource
import subprocess
import sys
import unittest

# 128 KiB a hundred times, sixteen of them at a time: page faults for them.
_PROGRAM = '''
import resource, sys
from sheepdog.world import linux
if sys.argv[1:]:
    assert linux.keep_freed_memory()
def work():
    return [bytearray(131073) for _ in range(16)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
before = faults()
for _ in range(100):
    work()
print(faults() - before)
'''
_PAGES = 100 * 16 * 131072 // resource.getpagesize()


class MemoryTest(unittest.TestCase):

    def faults(self, *arguments, **more) -> int:
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith('MALLOC_')}
        return int(subprocess.run(
            [sys.executable, '-c', _PROGRAM, *arguments], check=True,
            stdout=subprocess.PIPE, env={**environment, **more}).stdout)

    def test_what_was_freed_is_kept(self):
        self.assertGreater(self.faults(), _PAGES // 2)
        self.assertLess(self.faults('keep'), _PAGES // 100)

    def test_the_environment_goes_first(self):
        with self.assertRaises(subprocess.CalledProcessError):
            self.faults('keep', MALLOC_TRIM_THRESHOLD_='131072')
