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

"""For sheep on a disk whose syncs go wrong once a file exists: the first
argument of the program names it, the others are the sheep's."""

import os
import sys

from sheepdog.cmd import sheep


def main(trouble):
    """:param trouble: called before each sync from then on"""
    sign = sys.argv[1]

    def sick(function):
        def sync(descriptor):
            if os.path.exists(sign):
                trouble()
            return function(descriptor)
        return sync

    os.fsync = sick(os.fsync)
    os.fdatasync = sick(os.fdatasync)
    return sheep.main(sys.argv[2:])
