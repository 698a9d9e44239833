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

"""A sheep closes a volume behind the connection that had it open."""

import time
from typing import Callable

from sheepdog.model import errors

CLOSE_SECONDS = 10.0
_POLL_SECONDS = 0.1


def once_closed(act: Callable):
    """Do what nobody may have the VDI open for, and whoever had it open was
    us: try until it is closed.

    :returns: what ``act()`` returns
    :raises VdiLocked: it is open still; somebody else has it
    """
    deadline = time.monotonic() + CLOSE_SECONDS
    while True:
        try:
            return act()
        except errors.VdiLocked:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS)
