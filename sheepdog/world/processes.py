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

"""Which processes of this machine live.

A process is named for ever by its id, its start time, the boot and the
space of ids that it is in; ids alone come back.
"""

import os
from typing import Optional


def token() -> dict:
    """What names this process, to the others on this machine."""
    with open('/proc/sys/kernel/random/boot_id') as file:
        boot = file.read().strip()
    return {'pid': os.getpid(), 'start': _start_of(os.getpid()),
            'boot': boot, 'space': os.readlink('/proc/self/ns/pid')}


class Witness:
    """Tells the dead from the living."""

    def __init__(self):
        self._own = token()

    def is_dead(self, other: Optional[dict]) -> bool:
        """Whether the process of that token is certainly gone. What is of
        another space of ids cannot be seen from here."""
        if not other or other['space'] != self._own['space']:
            return False
        return (other['boot'] != self._own['boot'] or
                _start_of(other['pid']) != other['start'])


def _start_of(pid: int) -> str:
    """Start time of a live process; '' if there is none. One that nobody
    has waited for yet is dead."""
    try:
        with open('/proc/%d/stat' % pid) as file:
            fields = file.read().rpartition(')')[2].split()
    except OSError:
        return ''
    return '' if fields[0] in 'ZX' else fields[19]
