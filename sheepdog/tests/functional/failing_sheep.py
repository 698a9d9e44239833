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

"""A sheep on a disk that refuses to sync once a file exists: the first
argument names it, the others are the sheep's."""

import errno
import os
import sys

from sheepdog.cmd import sheep


def main():
    sign = sys.argv[1]

    def failing(function):
        def sync(descriptor):
            if os.path.exists(sign):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return function(descriptor)
        return sync

    os.fsync = failing(os.fsync)
    os.fdatasync = failing(os.fdatasync)
    return sheep.main(sys.argv[2:])


if __name__ == '__main__':
    sys.exit(main())
