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

"""Values that people read in one way and programs in another."""

import time

from cliff import columns

from sheepdog.model import sizes


class Size(columns.FormattableColumn):
    """Bytes."""

    def human_readable(self):
        return sizes.show_size(self._value)


class Time(columns.FormattableColumn):
    """Seconds since 1970."""

    def human_readable(self):
        return time.strftime('%Y-%m-%d %H:%M:%S',
                             time.localtime(self._value))


class Lines(columns.FormattableColumn):
    """A list of texts, one a line."""

    def human_readable(self):
        return '\n'.join(self._value)
