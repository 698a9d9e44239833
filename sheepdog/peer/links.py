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

import asyncio

from sheepdog.model import errors
from sheepdog.peer import link as link_module
from sheepdog.wire import peer as wire

COMPLAIN_SECONDS = 1.0


class Links:
    def __init__(self, world, ours, access):
        """``ours`` returns our own incarnation, as of now; ``access``
        (``access.Access``) has the keys."""
        self.world = world
        self._ours = ours
        self._access = access
        self._data = {}
        self._control = {}

    def data(self, member):
        """The data link to a ``Member``."""
        return self._link(self._data, member, member.data_address, 'data')

    def control(self, member):
        """The control link to a ``Member`` or ``MemberInfo``."""
        return self._link(self._control, member, (member.host, member.port),
                          'control')

    def _link(self, links, member, address, lane):
        ours = self._ours()
        link = links.get(member.incarnation)
        if link is not None and link.ours != ours:
            # It speaks for a life of ours that is over: what it asked for
            # would be refused for ever.
            link.close()
        if link is None or link.closed:
            link = links[member.incarnation] = link_module.Link(
                self.world, ours, member.incarnation, address,
                self._access, lane)
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

    def in_trouble(self, seconds):
        """Incarnations whose data links could not be connected for so
        long."""
        return [incarnation for incarnation, link in self._data.items()
                if link.trouble_seconds() >= seconds]

    async def complain_forever(self, cluster):
        """Tell the leader whom requests wait for, though they are alive."""
        while True:
            await asyncio.sleep(COMPLAIN_SECONDS)
            for incarnation in self.in_trouble(cluster.patience):
                await cluster.complain(incarnation)

    def keep_only(self, incarnations):
        """Close the links to all others, and those of an earlier life of
        ours (a view has begun). The next call makes anew what it needs."""
        ours = self._ours()
        for links in (self._data, self._control):
            for incarnation, link in list(links.items()):
                if incarnation not in incarnations or link.ours != ours:
                    del links[incarnation]
                    link.close()

    def close(self):
        self.keep_only(())
