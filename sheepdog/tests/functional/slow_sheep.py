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

"""A sheep on a disk that takes two seconds for each sync as long as a file
exists: the first argument names it, the others are the sheep's."""

import os
import sys
import time

from sheepdog.cmd import sheep

SECONDS = 2.0


def main():
    sign = sys.argv[1]

    def slow(function):
        def sync(descriptor):
            if os.path.exists(sign):
                time.sleep(SECONDS)
            return function(descriptor)
        return sync

    os.fsync = slow(os.fsync)
    os.fdatasync = slow(os.fdatasync)
    return sheep.main(sys.argv[2:])


if __name__ == '__main__':
    sys.exit(main())
