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

"""The links of one sheep, one of each kind to each other incarnation.

Control traffic (cluster messages) has a link of its own, so that it never
waits behind 4 MiB of data. ``Links`` also is the cluster room's courier.
"""

from sheepdog.model import errors
from sheepdog.peer import link as link_module
from sheepdog.wire import peer as wire


class Links:
    def __init__(self, world, ours):
        """``ours`` returns our own incarnation, as of now."""
        self.world = world
        self._ours = ours
        self._data = {}
        self._control = {}

    def data(self, member):
        """The data link to a ``Member``."""
        link = self._data.get(member.incarnation)
        if link is None or link.closed:
            link = self._data[member.incarnation] = link_module.Link(
                self.world, self._ours, member.incarnation,
                member.data_address)
        return link

    def control(self, member):
        """The control link to a ``Member`` or ``MemberInfo``."""
        link = self._control.get(member.incarnation)
        if link is None or link.closed:
            link = self._control[member.incarnation] = link_module.Link(
                self.world, self._ours, member.incarnation,
                (member.host, member.port))
        return link

    def made(self):
        """All data links, connected or not: to each replica of what we have
        asked for, also where another sheep has passed it on."""
        return [link for link in self._data.values() if not link.closed]

    def ready(self):
        """The data links that are connected."""
        return [link for link in self._data.values() if link.is_ready]

    async def call(self, member, message, timeout):
        """``cluster.api.Courier``."""
        _, _, payload = await self.control(member).call(
            wire.MESSAGE, payload=wire.pack_json(message), timeout=timeout)
        try:
            return wire.unpack_json(payload)
        except errors.InvalidParameters as exc:
            raise errors.Unreachable(str(exc)) from None

    def keep_only(self, incarnations):
        """Close the data links to all others (a view has begun); control
        links go too, but for incarnations younger than the view's, which
        the next call makes anew anyway."""
        for links in (self._data, self._control):
            for incarnation in [i for i in links if i not in incarnations]:
                links.pop(incarnation).close()

    def close(self):
        self.keep_only(())
