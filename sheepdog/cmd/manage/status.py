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

"""sheepdog-manage status."""

from cliff import show

from sheepdog.cmd.manage import columns
from sheepdog.cmd import overview


class Status(show.ShowOne):
    """Show how the cluster stands, what it waits for, and what to mind.

    Told by the sheep that is asked, as far as it can.
    """

    def take_action(self, parsed_args):
        rows = overview.summary(overview.gather(self.app.client))
        return [name for name, _value in rows], [
            _column(name, value) for name, value in rows]


def _column(name, value):
    if name.endswith('_bytes'):
        return columns.Size(value)
    if isinstance(value, list):
        return columns.Lines(value)
    return value
