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

"""Being told to end."""

import contextlib
import signal

from sheepdog.cmd import exits


@contextlib.contextmanager
def ending_in_order():
    """Who is told to end, or whose terminal goes, cleans up before."""
    def end(number, _frame):
        raise exits.Stop('ended by %s' % signal.Signals(number).name,
                         128 + number)

    before = {number: signal.signal(number, end)
              for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
