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

"""Who was told that he has created an attribute: one at a time."""

import contextlib

from sheepdog.model import errors


class Attributes:
    """Values name who asks, so each is created by one operation only.
    ``wrong``: what must not have been."""

    def __init__(self):
        self.wrong = []
        self._holders = {}
        self._refused = {}

    @contextlib.contextmanager
    def creating(self, key, name, value):
        place = key, name
        try:
            yield
        except errors.VdiExists:
            self._refused.setdefault(place, set()).add(value)
            if self._holders.get(place) == value:
                self.wrong.append('%s of %s: %s has it, and was refused' % (
                    key, name, value))
            raise
        before = self._holders.setdefault(place, value)
        if before != value:
            self.wrong.append('%s of %s was created by %s and by %s' % (
                key, name, before, value))
        if value in self._refused.get(place, ()):
            self.wrong.append('%s of %s: %s was refused, and has it' % (
                key, name, value))

    def delete(self, key, name):
        """Somebody is to: from now on it may be anybody's."""
        self._holders.pop((key, name), None)
        self._refused.pop((key, name), None)

    def read(self, key, name, value):
        holder = self._holders.get((key, name), value)
        if holder != value:
            self.wrong.append('%s of %s is %s, and was created by %s' % (
                key, name, value, holder))
        if value in self._refused.get((key, name), ()):
            self.wrong.append('%s of %s: %s was refused, and has it' % (
                key, name, value))
