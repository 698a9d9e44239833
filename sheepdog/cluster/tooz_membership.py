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

"""Membership on tooz: ZooKeeper, etcd, Redis, or files on one machine.

``tooz_groups`` says what is kept there, ``tooz_heart`` is the thread that
keeps it, ``membership`` the loop's side of that.
"""

import asyncio
import os

from sheepdog.cluster import address as address_module
from sheepdog.cluster import membership
from sheepdog.cluster import tooz_groups
from sheepdog.cluster import tooz_heart

RUN_DIRECTORY = '/run/sheepdog'


def from_url(text: str, ttl: float) -> 'ToozMembership':
    """
    :param text: as after ``sheep -c``, see ``address``
    :raises InvalidParameters: it is not understood
    """
    return ToozMembership(address_module.parse(
        text, ttl, os.path.join(_run_directory(), 'coordination')))


def _run_directory() -> str:
    if os.geteuid() == 0:
        return RUN_DIRECTORY
    base = os.environ.get('XDG_RUNTIME_DIR')
    if base:
        return os.path.join(base, 'sheepdog')
    return '/tmp/sheepdog-%d' % os.geteuid()  # nosec B108


class ToozMembership(membership.LeasedMembership):
    """See ``api.Membership``."""

    def __init__(self, address: address_module.Address):
        super().__init__(address.ttl, tooz_heart.now)
        self._address = address

    def make_heart(self) -> tooz_heart.Heart:
        return tooz_heart.Heart(self, self._address,
                                asyncio.get_running_loop())

    def check(self) -> list:
        """Try the service out; blocks. To be called before ``start``.

        :returns: ``MemberInfo`` of all who are listed, dead or alive
        :raises CoordinationRefused: it does not answer, or not well
        """
        refusal = None
        for url in self._address.urls:
            try:
                listed = tooz_groups.check(self._address, url)
            except tooz_groups.CoordinationRefused as error:
                refusal = error
            else:
                infos = map(membership.member_info, listed.values())
                return [info for info in infos if info is not None]
        raise refusal
